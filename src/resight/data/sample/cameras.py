"""Six cameras: where each hangs, and what it makes of the light that it gets."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from resight.data.sample.canvas import HEIGHT, WIDTH, Pixels

SIZE: Final = (64, 128)
"""Width and height of a picture in pixels: Market-1501's."""


@dataclass(frozen=True, slots=True)
class Camera:
    """yaws: from which sides it sees people, in radians as in Stance. pitch: how far it looks down, in radians.

    gain: exposure, 1 is right. sun: how much brighter the sunny half of its pictures is; 1 indoors. cast: factors on
    red, green and blue. lift: haze, in grey levels. detail: share of the resolution that its lens leaves.
    noise: standard deviation, in grey levels. quality: of its JPEGs. occluders: what may stand before people there.
    """

    place: str
    yaws: tuple[float, ...]
    pitch: float
    gain: float
    sun: float
    cast: tuple[float, float, float]
    lift: float
    detail: float
    noise: float
    quality: int
    occluders: tuple[str, ...]


FRONT, BACK, RIGHT, LEFT = 0.0, math.pi, 0.5 * math.pi, -0.5 * math.pi

CAMERAS: Final = (
    Camera(
        "street", (FRONT, FRONT, 0.5), 0.10, 1.04, 1.12, (1.03, 1.0, 0.96), 0, 0.95, 3, 88, ("pole", "passer-by", "car")
    ),
    Camera("park", (BACK, BACK, 2.6), 0.18, 1.03, 1.12, (0.97, 1.02, 0.97), 6, 0.80, 4, 78, ("bush", "passer-by")),
    Camera("corridor", (RIGHT, LEFT), 0.08, 0.94, 1.0, (1.05, 1.0, 0.89), 4, 0.62, 6, 72, ("passer-by",)),
    Camera("shops", (0.7, -0.7), 0.28, 1.00, 1.0, (0.95, 0.99, 1.06), 8, 0.42, 4, 66, ("pole", "passer-by")),
    Camera(
        "car park", (2.4, -2.4, RIGHT), 0.34, 0.92, 1.10, (0.98, 1.0, 1.03), 22, 0.55, 5, 62, ("car", "car", "pole")
    ),
    Camera("station", (FRONT, BACK, LEFT), 0.22, 0.78, 1.0, (1.0, 1.03, 0.92), 5, 0.50, 8, 55, ("pole", "passer-by")),
)
"""Camera 1 is the first."""


def exposed(light: Pixels, camera: Camera, rng: np.random.Generator) -> Image.Image:
    """The picture that a camera takes of what Canvas.finished gives: its exposure, colours, sharpness and noise."""
    sunny = camera.sun if rng.random() < 0.5 else 1.0
    gain = camera.gain * sunny * rng.lognormal(0, 0.07) * np.asarray(camera.cast) * rng.normal(1, 0.02, 3)
    haze = np.float32(camera.lift * rng.uniform(0.6, 1.4))
    values = light * np.tile(gain * (1 - haze / 255), WIDTH).astype(np.float32) + haze
    # Bright light is held back, as cameras do, so that white cloth in the sun keeps its folds.
    image = _image(np.minimum(values, np.float32(0.4) * values + np.float32(120)))
    detail = camera.detail * rng.uniform(0.8, 1.05)
    if detail < 1:
        image = image.resize((round(WIDTH * detail), round(HEIGHT * detail)), Image.Resampling.BOX)
    width, height = SIZE
    pixels = np.asarray(image.resize(SIZE, Image.Resampling.BILINEAR)).reshape(height, 3 * width)
    x, y = rng.integers(0, SIZE).tolist()
    return _image(pixels + np.float32(camera.noise) * _grain()[y : y + height, 3 * x : 3 * (x + width)])


@functools.cache
def _grain() -> Pixels:
    """Noise to cut from, twice SIZE: of standard deviation 1, half of its power the same in all colours.

    Fresh noise for every picture would cost as much as a quarter of its drawing.
    """
    rng, shape = np.random.default_rng(0), (2 * SIZE[1], 2 * SIZE[0])
    both = rng.standard_normal((*shape, 3)) + rng.standard_normal((*shape, 1))
    return (both / 2**0.5).astype(np.float32).reshape(shape[0], -1)


def _image(values: Pixels) -> Image.Image:
    """Rows of red, green, blue as a picture."""
    height, width = values.shape
    return Image.fromarray(np.clip(values, 0, 255, out=values).astype(np.uint8).reshape(height, width // 3, 3))
