"""Re-ranking against plain loops written from its definition, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resight import neighbours
from resight.rerank import reranked_blocks


def clustered(seed: int, n: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    features = np.random.default_rng(0).standard_normal((5, 8))[random.integers(0, 5, n)]
    features = features + 0.7 * random.standard_normal((n, 8))
    unit_length: NDArray[np.float32] = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    return unit_length


def by_definition(query: NDArray[Any], gallery: NDArray[Any], k1: int, k2: int, weight: float) -> NDArray[Any]:
    features = np.concatenate([query, gallery]).astype(np.float64)
    n = len(features)
    distance = np.maximum(2 - 2 * features @ features.T, 0)
    np.fill_diagonal(distance, 0)
    distance /= distance.max(axis=1, keepdims=True)
    lists = [sorted(range(n), key=lambda j: (j != i, distance[i, j], j)) for i in range(n)]

    def mutual(i: int, k: int) -> set[int]:
        return {j for j in lists[i][: k + 1] if i in lists[j][: k + 1]}

    vectors = np.zeros((n, n))
    for i in range(n):
        neighbourhood = mutual(i, k1)
        expanded = set(neighbourhood)
        for j in neighbourhood:
            candidate = mutual(j, round(k1 / 2))
            if len(candidate & neighbourhood) > 2 / 3 * len(candidate):
                expanded |= candidate
        members = sorted(expanded)
        vectors[i, members] = np.exp(-distance[i, members])
        vectors[i] /= vectors[i].sum()
    vectors = np.array([vectors[lists[i][:k2]].mean(axis=0) for i in range(n)])
    shared = np.array([[np.minimum(a, b).sum() for b in vectors[len(query) :]] for a in vectors[: len(query)]])
    plain = distance[: len(query), len(query) :]
    reranked: NDArray[Any] = (1 - weight) * (1 - shared / (2 - shared)) + weight * plain
    return reranked


@pytest.mark.parametrize("block", [2**24, 150])
@pytest.mark.parametrize(
    ("n_query", "n_gallery", "k1", "k2", "weight"),
    [
        (8, 60, 20, 6, 0.3),
        (8, 60, 7, 3, 0.3),
        (30, 40, 5, 1, 0.0),
        (6, 50, 10, 10, 1.0),
        (4, 9, 50, 15, 0.3),  # fewer pictures than k1
        (1, 2, 20, 6, 0.3),
    ],
)
def test_equals_the_definition(
    n_query: int, n_gallery: int, k1: int, k2: int, weight: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", block)
    query, gallery = clustered(1, n_query), clustered(2, n_gallery)
    found = list(reranked_blocks(query, gallery, k1=k1, k2=k2, weight=weight))
    assert all(part.dtype == np.float32 and part.size <= max(block, n_gallery) for part in found)
    np.testing.assert_allclose(np.concatenate(found), by_definition(query, gallery, k1, k2, weight), atol=2e-6)


def test_defaults_are_the_papers() -> None:
    query, gallery = clustered(1, 5), clustered(2, 70)
    (found,), (stated,) = reranked_blocks(query, gallery), reranked_blocks(query, gallery, k1=20, k2=6, weight=0.3)
    np.testing.assert_array_equal(found, stated)


def test_weight_of_one_keeps_the_plain_order() -> None:
    query, gallery = clustered(3, 5), clustered(4, 80)
    (found,) = reranked_blocks(query, gallery, weight=1)
    np.testing.assert_array_equal(np.argsort(found, axis=1), np.argsort(-query @ gallery.T, axis=1))


def test_order_of_the_gallery_does_not_matter() -> None:
    query, gallery = clustered(3, 5), clustered(4, 80)
    order = np.random.default_rng(0).permutation(80)
    (plain,), (shuffled,) = reranked_blocks(query, gallery), reranked_blocks(query, gallery[order])
    np.testing.assert_allclose(shuffled, plain[:, order], atol=1e-6)


def test_pictures_that_are_all_alike_give_numbers() -> None:
    same = np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (6, 1))
    (found,) = reranked_blocks(same[:2], same[2:], k1=3, k2=2)
    assert np.isfinite(found).all()


def test_wrong_calls_say_why() -> None:
    good = clustered(0, 6)
    for weight in (-0.1, 1.5):
        with pytest.raises(ValueError, match=rf"weight is {weight}; needed is 0 <= weight <= 1"):
            list(reranked_blocks(good, good, weight=weight))
    with pytest.raises(ValueError, match="k1 is 2 and k2 is 6; needed are 1 <= k2 <= k1"):
        list(reranked_blocks(good, good, k1=2))
    with pytest.raises(ValueError, match="query row 6 has length 2; the rows must be L2-normalised"):
        list(reranked_blocks(good, 2 * good))
