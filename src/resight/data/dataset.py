"""A data set as a whole: all its records, the fingerprint that names them, and whether its pictures are there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from resight.data.findings import missing_by_folder, place
from resight.data.records import printable
from resight.errors import DataError
from resight.types import Record, Splits


def all_records(splits: Splits) -> list[Record]:
    """Every record once: train, validation, query, gallery, unassigned."""
    roles = (splits.train, splits.validation, splits.query, splits.gallery, splits.unassigned)
    return list(dict.fromkeys(record for role in roles for record in role))


def fingerprint(records: Iterable[Record], root: Path) -> str:
    """16 hexadecimal digits of what the records say, in any order; paths count from `root`, so copies agree.

    Pictures are not read: a picture replaced under its name is not noticed.
    """
    lines = sorted(
        json.dumps(
            [
                Path(os.path.relpath(record.path, root)).as_posix(),
                record.identity,
                record.camera,
                record.view,
                record.captions,
                record.split,
                record.box,
                record.time,
            ]
        )
        for record in records
    )
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


def require_pictures(records: Iterable[Record], root: Path) -> None:
    """Raises DataError, with counts by folder, where a record's file is missing: before hours are spent on the others.

    Files are not opened; `resight data check` does that.
    """
    paths = list(dict.fromkeys(record.path for record in records))
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        folders = "; ".join(missing_by_folder(missing, paths, root))
        text = (
            f"{root}: {len(missing):,} of {len(paths):,} pictures are missing ({folders}). The first is "
            f"{place(missing[0], root)}. Copy them there, or take them off the list."
        )
        raise DataError(printable(text))
