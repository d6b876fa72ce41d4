"""Neighbours, neighbourhoods and Jaccard distances against plain loops written from their definitions, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from resight import neighbours
from resight.neighbours import jaccard_blocks, jaccard_graph, nearest_neighbours, reciprocal_weights, similarity_blocks


def unit(features: NDArray[Any]) -> NDArray[np.float32]:
    unit_length: NDArray[np.float32] = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    return unit_length


def clustered(seed: int, n: int, *, n_clusters: int = 6, dimension: int = 8, noise: float = 0.7) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((n_clusters, dimension))
    return unit(centres[random.integers(0, n_clusters, n)] + noise * random.standard_normal((n, dimension)))


def coarse(seed: int, n: int) -> NDArray[np.float32]:
    """Vectors with exact lengths and products, many of them equal."""
    return np.random.default_rng(seed).choice([-0.5, 0.5], (n, 4)).astype(np.float32)


def lists_by_definition(features: NDArray[Any], k: int) -> list[list[int]]:
    exact = features.astype(np.float64)
    products = [[float((a * b).sum()) for b in exact] for a in exact]
    return [sorted(range(len(row)), key=lambda j: (j != i, -row[j], j))[:k] for i, row in enumerate(products)]


def jaccard_by_definition(features: NDArray[Any], n_columns: int, k1: int, k2: int, *, relative: bool) -> NDArray[Any]:
    """All pairs: mutual neighbours, expansion by two thirds, weights, mean over k2 neighbours, sum of the smaller."""
    exact = features.astype(np.float64)
    n = len(exact)
    distance = np.maximum(2 - 2 * exact @ exact.T, 0)
    if relative:
        distance = distance / distance.max(axis=1, keepdims=True)
    lists = lists_by_definition(features, n_columns)
    half = round(k1 / 2) + 1
    whole_sets = [{j for j in lists[i] if i in lists[j]} for i in range(n)]
    half_sets = [{j for j in lists[i][:half] if i in lists[j][:half]} for i in range(n)]
    weights = np.zeros((n, n))
    for i in range(n):
        expanded = set(whole_sets[i])
        for j in whole_sets[i]:
            if len(half_sets[j] & whole_sets[i]) > 2 / 3 * len(half_sets[j]):
                expanded |= half_sets[j]
        for j in expanded:
            weights[i, j] = np.exp(-distance[i, j])
        weights[i] /= weights[i].sum()
    weights = np.array([weights[lists[i][:k2]].mean(axis=0) for i in range(n)])
    smaller = np.array([[np.minimum(a, b).sum() for b in weights] for a in weights])
    distances: NDArray[Any] = 1 - smaller / (2 - smaller)
    return distances


def full(graph: sparse.csr_matrix) -> NDArray[np.float32]:
    """Dense, with 1 where nothing is stored."""
    dense = np.ones(graph.shape, np.float32)
    dense[np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr)), graph.indices] = graph.data
    return dense


@pytest.fixture(params=["one block", "small blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the sizes of blocks and parts, the result is the same."""
    if request.param == "small blocks":
        monkeypatch.setattr(neighbours, "BLOCK", 200)
        monkeypatch.setattr(neighbours, "PART", 50)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    ("n_query", "n_gallery", "k"), [(1, 1, 1), (5, 40, 3), (30, 7, 20), (12, 700, 2), (3, 100, 100)]
)
def test_nearest_neighbours_equal_a_stable_sort(n_query: int, n_gallery: int, k: int) -> None:
    for query, gallery in (
        (clustered(1, n_query), clustered(2, n_gallery)),
        (coarse(1, n_query), coarse(2, n_gallery)),  # ties everywhere
    ):
        found = nearest_neighbours(query, gallery, k)
        products = query.astype(np.float64) @ gallery.astype(np.float64).T
        expected = np.argsort(-products, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(found.rows, expected)
        np.testing.assert_allclose(found.similarities, np.take_along_axis(products, expected, 1), atol=1e-6)
        np.testing.assert_allclose(found.farthest, 2 - 2 * products.min(axis=1), atol=1e-6)


@pytest.mark.usefixtures("blocks")
def test_a_picture_is_its_own_first_neighbour_even_among_copies() -> None:
    features = coarse(0, 90)
    found = nearest_neighbours(features, features, 5, own_rows=np.arange(90))
    np.testing.assert_array_equal(found.rows, lists_by_definition(features, 5))
    np.testing.assert_array_equal(found.similarities[:, 0], 1)
    assert all(len(set(row)) == 5 for row in found.rows.tolist())


def test_half_precision_vectors_count_as_of_length_one() -> None:
    features = clustered(3, 50, dimension=300)
    found = nearest_neighbours(features.astype(np.float16), features.astype(np.float16), 4)
    assert found.similarities.dtype == np.float32
    assert (found.rows[:, 0] == np.arange(50)).all()


def test_arrays_that_torch_cannot_take_are_copied() -> None:
    features = clustered(0, 20)
    features.setflags(write=False)
    found = nearest_neighbours(features[::-1], features, 1)
    assert found.rows[:, 0].tolist() == list(range(19, -1, -1))


def test_similarity_blocks_are_the_whole_product() -> None:
    random = np.random.default_rng(0)
    query = random.standard_normal((11, 6)).astype(np.float16)
    gallery = random.standard_normal((23, 6)).astype(np.float16)
    whole = query.astype(np.float32) @ gallery.astype(np.float32).T
    for rows in (None, 1, 4, 50):
        blocks = list(similarity_blocks(query, gallery, block_rows=rows))
        assert all(block.dtype == np.float32 for block in blocks)
        assert max(len(block) for block in blocks) <= (rows or 11)
        np.testing.assert_allclose(np.concatenate(blocks), whole, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(
    ("n", "k1", "k2", "n_columns"),
    [
        (40, 6, 3, 6),
        (40, 6, 3, 7),
        (60, 5, 1, 5),
        (60, 7, 7, 8),
        (60, 20, 6, 20),
        (9, 20, 6, 21),
        (2, 1, 1, 1),
        (1, 4, 2, 4),
    ],
)
def test_jaccard_distances_equal_the_definition(n: int, k1: int, k2: int, n_columns: int, relative: bool) -> None:
    for features in (clustered(n + k1, n), coarse(n, n)):
        if relative and n < 3:
            continue  # nothing to be relative to
        found = nearest_neighbours(features, features, n_columns, own_rows=np.arange(n))
        weights = reciprocal_weights(features, found, k1=k1, k2=k2, relative=relative)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
        expected = jaccard_by_definition(features, n_columns, k1, k2, relative=relative)
        for some in (slice(None), slice(0, n // 2 + 1)):
            parts = list(jaccard_blocks(weights[some], weights[n // 3 :]))
            assert all(part.dtype == np.float32 and part.min() >= 0 for part in parts)
            np.testing.assert_allclose(np.concatenate(parts), expected[some, n // 3 :], atol=2e-6)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("eps", [0.3, 0.6, 0.999999])
def test_graph_holds_the_pairs_within_eps(eps: float) -> None:
    features = np.concatenate([clustered(0, 50), clustered(0, 50)[:10]])
    graph = jaccard_graph(features, k1=8, k2=3, eps=eps)
    every = full(jaccard_graph(features, k1=8, k2=3, eps=0.9999999))
    np.testing.assert_allclose(every, jaccard_by_definition(features, 8, 8, 3, relative=False), atol=2e-6)
    assert graph.dtype == np.float32
    assert graph.nnz == (every <= eps).sum()
    np.testing.assert_array_equal(full(graph), np.where(every <= eps, every, 1))
    assert graph.diagonal().max() < 1e-6
    assert all(i in graph.indices[graph.indptr[i] : graph.indptr[i + 1]] for i in range(60)), "zeros are stored"


def test_two_pairs_solved_by_hand() -> None:
    # within a pair d = 2 − 2 cos = ln 3, so a picture weighs 3/4 and its partner 1/4;
    # shared are 1/4 + 1/4, so the distance is 1 − (1/2) / (3/2) = 2/3; the pairs share nothing
    angle = np.arccos(1 - np.log(3) / 2)
    angles = np.array([0, angle, np.pi, np.pi + angle])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    graph = full(jaccard_graph(features, k1=2, k2=1, eps=0.9))
    third = 2 / 3
    expected = [[0, third, 1, 1], [third, 0, 1, 1], [1, 1, 0, third], [1, 1, third, 0]]
    np.testing.assert_allclose(graph, expected, atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_and_rotation_of_pictures_change_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    features = clustered(seed, 40)
    order = random.permutation(40)
    turn = np.linalg.qr(random.standard_normal((8, 8)))[0]
    plain = full(jaccard_graph(features, k1=8, k2=3, eps=0.9))
    turned = full(jaccard_graph(unit(features[order] @ turn), k1=8, k2=3, eps=0.9))
    unclear = np.abs(plain - 0.9) < 1e-4
    np.testing.assert_allclose(
        np.where(unclear[order][:, order], 0, turned), np.where(unclear, 0, plain)[order][:, order], atol=1e-4
    )


def test_wrong_calls_say_why() -> None:
    good = clustered(0, 6)
    with pytest.raises(ValueError, match="k is 0; at least one neighbour must be asked for"):
        nearest_neighbours(good, good, 0)
    with pytest.raises(ValueError, match="the gallery is empty"):
        nearest_neighbours(good, good[:0], 1)
    with pytest.raises(ValueError, match="gallery row 2 has length 3; the rows must be L2-normalised"):
        nearest_neighbours(good, good * np.array([1, 1, 3, 1, 1, 1], dtype=np.float32)[:, None], 1)
    broken = good.copy()
    broken[4, 1] = np.nan
    with pytest.raises(ValueError, match="query row 4 has length nan"):
        nearest_neighbours(broken, good, 1)
    with pytest.raises(ValueError, match=r"query \(6, 8\) and gallery \(6, 7\) are not two lists of vectors"):
        list(similarity_blocks(good, good[:, :7]))
    for k1, k2 in ((3, 4), (3, 0)):
        with pytest.raises(ValueError, match=f"k1 is {k1} and k2 is {k2}; needed are 1 <= k2 <= k1"):
            jaccard_graph(good, k1=k1, k2=k2, eps=0.5)
    for eps in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match=f"eps is {eps}; needed is 0 < eps < 1"):
            jaccard_graph(good, k1=3, k2=1, eps=eps)


@pytest.mark.gpu
def test_gpu_gives_the_same() -> None:
    features = clustered(0, 3000, n_clusters=100, dimension=64)
    here, there = (
        nearest_neighbours(features, features, 20, own_rows=np.arange(3000), device=device)
        for device in ("cpu", "cuda")
    )
    assert (here.rows == there.rows).mean() > 0.999
    np.testing.assert_allclose(here.similarities, there.similarities, atol=1e-5)
    np.testing.assert_allclose(here.farthest, there.farthest, atol=1e-5)
    there_whole = np.concatenate(list(similarity_blocks(features, features, device="cuda")))
    np.testing.assert_allclose(there_whole, features @ features.T, atol=1e-5)
