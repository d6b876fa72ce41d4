"""Vehicles painted from any direction: which faces show, in what light, and what is on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from pen import RGB, Pen, Points, lighter, scaled
from PIL import Image, ImageDraw
from solids import Corners, Lamp, Solid, Vehicle, View, sides_of
from words import pick

GLASS: Final = (38, 46, 54)
TYRE: Final = (24, 24, 26)


def paint(
    vehicle: Vehicle, view: View, box: tuple[float, float, float, float], sheet: Image.Image, *, sun: float
) -> list[Lamp]:
    """Draws the vehicle so that `box` of the camera's plane fills the sheet, and tells where its lamps are there.

    sun: from which side it comes, −1 to 1.
    """
    unit_x, unit_y = sheet.width / (box[2] - box[0]), sheet.height / (box[3] - box[1])
    draw = ImageDraw.Draw(sheet)

    def place(corners: Corners) -> Points:
        plane = view.points(corners)
        placed: Points = (plane.real - box[0]) * unit_x + 1j * (plane.imag - box[1]) * unit_y
        return placed

    scene = _Scene(vehicle, view, draw, place, unit_x, sun, [])
    scene.shadow()
    for solid in sorted(vehicle.solids, key=lambda one: -view.nearest(np.concatenate(sides_of(one)))):
        scene.solid(solid)
    return scene.lamps


@dataclass(frozen=True, slots=True)
class _Scene:
    vehicle: Vehicle
    view: View
    draw: ImageDraw.ImageDraw
    place: Callable[[Corners], Points]
    unit: float
    sun: float
    lamps: list[Lamp]

    def shadow(self) -> None:
        ends = (
            [solid.profile[0][0] for solid in self.vehicle.solids],
            [solid.profile[-1][0] for solid in self.vehicle.solids],
        )
        front, rear, half = max(ends[0]) + 0.15, min(ends[1]) - 0.15, self.vehicle.width / 2 + 0.12
        slip = 0.4 * self.sun
        floor = np.array(
            [(front, half + slip, 0), (front, -half + slip, 0), (rear, -half + slip, 0), (rear, half + slip, 0)]
        )
        Pen(self.draw, lambda points: points, 1.0).shape(self.place(floor), (36, 37, 40))

    def solid(self, solid: Solid) -> None:
        right, left = sides_of(solid)
        faces: list[tuple[float, str, Corners]] = []
        for k, part in enumerate(solid.parts):
            quad = np.array([left[k], right[k], right[k + 1], left[k + 1]])
            faces.append((self.view.depth(quad), part, quad))
        faces += [(self.view.depth(right) - 0.3, "right", right[::-1]), (self.view.depth(left) - 0.3, "left", left)]
        if self.vehicle.kind != "motorbike":
            self._wheels(solid, far=True)
        for _, part, corners in sorted(faces, key=lambda face: -face[0]):
            placed = self.place(corners)
            if _area(placed) > 0:
                self._face(solid, part, corners, placed)

    def _face(self, solid: Solid, part: str, corners: Corners, placed: Points) -> None:
        light = self._light(corners)
        vehicle, fill = self.vehicle, solid.fill
        if part == "glass":
            fill = lighter(GLASS, 0.25 * max(0.0, light - 0.8))
        elif part == "bed":
            fill = (46, 46, 48)
        elif part == "roof" and "dark roof" in vehicle.marks and solid.marked:
            fill = vehicle.paints.second
        flat = Pen(self.draw, lambda points: points, 1.0, tint=lambda colour: scaled(colour, light))
        flat.shape(placed, fill)
        if part in ("left", "right"):
            self._side(solid, 1 if part == "left" else -1, light)
            return
        self.draw.line([(p.real, p.imag) for p in [*placed, placed[0]]], fill=scaled(fill, 0.7 * light), width=2)
        pen = self._facing(placed, light)
        if part in ("front", "rear"):
            self._end(pen, part, solid)
        elif part == "bonnet" and "bonnet stripes" in vehicle.marks:
            for x in (-0.3, 0.3):
                pen.box(x - 0.12, 0, x + 0.12, 1, vehicle.paints.mark)
        elif part == "roof" and solid.marked:
            self._roof(corners)
        elif part == "glass":
            pen.shape([-0.75 + 0.15j, -0.2 + 0.15j, -0.5 + 0.85j, -0.85 + 0.85j], lighter(GLASS, 0.22))

    def _light(self, corners: Corners) -> float:
        """From above, and from the sun's side."""
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[1])
        length = float(np.linalg.norm(normal)) + 1e-9
        up, across = abs(float(normal[2])) / length, float(normal[1] * self.sun + normal[0] * 0.3) / length
        return 0.72 + 0.36 * up + 0.16 * across

    def _facing(self, placed: Points, light: float) -> Pen:
        """A pen whose units are −1 to 1 across the face, from the vehicle's left to its right, and 0 to 1 down it."""
        upper_left, upper_right, lower_right, lower_left = placed

        def place(points: Points) -> Points:
            across, along = (points.real + 1) / 2, points.imag
            upper = upper_left + across * (upper_right - upper_left)
            lower = lower_left + across * (lower_right - lower_left)
            placed: Points = upper + along * (lower - upper)
            return placed

        return Pen(self.draw, place, abs(upper_right - upper_left) / 2, tint=lambda colour: scaled(colour, light))

    def _end(self, pen: Pen, part: str, solid: Solid) -> None:
        """Lamps, grille and plate. The front's face runs upwards, the rear's down."""
        style = np.random.default_rng((self.vehicle.style, *part.encode()))
        wide, tall, level = (
            float(style.uniform(0.14, 0.28)),
            float(style.uniform(0.10, 0.22)),
            float(style.uniform(0.5, 0.72)),
        )

        def down(height: float) -> float:
            return 1 - height if part == "rear" else height

        colour: RGB = (206, 212, 214) if part == "front" else (132, 20, 22)
        glow: RGB = (250, 240, 205) if part == "front" else (170, 26, 20)
        middle = down(level)
        if self.vehicle.kind == "motorbike":
            pen.oval(1j * middle, 0.6, 0.12, colour)
            self._lamp(pen, 1j * middle, 0.5, glow)
            return
        if part == "front":
            grille = float(style.uniform(0.3, 0.6))
            pen.box(
                -grille,
                middle - 0.11,
                grille,
                middle + 0.11,
                pick(style, ((28, 28, 30), (60, 62, 64), (150, 152, 154))),
            )
            if style.random() < 0.4:
                pen.box(-0.95, down(0.12) - 0.1, 0.95, down(0.12) + 0.1, (44, 45, 47))
            pen.oval(1j * middle, 0.07, 0.06, (190, 192, 196))
        elif style.random() < 0.35:
            pen.box(-0.9, middle - 0.04, 0.9, middle + 0.04, (140, 24, 24))
        upright = part == "rear" and style.random() < 0.5
        for side in (-1, 1):
            self._lamp(pen, side * (0.94 - wide) + 1j * middle, wide, glow)
            if upright:
                pen.box(side * 0.88 - 0.1, middle - 0.2, side * 0.88 + 0.1, middle + 0.2, colour)
            else:
                pen.oval(side * (0.94 - wide) + 1j * middle, wide, tall, colour)
        plate = down(float(style.uniform(0.2, 0.35)))
        pen.box(
            -0.27, plate - 0.07, 0.27, plate + 0.07, pick(style, ((232, 232, 226), (232, 232, 226), (222, 196, 60)))
        )
        if solid.parts.count("glass") == 0 and part == "rear":
            pen.line([0.03j + 0, 0.97j], 0.02, (60, 60, 62))

    def _lamp(self, pen: Pen, centre: complex, size: float, glow: RGB) -> None:
        placed = complex(pen.place(np.array([centre]))[0])
        self.lamps.append(Lamp(placed, size * pen.unit, glow))

    def _roof(self, corners: Corners) -> None:
        front, rear = float(corners[0, 0]), float(corners[2, 0])
        height, half = float(corners[:, 2].max()), float(abs(corners[0, 1]))
        if "rack" in self.vehicle.marks:
            for y in (-0.85 * half, 0.85 * half):
                rail = np.array([(front - 0.1, y, height + 0.08), (rear + 0.1, y, height + 0.08)])
                self._stroke(rail, 0.06, (52, 53, 55))
            for x in (0.3 * rear + 0.7 * front, 0.75 * rear + 0.25 * front):
                self._stroke(
                    np.array([(x, -0.9 * half, height + 0.1), (x, 0.9 * half, height + 0.1)]), 0.06, (70, 71, 73)
                )
        if "taxi sign" in self.vehicle.marks:
            x = 0.35 * rear + 0.65 * front
            sign = np.array([(x, -0.3, height), (x, 0.3, height), (x, 0.3, height + 0.17), (x, -0.3, height + 0.17)])
            Pen(self.draw, lambda points: points, 1.0).shape(self.place(sign), (236, 204, 70))

    def _stroke(self, corners: Corners, width: float, fill: RGB) -> None:
        Pen(self.draw, lambda points: points, self.unit).line(self.place(corners), width, fill)

    def _side(self, solid: Solid, hand: int, light: float) -> None:
        """hand: 1 the left side, −1 the right."""
        profile = np.array(solid.profile)
        order = np.argsort(profile[:, 1], kind="stable")
        heights, halves = profile[order, 1], profile[order, 2]

        def place(points: Points) -> Points:
            half = np.interp(points.imag, heights, halves)
            return self.place(np.stack([points.real, hand * half, points.imag], axis=-1))

        pen = Pen(self.draw, place, self.unit, tint=lambda colour: scaled(colour, light))
        bottom, front, rear = float(heights[0]), float(profile[:, 0].max()), float(profile[:, 0].min())
        top, marks, paints = (
            float(heights[-1]),
            self.vehicle.marks if solid.marked else frozenset(),
            self.vehicle.paints,
        )
        belt = min((z for window in solid.windows for _, z in window), default=top)
        middle = 0.55 * bottom + 0.45 * belt
        if "two-tone" in marks:
            pen.box(rear + 0.06, bottom, front - 0.06, middle, paints.second)
        if "stripe" in marks:
            pen.box(rear + 0.06, middle + 0.05, front - 0.1, middle + 0.05 + 0.12 * (belt - bottom), paints.mark)
        if "lettering" in marks:
            self._lettering(pen, rear, front, middle, belt)
        if "logo" in marks:
            x, size = rear + 0.35 * (front - rear), 0.22 * (belt - bottom)
            corners = np.random.default_rng((self.vehicle.style, 5)).normal(0, size, (5, 2))
            pen.oval(complex(x, (bottom + belt) / 2), 1.3 * size, 1.2 * size, paints.mark)
            pen.shape(complex(x, (bottom + belt) / 2) + corners[:, 0] + 1j * corners[:, 1], paints.second)
        for window in solid.windows:
            pen.shape([complex(x, z) for x, z in window], GLASS)
        if self.vehicle.kind not in ("bus", "motorbike") and solid.windows:
            low = bottom + 0.05
            for x in {window[0][0] for window in solid.windows}:
                pen.line([complex(x, low), complex(x, belt)], 0.025, scaled(solid.fill, 0.6))
                pen.box(x - 0.35, belt - 0.12, x - 0.17, belt - 0.07, scaled(solid.fill, 0.55))
        self._wheels(solid, far=False, hand=hand)

    def _lettering(self, pen: Pen, rear: float, front: float, middle: float, belt: float) -> None:
        """Blocks that read as a word from afar; the vehicle's style decides which."""
        style = np.random.default_rng((self.vehicle.style, 4))
        x, end = rear + 0.12 * (front - rear), rear + float(style.uniform(0.5, 0.85)) * (front - rear)
        size = 0.5 * (belt - middle)
        base = middle + float(style.uniform(0.15, 0.5)) * (belt - middle)
        while x < end:
            wide = float(style.uniform(0.3, 0.8)) * size
            pen.box(x, base, x + wide, base + size * float(style.choice([0.7, 1.0])), self.vehicle.paints.mark)
            x += wide + (0.5 if style.random() < 0.2 else 0.15) * size

    def _wheels(self, solid: Solid, *, far: bool, hand: int = 0) -> None:
        if far:
            hand = 1 if math.cos(self.view.yaw) > 0 else -1
        style = np.random.default_rng((self.vehicle.style, 3))
        rim = pick(style, ((176, 178, 182), (120, 122, 126), (70, 71, 74), (204, 206, 208)))
        low, high = min(x for x, _, _ in solid.profile), max(x for x, _, _ in solid.profile)
        half = self.vehicle.width / 2 - (0.04 if not far else 0.0)
        for x, radius in self.vehicle.wheels:
            if not low <= x <= high:
                continue

            def place(points: Points) -> Points:
                return self.place(
                    np.stack([points.real, np.full(len(points), hand * (half + 0.03)), points.imag], axis=-1)
                )

            pen = Pen(self.draw, place, self.unit)
            if not far:
                pen.oval(complex(x, radius + 0.04), 1.16 * radius, 1.12 * radius, (18, 18, 20))
            pen.oval(complex(x, radius), radius, radius, TYRE)
            if not far:
                pen.oval(complex(x, radius), 0.62 * radius, 0.62 * radius, rim)
                pen.oval(complex(x, radius), 0.2 * radius, 0.2 * radius, scaled(rim, 0.5))


def _area(points: Points) -> float:
    """Twice the area inside; positive for corners that run clockwise on the sheet."""
    return float(np.sum(points.real * np.roll(points.imag, -1) - np.roll(points.real, -1) * points.imag))
