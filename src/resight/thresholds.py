"""Similarities of pairs → the thresholds, shares and probability that make a calibration's curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from resight.calibration import Curve, Rule, Threshold
from resight.errors import ConfigError, DataError
from resight.similarities import EDGES, Different, Pairs, Sample, binned

RATES = (1e-2, 1e-3, 1e-4)
N_DRAWS = 1000
MIN_ERRORS = 30
"""With 30 errors the true rate is within 30 % of the observed one, at 90 % confidence, if trials were independent
(Doddington et al. 2000, "The NIST speaker recognition evaluation", Speech Communication 31). Pairs share individuals,
so that the interval, which resamples these, is wider than that."""
MIN_SAME = 30
MIN_IDENTITIES = 10  # with fewer, draws of identities say little
N_KEPT = 2**22  # pairs that are kept with their members, 12 bytes each
SHARE_KEPT = 4  # times the loosest rate: how many more pairs a draw may need than the pairs themselves

APART: dict[Rule, tuple[str, ...]] = {
    "cross-camera": ("pictures", "cameras"),
    "any-camera": ("pictures",),
    "other-picture": ("pictures",),
    "any-picture": (),
}
OF_PICTURES: tuple[Rule, ...] = ("cross-camera", "any-camera")
OF_WORDS: tuple[Rule, ...] = ("other-picture", "any-picture")
EASIER: dict[Rule, str] = {
    "any-camera": "pairs by one camera count too; they are easier, so the shares found are too high",
    "any-picture": "captions are paired with their own picture too; that is easier, so the shares found are too high",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What can be learned from some pairs. rates: falling. notes: a line each, on what cannot."""

    pairs: Pairs
    rule: Rule
    rates: tuple[float, ...]
    n_same: int
    n_different: int
    notes: tuple[str, ...]


def check_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """The rates, falling, each once. Raises ConfigError when there is none, or one is not between 0 and 0.5."""
    wrong = [rate for rate in rates if not 0 < rate <= 0.5]
    if wrong or not rates:
        found = f"rate {wrong[0]:g}" if wrong else "no rate"
        raise ConfigError(f"{found}: a share of false matches is above 0 and at most 0.5; 1e-3 is one in 1,000 pairs.")
    return tuple(sorted(set(rates), reverse=True))


def plan(one: Sample, other: Sample | None, rates: Sequence[float] = RATES) -> Plan:
    """What two pictures say, or with `other` a caption and a picture; known before anything is embedded.

    Pairs of the same individual are the harder ones, of different cameras or of a caption with another picture, where
    there are 30 of them, of 10 individuals; else all. Raises DataError when all are fewer, or when there are too few
    pairs of different individuals for every rate.
    """
    rules = OF_PICTURES if other is None else OF_WORDS
    if other is None and (one.cameras < 0).all():
        rules = ("any-camera",)
    notes = []
    for rule in rules:
        pairs = Pairs(one, other, APART[rule])
        n_same = pairs.n_same()
        if n_same.sum() >= MIN_SAME and np.count_nonzero(n_same) >= MIN_IDENTITIES:
            break
        scarce = (
            f"{n_same.sum():,} pairs ({rule}) show the same individual, of {np.count_nonzero(n_same):,} individuals; "
            f"needed are {MIN_SAME} pairs of {MIN_IDENTITIES}"
        )
        if rule == rules[-1]:
            raise DataError(f"{scarce}. Label more pictures of each individual, or of more individuals.")
        notes.append(f"{scarce}. So {EASIER[rules[-1]]}.")
    n_different = round(pairs.n_different())
    rates = check_rates(rates)
    kept = tuple(rate for rate in rates if n_different * rate >= MIN_ERRORS)
    too_few = [
        f"Rate {rate:g} is left out: {n_different:,} pairs of different individuals are too few, "
        f"{MIN_ERRORS / rate:,.0f} are needed ({MIN_ERRORS} false matches)."
        for rate in rates[len(kept) :]
    ]
    if not kept:
        lowest = f"{1.1 * MIN_ERRORS / n_different:.1e}"  # and a little more, for the rounding
        raise DataError(f"{too_few[0]} Label more pictures, or ask for a rate that they allow: --rates {lowest}.")
    return Plan(pairs, rule, kept, int(n_same.sum()), n_different, (*notes, *too_few))


