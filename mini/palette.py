"""Colours that have names."""

from __future__ import annotations

from typing import Final

import numpy as np
from pen import RGB

HUES: Final[dict[str, RGB]] = {
    "red": (214, 44, 44),
    "orange": (242, 140, 36),
    "yellow": (252, 210, 60),
    "light green": (150, 206, 84),
    "green": (52, 152, 72),
    "dark green": (28, 94, 60),
    "turquoise": (52, 190, 186),
    "light blue": (122, 192, 240),
    "blue": (44, 104, 208),
    "dark blue": (32, 48, 116),
    "purple": (132, 72, 180),
    "pink": (244, 140, 178),
    "brown": (134, 84, 50),
    "beige": (228, 200, 156),
    "white": (246, 246, 244),
    "grey": (150, 154, 160),
    "dark grey": (84, 88, 94),
    "black": (38, 38, 42),
}
INK: Final[RGB] = (52, 44, 44)
"""Of eyes, mouths and small lines."""


def hue(rng: np.random.Generator, *besides: str) -> tuple[str, RGB]:
    """A colour's name and its levels, a little off; not one of those named."""
    names = [name for name in HUES if name not in besides]
    name = names[int(rng.integers(len(names)))]
    return name, near(rng, HUES[name])


def near(rng: np.random.Generator, colour: RGB) -> RGB:
    """A colour a little off, as paint, fur and cloth of one name are."""
    r, g, b = np.clip(np.asarray(colour) * rng.uniform(0.88, 1.12) + rng.uniform(-8, 8, 3), 6, 248).astype(int).tolist()
    return r, g, b
