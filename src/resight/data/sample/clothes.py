"""A figure painted on a canvas: its clothes, and what they leave bare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from resight.data.sample.bags import bag_steps, paint_handbag
from resight.data.sample.canvas import SHEET, Canvas, Fill, mixed
from resight.data.sample.figure import Figure
from resight.data.sample.head import paint_head
from resight.data.sample.people import LONG_SLEEVED, OPEN_IN_FRONT, rgb

_LOOSE: Final = {"hoodie": 1.1, "jacket": 1.1, "coat": 1.13, "sweater": 1.05, "top": 0.97}
_HEMS: Final = {"top": 0.52, "coat": 0.52, "dress": 0.52, "jacket": 0.48}
_LEGS: Final = {
    "leggings": (0.052, 0.034, 0.022),
    "jeans": (0.058, 0.042, 0.031),
    "trousers": (0.060, 0.047, 0.039),
}
"""Half widths at hip, knee and ankle."""


def paint(figure: Figure, canvas: Canvas, rng: np.random.Generator) -> None:
    """Paints the person, what is farthest from the camera first. rng: for the folds of the clothes."""
    outfit = _Outfit(figure, canvas, rng)
    steps: list[tuple[float, Callable[[], None]]] = [(-3.0, outfit.hips), (-1.0, outfit.skirt), (0.0, outfit.torso)]
    for side in ("L", "R"):
        steps.append((-2.0 + figure.depth("knee" + side), partial(outfit.leg, side)))
        reach = 0.5 * (figure.depth("elbow" + side) + figure.depth("hand" + side))
        steps.append((reach + 0.02, partial(outfit.arm, side)))
    steps += [(depth, partial(step, figure, canvas)) for depth, step in bag_steps(figure)]
    steps.append((0.015 if figure.facing > -0.2 else 0.04, partial(paint_head, figure, canvas, outfit.cloth)))
    for _, step in sorted(steps, key=lambda step: step[0]):
        step()


class _Outfit:
    def __init__(self, figure: Figure, canvas: Canvas, rng: np.random.Generator) -> None:
        self.figure, self.canvas, self.rng = figure, canvas, rng
        self.person, self.unit, self.skin = figure.person, figure.unit, figure.person.skin
        self.upper, self.trim = rgb(self.person, "upper_colour"), rgb(self.person, "trim")
        self.lower, self.shoe = rgb(self.person, "lower_colour"), rgb(self.person, "shoe_colour")
        self.cloth: Fill = self._cloth()

    def _cloth(self) -> Fill:
        """What the upper garment is cut from: a colour, or a sheet with its pattern."""
        pattern = self.person.pattern
        if pattern in ("plain", "logo"):
            return self.upper
        sheet = Image.new("RGB", SHEET, self.upper)
        pen = ImageDraw.Draw(sheet)
        shoulder, chest = self.figure.at(0, 0.82, 0), self.figure.at(0, 0.68, 0)
        if pattern == "two-tone":
            pen.rectangle((0, chest.imag, *SHEET), fill=self.trim)
            return sheet
        period = self.unit * (0.046 if pattern == "striped" else 0.052)
        for y in np.arange(shoulder.imag % period - period, SHEET[1], period).tolist():
            pen.rectangle((0, y, SHEET[0], y + 0.42 * period), fill=self.trim)
        if pattern == "checked":
            for x in np.arange(shoulder.real % period - period, SHEET[0], period).tolist():
                pen.rectangle((x, 0, x + 0.38 * period, SHEET[1]), fill=mixed(self.upper, self.trim, 0.4))
        return sheet

    def _limb(
        self, points: Sequence[complex], radii: Sequence[float], fill: Fill, *, gloss: float = 1.0, ends: str = "round"
    ) -> None:
        """radii in body heights."""
        self.canvas.ribbon(points, [self.unit * radius for radius in radii], fill, gloss=gloss, ends=ends)

    def _folds(self, start: complex, end: complex, width: float) -> None:
        """Slanting shadows between two points of a garment."""
        for share, across, down in self.rng.uniform(-1, 1, (3, 3)).tolist():
            middle = start + (0.5 + 0.45 * share) * (end - start)
            reach = complex(across, 0.4 * down) * width * self.unit
            self.canvas.crease([middle - reach, middle + reach], 0.012 * self.unit, 0.76)

    def hips(self) -> None:
        figure = self.figure
        _, a, b = figure.sections[-1]
        fill = self.skin if self.person.lower == "none" else self.lower
        spine = [figure.at(0, y, 0) for y in (0.60, 0.53, 0.45)]
        self.canvas.ribbon(
            spine, [figure.across(k * a * figure.wide, k * b * figure.wide) for k in (0.88, 0.97, 0.82)], fill
        )

    def leg(self, side: str) -> None:
        thick, lower = self.figure.wide**0.7, self.person.lower
        hip, knee, ankle = points = [self.figure.joint(name + side) for name in ("hip", "knee", "ankle")]
        if lower in _LEGS:
            self._shoe(side)
            self._limb(points, [thick * radius for radius in _LEGS[lower]], self.lower, ends="start")
            self._folds(knee, ankle, 0.03)
            if lower == "jeans":
                self.canvas.crease([0.75 * hip + 0.25 * knee, 0.2 * hip + 0.8 * knee], 0.022 * self.unit, 1.2)
        else:
            self._limb(points, (0.050 * thick, 0.034 * thick, 0.021), self.skin, gloss=1.04)
            self._shoe(side)
        if lower == "shorts":
            self._limb([hip, 0.1 * hip + 0.9 * knee], (0.060 * thick, 0.054 * thick), self.lower, ends="start")
        if self.person.shoes == "boots":
            self._limb([0.35 * knee + 0.65 * ankle, ankle], (0.035 * thick, 0.029), self.shoe, ends="end")

    def _shoe(self, side: str) -> None:
        """From the heel to the toe; a sneaker has a white sole."""
        x, y, z = self.figure.joints["ankle" + side]
        out = 0.02 if side == "L" else -0.02
        points = [self.figure.at(x + step * out, y - sink, z + ahead) for step, sink, ahead in _FOOT]
        self._limb(points, (0.025, 0.025, 0.019), self.shoe, gloss=1.08)
        if self.person.shoes == "sneakers":
            self.canvas.line([point + 0.020j * self.unit for point in points], 0.011 * self.unit, (214, 212, 206))

    def skirt(self) -> None:
        """What hangs around both legs: a skirt, or the lower part of a dress or coat."""
        figure, (_, a, b) = self.figure, self.figure.sections[-1]
        hems = {"dress": 0.33, "coat": 0.30}
        if self.person.lower != "skirt" and self.person.upper not in hems:
            return
        fill = self.cloth if self.person.upper in hems else self.lower
        left, right = figure.joint("kneeL"), figure.joint("kneeR")
        middle, hem = figure.at(0, 0.5, 0), figure.at(0, hems.get(self.person.upper, 0.35), 0)
        hem += 0.5 * (0.5 * (left + right) - hem).real
        stride = 0.5 * abs((left - right).real) + 0.05 * self.unit
        radii = [figure.across(k * a * figure.wide, k * b * figure.wide) for k in (0.85, 1.05, 1.18)]
        radii[2] = max(radii[2], stride)
        self.canvas.ribbon([figure.at(0, 0.60, 0), middle, hem], radii, fill, ends="flat")
        for share in self.rng.uniform(-0.7, 0.7, 3).tolist():
            self.canvas.crease([middle + share * radii[1], hem + share * radii[2]], 0.014 * self.unit, 0.8)

    def torso(self) -> None:
        figure, upper, unit = self.figure, self.person.upper, self.unit
        girth = figure.wide * _LOOSE.get(upper, 1.0)
        spine = [figure.at(0, max(y, _HEMS.get(upper, 0.5)), 0) for y, _, _ in figure.sections]
        radii = [figure.across(a * girth, b * girth) for _, a, b in figure.sections]
        if upper == "top":
            self.canvas.ribbon(spine, radii, self.skin, ends="flat")
            spine, radii = [point + 0.02j * unit for point in spine[1:]], [0.7 * radii[1], 0.88 * radii[2], *radii[3:]]
        self.canvas.ribbon(spine, radii, self.cloth, ends="flat")
        self._folds(figure.at(0.05, 0.74, 0), figure.at(-0.05, 0.55, 0), 0.05)
        self.canvas.crease([spine[-1] - radii[-1], spine[-1] + radii[-1]], 0.012 * unit, 0.62)
        if figure.facing > 0.15:
            self._front()

    def _front(self) -> None:
        """Neckline, zip, buttons, print and pocket: what only the front has."""
        figure, unit, upper = self.figure, self.unit, self.person.upper
        dark = mixed(self.upper, (0, 0, 0), 0.45)
        if upper in OPEN_IN_FRONT:
            rim = figure.torso_line(
                ((-0.35, 0.835), (-0.26, 0.66), (-0.2, 0.5), (0.2, 0.5), (0.26, 0.66), (0.35, 0.835))
            )
            self.canvas.flat(rim, rgb(self.person, "inner"))
            self.canvas.line(rim[:3], 0.012 * unit, dark)
            self.canvas.line(rim[3:], 0.012 * unit, dark)
        elif upper == "shirt":
            collar = figure.torso_line(((-0.5, 0.838), (0, 0.80), (0.5, 0.838)))
            self.canvas.line(figure.torso_line(((0, 0.83), (0, 0.51))), 0.010 * unit, dark)
            self.canvas.line(collar, 0.022 * unit, mixed(self.upper, (255, 255, 255), 0.25))
        elif upper == "hoodie":
            self.canvas.crease(
                figure.torso_line(((-0.4, 0.61), (-0.7, 0.54), (0.7, 0.54), (0.4, 0.61))), 0.014 * unit, 0.62
            )
            for angle in (-0.15, 0.15):
                self.canvas.line(figure.torso_line(((angle, 0.81), (angle, 0.73))), 0.007 * unit, self.trim)
        else:
            self.canvas.flat(figure.torso_line(((-0.6, 0.85), (0, 0.81), (0.6, 0.85))), self.skin)
        if self.person.pattern == "logo":
            print_ = figure.torso_line(((-0.42, 0.75), (0.42, 0.75), (0.34, 0.66), (-0.34, 0.66)))
            self.canvas.flat(print_, self.trim)
            self.canvas.line(figure.torso_line(((-0.27, 0.705), (0.27, 0.705))), 0.013 * unit, self.upper)

    def arm(self, side: str) -> None:
        person = self.person
        shoulder, elbow, hand = points = [self.figure.joint(name + side) for name in ("shoulder", "elbow", "hand")]
        thick = self.figure.wide**0.6 * (0.88 if person.sex == "woman" else 1.0)
        if person.upper not in LONG_SLEEVED:
            self._limb(points, (0.034 * thick, 0.027 * thick, 0.020), self.skin, gloss=1.03)
        self.canvas.oval(hand + 0.10 * (hand - elbow), 0.023 * self.unit, 0.026 * self.unit, self.skin)
        if person.upper in LONG_SLEEVED:
            loose = thick * _LOOSE.get(person.upper, 1.0) ** 1.5
            self._limb(points, (0.038 * loose, 0.034 * loose, 0.027 * loose), self.cloth, gloss=0.97, ends="start")
            self._folds(shoulder, elbow, 0.022)
        elif person.upper != "top":
            self._limb(
                [shoulder, 0.25 * shoulder + 0.75 * elbow], (0.040 * thick, 0.041 * thick), self.cloth, ends="start"
            )
        carries = side == ("L" if person.bag_side > 0 else "R")
        if carries and person.bag == "handbag":
            paint_handbag(self.figure, self.canvas, hand)
        elif not carries and self.figure.stance.phone:
            self._limb([hand - 0.05j * self.unit, hand], (0.013, 0.013), (34, 34, 38))


_FOOT: Final = ((0.0, 0.012, -0.018), (0.3, 0.016, 0.030), (1.0, 0.023, 0.074))
"""Heel, ball and toe from the ankle: share of the outward turn, down, forward."""
