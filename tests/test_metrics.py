"""Metrics against plain loops written from their definitions, in float64."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from resight.errors import DataError
from resight.metrics import (
    Labels,
    Ranking,
    Ties,
    cmc,
    confidence_intervals,
    rank,
    rank_by_camera,
    rank_by_ties,
    summary,
    vehicleid_draws,
)

TIES: tuple[Ties, ...] = ("stable", "optimistic", "pessimistic")


def defined(
    similarities: NDArray[Any], query: Labels, gallery: Labels, *, cross_camera: bool, ties: Ties
) -> list[tuple[int, int, float, float]]:
    """(positives, first rank, AP, INP) of each query: order the kept gallery, walk down, count."""
    found = []
    for q, row in enumerate(similarities.astype(np.float64)):
        kept = []
        for g in range(len(row)):
            positive = query.identities[q] >= 0 and query.identities[q] == gallery.identities[g]
            same_camera = (
                query.cameras is not None
                and gallery.cameras is not None
                and query.cameras[q] >= 0
                and query.cameras[q] == gallery.cameras[g]
            )
            same_picture = (
                query.pictures is not None
                and gallery.pictures is not None
                and query.pictures[q] >= 0
                and query.pictures[q] == gallery.pictures[g]
            )
            if not same_picture and not (cross_camera and positive and same_camera):
                tie_break = {"stable": 0, "optimistic": -int(positive), "pessimistic": int(positive)}[ties]
                kept.append((-row[g], tie_break, g, positive))
        hits = [at for at, (_, _, _, positive) in enumerate(sorted(kept), start=1) if positive]
        if not hits:
            found.append((0, 0, float("nan"), float("nan")))
            continue
        precision = sum(nth / at for nth, at in enumerate(hits, start=1)) / len(hits)
        found.append((len(hits), hits[0], precision, len(hits) / hits[-1]))
    return found


def assert_ranking(ranking: Ranking, expected: list[tuple[int, int, float, float]]) -> None:
    n, first, precision, inp = (np.array(column) for column in zip(*expected, strict=True))
    np.testing.assert_array_equal(ranking.n_positives, n)
    np.testing.assert_array_equal(ranking.first_rank, first)
    np.testing.assert_allclose(ranking.average_precision, precision, rtol=1e-12)
    np.testing.assert_allclose(ranking.inverse_negative_penalty, inp, rtol=1e-12)


def random_case(seed: int, n_query: int, n_gallery: int, *, levels: int) -> tuple[NDArray[Any], Labels, Labels]:
    """Similarities of few distinct values, distractors, unknown cameras, duplicates of the query's own picture."""
    random = np.random.default_rng(seed)
    sides = [
        Labels(random.integers(-1, 5, n), random.integers(-1, 3, n), random.integers(-1, 9, n))
        for n in (n_query, n_gallery)
    ]
    return random.integers(0, levels, (n_query, n_gallery)) / np.float32(levels), sides[0], sides[1]


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("cross_camera", [True, False])
@pytest.mark.parametrize(
    ("n_query", "n_gallery", "levels"), [(1, 1, 1), (7, 3, 2), (20, 40, 3), (20, 300, 10**6), (9, 200, 1), (30, 90, 40)]
)
def test_equals_the_definition(n_query: int, n_gallery: int, levels: int, cross_camera: bool, ties: Ties) -> None:
    similarities, query, gallery = random_case(n_query + levels, n_query, n_gallery, levels=levels)
    expected = defined(similarities, query, gallery, cross_camera=cross_camera, ties=ties)
    for cut in (n_query, 4, 1):  # any cut into blocks gives the same
        blocks = [similarities[start : start + cut] for start in range(0, n_query, cut)]
        assert_ranking(rank(blocks, query, gallery, cross_camera=cross_camera, ties=ties), expected)
        assert_ranking(rank_by_ties(blocks, query, gallery, cross_camera=cross_camera)[ties], expected)


