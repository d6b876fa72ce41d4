"""Coats of animals as textures: patches, stripes, spots, nets; an individual's own, drawn once from its generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from nuisance import smooth
from numpy.typing import NDArray
from pen import RGB
from scipy.spatial import cKDTree

SIZE: Final = 128
"""Rows and columns of a texture; both stand for −1 to 1."""

Share = NDArray[np.float32]
"""[SIZE, SIZE], 0 to 1: how much of the second colour shows."""

_V, _U = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j].astype(np.float32)


def edge(values: NDArray[np.float32], softness: float = 0.06) -> Share:
    """1 where values are above 0, 0 below, and a soft step between."""
    share: Share = np.clip(0.5 + values / (2 * softness), 0, 1)
    return share


def patches(rng: np.random.Generator) -> Share:
    """Large blotches, as on cows: smooth noise above a level; hardly any to nearly all."""
    cells = int(rng.integers(2, 6))
    field = smooth(rng, (SIZE, SIZE), (cells, cells)) + 0.25 * smooth(rng, (SIZE, SIZE), (14, 14))
    return edge(field - np.float32(rng.uniform(-1.0, 0.9)), 0.12)


def stripes(rng: np.random.Generator, *, upright: float) -> Share:
    """Bent bands. upright: 1 for bands from top to bottom, 0 for lying ones."""
    slant = upright * _U + (1 - upright) * _V
    bend = 0.35 * smooth(rng, (SIZE, SIZE), (3, 3)) + 0.10 * smooth(rng, (SIZE, SIZE), (9, 9))
    phase = np.float32(rng.uniform(7, 15)) * (slant + 0.7 * bend + 0.25 * np.abs(_U) * np.float32(rng.normal(0, 1)))
    return edge(np.sin(2 * phase) + np.float32(rng.uniform(-0.4, 0.4)), 0.35)


def spots(rng: np.random.Generator) -> Share:
    """Separate dots of an individual size."""
    n, radius = int(rng.integers(25, 140)), float(rng.uniform(0.04, 0.11))
    distance, which = cKDTree(rng.uniform(-1.1, 1.1, (n, 2))).query(_grid())
    sizes = radius * rng.lognormal(0, 0.35, n)
    return edge((sizes[which] - distance).astype(np.float32).reshape(SIZE, SIZE), 0.015)


def net(rng: np.random.Generator) -> Share:
    """Fields with pale lines between them, as on giraffes."""
    n = int(rng.integers(25, 80))
    distance, _ = cKDTree(rng.uniform(-1.15, 1.15, (n, 2))).query(_grid() + rng.normal(0, 0.01, (1, 2)), k=2)
    gap = (distance[:, 1] - distance[:, 0]).astype(np.float32).reshape(SIZE, SIZE)
    return edge(gap - np.float32(rng.uniform(0.04, 0.09)) - 0.02 * smooth(rng, (SIZE, SIZE), (12, 12)), 0.02)


def speckle(rng: np.random.Generator) -> Share:
    """Fine blotches, as on seals and roans."""
    cells = int(rng.integers(12, 26))
    field = smooth(rng, (SIZE, SIZE), (cells, cells)) + 0.5 * smooth(rng, (SIZE, SIZE), (4, 4))
    return edge(field - np.float32(rng.uniform(0.0, 1.1)), 0.25)


def plain(rng: np.random.Generator) -> Share:
    """Nothing but a breath of the second colour from below."""
    return edge(_V - np.float32(rng.uniform(0.5, 1.3)) + 0.3 * smooth(rng, (SIZE, SIZE), (3, 3)), 0.3)


PATTERNS: Final[dict[str, Callable[[np.random.Generator], Share]]] = {
    "patches": patches,
    "stripes": lambda rng: stripes(rng, upright=0.25),
    "bars": lambda rng: stripes(rng, upright=1.0),
    "spots": spots,
    "net": net,
    "speckle": speckle,
    "plain": plain,
}


def blaze(rng: np.random.Generator, kind: str) -> Share:
    """A pale mark down the middle of a face: "broad", "narrow", "star", "snip" or "none"."""
    if kind == "none":
        return np.zeros((SIZE, SIZE), dtype=np.float32)
    sway = np.float32(rng.normal(0, 0.05)) + 0.05 * smooth(rng, (SIZE, SIZE), (1, 4))
    if kind in ("star", "snip"):
        centre = -0.42 if kind == "star" else 0.42
        size = float(rng.uniform(0.12, 0.22))
        return edge(np.float32(size) - np.hypot(_U + sway, 0.8 * (_V - np.float32(centre))), 0.03)
    half = float(rng.uniform(0.16, 0.32)) if kind == "broad" else float(rng.uniform(0.06, 0.11))
    flare = np.float32(rng.uniform(-0.1, 0.2)) * _V + np.float32(rng.uniform(0, 0.15)) * _V**2
    width = np.float32(half) + flare + 0.04 * smooth(rng, (SIZE, SIZE), (2, 7))
    return edge(width - np.abs(_U + sway), 0.03)


def coloured(base: RGB, second: RGB, share: Share, rng: np.random.Generator) -> NDArray[np.float32]:
    """Levels [SIZE, SIZE, 3] of a coat with some fur in it."""
    fur = 1 + 0.05 * smooth(rng, (SIZE, SIZE), (40, 20)) + 0.05 * smooth(rng, (SIZE, SIZE), (5, 5))
    colours = np.asarray((base, second), dtype=np.float32)
    levels: NDArray[np.float32] = (colours[0] + share[..., None] * (colours[1] - colours[0])) * fur[..., None]
    return levels


def _grid() -> NDArray[np.float32]:
    points: NDArray[np.float32] = np.stack([_U.ravel(), _V.ravel()], axis=1)
    return points
