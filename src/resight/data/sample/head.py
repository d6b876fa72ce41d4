"""Head, hair and hat of a figure."""

from __future__ import annotations

import math
from typing import Final

from resight.data.sample.canvas import RGB, Canvas, Fill, mixed
from resight.data.sample.figure import Figure
from resight.data.sample.people import rgb

_BLACK: Final = (0, 0, 0)
_GLASS: Final = (24, 22, 24)


def paint_head(figure: Figure, canvas: Canvas, cloth: Fill) -> None:
    """cloth: what the hood of a hoodie is cut from."""
    head = _Head(figure, canvas)
    behind = head.forward_seen < -0.1
    if not behind:
        head.falling_hair()
    head.neck()
    if figure.person.upper == "hoodie":
        head.hood(cloth)
    head.skull(behind)
    if head.forward_seen > -0.45:
        head.face()
    if behind:
        head.falling_hair()
    if figure.person.hat != "none":
        head.hat()


class _Head:
    def __init__(self, figure: Figure, canvas: Canvas) -> None:
        self.figure, self.canvas, self.person, self.unit = figure, canvas, figure.person, 1.06 * figure.unit
        self.hair = rgb(self.person, "hair_colour")
        yaw = figure.stance.yaw + figure.stance.gaze
        self.forward_seen, self.sideways = math.cos(yaw), math.sin(yaw)
        self.centre = figure.at(0, 0.934, 0.012)

    def at(self, forward: float, up: float, left: float = 0.0) -> complex:
        """A point of the head on the sheet, in shares of the body's height from the head's centre."""
        lower = 0.6 * forward * self.forward_seen * math.tan(self.figure.stance.pitch)
        return self.centre + self.unit * complex(forward * self.sideways + left * self.forward_seen, lower - up)

    def _oval(self, centre: complex, rx: float, ry: float, fill: RGB) -> None:
        self.canvas.oval(centre, rx * self.unit, ry * self.unit, fill)

    def neck(self) -> None:
        spine = [self.at(-0.012, -0.035), self.figure.at(0, 0.835, 0.0)]
        self.canvas.ribbon(spine, [0.031 * self.unit, 0.037 * self.unit], self.person.skin, gloss=0.85, ends="end")

    def hood(self, cloth: Fill) -> None:
        spine = [self.at(-0.03, -0.062, -0.055), self.at(-0.052, -0.077), self.at(-0.03, -0.062, 0.055)]
        self.canvas.ribbon(spine, [radius * self.unit for radius in (0.024, 0.036, 0.024)], cloth, gloss=0.92)

    def skull(self, behind: bool) -> None:
        self._oval(self.at(0, 0), 0.047, 0.066, self.person.skin)
        if self.person.hair != "bald":
            self._oval(self.at(-0.014, 0.006 if behind else 0.016), 0.052, 0.060 if behind else 0.056, self.hair)

    def falling_hair(self) -> None:
        """Hair below the ears: down to the shoulder blades, to the shoulders, or tied."""
        hair, unit = self.person.hair, self.unit
        if hair in ("long", "shoulder-length"):
            end, width = (-0.165, 0.050) if hair == "long" else (-0.095, 0.056)
            spine = [self.at(-0.014, 0.03), self.at(-0.018, -0.04), self.at(-0.03, end)]
            self.canvas.ribbon(spine, [0.050 * unit, 0.060 * unit, width * unit], self.hair)
        elif hair == "ponytail":
            spine = [self.at(-0.052, 0.03), self.at(-0.082, -0.01), self.at(-0.075, -0.11)]
            self.canvas.ribbon(spine, [0.018 * unit, 0.026 * unit, 0.012 * unit], self.hair, gloss=1.1)
        elif hair == "bun":
            self._oval(self.at(-0.045, 0.062), 0.030, 0.028, self.hair)

    def face(self) -> None:
        unit, front = self.unit, self.forward_seen > 0.3
        low = 0.018 if self.person.hair in ("bald", "short") else 0.022
        self._oval(
            self.at(0.026 if front else 0.032, -low),
            0.030 + 0.012 * max(0.0, self.forward_seen),
            0.046,
            self.person.skin,
        )
        dark = mixed(self.person.skin, _BLACK, 0.58)
        for side in (-0.019, 0.019):
            if abs(self.sideways) < 0.75 or side * self.sideways < 0:
                self._eye(self.at(0.036, 0.0, side), dark)
        if self.person.glasses:
            ends = [self.at(0.036, 0.002, side if side * self.sideways > -0.02 else 0.0) for side in (-0.034, 0.034)]
            self.canvas.line(ends, 0.008 * unit, _GLASS)
        self.canvas.crease([self.at(0.036, -0.040, -0.011), self.at(0.036, -0.040, 0.011)], 0.008 * unit, 0.72)
        self.canvas.crease([self.at(0.044, -0.004), self.at(0.050, -0.022)], 0.008 * unit, 1.2)

    def _eye(self, centre: complex, dark: RGB) -> None:
        if self.person.glasses:
            self.canvas.dot(centre, 0.0125 * self.unit, 0.0105 * self.unit, _GLASS)
        else:
            self.canvas.dot(centre, 0.008 * self.unit, 0.0055 * self.unit, dark)

    def hat(self) -> None:
        unit, fill = self.unit, rgb(self.person, "hat_colour")
        middle = self.at(-0.002, 0.022)
        rise = 0.062 if self.person.hat == "cap" else 0.070
        dome = [complex(0.056 * math.cos(angle), -rise * math.sin(angle)) * unit for angle in _HALF_CIRCLE]
        self.canvas.flat([middle + point for point in dome], fill, level=0.88)
        self.canvas.flat([middle - 0.012j * unit + 0.68 * point for point in dome], fill, level=1.08)
        rim = mixed(fill, _BLACK, 0.26)
        if self.person.hat == "beanie":
            self.canvas.line([middle - 0.054 * unit, middle + 0.054 * unit], 0.026 * unit, rim)
        elif self.forward_seen > -0.6:
            droop = 0.016j * unit * max(0.0, self.forward_seen)
            tip = [self.at(0.10, 0.008, -0.03) + droop, self.at(0.10, 0.008, 0.03) + droop]
            self.canvas.flat([self.at(0.01, 0.026, -0.045), *tip, self.at(0.01, 0.026, 0.045)], rim, level=0.85)


_HALF_CIRCLE: Final = [math.pi * step / 8 for step in range(9)]