@pytest.mark.parametrize("cross_camera", [True, False])
def test_labels_that_are_not_given_leave_nothing_out(cross_camera: bool) -> None:
    similarities, query, gallery = random_case(5, 12, 50, levels=7)
    for keep_cameras, keep_pictures in ((False, False), (True, False), (False, True)):
        q, g = (
            Labels(s.identities, s.cameras if keep_cameras else None, s.pictures if keep_pictures else None)
            for s in (query, gallery)
        )
        expected = defined(similarities, q, g, cross_camera=cross_camera, ties="stable")
        assert_ranking(rank([similarities], q, g, cross_camera=cross_camera), expected)
    only_query = Labels(gallery.identities)
    expected = defined(similarities, query, only_query, cross_camera=cross_camera, ties="stable")
    assert_ranking(rank([similarities], query, only_query, cross_camera=cross_camera), expected)


def test_solved_by_hand() -> None:
    # one query of identity 1, camera 0; the gallery in falling similarity:
    # identity    1 (left out: same camera)  2  1  -1  1  2
    query = Labels(np.array([1]), np.array([0]))
    gallery = Labels(np.array([1, 2, 1, -1, 1, 2]), np.array([0, 0, 1, 1, -1, 2]))
    ranking = rank([np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4]])], query, gallery, cross_camera=True)
    assert ranking.n_positives.tolist() == [2]
    assert ranking.first_rank.tolist() == [2]
    assert ranking.average_precision[0] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert ranking.inverse_negative_penalty[0] == pytest.approx(2 / 4)
    assert cmc(ranking, 3).tolist() == [0, 1, 1]


def test_one_vector_for_everything_is_judged_by_the_tie_rule() -> None:
    query, gallery = Labels(np.array([0])), Labels(np.array([1, 1, 0, 1]))
    constant = np.full((1, 4), 0.5, dtype=np.float32)
    firsts = [int(rank([constant], query, gallery, cross_camera=False, ties=t).first_rank[0]) for t in TIES]
    assert firsts == [3, 1, 4]


def test_half_precision_is_cast_up() -> None:
    similarities, query, gallery = random_case(1, 10, 40, levels=16)
    full = rank([similarities], query, gallery, cross_camera=True)
    half = rank([similarities.astype(np.float16)], query, gallery, cross_camera=True)
    np.testing.assert_array_equal(full.average_precision, half.average_precision)


def test_double_precision_is_kept() -> None:
    close = np.array([[0.5, 0.5 + 1e-12]])  # equal in float32
    ranking = rank([close], Labels(np.array([0])), Labels(np.array([1, 0])), cross_camera=False)
    assert ranking.first_rank.tolist() == [1]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 30), cross_camera=st.booleans())
def test_order_of_the_gallery_changes_nothing_but_ties(seed: int, levels: int, cross_camera: bool) -> None:
    similarities, query, gallery = random_case(seed, 6, 40, levels=levels)
    order = np.random.default_rng(seed).permutation(40)
    for ties in ("optimistic", "pessimistic"):
        plain = rank([similarities], query, gallery, cross_camera=cross_camera, ties=ties)
        shuffled = rank([similarities[:, order]], query, gallery.take(order), cross_camera=cross_camera, ties=ties)
        np.testing.assert_array_equal(plain.average_precision, shuffled.average_precision)
        np.testing.assert_array_equal(plain.first_rank, shuffled.first_rank)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 30))
def test_only_the_order_of_similarities_counts(seed: int, levels: int) -> None:
    similarities, query, gallery = random_case(seed, 6, 40, levels=levels)
    plain = rank([similarities], query, gallery, cross_camera=True)
    bent = rank([np.exp(3 * similarities.astype(np.float64)) - 7], query, gallery, cross_camera=True)
    np.testing.assert_array_equal(plain.average_precision, bent.average_precision)
    optimistic = rank([similarities], query, gallery, cross_camera=True, ties="optimistic").average_precision
    pessimistic = rank([similarities], query, gallery, cross_camera=True, ties="pessimistic").average_precision
    valid = plain.valid
    assert np.all(pessimistic[valid] <= plain.average_precision[valid])
    assert np.all(plain.average_precision[valid] <= optimistic[valid])


