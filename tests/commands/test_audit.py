"""`resight data audit` and `correct`: what they print and write, and what they refuse before anything is embedded."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from resight.audit.faults import Fault, read_decisions, table_rows, write_rows
from resight.cli import main
from resight.data.index import read
from resight.types import Record

QUICK = ("random:64x1/8", "--size", "32", "16", "--device", "cpu")
COLOURS = {"red": (230, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 230), "grey": (130, 130, 130)}


@pytest.fixture
def table(picture: Callable[..., Path], tmp_path: Path) -> Path:
    """Four identities of one colour each, six pictures; a blue one is called red."""
    lines = ["path,identity,camera,note"]
    for name, colour in COLOURS.items():
        lines += [f"{picture(f'{name}{k}.png', colour=colour).name},{name},{k % 2},n{k}" for k in range(6)]
    lines.append(f"{picture('wrong.png', colour=COLOURS['blue']).name},red,1,x")
    (tmp_path / "index.csv").write_text("\n".join(lines))
    return tmp_path / "index.csv"


def audit(table: Path, *more: str) -> int:
    return main(["data", "audit", *QUICK, "--data", str(table), *more])


def test_a_fault_goes_all_the_way(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert audit(table, "--out", str(out)) == 1
    shown = capsys.readouterr().out
    assert re.search(r"^  1\. wrong identity, .*9\d % sure: wrong\.png: likeness ", shown, re.MULTILINE)
    assert "likely faults by random:64x1/8: wrong identity 1" in shown
    assert "note: there are no captions to check" in shown
    assert f"written to {out / 'findings.csv'} and {out / 'audit.html'}" in shown
    assert "wrong.png" in (out / "audit.html").read_text()
    with (out / "findings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert json.loads(rows[0]["identities"]) == ["red", "blue"]
    rows[0]["decision"] = rows[0]["suggestion"]
    with (tmp_path / "decisions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    corrected = tmp_path / "corrected.csv"
    correct = ["data", "correct", str(tmp_path / "decisions.csv"), "--data", str(table), "--out", str(corrected)]
    assert main(correct) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("1 pictures moved, 0 left out;")
    assert shown.endswith(f"written to {corrected}\n")
    found = {record.path.name: record.identity for record in read(corrected).unassigned}
    assert found["wrong.png"] == "blue"
    assert corrected.read_text().splitlines()[-1] == '"wrong.png","blue","1","x"'
    assert audit(corrected) == 0
    assert "no likely faults" in capsys.readouterr().out
    assert main([*correct, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["moved"] == 1


def test_json(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(table, "--json", "--top", "1") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["counts"]["wrong identity"] == 1
    assert [row["kind"] for row in told["findings"]] == ["wrong identity"]
    assert json.loads(told["findings"][0]["pictures"]) == ["wrong.png"]


def test_an_unreadable_picture_is_left_out(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (table.parent / "red0.png").write_bytes(b"no picture")
    assert audit(table) == 1
    assert "note: left out: " in capsys.readouterr().out


def test_what_cannot_be_audited_is_refused(
    table: Path, picture: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture("one/a.png")
    (tmp_path / "bare.csv").write_text("path\nred0.png\n")
    (tmp_path / "gone.csv").write_text("path,identity\nred0.png,1\nnot-there.png,2\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "findings.csv").write_text("decided")
    for data, more, said in (
        (tmp_path / "bare.csv", (), "bare.csv: names no identity. Name the column: --column identity=NAME."),
        (tmp_path / "one", (), "one: names no identity."),
        (tmp_path / "gone.csv", (), "1 of 2 pictures are missing"),
        (table, ("--top", "0"), "--top 0: at least 1."),
        (table, ("--out", str(tmp_path / "out")), "findings.csv: is there already, perhaps with decisions."),
        (table, ("--out", str(table)), "is a file. Name a folder."),
        (table, ("--batch-size", "0"), "--batch-size 0: at least 1."),
    ):
        assert audit(data, *more) == 2
        shown = capsys.readouterr().err
        assert said in shown
        assert shown.count("\n") == 1
    (tmp_path / "alone.csv").write_text("path,identity\nred0.png,7\nred1.png,7\n")
    assert audit(tmp_path / "alone.csv") == 2
    assert "has one identity alone (7)" in capsys.readouterr().err
    (tmp_path / "single.csv").write_text("path,identity\nred0.png,7\nred1.png,8\n")
    assert audit(tmp_path / "single.csv") == 2
    assert "no identity has two pictures" in capsys.readouterr().err


def test_decisions_on_thousands_of_pictures_are_read(tmp_path: Path) -> None:
    """A list of pictures may be longer than what the reader of CSV takes by default, 131,072 characters."""
    records = tuple(Record(tmp_path / f"a folder with a long name/{k:06}.png", "1") for k in range(4000))
    faults = [Fault("shared caption", 0.5, records, ("1", "2"), "stands with 4,000", "a person")]
    rows = table_rows(faults, tmp_path)
    rows[1][rows[0].index("decision")] = "drop"
    write_rows(rows, tmp_path / "d.csv")
    limit = csv.field_size_limit()
    (decided,) = read_decisions(tmp_path / "d.csv")
    assert decided.pictures == tuple(str(record.path.relative_to(tmp_path)) for record in records)
    assert csv.field_size_limit() == limit


def test_what_cannot_be_corrected_is_refused(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decisions, out = tmp_path / "d.csv", tmp_path / "x.csv"
    header = "decision,kind,pictures,identities,caption\n"
    decisions.write_text(header + 'move,wrong identity,"[""nobody.png""]","[""red"", ""blue""]",\n')
    for words, said in (
        ((decisions, "--out", out), f"{decisions}: line 2: nobody.png is not among the pictures of --data."),
        ((decisions, "--out", table), "is the table of --data. Give another name, so that it is kept."),
        ((decisions, "--out", decisions), "is the decisions. Give another name, so that it is kept."),
        ((decisions, "--out", tmp_path / "x.txt"), "a CSV is written. Give a name that ends in .csv."),
        ((tmp_path / "none.csv", "--out", out), "cannot be read as a table of decisions"),
        ((table, "--out", out), "has no column kind, decision, pictures, identities, caption."),
        ((decisions, "--out", tmp_path / "no" / "x.csv"), "nobody.png"),
    ):
        assert main(["data", "correct", *map(str, words), "--data", str(table)]) == 2
        assert said in capsys.readouterr().err
    assert not out.exists()
    decisions.write_text(header + 'keep,wrong identity,"[""red0.png""]","[""red"", ""blue""]",\n')
    nowhere = tmp_path / "no" / "x.csv"
    assert main(["data", "correct", str(decisions), "--data", str(table), "--out", str(nowhere)]) == 2
    assert "x.csv: cannot be written" in capsys.readouterr().err
