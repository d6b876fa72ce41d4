"""Line charts as inline SVG: numbers in, an element out that needs no library, no script and no network.

What the report page draws, it draws here; the richer figures of the extra `plots` are not for a page that must always
work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.etree.ElementTree import Element

WIDTH = 440
TEXT = 12  # pixels high; a character is about 0.55 of that wide
LINE = 15  # pixels from one label to the next
LONGEST_NAME = 18  # characters; a longer name is cut beside its line and whole in the table
N_COLOURS = 6

STYLE = """
.chart { display: block; width: 100%; height: auto; }
.chart text { font: 12px system-ui, sans-serif; fill: var(--muted); }
.chart .grid { stroke: var(--rule); }
.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.chart .hover { fill: transparent; }
.chart .hover:hover { fill: var(--ink); fill-opacity: .1; }
""" + "".join(
    f".chart .line-{n} {{ stroke: var(--line-{n}); }} .chart .end-{n} {{ fill: var(--line-{n}); }}\n"
    f".chart text.name-{n} {{ fill: var(--line-{n}); font-weight: 600; }}\n"
    for n in range(N_COLOURS)
)
"""For the page that holds a chart; it defines the colours --ink, --muted, --rule and --line-0 to --line-5."""


@dataclass(frozen=True, slots=True)
class Line:
    """One value, y, for each of x, which ascends; a value that is not finite leaves a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def element(tag: str, *inside: Element | str, **attributes: object) -> Element:
    """An element around text and elements; text and attributes are escaped where the tree is written.

    `class_` stands for class, `aria_label` for aria-label.
    """
    made = Element(tag, {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()})
    for part in inside:
        if isinstance(part, Element):
            made.append(part)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + part
        else:
            made.text = (made.text or "") + part
    return made


def draw_lines(lines: Sequence[Line], *, x_name: str, y_name: str, x_low: float, height: int = 240) -> Element:
    """An SVG with axes, a grid, each line named at its end, and the values at every x under the pointer.

    The x axis begins at x_low, or lower where values do, and the y axis at 0. height: in pixels when WIDTH wide. A
    screen reader says each line's first and last value. Raises ValueError without any point.
    """
    frame = _frame(lines, x_low, height)
    spoken = "; ".join(f"{line.name} from {figure(line.y[0])} to {figure(line.y[-1])}" for line in lines if line.y)
    return element(
        "svg",
        *_axes(frame, x_name, y_name),
        *(part for n, line in enumerate(lines) for part in _curve(frame, line, n % N_COLOURS)),
        *_names(frame, lines),
        *_hover(frame, lines, x_name),
        class_="chart",
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=f"{y_name} over {x_name}: {spoken}",
    )


def figure(value: float) -> str:
    """At most four digits after the point; powers of ten for what is very small or large."""
    if not math.isfinite(value):
        return "not finite"
    if value and not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:,.4f}".rstrip("0").rstrip(".")


def ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, about five, from at most low to at least high."""
    rough = (high - low) / 5 or 1.0
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
    return [step * n for n in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the lines are drawn, in pixels, and the values at its edges."""

    left: float
    right: float
    top: float
    bottom: float
    x: tuple[float, float]
    y: tuple[float, ...]

    def across(self, x: float) -> float:
        low, high = self.x
        return round(self.left + (self.right - self.left) * (x - low) / (high - low or 1), 1)

    def down(self, y: float) -> float:
        return round(self.bottom - (self.bottom - self.top) * (y - self.y[0]) / (self.y[-1] - self.y[0]), 1)


def _frame(lines: Sequence[Line], x_low: float, height: int) -> _Frame:
    x = [x for line in lines for x in line.x]
    if not x:
        raise ValueError("a chart needs at least one point")
    finite = [y for line in lines for y in line.y if math.isfinite(y)]
    y = ticks(min([0.0, *finite]), max([0.0, *finite])) if any(finite) else [0.0, 1.0]
    longest = min(max(len(line.name) for line in lines), LONGEST_NAME)
    left = 10 + 0.6 * TEXT * max(len(figure(value)) for value in y)
    right = WIDTH - 20 - 0.62 * TEXT * longest
    return _Frame(left, right, 2 * LINE - 4, height - 2.4 * LINE, (min(x_low, *x), max(x)), tuple(y))


