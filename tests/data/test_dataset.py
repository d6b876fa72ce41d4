from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from resight.data.dataset import all_records, fingerprint, require_pictures
from resight.errors import DataError
from resight.types import Record, Splits

ROOT = Path("/data/set")
ONE = Record(ROOT / "a/1.jpg", "a", "c1", "front", ("red",), "query", (1, 2, 3, 4), 5.0)
TWO = Record(ROOT / "b/1.jpg", "b")


def test_all_records_are_given_once_and_in_order() -> None:
    splits = Splits("x", ROOT, "any-camera", train=(TWO,), query=(ONE,), gallery=(ONE, TWO))
    assert all_records(splits) == [TWO, ONE]


def test_the_fingerprint_knows_neither_order_nor_place() -> None:
    moved = [dataclasses.replace(r, path=Path("/elsewhere") / r.path.relative_to(ROOT)) for r in (TWO, ONE)]
    assert fingerprint([ONE, TWO], ROOT) == fingerprint(moved, Path("/elsewhere"))


@pytest.mark.parametrize(
    "change",
    [
        {"path": ROOT / "a/2.jpg"},
        {"identity": "b"},
        {"camera": None},
        {"view": "rear"},
        {"captions": ("blue",)},
        {"split": "gallery"},
        {"box": None},
        {"time": 6.0},
    ],
)
def test_the_fingerprint_follows_every_field(change: dict[str, Any]) -> None:
    assert fingerprint([dataclasses.replace(ONE, **change)], ROOT) != fingerprint([ONE], ROOT)


def test_missing_pictures_are_counted_by_folder(tmp_path: Path) -> None:
    names = ["a/0.jpg", "a/1.jpg", "a/1.jpg", "b/0.jpg", "b\n/1.jpg"]
    records = [Record(tmp_path / name, camera=str(k)) for k, name in enumerate(names)]
    (tmp_path / "a").mkdir()
    for name in ("a/0.jpg", "a/1.jpg"):
        (tmp_path / name).touch()
    require_pictures(records[:3], tmp_path)
    with pytest.raises(DataError) as raised:
        require_pictures(records, tmp_path)
    assert str(raised.value) == (
        rf"{tmp_path}: 2 of 4 pictures are missing (b: 1 of 1 missing; b\n: 1 of 1 missing). The first is b/0.jpg. "
        "Copy them there, or take them off the list."
    )
