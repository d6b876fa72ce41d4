from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from resight.embedding_map import N_PLACED, lay_out
from resight.types import Embeddings, Record


def made(names: list[str | None], cameras: list[str | None], spread: float) -> tuple[Embeddings, list[Record]]:
    """Each identity around a direction of its own."""
    generator = np.random.default_rng(0)
    records = [Record(Path(f"/{k}.jpg"), *one) for k, one in enumerate(zip(names, cameras, strict=True))]
    known = sorted({name or "" for name in names})
    vectors = np.eye(len(known), 64)[[known.index(name or "") for name in names]]
    vectors = vectors + spread * generator.normal(size=(len(names), 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    none = (None,) * len(names)
    return Embeddings(vectors.astype(np.float32), None, ("",) * len(names), none, none, ("",) * len(names), ""), records


def test_who_is_alike_lies_together() -> None:
    names: list[str | None] = [f"p{k % 8}" for k in range(64)]
    pictures, records = made(names, ["a"] * 64, 0.05)
    found = lay_out(pictures, records, seed=1)
    assert found is not None
    assert found.records == tuple(records)
    assert found.places.shape == (64, 2)
    assert found.places.min(axis=0).tolist() == [0, 0]
    assert found.places.max(axis=0).tolist() == [1, 1]
    assert found.same_identity == 1
    assert found.same_camera == 1
    again = lay_out(pictures, records, seed=1)
    assert again is not None
    np.testing.assert_array_equal(found.places, again.places)


def test_unknown_cameras_and_identities_are_no_neighbours() -> None:
    pictures, records = made(["p", "p", "q", "q", None], [None] * 5, 0.05)
    found = lay_out(pictures, records, seed=0)
    assert found is not None
    assert found.records == tuple(records[:4])
    assert math.isnan(found.same_camera)


def test_whole_identities_are_drawn_until_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resight.embedding_map.N_PLACED", 20)
    pictures, records = made([f"p{k % 10}" for k in range(80)], ["a"] * 80, 0.1)
    found = lay_out(pictures, records, seed=0)
    assert found is not None
    assert len(found.records) == 16
    assert len({record.identity for record in found.records}) == 2
    pictures, records = made(["p"] * 30, ["a"] * 30, 0.1)
    one = lay_out(pictures, records, seed=0)
    assert one is not None
    assert len(one.records) == 20
    assert N_PLACED == 600


def test_very_few_pictures_have_no_map() -> None:
    assert lay_out(*made(["p", "p", "q"], ["a"] * 3, 0.1), seed=0) is None
