"""What stands at the top of the lists of queries, pictures or captions, and which of them fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resight.metrics import Labels, Ranking, Ties, numbers, rank
from resight.neighbours import similarity_blocks
from resight.types import Embeddings, Record

N_SHOWN = 10  # pictures of a list
N_LEFT_OUT = 3  # further ones that the rule leaves out, where they stand among these
N_CAPTIONS, N_SHOWN_TO_CAPTION = 12, 8


@dataclass(frozen=True, slots=True)
class Match:
    """A gallery picture in a ranked list; right where it shows the query's identity.

    rank: its place among what the protocol keeps, from 1; 0 for a picture that the protocol leaves out.
    """

    record: Record
    similarity: float
    right: bool
    rank: int


@dataclass(frozen=True, slots=True)
class Ranked:
    """A query, the pictures most similar to it, and the rank of the first right one, counting from 1.

    caption: where a text asked, that text; `query` is then the picture that it was written for. best_right: the most
    similar right picture that the protocol keeps, in the list or below it; None where there is none.
    """

    query: Record
    average_precision: float
    first_rank: int
    matches: tuple[Match, ...]
    caption: str = ""
    best_right: Match | None = None


def compare_pictures(
    pictures: Embeddings,
    records: Sequence[Record],
    query: Sequence[Record],
    gallery: Sequence[Record],
    *,
    cross_camera: bool,
    ties: Ties = "stable",
) -> Comparison:
    """Pictures of the query against those of the gallery.

    pictures: one row for each of `records`, which hold every record of query and gallery. cross_camera and ties: as
    in `metrics.rank`, whose rule of what is left out of a gallery holds for the lists too.
    """
    query_rows, gallery_rows = _rows(query, records), _rows(gallery, records)
    labels = Labels(numbers(pictures.identities), numbers(pictures.cameras), numbers(pictures.paths))
    vectors = pictures.embedding
    sides = vectors[query_rows], vectors[gallery_rows]
    asked = tuple((record, "") for record in query)
    return Comparison(
        asked, tuple(gallery), *sides, labels.take(query_rows), labels.take(gallery_rows), cross_camera, ties
    )


def compare_captions(
    captions: Embeddings,
    pictures: Embeddings,
    records: Sequence[Record],
    query: Sequence[Record],
    gallery: Sequence[Record],
    *,
    ties: Ties = "stable",
) -> Comparison:
    """Captions of the query against pictures of the gallery.

    captions: a row for each caption of the query, in its order. pictures: one for each of `records`, which hold the
    gallery; with `aligned` vectors.
    """
    assert pictures.aligned is not None
    asked = tuple((record, caption) for record in query for caption in record.captions)
    gallery_rows = _rows(gallery, records)
    identities = numbers((*captions.identities, *(pictures.identities[row] for row in gallery_rows)))
    labels = Labels(identities[: len(asked)]), Labels(identities[len(asked) :])
    return Comparison(asked, tuple(gallery), captions.embedding, pictures.aligned[gallery_rows], *labels, False, ties)


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
    comparison = compare_captions(captions, pictures, records, query, gallery, ties=ties)
    ordered = comparison.by_precision(ranking := comparison.rank(device))
    chosen = _spread(ordered, comparison.query.identities)
    return tuple(comparison.look(q, ranking, N_SHOWN_TO_CAPTION) for q in chosen)


def _rows(side: Sequence[Record], records: Sequence[Record]) -> NDArray[np.int64]:
    position = {record: row for row, record in enumerate(records)}
    return np.array([position[record] for record in side])


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
class Comparison:
    """Vectors [Q, D] and [G, D], what is known of them, and the rule of `metrics.rank`.

    asked: of each query its picture and its caption, "" where the picture asks. gallery_records [G].
    """

    asked: tuple[tuple[Record, str], ...]
    gallery_records: tuple[Record, ...]
    query_vectors: NDArray[np.float32]
    gallery_vectors: NDArray[np.float32]
    query: Labels
    gallery: Labels
    cross_camera: bool
    ties: Ties

    def rank(self, device: str = "cpu") -> Ranking:
        blocks = similarity_blocks(self.query_vectors, self.gallery_vectors, device=device)
        return rank(blocks, self.query, self.gallery, cross_camera=self.cross_camera, ties=self.ties)

    def by_precision(self, ranking: Ranking) -> NDArray[np.int64]:
        """The queries that have something to find, the best first; equals keep their order."""
        valid = np.flatnonzero(ranking.valid)
        return valid[np.argsort(-ranking.average_precision[valid], kind="stable")]

    def why_unanswered(self, q: int) -> str:
        """What a query that has nothing to find lacks, in words."""
        if self.query.identities[q] < 0:
            return "no known identity"
        right = (self.gallery.identities == self.query.identities[q]) & ~self._own(q)
        return "no picture by another camera" if right.any() else "no other picture in the gallery"

    def look(self, q: int, ranking: Ranking, n: int = N_SHOWN, *, n_left_out: int = 0) -> Ranked:
        """The n pictures at the top of query q's list.

        n_left_out: further ones that the rule leaves out, at most so many, where they stand among these; pictures of
        the query's own file are never shown.
        """
        record, caption = self.asked[q]
        similarities = self.gallery_vectors @ self.query_vectors[q]
        right = self.gallery.identities == self.query.identities[q]
        own, left_out = self._own(q), self._left_out(q, right)
        first = {"stable": np.zeros_like(right), "optimistic": ~right, "pessimistic": right}[self.ties]
        rows = np.flatnonzero(~own)
        ordered = rows[np.lexsort((rows, first[rows], -similarities[rows]))]
        kept = ordered[~left_out[ordered]]

        def match(row: int, rank: int) -> Match:
            return Match(self.gallery_records[row], float(similarities[row]), bool(right[row]), rank)

        ranks = dict(zip(kept[:n].tolist(), range(1, n + 1), strict=False))
        n_between = int(np.flatnonzero(ordered == kept[:n][-1])[0]) + 1 if len(kept) else 0
        between = [row for row in ordered[:n_between].tolist() if row not in ranks][:n_left_out]
        shown = tuple(
            match(row, ranks.get(row, 0)) for row in ordered[:n_between].tolist() if row in {*ranks, *between}
        )
        first_rank = int(ranking.first_rank[q])
        best_right = match(int(kept[first_rank - 1]), first_rank) if first_rank else None
        return Ranked(record, float(ranking.average_precision[q]), first_rank, shown, caption, best_right)

    def _own(self, q: int) -> NDArray[np.bool_]:
        if self.query.pictures is None or self.gallery.pictures is None:
            return np.zeros(len(self.gallery_records), dtype=bool)
        own: NDArray[np.bool_] = self.gallery.pictures == self.query.pictures[q]
        return own

    def _left_out(self, q: int, right: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Of the query's identity and known camera, where the rule wants others."""
        if not self.cross_camera or self.query.cameras is None or self.gallery.cameras is None:
            return np.zeros_like(right)
        camera = self.query.cameras[q]
        left_out: NDArray[np.bool_] = right & (self.gallery.cameras == camera) & (camera >= 0)
        return left_out
