"""The CMC of an encoder, and the queries that it answers best and worst, with what stands at the top of their lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resight.metrics import Labels, Ties, cmc, numbers, rank
from resight.neighbours import similarity_blocks
from resight.types import Embeddings, Record

N_RANKS = 20
N_EXAMPLES = 6
N_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Match:
    """A gallery picture at its place in a ranked list; right where it shows the query's identity."""

    record: Record
    similarity: float
    right: bool


@dataclass(frozen=True, slots=True)
class Ranked:
    """A query, the N_SHOWN pictures most similar to it, and the rank of the first right one, counting from 1."""

    query: Record
    average_precision: float
    first_rank: int
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """cmc [N_RANKS], shares from 0 to 1. best, worst: by average precision, at most one query of an identity each."""

    cmc: NDArray[np.float64]
    best: tuple[Ranked, ...]
    worst: tuple[Ranked, ...]


def rank_examples(
    pictures: Embeddings,
    records: Sequence[Record],
    query: Sequence[Record],
    gallery: Sequence[Record],
    *,
    cross_camera: bool,
    ties: Ties = "stable",
) -> Retrieval:
    """How the queries that have something to find fare; of equals, those first in the query come first.

    pictures: one row for each of `records`, which hold every record of query and gallery. cross_camera and ties: as
    in `metrics.rank`, whose rule of what is left out of a gallery holds for the lists too. No query is in both lists.
    """
    position = {record: row for row, record in enumerate(records)}
    query_rows, gallery_rows = ([position[record] for record in side] for side in (query, gallery))
    labels = Labels(numbers(pictures.identities), numbers(pictures.cameras), numbers(pictures.paths))
    asked, offered = labels.take(np.array(query_rows)), labels.take(np.array(gallery_rows))
    query_vectors, gallery_vectors = pictures.embedding[query_rows], pictures.embedding[gallery_rows]
    ranking = rank(
        similarity_blocks(query_vectors, gallery_vectors), asked, offered, cross_camera=cross_camera, ties=ties
    )

    def look(q: int) -> Ranked:
        similarities = gallery_vectors @ query_vectors[q]
        top = _top(similarities, asked.take(np.array([q])), offered, cross_camera=cross_camera, ties=ties)
        matches = [
            Match(gallery[row], float(similarities[row]), bool(offered.identities[row] == asked.identities[q]))
            for row in top
        ]
        precision, first = float(ranking.average_precision[q]), int(ranking.first_rank[q])
        return Ranked(query[q], precision, first, tuple(matches))

    valid = np.flatnonzero(ranking.valid)
    precision = ranking.average_precision[valid]
    best = _one_each(valid[np.argsort(-precision, kind="stable")], asked.identities)
    others = valid[np.argsort(precision, kind="stable")]
    worst = _one_each(others[~np.isin(others, best)], asked.identities)
    return Retrieval(cmc(ranking, N_RANKS), tuple(map(look, best)), tuple(map(look, worst)))


def _one_each(ordered: NDArray[np.int64], identities: NDArray[np.integer]) -> list[int]:
    """The first N_EXAMPLES of the ordered queries that show identities of their own."""
    first: dict[int, int] = {}
    for q in ordered:
        first.setdefault(int(identities[q]), int(q))
    return list(first.values())[:N_EXAMPLES]


def _top(
    similarities: NDArray[np.float32], query: Labels, gallery: Labels, *, cross_camera: bool, ties: Ties
) -> NDArray[np.int64]:
    """The gallery rows at the top of one query's list, without what the rule leaves out."""
    assert query.cameras is not None
    assert gallery.cameras is not None
    right = gallery.identities == query.identities
    left_out = gallery.pictures == query.pictures
    if cross_camera:
        left_out |= right & (gallery.cameras == query.cameras) & (query.cameras >= 0)
    first = {"stable": np.zeros_like(right), "optimistic": ~right, "pessimistic": right}[ties]
    kept = np.flatnonzero(~left_out)
    return kept[np.lexsort((kept, first[kept], -similarities[kept]))][:N_SHOWN]
