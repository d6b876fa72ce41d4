from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from resight.calibration import Calibration, Curve, Threshold, chance_of_a_false_match, read, write
from resight.errors import DataError

CURVE = Curve(
    thresholds=(Threshold(1e-2, 0.4, 0.35, 0.45, 0.9, 0.8, 0.95), Threshold(1e-4, 0.7, 0.6, 0.8, 0.5, 0.4, 0.6)),
    slope=20.0,
    intercept=-10.0,
    n_same=500,
    n_different=400_000,
    n_identities=30,
    rule="cross-camera",
    different=((0.1, 0.5), (0.4, 1e-2), (0.7, 1e-4)),
)
KNOWN = Calibration("0123456789abcdef", "feedbeef", CURVE, notes=("a note",))


@pytest.mark.parametrize(
    ("similarity", "verdict"),
    [(-1.0, "unknown"), (0.3999, "unknown"), (0.4, "ask a person"), (0.6999, "ask a person"), (0.7, "match")],
)
def test_verdicts_change_at_the_thresholds(similarity: float, verdict: str) -> None:
    assert CURVE.judge(similarity) == verdict


def test_the_probability_rises_and_never_overflows() -> None:
    assert CURVE.probability(0.5) == 0.5
    assert CURVE.probability(0.6) == pytest.approx(1 / (1 + math.exp(-2)))
    values = [CURVE.probability(k / 100) for k in range(-100, 101)]
    assert values == sorted(values)
    steep = Curve(**{name: getattr(CURVE, name) for name in CURVE.__slots__} | {"slope": 1e6, "intercept": 0.0})
    assert (steep.probability(-1), steep.probability(0), steep.probability(1)) == (0.0, 0.5, 1.0)


def test_the_false_match_rate_runs_between_what_was_measured() -> None:
    for similarity, rate in CURVE.different:
        assert CURVE.false_match_rate(similarity) == pytest.approx(rate)
    assert CURVE.false_match_rate(0.55) == pytest.approx(1e-3)  # half-way between 1e-2 and 1e-4, by their logarithm
    assert CURVE.false_match_rate(0.99) == 1e-4
    assert CURVE.false_match_rate(-0.5) == 0.5
    values = [CURVE.false_match_rate(k / 100) for k in range(-100, 101)]
    assert values == sorted(values, reverse=True)


def test_a_search_meets_false_rows_more_often_the_more_there_are() -> None:
    assert chance_of_a_false_match(1e-3, 1) == pytest.approx(1e-3)
    assert chance_of_a_false_match(1e-3, 1000) == pytest.approx(1 - 0.999**1000)
    assert chance_of_a_false_match(1e-18, 1000) == pytest.approx(1e-15)  # where 1 - (1 - rate)^n is nothing
    assert chance_of_a_false_match(0.5, 0) == 0.0
    assert chance_of_a_false_match(1.0, 3) == 1.0


def test_a_file_gives_everything_back(tmp_path: Path) -> None:
    both = Calibration("0123456789abcdef", "feedbeef", CURVE, words=CURVE)
    for calibration in (KNOWN, both):
        write(calibration, tmp_path / "calibration.json")
        assert read(tmp_path / "calibration.json") == calibration
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]
    assert Calibration.from_dict(json.loads(json.dumps(KNOWN.as_dict()))) == KNOWN


def broken(**changes: Any) -> str:
    values = KNOWN.as_dict()
    return json.dumps(values | {"pictures": values["pictures"] | changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("\udcff", "cannot be read"),
        ("[]", "The calibration is damaged"),
        ("{}", r"damaged \('pictures'\)"),
        (json.dumps(KNOWN.as_dict() | {"pictures": None}), "pictures: null"),
        (json.dumps({name: value for name, value in KNOWN.as_dict().items() if name != "encoder"}), "'encoder'"),
        (broken(thresholds=[]), "0 thresholds"),
        (broken(different=[]), "0 shares"),
        (broken(slope=-1.0), "slope -1"),
        (broken(slope=float("nan")), "slope nan"),
        (broken(slope="steep"), "steep"),
        (broken(n_same="many"), "many"),
        (broken(colour="red"), "colour"),
        (broken(thresholds=[{"rate": 0.1}]), "missing"),
        (broken(different=[[1]]), "not enough values"),
    ],
)
def test_a_damaged_file_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message) as raised:
        read(file)
    assert str(raised.value).startswith(str(file))
    assert "resight calibrate" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_missing_or_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "none.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write(KNOWN, tmp_path / "file" / "calibration.json")
