"""Clusters against a plain DBSCAN, recorded labels and cases solved by hand; eps "auto" against the best fixed eps."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from resight import cluster as parts
from resight.cluster import ClusterConfig, cluster, compare, summary
from resight.errors import ConfigError
from resight.neighbours import jaccard_graph


def unit(features: NDArray[Any]) -> NDArray[np.float32]:
    unit_length: NDArray[np.float32] = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    return unit_length


def people(
    seed: int, *, noise: float, n_identities: int = 40, shift: float = 0.0, n_strangers: int = 0
) -> tuple[NDArray[np.float32], list[str]]:
    """About 12 pictures an identity from 4 cameras; each camera shifts each identity; strangers are seen once."""
    random = np.random.default_rng(seed)
    sizes = np.maximum(1, random.poisson(12, n_identities))
    rows = np.repeat(np.arange(n_identities), sizes)
    shifts = shift * random.standard_normal((n_identities, 4, 32))
    seen = random.standard_normal((n_identities, 32))[rows] + shifts[rows, random.integers(0, 4, len(rows))]
    seen += noise * random.standard_normal(seen.shape)
    features = unit(np.concatenate([seen, random.standard_normal((n_strangers, 32))]))
    order = random.permutation(len(features))
    names = [*map(str, rows), *(f"stranger {k}" for k in range(n_strangers))]
    return features[order], [names[row] for row in order]


def dbscan_by_definition(distances: NDArray[Any], eps: float, min_samples: int) -> list[int]:
    """From each core in turn, all that is reached over cores; who is reached first by a cluster stays in it."""
    near = [set(np.flatnonzero(row <= eps).tolist()) for row in distances]
    labels = [-1] * len(near)
    n_clusters = 0
    for start, neighbours in enumerate(near):
        if labels[start] >= 0 or len(neighbours) < min_samples:
            continue
        waiting = [start]
        while waiting:
            row = waiting.pop()
            if labels[row] < 0:
                labels[row] = n_clusters
                waiting += near[row] if len(near[row]) >= min_samples else []
        n_clusters += 1
    return renumbered(labels)


def renumbered(labels: list[int]) -> list[int]:
    """In the order of the clusters' first pictures."""
    numbers: dict[int, int] = {-1: -1}
    for label in labels:
        numbers.setdefault(label, len(numbers) - 1)
    return [numbers[label] for label in labels]


