"""Shots carried out: scene, people and what stands before them, as the camera sees it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from PIL import Image

from resight.data.sample.cameras import CAMERAS, exposed
from resight.data.sample.canvas import SHEET, Canvas
from resight.data.sample.clothes import paint
from resight.data.sample.figure import Figure
from resight.data.sample.people import COLOURS, Person, person
from resight.data.sample.scenes import paint_bonnet, scene, view
from resight.data.sample.shots import Shot


def take(someone: Person | None, shot: Shot, seed: int, rng: np.random.Generator) -> Image.Image:
    """The picture of a person, or of the place alone. seed: of the scenes."""
    camera = CAMERAS[shot.camera - 1]
    canvas = Canvas(view(scene(camera.place, seed), *shot.where), shot.light)
    if rng.random() < 0.1:
        _passer_by(canvas, shot, rng, x=float(rng.uniform(0, 1)), top=0.22, feet=0.72)
    if someone is not None:
        figure = Figure(someone, shot.stance)
        unit, soles = figure.unit, figure.at(0, 0, 0)
        canvas.shadow(soles - 0.06 * shot.light * unit, 0.20 * unit, 0.035 * unit, 0.6)
        paint(figure, canvas, rng)
    _occlude(canvas, shot, rng)
    return exposed(canvas.finished(), camera, rng)


def _passer_by(canvas: Canvas, shot: Shot, rng: np.random.Generator, *, x: float, top: float, feet: float) -> None:
    yaw, phase = float(rng.uniform(-math.pi, math.pi)), float(rng.uniform(0, 2 * math.pi))
    stance = replace(shot.stance, yaw=yaw, phase=phase, stride=0.3, x=x, top=top, feet=feet)
    paint(Figure(person(rng), stance), canvas, rng)


def _occlude(canvas: Canvas, shot: Shot, rng: np.random.Generator) -> None:
    """Paints what stands in front, where the shot says."""
    width, height = SHEET
    if shot.occluder == "pole":
        x, slim = shot.cover * width, float(rng.uniform(0.03, 0.06)) * width
        canvas.ribbon([x - 20j, x + 1j * (height + 20)], [slim, slim], (104, 108, 110), ends="flat")
    elif shot.occluder == "bush":
        for x, y in rng.uniform(0, 1, (40, 2)).tolist():
            leaf = complex(x * width, (shot.cover + 0.05 + (1 - shot.cover) * y) * height)
            green = int(rng.integers(60, 110))
            canvas.oval(leaf, 0.10 * width, 0.035 * height, (green // 2, green, green // 2 - 8))
    elif shot.occluder == "car":
        size, top = float(rng.uniform(1.5, 2.2)) * width, shot.cover * height
        canvas.flat([1j * top, complex(width, top), complex(*SHEET), complex(0, height)], (60, 62, 66), level=1.0)
        colour = ("grey", "black", "dark blue", "dark red", "white")[int(rng.integers(5))]
        paint_bonnet(canvas.pen, float(rng.uniform(width - 0.96 * size, -0.04 * size)), top, size, COLOURS[colour])
    elif shot.occluder == "passer-by":
        _passer_by(canvas, shot, rng, x=shot.cover, top=-0.02, feet=1.12)
