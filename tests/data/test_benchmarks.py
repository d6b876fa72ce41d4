"""Made-up copies of every public benchmark's layout: what is read of them, and what is said of their faults."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resight.data.benchmarks import BENCHMARKS, Counts, find
from resight.data.index import read
from resight.errors import ConfigError, DataError
from resight.types import Record

Touch = Callable[..., Path]


@pytest.fixture
def touch(tmp_path: Path) -> Touch:
    def make(folder: str, *names: str) -> Path:
        for name in names:
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).touch()
        return tmp_path / folder

    return make


def seen(records: Sequence[Record]) -> list[tuple[str, str | None, str | None]]:
    return [(record.path.name, record.identity, record.camera) for record in records]


def test_a_pipe_for_a_list_is_not_waited_for(touch: Touch) -> None:
    root = touch("vehicleid", "image/1.jpg", "train_test_split/test_list_800.txt")
    os.mkfifo(root / "train_test_split/train_list.txt")
    with pytest.raises(DataError, match=r"train_list.txt: is not a regular file."):
        read(root)


# --- the list --------------------------------------------------------------------------------------------------------


def test_names_are_unique_and_forgiving() -> None:
    names = [name for benchmark in BENCHMARKS for name in (benchmark.name, *benchmark.aliases)]
    assert len(set(names)) == len(names)
    assert find("Market-1501").name == "market1501"
    assert find("occ_duke").name == "occluded-duke"
    assert find("VehicleID").name == "vehicleid-800"
    assert find("veri").name == find("VeRi-776").name == "veri776"
    assert find("VehicleID-2400").name == "vehicleid-2400"


def test_every_benchmark_is_described() -> None:
    for benchmark in BENCHMARKS:
        assert benchmark.described_at.startswith("https://")
        assert benchmark.layout
        assert benchmark.forms
        assert benchmark.published
        assert re.search(benchmark.folder, benchmark.title, re.IGNORECASE)
    assert "withdrawn by its authors" in find("dukemtmc").availability
    assert "withdrew" in find("occluded-duke").availability


def test_an_unknown_name(tmp_path: Path) -> None:
    message = (
        r"benchmark 'market1051' is unknown; the closest is 'market1501'. Known: market1501, dukemtmc, .*rstpreid."
    )
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, benchmark="market1051")
    with pytest.raises(ConfigError, match=r"benchmark 'zzz' is unknown. Known: market1501"):
        read(tmp_path, benchmark="zzz")


# --- Market-1501 -----------------------------------------------------------------------------------------------------

MARKET = (
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0007_c6s3_077467_01.jpg",
    "query/0001_c1s1_001051_00.jpg",
    "bounding_box_test/-1_c1s1_000401_03.jpg",
    "bounding_box_test/-1_c3s1_000401_04.jpg",
    "bounding_box_test/0000_c1s1_000151_01.jpg",
    "bounding_box_test/0001_c2s1_000301_00.jpg",
)


@pytest.mark.parametrize("folder", ["Market-1501-v15.09.15", "Market1501", "data_3_c4/market"])
@pytest.mark.parametrize("above", [False, True])
def test_market(touch: Touch, folder: str, above: bool) -> None:
    root = touch(folder, *MARKET, "bounding_box_test/Thumbs.db", "gt_bbox/0001_c1s1_001051_00.jpg", "readme.txt")
    splits = read(root.parent if above else root)
    assert (splits.benchmark, splits.name, splits.root, splits.protocol) == (
        "market1501",
        "Market-1501",
        root,
        "cross-camera",
    )
    assert seen(splits.train) == [("0002_c1s1_000451_03.jpg", "0002", "1"), ("0007_c6s3_077467_01.jpg", "0007", "6")]
    assert seen(splits.query) == [("0001_c1s1_001051_00.jpg", "0001", "1")]
    assert seen(splits.gallery) == [("0000_c1s1_000151_01.jpg", None, "1"), ("0001_c2s1_000301_00.jpg", "0001", "2")]
    assert splits.train[0].path == root / "bounding_box_train" / "0002_c1s1_000451_03.jpg"
    assert splits.notes == (
        "bounding_box_test: 1 not pictures by their suffix left out (Thumbs.db)",
        "1 distractors (identity 0) stay in the gallery and match nobody",
        "2 junk pictures (identity -1) left out",
        "train: 2 pictures of 2 identities; published: 12,936 pictures of 751 identities",
        "query: 1 pictures of 1 identities; published: 3,368 pictures of 750 identities",
        "gallery: 2 pictures of 2 identities; published: 15,913 pictures of 751 identities",
    )


def test_own_data_in_markets_layout_is_not_called_market(touch: Touch) -> None:
    root = touch("mine", *MARKET)
    splits = read(root)
    assert (splits.benchmark, splits.name, splits.protocol) == (None, "mine", "cross-camera")
    assert (len(splits.train), len(splits.query), len(splits.gallery)) == (2, 1, 2)
    assert (
        "laid out as Market-1501, but neither its counts nor its folder's name say so: read as your own data; "
        "--benchmark market1501 says otherwise"
    ) in splits.notes
    assert not any("published" in note for note in splits.notes)
    assert read(root, benchmark="market1501").benchmark == "market1501"


def test_published_counts_name_the_benchmark(touch: Touch, monkeypatch: pytest.MonkeyPatch) -> None:
    root = touch("mine", *MARKET)
    counts = {"train": Counts(2, 2), "query": Counts(1, 1), "gallery": Counts(2, 2)}
    small = [replace(known, published=counts) if known.name == "market1501" else known for known in BENCHMARKS]
    monkeypatch.setattr("resight.data.recognise.BENCHMARKS", small)
    splits = read(root)
    assert splits.benchmark == "market1501"
    assert not any("published" in note for note in splits.notes)


def test_any_names_in_markets_layout(touch: Touch) -> None:
    root = touch(
        "mine",
        "bounding_box_train/12_c30.png",
        "bounding_box_train/noise.png",
        "query/0_c1_x.jpg",
        "bounding_box_test/night/0_c2_y.jpg",
    )
    splits = read(root)
    assert splits.benchmark is None
    assert seen(splits.train) == [("12_c30.png", "12", "30")]
    assert seen(splits.gallery) == [("0_c2_y.jpg", "0", "2")]  # identity 0 is queried, so it is no distractor
    assert splits.notes == ("bounding_box_train: 1 pictures left out, names without IDENTITY_cCAMERA (noise.png)",)


def test_market_without_a_folder(touch: Touch) -> None:
    root = touch(
        "Market1501", "bounding_box_train/0002_c1s1_000451_03.jpg", "bounding_box_test/0001_c2s1_000301_00.jpg"
    )
    with pytest.raises(
        DataError, match=r"Market1501: query missing. Expected: bounding_box_train/0002_c1s1_.*; query/0"
    ):
        read(root)


def test_market_with_an_empty_folder(touch: Touch) -> None:
    root = touch("Market1501", *MARKET[:2], *MARKET[3:])
    (root / "query").mkdir()
    with pytest.raises(DataError, match=r"query: holds no picture. Expected: bounding_box_train/"):
        read(root)


def test_market_with_other_names(touch: Touch) -> None:
    root = touch("Market1501_c3", "bounding_box_train/a.jpg", "query/b.jpg", "bounding_box_test/c.jpg")
    with pytest.raises(
        DataError, match=r"bounding_box_train: no picture's name starts with IDENTITY_cCAMERA, .* a.jpg."
    ):
        read(root)


def test_captions_beside_pictures(touch: Touch) -> None:
    root = touch("sample", *MARKET)
    rows = [
        {"split": "train", "captions": ["a", "b"], "file_path": "bounding_box_train/0002_c1s1_000451_03.jpg", "id": 2},
        {"split": "test", "captions": ["c"], "file_path": "query/0001_c1s1_001051_00.jpg", "id": 1},
        {"split": "test", "captions": ["d"], "file_path": "query/0009_c1s1_001051_00.jpg", "id": 9},
    ]
    (root / "reid_raw.json").write_text(json.dumps(rows))
    splits = read(root)
    assert splits.protocol == "cross-camera"
    assert [record.captions for record in splits.train] == [("a", "b"), ()]
    assert splits.query[0].captions == ("c",)
    assert (
        "reid_raw.json: captions of 2 pictures; 1 of its pictures are not among those read (0009_c1s1_001051_00.jpg)"
    ) in splits.notes


# --- DukeMTMC-reID and Occluded-Duke ---------------------------------------------------------------------------------

DUKE = (
    "bounding_box_train/0001_c2_f0046182.jpg",
    "query/0005_c2_f0046985.jpg",
    "bounding_box_test/0005_c8_f0046985.jpg",
    "bounding_box_test/7140_c8_f0000001.jpg",
)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("DukeMTMC-reID", "dukemtmc"),
        ("dukemtmcreid/DukeMTMC-reID", "dukemtmc"),
        ("dukemtmcreid/Occluded_Duke", "occluded-duke"),
        ("Occluded-DukeMTMC", "occluded-duke"),
    ],
)
def test_dukes(touch: Touch, folder: str, name: str) -> None:
    root = touch(folder, *DUKE)
    splits = read(root)
    assert splits.benchmark == name
    assert seen(splits.gallery) == [("0005_c8_f0046985.jpg", "0005", "8"), ("7140_c8_f0000001.jpg", "7140", "8")]
    assert len([note for note in splits.notes if "published" in note]) == 3
    assert read(root.parents[len(Path(folder).parts) - 1], benchmark=name).root == root


def test_a_duke_that_does_not_say_which(touch: Touch) -> None:
    splits = read(touch("mine", *DUKE))
    assert splits.benchmark is None
    assert "laid out as DukeMTMC-reID or Occluded-Duke, but neither" in splits.notes[-1]
    assert "--benchmark dukemtmc or occluded-duke says otherwise" in splits.notes[-1]


def test_one_of_several_below(touch: Touch) -> None:
    root = touch("data/Market1501", *MARKET).parent
    touch("data/dukemtmcreid/DukeMTMC-reID", *DUKE)
    touch("data/dukemtmcreid/Occluded_Duke", *DUKE)
    touch("data/DukeMTMC-reID", *DUKE)
    assert read(root, benchmark="market1501").root == root / "Market1501"
    assert read(root, benchmark="occluded-duke").root == root / "dukemtmcreid" / "Occluded_Duke"
    with pytest.raises(DataError, match=r"may be any of DukeMTMC-reID, dukemtmcreid/DukeMTMC-reID. Give the folder of"):
        read(root, benchmark="dukemtmc")
    with pytest.raises(
        DataError, match=r"data: holds several data sets: DukeMTMC-reID, Market1501. Give the folder of"
    ):
        read(root)


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_a_named_benchmark_that_is_not_there(touch: Touch, benchmark: Any) -> None:
    root = touch("data", "a/1.jpg")
    message = re.escape(f"holds no {benchmark.title}. Expected: {benchmark.layout[0]}")
    with pytest.raises(DataError, match=message):
        read(root, benchmark=benchmark.name)


def test_many_folders_are_identities(touch: Touch) -> None:
    root = touch("data", *(f"{number}/1.jpg" for number in range(101)))
    touch("data/0", *MARKET)
    assert len(read(root).unassigned) == 101 + len(MARKET)
    with pytest.raises(DataError, match="holds no Market-1501"):
        read(root, benchmark="market1501")


# --- MSMT17 ----------------------------------------------------------------------------------------------------------

MSMT17 = {
    "list_train.txt": "0000/0000_000_01_0303morning_0015_0.jpg 0\n0001/0001_000_14_0303noon_0015_0_ex.jpg 1\n",
    "list_val.txt": "0000/0000_001_02_0303morning_0015_0.jpg 0\n\n",
    "list_query.txt": "0000/0000_000_03_0303morning_0015_0.jpg 0\n",
    "list_gallery.txt": "0000/0000_002_15_0303evening_0015_0.jpg 0\r\n0002/0002_002_04_0303evening_0015_0.jpg 2\r\n",
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("halves", [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_msmt17(touch: Touch, halves: tuple[str, str]) -> None:
    root = write(touch("anything", f"{halves[0]}/x.jpg", f"{halves[1]}/x.jpg"), MSMT17)
    splits = read(root)
    assert splits.benchmark == "msmt17"
    assert [(record.identity, record.camera) for record in splits.train] == [("0", "1"), ("1", "14"), ("0", "2")]
    assert splits.train[0].path == root / halves[0] / "0000" / "0000_000_01_0303morning_0015_0.jpg"
    assert [(record.identity, record.camera) for record in splits.query] == [("test-0", "3")]
    assert [(record.identity, record.camera) for record in splits.gallery] == [("test-0", "15"), ("test-2", "4")]
    assert splits.gallery[0].path.is_relative_to(root / halves[1])
    assert splits.notes == (
        "test persons are numbered from 0 again: named test-NUMBER",
        "train: 3 pictures of 2 identities; published: 32,621 pictures of 1,041 identities",
        "query: 1 pictures of 1 identities; published: 11,659 pictures of 3,060 identities",
        "gallery: 2 pictures of 2 identities; published: 82,161 pictures of 3,060 identities",
    )


def test_msmt17_merged(touch: Touch) -> None:
    names = ("bounding_box_train/0000_c1_0000.jpg", "query/0000_c14_0001.jpg", "bounding_box_test/0000_c15_0002.jpg")
    splits = read(touch("MSMT17", *names, "bounding_box_test/-1_c3_0002.jpg", "bounding_box_test/0007_c3_0002.jpg"))
    assert splits.benchmark == "msmt17"
    assert seen(splits.train) == [("0000_c1_0000.jpg", "0000", "1")]
    assert seen(splits.query) == [("0000_c14_0001.jpg", "test-0000", "14")]
    assert seen(splits.gallery) == [
        ("0000_c15_0002.jpg", "test-0000", "15"),
        ("0007_c3_0002.jpg", "test-0007", "3"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list_query.txt", "", r"list_query.txt: is empty. Copy it again."),
        ("list_query.txt", "\nlonely\n", r"list_query.txt: line 2 is not 'path identity': 'lonely'. Correct it."),
        ("list_val.txt", "../x_0_1_.jpg 3\n", r"list_val.txt: line 1: the path '../x_0_1_.jpg' leaves the folder"),
    ],
)
def test_broken_lists(touch: Touch, name: str, text: str, message: str) -> None:
    root = write(touch("MSMT17", "train/x.jpg", "test/x.jpg"), {**MSMT17, name: text})
    with pytest.raises(DataError, match=message):
        read(root)


def test_msmt17_names_without_a_camera(touch: Touch) -> None:
    root = write(touch("MSMT17", "train/x.jpg", "test/x.jpg"), {**MSMT17, "list_val.txt": "x.jpg 0\n"})
    assert "MSMT17: 1 pictures left out, names without NUMBER_NUMBER_CAMERA_… (x.jpg)" in read(root).notes
    write(root, dict.fromkeys(MSMT17, "x.jpg 0\n"))
    with pytest.raises(
        DataError, match=r"no picture's name starts with NUMBER_NUMBER_CAMERA_…, for example x.jpg. Ren"
    ):
        read(root)


def test_msmt17_with_parts_missing(touch: Touch) -> None:
    root = write(touch("MSMT17", "train/x.jpg"), MSMT17)
    with pytest.raises(DataError, match=r"MSMT17: has neither test/ nor mask_test_v2/. Expected: list_train.txt"):
        read(root)
    (root / "list_val.txt").unlink()
    with pytest.raises(DataError, match=r"MSMT17: list_val.txt missing. Expected: list_train.txt list_val.txt"):
        read(root)


def test_a_list_that_is_no_text(touch: Touch) -> None:
    root = write(touch("MSMT17", "train/x.jpg", "test/x.jpg"), MSMT17)
    (root / "list_val.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match=r"list_val.txt: cannot be read as text \(.*\). Copy it again."):
        read(root)


# --- VeRi-776 --------------------------------------------------------------------------------------------------------

VERI = (
    "image_train/0001_c001_00016450_0.jpg",
    "image_query/0002_c002_00030600_0.jpg",
    "image_test/0002_c020_00030605_1.jpg",
)


@pytest.mark.parametrize("place", ["", "datasets/"])
def test_veri_with_views(touch: Touch, place: str) -> None:
    root = touch("VeRi", *VERI, "image_train/0001_c003_00016450_0.jpg")
    lines = {
        f"{place}keypoint_train.txt": "/somewhere/VeRi/image_train/0001_c001_00016450_0.jpg -1 -1 12 30 5\n",
        f"{place}keypoint_test.txt": "image_test\\0002_c020_00030605_1.jpg 1 7 \n" * 2 + "0002_c002_00030600_0.jpg 0\n",
    }
    splits = read(write(root, lines))
    assert (splits.benchmark, splits.protocol) == ("veri776", "cross-camera")
    assert [(record.identity, record.camera, record.view) for record in splits.train] == [
        ("0001", "1", "5"),
        ("0001", "3", None),
    ]
    assert [(record.identity, record.camera, record.view) for record in splits.query] == [("0002", "2", "0")]
    assert [(record.identity, record.camera, record.view) for record in splits.gallery] == [("0002", "20", "7")]
    assert splits.notes == (
        "1 pictures have no view (keypoint_train.txt, keypoint_test.txt); they are kept",
        "train: 2 pictures of 1 identities; published: 37,778 pictures of 576 identities",
        "query: 1 pictures of 1 identities; published: 1,678 pictures of 200 identities",
        "gallery: 1 pictures of 1 identities; published: 11,579 pictures of 200 identities",
    )


def test_veri_without_views(touch: Touch) -> None:
    splits = read(touch("VeRi", *VERI).parent)
    assert {record.view for record in (*splits.train, *splits.query, *splits.gallery)} == {None}
    assert "3 pictures have no view (keypoint_train.txt, keypoint_test.txt); they are kept" in splits.notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg 5\nb.jpg 8\n", r"keypoint_train.txt: line 2: the last field is no view 0 to 7: 'b.jpg 8'. Correct it."),
        ("a.jpg\n", r"line 1: the last field is no view 0 to 7: 'a.jpg'."),
        ("x/a.jpg 5\ny/a.jpg 6\n", r"keypoint_train.txt: line 2: a.jpg has a second, other view. Remove one line."),
    ],
)
def test_broken_views(touch: Touch, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(touch("VeRi", *VERI), {"keypoint_train.txt": text}))


def test_veri_without_a_folder(touch: Touch) -> None:
    with pytest.raises(DataError, match=r"VeRi: image_query missing. Expected: image_train/0001_c001_00016450_0.jpg"):
        read(touch("VeRi", VERI[0], VERI[2]))


# --- VehicleID -------------------------------------------------------------------------------------------------------


def vehicleid(touch: Touch) -> Path:
    lists = {
        "train_test_split/train_list.txt": "0000001 11\n0000002 12\n",
        "train_test_split/test_list_800.txt": "0000003 21\n0000004 21\n",
        "train_test_split/test_list_1600.txt": "0000003 21\n0000004.jpg 21\n0000005 22\n",
        "train_test_split/test_list_2400.txt": "0000003 21\n",
    }
    return write(touch("VehicleID_V1.0", "image/0000001.jpg"), lists)


@pytest.mark.parametrize(
    ("name", "n_test", "published"),
    [
        ("vehicleid", 2, "7,332 pictures of 800"),
        ("vehicleid-1600", 3, "12,995 pictures of 1,600"),
        ("vehicleid-2400", 1, "20,038 pictures of 2,400"),
    ],
)
def test_vehicleid(touch: Touch, name: str, n_test: int, published: str) -> None:
    root = vehicleid(touch)
    splits = read(root.parent, benchmark=name)
    assert splits.protocol == "vehicleid"
    assert splits.benchmark == find(name).name
    assert [(record.path, record.identity, record.camera) for record in splits.train] == [
        (root / "image" / "0000001.jpg", "11", None),
        (root / "image" / "0000002.jpg", "12", None),
    ]
    assert len(splits.query) == len(splits.gallery) == n_test
    assert splits.query == splits.gallery
    assert {record.split for record in splits.query} == {"test"}
    assert {record.path.suffix for record in splits.query} == {".jpg"}
    assert splits.notes[0] == "train: 2 pictures of 2 identities; published: 113,346 pictures of 13,164 identities"
    assert splits.notes[1].endswith(f"published: {published} identities")


def test_vehicleid_recognised_is_the_smallest_test(touch: Touch) -> None:
    splits = read(vehicleid(touch))
    assert splits.benchmark == "vehicleid-800"
    assert "read as vehicleid-800; --benchmark reads it as vehicleid-1600 or vehicleid-2400" in splits.notes


def test_vehicleid_with_parts_missing(touch: Touch) -> None:
    root = vehicleid(touch)
    (root / "train_test_split" / "train_list.txt").unlink()
    with pytest.raises(DataError, match=r"VehicleID_V1.0: train_test_split/train_list.txt missing. Expected: image/"):
        read(root)


# --- beside it -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "name", "told"),
    [
        ("proj", None, "Market alone is read; folders beside it left out: crops"),
        ("proj/deep", "market1501", "more/Market alone is read; folders beside it left out: more/x, other"),
        ("proj/Market", None, ""),
    ],
)
def test_folders_beside_a_benchmark_are_named(touch: Touch, place: str, name: str | None, told: str) -> None:
    inside = "Market" if place == "proj" else "more/Market" if place == "proj/deep" else ""
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        touch(place, f"{inside}/{folder}/0001_c1s1_000001_00.jpg".lstrip("/"))
    root = touch(place, *(["crops/1.jpg"] if place == "proj" else ["more/x/1.jpg", "other/1.jpg"] if inside else []))
    notes = [note for note in read(root, benchmark=name).notes if "alone is read" in note]
    assert notes == ([told] if told else [])
