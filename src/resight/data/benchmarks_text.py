"""The JSON files of the text-to-picture benchmarks as records."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from resight.data.records import Reading, picture_path, require_file, tally
from resight.errors import DataError
from resight.types import Record, Role

CUHK_FILES: Final = ("reid_raw.json", "caption_all.json")
ICFG_FILES: Final = ("ICFG-PEDES.json", "ICFG_PEDES.json")
RSTP_FILES: Final = ("data_captions.json",)
SPLIT_FILES: Final[Mapping[str, Role]] = {
    "train_reid.json": "train",
    "val_reid.json": "validation",
    "test_reid.json": "test",
}
CAPTION_FILES: Final = (*CUHK_FILES, *ICFG_FILES, *RSTP_FILES)


def read_captions(root: Path, files: Sequence[Path]) -> Reading:
    """Records of files in the form of CUHK-PEDES: a list of {"split", "captions", "file_path", "id"}; more is ignored.

    `img_path` may stand for `file_path`, and lies below imgs/ or images/ in the root, or in the root itself: where
    most are found. A split is train, test, or else validation, and may be missing from train_reid.json and its like,
    whose names tell it, and from CUHK-PEDES's own files, which the published ranges of persons then cut. An identity is
    text, whole numbers without leading zeros or fraction. Raises DataError, with the record's number, for what is
    missing or of another type.
    """
    rows = [(file, number, row) for file in files for number, row in enumerate(_load(file), 1)]
    cut_by_person = all(file.name in CUHK_FILES for file in files) and not any("split" in row for *_, row in rows)
    folder, notes = _picture_folder(root, [_path_text(row) for *_, row in rows])
    records = []
    for file, number, row in rows:
        try:
            identity = _identity(row)
            role = _cuhk_role(identity) if cut_by_person else _role(row, file)
            path = picture_path(folder, _path_text(row))
            records.append(Record(path, identity=identity, captions=_captions(row), split=role))
        except ValueError as error:
            raise DataError(f"{file}: record {number}: {error}") from error
    if cut_by_person:
        notes.append(f"{files[0].name} names no split: cut by CUHK-PEDES's ranges of persons")
    n_silent = sum(not any(caption.strip() for caption in record.captions) for record in records)
    if n_silent:
        notes.append(f"{n_silent:,} pictures have no caption, or an empty one only")
    return Reading(tuple(records), tuple(notes))


def _load(file: Path) -> list[dict[str, Any]]:
    require_file(file)
    try:
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: cannot be read as JSON ({error}). Copy it again.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f'{file}: is not a list of records {{"split", "captions", "file_path", "id"}}. Write one.')
    if not rows:
        raise DataError(f"{file}: holds no record. Copy it again.")
    return rows


def _path_text(row: Mapping[str, Any]) -> str:
    text = row.get("file_path", row.get("img_path", ""))
    return text if isinstance(text, str) else ""


def _picture_folder(root: Path, paths: Sequence[str]) -> tuple[Path, list[str]]:
    """The folder in which most of the paths' first parts lie, and a note of sub-folders that are missing there."""
    tops = [re.split(r"[/\\]", os.path.normpath(path))[0] for path in paths]
    listings = {folder: set(os.listdir(folder)) for folder in (root / "imgs", root / "images", root) if folder.is_dir()}
    best = max(listings, key=lambda folder: sum(top in listings[folder] for top in tops))
    missing = [top for top, path in zip(tops, paths, strict=True) if top not in listings[best] and top != path]
    return best, [f"{best.name}: folders missing (pictures): {tally(missing)}"] if missing else []


def _identity(row: Mapping[str, Any]) -> str:
    value = row.get("id")
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number and not (isinstance(value, str) and value.strip()):
        raise ValueError(f"id is {value!r}, not a number or text. It holds: {', '.join(row)}.")
    text = str(value).strip()
    return str(int(text.partition(".")[0])) if re.fullmatch(r"-?[0-9]+(\.0+)?", text) else text


def _role(row: Mapping[str, Any], file: Path) -> Role:
    value = row.get("split", SPLIT_FILES.get(file.name))
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"split is {value!r}. Give train, val or test.")
    named: Mapping[str, Role] = {"train": "train", "test": "test"}
    return named.get(value.strip().lower(), "validation")


def _cuhk_role(identity: str) -> Role:
    """The split of a person by CUHK-PEDES's published ranges: 1 to 11,003, to 12,003, to 13,003."""
    person = int(identity) if identity.isdecimal() else 0
    if not 1 <= person <= 13_003:
        raise ValueError(f"no split, and id {identity} is no person 1 to 13003 of CUHK-PEDES. Give train, val or test.")
    return "train" if person <= 11_003 else "validation" if person <= 12_003 else "test"


def _captions(row: Mapping[str, Any]) -> tuple[str, ...]:
    value = row.get("captions", row.get("caption", []))
    captions = [value] if isinstance(value, str) else value
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise ValueError(f"captions are {value!r}, not a list of texts. Correct them.")
    return tuple(captions)