@pytest.mark.parametrize("min_samples", [1, 3, 4])
@pytest.mark.parametrize("eps", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("noise", [0.6, 1.2])
def test_clusters_equal_the_definition(noise: float, eps: float, min_samples: int) -> None:
    features, _ = people(0, noise=noise, n_identities=12)
    graph = jaccard_graph(features, k1=10, k2=3, eps=0.9999999)
    distances = np.ones(graph.shape)
    distances[np.repeat(np.arange(len(features)), np.diff(graph.indptr)), graph.indices] = graph.data
    found = cluster(features, ClusterConfig(k1=10, k2=3, eps=eps, min_samples=min_samples))
    assert found.eps == eps
    assert found.labels.dtype == np.int64
    assert found.labels.tolist() == dbscan_by_definition(distances, eps, min_samples)


def test_recorded_labels() -> None:
    """As the reference implementations give them, which number them by their first cores."""
    stored = np.load(Path(__file__).parent / "golden" / "jaccard_dbscan.npz")
    meta = json.loads(str(stored["__meta__"]))
    for eps in (0.4, 0.5, 0.6, 0.7):
        config = ClusterConfig(k1=meta["k1"], k2=meta["k2"], eps=eps)
        found = cluster(unit(stored["features"]), config).labels.tolist()
        assert found == renumbered(stored[f"dbscan_eps{eps}"].tolist())


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_changes_the_numbers_alone(seed: int) -> None:
    features, _ = people(seed, noise=0.5, n_identities=8)
    order = np.random.default_rng(seed).permutation(len(features))
    config = ClusterConfig(k1=12, k2=4, eps=0.5)
    plain, moved = cluster(features, config).labels[order], cluster(features[order], config).labels
    pairs = set(zip(plain.tolist(), moved.tolist(), strict=True))
    # a picture between two clusters joins the first of them, so it alone may change
    both = [pair for pair in pairs if np.sum((plain == pair[0]) & (moved == pair[1])) > 2]
    assert len({pair[0] for pair in both}) == len({pair[1] for pair in both}) == len(both)
    assert ((plain < 0) == (moved < 0)).all()


@pytest.mark.parametrize("eps", [0.6, "auto"])
@pytest.mark.parametrize("n", range(6))
def test_few_pictures(n: int, eps: Any) -> None:
    """Copies of one picture: four of them are a cluster, fewer are none."""
    features = np.tile(unit(np.ones((1, 8))), (n, 1))
    found = cluster(features, ClusterConfig(eps=eps))
    assert found.labels.tolist() == [0 if n >= 4 else -1] * n
    assert found.eps == 0.6
    assert summary(found.labels).n_outliers == (0 if n >= 4 else n)


def test_fewer_pictures_than_neighbours() -> None:
    features, _ = people(1, noise=0.3, n_identities=2)
    whole = ClusterConfig(k1=len(features), k2=6)
    assert cluster(features, ClusterConfig(k1=400, k2=6)).labels.tolist() == cluster(features, whole).labels.tolist()


def test_half_and_double_precision_are_taken() -> None:
    features, _ = people(2, noise=0.3, n_identities=6)
    plain = cluster(features, ClusterConfig(k1=12)).labels
    for kind in (np.float16, np.float64):
        assert cluster(features.astype(kind), ClusterConfig(k1=12)).labels.tolist() == plain.tolist()


CASES = [
    {"noise": noise, **more}
    for noise in (0.3, 0.8, 1.2)
    for more in ({}, {"shift": 0.5}, {"shift": 0.5, "n_strangers": 100}, {"n_strangers": 150})
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_eps_chosen_from_the_pictures_is_nearly_the_best(case: dict[str, Any]) -> None:
    """At most 0.15 below the best fixed eps, in adjusted Rand index and in pairwise F-measure."""
    features, names = people(0, **case)
    found = cluster(features, ClusterConfig(k1=20, eps="auto"))
    graph = jaccard_graph(features, k1=20, k2=6, eps=0.9)
    fixed = [compare(parts._dbscan(graph, eps, 4), names) for eps in parts.TRIED_EPS]
    truth = compare(found.labels, names)
    assert truth is not None
    assert truth.adjusted_rand > max(one.adjusted_rand for one in fixed if one) - 0.15
    assert truth.f_measure > max(one.f_measure for one in fixed if one) - 0.15


def test_one_cluster_leaves_the_published_eps() -> None:
    features = unit(np.ones((30, 8)) + 0.01 * np.random.default_rng(0).standard_normal((30, 8)))
    found = cluster(features, ClusterConfig(eps="auto"))
    assert found.eps == 0.6
    assert found.labels.tolist() == [0] * 30


def test_separation_equals_its_definition() -> None:
    random = np.random.default_rng(0)
    for _ in range(10):
        alike = np.triu(np.where(random.random((20, 20)) < 0.5, random.random((20, 20)), 0), 1)
        alike += alike.T
        labels = random.integers(-1, 4, 20)
        total = 0.0
        for i, own in enumerate(labels):
            if own >= 0:
                means = {
                    c: np.mean([alike[i, j] for j in range(20) if labels[j] == c and j != i] or [0]) for c in range(4)
                }
                total += means.pop(own) - max(means.values())
        graph = sparse.csr_matrix(alike + np.eye(20))
        graph.data[np.repeat(np.arange(20), np.diff(graph.indptr)) == graph.indices] = 0  # stored, as the parts do
        assert parts._separation(graph, labels) == pytest.approx(total / 20)
    assert parts._separation(graph, np.zeros(20, np.int64)) == 0
    assert parts._separation(graph, np.full(20, -1)) == 0


def test_summary_by_hand() -> None:
    labels = np.array([0, 0, 1, -1, 0, 1, 2])
    plain = summary(labels)
    assert (plain.n_clusters, plain.n_outliers, plain.largest, plain.agreement) == (3, 1, 3, None)
    assert plain.share_used == pytest.approx(6 / 7)
    assert str(plain) == "3 clusters, the largest of 3 pictures; 1 outliers, 85.7 % of the pictures used"
    renamed = summary(labels, np.array([5, 5, 7, 5, 5, 7, -1]))
    assert renamed.agreement == 1
    assert str(renamed).endswith("; agreement with the clusters before 1.000")
    # pairs together: 1 of labels, 1 of before, none of both; 1 · 1 / 3 are expected: (0 − 1/3) / (1 − 1/3)
    crossed = summary(np.array([0, 0, 1]), np.array([0, 1, 1]))
    assert crossed.agreement == pytest.approx(-0.5)
    assert summary(labels, np.where(labels < 0, 0, -1)).agreement is None
    nothing = summary(np.empty(0, np.int64))
    assert (nothing.n_clusters, nothing.n_outliers, nothing.largest, nothing.share_used) == (0, 0, 0, 0)


def test_truth_counts_pairs() -> None:
    random = np.random.default_rng(0)
    for n in (1, 2, 3, 30):
        labels = random.integers(-1, 4, n)
        names = [None if k == 0 else str(k) for k in random.integers(0, 5, n)]
        truth = compare(labels, names)
        known = [i for i in range(n) if names[i] is not None]
        pairs = list(itertools.combinations(known, 2))
        together = {(i, j) for i, j in pairs if labels[i] == labels[j] >= 0}
        right = {(i, j) for i, j in pairs if names[i] == names[j]}
        if not known:
            assert truth is None
            continue
        assert truth is not None
        assert truth.n_pictures == len(known)
        assert truth.precision == (len(together & right) / len(together) if together else 1)
        assert truth.recall == (len(together & right) / len(right) if right else 1)
        if together or right:
            assert truth.f_measure == pytest.approx(2 * len(together & right) / (len(together) + len(right)))
    assert compare(np.array([0, 0]), [None, None]) is None
    perfect = compare(np.array([0, 0, 1, 1, -1]), ["b", "b", "a", "a", "c"])
    assert perfect is not None
    assert (perfect.adjusted_rand, perfect.f_measure) == (1, 1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"k1": 0}, "--k1 0: at least 1."),
        ({"k2": 0}, "--k2 0: at least 1."),
        ({"min_samples": 0}, "--min-samples 0: at least 1."),
        ({"k1": 4}, "--k2 6: at most the 4 of --k1."),
        ({"eps": 0.0}, "--eps 0.0: a number between 0 and 1, or auto."),
        ({"eps": 1.0}, "--eps 1.0: a number"),
        ({"eps": float("nan")}, "--eps nan: a number"),
        ({"eps": "best"}, "--eps best: a number"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ClusterConfig(**wrong)
    assert str(caught.value).startswith(said)


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="row 0 has length 2; the rows must be L2-normalised"):
        cluster(2 * np.eye(5), ClusterConfig())


def test_scikit_learn_is_imported_when_needed() -> None:
    code = "import resight.cluster, sys; print('sklearn' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
