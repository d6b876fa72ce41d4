"""Similarity → same or not: thresholds at stated false-match rates, and a probability; in memory and as a file."""

from __future__ import annotations

import bisect
import contextlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from resight.embedder import Embedder
from resight.errors import CheckpointError, DataError

Verdict = Literal["match", "ask a person", "unknown"]

Rule = Literal["cross-camera", "any-camera", "other-picture", "any-picture"]
"""Which pairs of the same individual were compared; never a file with itself, but for the last.

cross-camera: two pictures that are not known to be of one camera. any-camera: two pictures. other-picture: a caption
and a picture that it was not written for. any-picture: a caption and any picture of its individual.
"""

FILE = "calibration.json"


@dataclass(frozen=True, slots=True)
class Threshold:
    """rate: share of pairs of different individuals that are at least this similar. low, high: 95 % interval of it.

    found: share of pairs of the same individual that are at least this similar, with its 95 % interval.
    """

    rate: float
    similarity: float
    low: float
    high: float
    found: float
    found_low: float
    found_high: float


@dataclass(frozen=True, slots=True)
class Curve:
    """What the similarity of two things says. thresholds: the loosest rate first, at least one.

    slope, intercept: of the logistic function that gives the probability when same and different are equally likely
    beforehand; slope > 0. n_same, n_different: pairs it was learned from, of n_identities. rule: which pairs of the
    same. different: (similarity, share of pairs of different individuals that are at least so similar), rising.
    """

    thresholds: tuple[Threshold, ...]
    slope: float
    intercept: float
    n_same: int
    n_different: int
    n_identities: int
    rule: Rule
    different: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not self.thresholds or not self.different or not self.slope > 0:
            raise ValueError(f"{len(self.thresholds)} thresholds, {len(self.different)} shares, slope {self.slope}")

    def judge(self, similarity: float) -> Verdict:
        """A match from the strictest threshold on, unknown below the loosest, and between them a person should look."""
        if similarity >= self.thresholds[-1].similarity:
            return "match"
        return "unknown" if similarity < self.thresholds[0].similarity else "ask a person"

    def probability(self, similarity: float) -> float:
        """That the two are the same, if they were as likely as not before."""
        odds = self.slope * similarity + self.intercept
        small = math.exp(-abs(odds))  # of a positive number exp may overflow
        return 1 / (1 + small) if odds >= 0 else small / (1 + small)

    def false_match_rate(self, similarity: float) -> float:
        """Share of pairs of different individuals that are at least so similar.

        Outside what was measured it is that of the end: at most so many above, at least so many below.
        """
        similarities = [point for point, _ in self.different]
        above = bisect.bisect_right(similarities, similarity)
        if above in (0, len(similarities)):
            return self.different[min(above, len(similarities) - 1)][1]
        (left, more), (right, fewer) = self.different[above - 1 : above + 1]
        return float(more * (fewer / more) ** ((similarity - left) / (right - left)))  # its logarithm runs straight


def chance_of_a_false_match(rate: float, n_rows: int) -> float:
    """Upper estimate of the share of searches among n_rows of others that bring up one of them or more.

    1 - (1 - rate)^n holds for independent pairs; rows that resemble each other are wrong together, hence less often.
    """
    return 1.0 if rate >= 1 else -math.expm1(n_rows * math.log1p(-rate))


@dataclass(frozen=True, slots=True)
class Calibration:
    """pictures: of two pictures' embeddings. words: of a text and a picture, by aligned vectors; None without captions.

    encoder: fingerprint of the encoder that it belongs to. data: fingerprint of the pictures it was learned from.
    notes: what its user should know, a line each.
    """

    encoder: str
    data: str
    pictures: Curve
    words: Curve | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Calibration:
        """Raises DataError for anything but what `as_dict` gives, also by way of JSON."""
        try:
            curves = [None if values[name] is None else _curve(values[name]) for name in ("pictures", "words")]
            if curves[0] is None:
                raise ValueError("pictures: null")
            return Calibration(values["encoder"], values["data"], curves[0], curves[1], tuple(values["notes"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            found = " ".join(str(error).split())
            raise DataError(f"The calibration is damaged ({found}). Make it again with `resight calibrate`.") from error


def _curve(values: Mapping[str, Any]) -> Curve:
    numbers: dict[str, Any] = {name: float(values[name]) for name in ("slope", "intercept")}
    counts: dict[str, Any] = {name: int(values[name]) for name in ("n_same", "n_different", "n_identities")}
    thresholds = tuple(Threshold(**{name: float(n) for name, n in one.items()}) for one in values["thresholds"])
    different = tuple((float(similarity), float(share)) for similarity, share in values["different"])
    return Curve(**dict(values) | numbers | counts | {"thresholds": thresholds, "different": different})


def write(calibration: Calibration, file: Path) -> None:
    """Writes it as JSON, whole or not at all. Raises DataError when it cannot be written."""
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        new.write_text(json.dumps(calibration.as_dict(), indent=2) + "\n", encoding="utf-8")
        new.replace(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be written ({error}). Free the disk or name another place.") from error
    finally:
        with contextlib.suppress(OSError):
            new.unlink()


def read(file: Path) -> Calibration:
    """What `write` wrote. Raises DataError when it is missing, damaged, or something else."""
    try:
        return Calibration.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error}). Make it with `resight calibrate`.") from error
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def stored(encoder: Embedder, folder: Path) -> Calibration | None:
    """The calibration in the encoder's folder, None where there is none, or no folder.

    Raises DataError when it is damaged, and as `require_same` does.
    """
    return require_same(read(folder / FILE), encoder, str(folder / FILE)) if (folder / FILE).is_file() else None


def require_same(calibration: Calibration, encoder: Embedder, place: str) -> Calibration:
    """The calibration. Raises CheckpointError when it was learned for another encoder; place: where it is kept."""
    if calibration.encoder != encoder.fingerprint():
        raise CheckpointError(
            f"{place}: the calibration belongs to encoder {calibration.encoder}, not to {encoder.fingerprint()}. "
            "Learn it again with `resight calibrate`."
        )
    return calibration
