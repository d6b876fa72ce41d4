"""A data set as a whole: all its records, and the fingerprint that names them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

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
