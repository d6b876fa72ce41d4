from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from resight.errors import DataError
from resight.evaluate import ENDS_OF_TIES, CameraPair, Report, Rerank, Rules, Task
from resight.examples import Ranked
from resight.open_set import OpenSet
from resight.report import as_json, show, write_json
from resight.types import Record

SCORES = {"mAP": 0.61239, "R1": 0.8, "R5": 0.9, "R10": 0.95, "R20": 1.0, "mINP": 0.2}
BETTER = {**SCORES, "mAP": 0.71, "R1": 0.85}


def report(
    *,
    reranked: dict[str, float] | None = None,
    pairs: tuple[CameraPair, ...] = (),
    first_at_ties: tuple[float, float] = (0.8, 0.8),
    open_set: OpenSet | None = None,
) -> Report:
    intervals = {name: (value - 0.05, min(1.0, value + 0.05)) for name, value in SCORES.items()}
    ends = {rule: {"mAP": SCORES["mAP"], "R1": first} for rule, first in zip(ENDS_OF_TIES, first_at_ties, strict=True)}
    task = Task("image → image", "cross-camera", 100, 97, 500, SCORES, intervals, ends, reranked, pairs, open_set)
    rules = Rules(protocol="cross-camera", rerank=Rerank(50, 15) if reranked else None)
    return Report(
        "my [encoder]",
        "0123456789abcdef",
        "market1501",
        "feedbeef",
        "test",
        rules,
        (task,),
        ("3 pictures [junk] dropped",),
    )


def shown(what: Report) -> str:
    text = io.StringIO()
    show(what, Console(file=text, width=200))
    return text.getvalue()


def test_the_table_shows_percent_with_one_decimal_intervals_and_counts() -> None:
    text = shown(report())
    for part in (
        "61.2",
        "56–66",
        "80.0",
        "97",
        "of 100",
        "500",
        "cross-camera",
        "my [encoder] [0123456789abcdef]",
        "[junk]",
    ):
        assert part in text
    assert "with re-ranking" not in text
    header = next(line for line in text.splitlines() if "mAP" in line)
    assert [word for word in header.replace("┃", " ").split() if word[0] in "mR"] == [
        "mAP",
        "R1",
        "R5",
        "R10",
        "R20",
        "mINP",
    ]


def test_the_table_fits_80_columns() -> None:
    text = io.StringIO()
    show(report(reranked=BETTER), Console(file=text, width=80))
    table = [line for line in text.getvalue().splitlines() if not line.startswith(("my [encoder]", "note:"))]
    assert "…" not in text.getvalue()
    assert max(map(len, table)) <= 80
    for name in ("image → image", "cross-camera", "mINP", "gallery", "56–66"):
        assert any(name in line for line in table)


def test_reranked_scores_stand_in_a_table_of_their_own() -> None:
    raw, reranked = shown(report(reranked=BETTER)).split("with re-ranking (k1 50, k2 15, weight 0.3)")
    assert "61.2" in raw
    assert "71.0" not in raw
    assert "71.0" in reranked
    assert "61.2" not in reranked


def test_camera_pairs_are_shown_on_request() -> None:
    text = shown(report(pairs=(CameraPair("c1", "c2", 12, SCORES),)))
    line = next(line for line in text.splitlines() if "c2" in line)
    assert line.replace("│", " ").split() == ["c1", "c2", "61.2", "80.0", "12"]


def test_ties_are_told_where_they_change_a_figure() -> None:
    assert "ties:" not in shown(report(first_at_ties=(0.7999, 0.8001)))
    (line,) = [line for line in shown(report(first_at_ties=(0.02, 0.97))).splitlines() if line.startswith("ties:")]
    assert line == (
        "ties: image → image has mAP 61.2 and R1 2.0 if the negatives win them all, mAP 61.2 and R1 97.0 if the "
        "positives do"
    )


def test_the_open_set_has_a_line_of_its_own() -> None:
    scores = {"TPIR@1%": 0.5, "TPIR@10%": 0.7512, "AUROC": 0.9}
    everything = OpenSet(100, scores, dict.fromkeys(scores, (0.4, 0.96)))
    few = OpenSet(60, {"AUROC": 0.9}, {"AUROC": (0.4, 0.96)})
    (line,) = [line for line in shown(report(open_set=everything)).splitlines() if line.startswith("open set:")]
    assert line == (
        "open set: image → image TPIR at FPIR 1 % 50.0 (40–96), TPIR at FPIR 10 % 75.1 (40–96), AUROC 90.0 (40–96)"
    )
    (line,) = [line for line in shown(report(open_set=few)).splitlines() if line.startswith("open set:")]
    assert line == (
        "open set: image → image AUROC 90.0 (40–96); TPIR at FPIR 1 % and TPIR at FPIR 10 % left out, 60 queries are "
        "too few"
    )
    assert "open set:" not in shown(report())
    stored = json.loads(json.dumps(as_json(report(open_set=few))))["tasks"][0]["open_set"]
    assert stored == {"n_queries": 60, "scores": {"AUROC": 0.9}, "intervals": {"AUROC": [0.4, 0.96]}}


def test_json_gives_everything_back(tmp_path: Path) -> None:
    what = report(reranked=BETTER, pairs=(CameraPair("c1", "c2", 12, SCORES),))
    write_json(as_json(what), tmp_path / "new")
    stored = json.loads((tmp_path / "new" / "report.json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(as_json(what)))
    assert stored["tasks"][0]["scores"] == SCORES
    assert stored["tasks"][0]["reranked"] == BETTER
    assert stored["tasks"][0]["at_ties"]["pessimistic"] == {"mAP": 0.61239, "R1": 0.8}
    assert stored["rules"]["rerank"] == {"k1": 50, "k2": 15, "weight": 0.3}


def test_json_leaves_the_answers_out() -> None:
    answer = Ranked(Record(Path("/pictures/0.jpg"), "p"), 1.0, 1, (), "a person")
    assert as_json(replace(report(), answers=(answer,))) == as_json(report())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_json(as_json(report()), tmp_path / "file")
