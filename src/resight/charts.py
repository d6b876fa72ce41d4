"""Line charts as SVG elements for a page: drawn by matplotlib, in the page's own colours."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resight.curves import Line

WIDTH = 380  # of a chart, in its own units, in which text is 12 high
N_COLOURS = 6
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (8, 2, 2, 2)), (0, (1, 1)), (0, (10, 4)))  # so that colour is not all
LINES = tuple(f"#0102{n:02x}" for n in range(N_COLOURS))
TEXT, GRID = "#010301", "#010302"
COLOURS = {line: f"var(--line-{n})" for n, line in enumerate(LINES)} | {TEXT: "var(--muted)", GRID: "var(--rule)"}
"""What matplotlib draws in, and what it stands for: the page says what that is in the light and in the dark."""
FONT = "DejaVu Sans"  # comes with matplotlib, and is wider than what the page has in its place
STYLE = {
    "font.family": [FONT],
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.edgecolor": GRID,
    "grid.color": GRID,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.handlelength": 2.5,
    "legend.labelcolor": "linecolor",
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), TEXT),
    "axes.formatter.limits": (-3, 6),
    "axes.autolimit_mode": "round_numbers",
    "axes.ymargin": 0,
    "text.parse_math": False,
    "svg.fonttype": "none",
}


def draw_lines(
    lines: Sequence[Line], *, name: str, x_name: str, y_name: str, x_low: float, height: int = 250
) -> Element:
    """An SVG with axes, a grid, and the lines, named below it; a value that is not finite leaves a gap.

    name: of the chart, its own in a page, so that no two parts have one id. The x axis begins at x_low, or lower where
    values do, and the y axis at 0. height: when WIDTH wide, with one row of names; more rows make it higher. A screen
    reader says each line's first and last value. Raises ValueError without any point.
    """
    every = [x for line in lines for x in line.x]
    if not every:
        raise ValueError("a chart needs at least one point")
    n_columns = max(1, int(WIDTH / (45 + 8 * max(len(line.name) for line in lines))))
    height += 18 * ((len(lines) - 1) // n_columns)
    with style.context(["default", STYLE | {"svg.hashsalt": name}]):
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        axes.grid(axis="y", clip_on=False)
        drawn = [artist for n, line in enumerate(lines) for artist in _curve(axes, line, n % N_COLOURS)]
        flat = not any(math.isfinite(y) and y for line in lines for y in line.y)
        axes.update_datalim([(x_low, 0), (x_low, 1.0 if flat else 0)])
        axes.set(xlabel=x_name, title=y_name, xlim=(min(x_low, *every), max(*every, x_low + 1)))
        axes.locator_params("x", integer=True, nbins=6)
        figure.legend(drawn, [line.name for line in lines], loc="outside lower left", ncols=n_columns)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    told = "; ".join(f"{line.name} from {_figure(line.y[0])} to {_figure(line.y[-1])}" for line in lines if line.y)
    return _for_page(ElementTree.fromstring(file.getvalue()), f"{y_name} over {x_name}: {told}")


def _curve(axes: Axes, line: Line, n: int) -> list[Line2D]:
    """The line; where a value stands between gaps, a dot, since a line would not show it."""
    known = [False, *map(math.isfinite, line.y), False]
    alone = [k for k in range(len(line.y)) if known[k : k + 3] == [False, True, False]]
    if alone:
        axes.plot([line.x[k] for k in alone], [line.y[k] for k in alone], "o", ms=4, color=LINES[n], clip_on=False)
    return axes.plot(line.x, line.y, color=LINES[n], linestyle=DASHES[n], clip_on=False)


def _figure(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "not finite"


def _for_page(chart: Element, label: str) -> Element:
    """In the page's colours and font, and without names and ids that the page has no use for."""
    chart.remove(chart[0])  # a style sheet, which would hold for the whole page
    used = {value[1:] for part in chart.iter() for value in part.attrib.values() if value.startswith("#")}
    for part in chart.iter():
        part.tag = part.tag.partition("}")[2]
        part.tail = None
        part.attrib = {
            key.partition("}")[2] or key: _of_page(value)
            for key, value in part.attrib.items()
            if (key != "id" or value in used) and not value.startswith("rotate(-0 ")
        }
    chart.attrib = {"class": "chart", "viewBox": chart.attrib["viewBox"], "role": "img", "aria-label": label}
    return chart


def _of_page(value: str) -> str:
    value = re.sub(r"-?[0-9]+[.][0-9]+", lambda number: f"{float(number.group()):.2f}", value)
    value = value.replace(f"'{FONT}'", "inherit")
    return re.sub("#[0-9a-f]{6}", lambda colour: COLOURS.get(colour.group(), colour.group()), value)
