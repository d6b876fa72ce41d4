"""How well queries find their identity in a gallery: CMC, mAP and mINP, in blocks of queries, without sorting indices.

A ranking is never built. For each positive of a query it is enough to know how many negatives come before it, so a row
of similarities is cut at its lowest positive, what is left is sorted by value, and each positive looked up in it. A
block of queries is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from resight.errors import DataError

Ties = Literal["stable", "optimistic", "pessimistic"]
"""Who comes first when a positive and a negative are equally similar.

stable: the one that stands first in the gallery, as a stable sort has it. optimistic: the positive. pessimistic: the
negative; a model that gives every picture the same vector then scores nearly nothing.
"""


@dataclass(frozen=True, slots=True)
class Labels:
    """What is known of the rows of one side, query or gallery, as integers that mean the same on both sides.

    identities [N]: −1 matches nobody (a distractor, or unknown). cameras [N]: −1 is unknown and equals no other; None
    when none is known. pictures [N]: which picture a row shows, so that a query is not matched with itself; −1 is
    none, and None stands for N times −1.
    """

    identities: NDArray[np.integer[Any]]
    cameras: NDArray[np.integer[Any]] | None = None
    pictures: NDArray[np.integer[Any]] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            values = getattr(self, field.name)
            if values is not None and np.shape(values) != (len(self.identities),):
                raise ValueError(f"{field.name} has shape {np.shape(values)}, identities {np.shape(self.identities)}")

    def take(self, rows: NDArray[Any]) -> Labels:
        """The labels of some rows, given by number or as a boolean mask."""
        cameras = None if self.cameras is None else self.cameras[rows]
        return Labels(self.identities[rows], cameras, None if self.pictures is None else self.pictures[rows])


def numbers(names: Sequence[str | None]) -> NDArray[np.int64]:
    """Names as the integers that `Labels` holds, by their first appearance; what is unknown is −1."""
    number = {name: n for n, name in enumerate(dict.fromkeys(name for name in names if name is not None))}
    return np.array([-1 if name is None else number[name] for name in names], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Where each query's positives stand among the kept gallery; ranks count from 1.

    n_positives [Q]: 0 for a query that nothing in the gallery can match; such a query counts in no mean, and has
    first_rank 0 and NaN in the other two. first_rank [Q]: the best positive's. average_precision [Q]: mean over the
    positives of (positives so far / rank), not interpolated. inverse_negative_penalty [Q]: positives / rank of the
    last positive (Ye et al. 2021, arXiv 2001.04193, section 3.2). best_positive, best_negative [Q]: similarities; the
    second is -inf where the kept gallery has no negative, and both are NaN where it has no positive.
    """

    n_positives: NDArray[np.int64]
    first_rank: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    inverse_negative_penalty: NDArray[np.float64]
    best_positive: NDArray[np.float64]
    best_negative: NDArray[np.float64]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """[Q], true for the queries that have a positive."""
        return self.n_positives > 0

    def take(self, rows: NDArray[Any]) -> Ranking:
        """The ranking of some queries, given by number or as a boolean mask."""
        return Ranking(*(getattr(self, field.name)[rows] for field in fields(self)))


def rank(
    blocks: Iterable[NDArray[np.floating[Any]]],
    query: Labels,
    gallery: Labels,
    *,
    cross_camera: bool,
    ties: Ties = "stable",
) -> Ranking:
    """The ranking of every query.

    blocks: similarities [b, G] in the order of the queries, large = alike; for distances pass their negatives. Half
    precision is cast up, which is exact.
    Positives are the gallery rows of the query's identity. Left out of the gallery are the query's own picture and,
    with `cross_camera`, the rows of its identity and its camera (Market-1501's rule, Zheng et al. 2015).
    Raises DataError when a similarity is not finite, ValueError when the blocks do not fit the labels.
    """
    everything = {0: np.arange(len(gallery.identities))}
    return _rank_within(blocks, query, gallery, everything, cross_camera=cross_camera, rules=(ties,))[0][ties]