def learn(what: Plan, one: NDArray[np.float32], second: NDArray[np.float32], *, seed: int = 0) -> Curve:
    """The curve of the planned pairs; one, second: vectors of both sides, of length 1, or the same twice.

    Intervals are percentiles of 1,000 draws of identities with replacement: a pair of different individuals counts as
    often as its members' numbers multiply to, so that both vary (vertex bootstrap, Snijders and Borgatti 1999; for
    biometric errors Bolle et al. 2004, "Error analysis of pattern recognition systems: the subsets bootstrap"); a pair
    of the same one as often as it is drawn. Raises DataError when the same are not more alike than different ones.
    """
    n_kept = min(N_KEPT, max(2**17, round(SHARE_KEPT * what.rates[0] * what.n_different)))
    different = what.pairs.different(one, second, n_kept=n_kept)
    similarities = different.at_rates(what.rates, total=what.n_different)
    if similarities[-1] > different.values[0]:
        raise DataError(
            f"Too many pairs of different individuals are equally alike, at {different.values[0]:.4f}: no similarity "
            f"lets only {what.rates[-1]:g} of them pass. Look for copies with `resight data check`, or ask for higher "
            "rates."
        )
    same = _Found(what.pairs.n_identities, similarities)
    for identity, values in what.pairs.same(one, second):
        same.add(identity, values)
    low, high, found_low, found_high = _drawn(what, different, same, seed)
    rows = np.stack([similarities, low, high, same.shares(), found_low, found_high], axis=1).tolist()
    slope, intercept = logistic(same.counts, different.counts)
    if not slope > 0:
        raise DataError(
            "Pairs of the same individual are not more alike than pairs of different ones: this encoder cannot tell "
            "them apart. Check the identities, or train it."
        )
    return Curve(
        thresholds=tuple(Threshold(rate, *row) for rate, row in zip(what.rates, rows, strict=True)),
        slope=slope,
        intercept=intercept,
        n_same=what.n_same,
        n_different=what.n_different,
        n_identities=what.pairs.n_identities,
        rule=what.rule,
        different=_shares(different, what.n_different),
    )


class _Found:
    """Counts the pairs of each identity, those at or above each threshold, and all in bins."""

    def __init__(self, n_identities: int, similarities: NDArray[np.float64]) -> None:
        self._similarities = similarities
        self.pairs = np.zeros(n_identities)
        self.above = np.zeros((n_identities, len(similarities)))
        self.counts = binned(np.empty(0, np.float32))

    def add(self, identity: int, values: NDArray[np.float32]) -> None:
        self.pairs[identity] += len(values)
        self.above[identity] += (values[:, None] >= self._similarities).sum(axis=0)
        self.counts += binned(values)

    def shares(self, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Of all pairs, those at or above each threshold; NaN where no identity with a pair has a weight."""
        w = np.ones(len(self.pairs)) if weights is None else weights
        n = w @ self.pairs
        return (w @ self.above) / n if n else np.full(self.above.shape[1], np.nan)


def _drawn(what: Plan, different: Different, same: _Found, seed: int) -> NDArray[np.float64]:
    """[4, R]: for each rate the ends of a 95 % interval of its threshold, and of the share found at the threshold."""
    generator, n = np.random.default_rng(seed), what.pairs.n_identities
    draws = []
    for _ in range(N_DRAWS):
        weights = np.bincount(generator.integers(n, size=n), minlength=n).astype(np.float64)
        total = what.pairs.n_different(weights)
        draws.append([different.at_rates(what.rates, total=total, weights=weights), same.shares(weights)])
    low, high = np.nanpercentile(np.array(draws), [2.5, 97.5], axis=0)
    return np.stack([low[0], high[0], low[1], high[1]])


def _shares(different: Different, total: float) -> tuple[tuple[float, float], ...]:
    """(similarity, share of the pairs that are at least so similar), four to a decade down to 30 pairs; rising."""
    n = int(4 * np.log10(total / MIN_ERRORS)) + 1
    shares = [0.5, *(10 ** (-k / 4) for k in range(2, n))]
    points = zip(different.at_rates(shares, total=total), shares, strict=True)
    rising = {float(similarity): share for similarity, share in points}
    return tuple(sorted(rising.items()))


def logistic(same: NDArray[np.int64], different: NDArray[np.int64]) -> tuple[float, float]:
    """Slope and intercept of the log odds of "same" by similarity, where both are as likely beforehand.

    same, different: counts of pairs in the bins of `binned`; each side weighs one half. The two ends are not quite
    certain, by Platt's (n + 1) / (n + 2), so that sides which do not overlap have an answer too (Platt 1999; in the
    form of Lin, Lin and Weng 2007, Machine Learning 68). A straight line of the log odds rises everywhere and goes on
    where there is no pair, which steps (isotonic regression) do not.
    """
    sides = [side / (2 * side.sum()) for side in (same, different)]
    certain = [(same.sum() + 1) / (same.sum() + 2), 1 / (different.sum() + 2)]
    used = np.flatnonzero(sides[0] + sides[1])
    weights = (sides[0] + sides[1])[used]
    targets = (sides[0][used] * certain[0] + sides[1][used] * certain[1]) / weights
    at = (EDGES[used] + EDGES[used + 1]) / 2
    middle, scale = weights @ at, np.sqrt(weights @ (at - weights @ at) ** 2) or 1.0
    x = (at - middle) / scale

    def loss(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = line[0] * x + line[1]
        error = weights * (1 / (1 + np.exp(-np.clip(odds, -500, 500))) - targets)
        return float(weights @ (np.logaddexp(0, odds) - targets * odds)), np.array([error @ x, error.sum()])

    slope, intercept = optimize.minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    return float(slope / scale), float(intercept - slope * middle / scale)
