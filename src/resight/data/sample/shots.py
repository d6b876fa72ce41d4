"""One picture of a person: from which side, before what, behind what; and what of the person it shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from resight.data.sample.cameras import CAMERAS, Camera
from resight.data.sample.figure import Stance
from resight.data.sample.people import OPEN_IN_FRONT, Person


@dataclass(frozen=True, slots=True)
class Shot:
    """camera: 1 to 6. where: x, y and zoom of the view of its scene. light: from −1 the left to 1 the right.

    occluder: what stands in front, or "". cover: where it does, in shares of the picture: the height from which a car
    or bush covers the person, the place in the width of a pole or passer-by.
    """

    camera: int
    stance: Stance
    where: tuple[float, float, float]
    light: float
    occluder: str
    cover: float


def first_shot(camera: int, rng: np.random.Generator) -> Shot:
    """How a person passes a camera."""
    lens = CAMERAS[camera - 1]
    stance = Stance(
        yaw=float(rng.choice(lens.yaws) + rng.normal(0, 0.25)) if rng.random() < 0.85 else float(rng.uniform(-3, 3)),
        gaze=float(rng.normal(0, 0.25)),
        pitch=lens.pitch,
        stride=float(rng.choice([0.05, 0.3, 0.38]) + rng.uniform(0, 0.12)),
        phase=0.0,
        lean=float(rng.normal(0.03, 0.03)),
        phone=bool(rng.random() < 0.1),
        x=0.5,
        top=0.0,
        feet=1.0,
    )
    where = (float(rng.random()), float(rng.uniform(0.2, 1)), float(rng.uniform(1.05, 1.6)))
    return Shot(camera, stance, where, float(rng.uniform(-1, 1)), "", 0.0)


def next_shot(shot: Shot, rng: np.random.Generator) -> Shot:
    """A moment on: another step, a new box around the person, perhaps something in front."""
    top, feet = rng.uniform(0.01, 0.06), rng.uniform(0.94, 0.99)
    fault = rng.random()
    if fault < 0.08:
        top -= rng.uniform(0.06, 0.13)
    elif fault < 0.20:
        feet += rng.uniform(0.08, 0.24)
    elif fault < 0.28:
        top, feet = top + rng.uniform(0.03, 0.09), feet - rng.uniform(0.02, 0.07)
    x, y, zoom = shot.where
    stance = replace(
        shot.stance,
        yaw=shot.stance.yaw + float(rng.normal(0, 0.15)),
        gaze=shot.stance.gaze + float(rng.normal(0, 0.2)),
        phase=float(rng.uniform(0, 2 * math.pi)),
        x=0.5 + float(np.clip(rng.normal(0, 0.05), -0.13, 0.13)),
        top=float(top),
        feet=float(feet),
    )
    occluder, cover = _occluder(CAMERAS[shot.camera - 1], rng)
    where = (float(np.clip(x + rng.normal(0, 0.04), 0, 1)), float(np.clip(y + rng.normal(0, 0.05), 0, 1)), zoom)
    return replace(shot, stance=stance, where=where, occluder=occluder, cover=cover)


def _occluder(camera: Camera, rng: np.random.Generator) -> tuple[str, float]:
    """What stands in front, if anything, and where."""
    name = camera.occluders[int(rng.integers(len(camera.occluders)))]
    if rng.random() < 0.8:
        return "", 0.0
    if name == "passer-by":
        return name, float(rng.choice([0.0, 1.0]) + rng.uniform(-0.04, 0.04))
    low, high = (0.2, 0.8) if name == "pole" else (0.62, 0.82)
    return name, float(rng.uniform(low, high))


def seen(someone: Person, shot: Shot) -> frozenset[str]:
    """Which of "hair", "hat", "glasses", "upper", "print", "inner", "lower", "shoes" and "bag" the picture shows."""
    stance, cos, sin = shot.stance, math.cos(shot.stance.yaw), math.sin(shot.stance.yaw)
    tall = (stance.feet - stance.top) * someone.height
    floor = shot.cover if shot.occluder in ("bush", "car") else 1.0

    def shows(height: float) -> bool:
        return 0.0 <= stance.feet - height * tall <= floor

    parts = {"upper"}
    crown = shows(0.96)
    loose = someone.hair in ("long", "shoulder-length")
    if crown and (loose or (someone.hat == "none" and not (someone.hair == "ponytail" and cos > 0.6))):
        parts.add("hair")
    if crown and someone.hat != "none":
        parts.add("hat")
    if crown and someone.glasses and math.cos(stance.yaw + stance.gaze) > 0.4:
        parts.add("glasses")
    clear = shot.occluder not in ("pole", "passer-by")
    if someone.pattern == "logo" and cos > 0.4 and clear:
        parts.add("print")
    if someone.upper in OPEN_IN_FRONT and cos > 0.6 and clear:
        parts.add("inner")
    if someone.lower != "none" and shows(0.30):
        parts.add("lower")
    if shows(0.02) and shot.occluder != "passer-by":
        parts.add("shoes")
    beside = -someone.bag_side * sin > -0.5 and shows(0.38) and shot.occluder != "passer-by"
    if someone.bag != "none" and (cos < 0.1 if someone.bag == "backpack" else beside):
        parts.add("bag")
    return frozenset(parts)
