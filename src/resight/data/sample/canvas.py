"""A picture drawn twice at once: what colour every shape has, and how much light falls on it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

RGB = tuple[int, int, int]
Fill = RGB | Image.Image
"""A colour, or a picture of the sheet's size to cut out from."""

Pixels = NDArray[np.float32]
_Points = NDArray[np.complex128]

WIDTH: Final = 50
HEIGHT: Final = 128
"""Of a finished canvas, in pixels. Tight boxes are narrower than the pictures that benchmarks stretch them to."""

FINE: Final = 3
SHEET: Final = (FINE * WIDTH, FINE * HEIGHT)
"""Shapes are drawn FINE times finer, and averaged."""

_NEUTRAL: Final = 128
"""The grey level on the sheet of light that leaves a colour as it is."""

_SHARES: Final = np.array([[1.0], [0.74], [0.40]])
_LEVELS: Final = (0.67, 0.90, 1.07)
"""Nested outlines (shares of the radius, light on them) that make a shape look round."""


class Canvas:
    """Drawing sheets of FINE times the finished size.

    Points are complex numbers: pixels to the right + i · pixels down. light: from where it comes, −1 left to 1 right.
    """

    def __init__(self, background: Image.Image, light: float) -> None:
        self.colours = background
        self.shades = Image.new("L", background.size, _NEUTRAL)
        self.pen = ImageDraw.Draw(self.colours)
        self.shade_pen = ImageDraw.Draw(self.shades)
        self.towards_light = complex(0.45 * light, -0.2)

    def ribbon(
        self, spine: Sequence[complex], radii: Sequence[float], fill: Fill, *, gloss: float = 1.0, ends: str = "round"
    ) -> None:
        """A band around a rounded line, `radii` wide to each side, lit as if it were a tube.

        ends: "round", "flat", or "start" or "end" for the only one that is round. gloss: factor on the light.
        """
        band = _band(len(spine), ends)
        points, widths = np.array(spine, dtype=np.complex128), band.widths @ np.array(radii)
        along = band.along @ points
        along *= widths / (np.abs(along) + 1e-6)
        self._tube(band.points @ points + band.beyond * along, band.across * along, fill, gloss=gloss)

    def oval(self, centre: complex, rx: float, ry: float, fill: RGB) -> None:
        """An ellipse, lit as if it were a ball."""
        self._tube(centre, rx * _CIRCLE.real + 1j * ry * _CIRCLE.imag, fill, gloss=1.0)

    def _tube(self, middle: _Points | complex, edge: _Points, fill: Fill, *, gloss: float) -> None:
        """An outline, and inside it outlines that are smaller, brighter and nearer to the light."""
        lit = np.abs(edge) * self.towards_light
        outlines = _SHARES * (edge - lit) + (middle + lit)
        self._cut(outlines[0], fill)
        for outline, level in zip(_flat(outlines), _LEVELS, strict=True):
            self.shade_pen.polygon(outline, fill=_grey(level * gloss))

    def flat(self, outline: Sequence[complex], fill: RGB, *, level: float | None = None) -> None:
        """A polygon; level: the light on it, None leaves it as it is."""
        points = np.array(outline, dtype=np.complex128)
        self._cut(points, fill)
        if level is not None:
            self.shade_pen.polygon(_flat(points), fill=_grey(level))

    def dot(self, centre: complex, rx: float, ry: float, fill: RGB) -> None:
        """A small ellipse; the light on it stays."""
        self.pen.ellipse((centre.real - rx, centre.imag - ry, centre.real + rx, centre.imag + ry), fill=fill)

    def line(self, points: Sequence[complex], width: float, fill: RGB) -> None:
        """A line of one colour; the light on it stays."""
        self.pen.line(
            _flat(np.array(points, dtype=np.complex128)), fill=fill, width=max(1, round(width)), joint="curve"
        )

    def crease(self, points: Sequence[complex], width: float, level: float) -> None:
        """A line of light or shadow; the colours stay."""
        self.shade_pen.line(_flat(np.array(points, dtype=np.complex128)), fill=_grey(level), width=max(1, round(width)))

    def shadow(self, centre: complex, rx: float, ry: float, level: float) -> None:
        """An ellipse of shadow; the colours stay."""
        box = (centre.real - rx, centre.imag - ry, centre.real + rx, centre.imag + ry)
        self.shade_pen.ellipse(box, fill=_grey(level))

    def finished(self) -> Pixels:
        """The picture in finished size: float32 [HEIGHT, 3 · WIDTH], red, green, blue in turns, 0 to 255 and above."""
        shades = np.asarray(self.shades.reduce(FINE), dtype=np.float32)
        colours = np.asarray(self.colours.reduce(FINE)).reshape(HEIGHT, 3 * WIDTH)
        light: Pixels = colours * np.repeat(shades / _NEUTRAL, 3, axis=1)
        return light

    def _cut(self, outline: _Points, fill: Fill) -> None:
        if isinstance(fill, tuple):
            self.pen.polygon(_flat(outline), fill=fill)
            return
        x, y = math.floor(outline.real.min()), math.floor(outline.imag.min())
        box = (x, y, math.ceil(outline.real.max()) + 1, math.ceil(outline.imag.max()) + 1)
        mask = Image.new("L", (box[2] - x, box[3] - y))
        ImageDraw.Draw(mask).polygon(_flat(outline - complex(x, y)), fill=255)
        self.colours.paste(fill.crop(box), (x, y), mask)