def rank_by_ties(
    blocks: Iterable[NDArray[np.floating[Any]]], query: Labels, gallery: Labels, *, cross_camera: bool
) -> dict[Ties, Ranking]:
    """The ranking of every query under each rule for ties, counted once; otherwise as `rank`."""
    everything = {0: np.arange(len(gallery.identities))}
    return _rank_within(blocks, query, gallery, everything, cross_camera=cross_camera, rules=get_args(Ties))[0]


def rank_by_camera(
    blocks: Iterable[NDArray[np.floating[Any]]],
    query: Labels,
    gallery: Labels,
    *,
    cross_camera: bool,
    ties: Ties = "stable",
) -> dict[int, Ranking]:
    """For each known gallery camera, the ranking of every query among that camera's pictures alone.

    The table of camera pairs is `rankings[b].take(query.cameras == a)` for all a and b; otherwise as `rank`.
    """
    if gallery.cameras is None:
        raise ValueError("the gallery has no cameras")
    known = np.unique(gallery.cameras[gallery.cameras >= 0])
    columns = {int(camera): np.flatnonzero(gallery.cameras == camera) for camera in known}
    rankings = _rank_within(blocks, query, gallery, columns, cross_camera=cross_camera, rules=(ties,))
    return {camera: ranking[ties] for camera, ranking in rankings.items()}


def _rank_within(
    blocks: Iterable[NDArray[np.floating[Any]]],
    query: Labels,
    gallery: Labels,
    columns: dict[int, NDArray[np.int64]],
    *,
    cross_camera: bool,
    rules: Sequence[Ties],
) -> dict[int, dict[Ties, Ranking]]:
    """One ranking for each named set of gallery columns and each rule for ties, in one pass over the blocks."""
    n_queries, n_gallery = len(query.identities), len(gallery.identities)
    rankings = {name: {rule: _nothing_found(n_queries) for rule in rules} for name in columns}
    roles = {name: _Roles(query, gallery.take(rows), cross_camera=cross_camera) for name, rows in columns.items()}
    start = 0
    for block in blocks:
        if block.ndim != 2 or block.shape[1] != n_gallery or start + len(block) > n_queries:
            raise ValueError(f"a block {block.shape} at query {start} does not fit {n_queries} x {n_gallery}")
        block = np.asarray(block, dtype=np.result_type(block, np.float32))
        _check_finite(block, start)
        for name, rows in columns.items():
            part = block if len(rows) == n_gallery else block[:, rows]
            for q, similarities in enumerate(part, start):
                positives, left_out = roles[name].of(q)
                if len(positives):
                    best = similarities[positives].max(), _best_negative(similarities, positives, left_out)
                    for rule, ranks in _ranks(similarities, positives, left_out, rules).items():
                        _enter(rankings[name][rule], q, ranks, *best)
        start += len(block)
    if start != n_queries:
        raise ValueError(f"the blocks hold {start} queries, the labels {n_queries}")
    return rankings


def _check_finite(block: NDArray[np.floating[Any]], start: int) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = np.flatnonzero(~np.isfinite(block.sum(axis=1)))  # a sum costs less than a look at every value
    for row in suspicious:
        broken = np.flatnonzero(~np.isfinite(block[row]))
        if len(broken):
            raise DataError(
                f"query {start + row}: its similarity to gallery row {broken[0]} is {block[row, broken[0]]}. "
                "The embeddings are broken; make them again, in float32."
            )


def _nothing_found(n: int) -> Ranking:
    return Ranking(np.zeros(n, np.int64), np.zeros(n, np.int64), *(np.full(n, np.nan) for _ in range(4)))


def _best_negative(
    similarities: NDArray[np.floating[Any]], positives: NDArray[np.int64], left_out: NDArray[np.int64]
) -> float:
    others = similarities.copy()
    others[positives] = others[left_out] = -np.inf
    return float(others.max())


