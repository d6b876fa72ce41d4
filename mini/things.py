"""Pictures of small drawn things: each designer draws every thing, in a hand that is recognisable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import faces
import food
import nature
import numpy as np
import objects
import signs
from nuisance import Picture, daylight, picture, taken
from pen import RGB, Pen, Points
from PIL import Image, ImageDraw
from words import fitting, pick, sentence

MOTIFS: Final = (*faces.MOTIFS, *food.MOTIFS, *nature.MOTIFS, *objects.MOTIFS, *signs.MOTIFS)
"""Each draws a thing whose choices come from a generator, and gives the words for it, without an article."""

_SHEET: Final = 208


@dataclass(frozen=True, slots=True)
class Designer:
    """outline, dark: of the line around shapes, in units, and its brightness. relief: of shapes, as in Pen.

    saturation, light: factors on colours. hue: how far they turn, −1 to 1 is a third of the circle. wobble: how far
    lines stray, in units.
    """

    style: tuple[str, ...]
    outline: float
    dark: float
    relief: float
    saturation: float
    light: float
    hue: float
    wobble: float


DESIGNERS: Final = (
    Designer(("a flat style", "flat colours"), 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.03),
    Designer(("an outlined style", "bold black outlines"), 0.06, 0.0, 0.0, 1.1, 1.05, 0.03, 0.04),
    Designer(("a shaded style", "soft shading"), 0.0, 0.0, 0.35, 0.95, 0.92, -0.03, 0.03),
    Designer(("a thin outlined style", "thin dark outlines"), 0.03, 0.4, 0.0, 0.8, 1.12, 0.05, 0.05),
    Designer(("a glossy style", "glossy shading"), 0.035, 0.6, 0.5, 1.15, 0.9, -0.06, 0.03),
    Designer(("pale colours", "a pastel style"), 0.04, 0.7, 0.12, 0.6, 1.2, 0.0, 0.06),
)


def pictures(rng: np.random.Generator, n: int) -> Iterator[Picture]:
    """n pictures of one thing by 2 to 4 designers, who are its cameras."""
    motif, seed = pick(rng, MOTIFS), int(rng.integers(2**31))
    designers = rng.choice(len(DESIGNERS), int(rng.integers(2, 5)), replace=False)
    hands = {int(designer): int(rng.integers(2**31)) for designer in designers}
    for k in range(n):
        designer = int(designers[k % len(designers)])
        sheet, said = _drawn(motif, seed, DESIGNERS[designer], hands[designer], rng)
        image, quality = _kept(sheet, rng)
        caption = fitting(partial(_caption, said, DESIGNERS[designer], rng))
        yield Picture(image, quality, str(designer + 1), caption)


def _drawn(
    motif: Callable[[Pen, np.random.Generator], str], seed: int, designer: Designer, hand: int, rng: np.random.Generator
) -> tuple[Image.Image, str]:
    """The thing on white. seed: what the thing is. hand: how this designer bends this thing."""
    own = np.random.default_rng(hand)
    bend, phase = own.normal(0, designer.wobble, 4), own.uniform(0, 6.28, 4)
    squash, turn = 1 + own.normal(0, 0.06), own.normal(0, 0.05) + rng.normal(0, 0.03)
    zoom = _SHEET / 2 * 0.88 * float(rng.uniform(0.82, 1.05))
    centre = (1 + 1j) * _SHEET / 2 + complex(*rng.normal(0, 0.03 * _SHEET, 2).tolist())

    def place(points: Points) -> Points:
        x, y = points.real, points.imag
        x2 = x * squash + bend[0] * np.sin(2 * y + phase[0]) + bend[1] * np.sin(3 * x + phase[1])
        y2 = y / squash + bend[2] * np.sin(2 * x + phase[2]) + bend[3] * np.sin(3 * y + phase[3])
        placed: Points = centre + zoom * np.exp(1j * turn) * (x2 + 1j * y2)
        return placed

    sheet = Image.new("RGB", (_SHEET, _SHEET), (255, 255, 255))
    tint = _tint(designer, own)
    pen = Pen(ImageDraw.Draw(sheet), place, zoom, tint, designer.outline, designer.dark, designer.relief)
    return sheet, motif(pen, np.random.default_rng(seed))


def _tint(designer: Designer, own: np.random.Generator) -> Callable[[RGB], RGB]:
    """How this designer mixes colours."""
    gains = own.normal(1, 0.05, 3) * designer.light
    swap = designer.hue + float(own.normal(0, 0.02))

    def tint(colour: RGB) -> RGB:
        values = np.asarray(colour, dtype=float)
        grey = values.mean()
        values = grey + designer.saturation * (values - grey)
        values += swap * (np.roll(values, 1) - values)
        r, g, b = np.clip(values * gains, 0, 255).astype(int).tolist()
        return r, g, b

    return tint


def _kept(sheet: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, int]:
    """Most as they are; some scaled down, or photographed from a screen."""
    side = int(rng.integers(96, 145))
    quality = int(rng.integers(60, 96))
    if rng.random() < 0.15:
        lens = daylight(rng)
        return taken(sheet, (side, side), lens, rng), lens.quality
    if rng.random() < 0.3:
        small = int(rng.integers(32, 72))
        sheet = sheet.resize((small, small), Image.Resampling.BOX)
    image = sheet.resize((side, side), Image.Resampling.BILINEAR)
    if rng.random() < 0.15:
        paper = np.asarray(rng.uniform(215, 255, 3), dtype=np.float32) / 255
        image = picture(np.asarray(image, dtype=np.float32) * paper)
    return image, quality


def _caption(said: str, designer: Designer, rng: np.random.Generator) -> str:
    start = pick(rng, ("a", "an icon of a", "an emoji of a", "a symbol of a", "a small drawing of a", "a picture of a"))
    end = pick(
        rng, ("", f"in {pick(rng, designer.style)}", f"with {designer.style[1]}", "on a white background", "on white")
    )
    if "with" in said:
        end = end.replace("with", "in", 1)
    if rng.random() < 0.25:
        return sentence(f"the {pick(rng, ('icon', 'emoji', 'drawing', 'symbol'))} shows a {said} {end}")
    return sentence(f"{start} {said} {end}")
