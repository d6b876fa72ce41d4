"""Where the parts of a walking or standing body come to lie in a picture, seen from any side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from resight.data.sample.canvas import SHEET
from resight.data.sample.people import Person

Point = tuple[float, float, float]
"""In body heights: to the person's left, up from the ground, forward."""


@dataclass(frozen=True, slots=True)
class Stance:
    """How a person stands before a camera; angles in radians.

    yaw: 0 faces the camera, π/2 walks to the right, π shows the back. gaze: the head's turn on top of that.
    pitch: how far the camera looks down. stride: how far the legs swing, 0 stands. phase: where in the step.
    phone: whether the arm without a bag holds one up. x: where the body's axis is, from the left edge in shares of the
    picture's width. top, feet: where the crown of an average person and the soles are, from the upper edge in shares of
    its height.
    """

    yaw: float
    gaze: float
    pitch: float
    stride: float
    phase: float
    lean: float
    phone: bool
    x: float
    top: float
    feet: float


HIP: Final = 0.505

_Sections = tuple[tuple[float, float, float], ...]
_MAN: Final[_Sections] = (
    (0.845, 0.040, 0.036),
    (0.824, 0.092, 0.050),
    (0.790, 0.118, 0.064),
    (0.700, 0.112, 0.074),
    (0.600, 0.097, 0.066),
    (0.500, 0.097, 0.068),
)
_WOMAN: Final[_Sections] = (
    (0.845, 0.034, 0.032),
    (0.820, 0.080, 0.047),
    (0.785, 0.101, 0.060),
    (0.710, 0.096, 0.075),
    (0.615, 0.078, 0.057),
    (0.500, 0.104, 0.076),
)
"""Of the torso from the neck down: height, half width, half depth."""


class Figure:
    """One person in one stance. Points on the sheet are complex numbers, as in Canvas."""

    def __init__(self, person: Person, stance: Stance) -> None:
        width, height = SHEET
        self.person, self.stance = person, stance
        self.unit = (stance.feet - stance.top) * height * person.height
        self.wide = person.shoulders
        self.sections = _WOMAN if person.sex == "woman" else _MAN
        self._origin = complex(stance.x * width, stance.feet * height)
        self._cos, self._sin = math.cos(stance.yaw), math.sin(stance.yaw)
        self._dip = math.tan(stance.pitch)
        self._lean = math.sin(stance.lean)
        self._sunk = 0.0
        self.joints = self._legs()
        self._sunk = min(self.joints["ankleL"][1], self.joints["ankleR"][1]) - 0.035
        self.joints |= self._arms()

    @property
    def facing(self) -> float:
        """1 shows the front, −1 the back, 0 a side."""
        return self._cos

    @property
    def rightward(self) -> float:
        """1 faces the picture's right, −1 its left."""
        return self._sin

    def _legs(self) -> dict[str, Point]:
        stance = self.stance
        joints: dict[str, Point] = {}
        for side, sign in (("L", 1), ("R", -1)):
            swing = stance.stride * math.sin(stance.phase) * sign
            lift = stance.stride * max(0.0, math.cos(stance.phase) * sign)
            hip = (sign * 0.052 * self.wide**0.5, HIP, 0.0)
            knee = _hang(hip, 0.235, swing + 0.5 * lift)
            ankle = _hang(knee, 0.235, swing - 1.1 * lift - 0.12 * stance.stride)
            joints |= {"hip" + side: hip, "knee" + side: knee, "ankle" + side: ankle}
        return joints

    def _arms(self) -> dict[str, Point]:
        """Arms swing against the legs; one that carries a handbag hangs straight, one with a phone is bent."""
        stance = self.stance
        joints: dict[str, Point] = {}
        for side, sign in (("L", 1), ("R", -1)):
            reach = -0.75 * stance.stride * math.sin(stance.phase) * sign + 0.05
            bend, out = 0.28 + 0.5 * stance.stride, 0.10 * self.wide
            carries = sign == self.person.bag_side
            if stance.phone and not carries:
                reach, bend, out = 0.45, 1.75, 0.05
            elif carries and self.person.bag == "handbag":
                reach, bend = 0.4 * reach, 0.12
            shoulder = (sign * 0.91 * self.sections[2][1] * self.wide, 0.787, 0.0)
            elbow = _hang(shoulder, 0.158, reach, out * sign)
            hand = _hang(elbow, 0.165, reach + bend, -0.2 * out * sign)
            joints |= {"shoulder" + side: shoulder, "elbow" + side: elbow, "hand" + side: hand}
        return joints

    def joint(self, name: str) -> complex:
        return self.at(*self.joints[name])

    def at(self, x: float, y: float, z: float) -> complex:
        """Where a point of the body lies on the sheet; the point is given as if the body stood upright."""
        across, near = self._turned(x, y, z)
        return self._origin + self.unit * complex(across, -(y - self._sunk) + near * self._dip)

    def depth(self, name: str) -> float:
        """How much nearer to the camera a joint is than the body's axis, in body heights."""
        return self._turned(*self.joints[name])[1]

    def _turned(self, x: float, y: float, z: float) -> tuple[float, float]:
        z += max(0.0, y - HIP) * self._lean
        return x * self._cos + z * self._sin, z * self._cos - x * self._sin

    def across(self, a: float, b: float) -> float:
        """Half width on the sheet of an upright part of half width `a` and half depth `b`."""
        return self.unit * math.hypot(a * self._cos, b * self._sin)

    def on_torso(self, angle: float, y: float, *, over: float = 1.0) -> complex:
        """A point on the torso at a height, `angle` from the breastbone to the left arm; over: factor on its girth."""
        heights = [-section[0] for section in self.sections]
        a, b = (
            float(np.interp(-y, heights, [section[k] for section in self.sections])) * self.wide * over for k in (1, 2)
        )
        return self.at(a * math.sin(angle), y, b * math.cos(angle))

    def torso_line(self, corners: Sequence[tuple[float, float]], *, over: float = 1.0) -> list[complex]:
        """Points on the torso from their (angle, height)."""
        return [self.on_torso(angle, y, over=over) for angle, y in corners]


def _hang(start: Point, length: float, forward: float, out: float = 0.0) -> Point:
    """The other end of a bone that hangs from `start`, swung forward and to the person's left by these angles."""
    x, y, z = start
    return x + length * math.sin(out), y - length * math.cos(forward) * math.cos(out), z + length * math.sin(forward)