def mixed(colour: RGB, other: RGB, share: float) -> RGB:
    """A colour with a share of another one in it."""
    r, g, b = (int((1 - share) * mine + share * its) for mine, its in zip(colour, other, strict=True))
    return r, g, b


_CIRCLE: Final = np.exp(2j * np.pi * np.arange(20) / 20)


def _flat(points: _Points) -> Any:
    """x and y in turns, as Pillow takes them; a list for each row of points."""
    return points.view(np.float64).tolist()


def _grey(level: float) -> int:
    return int(_NEUTRAL * min(level, 1.95))


@dataclass(frozen=True, slots=True)
class _Band:
    """What turns N corners into the outline of a band, M points there and M back: matrices [2M, N], factors [2M].

    points: the middle line. along: its direction, of any length. widths: half widths. beyond: how many half widths the
    middle is moved along the line, to round the ends. across: from the middle to the edge, in half widths along.
    """

    points: _Points
    along: _Points
    widths: NDArray[np.float64]
    beyond: NDArray[np.float64]
    across: _Points


@functools.cache
def _band(n: int, ends: str) -> _Band:
    """The corners are cut twice, as Chaikin does, the ends kept."""
    line = np.eye(n)
    for _ in range(2 if n > 2 else 0):
        cut = np.empty((2 * len(line) - 2, n))
        cut[0::2] = 0.75 * line[:-1] + 0.25 * line[1:]
        cut[1::2] = 0.25 * line[:-1] + 0.75 * line[1:]
        line = np.concatenate([line[:1], cut, line[-1:]])
    along = np.concatenate([line[1:2] - line[:1], line[2:] - line[:-2], line[-1:] - line[-2:-1]])
    rounded = (2 * (ends in ("round", "start")), 2 * (ends in ("round", "end")))
    rows = np.pad(np.arange(len(line)), rounded, mode="edge")
    beyond, narrowing = np.zeros(len(rows)), np.ones(len(rows))
    if rounded[0]:
        beyond[:2], narrowing[:2] = (-0.95, -0.7), (0.3, 0.7)
    if rounded[1]:
        beyond[-2:], narrowing[-2:] = (0.7, 0.95), (0.7, 0.3)
    there_and_back = np.concatenate([rows, rows[::-1]])
    return _Band(
        points=line[there_and_back].astype(complex),
        along=along[there_and_back].astype(complex),
        widths=line[there_and_back],
        beyond=np.concatenate([beyond, beyond[::-1]]),
        across=1j * np.concatenate([narrowing, -narrowing[::-1]]),
    )
