"""What stands between a thing and its picture: light, weather, lens, sensor, and what is in the way."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pen import RGB
from PIL import Image, ImageDraw, ImageFilter

Pixels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Picture:
    """As it goes to a file: `quality` is the JPEG's. camera: text, of its kind."""

    image: Image.Image
    quality: int
    camera: str
    caption: str


@dataclass(frozen=True, slots=True)
class Lens:
    """gain: exposure on red, green and blue. gamma: above 1 darkens the middle. haze: share of grey over all.

    detail: share of the resolution that is left. smear: length of the movement in pixels, sideways. noise: standard
    deviation in grey levels. fall: how much darker the corners are, 0 to 1. grey: whether colours are lost.
    """

    gain: tuple[float, float, float]
    gamma: float
    haze: float
    detail: float
    smear: int
    noise: float
    fall: float
    quality: int
    grey: bool = False


def daylight(rng: np.random.Generator) -> Lens:
    cast = rng.lognormal(0, 0.05, 3) * rng.lognormal(0, 0.16)
    return Lens(
        gain=(float(cast[0]), float(cast[1]), float(cast[2])),
        gamma=float(rng.lognormal(0, 0.12)),
        haze=float(max(0, rng.normal(0.0, 0.12))),
        detail=float(rng.uniform(0.4, 1)),
        smear=int(rng.integers(2, 6)) if rng.random() < 0.15 else 1,
        noise=float(rng.uniform(1, 7)),
        fall=float(rng.uniform(0, 0.3)),
        quality=int(rng.integers(45, 93)),
    )


def night(rng: np.random.Generator) -> Lens:
    """Street lamps: dark, warm or cold, noisy."""
    lens, dim = daylight(rng), float(rng.uniform(0.35, 0.7))
    warm = float(rng.normal(1.15, 0.15))
    gain = (lens.gain[0] * dim * warm, lens.gain[1] * dim, lens.gain[2] * dim / warm)
    return replace(lens, gain=gain, noise=float(rng.uniform(5, 14)), fall=float(rng.uniform(0.2, 0.6)))


def infrared(rng: np.random.Generator) -> Lens:
    """A lamp beside the lens: grey, bright in the middle."""
    level = float(rng.uniform(0.6, 1.25))
    lens = replace(daylight(rng), gain=(level, level, level), grey=True, fall=float(rng.uniform(0.3, 0.8)))
    return replace(lens, noise=float(rng.uniform(3, 12)), gamma=float(rng.uniform(0.75, 1.3)))


def taken(image: Image.Image, size: tuple[int, int], lens: Lens, rng: np.random.Generator) -> Image.Image:
    """The picture of `size` (width, height) that comes out of a camera."""
    width, height = size
    coarse = (max(16, round(width * lens.detail)), max(16, round(height * lens.detail)))
    small = image.resize(coarse, Image.Resampling.BOX).resize(size, Image.Resampling.BILINEAR)
    values = np.asarray(small, dtype=np.float32) / 255
    if lens.grey:
        values = np.repeat(values @ np.array([[0.5], [0.3], [0.2]], dtype=np.float32), 3, axis=2)
    if lens.smear > 1:
        values = np.mean([np.roll(values, k - lens.smear // 2, axis=1) for k in range(lens.smear)], axis=0)
    values = values ** np.float32(lens.gamma) * np.asarray(lens.gain, dtype=np.float32)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    centre = rng.uniform(-0.4, 0.4, 2)
    values *= (1 - lens.fall * 0.5 * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2)).clip(0.1)[..., None]
    values += np.float32(lens.haze) * (np.float32(0.62) - values)
    grain = rng.standard_normal((height, width, 1 if lens.grey else 3), dtype=np.float32)
    return picture(255 * values + np.float32(lens.noise) * grain)


def picture(values: NDArray[np.float32] | NDArray[np.float64]) -> Image.Image:
    """Levels of 0 to 255 [H, W, 3], cut where they go beyond, as an image."""
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def smooth(rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int]) -> Pixels:
    """Noise [height, width] that changes about `cells` (columns, rows) times over the size; standard deviation ~1."""
    rough = rng.standard_normal((cells[1] + 1, cells[0] + 1), dtype=np.float32)
    values: Pixels = np.asarray(Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC))
    return values


def ground(rng: np.random.Generator, size: tuple[int, int], colour: RGB, depth: float = 0.12) -> Image.Image:
    """A surface of one colour with blotches, large and small."""
    light = 1 + depth * (smooth(rng, size, (3, 3)) + 0.5 * smooth(rng, size, (17, 17)))
    return picture(np.asarray(colour, dtype=np.float32) * light[..., None])


def clutter(image: Image.Image, rng: np.random.Generator, n: int) -> None:
    """Draws n things without meaning: blocks, bars and blobs of dull colours."""
    pen, (width, height) = ImageDraw.Draw(image), image.size
    for _ in range(n):
        level, kind = float(rng.uniform(30, 215)), rng.random()
        r, g, b = np.clip(level + rng.normal(0, 22, 3), 0, 255).astype(int).tolist()
        x, y = float(rng.uniform(-0.2, 1) * width), float(rng.uniform(-0.2, 1) * height)
        w, h = (float(value) for value in rng.lognormal(-1.6, 0.7, 2) * (width, height))
        if kind < 0.4:
            pen.rectangle((x, y, x + w, y + h), fill=(r, g, b))
        elif kind < 0.7:
            pen.ellipse((x, y, x + w, y + h), fill=(r, g, b))
        else:
            end = (x + float(rng.normal(0, width)), y + float(rng.normal(0, height)))
            pen.line((x, y, *end), fill=(r, g, b), width=int(rng.integers(2, 9)))


def obstructed(image: Image.Image, rng: np.random.Generator) -> None:
    """Draws what is in the way: a bar across the picture, or leaves in a corner."""
    pen, (width, height) = ImageDraw.Draw(image), image.size
    level = int(rng.integers(30, 190))
    tone = (level, level + int(rng.integers(-8, 8)), level + int(rng.integers(-12, 12)))
    if rng.random() < 0.6:
        upright, thick = rng.random() < 0.5, float(rng.uniform(0.02, 0.08)) * width
        start, end = (float(value) for value in rng.uniform(0, 1) + rng.normal(0, 0.08, 2))
        line = (start * width, 0, end * width, height) if upright else (0, start * height, width, end * height)
        pen.line(line, fill=tone, width=max(2, round(thick)))
        return
    x0, y0 = float(rng.integers(2) * width), float(rng.integers(2) * height)
    for x, y in rng.normal(0, 0.13, (14, 2)).tolist():
        x, y, radius = x0 + x * width, y0 + y * height, float(rng.uniform(0.02, 0.06)) * width
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tone)


def rained_on(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Streaks and a little blur."""
    wet = image.filter(ImageFilter.GaussianBlur(image.width / 200))
    pen, slant = ImageDraw.Draw(wet), float(rng.normal(0, 0.15))
    for x, y in rng.uniform(0, 1, (40, 2)).tolist():
        x, y, length = x * wet.width, y * wet.height, wet.height * 0.07
        pen.line((x, y, x + slant * length, y + length), fill=(176, 180, 186), width=1)
    return wet