def test_by_camera_is_the_ranking_among_that_cameras_pictures() -> None:
    similarities, query, gallery = random_case(3, 25, 120, levels=20)
    assert query.cameras is not None
    assert gallery.cameras is not None
    blocks = [similarities[:10], similarities[10:]]
    rankings = rank_by_camera(blocks, query, gallery, cross_camera=True)
    assert sorted(rankings) == [0, 1, 2]
    for camera, ranking in rankings.items():
        columns = np.flatnonzero(gallery.cameras == camera)
        expected = defined(similarities[:, columns], query, gallery.take(columns), cross_camera=True, ties="stable")
        assert_ranking(ranking, expected)
        assert not ranking.take(query.cameras == camera).valid.any(), "its own camera is left out"


def test_by_camera_needs_cameras() -> None:
    nobody = Labels(np.array([0]))
    with pytest.raises(ValueError, match="the gallery has no cameras"):
        rank_by_camera([np.zeros((1, 1))], nobody, nobody, cross_camera=True)


def test_queries_without_a_positive_count_in_no_mean() -> None:
    query, gallery = Labels(np.array([0, 7, -1])), Labels(np.array([1, 0, -1]))
    ranking = rank([np.array([[0.9, 0.5, 0.1]] * 3)], query, gallery, cross_camera=False)
    assert ranking.valid.tolist() == [True, False, False]
    assert ranking.n_positives.tolist() == [1, 0, 0]
    assert ranking.first_rank.tolist() == [2, 0, 0]
    assert np.isnan(ranking.average_precision[1:]).all()
    assert summary(ranking) == {"mAP": 0.5, "R1": 0.0, "R5": 1.0, "R10": 1.0, "mINP": 0.5}
    assert cmc(ranking, 5).tolist() == [0, 1, 1, 1, 1], "ranks beyond the gallery's end are those at its end"


def test_the_ranking_tells_the_two_best_similarities() -> None:
    query, gallery = Labels(np.array([0, 7])), Labels(np.array([1, 0, -1, 0]), pictures=np.array([0, 1, 2, 3]))
    query = dataclasses.replace(query, pictures=np.array([3, 9]))
    ranking = rank([np.array([[0.2, 0.1, 0.4, 0.9]] * 2)], query, gallery, cross_camera=False)
    assert ranking.best_positive[0] == 0.1
    assert ranking.best_negative[0] == 0.4
    assert np.isnan([ranking.best_positive[1], ranking.best_negative[1]]).all()
    alone = rank([np.array([[0.3]])], Labels(np.array([0])), Labels(np.array([0])), cross_camera=False)
    assert alone.best_negative[0] == -np.inf


def test_no_valid_query_gives_nan_and_no_warning() -> None:
    ranking = rank([np.zeros((2, 1))], Labels(np.array([0, 1])), Labels(np.array([2])), cross_camera=False)
    assert not ranking.valid.any()
    assert all(np.isnan(value) for value in summary(ranking).values())
    assert np.isnan(cmc(ranking, 4)).all()
    assert np.isnan(list(confidence_intervals(ranking, np.arange(2), seed=0).values())).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_broken_similarity_is_never_ranked(bad: float) -> None:
    similarities, query, gallery = random_case(0, 8, 30, levels=9)
    similarities[5, 17] = bad
    blocks = [similarities[:3], similarities[3:]]
    with pytest.raises(DataError, match=r"query 5: its similarity to gallery row 17 is (nan|-?inf)\. The embeddings"):
        rank(blocks, query, gallery, cross_camera=False)


def test_large_finite_similarities_are_no_fault() -> None:
    big = np.array([[3e38, 2e38, -3e38]], dtype=np.float32)
    ranking = rank([big], Labels(np.array([0])), Labels(np.array([1, 0, 2])), cross_camera=False)
    assert ranking.first_rank.tolist() == [2]


