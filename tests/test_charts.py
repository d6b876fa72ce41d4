from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resight.charts import LINE, WIDTH, Line, draw_lines, element, figure, spread, ticks


def written(root: Element) -> str:
    return ElementTree.tostring(root, encoding="unicode", method="html")


def draw(*lines: Line, x_low: float = 0, height: int = 240) -> Element:
    return draw_lines(lines, x_name="step", y_name="loss", x_low=x_low, height=height)


def points(chart: Element, n: int = 0) -> list[tuple[float, float]]:
    """Where the n-th line goes, in pixels."""
    path = next(part for part in chart.iter("path") if part.get("class") == f"line line-{n}").get("d") or ""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](\S+) ([^ML]+)", path)]


def texts(chart: Element) -> dict[str, Element]:
    return {part.text or "": part for part in chart.iter("text")}


def test_an_element_escapes_text_and_attributes() -> None:
    made = element("p", "a < b & <script>", title='"><img onerror="x', class_="note", aria_label="c")
    assert written(made) == (
        '<p title="&quot;&gt;<img onerror=&quot;x" class="note" aria-label="c">a &lt; b &amp; &lt;script&gt;</p>'
    )


def test_an_element_keeps_the_order_of_text_and_elements() -> None:
    made = element("p", "one ", element("b", "two"), " three", " four", element("br"), "five")
    assert written(made) == "<p>one <b>two</b> three four<br>five</p>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (100.0, "100"),
        (12000.0, "12,000"),
        (0.25, "0.25"),
        (1 / 3, "0.3333"),
        (-2.0, "-2"),
        (0.00035, "3.5e-4"),
        (5e-5, "5e-5"),
        (2.5e7, "2.5e7"),
        (math.nan, "not finite"),
        (math.inf, "not finite"),
    ],
)
def test_figures(value: float, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0, 7.2, [0, 2, 4, 6, 8]),
        (1, 20, [0, 5, 10, 15, 20]),
        (0, 3.4e-4, [0, 1e-4, 2e-4, 3e-4, 4e-4]),
        (-0.3, 1, [-0.5, 0, 0.5, 1]),
        (4, 4, [4]),
    ],
)
def test_ticks_by_hand(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@given(st.floats(-1e6, 1e6), st.floats(1e-2, 1e9))
def test_ticks_are_even_and_hold_the_range(low: float, width: float) -> None:
    high = low + width
    found = ticks(low, high)
    step = (found[-1] - found[0]) / (len(found) - 1)
    assert 2 <= len(found) <= 12
    assert found[0] <= low + 1e-6 * step
    assert found[-1] >= high - 1e-6 * step
    assert [b - a for a, b in pairwise(found)] == pytest.approx([step] * (len(found) - 1), rel=1e-6)


def test_labels_are_spread_by_hand() -> None:
    assert spread([10, 12, 50], 15, highest=200) == [10, 25, 50]
    assert spread([10, 190, 199], 15, highest=200) == [10, 185, 200]
    assert spread([], 15, highest=200) == []


@given(st.lists(st.floats(0, 200), max_size=10))
def test_labels_never_meet(wanted: list[float]) -> None:
    placed = spread(sorted(wanted), 15, highest=200)
    assert all(b - a >= 15 - 1e-9 for a, b in pairwise(placed))
    assert not placed or placed[-1] <= 200


def test_a_line_goes_where_the_axes_say() -> None:
    """The marks on the axes and the points of the line agree on where a value lies."""
    chart = draw(Line("triplet", [0, 100, 500], [4, 2, 0]))
    marks = texts(chart)
    assert [x for x, _ in points(chart)][1:] == [float(marks[name].get("x") or 0) for name in ("100", "500")]
    text_below_line = 4  # a label's baseline
    for (_, y), name in zip(points(chart), ("4", "2"), strict=False):
        assert y == float(marks[name].get("y") or 0) - text_below_line
    (x0, y0), (x1, y1), (x2, y2) = points(chart)
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.2, abs=1e-3)
    assert (y1 - y0) / (y2 - y0) == pytest.approx(0.5, abs=1e-3)
    assert 0 < x0 < x2 < WIDTH
    assert 0 < y0 < y2 < 240


