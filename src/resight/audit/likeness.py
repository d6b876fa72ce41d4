"""Likeness of pictures to their own identity and to others, in one pass over each identity and one over all pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resight.audit.space import Floats, Rows, Space, soft_mean, soften

N_OTHERS = 10  # identities most like a picture, on which the temperature is fitted
N_PARTNERS = 5  # two identities may be one individual where each is among so many most like the other
PRIOR = 0.3  # pictures' weight of the data set's mean in an identity's own likeness


@dataclass(frozen=True, slots=True)
class Own:
    """Likeness of each picture to the others of its identity; nan where there is none.

    both [N]; by_relation [2, N] and counts [2, N]: to those of other cameras, and of the same one. parts: of each
    identity of two or more pictures the mean cosine between its two halves, and which pictures are in the second.
    """

    both: Floats
    by_relation: Floats
    counts: Rows
    parts: dict[int, tuple[float, NDArray[np.bool_]]]


@dataclass(frozen=True, slots=True)
class Others:
    """best [N, K]: likeness to the identities most alike, −inf where there are fewer; named [N, K]: which.

    partners: of two identities, a < b, how much more alike their pictures are to each other than among themselves;
    mostly below 0. nearest: of each identity the same to the one most like it. n_not_compared: pairs of identities that
    only different cameras saw, or one camera alone, where no identity shows how alike its pictures are by such.
    """

    best: Floats
    named: Rows
    partners: dict[tuple[int, int], float]
    nearest: list[float]
    n_not_compared: int


def own_likeness(space: Space) -> Own:
    """Goes through the identities one by one."""
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
    return Own(both, by_relation, counts, parts)


def _halve(vectors: Floats) -> NDArray[np.bool_]:
    """[m], which pictures make the second of the two most different parts; the first part has the first picture.

    Neither is empty. Cut along the direction of largest spread, then moved to the nearer part's mean until nothing
    moves.
    """
    centred = vectors - vectors.mean(axis=0)
    along = np.linalg.svd(centred, full_matrices=False)[0][:, 0]
    second = along > (along.max() + along.min()) / 2
    if not second.any():  # equal pictures have no direction
        second[1:] = True
    for _ in range(10):
        apart = vectors @ (vectors[second].mean(axis=0) - vectors[~second].mean(axis=0))
        moved = apart > (apart[second].mean() + apart[~second].mean()) / 2
        if moved.all() or not moved.any() or (moved == second).all():
            break
        second = moved
    flipped: NDArray[np.bool_] = second ^ second[0]
    return flipped


def other_likeness(space: Space, own: Own, progress: Callable[[int, int], None] | None) -> Others:
    """Goes through all pairs of pictures once, an identity's pictures at a time or more."""
    n, n_rows = space.n_identities, len(space.vectors)
    width = min(N_OTHERS, n - 1)
    best, named = np.empty((n_rows, width), np.float32), np.empty((n_rows, width), np.int64)
    expected = _expected(own)
    nearest: dict[int, dict[int, float]] = {}
    n_not_compared = 0
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
        n_compared = np.add.reduceat(compared.any(axis=0), starts, axis=0, dtype=np.int64)
        means = np.add.reduceat(apart, starts, axis=0) / np.maximum(n_compared, 1)
        means[n_compared == 0] = -np.inf
        means[np.arange(len(identities)), identities] = -np.inf
        n_not_compared += int(np.isinf(means).sum()) - len(identities)
        for identity, mean in zip(identities, means, strict=True):
            partners = np.argsort(-mean, kind="stable")[:N_PARTNERS]
            nearest[identity] = {int(b): float(mean[b]) for b in partners if np.isfinite(mean[b])}
        if progress is not None:
            progress(rows.stop, n_rows)
    pairs = {
        (a, b): (apart + nearest[b][a]) / 2
        for a, found in nearest.items()
        for b, apart in found.items()
        if a < b and a in nearest[b]
    }
    return Others(best, named, pairs, [max(found.values()) for found in nearest.values() if found], n_not_compared // 2)


def _expected(own: Own) -> Floats:
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
