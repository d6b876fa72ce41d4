from __future__ import annotations

import ast
import math
import re
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

import resight
from resight.charts import DASHES, N_COLOURS, WIDTH, draw_lines
from resight.curves import Line


def draw(*lines: Line, name: str = "chart", x_low: float = 0, height: int = 250) -> Element:
    return draw_lines(lines, name=name, x_name="step", y_name="loss", x_low=x_low, height=height)


def styled(chart: Element, tag: str, colour: str) -> list[Element]:
    return [part for part in chart.iter(tag) if f": var({colour})" in part.get("style", "")]


def points(chart: Element, n: int = 0) -> list[list[tuple[float, float]]]:
    """Where the n-th line goes, in the chart's units, stretch by stretch."""
    path = next(part for part in styled(chart, "path", f"--line-{n}") if not part.get("id")).get("d") or ""
    stretches = [part for part in re.split("M ", path) if part.strip()]
    return [[(float(x), float(y)) for x, y in re.findall(r"([\d.e-]+) ([\d.e-]+)", part)] for part in stretches]


def texts(chart: Element) -> dict[str, Element]:
    return {part.text or "": part for part in chart.iter("text")}


def at(chart: Element, text: str, axis: str) -> float:
    return float(texts(chart)[text].get(axis) or "nan")


def test_a_line_goes_where_the_axes_say() -> None:
    """The marks on the axes and the points of the line agree on where a value lies."""
    chart = draw(Line("triplet", [0, 100, 500], [4, 2, 0]))
    ((x0, y0), (x1, y1), (x2, y2)) = points(chart)[0]
    assert [x1, x2] == pytest.approx([at(chart, text, "x") for text in ("100", "500")], abs=0.02)
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.2, abs=1e-3)
    below = at(chart, "4", "y") - y0  # a label's baseline
    assert 0 < below < 6
    assert [y1, y2] == pytest.approx([at(chart, text, "y") - below for text in ("2", "0")], abs=0.02)
    assert 0 < x0 < x2 <= WIDTH
    assert 0 < y0 < y2 < 250


def test_the_axes_begin_where_asked_or_lower() -> None:
    late, whole = (draw(Line("mAP", x, [0.5, 1])) for x in ([100, 200], [0, 200]))
    (begin, _), (end, _) = points(whole)[0]
    assert points(late)[0][0][0] == pytest.approx((begin + end) / 2, abs=0.1)
    assert "5" in texts(draw(Line("after", [1, 20], [50, 90]), x_low=1))
    assert "−1.0" in texts(draw(Line("log", [0, 1], [-1, 1])))
    assert at(draw(Line("log", [-5, 1], [0, 1])), "−4", "x") > 0


def test_a_value_that_is_not_finite_leaves_a_gap() -> None:
    chart = draw(Line("identity", [0, 1, 2, 3, 4, 5, 6], [5, 4, math.nan, 2, 1, math.inf, 3]))
    assert [len(stretch) for stretch in points(chart)] == [2, 2, 1]
    (lone,) = chart.iter("use")  # a point without neighbours is a dot
    assert (float(lone.get("x") or 0), float(lone.get("y") or 0)) == points(chart)[2][0]


def test_a_line_without_any_finite_value_is_told_and_not_drawn() -> None:
    chart = draw(Line("identity", [0, 1], [math.nan, math.inf]))
    assert "identity" in texts(chart)  # its name and its key
    assert points(chart) == []
    assert chart.get("aria-label") == "loss over step: identity from not finite to not finite"


@pytest.mark.parametrize("y", [[0.5], [0.0], [-1.0], [1e300], [1e-300]])
def test_one_point_is_a_dot(y: list[float]) -> None:
    chart = draw(Line("mAP", [0], y))
    (dot,) = chart.iter("use")
    (marker,) = (part for part in chart.iter("path") if part.get("id"))
    assert dot.get("href") == f"#{marker.get('id')}"
    assert 0 < float(dot.get("y") or 0) < 250


def test_every_line_is_named_and_told_from_the_others_without_colour() -> None:
    lines = [Line(f"term {n}", [0, 1], [n, n + 1]) for n in range(8)]
    chart = draw(*lines)
    assert {f"term {n}" for n in range(8)} <= set(texts(chart))
    assert {part.get("style", "").split("fill: ")[1] for part in styled(chart, "text", "--line-1")} == {"var(--line-1)"}
    assert len({str(dash) for dash in DASHES}) == N_COLOURS
    dashes = [re.findall("stroke-dasharray: ([^;]*)", path.get("style", "")) for path in chart.iter("path")]
    assert len({dash[0] for dash in dashes if dash}) >= N_COLOURS - 1
    assert all(0 < float(part.get("x") or 0) < WIDTH for part in chart.iter("text"))
    fewer = draw(*lines[:4])
    assert at(chart, "step", "y") == pytest.approx(at(fewer, "step", "y"), abs=6)  # names do not press the lines flat


def test_only_the_colours_and_the_font_of_the_page_are_used() -> None:
    chart = draw(Line("identity", [1, 2], [6.5, 0.25]), Line("triplet", [1], [1]))
    style = " ".join(part.get("style", "") for part in chart.iter())
    assert re.findall("#[0-9a-f]+|DejaVu", style) == []
    assert set(re.findall(r"var\((--[\w-]+)\)", style)) == {"--line-0", "--line-1", "--muted", "--rule"}
    assert not list(chart.iter("style"))
    assert "font-family: inherit" in style


def test_no_two_charts_of_a_page_share_an_id_and_each_is_always_the_same() -> None:
    line = Line("mAP", [1], [0.5])
    one, again, other = (draw(line, name=name) for name in ("cmc", "cmc", "train loss"))
    ids = [{part.get("id") for part in chart.iter() if part.get("id")} for chart in (one, other)]
    assert ids[0]
    assert ids[0] & ids[1] == set()
    assert ElementTree.tostring(one) == ElementTree.tostring(again)
    assert len(ElementTree.tostring(one)) < 12_000


def test_names_are_text_and_never_formulas_or_markup() -> None:
    chart = draw(Line("$x^2$ <b> & _", [0, 1], [0, 1]), Line("_hidden", [0, 1], [0, 1]))
    assert {"$x^2$ <b> & _", "_hidden"} <= set(texts(chart))


def test_a_screen_reader_hears_the_ends() -> None:
    chart = draw(Line("identity", [1, 2], [6.5, 0.25]), Line("triplet", [1, 2], [1, 1 / 3]))
    assert chart.get("role") == "img"
    assert chart.get("aria-label") == "loss over step: identity from 6.5 to 0.25; triplet from 1 to 0.3333"


@pytest.mark.parametrize("lines", [[], [Line("identity", [], [])]])
def test_a_chart_needs_a_point(lines: list[Line]) -> None:
    with pytest.raises(ValueError, match="at least one point"):
        draw(*lines)


def test_a_line_has_as_many_values_as_places() -> None:
    with pytest.raises(ValueError, match="same first dimension"):
        draw(Line("identity", [1, 2], [1]))


def test_nobody_else_waits_for_matplotlib() -> None:
    """Of all modules this one alone imports it, and the page alone imports this one."""
    source = Path(resight.__file__).parent
    users: dict[str, set[str]] = {"matplotlib": set(), "resight.charts": set()}
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in users:
                if any(found == name or found.startswith(name + ".") for found in names):
                    users[name].add(str(path.relative_to(source)))
    assert users == {"matplotlib": {"charts.py"}, "resight.charts": {"page/figures.py"}}
