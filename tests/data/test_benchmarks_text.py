"""Made-up copies of the text benchmarks' JSON files with every fault that they are known for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from resight.data.dataset import all_records, require_pictures
from resight.data.index import read
from resight.errors import DataError
from resight.types import Record, Splits

Row = dict[str, Any]


def row(
    path: str, identity: Any, split: str | None = "train", captions: Any = ("a", "b"), key: str = "file_path"
) -> Row:
    said = list(captions) if isinstance(captions, tuple) else captions
    found: Row = {key: path, "id": identity, "captions": said, "processed_tokens": [["a"], ["b"]]}
    return found if split is None else {**found, "split": split}


def make(root: Path, name: str, rows: Any, *, mark: bytes = b"", pictures: tuple[str, ...] = ()) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(mark + json.dumps(rows, ensure_ascii=False).encode())
    for picture in pictures:
        (root / picture).parent.mkdir(parents=True, exist_ok=True)
        (root / picture).touch()
    return root


def seen(records: tuple[Record, ...], root: Path) -> list[tuple[str, str | None, tuple[str, ...]]]:
    return [(record.path.relative_to(root).as_posix(), record.identity, record.captions) for record in records]


CUHK = [
    row("cam_a/1.png", 1),
    row("CUHK01/2.png", 3, captions=("a", "b", "c")),
    row("Market/3.jpg", 11_004, "val"),
    row("test_query/4.jpg", 12_004, "test"),
    row("test_query/5.jpg", 12_004, "test", captions=("one",)),
]


@pytest.mark.parametrize("name", ["reid_raw.json", "caption_all.json"])
@pytest.mark.parametrize("above", [False, True])
def test_cuhk(tmp_path: Path, name: str, above: bool) -> None:
    root = make(
        tmp_path / "CUHK-PEDES", name, CUHK, pictures=("imgs/cam_a/1.png", "imgs/CUHK01/2.png", "imgs/Market/3.jpg")
    )
    splits = read(tmp_path if above else root)
    assert (splits.benchmark, splits.name, splits.root, splits.protocol) == ("cuhk-pedes", "CUHK-PEDES", root, "text")
    assert seen(splits.train, root) == [
        ("imgs/cam_a/1.png", "1", ("a", "b")),
        ("imgs/CUHK01/2.png", "3", ("a", "b", "c")),
    ]
    assert seen(splits.validation, root) == [("imgs/Market/3.jpg", "11004", ("a", "b"))]
    assert [record.captions for record in splits.query] == [("a", "b"), ("one",)]
    assert splits.query == splits.gallery
    assert splits.notes == (
        "imgs: folders missing (pictures): test_query (2)",
        "train: 2 pictures of 2 identities, 5 captions; "
        "published: 34,054 pictures of 11,003 identities, 68,126 captions",
        "validation: 1 pictures of 1 identities, 2 captions; "
        "published: 3,078 pictures of 1,000 identities, 6,158 captions",
        "test: 2 pictures of 1 identities, 3 captions; published: 3,074 pictures of 1,000 identities, 6,156 captions",
        "shares people with Market-1501 and CUHK03: what is trained on one is not to be tested on another",
    )


def test_cuhk_without_splits_is_cut_by_persons(tmp_path: Path) -> None:
    rows = [row(f"cam_a/{person}.png", person, None) for person in (1, 11_003, 11_004, 12_003, 12_004, 13_003)]
    splits = read(make(tmp_path / "x", "caption_all.json", rows))
    assert [record.identity for record in splits.train] == ["1", "11003"]
    assert [record.identity for record in splits.validation] == ["11004", "12003"]
    assert [record.identity for record in splits.query] == ["12004", "13003"]
    assert "caption_all.json names no split: cut by CUHK-PEDES's ranges of persons" in splits.notes


def test_cuhk_without_splits_and_with_other_persons(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"record 1: no split, and id 14000 is no person 1 to 13003 of CUHK-PEDES. Give"
    ):
        read(make(tmp_path, "caption_all.json", [row("1.png", 14_000, None)]))


@pytest.mark.parametrize("name", ["ICFG-PEDES.json", "ICFG_PEDES.json"])
def test_icfg(tmp_path: Path, name: str) -> None:
    rows = [row("train/0000/a.jpg", 0, captions=("x",)), row("test/0001/b.jpg", 3_102, "test", captions=("y",))]
    splits = read(make(tmp_path / "data", name, rows, pictures=("imgs/train/0000/a.jpg", "imgs/test/0001/b.jpg")))
    assert splits.benchmark == "icfg-pedes"
    assert [record.identity for record in (*splits.train, *splits.query)] == ["0", "3102"]
    assert splits.validation == ()
    assert len([note for note in splits.notes if "published" in note]) == 2


def test_icfg_numbered_from_0_again(tmp_path: Path) -> None:
    splits = read(make(tmp_path, "ICFG-PEDES.json", [row("train/a.jpg", 0), row("test/b.jpg", 0, "test")]))
    assert [record.identity for record in (*splits.train, *splits.query)] == ["0", "test-0"]


def test_rstp(tmp_path: Path) -> None:
    rows = [
        row("0000_c14_0031.jpg", 0, "train", key="img_path"),
        row("3701_c1_0001.jpg", 3_701, "val", key="img_path"),
        row("3901_c2_0001.jpg", 3_901, "test", key="img_path"),
    ]
    splits = read(make(tmp_path, "data_captions.json", rows, pictures=("imgs/0000_c14_0031.jpg",)))
    assert splits.benchmark == "rstpreid"
    assert splits.train[0].path == tmp_path / "imgs" / "0000_c14_0031.jpg"
    assert [len(splits.train), len(splits.validation), len(splits.query)] == [1, 1, 1]
    assert not any("older release" in note for note in splits.notes)


def test_old_rstp(tmp_path: Path) -> None:
    rows = [
        row(f"{person}.jpg", person, "train" if person < 3_901 else "val" if person < 4_001 else "test", key="img_path")
        for person in range(4_101)
    ]
    assert ("this is RSTPReid's older release (3,901/100/100 persons): results do not compare; get the newer") in read(
        make(tmp_path, "data_captions.json", rows)
    ).notes


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("reid_raw.json", "Market-1501 and CUHK03"),
        ("ICFG-PEDES.json", "MSMT17 and RSTPReid"),
        ("data_captions.json", "MSMT17 and ICFG-PEDES"),
    ],
)
def test_sets_that_share_people_say_so(tmp_path: Path, name: str, others: str) -> None:
    (note,) = [note for note in read(make(tmp_path, name, CUHK)).notes if "shares people" in note]
    assert note == f"shares people with {others}: what is trained on one is not to be tested on another"


def test_folders_that_never_came_are_told_before_anything_is_opened(tmp_path: Path) -> None:
    """CUHK-PEDES as it comes by e-mail: captions of all, pictures of some folders."""
    here = ("imgs/cam_a/1.png", "imgs/CUHK01/2.png")
    splits = read(make(tmp_path, "caption_all.json", [*CUHK, row("CUHK01/3.png", 5)], pictures=here))
    assert splits.notes[0] == "imgs: folders missing (pictures): Market (1), test_query (2)"
    with pytest.raises(DataError, match="4 of 6 pictures are missing") as raised:
        require_pictures(all_records(splits), splits.root)
    assert str(raised.value) == (
        f"{tmp_path}: 4 of 6 pictures are missing (imgs/test_query: 2 of 2 missing; imgs/CUHK01: 1 of 2 missing; "
        "imgs/Market: 1 of 1 missing). The first is imgs/CUHK01/3.png. Copy them there, or take them off the list."
    )


def test_faults_of_the_files(tmp_path: Path) -> None:
    rows = [
        row("cam_a\\1.png", "7", "TRAIN"),
        row("cam_a/2.png", 7.0, " Train "),
        row("cam_a/3.png", "0007.0"),
        row("cam_a/3.png", 7, captions=("b", "new")),  # a second record of the picture brings one caption more
        row("cam_a/3.png", 7),  # and a third none
        row("cam_a/3.png", 8),  # another identity: stays, for `data check`
        row("cam_a/4.png", "anna", "Test", captions="one text"),
        row("cam_a/5.png", 9, "dev", captions=("", "x")),
        row("cam_a/6.png", 9, "val", captions=("",)),
        row("cam_a/7.png", -1, "val"),
    ]
    splits = read(make(tmp_path / "CUHK", "reid_raw.json", rows, mark=b"\xef\xbb\xbf", pictures=("imgs/cam_a/1.png",)))
    assert seen(splits.train, splits.root / "imgs") == [
        ("cam_a/1.png", "7", ("a", "b")),
        ("cam_a/2.png", "7", ("a", "b")),
        ("cam_a/3.png", "7", ("a", "b", "new")),
        ("cam_a/3.png", "8", ("a", "b")),
    ]
    assert seen(splits.query, splits.root / "imgs") == [("cam_a/4.png", "anna", ("one text",))]
    assert [record.captions for record in splits.validation] == [("", "x"), ("",)]
    assert splits.notes[:3] == (
        "1 pictures have no caption, or an empty one only",
        "1 junk pictures (identity -1) left out",
        "1 records that repeat an earlier one left out",
    )


@pytest.mark.parametrize(
    ("pictures", "folder"),
    [(("imgs/cam_a/1.png",), "imgs"), (("images/cam_a/1.png",), "images"), (("cam_a/1.png",), ""), ((), "")],
)
def test_where_the_pictures_lie(tmp_path: Path, pictures: tuple[str, ...], folder: str) -> None:
    splits = read(make(tmp_path, "reid_raw.json", [row("cam_a/1.png", 1)], pictures=pictures))
    assert splits.train[0].path == tmp_path / folder / "cam_a" / "1.png"


def test_paths_that_name_imgs_themselves(tmp_path: Path) -> None:
    splits = read(make(tmp_path, "reid_raw.json", [row("imgs/cam_a/1.png", 1)], pictures=("imgs/cam_a/1.png",)))
    assert splits.train[0].path == tmp_path / "imgs" / "cam_a" / "1.png"
    assert not any("missing" in note for note in splits.notes)


def by_split(root: Path) -> Path:
    extra = {"captions_bt": ["back"], "image_id": 3}
    make(root, "train_reid.json", [{**row("imgs/1.jpg", 1, None), **extra}, row("imgs/2.jpg", 2, "train")])
    return make(root, "test_reid.json", [row("imgs/3.jpg", 3, None)], pictures=("imgs/1.jpg",))


def read_by_split(root: Path, **given: str) -> Splits:
    splits = read(by_split(root), **given)
    assert splits.protocol == "text"
    assert [record.captions for record in splits.train] == [("a", "b"), ("a", "b")]
    assert [record.identity for record in splits.query] == ["3"]
    return splits


@pytest.mark.parametrize(
    ("folder", "name"), [("CUHK-PEDES", "cuhk-pedes"), ("icfg_pedes", "icfg-pedes"), ("RSTPReid", "rstpreid")]
)
def test_a_file_a_split(tmp_path: Path, folder: str, name: str) -> None:
    assert read_by_split(tmp_path / folder).benchmark == name
    assert read_by_split(tmp_path / "plain", benchmark=name).benchmark == name


def test_a_file_a_split_of_ones_own(tmp_path: Path) -> None:
    splits = read_by_split(tmp_path / "mine")
    assert (splits.benchmark, splits.name) == (None, "mine")
    assert "laid out as CUHK-PEDES or ICFG-PEDES or RSTPReid, but neither" in splits.notes[-1]


def test_one_file_of_any_name(tmp_path: Path) -> None:
    root = make(
        tmp_path, "UFine6926.json", [row("1.jpg", 1, "train"), {**row("2.jpg", 2, "test"), "text_type": "fine"}]
    )
    splits = read(root / "UFine6926.json")
    assert (splits.benchmark, splits.name, splits.protocol) == (None, "UFine6926", "text")
    assert (len(splits.train), len(splits.gallery)) == (1, 1)
    assert read(by_split(tmp_path) / "test_reid.json").query[0].identity == "3"


def test_keys_of_other_sets_are_left_alone(tmp_path: Path) -> None:
    """UFine6926's and SYNTH-PEDES's rows, with back-translations that are empty or none; words of one letter stay."""
    more = [
        {},
        {"captions_bt": ""},
        {"captions_bt": []},
        {"attributes": ["red"], "is_clear": True, "prompt_caption": 3},
    ]
    rows = [{**row(f"{k}.jpg", k, captions=("a",)), **extra} for k, extra in enumerate(more)]
    splits = read(make(tmp_path, "synth.json", rows) / "synth.json")
    assert [(record.identity, record.captions) for record in splits.train] == [(str(k), ("a",)) for k in range(4)]
    assert not any("caption" in note for note in splits.notes)


def test_a_validation_file_and_upper_case(tmp_path: Path) -> None:
    make(tmp_path, "train_reid.json", [row("1.jpg", "00012", "TRAIN")], mark=b"\xef\xbb\xbf")
    make(tmp_path, "val_reid.json", [row("2.jpg", 13.0, None)])
    splits = read(make(tmp_path, "test_reid.json", [row("a\\3.jpg", " 14 ", "Test")]))
    assert [[record.identity for record in role] for role in (splits.train, splits.validation, splits.query)] == [
        ["12"],
        ["13"],
        ["14"],
    ]
    assert splits.query[0].path == tmp_path / "a" / "3.jpg"


def test_several_published_files(tmp_path: Path) -> None:
    root = make(make(tmp_path, "reid_raw.json", CUHK), "data_captions.json", CUHK)
    assert "read as cuhk-pedes; --benchmark reads it as rstpreid" in read(root).notes
    assert read(root, benchmark="rstpreid").benchmark == "rstpreid"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            {"images": []},
            r'reid_raw.json: is not a list of records {"split", "captions", "file_path", "id"}. Write one.',
        ),
        ([["x"]], r"is not a list of records"),
        ([], r"reid_raw.json: holds no record. Copy it again."),
        (
            [row("1.png", 1), row("", 1)],
            r"reid_raw.json: record 2: the path is empty. Name a picture, or remove the row.",
        ),
        ([row("../1.png", 1)], r"record 1: the path '../1.png' leaves the folder"),
        ([row("1.png", None)], r"record 1: id is None, not a number or text. It holds: file_path, id, captions, "),
        ([row("1.png", True)], r"record 1: id is True, not a number or text."),
        ([row("1.png", " ")], r"record 1: id is ' ', not a number or text."),
        ([row("1.png", float("nan"))], r"record 1: id is nan, not a number or text."),
        ([row("1.png", float("-inf"))], r"record 1: id is -inf, not a number or text."),
        ([row("1.png", 1), row("2.png", 1, None)], r"record 2: split is None. Give train, val or test."),
        ([row("1.png", 1, captions=[1])], r"record 1: captions are \[1\], not a list of texts. Correct them."),
        ([row("1.png", 1, captions=None)], r"record 1: captions are None, not a list of texts."),
    ],
)
def test_malformed_records(tmp_path: Path, rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(make(tmp_path, "reid_raw.json", rows))


@pytest.mark.parametrize("text", [b"[{", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_json(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "reid_raw.json").write_bytes(text)
    with pytest.raises(DataError, match=r"reid_raw.json: cannot be read as JSON \(.*\). Copy it again."):
        read(tmp_path)
