"""What is told of a cut: the pictures it leaves out, and the queries that find nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from resight.data.cut import cut_notes
from resight.data.index import split
from resight.errors import DataError
from resight.types import Record

DAY = 86_400.0


def picture(name: str, identity: str = "1", camera: str | None = "a", day: int | None = 0) -> Record:
    return Record(Path(f"/data/{name}.jpg"), identity, camera, time=None if day is None else DAY * day)


def pictures(cameras: str, days: int = 2) -> list[Record]:
    """Three pictures of 2 identities by each camera and day."""
    return [
        picture(f"{identity}{camera}{day}{k}", identity, camera, day)
        for identity in "12"
        for camera in cameras
        for day in range(days)
        for k in range(3)
    ]


def test_a_cut_by_identity_leaves_nothing_out() -> None:
    records = pictures("ab")
    assert cut_notes(records, split(records, by="identity", seed=0), "identity") == []


def test_surplus_and_unknown_pictures_are_counted() -> None:
    records = [*pictures("ab", days=1), picture("x", camera=None), picture("y", "2", camera=None)]
    cut = split([replace(record, split="train") for record in records], by="camera", seed=0, test=1.0)
    assert len(records) - len(cut) == 6
    assert cut_notes(records, cut, "camera") == [
        "4 pictures left out: further ones of test identities on the queries' side; --queries takes more of them for "
        "each camera",
        "2 pictures left out: of test identities, but without camera, so on neither side",
    ]
    records = [*pictures("ab"), picture("x", day=None)]
    cut = split(records, by="day", seed=0, test=2, n_queries=9)
    assert cut_notes(records, cut, "day") == [
        "1 pictures left out: of test identities, but without day, so on neither side"
    ]


def test_a_cut_that_cannot_be_evaluated() -> None:
    records = pictures("a")
    cut = split(records, by="day", seed=0, test=2)
    message = (
        r"none of the 2 queries of this cut has anything to find: a match must come from another camera. Cut by "
        r"another measure, or leave the camera out: --column camera=$"
    )
    with pytest.raises(DataError, match=message):
        cut_notes(records, cut, "day")
    without = [replace(record, camera=None) for record in cut]
    assert cut_notes(without, without, "day") == []


def test_boxes_of_one_file_match_nothing() -> None:
    both = Record(Path("/data/1.jpg"), "1", split="test")
    boxes = [replace(both, box=(0.0, 0.0, float(k), 5.0)) for k in (1, 2)]
    with pytest.raises(DataError, match=r"anything to find: a match is another file. Cut by another measure$"):
        cut_notes(boxes, boxes, "identity")


def test_some_queries_find_nothing() -> None:
    cut = [
        replace(picture("1", "1", "a"), split="query"),
        replace(picture("2", "1", "b"), split="gallery"),
        replace(picture("3", "2", "a"), split="query"),
        replace(picture("4", "2", "a"), split="gallery"),
    ]
    assert cut_notes(cut, cut, "day") == ["1 of 2 queries have nothing to find: a match must come from another camera"]


def test_without_queries_there_is_nothing_to_lose() -> None:
    records = pictures("a")
    assert cut_notes(records, split(records, by="identity", seed=0, test=0), "identity") == []
