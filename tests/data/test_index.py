"""Labels, the written table, and the cutting of splits; the readers have tests of their own."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resight.data.index import read, relabel, split, write_index
from resight.errors import ConfigError, DataError
from resight.types import Record, Splits


def test_reading_imports_neither_torch_nor_arrow() -> None:
    code = "import sys, resight.data.index; sys.exit(bool({'torch', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- what cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pipe.csv", "pipe.tsv", "pipe.parquet", "pipe.json"])
def test_a_pipe_is_no_table(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}: is not a regular file. Give a file that lies on the disk."):
        read(tmp_path / name)


@pytest.mark.parametrize("place", ["locked", "locked/set.csv", "."])
def test_what_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """The permission is refused by hand: the tests may run as an administrator, whom none is refused."""
    (tmp_path / "locked").mkdir()
    status = Path.stat

    def refuse(path: Path, **more: bool) -> os.stat_result:
        if path.parent.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return status(path, **more)

    monkeypatch.setattr(Path, "stat", refuse)
    message = r"cannot be read \(.*Permission denied.*\). Check that you may read it and all below it."
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / place)
    assert "\n" not in str(caught.value)


# --- labels ----------------------------------------------------------------------------------------------------------


def test_labels_follow_numbers_when_all_are_whole() -> None:
    assert relabel(["10", "9", None, "0002", "9", "-3"]) == {"-3": 0, "0002": 1, "9": 2, "10": 3}


def test_labels_follow_text_otherwise() -> None:
    assert relabel(["10", "9", "b", "B"]) == {"10": 0, "9": 1, "B": 2, "b": 3}
    assert relabel([None]) == {}


@given(st.lists(st.one_of(st.none(), st.text(), st.integers().map(str))))
def test_labels_are_contiguous_and_forget_the_order(identities: list[str | None]) -> None:
    labels = relabel(identities)
    assert set(labels) == set(identities) - {None}
    assert sorted(labels.values()) == list(range(len(labels)))
    assert list(labels.items()) == list(relabel(reversed(identities)).items())


# --- the written table -----------------------------------------------------------------------------------------------


def every(splits: Splits) -> set[Record]:
    return {*splits.train, *splits.validation, *splits.query, *splits.gallery, *splits.unassigned}


def test_written_columns(tmp_path: Path) -> None:
    records = [
        Record(tmp_path / "a b/1.jpg", "7", "2", "front", ("red",), "train", (0.0, 1.5, 2.0, 3.0), 5.25),
        Record(Path("/elsewhere/2.jpg"), captions=("one", "zwei, drei")),
    ]
    write_index(records, tmp_path / "index.csv")
    assert (tmp_path / "index.csv").read_text(encoding="utf-8") == (
        "path,identity,camera,view,split,caption,x1,y1,x2,y2,time\n"
        "a b/1.jpg,7,2,front,train,red,0.0,1.5,2.0,3.0,5.25\n"
        '/elsewhere/2.jpg,,,,,"[""one"", ""zwei, drei""]",,,,,\n'
    )
    assert every(read(tmp_path / "index.csv")) == set(records)


def test_returns_and_leading_spaces_survive(tmp_path: Path) -> None:
    records = {
        Record(tmp_path / " a.jpg"),
        Record(tmp_path / "b\r.jpg", captions=("x\r\ny",)),
        Record(tmp_path / "c.jpg", captions=(" x ",)),
        Record(tmp_path / "d.jpg", captions=("",)),
        Record(tmp_path / "e.jpg", captions=("[1]", "[1]")),
        Record(tmp_path / "f.jpg", captions=('["a"]',)),
    }
    write_index(sorted(records, key=str), tmp_path / "index.csv")
    assert every(read(tmp_path / "index.csv")) == records


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).map(str.strip).filter(bool)
labels = words.filter(lambda text: text != "-1" and text.lower() != "unknown" and not text.endswith(".0"))
names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\\\0"), min_size=1, max_size=20)
numbers = st.floats(-1e6, 1e6).map(lambda number: number + 0.0)
records_of = st.builds(
    Record,
    path=st.lists(names, min_size=1, max_size=3).map(lambda parts: Path("/data", *(f"{part}_" for part in parts))),
    identity=st.none() | labels,
    camera=st.none() | labels,
    view=st.none() | labels,
    captions=st.lists(st.text(st.characters(exclude_categories=("Cs",))), max_size=3, unique=True).map(tuple),
    split=st.sampled_from(["train", "validation", "query", "gallery", "test", ""]),
    box=st.none()
    | st.tuples(numbers, numbers, numbers, numbers).filter(lambda box: box[0] < box[2] and box[1] < box[3]),
    time=st.none() | st.floats(-1e9, 4e9),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(records=st.lists(records_of, min_size=1, max_size=8, unique_by=lambda record: record.path))
def test_what_is_written_is_read_again(tmp_path: Path, records: list[Record]) -> None:
    records = [replace(record, path=tmp_path / record.path.relative_to("/data")) for record in records]
    write_index(records, tmp_path / "index.csv")
    assert every(read(tmp_path / "index.csv")) == set(records)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"index.csv: '.*udcff.*' cannot be written as Unicode text. Rename the picture."
    ):
        write_index([Record(tmp_path / "\udcff.jpg")], tmp_path / "index.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index.csv: cannot be written \(.*No such file.*\). Choose another place."):
        write_index([], tmp_path / "nowhere" / "index.csv")


# --- splits ----------------------------------------------------------------------------------------------------------

DAY = 86_400.0


def pictures(n_identities: int, cameras: list[str | None], n_each: int = 3, days: int = 0) -> list[Record]:
    """n_each pictures of each identity by each camera, on as many days in turn; 0 days means no time."""
    return [
        Record(
            Path(f"/data/{identity}/{place}_{number}.jpg"),
            identity=str(identity),
            camera=camera,
            time=DAY * (20_000 + number % days) + 60 * identity if days else None,
        )
        for identity in range(n_identities)
        for place, camera in enumerate(cameras)
        for number in range(n_each)
    ]


def of(records: list[Record], role: str) -> list[Record]:
    return [record for record in records if record.split == role]


def identities(records: list[Record]) -> set[str | None]:
    return {record.identity for record in records}


def assert_every_query_has_a_match(records: list[Record]) -> None:
    for query in of(records, "query"):
        assert any(
            other.identity == query.identity and (other.camera is None or other.camera != query.camera)
            for other in of(records, "gallery")
        )


def test_cut_by_identity_is_like_market() -> None:
    records = pictures(20, ["1", "2"], n_each=3)
    cut = split(records, by="identity", seed=0, test=0.5, validation=0.2)
    assert len(identities(of(cut, "query"))) == 10
    assert identities(of(cut, "query")) == identities(of(cut, "gallery"))
    assert len(identities(of(cut, "validation"))) == 2
    assert len(identities(of(cut, "train"))) == 8
    assert not identities(of(cut, "train")) & identities(of(cut, "query"))
    assert not identities(of(cut, "validation")) & (identities(of(cut, "query")) | identities(of(cut, "train")))
    assert set(Counter((record.identity, record.camera) for record in of(cut, "query")).values()) == {1}
    assert len(of(cut, "query")) == 20
    assert len(of(cut, "gallery")) == 40
    assert {replace(record, split="") for record in cut} == set(records)
    assert_every_query_has_a_match(cut)


def test_a_record_in_two_splits_is_cut_once() -> None:
    records = pictures(4, ["1", "2"])
    twice = [replace(record, split=role) for record in records for role in ("query", "gallery")]
    assert split(twice, by="identity", seed=0) == split(records, by="identity", seed=0)


def test_more_queries_a_camera() -> None:
    cut = split(pictures(4, ["1", "2"], n_each=4), by="identity", seed=0, test=4, n_queries=2)
    assert set(Counter((record.identity, record.camera) for record in of(cut, "query")).values()) == {2}
    assert of(cut, "train") == []


@pytest.mark.parametrize("cameras", [["1", "2"], [None, None], ["1", None], ["1", "2", "3"]])
@pytest.mark.parametrize("n_each", [1, 2, 5])
@pytest.mark.parametrize("n_queries", [1, 3, 100])
def test_queries_always_keep_a_match(cameras: list[str | None], n_each: int, n_queries: int) -> None:
    cut = split(pictures(6, cameras, n_each), by="identity", seed=3, test=6, n_queries=n_queries)
    assert identities(of(cut, "query")) == {str(identity) for identity in range(6)}
    assert_every_query_has_a_match(cut)


def test_two_pictures_by_two_cameras_give_one_query() -> None:
    cut = split(pictures(40, ["1", "2"], n_each=1), by="identity", seed=1, test=1.0)
    assert len(of(cut, "query")) == len(of(cut, "gallery")) == 40
    assert {record.camera for record in of(cut, "query")} == {"1", "2"}


def test_what_cannot_be_tested_is_trained_on() -> None:
    lone = Record(Path("/data/lone.jpg"), "lone", "1")
    one_camera = [Record(Path(f"/data/one{number}.jpg"), "one camera", "1") for number in range(2)]
    nobody = Record(Path("/data/nobody.jpg"), None, "2")
    cut = split([*pictures(3, ["1", "2"]), lone, *one_camera, nobody], by="identity", seed=0, test=1.0)
    assert identities(of(cut, "train")) == {"lone", "one camera", None}
    assert identities(of(cut, "query")) == {"0", "1", "2"}


def test_validation_alone() -> None:
    cut = split(pictures(10, ["1", "2"]), by="identity", seed=0, test=0, validation=3)
    assert len(identities(of(cut, "validation"))) == 3
    assert len(identities(of(cut, "train"))) == 7
    assert of(cut, "query") == of(cut, "gallery") == []


@pytest.mark.parametrize("by", ["identity", "camera", "day"])
def test_order_and_own_splits_do_not_count_and_the_seed_does(by: Literal["identity", "camera", "day"]) -> None:
    records = pictures(30, ["1", "2", "3", None], n_each=4, days=4)
    shuffled = [replace(record, split="train") for record in records]
    random.Random(0).shuffle(shuffled)
    assert split(records, by=by, seed=5) == split(shuffled, by=by, seed=5)
    assert split(records, by=by, seed=5) != split(records, by=by, seed=6)


@pytest.mark.parametrize(("n_cameras", "n_query_cameras"), [(2, 1), (3, 1), (6, 3)])
def test_cut_by_camera(n_cameras: int, n_query_cameras: int) -> None:
    cameras: list[str | None] = [str(camera) for camera in range(n_cameras)]
    records = pictures(12, [*cameras, None], n_each=2)
    cut = split(records, by="camera", seed=0, test=5)
    asked, shown = ({record.camera for record in of(cut, role)} for role in ("query", "gallery"))
    assert len(asked) == n_query_cameras
    assert not asked & shown
    assert asked | shown == set(cameras)
    assert len(of(cut, "query")) == 5 * n_query_cameras
    assert len(of(cut, "gallery")) == 5 * (n_cameras - n_query_cameras) * 2
    assert len(of(cut, "train")) == 7 * (n_cameras + 1) * 2
    assert len(of(split(records, by="camera", seed=0, test=5, n_queries=9), "query")) == 5 * n_query_cameras * 2


def test_cut_by_day() -> None:
    records = pictures(8, ["1"], n_each=6, days=3)
    cut = split(records, by="day", seed=2, test=0.5)
    days = {role: {int(record.time // DAY) for record in of(cut, role) if record.time} for role in ("query", "gallery")}
    assert len(days["query"]) == 1
    assert len(days["gallery"]) == 2
    assert not days["query"] & days["gallery"]
    assert len(identities(of(cut, "query"))) == 4
    assert not identities(of(cut, "query")) & identities(of(cut, "train"))


def test_an_identity_on_one_side_is_trained_on() -> None:
    records = [*pictures(4, ["1", "2"]), *(replace(record, identity="late") for record in pictures(1, ["1"]))]
    assert "late" in identities(of(split(records, by="camera", seed=0, test=1.0), "train"))


def test_a_cut_is_written_and_read(tmp_path: Path) -> None:
    records = [replace(record, path=tmp_path / record.path.name) for record in pictures(1, ["1", "2"])]
    write_index(split(records, by="identity", seed=0, test=1), tmp_path / "cut.csv")
    splits = read(tmp_path / "cut.csv")
    assert (len(splits.query), len(splits.gallery), splits.protocol) == (2, 4, "cross-camera")


@pytest.mark.parametrize(("by", "column"), [("camera", "camera"), ("day", "time")])
def test_a_cut_without_groups(by: Literal["camera", "day"], column: str) -> None:
    message = (
        rf"a cut by {by} needs two {by}s or more; the records name [01]. Name the column that holds them: "
        rf"--column {column}=NAME, or cut by identity."
    )
    with pytest.raises(DataError, match=message):
        split(pictures(4, [None]), by=by, seed=0)
    with pytest.raises(DataError, match=message):
        split(pictures(4, ["1"], days=1), by=by, seed=0)


def test_too_few_identities() -> None:
    message = r"5 test identities are wanted, but of 4 only 3 have two pictures that may be matched. Ask for fewer, or"
    with pytest.raises(DataError, match=message):
        split([*pictures(3, [None]), Record(Path("/data/lone.jpg"), "lone")], by="identity", seed=0, test=5)
    message = r"3 validation identities are wanted, but of 2 only 2 have"
    with pytest.raises(DataError, match=message):
        split(pictures(4, [None]), by="identity", seed=0, test=2, validation=3)


@pytest.mark.parametrize("by", ["identity", "camera", "day"])
def test_no_identity(by: Literal["identity", "camera", "day"]) -> None:
    message = r"no identity is known, so none can be cut. Name the column that holds them: --column identity=NAME, or"
    with pytest.raises(DataError, match=message):
        split([Record(Path("/data/1.jpg"))], by=by, seed=0)


def test_one_camera() -> None:
    message = (
        r"1 test identities are wanted, but of 4 only 0 have two pictures that may be matched. All pictures are of "
        r"camera 'x', and a match must come from another. Leave the camera out: --column camera=$"
    )
    with pytest.raises(DataError, match=message):
        split(pictures(4, ["x"]), by="identity", seed=0)


@pytest.mark.parametrize("number", [-1, -0.1, 1.5, math.nan, math.inf])
def test_numbers_out_of_range(number: float) -> None:
    with pytest.raises(ConfigError, match=rf"validation is {number}. Give a whole number of identities, or a share"):
        split(pictures(4, [None]), by="identity", seed=0, validation=number)
    with pytest.raises(ConfigError, match=rf"test is {number}."):
        split(pictures(4, [None]), by="identity", seed=0, test=number)


def test_no_queries() -> None:
    with pytest.raises(ConfigError, match=r"n_queries is 0. Give 1 or more."):
        split(pictures(4, [None]), by="identity", seed=0, n_queries=0)


def test_a_negative_seed() -> None:
    with pytest.raises(ConfigError, match=r"seed is -1. Give 0 or more."):
        split(pictures(4, [None]), by="identity", seed=-1)
