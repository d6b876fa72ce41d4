from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resight.examples import N_EXAMPLES, N_RANKS, N_SHOWN, Ranked, rank_examples
from resight.metrics import Ties
from resight.types import Embeddings, Record


def record(k: int, identity: str | None, camera: str | None = None) -> Record:
    return Record(Path(f"/pictures/{k}.jpg"), identity, camera)


def embeddings(vectors: np.ndarray, records: list[Record]) -> Embeddings:
    array = vectors.astype(np.float32) / np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
    return Embeddings(
        embedding=array,
        aligned=None,
        paths=tuple(str(r.path) for r in records),
        identities=tuple(r.identity for r in records),
        cameras=tuple(r.camera for r in records),
        captions=("",) * len(records),
        encoder="0" * 16,
    )


def at_angles(angles: list[float], records: list[Record]) -> Embeddings:
    return embeddings(np.array([[np.cos(a), np.sin(a)] for a in angles]), records)


# One query of camera a at angle 0. The gallery by angle: the same identity and camera (1), another identity (2), the
# same identity from camera b (3), a distractor (4).
QUERY = [record(0, "p", "a")]
GALLERY = [record(1, "p", "a"), record(2, "q", "b"), record(3, "p", "b"), record(4, None, "b")]
PICTURES = at_angles([0.0, 0.1, 0.2, 0.3, 0.4], [*QUERY, *GALLERY])


def test_the_query_s_own_camera_is_left_out() -> None:
    found = rank_examples(PICTURES, [*QUERY, *GALLERY], QUERY, GALLERY, cross_camera=True)
    (ranked,) = found.best
    assert found.worst == ()  # one query does not stand in both lists
    assert [(m.record, m.right) for m in ranked.matches] == [
        (GALLERY[1], False),
        (GALLERY[2], True),
        (GALLERY[3], False),
    ]
    assert [m.similarity for m in ranked.matches] == pytest.approx(np.cos([0.2, 0.3, 0.4]), abs=1e-6)
    assert (ranked.query, ranked.average_precision, ranked.first_rank) == (QUERY[0], 0.5, 2)
    assert found.cmc.tolist() == [0.0] + [1.0] * (N_RANKS - 1)


def test_any_camera_keeps_it() -> None:
    found = rank_examples(PICTURES, [*QUERY, *GALLERY], QUERY, GALLERY, cross_camera=False)
    assert [m.record for m in found.best[0].matches] == GALLERY
    assert found.best[0].average_precision == pytest.approx((1 + 2 / 3) / 2)


def plainly(
    query: Record, gallery: list[Record], similarities: list[float], cross_camera: bool, ties: Ties
) -> tuple[list[Record], float]:
    """The whole ranked list and its average precision, from the rule's own words."""
    rows = []
    for place, (other, similarity) in enumerate(zip(gallery, similarities, strict=True)):
        if other.path == query.path:
            continue
        if (
            cross_camera
            and other.identity == query.identity
            and other.camera == query.camera
            and query.camera is not None
        ):
            continue
        right = other.identity == query.identity
        tie = {"stable": 0, "optimistic": int(not right), "pessimistic": int(right)}[ties]
        rows.append((-similarity, tie, place, other))
    rows.sort(key=lambda row: row[:3])
    ordered = [row[3] for row in rows]
    hits, precisions = 0, []
    for rank, other in enumerate(ordered, 1):
        if other.identity == query.identity:
            hits += 1
            precisions.append(hits / rank)
    return ordered, sum(precisions) / len(precisions) if precisions else float("nan")


@pytest.mark.parametrize("cross_camera", [True, False])
@pytest.mark.parametrize("ties", ["stable", "optimistic", "pessimistic"])
@pytest.mark.parametrize("seed", range(4))
def test_lists_and_average_precision_equal_a_plain_loop(cross_camera: bool, ties: Ties, seed: int) -> None:
    """One set queries itself; vectors of few values tie often; some identities and cameras are unknown."""
    generator = np.random.default_rng(seed)
    names = [*"abcdefghij", None]
    records = [
        record(k, names[generator.integers(11)], [None, "1", "2", "3"][generator.integers(4)]) for k in range(60)
    ]
    corners = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0.5, 0.5], [0, 0, 1, 0]])
    pictures = embeddings(corners[generator.integers(4, size=60)], records)
    found = rank_examples(pictures, records, records, records, cross_camera=cross_camera, ties=ties)
    similarities = pictures.embedding @ pictures.embedding.T
    truth = {}
    for q, query in enumerate(records):
        ordered, precision = plainly(query, records, similarities[q].tolist(), cross_camera, ties)
        if query.identity is not None and not np.isnan(precision):
            truth[query] = ordered, precision
    for ranked in (*found.best, *found.worst):
        ordered, precision = truth[ranked.query]
        assert ranked.average_precision == pytest.approx(precision)
        assert [m.record for m in ranked.matches] == ordered[:N_SHOWN]
        assert all(m.right == (m.record.identity == ranked.query.identity) for m in ranked.matches)
        assert ordered[ranked.first_rank - 1].identity == ranked.query.identity
        assert all(other.identity != ranked.query.identity for other in ordered[: ranked.first_rank - 1])
    firsts = [
        next(rank for rank, other in enumerate(ordered, 1) if other.identity == query.identity)
        for query, (ordered, _) in truth.items()
    ]
    assert found.cmc == pytest.approx([np.mean(np.array(firsts) <= k) for k in range(1, N_RANKS + 1)])
    best = sorted(truth, key=lambda query: -truth[query][1])  # stable
    assert [r.query for r in found.best] == one_each(best)
    worst = sorted(truth, key=lambda query: truth[query][1])
    assert [r.query for r in found.worst] == one_each([q for q in worst if q not in {r.query for r in found.best}])


def one_each(ordered: list[Record]) -> list[Record]:
    kept: list[Record] = []
    for one in ordered:
        if one.identity not in {other.identity for other in kept}:
            kept.append(one)
    return kept[:N_EXAMPLES]


def test_equal_queries_keep_their_order_and_an_identity_comes_once() -> None:
    """Every query finds its picture first, so nothing but the order of the queries decides."""
    names = [f"p{k}" for k in range(9) for _ in range(2)]
    query = [record(k, name, "a") for k, name in enumerate(names)]
    gallery = [record(100 + k, f"p{k}", "b") for k in range(9)]
    vectors = np.concatenate([np.repeat(np.eye(9), 2, axis=0), np.eye(9)])
    found = rank_examples(
        embeddings(vectors, [*query, *gallery]), [*query, *gallery], query, gallery, cross_camera=True
    )

    def places(lists: tuple[Ranked, ...]) -> list[int]:
        return [query.index(ranked.query) for ranked in lists]

    assert places(found.best) == [0, 2, 4, 6, 8, 10]
    assert places(found.worst) == [1, 3, 5, 7, 9, 11]


def test_a_query_without_anything_to_find_is_in_no_list() -> None:
    query = [record(0, "p", "a"), record(1, "lonely", "a"), record(2, None, "a")]
    gallery = [record(3, "p", "b"), record(4, None, "b")]
    pictures = at_angles([0, 1, 2, 0.1, 2.1], [*query, *gallery])
    found = rank_examples(pictures, [*query, *gallery], query, gallery, cross_camera=True)
    assert [ranked.query for ranked in (*found.best, *found.worst)] == query[:1]
    assert found.cmc.tolist() == [1.0] * N_RANKS
