"""The public picture-to-picture benchmarks' folders and lists as records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from resight.data.benchmarks_text import CAPTION_FILES, read_captions
from resight.data.folders import list_pictures
from resight.data.records import Reading, clean, picture_path, require_file, some
from resight.errors import DataError
from resight.types import Record, Role

MARKET_LAYOUT: Final = (
    "bounding_box_train/0002_c1s1_000451_03.jpg  (identity, camera)",
    "query/0001_c1s1_001051_00.jpg",
    "bounding_box_test/0000_c1s1_000151_01.jpg  (the gallery)",
)
MSMT17_LAYOUT: Final = (
    "list_train.txt list_val.txt list_query.txt list_gallery.txt  (lines: path identity)",
    "train/0000/0000_000_01_0303morning_0015_0.jpg  (or mask_train_v2/)",
    "test/0000/0000_000_06_0303noon_0550_2.jpg  (or mask_test_v2/)",
)
VERI_LAYOUT: Final = (
    "image_train/0001_c001_00016450_0.jpg  (identity, camera)",
    "image_query/0002_c002_00030600_0.jpg",
    "image_test/0002_c002_00030600_0.jpg  (the gallery)",
    "keypoint_train.txt keypoint_test.txt  (not needed; last field: view 0 to 7)",
)
VEHICLEID_LAYOUT: Final = (
    "image/0004503.jpg",
    "train_test_split/train_list.txt test_list_800.txt test_list_1600.txt test_list_2400.txt  (lines: name identity)",
)
NAME: Final = re.compile(r"(-?[0-9]+)_c([0-9]+)")


def read_market_style(root: Path) -> Reading:
    """Records of the layout of Market-1501, which DukeMTMC-reID and many others use, whatever their number.

    An identity is the text of the name's first number, a camera its number without leading zeros. Identity 0 in the
    gallery, when no query has it, is Market-1501's distractor and becomes None. A file of captions in the root
    (CUHK-PEDES's form) gives the pictures it names their captions.
    """
    folders: dict[str, Role] = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
    readings = [_read_named(root, folder, role, MARKET_LAYOUT) for folder, role in folders.items()]
    queried = {record.identity for reading in readings for record in reading.records if record.split == "query"}
    zeros = {
        text for reading in readings for record in reading.records if (text := record.identity or "").strip("0") == ""
    }
    distractors = zeros - queried
    records = [
        replace(record, identity=None) if record.split == "gallery" and record.identity in distractors else record
        for reading in readings
        for record in reading.records
    ]
    n_distractors = sum(record.identity is None for record in records)
    notes = [note for reading in readings for note in reading.notes]
    if n_distractors:
        notes.append(f"{n_distractors:,} distractors (identity 0) stay in the gallery and match nobody")
    return _with_captions(root, Reading(tuple(records), tuple(notes)))


def _with_captions(root: Path, reading: Reading) -> Reading:
    """The reading with the captions that a file in the root gives its pictures."""
    files = [root / name for name in CAPTION_FILES if (root / name).is_file()]
    if not files:
        return reading
    described = clean(read_captions(root, files[:1]))
    captions = {record.path: record.captions for record in described.records}
    records = tuple(replace(record, captions=captions.pop(record.path, ())) for record in reading.records)
    note = f"{files[0].name}: captions of {sum(bool(record.captions) for record in records):,} pictures"
    unused = [path.name for path in captions]
    if unused:
        note += f"; {len(unused):,} of its pictures are not among those read ({some(unused)})"
    return Reading(records, (*reading.notes, note))


def read_veri(root: Path) -> Reading:
    """Records of VeRi-776. A picture without a line in the view files has view None and is counted in a note."""
    folders: dict[str, Role] = {"image_train": "train", "image_query": "query", "image_test": "gallery"}
    readings = [_read_named(root, folder, role, VERI_LAYOUT) for folder, role in folders.items()]
    views = _read_views(root)
    records = tuple(
        replace(record, view=views.get(record.path.name)) for reading in readings for record in reading.records
    )
    notes = [note for reading in readings for note in reading.notes]
    n_without = sum(record.view is None for record in records)
    if n_without:
        notes.append(f"{n_without:,} pictures have no view (keypoint_train.txt, keypoint_test.txt); they are kept")
    return Reading(records, tuple(notes))


def _read_views(root: Path) -> dict[str, str]:
    """A picture's name → its view, "0" to "7", from the view files in the root or in datasets/; none is needed."""
    views: dict[str, str] = {}
    for name in ("keypoint_train.txt", "keypoint_test.txt"):
        found = [path for path in (root / name, root / "datasets" / name) if path.is_file()]
        for number, line in _lines(found[0]) if found else ():
            fields = line.split()
            if len(fields) < 2 or not re.fullmatch("[0-7]", fields[-1]):
                raise DataError(f"{found[0]}: line {number}: the last field is no view 0 to 7: {line!r}. Correct it.")
            picture = fields[0].replace("\\", "/").rpartition("/")[2]
            if views.setdefault(picture, fields[-1]) != fields[-1]:
                raise DataError(f"{found[0]}: line {number}: {picture} has a second, other view. Remove one line.")
    return views


def read_msmt17(root: Path) -> Reading:
    """Records of MSMT17's lists, version 1 or 2; list_train and list_val are the training pictures, as published."""
    lists: dict[str, Role] = {
        "list_train.txt": "train",
        "list_val.txt": "train",
        "list_query.txt": "query",
        "list_gallery.txt": "gallery",
    }
    _require(root, lists, MSMT17_LAYOUT)
    records: list[Record] = []
    unread: list[str] = []
    for name, role in lists.items():
        half = "train" if role == "train" else "test"
        folder = next((root / place for place in (half, f"mask_{half}_v2") if (root / place).is_dir()), None)
        if folder is None:
            raise DataError(f"{root}: has neither {half}/ nor mask_{half}_v2/. Expected: {'; '.join(MSMT17_LAYOUT)}")
        for path, identity in _read_list(root / name, folder):
            camera = re.fullmatch(r"[^_]+_[^_]+_([0-9]+)_.*", path.name)
            if camera is None:
                unread.append(path.name)
                continue
            records.append(Record(path, identity=identity, camera=str(int(camera[1])), split=role))
    return Reading(tuple(records), _unread_notes(root, len(records), unread, "NUMBER_NUMBER_CAMERA_…"))


def read_vehicleid(root: Path, n_test: int) -> Reading:
    """Records of VehicleID with its test list of `n_test` vehicles; every test picture has the split "test"."""
    lists: dict[str, Role] = {"train_list.txt": "train", f"test_list_{n_test}.txt": "test"}
    _require(root, ("image", *(f"train_test_split/{name}" for name in lists)), VEHICLEID_LAYOUT)
    records = [
        Record(path if path.suffix else path.with_suffix(".jpg"), identity=identity, split=role)
        for name, role in lists.items()
        for path, identity in _read_list(root / "train_test_split" / name, root / "image")
    ]
    return Reading(tuple(records))


def _require(root: Path, names: Iterable[str], layout: Sequence[str]) -> None:
    missing = [name for name in names if not (root / name).exists()]
    if missing:
        raise DataError(f"{root}: {', '.join(missing)} missing. Expected: {'; '.join(layout)}")


def _read_named(root: Path, folder: str, role: Role, layout: Sequence[str]) -> Reading:
    """Records of a folder of pictures whose names start with identity and camera."""
    _require(root, [folder], layout)
    pictures, notes = list_pictures(root / folder)
    if not pictures:
        raise DataError(f"{root / folder}: holds no picture. Expected: {'; '.join(layout)}")
    matches = {name: NAME.match(name.rpartition("/")[2]) for name in pictures}
    records = tuple(
        Record(root / folder / name, identity=match[1], camera=str(int(match[2])), split=role)
        for name, match in matches.items()
        if match
    )
    unread = [name for name, match in matches.items() if not match]
    return Reading(records, (*notes, *_unread_notes(root / folder, len(records), unread, "IDENTITY_cCAMERA")))


def _unread_notes(folder: Path, n_read: int, unread: Sequence[str], form: str) -> tuple[str, ...]:
    if unread and not n_read:
        raise DataError(f"{folder}: no picture's name starts with {form}, for example {unread[0]}. Rename them.")
    if not unread:
        return ()
    return (f"{folder.name}: {len(unread):,} pictures left out, names without {form} ({some(unread)})",)


def _read_list(file: Path, folder: Path) -> list[tuple[Path, str]]:
    """The pictures and identities of a list whose lines are "path identity"."""
    rows = []
    for number, line in _lines(file):
        fields = line.rsplit(maxsplit=1)
        if len(fields) != 2:
            raise DataError(f"{file}: line {number} is not 'path identity': {line!r}. Correct it.")
        try:
            rows.append((picture_path(folder, fields[0]), fields[1]))
        except ValueError as error:
            raise DataError(f"{file}: line {number}: {error}") from error
    if not rows:
        raise DataError(f"{file}: is empty. Copy it again.")
    return rows


def _lines(file: Path) -> list[tuple[int, str]]:
    """Number and text of every line that is not blank."""
    require_file(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text ({error}). Copy it again.") from error
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
