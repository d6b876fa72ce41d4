"""Corrections from a table: what it says, what it leaves, and what it cannot say."""

from __future__ import annotations

from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from resight.data.labels import Labels, read_labels
from resight.errors import DataError


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_columns_that_are_there_are_taken_over(tmp_path: Path) -> None:
    table = write(
        tmp_path / "t.csv",
        "id,path,identity,camera,time,x1,hat",
        "a,p.jpg, Anna ,gate,2024-05-31,4,red",
        "",
        "b,,unknown,,,,",
    )
    assert read_labels(table) == [
        Labels("a", {"identity": "Anna", "camera": "gate", "time": 1717113600.0}, {"hat": "red"}),
        Labels("b", {"identity": None, "camera": None, "time": None}, {"hat": ""}),
    ]
    assert read_labels(write(tmp_path / "t.tsv", "id\tcamera", "a\t7")) == [Labels("a", {"camera": "7"}, {})]


def test_parquet_says_the_same(tmp_path: Path) -> None:
    columns = {"id": ["a"], "identity": [7], "time": [12.5], "hat": [None]}
    parquet.write_table(arrow.table(columns), tmp_path / "t.parquet")
    assert read_labels(tmp_path / "t.parquet") == [Labels("a", {"identity": "7", "time": 12.5}, {"hat": ""})]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("name,identity", "a,b"), "has no column id"),
        (("id,identity",), "has no row below its header"),
        (("id,identity", "a,x", "a,y"), "row 3: id a stands twice"),
        (("id,identity", ",x"), "row 2: the id is empty"),
        (("id,time", "a,x", "a,noon"), "row 2: time 'x' is neither"),
    ],
)
def test_what_it_cannot_say(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_labels(write(tmp_path / "t.csv", *lines))
