"""Tables of faults, what is decided in them, and what becomes of the data."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from resight.audit.corrections import Changes, correct, write_corrected
from resight.audit.faults import COLUMNS, OFFERED, Decided, Fault, read_decisions, sureness, table_rows, write_rows
from resight.data.index import read
from resight.errors import DataError
from resight.types import Record

TABLE = """\
path,identity,camera,caption,note,split
a1.png,1,x,one,"keep, me",train
a2.png,1,y,"[""two"", ""three""]",,train
b1.png,2,x,,n,test
b2.png,2,y,four,,test
c1.png,3,x,,,train
c2.png,3,y,,,train
j.png,-1,x,,junk,train
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "index.csv").write_text(TABLE)
    return tmp_path / "data" / "index.csv"


def decided(
    kind: str, decision: str, pictures: list[str], identities: list[str], caption: str = "", line: int = 2
) -> Decided:
    assert kind in OFFERED
    return Decided(f"d.csv: line {line}", kind, decision, tuple(pictures), tuple(identities), caption)  # type: ignore[arg-type]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_decision_is_carried_out(table: Path, tmp_path: Path) -> None:
    before = table.read_bytes()
    decisions = [
        decided("wrong identity", "move", ["b1.png"], ["2", "1"]),
        decided("wrong caption", "move", ["a1.png", "c1.png"], ["1", "3"], "one"),
        decided("shared caption", "drop", ["a2.png", "b2.png"], ["1", "2"], "Two"),
        decided("copy across splits", "drop", ["c2.png"], ["3", "2"]),
        decided("same individual", "merge", ["c1.png"], ["2", "3"]),
        decided("two individuals", "keep", ["a1.png"], ["1", "1-2"]),
    ]
    out = tmp_path / "data" / "corrected.csv"
    changes = write_corrected(decisions, table, out)
    assert changes == Changes(moved=1, dropped=1, merged=1, captions_moved=1, captions_dropped=1, kept=1)
    assert str(changes) == (
        "1 pictures moved, 1 left out; 1 identities merged into others; 1 captions left out, 1 moved; 1 faults kept as "
        "they are"
    )
    assert table.read_bytes() == before
    assert [list(row.values()) for row in rows_of(out)] == [
        ["a1.png", "1", "x", "", "keep, me", "train"],
        ["a2.png", "1", "y", "three", "", "train"],
        ["b1.png", "1", "x", "", "n", "test"],
        ["b2.png", "2", "y", "four", "", "test"],
        ["c1.png", "2", "x", "one", "", "train"],
        ["j.png", "-1", "x", "", "junk", "train"],
    ]
    assert sorted(path.name for path in out.parent.iterdir()) == ["corrected.csv", "index.csv"]


def test_paths_hold_from_another_folder(table: Path, tmp_path: Path) -> None:
    keep = [decided("same individual", "keep", ["a1.png"], ["1", "2"])]
    write_corrected(keep, table, tmp_path / "above.csv")
    assert rows_of(tmp_path / "above.csv")[0]["path"] == "data/a1.png"
    (tmp_path / "beside").mkdir()
    write_corrected(keep, table, tmp_path / "beside" / "x.csv")
    assert rows_of(tmp_path / "beside" / "x.csv")[0]["path"] == str(table.parent / "a1.png")
    assert read(tmp_path / "beside" / "x.csv").train == read(table).train


def test_other_column_names_and_whole_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("img\twho\textra\na.png\t1.0\t7\nb.png\t1.0\t\nc.png\t2.0\t9\nd.png\tunknown\t\n")
    decisions = [decided("two individuals", "move", ["b.png"], ["1", "1-2"])]
    write_corrected(decisions, tmp_path / "t.tsv", tmp_path / "out.csv", columns={"identity": "who"})
    assert [list(row.values()) for row in rows_of(tmp_path / "out.csv")] == [
        ["a.png", "1", "7"],
        ["b.png", "1-2", ""],
        ["c.png", "2", "9"],
        ["d.png", "unknown", ""],
    ]


def test_a_parquet_table_keeps_its_columns(tmp_path: Path) -> None:
    values = {"path": ["a.png", "b.png"], "identity": [1, 1], "caption": [["x", "y"], None], "weight": [0.5, None]}
    pyarrow.parquet.write_table(pyarrow.table(values), tmp_path / "t.parquet")
    decisions = [decided("wrong caption", "drop", ["a.png", "b.png"], ["1", "1"], "x")]
    write_corrected(decisions, tmp_path / "t.parquet", tmp_path / "out.csv")
    assert [list(row.values()) for row in rows_of(tmp_path / "out.csv")] == [
        ["a.png", "1", "y", "0.5"],
        ["b.png", "1", "", ""],
    ]


