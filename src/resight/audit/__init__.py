"""Likely label faults of a data set: pictures under wrong names, doubled and mixed identities, copies, wrong captions.

Everything is judged by likeness to labelled neighbours, never by a picture's likeness to itself. Margins become
probabilities with a temperature that fits the labels as they stand, out of sample: the self-confidence of confident
learning (Northcutt et al. 2021, arXiv 1911.00068 §3), with a softmax over identities in place of a classifier, which
two pictures an identity could not train. An encoder that was trained on these labels may have
learned their faults with them (docs/data.md).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from resight.audit.captions import caption_faults
from resight.audit.copies import SIDES, copy_faults
from resight.audit.faults import Fault
from resight.audit.identities import identity_faults
from resight.data.index import relabel
from resight.embed import require_unit_length
from resight.errors import DataError
from resight.types import Embeddings, Record, Splits

__all__ = ["Audit", "audit", "sides_of"]


@dataclass(frozen=True, slots=True)
class Audit:
    """faults: the surest first. notes: what was not looked at, and why, a line each."""

    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


def sides_of(splits: Splits) -> dict[Record, str]:
    """train, validation or test of each record; "" where it is not said."""
    test = (*splits.query, *splits.gallery)
    sides = zip((*SIDES, ""), (splits.train, splits.validation, test, splits.unassigned), strict=True)
    return {record: side for side, records in sides for record in records}


def audit(
    pictures: Embeddings,
    records: Sequence[Record],
    sides: Sequence[str],
    captions: Embeddings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """What is probably wrong, with a score each, and what could not be looked at.

    pictures: a row a record. sides: train, validation, test or "" of each record. captions: a row a caption, in the
    records' order; None where the encoder has no text tower. The same input gives the same faults. Raises DataError
    when fewer than two identities are known, or there is a picture of each at most, or a vector is not of length 1.
    """
    require_unit_length(pictures)
    sizes = Counter(record.identity for record in records if record.identity is not None)
    if len(sizes) < 2:
        known = "no identity is known" if not sizes else f"one identity alone is known ({next(iter(sizes))})"
        raise DataError(f"{known}, so that there is nothing to compare. Name the identities: --column identity=NAME.")
    if max(sizes.values()) == 1:
        raise DataError("no identity has two pictures, so that none can be held against its own. Add pictures.")
    notes = _not_judged(records, sizes)
    labels, cameras = relabel(sizes), relabel({record.camera for record in records})
    rows = sorted(
        (row for row, record in enumerate(records) if record.identity is not None),
        key=lambda row: (labels[records[row].identity or ""], cameras.get(records[row].camera or "", -1), row),
    )
    found, more_notes = identity_faults(
        pictures.embedding[rows],
        np.array([labels[records[row].identity or ""] for row in rows]),
        np.array([-1 if records[row].camera is None else cameras[records[row].camera or ""] for row in rows]),
        list(labels),
        [records[row] for row in rows],
        progress,
    )
    notes += more_notes
    if len(set(sides) & set(SIDES)) > 1:
        found += copy_faults(pictures.embedding, sides, records)
    else:
        notes.append("the data are not split: no copies across splits were looked for")
    if not any(record.captions for record in records):
        notes.append("there are no captions to check")
    elif captions is None or pictures.aligned is None:
        notes.append("the encoder has no text tower: captions were not checked")
    else:
        owners = np.repeat(np.arange(len(records)), [len(record.captions) for record in records])
        found += caption_faults(captions.embedding, owners, pictures.aligned, records)
    return Audit(tuple(sorted(found, key=lambda fault: (-fault.score, fault.kind))), tuple(notes))


def _not_judged(records: Sequence[Record], sizes: Counter[str]) -> list[str]:
    """A line for each reason why labels cannot be doubted, or not as well. sizes: of the known identities."""
    notes = []
    if n_unknown := len(records) - sizes.total():
        notes.append(f"{n_unknown:,} pictures of unknown identity: not held against identities")
    if n_single := sum(size == 1 for size in sizes.values()):
        notes.append(f"{n_single:,} identities have one picture: it cannot be held against others of its own")
    shown = defaultdict(set)
    for record in records:
        if record.camera is not None and record.identity is not None:
            shown[record.camera].add(record.identity)
    if n_alone := sum(len(identities) == 1 for identities in shown.values()):
        notes.append(
            f"{n_alone:,} cameras show one identity: what they add cannot be told from how it looks, and is left in"
        )
    return notes
