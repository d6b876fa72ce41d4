"""One picture saved twice, equal or nearly, on two sides of a split."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from resight.audit.faults import Fault
from resight.audit.space import BLOCK, Floats
from resight.data.copies import Look, look
from resight.data.images import open_image
from resight.errors import DataError
from resight.types import Record

SIDES = ("train", "validation", "test")
N_NEAREST = 3
MIN_COSINE = 0.9
"""Pairs less alike are not opened. Of 540 copies, saved as JPEG at quality 40, at half size, brighter, or cut by 3 to
5 %, 95 % have 0.91 or more and are the nearest of all but 2 %."""
MIN_CORRELATION = 0.95
"""Of the colours in 8 × 8 fields. Copies that were saved again, at half size or brighter have 0.985 or more, cut by 3
to 5 % half of them 0.963 to 0.974; the most alike of different pictures 0.81 (people), 0.95 (vehicles), 0.90 (cows)."""


def copy_faults(
    vectors: Floats,
    sides: Sequence[str],
    records: Sequence[Record],
    progress: Callable[[int, int], None] | None = None,
) -> list[Fault]:
    """A fault for each picture of an earlier side that has a copy on a later one, in the order of SIDES.

    vectors [N, D], the encoder's own; sides [N], one of SIDES or "" for none. The encoder proposes, since a cut or
    mirrored copy has other pixels in every place, and the pixels decide.
    """
    side = np.array([SIDES.index(one) if one in SIDES else -1 for one in sides])
    pairs = _candidates(vectors, side)
    looks: dict[int, Look | None] = {}
    best: dict[int, tuple[float, int]] = {}
    for done, (earlier, later) in enumerate(pairs, 1):
        for row in (earlier, later):
            if row not in looks:
                looks[row] = _look(records[row])
        a, b = looks[earlier], looks[later]
        score = 0.0 if a is None or b is None else _alike(a, b)
        if score >= MIN_CORRELATION and score > best.get(earlier, (0.0, 0))[0]:
            best[earlier] = score, later
        if progress is not None:
            progress(done, len(pairs))
    return [_fault(score, records, sides, earlier, later) for earlier, (score, later) in best.items()]


def _candidates(vectors: Floats, side: NDArray[np.int64]) -> list[tuple[int, int]]:
    found: dict[tuple[int, int], None] = {}
    for later in range(1, len(SIDES)):
        queries, keys = np.flatnonzero(side == later), np.flatnonzero((side >= 0) & (side < later))
        if not len(queries) or not len(keys):
            continue
        step = max(1, BLOCK // len(keys))
        for start in range(0, len(queries), step):
            cosines = vectors[queries[start : start + step]] @ vectors[keys].T
            top = np.argsort(-cosines, axis=1, kind="stable")[:, :N_NEAREST]
            for k, column in zip(*np.nonzero(np.take_along_axis(cosines, top, axis=1) >= MIN_COSINE), strict=True):
                found[int(keys[top[k, column]]), int(queries[start + k])] = None
    return list(found)


def _look(record: Record) -> Look | None:
    """None for a picture that shows nothing, or went away since it was embedded."""
    try:
        seen = look(open_image(record.path, box=record.box))
    except DataError:
        return None
    return None if seen.blank else seen


def _alike(a: Look, b: Look) -> float:
    """Correlation of the colours, of the one as it is or mirrored; 1 where the pixels are equal."""
    if a.digest == b.digest:
        return 1.0
    one, other = (np.frombuffer(seen.colours, np.uint8).reshape(8, 8, 3).astype(np.float64) for seen in (a, b))
    one, other = one - one.mean(), other - other.mean()
    norm = float(np.linalg.norm(one) * np.linalg.norm(other))
    return max(float((one * side).sum()) for side in (other, other[:, ::-1])) / max(norm, 1e-9)


def _fault(score: float, records: Sequence[Record], sides: Sequence[str], earlier: int, later: int) -> Fault:
    names = tuple(records[row].identity or "unknown" for row in (earlier, later))
    equal = "the same pixels as" if score == 1 else "nearly the same picture as"
    why = f"in {sides[earlier]}, {equal} one in {sides[later]}: what is learned from is measured on"
    beside = ((f"in {sides[later]}: identity {names[1]}", (records[later],)),)
    return Fault("copy across splits", min(score, 1.0), (records[earlier],), names, why, beside=beside)
