"""The CMC of an encoder, and what stands at the top of the lists of some queries: pictures, or captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resight.metrics import Labels, Ranking, Ties, cmc, numbers, rank
from resight.neighbours import similarity_blocks
from resight.types import Embeddings, Record

N_RANKS = 20
N_EXAMPLES = 6
N_SHOWN = 10  # pictures of a list
N_CAPTIONS, N_SHOWN_TO_CAPTION = 12, 8


@dataclass(frozen=True, slots=True)
class Match:
    """A gallery picture at its place in a ranked list; right where it shows the query's identity."""

    record: Record
    similarity: float
    right: bool


@dataclass(frozen=True, slots=True)
class Ranked:
    """A query, the pictures most similar to it, and the rank of the first right one, counting from 1.

    caption: where a text asked, that text; `query` is then the picture that it was written for.
    """

    query: Record
    average_precision: float
    first_rank: int
    matches: tuple[Match, ...]
    caption: str = ""


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
    The lists are N_SHOWN long.
    """
    query_rows, gallery_rows = _rows(query, records), _rows(gallery, records)
    labels = Labels(numbers(pictures.identities), numbers(pictures.cameras), numbers(pictures.paths))
    vectors = pictures.embedding
    comparison = _Comparison(
        vectors[query_rows],
        vectors[gallery_rows],
        labels.take(query_rows),
        labels.take(gallery_rows),
        cross_camera,
        ties,
    )
    ranking = comparison.rank()

    def look(q: int) -> Ranked:
        precision, first = float(ranking.average_precision[q]), int(ranking.first_rank[q])
        return Ranked(query[q], precision, first, comparison.matches(q, gallery, N_SHOWN))

    identities = comparison.query.identities
    best = _one_each(_by_precision(ranking), identities)
    others = _by_precision(ranking, worst_first=True)
    worst = _one_each(others[~np.isin(others, best)], identities)
    return Retrieval(cmc(ranking, N_RANKS), tuple(map(look, best)), tuple(map(look, worst)))


def rank_captions(
    captions: Embeddings,
    pictures: Embeddings,
    records: Sequence[Record],
    query: Sequence[Record],
    gallery: Sequence[Record],
    *,
    ties: Ties = "stable",
    device: str = "cpu",
) -> tuple[Ranked, ...]:
    """N_CAPTIONS captions that have something to find, from the best to the worst by average precision.

    They are evenly spaced among all such captions, which stand in the query's order where they are equals; at most
    one of an identity. captions: a row for each caption of the query, in its order. pictures: one for each of
    `records`, which hold the gallery; with `aligned` vectors. The whole gallery is ranked, N_SHOWN_TO_CAPTION of it are
    in a list.
    """
    assert pictures.aligned is not None
    asked = [(record, caption) for record in query for caption in record.captions]
    gallery_rows = _rows(gallery, records)
    identities = numbers((*captions.identities, *(pictures.identities[row] for row in gallery_rows)))
    of_captions, of_gallery = Labels(identities[: len(asked)]), Labels(identities[len(asked) :])
    comparison = _Comparison(captions.embedding, pictures.aligned[gallery_rows], of_captions, of_gallery, False, ties)
    ranking = comparison.rank(device)
    return tuple(
        Ranked(
            asked[q][0],
            float(ranking.average_precision[q]),
            int(ranking.first_rank[q]),
            comparison.matches(q, gallery, N_SHOWN_TO_CAPTION),
            asked[q][1],
        )
        for q in _spread(_by_precision(ranking), of_captions.identities)
    )


def _rows(side: Sequence[Record], records: Sequence[Record]) -> NDArray[np.int64]:
    position = {record: row for row, record in enumerate(records)}
    return np.array([position[record] for record in side])


def _by_precision(ranking: Ranking, *, worst_first: bool = False) -> NDArray[np.int64]:
    """The queries that have something to find, ordered by average precision; equals keep their order."""
    valid = np.flatnonzero(ranking.valid)
    precision = ranking.average_precision[valid]
    return valid[np.argsort(precision if worst_first else -precision, kind="stable")]


def _one_each(ordered: NDArray[np.int64], identities: NDArray[np.integer]) -> list[int]:
    """The first N_EXAMPLES of the ordered queries that show identities of their own."""
    first: dict[int, int] = {}
    for q in ordered:
        first.setdefault(int(identities[q]), int(q))
    return list(first.values())[:N_EXAMPLES]


def _spread(ordered: NDArray[np.int64], identities: NDArray[np.integer]) -> list[int]:
    """N_CAPTIONS of the ordered queries, in their order, evenly spaced, or fewer where there are fewer identities.

    The first and the last are chosen before those between; where an identity is taken the nearest other stands in.
    """
    last = len(ordered) - 1
    n = min(N_CAPTIONS, len(np.unique(identities[ordered])))
    free = np.ones(len(ordered), dtype=bool)
    chosen = []
    for place in sorted(np.linspace(0, last, n).round(), key=lambda place: min(place, last - place)):
        open_places = np.flatnonzero(free)
        nearest = int(open_places[np.abs(open_places - place).argmin()])
        free &= identities[ordered] != identities[ordered[nearest]]
        chosen.append(nearest)
    return [int(ordered[place]) for place in sorted(chosen)]


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Vectors [Q, D] and [G, D], what is known of them, and the rule of `metrics.rank`."""

    query_vectors: NDArray[np.float32]
    gallery_vectors: NDArray[np.float32]
    query: Labels
    gallery: Labels
    cross_camera: bool
    ties: Ties

    def rank(self, device: str = "cpu") -> Ranking:
        blocks = similarity_blocks(self.query_vectors, self.gallery_vectors, device=device)
        return rank(blocks, self.query, self.gallery, cross_camera=self.cross_camera, ties=self.ties)

    def matches(self, q: int, gallery: Sequence[Record], n: int) -> tuple[Match, ...]:
        """The n pictures at the top of one query's list, without what the rule leaves out."""
        similarities = self.gallery_vectors @ self.query_vectors[q]
        right = self.gallery.identities == self.query.identities[q]
        kept = np.flatnonzero(~self._left_out(q, right))
        first = {"stable": np.zeros_like(right), "optimistic": ~right, "pessimistic": right}[self.ties]
        top = kept[np.lexsort((kept, first[kept], -similarities[kept]))][:n]
        return tuple(Match(gallery[row], float(similarities[row]), bool(right[row])) for row in top)

    def _left_out(self, q: int, right: NDArray[np.bool_]) -> NDArray[np.bool_]:
        left_out = np.zeros_like(right)
        if self.query.pictures is not None:
            left_out |= self.gallery.pictures == self.query.pictures[q]
        if self.cross_camera:
            assert self.query.cameras is not None
            camera = self.query.cameras[q]
            left_out |= right & (self.gallery.cameras == camera) & (camera >= 0)
        return left_out