def test_a_folder_becomes_an_index(picture: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("p/1/a.png", "p/1/b.png", "p/2/c.png"):
        picture(name)
    decisions = [decided("wrong identity", "move", ["1/b.png"], ["1", "2"])]
    write_corrected(decisions, tmp_path / "p", tmp_path / "out.csv")
    found = read(tmp_path / "out.csv").unassigned
    assert {(record.path.name, record.identity) for record in found} == {("a.png", "1"), ("b.png", "2"), ("c.png", "2")}


def records(*names: tuple[str, str]) -> list[Record]:
    return [Record(Path("/d") / path, identity) for path, identity in names]


def test_merges_make_chains_and_take_what_was_moved_along() -> None:
    data = records(("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"))
    decisions = [
        decided("same individual", "merge", ["b"], ["1", "2"]),
        decided("same individual", "merge", ["c"], ["2", "3"]),
        decided("same individual", "merge", ["c"], ["3", "1"]),
        decided("wrong identity", "move", ["d"], ["4", "3"]),
    ]
    corrected, changes = correct(data, decisions, Path("/d"))
    assert [record and record.identity for record in corrected] == ["1"] * 4
    assert changes.merged == 2


def test_a_picture_decided_by_itself_does_not_follow_its_half() -> None:
    data = records(("a", "1"), ("b", "1"), ("c", "2"))
    decisions = [
        decided("two individuals", "move", ["a", "b"], ["1", "1-2"]),
        decided("wrong identity", "move", ["b"], ["1", "2"], line=3),
    ]
    corrected, changes = correct(data, decisions, Path("/d"))
    assert [record and record.identity for record in corrected] == ["1-2", "2", "2"]
    assert changes.moved == 2


def test_a_file_under_two_identities_is_told_apart() -> None:
    data = [*records(("a", "1"), ("a", "2")), replace(records(("a", "1"))[0], box=(0.0, 0.0, 5.0, 5.0))]
    corrected, _ = correct(data, [decided("wrong identity", "move", ["a"], ["2", "3"])], Path("/d"))
    assert [record and record.identity for record in corrected] == ["1", "3", "1"]
    corrected, _ = correct(data, [decided("wrong identity", "drop", ["a [0 0 5 5]"], ["1", "3"])], Path("/d"))
    assert [record and record.identity for record in corrected] == ["1", "2", None]


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        ([("wrong identity", "move", ["z"], ["1", "2"])], "line 2: z is not among the pictures of --data"),
        ([("wrong identity", "move", ["a"], ["2", "1"])], "line 2: a is not of identity 2 in --data"),
        ([("wrong identity", "move", ["a"], ["1"])], "line 2: does not say to which identity"),
        (
            [("wrong identity", "move", ["a"], ["1", "2"]), ("copy across splits", "drop", ["a"], ["1", "2"])],
            "d.csv: line 2 and d.csv: line 2 decide differently about a. Empty one of them",
        ),
        ([("same individual", "merge", ["b"], ["1", "9"])], "line 2: no picture is of identity 9"),
        ([("same individual", "merge", ["b"], ["1"])], "line 2: does not say which two identities"),
        ([("wrong caption", "drop", ["a", "b"], ["1", "2"])], "line 2: no caption of a is its caption"),
        ([("wrong caption", "move", ["a"], ["1", "2"])], "line 2: does not say to which picture"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(decisions: list[tuple[str, str, list[str], list[str]]], message: str):
    data = records(("a", "1"), ("b", "2"))
    with pytest.raises(DataError, match=message):
        correct(data, [decided(*one) for one in decisions], Path("/d"))


def test_a_table_of_faults_is_read_again(tmp_path: Path) -> None:
    data = [Record(tmp_path / 'a "b",c.png', "1"), Record(Path("/elsewhere.png"), "2")]
    faults = [
        Fault("wrong identity", 0.98765, (data[0],), ("1", "2"), "why", beside=(("x", (data[1],)),)),
        Fault("wrong caption", 0.9, (data[0], data[1]), ("1", "2"), "why", caption='said "so", twice\nhere'),
    ]
    rows = table_rows(faults, tmp_path)
    assert rows[0] == list(COLUMNS)
    assert rows[1][:5] == ["1", "0.9877", "wrong identity", "move", ""]
    path = tmp_path / "findings.csv"
    write_rows(rows, path)
    with pytest.raises(DataError, match=r"decides nothing. Fill in its column decision: keep, move, merge or drop"):
        read_decisions(path)
    rows[1][4], rows[2][4] = " Merge ", "drop"
    write_rows(rows, path)
    first, second = read_decisions(path)
    assert first == Decided(f"{path}: line 2", "wrong identity", "merge", ('a "b",c.png',), ("1", "2"), "")
    assert (second.pictures, second.caption) == (('a "b",c.png', "/elsewhere.png"), 'said "so", twice\nhere')
    assert json.loads(rows[1][COLUMNS.index("beside")]) == ["/elsewhere.png"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("keep,nonsense,[],[],", "line 2: kind 'nonsense' is none of wrong identity, "),
        ("move,same individual,[],[],", "a same individual may be decided as keep, merge, not 'move'"),
        ('merge,same individual,a,"[""1""]",', r'line 2: pictures is not a list such as \["a", "b"\]'),
        ('merge,same individual,"[""a""]",[1],', "line 2: identities is not a list"),
        ('merge,same individual,"[""a""]",[],', "line 2: identities is not a list"),
        ("merge,same individual", "line 2: pictures is not a list"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "d.csv"
    path.write_text(f"decision,kind,pictures,identities,caption\n{line}\n")
    with pytest.raises(DataError, match=message):
        read_decisions(path)


def test_other_files_are_no_decisions(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    for content in (b"", b"path,identity\na,1\n", b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"Give the findings.csv of `resight data audit`"):
            read_decisions(path)
    with pytest.raises(DataError, match="cannot be read as a table of decisions"):
        read_decisions(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="cannot be written"):
        write_rows([], tmp_path / "nowhere" / "x.csv")


def test_scores_for_people() -> None:
    assert [sureness(score) for score in (0.5, 0.951, 0.99, 0.9901, 1)] == [
        "50 % sure",
        "95 % sure",
        "99 % sure",
        "over 99 % sure",
        "over 99 % sure",
    ]
