"""Pairs against plain loops over all of them, in float64."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resight import similarities
from resight.similarities import EDGES, N_BINS, Different, Pairs, Sample, binned

Vectors = NDArray[np.float32]


def sample(seed: int, n: int) -> tuple[Sample, Vectors]:
    """Few identities, unknown cameras, and files that show several rows, of the same and of different identities."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(n, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Sample(random.integers(0, 6, n), random.integers(-1, 3, n), random.integers(0, n // 2 + 1, n)), vectors


def looped(pairs: Pairs, one: Vectors, second: Vectors) -> tuple[list[tuple[int, float]], list[tuple[int, int, float]]]:
    """(identity, similarity) of the same, and (identity, identity, similarity) of different ones, one by one."""
    same, different = [], []
    a, b = pairs.one, pairs.second
    for i, j in product(range(len(one)), range(len(second))):
        if pairs.other is None and i >= j:
            continue
        value = float(one[i].astype(np.float64) @ second[j].astype(np.float64))
        if a.identities[i] != b.identities[j]:
            if a.pictures[i] != b.pictures[j]:
                different.append((int(a.identities[i]), int(b.identities[j]), value))
        elif not ("pictures" in pairs.apart and a.pictures[i] == b.pictures[j]) and not (
            "cameras" in pairs.apart and a.cameras[i] == b.cameras[j] and a.cameras[i] >= 0
        ):
            same.append((int(a.identities[i]), value))
    return same, different


CASES = [
    (None, ("pictures", "cameras")),
    (None, ("pictures",)),
    (23, ("pictures",)),
    (23, ()),
    (9, ("pictures", "cameras")),
]


@pytest.mark.parametrize("block", [2**22, 100, 1])
@pytest.mark.parametrize(("n_other", "apart"), CASES)
def test_pairs_are_those_of_the_definition(
    n_other: int | None, apart: tuple[str, ...], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarities, "BLOCK", block)
    one, vectors = sample(1, 30)
    other, others = (None, vectors) if n_other is None else sample(2, n_other)
    pairs = Pairs(one, other, apart)
    same, different = looped(pairs, vectors, others)
    assert pairs.n_same().tolist() == [sum(identity == g for identity, _ in same) for g in range(6)]
    assert pairs.n_different() == len(different)
    weights = np.random.default_rng(3).integers(0, 4, 6).astype(np.float64)
    assert pairs.n_different(weights) == pytest.approx(sum(weights[g] * weights[h] for g, h, _ in different))
    found = sorted((identity, float(v)) for identity, values in pairs.same(vectors, others) for v in values)
    np.testing.assert_allclose(found, sorted(same), atol=1e-6)
    for n_kept in (10_000, 40):
        got = pairs.different(vectors, others, n_kept=n_kept)
        expected = sorted((value for *_, value in different), reverse=True)
        np.testing.assert_allclose(got.values, expected[:n_kept], atol=1e-6)
        assert got.counts.sum() == len(different)
        ordered = [(value, {g, h}) for g, h, value in sorted(different, key=lambda pair: -pair[2])]
        for value, g, h, (expected_value, members) in zip(got.values, got.first, got.second, ordered, strict=False):
            assert value == pytest.approx(expected_value, abs=1e-6)
            assert {int(g), int(h)} == members


def test_bins_are_of_equal_width_and_take_what_rounding_put_outside() -> None:
    counts = binned(np.array([-1.0000002, -1, -0.99995, 0, 0.00015, 1, 1.0000002], dtype=np.float32))
    assert np.flatnonzero(counts).tolist() == [0, N_BINS // 2, N_BINS // 2 + 1, N_BINS - 1]
    assert counts.sum() == 7
    assert EDGES[1] - EDGES[0] == pytest.approx(1e-4)


def different(values: list[float], members: list[tuple[int, int]] | None = None) -> Different:
    first, second = np.array(members or [(0, 1)] * len(values), dtype=np.int32).T
    array = np.array(values, dtype=np.float32)
    return Different(array, first, second, binned(array))


def test_a_threshold_lies_between_what_passes_and_what_does_not() -> None:
    ten = different([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    rates = [0.1, 0.2, 0.25, 0.5]
    np.testing.assert_allclose(ten.at_rates(rates, total=10), [0.85, 0.75, 0.75, 0.45], atol=1e-6)
    assert ten.at_rates([0.05], total=10)[0] > np.float32(0.9), "not even the highest may pass"


def test_of_equal_pairs_all_pass_or_none() -> None:
    tied = different([0.9, 0.7, 0.7, 0.7, 0.1])
    np.testing.assert_allclose(tied.at_rates([0.2, 0.4, 0.6, 0.8], total=5), [0.8, 0.8, 0.8, 0.4], atol=1e-6)
    assert different([0.5] * 8).at_rates([0.5], total=8)[0] > 0.5


def defined_threshold(values: NDArray[Any], weights: NDArray[Any], rate: float) -> float:
    """The lowest value that may be the least one that passes, in float64."""
    allowed = rate * weights.sum()
    passing = [value for value in np.unique(values) if weights[values >= value].sum() <= allowed * (1 + 1e-12)]
    return float(min(passing, default=np.inf))


@pytest.mark.parametrize("part", [2**16, 7])
def test_weighted_thresholds_pass_what_the_definition_passes(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarities, "PART", part)
    random = np.random.default_rng(4)
    for n_levels in (5, 10_000):
        values = np.sort(random.integers(0, n_levels, 300) / n_levels)[::-1].astype(np.float32)
        members = random.integers(0, 8, (300, 2)).astype(np.int32)
        weights = random.integers(0, 3, 8).astype(np.float64)
        pairs = Different(values, members[:, 0], members[:, 1], binned(values))
        of_pairs = weights[members[:, 0]] * weights[members[:, 1]]
        rates = [0.3, 0.02, 0.1]
        found = pairs.at_rates(rates, total=of_pairs.sum(), weights=weights)
        for rate, threshold in zip(rates, found, strict=True):
            passing = values >= threshold
            least = defined_threshold(values, of_pairs, rate)
            assert of_pairs[passing].sum() == pytest.approx(of_pairs[values >= least].sum())


def test_below_the_kept_pairs_the_bins_tell() -> None:
    random = np.random.default_rng(5)
    everything = np.sort(random.normal(0.2, 0.1, 100_000).astype(np.float32))[::-1]
    members = np.zeros(1000, np.int32)
    kept = Different(everything[:1000], members, members, binned(everything))
    for rate in (0.011, 0.1, 0.5, 0.9):
        assert kept.at_rates([rate], total=100_000)[0] == pytest.approx(everything[round(rate * 100_000)], abs=1e-4)


def test_wrong_calls() -> None:
    three, two = np.zeros(3, np.int64), np.zeros(2, np.int64)
    with pytest.raises(ValueError, match=r"cameras has shape \(2,\), not one entry a row"):
        Sample(three, two, three)
    with pytest.raises(ValueError, match="unknown identity or picture is the same as nobody"):
        Sample(three - 1, three, three)
    with pytest.raises(ValueError, match="compared apart in pictures"):
        Pairs(Sample(three, three, three), None, ())
