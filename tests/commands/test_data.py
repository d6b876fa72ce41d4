"""`resight data split`: what it tells, and what it refuses before anything is written; `resight data list`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resight.cli import main


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three pictures of 4 identities by cameras a and b; all of a camera on one day."""
    rows = [
        f"{identity}{camera}{k}.jpg,{identity},{camera},2024-05-0{day}"
        for identity in "1234"
        for day, camera in enumerate("ab", 1)
        for k in range(3)
    ]
    (tmp_path / "index.csv").write_text("\n".join(["path,identity,camera,time", *rows]))
    return tmp_path / "index.csv"


def split(table: Path, out: Path, *more: str) -> int:
    return main(["data", "split", "--data", str(table), "--out", str(out), *more])


def test_pictures_that_are_left_out_are_told(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.with_name("cut.csv")
    assert split(table, out, "--by", "camera", "--json") == 0
    shown = capsys.readouterr()
    note = "4 pictures left out: further ones of test identities on the queries' side; --queries takes more"
    assert f"note: {note}" in shown.err
    (told,) = json.loads(shown.out)["notes"]
    assert told.startswith(note)
    assert json.loads(shown.out)["query"]["pictures"] == 2
    assert len(out.read_text().splitlines()) == 1 + 24 - 4


def test_a_cut_that_cannot_be_evaluated_is_not_written(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.with_name("cut.csv")
    table.write_text(table.read_text().replace(",b,", ",a,"))
    assert split(table, out, "--by", "day") == 2
    assert "none of the 2 queries of this cut has anything to find" in capsys.readouterr().err
    assert not out.exists()
    assert split(table, out, "--by", "day", "--column", "camera=") == 0


@pytest.mark.parametrize("name", ["x.txt", "noext", "x.parquet", "x.tsv"])
def test_a_name_that_is_no_csv_is_refused(table: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert split(table, table.with_name(name)) == 2
    assert f"{name}: a CSV is written. Give a name that ends in .csv." in capsys.readouterr().err
    assert list(table.parent.iterdir()) == [table]


def test_the_table_itself_is_kept(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = table.read_bytes()
    (table.parent / "link.csv").symlink_to(table)
    for out in (table, table.parent / "link.csv"):
        assert split(table, out) == 2
        assert "is the table of --data. Give another name, so that it is kept." in capsys.readouterr().err
    assert table.read_bytes() == before


def test_the_list_shows_captions_where_there_are_some(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    assert "train 11,003 identities, 34,054 pictures, 68,126 captions; validation" in shown
    assert "train 751 identities, 12,936 pictures; query" in shown


def test_a_benchmark_s_own_split_is_left_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "Market-1501"
    for k, folder in enumerate(("bounding_box_train", "query", "bounding_box_test")):
        (root / folder).mkdir(parents=True)
        for camera in (1, 2):
            (root / folder / f"000{k}_c{camera}s1_000001_00.jpg").touch()
    assert split(root, tmp_path / "cut.csv") == 0
    said = "note: Market-1501's published split is left: results do not compare with published ones"
    assert said in capsys.readouterr().err
