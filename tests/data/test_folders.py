"""Pictures in folders, and folders as records."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from resight.data.folders import list_pictures, read_folder
from resight.data.index import read
from resight.errors import DataError

Touch = Callable[..., Path]


@pytest.fixture
def touch(tmp_path: Path) -> Touch:
    def make(*names: str) -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


def test_one_sub_folder_is_one_identity(touch: Touch) -> None:
    root = touch("bob/2.jpg", "bob/1.PNG", "añna maría/x y.webp", "añna maría/night/deep/z.tiff")
    splits = read(root)
    assert splits.name == root.name
    assert splits.root == root
    assert splits.benchmark is None
    assert [(record.path.relative_to(root).as_posix(), record.identity) for record in splits.unassigned] == [
        ("añna maría/night/deep/z.tiff", "añna maría"),
        ("añna maría/x y.webp", "añna maría"),
        ("bob/1.PNG", "bob"),
        ("bob/2.jpg", "bob"),
    ]
    assert all(record.path.is_absolute() and record.split == "" for record in splits.unassigned)
    assert splits.train == splits.query == splits.gallery == splits.validation == ()
    assert splits.protocol == "any-camera"
    assert splits.notes == ("no camera is known: protocol any-camera, only the query itself is left out",)


def test_relative_path_gives_absolute_records(touch: Touch, monkeypatch: pytest.MonkeyPatch) -> None:
    root = touch("set/a/1.jpg")
    monkeypatch.chdir(root)
    (record,) = read(Path("set")).unassigned
    assert record.path == root / "set/a/1.jpg"


def test_bare_pictures_have_no_identity(touch: Touch) -> None:
    splits = read(touch("2.jpg", "1.gif", "3.jpeg"))
    assert [(record.path.name, record.identity) for record in splits.unassigned] == [
        ("1.gif", None),
        ("2.jpg", None),
        ("3.jpeg", None),
    ]


def test_pictures_beside_identities_and_unknown_ones(touch: Touch) -> None:
    reading = read_folder(touch("a/1.jpg", "unknown/2.jpg", "loose.jpg"))
    assert [record.identity for record in reading.records] == ["a", None, None]
    assert any("1 pictures beside the identities' folders have no identity" in note for note in reading.notes)


def test_junk_folder_is_dropped_with_a_note(touch: Touch) -> None:
    splits = read(touch("a/1.jpg", "-1/2.jpg", "-1/3.jpg"))
    assert [record.identity for record in splits.unassigned] == ["a"]
    assert "2 junk pictures (identity -1) left out" in splits.notes


def test_folders_named_as_splits(touch: Touch) -> None:
    root = touch(
        "Train/a/1.jpg",
        "Train/a/2.jpg",
        "valid/b/1.jpg",
        "query/c/1.jpg",
        "gallery/c/2.jpg",
        "test/d/1.jpg",
        "README.txt",
    )
    splits = read(root)
    assert [record.identity for record in splits.train] == ["a", "a"]
    assert [record.identity for record in splits.validation] == ["b"]
    assert [record.identity for record in splits.query] == ["c", "d"]
    assert [record.identity for record in splits.gallery] == ["c", "d"]
    assert splits.query[1] is splits.gallery[1]
    assert splits.query[1].split == "test"
    assert "1 entries beside the splits' folders left out (README.txt)" in splits.notes


def test_split_folders_of_bare_pictures(touch: Touch) -> None:
    splits = read(touch("train/1.jpg", "test/2.jpg"))
    assert [(record.identity, record.split) for record in splits.train] == [(None, "train")]
    assert [record.path.name for record in splits.gallery] == ["2.jpg"]


def test_an_identity_may_be_called_test(touch: Touch) -> None:
    splits = read(touch("test/1.jpg", "anna/1.jpg"))
    assert {record.identity for record in splits.unassigned} == {"test", "anna"}


def test_other_folders_beside_splits_are_named(touch: Touch) -> None:
    splits = read(touch("train/a/1.jpg", "masks/1.jpg"))
    assert len(splits.train) == 1
    assert "1 entries beside the splits' folders left out (masks)" in splits.notes


def test_hidden_and_other_files_are_counted(touch: Touch) -> None:
    root = touch("a/1.jpg", "a/.DS_Store", ".cache/2.jpg", "a/Thumbs.db", "a/notes.txt", "b.csv", "a/c.pdf")
    splits = read(root)
    assert len(splits.unassigned) == 1
    assert f"{root.name}: 2 hidden left out (.cache, a/.DS_Store)" in splits.notes
    assert (
        f"{root.name}: 4 not pictures by their suffix left out (a/Thumbs.db, a/c.pdf, a/notes.txt, …)" in splits.notes
    )


def test_a_table_in_the_folder_is_pointed_at(touch: Touch) -> None:
    root = touch("a/1.jpg", "index.csv", "more.parquet")
    assert f"{root.name}: holds index.csv, more.parquet; to read a table, give its path" in read(root).notes


def test_everything_in_one_folder_of_folders_is_suspicious(touch: Touch) -> None:
    root = touch("images/a/1.jpg", "images/b/1.jpg")
    splits = read(root)
    assert {record.identity for record in splits.unassigned} == {"images"}
    assert f"{root.name}: read as one identity, 'images'; if its folders are identities, give {root / 'images'}" in (
        splits.notes
    )


def test_links_are_followed_once_and_loops_end(touch: Touch) -> None:
    root = touch("b/1.jpg", "elsewhere/deep/2.jpg").joinpath("set")
    root.mkdir()
    (root / "b").mkdir()
    (root / "b" / "1.jpg").touch()
    (root / "b" / "up").symlink_to(root, target_is_directory=True)
    (root / "a").symlink_to(root / "b", target_is_directory=True)
    (root / "c").symlink_to(root.parent / "elsewhere", target_is_directory=True)
    (root / "self").symlink_to(root / "self")
    pictures, notes = list_pictures(root)
    assert pictures == ("b/1.jpg", "c/deep/2.jpg")
    assert notes == (
        "set: 1 not pictures by their suffix left out (self)",
        "set: 2 folders linked twice left out (a, b/up)",
    )


def test_a_split_may_link_another(touch: Touch) -> None:
    root = touch("query/a/1.jpg")
    (root / "gallery").symlink_to(root / "query", target_is_directory=True)
    splits = read(root)
    assert len(splits.query) == len(splits.gallery) == 1


def test_a_broken_link_to_a_picture_is_kept(touch: Touch) -> None:
    root = touch("a/1.jpg")
    (root / "a" / "2.jpg").symlink_to(root / "nowhere.jpg")
    assert [record.path.name for record in read(root).unassigned] == ["1.jpg", "2.jpg"]


def test_links_that_leave_the_folder_are_told(touch: Touch) -> None:
    root = touch("elsewhere/1.jpg", "elsewhere/2.jpg", "set/a/1.jpg").joinpath("set")
    (root / "b").symlink_to(root.parent / "elsewhere", target_is_directory=True)
    (root / "a" / "3.jpg").symlink_to(root.parent / "elsewhere" / "1.jpg")
    (root / "a" / "4.jpg").symlink_to(root / "a" / "1.jpg")
    (root.parent / "way").symlink_to(root, target_is_directory=True)
    for given in (root, root.parent / "way"):  # a root that is a link itself holds what it leads to
        assert f"3 pictures lie outside {given.name} by a link (a/3.jpg)" in read(given).notes
    (root / "index.csv").write_text(f"path\na/1.jpg\nb/2.jpg\n{root.parent / 'elsewhere/1.jpg'}\n")
    assert "1 pictures lie outside set by a link (b/2.jpg)" in read(root / "index.csv").notes


def test_links_within_the_folder_are_not(touch: Touch) -> None:
    root = touch("a/1.jpg")
    (root / "a" / "2.jpg").symlink_to("1.jpg")
    assert not any("by a link" in note for note in read(root).notes)


def test_notes_show_no_control_characters(touch: Touch) -> None:
    root = touch("a/1.jpg", "a/\x1b[31mred\n.txt")
    assert r"(a/\x1b[31mred\n.txt)" in " ".join(read(root).notes)


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing: no such file or folder. Check the path."):
        read(tmp_path / "nothing")


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"holds no picture \(it is empty\). Give a folder with one sub-folder an identity"
    ):
        read(tmp_path)


def test_folder_without_pictures_says_what_it_holds(touch: Touch) -> None:
    with pytest.raises(DataError, match=r"holds no picture \(.*1 not pictures by their suffix left out \(a/x.txt\)\)"):
        read(touch("a/x.txt"))


def test_folder_of_junk_only(touch: Touch) -> None:
    with pytest.raises(DataError, match=r"no picture is left to read. Give a folder or table with pictures."):
        read(touch("-1/1.jpg"))


@pytest.mark.parametrize("depth", ["top", "below"])
def test_folder_that_may_not_be_listed(touch: Touch, monkeypatch: pytest.MonkeyPatch, depth: str) -> None:
    root = touch("a/b/1.jpg")
    refused = root if depth == "top" else root / "a" / "b"
    scandir = os.scandir

    def refuse(place: Path) -> object:
        if Path(place) == refused:
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DataError, match=r"cannot be listed \(.*Permission denied\). Check that you may read it."):
        read(root)


def test_a_gallery_of_vectors_among_the_identities_is_no_split(touch: Touch) -> None:
    root = touch("anna/1.jpg", "gallery/gallery.json", "gallery/rows.lance/data/1.lance")
    (record,) = read(root).unassigned
    assert record.identity == "anna"
