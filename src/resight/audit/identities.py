"""Likely faults of identities: a picture under a wrong one, one individual under two, two individuals under one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resight.audit.confidence import fit_temperature, preferred
from resight.audit.faults import Fault
from resight.audit.space import Floats, Rows, Space, soft_mean, soften
from resight.types import Record

N_OTHERS = 10  # identities most like a picture, on which the temperature is fitted
N_PARTNERS = 5  # two identities may be one individual where each is among so many most like the other
PRIOR = 0.3  # pictures' weight of the data set's mean in an identity's own likeness
N_BESIDE = 4  # pictures of an identity shown beside a fault
SURE_WRONG, SURE_SAME, SURE_TWO = 0.95, 0.65, 0.8


@dataclass(frozen=True, slots=True)
class _Own:
    """Likeness of each picture to the others of its identity; nan where there is none.

    both [N]; by_relation [2, N] and counts [2, N]: to those of other cameras, and of the same one. parts: of each
    identity of two or more pictures the mean cosine between its two halves, and which pictures are in the second.
    """

    both: Floats
    by_relation: Floats
    counts: Rows
    parts: dict[int, tuple[float, NDArray[np.bool_]]]


@dataclass(frozen=True, slots=True)
class _Others:
    """best [N, K]: likeness to the identities most alike, −inf where there are fewer; named [N, K]: which.

    partners: of two identities, a < b, how much more alike their pictures are to each other than among themselves;
    mostly below 0. nearest [n]: of each identity the same to the one most like it.
    """

    best: Floats
    named: Rows
    partners: dict[tuple[int, int], float]
    nearest: list[float]


def identity_faults(
    vectors: Floats,
    identities: Rows,
    cameras: Rows,
    names: Sequence[str],
    records: Sequence[Record],
    progress: Callable[[int, int], None] | None = None,
) -> list[Fault]:
    """Likely faults of the three kinds, unordered.

    vectors [N, D]; identities [N] into names, ascending; cameras [N], −1 is unknown; records [N]. Time grows with N²
    and memory with N; 20,000 pictures are compared in blocks.
    """
    space = Space.learn(vectors, identities, cameras)
    own = _own(space)
    others = _others(space, own, progress)
    known = np.isfinite(own.both)
    temperature = fit_temperature(own.both[known], others.best[known])
    return [
        *_wrong(space, own, others, temperature, names, records),
        *_same(space, others, names, records),
        *_two(space, own, names, records),
    ]


def _own(space: Space) -> _Own:
    n = len(space.vectors)
    both, by_relation = np.full(n, np.nan, np.float32), np.full((2, n), np.nan, np.float32)
    counts, parts = np.zeros((2, n), np.int64), {}
    for identities, placed in space.folds():
        for identity in identities:
            rows = space.rows(identity)
            vectors = placed[rows]
            cosines = vectors @ vectors.T
            soft = soften(cosines.copy())
            np.fill_diagonal(soft, 0)
            same = space.same_camera(rows)
            np.fill_diagonal(same, False)
            counts[1, rows] = same.sum(axis=1)
            counts[0, rows] = len(vectors) - 1 - counts[1, rows]
            sums = np.stack([(soft * ~same).sum(axis=1), (soft * same).sum(axis=1)])
            by_relation[:, rows] = soft_mean(sums, counts[:, rows])
            both[rows] = soft_mean(sums.sum(axis=0), counts[:, rows].sum(axis=0))
            if len(vectors) > 1:
                second = _halve(vectors)
                parts[identity] = float(cosines[np.ix_(~second, second)].mean()), second
    return _Own(both, by_relation, counts, parts)


def _halve(vectors: Floats) -> NDArray[np.bool_]:
    """[m], which pictures make the second of the two most different parts; the first part has the first picture.

    Cut along the direction of largest spread, then moved to the nearer part's mean until nothing moves.
    """
    centred = vectors - vectors.mean(axis=0)
    along = np.linalg.svd(centred, full_matrices=False)[0][:, 0]
    second = along > (along.max() + along.min()) / 2
    for _ in range(10):
        if second.all() or not second.any():
            second = np.arange(len(vectors)) > 0
        apart = vectors @ (vectors[second].mean(axis=0) - vectors[~second].mean(axis=0))
        middle = (apart[second].mean() + apart[~second].mean()) / 2
        if ((apart > middle) == second).all():
            break
        second = apart > middle
    flipped: NDArray[np.bool_] = second ^ second[0]
    return flipped


def _others(space: Space, own: _Own, progress: Callable[[int, int], None] | None) -> _Others:
    """Goes through all pairs of pictures once, an identity's pictures at a time or more."""
    n, n_rows = space.n_identities, len(space.vectors)
    width = min(N_OTHERS, n - 1)
    best, named = np.empty((n_rows, width), np.float32), np.empty((n_rows, width), np.int64)
    expected = _expected(own)
    nearest: dict[int, dict[int, float]] = {}
    for identities, cosines in space.blocks():
        rows = slice(space.starts[identities.start], space.starts[identities.stop])
        sums, counts = space.by_camera(cosines, rows)
        line = np.arange(rows.stop - rows.start)
        likeness = soft_mean(sums.sum(axis=0), counts.sum(axis=0))
        likeness[line, space.identities[rows]] = -np.inf
        top = np.argsort(-likeness, axis=1, kind="stable")[:, :width]
        best[rows], named[rows] = np.take_along_axis(likeness, top, axis=1), top
        differences = soft_mean(sums, counts) - expected[:, rows, None]
        compared = np.isfinite(differences)
        apart = np.where(compared, differences, 0).sum(axis=0) / np.maximum(compared.sum(axis=0), 1)
        starts = space.starts[identities.start : identities.stop] - rows.start
        sizes = np.diff(np.append(starts, len(line)))
        means = np.add.reduceat(apart, starts, axis=0) / sizes[:, None]
        for identity, mean in zip(identities, means, strict=True):
            mean[identity] = -np.inf
            partners = np.argsort(-mean, kind="stable")[: min(N_PARTNERS, n - 1)]
            nearest[identity] = {int(partner): float(mean[partner]) for partner in partners}
        if progress is not None:
            progress(rows.stop, n_rows)
    pairs = {
        (a, b): (apart + nearest[b][a]) / 2
        for a, found in nearest.items()
        for b, apart in found.items()
        if a < b and a in nearest[b]
    }
    return _Others(best, named, pairs, [max(found.values()) for found in nearest.values()])


