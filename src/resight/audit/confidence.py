"""Margins of likeness → how sure it is that the label is the wrong one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating[Any]]

TRIED = np.geomspace(0.05, 1, 30)
"""Temperatures, in units of the cosine. On labels without a fault the best would be 0.025, and every hard picture of
the drawn people would be called a fault; with 5 % of faults it is 0.055 to 0.07."""


def fit_temperature(own: Values, others: Values) -> float:
    """The temperature at which the labels as they stand are most likely: softmax of own [N] against others [N, K].

    −inf among the others counts for nothing. Wrong labels make it larger, and so every score smaller: the more faults,
    the more a margin must be. 1 without any label.
    """
    if not len(own):
        return 1.0
    every = np.concatenate([own[:, None], others], axis=1).astype(np.float64)
    every -= every.max(axis=1, keepdims=True)
    fits = [np.mean(every[:, 0] / t - np.log(np.exp(every / t).sum(axis=1))) for t in TRIED]
    return float(TRIED[int(np.argmax(fits))])


def preferred(margin: Values, temperature: float) -> NDArray[np.float64]:
    """Probability of the second of two, which is more likely by `margin`: 0.5 at a margin of 0."""
    bounded = np.clip(np.asarray(margin, np.float64) / temperature, -500, 500)
    found: NDArray[np.float64] = 1 / (1 + np.exp(-bounded))
    return found