def test_the_axes_begin_where_asked_or_lower() -> None:
    late, whole = (draw(Line("mAP", x, [0.5, 1])) for x in ([100, 200], [0, 200]))
    begin, end = (x for x, _ in points(whole))
    assert points(late)[0][0] == pytest.approx((begin + end) / 2, abs=0.1)
    assert float(texts(draw(Line("after", [1, 20], [50, 90]), x_low=1))["1"].get("x") or 0) > 0
    assert "-1" in texts(draw(Line("log", [0, 1], [-1, 1])))
    assert "-5" in texts(draw(Line("log", [-5, 1], [0, 1])))


def test_a_value_that_is_not_finite_leaves_a_gap() -> None:
    chart = draw(Line("identity", [0, 1, 2, 3, 4], [5, 4, math.nan, 2, 1]))
    path = next(part for part in chart.iter("path") if part.get("class") == "line line-0").get("d") or ""
    assert re.sub(r"[^ML]", "", path) == "MLML"
    assert len(points(chart)) == 4


def test_a_line_without_any_finite_value_is_told_and_not_drawn() -> None:
    chart = draw(Line("identity", [0, 1], [math.nan, math.inf]))
    assert not [part for part in chart.iter("path") if part.get("class") == "line line-0"]
    assert "identity" not in texts(chart)
    assert chart.get("aria-label") == "loss over step: identity from not finite to not finite"


def test_one_point_is_a_dot() -> None:
    chart = draw(Line("mAP", [3], [0.5]))
    (dot,) = chart.iter("circle")
    assert (float(dot.get("cx") or 0), float(dot.get("cy") or 0)) == points(chart)[0]


def test_names_stand_at_the_ends_and_apart() -> None:
    lines = [Line(name, [0, 1], [1, end]) for name, end in (("a", 0.02), ("b", 0.0), ("c", 0.01), ("d", 1.0))]
    chart = draw(*lines)
    heights = {name: float(texts(chart)[name].get("y") or 0) for name in "abcd"}
    order = sorted(heights, key=lambda name: heights[name])
    assert order == ["d", "a", "c", "b"]
    assert all(heights[b] - heights[a] >= LINE for a, b in pairwise(order))
    assert texts(chart)["c"].get("class") == "name-2"


def test_a_long_name_is_cut_beside_the_line_and_whole_under_the_pointer() -> None:
    chart = draw(Line("a_very_long_name_of_a_loss", [0, 1], [1, 2]))
    assert "a_very_long_name_…" in texts(chart)
    assert any("a_very_long_name_of_a_loss" in (title.text or "") for title in chart.iter("title"))


def test_the_pointer_finds_every_value() -> None:
    """The slices cover the chart without a gap, and each names the values nearest to it."""
    chart = draw(Line("identity", [10, 20, 40], [3, 2, 1]), Line("triplet", [20, 40], [0.5, 0.25]))
    slices = list(chart.iter("rect"))
    assert [part[0].text for part in slices] == [
        "step 10\nidentity 3",
        "step 20\nidentity 2\ntriplet 0.5",
        "step 40\nidentity 1\ntriplet 0.25",
    ]
    left = [float(part.get("x") or 0) for part in slices]
    right = [float(part.get("x") or 0) + float(part.get("width") or 0) for part in slices]
    assert right[:-1] == pytest.approx(left[1:], abs=0.11)
    for (x, _), begin, end in zip(points(chart), left, right, strict=True):
        assert begin <= x <= end + 0.11


def test_a_screen_reader_hears_the_ends() -> None:
    chart = draw(Line("identity", [1, 2], [6.5, 0.25]), Line("triplet", [1, 2], [1, 0.5]))
    assert chart.get("role") == "img"
    assert chart.get("aria-label") == "loss over step: identity from 6.5 to 0.25; triplet from 1 to 0.5"


@pytest.mark.parametrize("lines", [[], [Line("identity", [], [])]])
def test_a_chart_needs_a_point(lines: list[Line]) -> None:
    with pytest.raises(ValueError, match="at least one point"):
        draw(*lines)


def test_a_line_has_as_many_values_as_places() -> None:
    with pytest.raises(ValueError, match="zip"):
        draw(Line("identity", [1, 2], [1]))