def _enter(ranking: Ranking, q: int, ranks: NDArray[np.int64], best_positive: float, best_negative: float) -> None:
    """Writes what follows from the ascending ranks of query q's positives, and the two best similarities."""
    n = len(ranks)
    ranking.n_positives[q] = n
    ranking.first_rank[q] = ranks[0]
    ranking.average_precision[q] = (np.arange(1, n + 1) / ranks).sum() / n
    ranking.inverse_negative_penalty[q] = n / ranks[-1]
    ranking.best_positive[q] = best_positive
    ranking.best_negative[q] = best_negative


class _Roles:
    """Who is what to a query: positives and left-out rows of the gallery; all others are negatives."""

    def __init__(self, query: Labels, gallery: Labels, *, cross_camera: bool) -> None:
        self._identity = _Equal(query.identities, gallery.identities)
        self._cameras = (query.cameras, gallery.cameras) if cross_camera else (None, None)
        pictures = (query.pictures, gallery.pictures)
        self._picture = None if pictures[0] is None or pictures[1] is None else _Equal(pictures[0], pictures[1])

    def of(self, q: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positives of query q, in gallery order, and the rows left out of its gallery."""
        positives = self._identity.rows(q)
        left_out = positives[:0]
        query_cameras, gallery_cameras = self._cameras
        if query_cameras is not None and gallery_cameras is not None and query_cameras[q] >= 0:
            seen = gallery_cameras[positives] == query_cameras[q]
            positives, left_out = positives[~seen], positives[seen]
        if self._picture is not None and len(own := self._picture.rows(q)):
            positives, left_out = np.setdiff1d(positives, own), np.union1d(left_out, own)
        return positives, left_out


class _Equal:
    """Which gallery rows carry the label of a query; −1 equals nothing."""

    def __init__(self, query: NDArray[Any], gallery: NDArray[Any]) -> None:
        self._order = np.argsort(gallery, kind="stable")
        self._first = np.searchsorted(gallery, query, side="left", sorter=self._order)
        self._end = np.where(query < 0, self._first, np.searchsorted(gallery, query, side="right", sorter=self._order))

    def rows(self, q: int) -> NDArray[np.int64]:
        """Gallery rows with the label of query q, ascending."""
        return self._order[self._first[q] : self._end[q]]


def _ranks(
    similarities: NDArray[np.floating[Any]],
    positives: NDArray[np.int64],
    left_out: NDArray[np.int64],
    rules: Sequence[Ties],
) -> dict[Ties, NDArray[np.int64]]:
    """Ranks of the positives by each rule, ascending, counting from 1, in the gallery without what is left out.

    similarities [G]; positives ascending, at least one; left_out shares no row with them.
    """
    values = similarities[positives]
    order = np.argsort(-values, kind="stable")
    values, positives = values[order], positives[order]
    reached = similarities >= values[-1]
    few = np.count_nonzero(reached) * 8 < len(reached)  # picking out more than that costs more than sorting all
    larger, equal = _count_larger_and_equal(similarities[reached] if few else similarities, values)
    no_negatives = np.concatenate([values, similarities[left_out]])
    ahead, tied = (a - b for a, b in zip((larger, equal), _count_larger_and_equal(no_negatives, values), strict=True))
    among_positives = np.arange(1, len(ahead) + 1)
    if not tied.any():
        return dict.fromkeys(rules, ahead + among_positives)
    found: dict[Ties, NDArray[np.int64]] = {"optimistic": ahead, "pessimistic": ahead + tied}
    if "stable" in rules:
        found["stable"] = ahead + _count_tied_before(similarities, positives, left_out, tied)
    return {rule: found[rule] + among_positives for rule in rules}


def _count_larger_and_equal(
    others: NDArray[np.floating[Any]], values: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of `others` are larger than each of `values`, and how many equal it."""
    ordered = np.sort(others)
    end = ordered.searchsorted(values, side="right")
    return len(ordered) - end, end - ordered.searchsorted(values, side="left")


def _count_tied_before(
    similarities: NDArray[np.floating[Any]],
    positives: NDArray[np.int64],
    left_out: NDArray[np.int64],
    tied: NDArray[np.int64],
) -> NDArray[np.int64]:
    """How many negatives equal each positive and stand before it in the gallery."""
    before = np.zeros_like(tied)
    for value in np.unique(similarities[positives[tied > 0]]):
        equals = np.flatnonzero(similarities == value)
        negatives = equals[~np.isin(equals, positives) & ~np.isin(equals, left_out)]
        mine = similarities[positives] == value
        before[mine] = np.searchsorted(negatives, positives[mine])
    return before


def cmc(ranking: Ranking, n_ranks: int) -> NDArray[np.float64]:
    """[n_ranks], the share of valid queries whose first positive stands at rank 1, at most 2, and so on.

    A rank beyond the gallery's end has the value at its end. NaN without a valid query.
    """
    first = ranking.first_rank[ranking.valid]
    if not len(first):
        return np.full(n_ranks, np.nan)
    return np.cumsum(np.bincount(np.minimum(first, n_ranks + 1), minlength=n_ranks + 2))[1:-1] / len(first)


def summary(ranking: Ranking, *, ranks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """mAP, R1, R5, R10 and mINP over the valid queries, as shares from 0 to 1; NaN without a valid query."""
    return {name: float(values.mean()) if len(values) else float("nan") for name, values in _scores(ranking, ranks)}


def confidence_intervals(
    ranking: Ranking,
    groups: NDArray[Any],
    *,
    seed: int,
    n_draws: int = 1000,
    ranks: Sequence[int] = (1, 5, 10),
) -> dict[str, tuple[float, float]]:
    """Low and high end of a 95 % interval for each entry of `summary`: percentiles over resampled groups of queries.

    groups [Q]: the query identities, since queries of one identity succeed and fail together; or `np.arange(Q)` to
    take every query for itself. Whole groups are drawn with replacement, n_draws times. NaN without a valid query.
    """
    names, columns = zip(*_scores(ranking, ranks), strict=True)
    if not ranking.valid.any():
        return {name: (float("nan"), float("nan")) for name in names}
    members = np.unique(np.asarray(groups)[ranking.valid], return_inverse=True)[1]
    sums = np.stack([np.bincount(members, weights=column) for column in (*columns, np.ones(len(members)))], axis=1)
    generator = np.random.default_rng(seed)
    draws = np.stack([sums[generator.integers(len(sums), size=len(sums))].sum(axis=0) for _ in range(n_draws)])
    low, high = np.percentile(draws[:, :-1] / draws[:, -1:], [2.5, 97.5], axis=0)
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}


def _scores(ranking: Ranking, ranks: Sequence[int]) -> list[tuple[str, NDArray[np.float64]]]:
    """One column a metric over the valid queries, in the field's order; the metric is the column's mean."""
    valid = ranking.take(ranking.valid)
    found = [(f"R{k}", (valid.first_rank <= k).astype(np.float64)) for k in ranks]
    return [("mAP", valid.average_precision), *found, ("mINP", valid.inverse_negative_penalty)]


def vehicleid_draws(
    identities: NDArray[np.integer[Any]], *, seed: int, n_draws: int = 10
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Query rows and gallery rows of each draw: one random row of every identity is the gallery, the others query it.

    identities [N]: rows with −1 stand on neither side. VehicleID's protocol takes the mean over ten draws (Liu et al.
    2016).
    """
    known = np.flatnonzero(np.asarray(identities) >= 0)
    generator = np.random.default_rng(seed)
    for _ in range(n_draws):
        shuffled = generator.permutation(known)
        gallery = np.sort(shuffled[np.unique(identities[shuffled], return_index=True)[1]])
        yield np.setdiff1d(known, gallery), gallery