def _expected(own: _Own) -> Floats:
    """[2, N], the likeness to its own identity that a picture should show, in other cameras and in its own.

    Its own one, drawn towards the data set's mean where few pictures tell it; nan where no picture of any identity
    does.
    """
    known = own.counts > 0
    with np.errstate(invalid="ignore"):
        means = np.where(known, own.by_relation, 0).sum(axis=1) / known.sum(axis=1)
    told = np.where(known, own.by_relation, 0) * own.counts
    drawn: Floats = ((told + PRIOR * means[:, None]) / (own.counts + PRIOR)).astype(np.float32)
    return drawn


def _wrong(
    space: Space, own: _Own, others: _Others, temperature: float, names: Sequence[str], records: Sequence[Record]
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


def _same(space: Space, others: _Others, names: Sequence[str], records: Sequence[Record]) -> list[Fault]:
    """Pairs that lie nearer to 0, where one individual's pictures would, than to the usual nearest other identity."""
    found = []
    usual, spread = _middle(np.array(others.nearest))
    scores = preferred(np.array(list(others.partners.values())) - usual / 2, max(spread**2, 1e-4) / max(-usual, 1e-6))
    for ((a, b), apart), score in zip(others.partners.items(), scores.tolist(), strict=True):
        if score < SURE_SAME or usual >= 0:
            continue
        a, b = (a, b) if len(space.members(a)) >= len(space.members(b)) else (b, a)
        why = (
            f"the pictures of {names[a]} ({_pictures(space, a)}) and {names[b]} ({_pictures(space, b)}) are "
            + ("as alike as" if apart >= 0 else f"by {-apart:.2f} less alike than")
            + " those of each among themselves"
        )
        beside = tuple((f"identity {names[one]}", _spread(space.members(one), records)) for one in (a, b))
        moved = tuple(records[row] for row in space.members(b))
        found.append(Fault("same individual", score, moved, (names[a], names[b]), why, beside=beside))
    return found


def _two(space: Space, own: _Own, names: Sequence[str], records: Sequence[Record]) -> list[Fault]:
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
