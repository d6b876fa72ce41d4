"""What is read of a report.json, and which files are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resight.cli import main
from resight.errors import DataError
from resight.reported import SCORES, read_results


def test_what_evaluate_writes_is_read(coloured_people: Path, tmp_path: Path) -> None:
    words = ["--data", str(coloured_people), "--size", "32", "16", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main(["evaluate", "random:64x1/8", *words, "--rerank", "--k1", "4", "--k2", "2"]) == 0
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    results = read_results(tmp_path / "out")
    assert results == read_results(tmp_path / "out" / "report.json")
    assert len(results) == len(told["tasks"]) == 3
    first, task = results[0], told["tasks"][0]
    assert (first.encoder, first.data, first.data_name) == (told["fingerprint"], told["data"], told["data_name"])
    assert (first.task, first.protocol, first.subset) == ("image → image", "cross-camera", "test")
    assert (first.n_queries, first.n_valid, first.n_gallery) == (8, 8, 8)
    assert first.scores == {name: task["scores"][name] for name in SCORES}
    assert first.intervals == {name: tuple(task["intervals"][name]) for name in SCORES}
    assert first.reranked == {name: task["reranked"][name] for name in SCORES}
    assert first.rerank == "k1 4, k2 2, weight 0.3"


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda values: values.pop(name)


def score_of(value: object) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        values["tasks"][0]["scores"]["mAP"] = value

    return change


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (without("fingerprint"), "'fingerprint'"),
        (without("tasks"), "'tasks'"),
        (score_of(76.7), "a score of 76.7, which is no share from 0 to 1"),
        (score_of(float("nan")), "a score of nan, which is no share from 0 to 1"),
        (score_of("much"), "could not convert string to float: 'much'"),
        (score_of(None), "float() argument must be a string or a real number, not 'NoneType'"),
    ],
)
def test_other_files_are_no_report(
    change: Callable[[dict[str, Any]], None], found: str, write_report: Callable[..., Path]
) -> None:
    path = write_report("report.json", fingerprint="0" * 16)
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(DataError) as raised:
        read_results(path)
    assert str(raised.value) == f"{path}: is no report ({found}). Name what `resight evaluate --out` wrote."


def test_a_list_bytes_and_nothing_are_no_report(tmp_path: Path) -> None:
    for name, content in (("list", b"[1]"), ("bytes", b"\xff\xfe"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"is no report \(.+\)\. Name what `resight evaluate --out` wrote\.$"):
            read_results(tmp_path / name)
    with pytest.raises(DataError, match=r"report\.json: cannot be read \(.+\)\. Name what"):
        read_results(tmp_path)


def test_names_cannot_drive_a_terminal(write_report: Callable[..., Path]) -> None:
    (result,) = read_results(write_report("report.json", fingerprint="0" * 16, data_name="a\x1b[2Jb\n"))
    assert result.data_name == "a\\x1b[2Jb\\n"