def _axes(frame: _Frame, x_name: str, y_name: str) -> list[Element]:
    low, high = frame.x
    marks = [low, *(x for x in ticks(low, high) if (high - low) / 10 < x - low <= high - low)]
    parts = [element("text", y_name, x=2, y=TEXT)]
    for y in frame.y:
        at = frame.down(y)
        parts.append(element("path", d=f"M{frame.left:.1f} {at}H{frame.right:.1f}", class_="grid"))
        parts.append(element("text", figure(y), x=f"{frame.left - 6:.1f}", y=at + 4, text_anchor="end"))
    for x in marks:
        below = f"{frame.bottom + LINE:.1f}"
        parts.append(element("text", figure(x), x=frame.across(x), y=below, text_anchor="middle"))
    middle, under = (frame.left + frame.right) / 2, frame.bottom + 2 * LINE
    parts.append(element("text", x_name, x=f"{middle:.1f}", y=f"{under:.1f}", text_anchor="middle"))
    return parts


def _curve(frame: _Frame, line: Line, colour: int) -> list[Element]:
    path, pen = [], "M"
    for x, y in zip(line.x, line.y, strict=True):
        if math.isfinite(y):
            path.append(f"{pen}{frame.across(x)} {frame.down(y)}")
        pen = "L" if math.isfinite(y) else "M"
    end = _end(frame, line)
    if end is None:
        return []
    dot = element("circle", cx=end[0], cy=end[1], r=3, class_=f"end-{colour}")
    return [element("path", d="".join(path), class_=f"line line-{colour}"), dot]


def _end(frame: _Frame, line: Line) -> tuple[float, float] | None:
    """Where the last finite value of a line is drawn."""
    finite = [(frame.across(x), frame.down(y)) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
    return finite[-1] if finite else None


def _names(frame: _Frame, lines: Sequence[Line]) -> list[Element]:
    """Each line's name beside its end, moved up or down so that none covers another."""
    ends = [(end[1], n) for n, line in enumerate(lines) if (end := _end(frame, line)) is not None]
    ends.sort()
    heights = spread([height for height, _ in ends], LINE, highest=frame.bottom)
    parts = []
    for height, (_, n) in zip(heights, ends, strict=True):
        name = lines[n].name
        cut = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
        place = {"x": f"{frame.right + 8:.1f}", "y": f"{height + 4:.1f}"}
        parts.append(element("text", cut, class_=f"name-{n % N_COLOURS}", **place))
    return parts


def spread(wanted: Sequence[float], gap: float, *, highest: float) -> list[float]:
    """Ascending places near the ascending ones wanted, at least gap apart, none above highest."""
    placed: list[float] = []
    for place in wanted:
        placed.append(max(place, placed[-1] + gap) if placed else place)
    for n in reversed(range(len(placed))):
        placed[n] = min(placed[n], highest if n == len(placed) - 1 else placed[n + 1] - gap)
    return placed


def _hover(frame: _Frame, lines: Sequence[Line], x_name: str) -> list[Element]:
    """A slice for each x, halfway to its neighbours, that names the values there."""
    values: dict[float, list[str]] = {x: [] for x in sorted({x for line in lines for x in line.x})}
    for line in lines:
        for x, y in zip(line.x, line.y, strict=True):
            values[x].append(f"{line.name} {figure(y)}")
    places = [frame.across(x) for x in values]
    edges = [frame.left, *((a + b) / 2 for a, b in pairwise(places)), frame.right]
    parts = []
    for n, (x, said) in enumerate(values.items()):
        title = element("title", f"{x_name} {figure(x)}\n" + "\n".join(said))
        size = {"width": f"{edges[n + 1] - edges[n]:.1f}", "height": f"{frame.bottom - frame.top:.1f}"}
        parts.append(element("rect", title, x=f"{edges[n]:.1f}", y=frame.top, class_="hover", **size))
    return parts
