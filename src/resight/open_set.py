"""How well queries whose individual is not in the gallery are told from those whose is: TPIR at an FPIR, and AUROC.

Each query asks twice: with its mates in the gallery, and without them. The same two similarities tell of both: its
best mate's, and that of the best row of anybody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATES = (0.01, 0.1)
N_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class OpenSet:
    """n_queries: that asked with their mates, and without. scores: shares from 0 to 1, with 95 % intervals.

    "TPIR@1%" and "TPIR@10%": share of the queries whose first row is right and at or above the threshold that lets
    through this share of them without their mates (ISO/IEC 19795-1; Grother and Ngan 2014, NIST IR 8009); a rate for
    which there are fewer than 1 / rate queries is left out. "AUROC": how often a query with its mates has a more
    similar first row than one without, a tie counting one half.
    """

    n_queries: int
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]


def open_set(
    right: NDArray[np.bool_],
    mate: NDArray[np.float64],
    other: NDArray[np.float64],
    groups: NDArray[np.integer[Any]],
    *,
    seed: int,
) -> OpenSet:
    """The scores of Q queries, with intervals by draws of whole groups, as `metrics.confidence_intervals` makes them.

    right [Q]: whether the first row is a mate. mate, other [Q]: similarities of the best mate and of the best row of
    anybody else, which is -inf where there is none. groups [Q]: the query identities.
    """
    measured = _Trials(right, mate, other)
    members = np.unique(groups, return_inverse=True)[1]
    n_groups = 1 + int(members.max())
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(N_DRAWS):
        weights = np.bincount(generator.integers(n_groups, size=n_groups), minlength=n_groups)[members]
        draws.append(measured.scores(weights.astype(np.float64)))
    low, high = np.percentile(np.array(draws), [2.5, 97.5], axis=0)
    values = measured.scores(np.ones(len(right)))
    ends = zip(low.tolist(), high.tolist(), strict=True)
    return OpenSet(
        len(right),
        scores=dict(zip(measured.names, values.tolist(), strict=True)),
        intervals=dict(zip(measured.names, ends, strict=True)),
    )


class _Trials:
    """The queries in the order of what they find without their mates, so that a draw only weighs them anew."""

    def __init__(self, right: NDArray[np.bool_], mate: NDArray[np.float64], other: NDArray[np.float64]) -> None:
        self._order = np.argsort(-other, kind="stable")  # the most similar strangers first
        self._other = other[self._order]
        self._right, self._mate = right[self._order], mate[self._order]
        first = np.maximum(self._mate, self._other)
        rising = self._other[::-1]
        self._less = np.searchsorted(rising, first, side="left")  # queries without mates that find less than this one
        self._not_more = np.searchsorted(rising, first, side="right")
        self._rates = [rate for rate in RATES if rate * len(right) >= 1]
        self.names = [*(f"TPIR@{rate:.0%}" for rate in self._rates), "AUROC"]

    def scores(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """One value a name, where each query counts as often as its weight says."""
        w = weights[self._order]
        total = w.sum()
        reached = np.cumsum(w)
        found = []
        for rate in self._rates:
            refused = np.searchsorted(reached, rate * total * (1 + 1e-12), side="right")  # the first that is too many
            passed = self._right & (self._mate > self._other[refused])
            found.append(w @ passed / total)
        below = np.concatenate([[0.0], np.cumsum(w[::-1])])
        found.append(w @ (below[self._less] + below[self._not_more]) / (2 * total**2))
        return np.array(found)
