"""A made-up data set as embeddings: well separated identities, seen by two cameras that each shift what they see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from resight.types import Embeddings, Record

WIDTH = 32


@dataclass(frozen=True)
class Drawn:
    """Vectors before a fault is planted: centres [n, D] of the identities, and of each picture who is really shown."""

    records: list[Record]
    pictures: Embeddings
    truth: NDArray[np.int64]

    def named(self, names: list[str | None]) -> Drawn:
        records = [Record(r.path, name, r.camera, split=r.split) for r, name in zip(self.records, names, strict=True)]
        return Drawn(records, self.pictures, self.truth)

    @property
    def names(self) -> list[str | None]:
        return [record.identity for record in self.records]

    @property
    def sides(self) -> list[str]:
        return [record.split for record in self.records]


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Drawn]:
    """draw(n_identities, n_pictures of each): identities "0", "1", …; the first half of the pictures by camera a."""

    def make(n_identities: int = 12, n_pictures: int = 6, *, noise: float = 0.35, seed: int = 0) -> Drawn:
        generator = np.random.default_rng(seed)
        centres = 2 * generator.standard_normal((n_identities, WIDTH)) / WIDTH**0.5
        shifts = generator.standard_normal((2, WIDTH)) / WIDTH**0.5
        truth = np.repeat(np.arange(n_identities), n_pictures)
        cameras = np.tile(np.arange(n_pictures) * 2 // n_pictures, n_identities)
        vectors = centres[truth] + shifts[cameras] + noise * generator.standard_normal((len(truth), WIDTH)) / WIDTH**0.5
        records = [
            Record(tmp_path / f"{identity}/{k}.png", str(identity), "ab"[camera])
            for k, (identity, camera) in enumerate(zip(truth, cameras, strict=True))
        ]
        embedding = unit(vectors)
        pictures = Embeddings(
            embedding,
            embedding,
            tuple(str(r.path) for r in records),
            tuple(r.identity for r in records),
            tuple(r.camera for r in records),
            ("",) * len(records),
            "made-up",
        )
        return Drawn(records, pictures, truth)

    return make
