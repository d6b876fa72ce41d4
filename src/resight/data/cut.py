"""What a user should know of records that were cut into query and gallery, before they are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from resight.data.check_labels import unanswered
from resight.data.records import Reading, assemble
from resight.errors import DataError
from resight.types import Record


def cut_notes(records: Iterable[Record], cut: Iterable[Record], by: Literal["identity", "camera", "day"]) -> list[str]:
    """A line for all that `index.split` made of `records` left out, or that cannot be evaluated.

    Raises DataError when no query can find anything under the protocol that the written table is read with.
    """
    known = (lambda record: record.time is not None) if by == "day" else (lambda record: record.camera is not None)
    cut = tuple(cut)
    left_out = {replace(record, split="") for record in records} - {replace(record, split="") for record in cut}
    n_surplus = sum(map(known, left_out))
    n_unknown = len(left_out) - n_surplus
    notes = []
    if n_surplus:
        notes.append(
            f"{n_surplus:,} pictures left out: further ones of test identities on the queries' side; --queries takes "
            f"more of them for each {by}"
        )
    if n_unknown:
        notes.append(f"{n_unknown:,} pictures left out: of test identities, but without {by}, so on neither side")
    splits = assemble(Reading(cut), name="", root=Path())
    n_lost = sum(1 for _ in unanswered(splits.query, splits.gallery, splits.protocol))
    rule = "a match must come from another camera" if splits.protocol == "cross-camera" else "a match is another file"
    if n_lost and n_lost == len(splits.query):
        remedy = ", or leave the camera out: --column camera=" if splits.protocol == "cross-camera" else ""
        raise DataError(
            f"none of the {n_lost:,} queries of this cut has anything to find: {rule}. Cut by another measure{remedy}"
        )
    if n_lost:
        notes.append(f"{n_lost:,} of {len(splits.query):,} queries have nothing to find: {rule}")
    return notes
