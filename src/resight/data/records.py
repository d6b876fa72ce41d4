"""What the readers of data sets share: names of splits, identities, places of pictures, the last cleaning."""

from __future__ import annotations

import functools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from resight.errors import DataError
from resight.types import Protocol, Record, Role, Splits

JUNK: Final = "-1"

SPLIT_NAMES: Final[Mapping[str, Role]] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "query": "query",
    "gallery": "gallery",
    "test": "test",
    "testing": "test",
}


# C0 and C1, line and paragraph separators, what turns the direction of writing, and halves of surrogate pairs
CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Reading:
    """Records in the order found, and a line for everything that a user should know of the reading."""

    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()


def known_identity(text: str) -> str | None:
    """The identity without surrounding space; None where it is empty or says "unknown"."""
    text = text.strip()
    return None if text == "" or text.lower() == "unknown" else text


def picture_path(folder: Path, text: str) -> Path:
    """Where the picture that a table in `folder` calls `text` lies: an absolute path, whether or not it exists.

    Backslashes count as separators, unless a file of just that name exists. Raises ValueError for an empty path and
    for a relative one that leaves `folder`.
    """
    if not text.strip():
        raise ValueError("the path is empty. Name a picture, or remove the row.")
    if "\0" in text:
        raise ValueError(f"the path {text!r} holds a null character. Write the file again.")
    if "\\" in text and not os.path.lexists(folder / text):
        text = text.replace("\\", "/")
    place = os.path.normpath(text)
    if place == ".." or place.startswith(f"..{os.sep}"):
        raise ValueError(f"the path {text!r} leaves the folder {folder}. Move the file up, or write an absolute path.")
    return folder / place


def require_file(path: Path) -> None:
    """Raise DataError where the path leads to a pipe, a socket or a device: to open one is to wait for ever."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is not a regular file. Give a file that lies on the disk.")


def clean(reading: Reading) -> Reading:
    """The reading without junk, and with what is said twice of the same picture said once; notes say how many.

    Records that agree in all but their captions are joined; a caption that the first one holds already is not added.
    Records of the same picture that disagree (two identities, say) both stay, for `data check` to find.
    """
    kept: dict[Record, list[str]] = {}
    n_junk = n_repeated = 0
    for record in reading.records:
        if record.identity == JUNK:
            n_junk += 1
            continue
        bare = replace(record, captions=()) if record.captions else record
        if bare not in kept:
            kept[bare] = list(record.captions)
            continue
        new = [caption for caption in record.captions if caption not in kept[bare]]
        kept[bare] += new
        n_repeated += not new
    notes = list(reading.notes)
    if n_junk:
        notes.append(f"{n_junk:,} junk pictures (identity {JUNK}) left out")
    if n_repeated:
        notes.append(f"{n_repeated:,} records that repeat an earlier one left out")
    return Reading(
        tuple(replace(bare, captions=tuple(said)) if said else bare for bare, said in kept.items()), tuple(notes)
    )


def assemble(
    reading: Reading, *, name: str, root: Path, protocol: Protocol | None = None, benchmark: str | None = None
) -> Splits:
    """The records by role. Without a protocol it is cross-camera, or any-camera where no camera is known.

    Raises DataError when there is no record.
    """
    if not reading.records:
        raise DataError(f"{root}: no picture is left to read. Give a folder or table with pictures.")
    notes = [*reading.notes, *_link_notes(reading.records, root)]
    if protocol is None:
        n_unknown = sum(record.camera is None for record in reading.records)
        protocol = "any-camera" if n_unknown == len(reading.records) else "cross-camera"
        if protocol == "any-camera":
            notes.append("no camera is known: protocol any-camera, only the query itself is left out")
        elif n_unknown:
            notes.append(f"{n_unknown:,} pictures without a camera: an unknown camera equals no other")
    of: defaultdict[Role, list[Record]] = defaultdict(list)
    for record in reading.records:
        for role in ("query", "gallery") if record.split == "test" else (record.split,):
            of[role].append(record)
    return Splits(
        name=name,
        root=root,
        protocol=protocol,
        benchmark=benchmark,
        train=tuple(of["train"]),
        validation=tuple(of["validation"]),
        query=tuple(of["query"]),
        gallery=tuple(of["gallery"]),
        unassigned=tuple(of[""]),
        notes=tuple(map(printable, notes)),
    )


def _link_notes(records: Iterable[Record], root: Path) -> list[str]:
    """How many pictures are named below the root but lie elsewhere, by a link to them or to a folder above them."""
    home = os.path.realpath(root)

    def leaves(place: str) -> bool:
        return not f"{os.path.realpath(place)}{os.sep}".startswith(os.path.join(home, ""))

    folder_leaves = functools.cache(leaves)
    start = os.path.join(root, "")
    below = dict.fromkeys(place for record in records if (place := str(record.path)).startswith(start))
    away = [
        place for place in below if folder_leaves(os.path.dirname(place)) or (os.path.islink(place) and leaves(place))
    ]
    if not away:
        return []
    return [f"{len(away):,} pictures lie outside {root.name} by a link ({os.path.relpath(away[0], root)})"]


def printable(text: str) -> str:
    """The text with a backslash form of what a terminal would obey, as new lines and escapes in names, or cannot show.

    Marks that join letters or keep them apart stay: scripts are written with them.
    """
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def some(items: Sequence[str], n: int = 3) -> str:
    """The first few of the items, for a message."""
    return ", ".join(items[:n]) + (", …" if len(items) > n else "")


def tally(items: Iterable[str]) -> str:
    """Every item with how often it occurs, in the items' order of names, for a message."""
    return ", ".join(f"{item} ({count:,})" for item, count in sorted(Counter(items).items()))
