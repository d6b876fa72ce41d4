"""Likely faults of identities: a picture under a wrong one, one individual under two, two individuals under one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from resight.audit.confidence import fit_temperature, preferred
from resight.audit.faults import Fault
from resight.audit.likeness import Others, Own, other_likeness, own_likeness
from resight.audit.space import Floats, Rows, Space
from resight.types import Record

N_BESIDE = 4  # pictures of an identity shown beside a fault
SURE_WRONG, SURE_SAME, SURE_TWO = 0.95, 0.65, 0.8


def identity_faults(
    vectors: Floats,
    identities: Rows,
    cameras: Rows,
    names: Sequence[str],
    records: Sequence[Record],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Fault], list[str]]:
    """Likely faults of the three kinds, unordered, and a line for what could not be compared.

    vectors [N, D]; identities [N] into names, ascending; cameras [N], −1 is unknown; records [N]. Time grows with N²
    and memory with N; 20,000 pictures are compared in blocks.
    """
    space = Space.learn(vectors, identities, cameras)
    own = own_likeness(space)
    others = other_likeness(space, own, progress)
    known = np.isfinite(own.both)
    temperature = fit_temperature(own.both[known], others.best[known])
    found = [
        *_wrong(space, own, others, temperature, names, records),
        *_same(space, others, names, records),
        *_two(space, own, names, records),
    ]
    return found, _not_compared(own, others, len(names))


def _not_compared(own: Own, others: Others, n: int) -> list[str]:
    if not others.n_not_compared:
        return []
    lacking = "twice by one camera" if own.counts[0].any() else "by two cameras"
    return [
        f"{others.n_not_compared:,} of {n * (n - 1) // 2:,} pairs of identities were not held against each other (same "
        f"individual): no identity is seen {lacking}, which would tell how alike one's pictures are"
    ]


def _wrong(
    space: Space, own: Own, others: Others, temperature: float, names: Sequence[str], records: Sequence[Record]
) -> list[Fault]:
    scores = preferred(others.best[:, 0] - own.both, temperature)
    found = []
    for row in np.flatnonzero(scores >= SURE_WRONG).tolist():  # nan, of an identity's only picture, is not
        ours, theirs = int(space.identities[row]), int(others.named[row, 0])
        why = (
            f"likeness {own.both[row]:.2f} to its own identity {names[ours]} ({_pictures(space, ours, but=1)}), "
            f"{others.best[row, 0]:.2f} to {names[theirs]} ({_pictures(space, theirs)})"
        )
        beside = tuple(
            (f"identity {names[identity]}", _most_alike(space, row, identity, records)) for identity in (ours, theirs)
        )
        pictures, pair = (records[row],), (names[ours], names[theirs])
        found.append(Fault("wrong identity", float(scores[row]), pictures, pair, why, beside=beside))
    return found


def _same(space: Space, others: Others, names: Sequence[str], records: Sequence[Record]) -> list[Fault]:
    """Pairs that lie nearer to 0, where one individual's pictures would, than to the usual nearest other identity."""
    found: list[Fault] = []
    if not others.partners:
        return found
    usual, spread = _middle(np.array(others.nearest))
    scores = preferred(np.array(list(others.partners.values())) - usual / 2, max(spread**2, 1e-4) / max(-usual, 1e-6))
    for ((a, b), apart), score in zip(others.partners.items(), scores.tolist(), strict=True):
        if score < SURE_SAME or usual >= 0:
            continue
        a, b = (a, b) if len(space.members(a)) >= len(space.members(b)) else (b, a)
        why = (
            f"the pictures of {names[a]} ({_pictures(space, a)}) and {names[b]} ({_pictures(space, b)}) are "
            + ("as alike as" if apart >= 0 else f"by {-apart:.2f} less alike than")
            + (" those of each among themselves" if len(space.members(b)) > 1 else " those of one identity usually are")
        )
        beside = tuple((f"identity {names[one]}", _spread(space.members(one), records)) for one in (a, b))
        moved = tuple(records[row] for row in space.members(b))
        found.append(Fault("same individual", score, moved, (names[a], names[b]), why, beside=beside))
    return found


def _two(space: Space, own: Own, names: Sequence[str], records: Sequence[Record]) -> list[Fault]:
    """Identities whose two halves are as unlike as different identities; each half of two pictures or more."""
    between = {identity: cosine for identity, (cosine, _) in own.parts.items()}
    if len(between) < 2 or space.n_identities < 3:
        return []
    middle, spread = _middle(np.array(list(between.values())))
    apart, apart_spread = _middle(space.between_identities())
    variance = max((spread**2 + apart_spread**2) / 2, 1e-4)
    found = []
    for identity, cosine in between.items():
        second = own.parts[identity][1]
        score = float(preferred(np.array((middle + apart) / 2 - cosine), variance / max(middle - apart, 1e-6)))
        if score < SURE_TWO or middle <= apart or min(second.sum(), (~second).sum()) < 2:
            continue
        rows = space.members(identity)
        first_rows, second_rows = rows[~second], rows[second]
        if len(second_rows) > len(first_rows):  # the larger half keeps the name
            first_rows, second_rows = second_rows, first_rows
        why = (
            f"{len(first_rows)} and {len(second_rows)} of its pictures have a cosine of {cosine:.2f}, as different "
            f"identities ({apart:.2f}) rather than as the halves of one ({middle:.2f})"
        )
        new = _new_name(names[identity], set(names))
        beside = (
            (f"stay identity {names[identity]}", _spread(first_rows, records)),
            (f"become {new}", _spread(second_rows, records)),
        )
        pictures = tuple(records[row] for row in second_rows)
        found.append(Fault("two individuals", score, pictures, (names[identity], new), why, beside=beside))
    return found


def _middle(values: NDArray[np.floating]) -> tuple[float, float]:
    """Median, and the standard deviation of a normal distribution with that median absolute deviation."""
    median = float(np.median(values))
    return median, 1.4826 * float(np.median(np.abs(values - median)))


def _new_name(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"


def _pictures(space: Space, identity: int, but: int = 0) -> str:
    n = len(space.members(identity)) - but
    return f"{n:,} {'other ' * bool(but)}picture{'s' * (n != 1)}"


def _most_alike(space: Space, row: int, identity: int, records: Sequence[Record]) -> tuple[Record, ...]:
    """Of an identity's other pictures those most like this one, by the vectors without their cameras' means."""
    rows = space.members(identity)
    rows = rows[rows != row]
    order = np.argsort(-(space.vectors[rows] @ space.vectors[row]), kind="stable")[:N_BESIDE]
    return tuple(records[one] for one in rows[order])


def _spread(rows: Rows, records: Sequence[Record]) -> tuple[Record, ...]:
    """A few of them, evenly spaced; they are ordered by camera."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(N_BESIDE, len(rows))).round().astype(int))
    return tuple(records[row] for row in rows[chosen])
