"""Pictures in folders: all that lie below one, and a folder whose sub-folders are identities or splits as records."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from resight.data.records import SPLIT_NAMES, Reading, known_identity, some
from resight.data.tables import SUFFIXES
from resight.errors import DataError
from resight.types import Record, Role

PICTURE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jp2", ".avif"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
GALLERY: Final = "gallery.json"
"""What a folder with this file is: a gallery of vectors, as `resight gallery create` makes."""


class Listing(NamedTuple):
    """pictures: relative to the listed folder, with forward slashes, sorted. notes: what was left out, a line each."""

    pictures: tuple[str, ...]
    notes: tuple[str, ...]


def list_pictures(folder: Path) -> Listing:
    """Every picture below `folder`, by its suffix; none is opened.

    Links to folders are followed after the real folders, and each folder is entered once, so that loops end and a
    picture keeps its own folder's name rather than a link's. Raises DataError when a folder cannot be listed.
    """
    pictures: list[str] = []
    hidden: list[str] = []
    others: list[str] = []
    repeated: list[str] = []
    seen: set[tuple[int, int]] = set()
    folders, links = [""], list[str]()
    while folders or links:
        if not folders:
            links.sort(reverse=True)
        place = (folders or links).pop()
        try:
            status = (folder / place).stat()
            if (status.st_dev, status.st_ino) in seen:
                repeated.append(place)
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder / place) as entries:
                for entry in entries:
                    name = f"{place}/{entry.name}" if place else entry.name
                    if entry.name.startswith("."):
                        hidden.append(name)
                    elif _is_folder(entry):
                        (links if entry.is_symlink() else folders).append(name)
                    elif os.path.splitext(entry.name)[1].lower() in PICTURE_SUFFIXES:
                        pictures.append(name)
                    else:
                        others.append(name)
        except OSError as error:
            raise DataError(f"{folder / place}: cannot be listed ({error}). Check that you may read it.") from error
    left_out = {"hidden": hidden, "not pictures by their suffix": others, "folders linked twice": repeated}
    notes = (
        f"{folder.name}: {len(names):,} {what} left out ({some(sorted(names))})"
        for what, names in left_out.items()
        if names
    )
    return Listing(tuple(sorted(pictures)), tuple(notes))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether the entry is a folder or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def read_folder(root: Path) -> Reading:
    """Records of a folder of identities, of splits that hold such folders, or of bare pictures.

    One sub-folder is one identity, with everything below it. Where sub-folders are named as splits (train, val,
    validation, query, gallery, test …) they hold the identities' folders. A picture that lies beside the identities'
    folders, or in a folder "unknown", has no identity. Raises DataError when there is no picture.
    """
    splits = _split_folders(root)
    others = [name for name in sorted(os.listdir(root)) if name not in splits and not name.startswith(".")]
    tables = [name for name in others if name.lower().endswith(SUFFIXES)]
    if splits:
        readings = [_read_identities(root / name, SPLIT_NAMES[name.lower()]) for name in splits]
    else:
        readings = [_read_identities(root, "")]
    records = tuple(record for reading in readings for record in reading.records)
    notes = [note for reading in readings for note in reading.notes]
    if splits and others:
        notes.append(f"{len(others):,} entries beside the splits' folders left out ({some(others)})")
    if tables:
        notes.append(f"{root.name}: holds {some(tables)}; to read a table, give its path")
    if not records:
        raise DataError(
            f"{root}: holds no picture ({'; '.join(notes) or 'it is empty'}). "
            "Give a folder with one sub-folder an identity, a folder of pictures, a table, or a benchmark's root."
        )
    return Reading(records, tuple(notes))


def _split_folders(root: Path) -> list[str]:
    """Names of the sub-folders that are splits; none when the names can as well be identities.

    A gallery of vectors that somebody made there is none, whatever its name.
    """
    names = sub_folders(root)
    splits = [name for name in names if name.lower() in SPLIT_NAMES and not (root / name / GALLERY).is_file()]
    return splits if len(splits) == len(names) or any(sub_folders(root / name) for name in splits) else []


def sub_folders(folder: Path) -> list[str]:
    """Names of the folders in `folder` and of the links to folders, sorted, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error}). Check that you may read it.") from error


def _read_identities(folder: Path, split: Role) -> Reading:
    pictures, notes = list_pictures(folder)
    tops = [name.partition("/")[0] if "/" in name else "" for name in pictures]
    records = (
        Record(folder / name, identity=known_identity(top), split=split)
        for name, top in zip(pictures, tops, strict=True)
    )
    return Reading(tuple(records), (*notes, *_suspicions(folder, pictures, tops)))


def _suspicions(folder: Path, pictures: Iterable[str], tops: list[str]) -> list[str]:
    """What looks as if the folder were meant otherwise."""
    distinct = set(tops)
    if len(distinct) == 1 and "" not in distinct and all(name.count("/") > 1 for name in pictures):
        (only,) = distinct
        return [f"{folder.name}: read as one identity, {only!r}; if its folders are identities, give {folder / only}"]
    if "" in distinct and len(distinct) > 1:
        return [f"{folder.name}: {tops.count(''):,} pictures beside the identities' folders have no identity"]
    return []
