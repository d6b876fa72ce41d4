"""Similarity → same or not: thresholds at stated false-match rates, and a probability."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["match", "ask a person", "unknown"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """rate: share of pairs of different individuals that are at least this similar. low, high: 95 % interval of it."""

    rate: float
    similarity: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Curve:
    """What the similarity of two things says. thresholds: the loosest rate first, at least one.

    slope, intercept: of the logistic function that gives the probability when same and different are equally likely
    beforehand. n_same, n_different: pairs it was learned from, of n_identities.
    """

    thresholds: tuple[Threshold, ...]
    slope: float
    intercept: float
    n_same: int
    n_different: int
    n_identities: int

    def judge(self, similarity: float) -> Verdict:
        """A match from the strictest threshold on, unknown below the loosest, and between them a person should look."""
        if similarity >= self.thresholds[-1].similarity:
            return "match"
        return "unknown" if similarity < self.thresholds[0].similarity else "ask a person"

    def probability(self, similarity: float) -> float:
        """That the two are the same, if they were as likely as not before."""
        return 1 / (1 + math.exp(-(self.slope * similarity + self.intercept)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """pictures: of two pictures' embeddings. words: of a text and a picture, by aligned vectors; None without captions.

    encoder: fingerprint of the encoder that it belongs to. data: fingerprint of the pictures it was learned from.
    """

    encoder: str
    data: str
    pictures: Curve
    words: Curve | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Calibration:
        """Raises KeyError or TypeError for anything but what `as_dict` gives."""
        words = values["words"]
        return Calibration(
            values["encoder"], values["data"], _curve(values["pictures"]), None if words is None else _curve(words)
        )


def _curve(values: Mapping[str, Any]) -> Curve:
    thresholds = tuple(Threshold(**threshold) for threshold in values["thresholds"])
    return Curve(**dict(values) | {"thresholds": thresholds})
