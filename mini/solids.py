"""What a vehicle is made of, and from where it is seen.

Metres: x forward, y to the left, z up. A solid's profile runs from the front's foot over the roof to the rear's foot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pen import RGB, Points

Corners = NDArray[np.float64]
"""[..., 3] in metres."""


@dataclass(frozen=True, slots=True)
class Paints:
    body: RGB
    second: RGB
    cargo: RGB
    mark: RGB
    rider: RGB


@dataclass(frozen=True, slots=True)
class Lamp:
    """centre: to the right + i · down, in pixels of the sheet, as is the radius. colour: of its glow."""

    centre: complex
    radius: float
    colour: RGB


@dataclass(frozen=True, slots=True)
class Solid:
    """profile: (x, z, half width) of each corner. parts: what lies between neighbours: "front", "glass", "roof", …

    windows: panes on its sides, as (x, z) corners. fill: its colour.
    """

    profile: tuple[tuple[float, float, float], ...]
    parts: tuple[str, ...]
    fill: RGB
    windows: tuple[tuple[tuple[float, float], ...], ...] = ()
    marked: bool = True


@dataclass(frozen=True, slots=True)
class Vehicle:
    """wheels: (x, radius) of each axle. style: seed of the small things. marks: "stripe", "lettering", … it carries."""

    kind: str
    solids: tuple[Solid, ...]
    wheels: tuple[tuple[float, float], ...]
    width: float
    paints: Paints
    marks: frozenset[str]
    style: int

    def details(self, view: View) -> list[str]:
        """What there is to say of it from there; names of colours stand in braces."""
        side, front = abs(math.cos(view.yaw)) > 0.4, math.sin(view.yaw) > 0.5
        shown = {
            "stripe": (side, "a {mark} stripe along the side"),
            "lettering": (side, "{mark} lettering on the side"),
            "logo": (side, "a {mark} logo on the side"),
            "two-tone": (True, "a {second} lower half"),
            "dark roof": (view.pitch > 0.2, "a {second} roof"),
            "rack": (True, "a roof rack"),
            "taxi sign": (True, "a taxi sign on the roof"),
            "bonnet stripes": (front and view.pitch > 0.15, "{mark} stripes on the bonnet"),
            "cargo": (True, "a {cargo} box"),
            "rider": (True, "a rider in {rider}"),
            "tank": (True, "a {cargo} tank"),
        }
        return [text for mark, (visible, text) in shown.items() if visible and mark in self.marks]


@dataclass(frozen=True, slots=True)
class View:
    """yaw: 0 shows the right side, a quarter of a turn the front. pitch: how far the camera looks down. near: how
    much larger a thing is that is a metre nearer, as a share."""

    yaw: float
    pitch: float
    roll: float
    near: float

    def points(self, corners: Corners) -> Points:
        """[..., 3] in metres → the camera's plane, to the right + i · down."""
        x, y, z = corners[..., 0], corners[..., 1], corners[..., 2]
        right = x * math.cos(self.yaw) + y * math.sin(self.yaw)
        away = y * math.cos(self.yaw) - x * math.sin(self.yaw)
        down = -z * math.cos(self.pitch) - away * math.sin(self.pitch)
        depth = away * math.cos(self.pitch) - z * math.sin(self.pitch)
        placed: Points = (right + 1j * down) * (1 - self.near * depth) * np.exp(1j * self.roll)
        return placed

    def depth(self, corners: Corners) -> float:
        x, y, z = corners.mean(axis=0).tolist()
        away = y * math.cos(self.yaw) - x * math.sin(self.yaw)
        return float(away * math.cos(self.pitch) - z * math.sin(self.pitch))

    def nearest(self, corners: Corners) -> float:
        return min(self.depth(corner[None]) for corner in corners)

    def frame(self, vehicle: Vehicle, rng: np.random.Generator) -> tuple[float, float, float, float]:
        """A loose box around the vehicle in the camera's plane: left, top, right, bottom."""
        corners = np.concatenate([sides_of(solid)[side] for solid in vehicle.solids for side in (0, 1)])
        placed = self.points(corners)
        left, right = float(placed.real.min()), float(placed.real.max())
        top, bottom = float(placed.imag.min()), float(placed.imag.max()) + 0.25
        width, height = right - left, bottom - top
        edge = rng.uniform(-0.03, 0.14, 4) * (width, height, width, height)
        return left - float(edge[0]), top - float(edge[1]), right + float(edge[2]), bottom + float(edge[3])


def sides_of(solid: Solid) -> tuple[Corners, Corners]:
    """The profile on the right, and on the left."""
    profile = np.array(solid.profile)
    right, left = profile[:, [0, 2, 1]].copy(), profile[:, [0, 2, 1]].copy()
    right[:, 1] *= -1
    return right, left
