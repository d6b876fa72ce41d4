"""Embeddings as places on a plane, so that a person sees who lies beside whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from resight.types import Embeddings, Record

N_PLACED = 600  # pictures; more are a cloud, and take more than a few seconds on a processor
PERPLEXITY = 15.0  # an identity has about as many pictures


@dataclass(frozen=True, slots=True)
class EmbeddingMap:
    """records [N], and places [N, 2] from 0 to 1.

    same_identity, same_camera: share of the pictures whose nearest neighbour on the plane shows the same one; nan where
    none is known.
    """

    records: tuple[Record, ...]
    places: NDArray[np.float32]
    same_identity: float
    same_camera: float


def lay_out(pictures: Embeddings, records: Sequence[Record], *, seed: int) -> EmbeddingMap | None:
    """The pictures of identities drawn at random, whole ones, until N_PLACED; None for fewer than four pictures.

    pictures: a row a record. By t-SNE (van der Maaten and Hinton 2008) of the cosine distances, from places that the
    seed draws.
    """
    chosen = _whole_identities(records, seed)
    if len(chosen) < 4:
        return None
    vectors = pictures.embedding[chosen].astype(np.float64)
    tsne = TSNE(
        perplexity=min(PERPLEXITY, (len(chosen) - 1) / 3), metric="cosine", init="random", random_state=seed, n_jobs=1
    )
    places = tsne.fit_transform(vectors)
    low, high = places.min(axis=0), places.max(axis=0)
    places = (places - low) / np.maximum(high - low, 1e-12)
    kept = tuple(records[row] for row in chosen)
    shared = _neighbours_share(places, kept)
    return EmbeddingMap(kept, places.astype(np.float32), *shared)


def _whole_identities(records: Sequence[Record], seed: int) -> list[int]:
    """Rows, in their order: of known identities, whole ones while they fit; at least the first of them."""
    of: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        if record.identity is not None:
            of.setdefault(record.identity, []).append(row)
    names = sorted(of)
    chosen: list[int] = []
    for number in np.random.default_rng(seed).permutation(len(names)):
        rows = of[names[number]]
        if len(chosen) + len(rows) <= N_PLACED:
            chosen += rows
        elif not chosen:
            chosen = rows[:N_PLACED]
    return sorted(chosen)


def _neighbours_share(places: NDArray[np.float64], records: Sequence[Record]) -> tuple[float, float]:
    """How often the nearest on the plane shows the same identity, and the same camera."""
    apart = np.square(places[:, None] - places[None]).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = apart.argmin(axis=1).tolist()
    found = []
    for of in ([record.identity for record in records], [record.camera for record in records]):
        pairs = [(own, of[other]) for own, other in zip(of, nearest, strict=True) if own is not None]
        found.append(float(np.mean([own == other for own, other in pairs])) if pairs else float("nan"))
    return found[0], found[1]
