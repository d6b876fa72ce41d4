"""A pen that draws in units of its own: where they lie on the sheet, and how colours come out, is said once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

RGB = tuple[int, int, int]
Points = NDArray[np.complexfloating[Any, Any]]
"""To the right + i · down."""

_TURN = np.exp(2j * np.pi * np.arange(24) / 24)


def identical(colour: RGB) -> RGB:
    return colour


@dataclass(frozen=True, slots=True)
class Pen:
    """place: units → pixels of the sheet. unit: pixels in one unit. tint: what becomes of a colour.

    outline: width of the line around shapes in units, 0 for none; its colour is the shape's own, times `dark`.
    relief: how much brighter the middle of a shape is than its edge, 0 to 1.
    """

    sheet: ImageDraw.ImageDraw
    place: Callable[[Points], Points]
    unit: float
    tint: Callable[[RGB], RGB] = identical
    outline: float = 0.0
    dark: float = 0.0
    relief: float = 0.0

    def shape(self, outline: Sequence[complex] | Points, fill: RGB) -> None:
        """A polygon."""
        points, colour = np.asarray(outline, dtype=np.complex128), self.tint(fill)
        self.sheet.polygon(_flat(self.place(points)), fill=colour)
        if self.relief:
            middle = points.mean() - 0.03 - 0.05j
            for share, light in ((0.78, 0.5), (0.5, 1.0)):
                inner = self.place(middle + share * (points - middle))
                self.sheet.polygon(_flat(inner), fill=lighter(colour, light * self.relief))
        if self.outline:
            edge = _flat(self.place(np.append(points, points[:2])))
            self.sheet.line(edge, fill=scaled(colour, self.dark), width=self._pixels(self.outline), joint="curve")

    def blob(self, corners: Sequence[complex], fill: RGB) -> None:
        """A closed curve inside a polygon."""
        self.shape(rounded(np.asarray(corners, dtype=np.complex128)), fill)

    def oval(self, centre: complex, rx: float, ry: float, fill: RGB, *, turn: float = 0.0) -> None:
        """turn: clockwise, in radians."""
        self.shape(centre + np.exp(1j * turn) * (rx * _TURN.real + 1j * ry * _TURN.imag), fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: RGB) -> None:
        self.shape(
            np.array([complex(left, top), complex(right, top), complex(right, bottom), complex(left, bottom)]), fill
        )

    def line(self, points: Sequence[complex] | Points, width: float, fill: RGB) -> None:
        """A line without an outline; width in units."""
        placed = self.place(np.asarray(points, dtype=np.complex128))
        self.sheet.line(_flat(placed), fill=self.tint(fill), width=self._pixels(width), joint="curve")

    def arc(self, centre: complex, rx: float, ry: float, start: float, end: float, width: float, fill: RGB) -> None:
        """Part of an ellipse as a line; angles clockwise from the right, in shares of a turn."""
        angles = 2 * math.pi * np.linspace(start, end, 14)
        self.line(centre + rx * np.cos(angles) + 1j * ry * np.sin(angles), width, fill)

    def _pixels(self, width: float) -> int:
        return max(1, round(width * self.unit))


def star(n: int, inner: float, *, turn: float = 0.0) -> Points:
    """Corners of a star with n points that reach 1 and dents at `inner`; the first points up."""
    radii = np.where(np.arange(2 * n) % 2, inner, 1.0)
    spikes: Points = -1j * radii * np.exp(1j * (np.pi * np.arange(2 * n) / n + turn))
    return spikes


def regular(n: int, *, turn: float = 0.0) -> Points:
    """Corners of a regular polygon of radius 1; the first is up."""
    corners: Points = -1j * np.exp(1j * (2 * np.pi * np.arange(n) / n + turn))
    return corners


def rounded(corners: Points) -> Points:
    """A closed polygon whose corners are cut twice (Chaikin 1974)."""
    for _ in range(2):
        following = np.roll(corners, -1)
        corners = np.stack([0.75 * corners + 0.25 * following, 0.25 * corners + 0.75 * following], axis=1).ravel()
    return corners


def scaled(colour: RGB, factor: float) -> RGB:
    r, g, b = (min(255, int(value * factor)) for value in colour)
    return r, g, b


def lighter(colour: RGB, share: float) -> RGB:
    """Mixed with a share of white."""
    r, g, b = (int(value + share * (255 - value)) for value in colour)
    return r, g, b


def _flat(points: Points) -> list[float]:
    values: list[float] = np.ascontiguousarray(points).view(np.float64).tolist()
    return values