def test_blocks_must_fit_the_labels() -> None:
    query, gallery = Labels(np.array([0, 1])), Labels(np.array([0, 1, 2]))
    for shape in ((2, 4), (3, 3), (2,)):
        with pytest.raises(ValueError, match=r"a block \(.*\) at query 0 does not fit 2 x 3"):
            rank([np.zeros(shape)], query, gallery, cross_camera=False)
    with pytest.raises(ValueError, match="the blocks hold 1 queries, the labels 2"):
        rank([np.zeros((1, 3))], query, gallery, cross_camera=False)
    with pytest.raises(ValueError, match=r"cameras has shape \(2,\), identities \(3,\)"):
        Labels(np.zeros(3, np.int64), np.zeros(2, np.int64))


def test_blocks_are_let_go() -> None:
    similarities, query, gallery = random_case(0, 12, 30, levels=9)
    given: list[weakref.ref[NDArray[Any]]] = []

    def blocks() -> Iterator[NDArray[Any]]:
        for row in similarities:
            assert sum(block() is not None for block in given) <= 1, "the last one while the next is made, no more"
            block = row[None].copy()
            given.append(weakref.ref(block))
            yield block
            del block

    rank(blocks(), query, gallery, cross_camera=True)
    assert len(given) == 12


def test_confidence_interval_follows_the_number_of_identities() -> None:
    random = np.random.default_rng(0)
    identities = np.repeat(np.arange(40), 25)
    hard = np.repeat(random.random(40), 25)  # queries of one identity share their fate
    ones = np.ones(1000, np.int64)
    ranking = Ranking(ones, np.where(hard < 0.5, 1, 9), hard, hard, hard, hard)
    by_identity = confidence_intervals(ranking, identities, seed=3)
    by_query = confidence_intervals(ranking, np.arange(1000), seed=3)
    assert list(by_identity) == list(summary(ranking)) == ["mAP", "R1", "R5", "R10", "mINP"]
    for name, value in summary(ranking).items():
        low, high = by_identity[name]
        assert low <= value <= high
    widths = [np.subtract(*interval["mAP"][::-1]) for interval in (by_identity, by_query)]
    expected = [2 * 1.96 * hard[::25].std() / np.sqrt(40), 2 * 1.96 * hard.std() / np.sqrt(1000)]
    np.testing.assert_allclose(widths, expected, rtol=0.1)
    assert confidence_intervals(ranking, identities, seed=3) == by_identity
    assert confidence_intervals(ranking, identities, seed=4) != by_identity


def test_confidence_interval_skips_queries_without_a_positive() -> None:
    n = np.array([1, 0, 1])
    ap = np.array([0.5, np.nan, 0.5])
    intervals = confidence_intervals(Ranking(n, n, ap, ap, ap, ap), np.array([4, 9, 4]), seed=0)
    assert intervals["mAP"] == (0.5, 0.5)


def test_vehicleid_draws_one_gallery_picture_of_each_identity() -> None:
    identities = np.array([3, 3, -1, 5, 5, 5, 8, 3])
    draws = list(vehicleid_draws(identities, seed=7))
    assert len(draws) == 10
    for query, gallery in draws:
        assert sorted(identities[gallery]) == [3, 5, 8]
        assert sorted([*query, *gallery]) == [0, 1, 3, 4, 5, 6, 7]
    assert len({tuple(gallery) for _, gallery in draws}) > 3
    again = list(vehicleid_draws(identities, seed=7))
    assert all(
        np.array_equal(a, b) for one, other in zip(draws, again, strict=True) for a, b in zip(one, other, strict=True)
    )
    every = np.concatenate([gallery for _, gallery in vehicleid_draws(identities, seed=0, n_draws=300)])
    np.testing.assert_allclose(np.bincount(every, minlength=8)[[0, 1, 7]] / 300, 1 / 3, atol=0.1)
