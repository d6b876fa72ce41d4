"""Open-set scores against plain loops over trials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resight.open_set import open_set


def defined(right: NDArray[Any], mate: NDArray[Any], other: NDArray[Any]) -> dict[str, float]:
    """One threshold after the other, one pair of trials after the other."""
    n, found = len(right), {}
    for rate in (0.01, 0.1):
        if n * rate < 1:
            continue
        passing = [t for t in [*other, *mate, np.inf] if sum(o >= t for o in other) <= rate * n + 1e-9]
        threshold = min(passing)
        found[f"TPIR@{rate:.0%}"] = sum(r and m >= threshold for r, m in zip(right, mate, strict=True)) / n
    known = [max(m, o) for m, o in zip(mate, other, strict=True)]
    found["AUROC"] = sum((a > b) + 0.5 * (a == b) for a in known for b in other) / n**2
    return found


@pytest.mark.parametrize(("n", "levels"), [(150, 10**6), (150, 12), (60, 4), (10, 3), (5, 10), (1, 1)])
def test_equals_the_definition(n: int, levels: int) -> None:
    random = np.random.default_rng(n + levels)
    mate = (random.integers(0, levels, n) + levels // 5) / levels
    other = random.integers(0, levels, n) / levels
    right = mate > other
    found = open_set(right, mate, other, np.arange(n), seed=0)
    assert found.scores == pytest.approx(defined(right, mate, other))
    assert found.n_queries == n
    assert list(found.intervals) == list(found.scores)


def test_solved_by_hand() -> None:
    # ten queries; strangers at 0.1 … 1.0, so that FPIR 10 % lets the one at 1.0 through: above 0.9
    other = np.arange(1, 11) / 10
    mate = np.array([0.95, 0.99, 0.91, 0.9, 0.2, 0.2, 0.2, 0.2, 0.2, 0.97])
    right = mate > other  # the last mate, at 0.97, stands behind a stranger at 1.0
    found = open_set(right, mate, other, np.arange(10), seed=0)
    assert found.scores["TPIR@10%"] == 0.3
    assert "TPIR@1%" not in found.scores


def test_nobody_else_above_minus_infinity() -> None:
    found = open_set(np.ones(10, bool), np.full(10, 0.5), np.full(10, -np.inf), np.arange(10), seed=0)
    assert found.scores == {"TPIR@10%": 1.0, "AUROC": 1.0}


def test_intervals_follow_the_number_of_identities() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 20)
    mate = 0.5 + np.repeat(random.normal(0, 0.1, 30), 20) + random.normal(0, 0.01, 600)
    other = random.normal(0.45, 0.05, 600)
    by_identity = open_set(mate > other, mate, other, groups, seed=1)
    by_query = open_set(mate > other, mate, other, np.arange(600), seed=1)
    for name, value in by_identity.scores.items():
        low, high = by_identity.intervals[name]
        assert low <= value <= high
        assert high - low > 2 * np.subtract(*by_query.intervals[name][::-1])
    assert by_identity == open_set(mate > other, mate, other, groups, seed=1)
    assert by_identity != open_set(mate > other, mate, other, groups, seed=2)
