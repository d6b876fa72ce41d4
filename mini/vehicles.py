"""Pictures of vehicles: what one looks like, from where cameras see it, in what light, and in what words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np
from bodies import paint
from fleet import build
from nuisance import Picture, clutter, daylight, ground, night, obstructed, picture, rained_on, taken
from palette import near
from pen import RGB, scaled
from PIL import Image, ImageDraw
from solids import Lamp, Paints, Vehicle, View
from words import fitting, listed, pick, sentence

COLOURS: Final[dict[str, tuple[RGB, float]]] = {
    "white": ((226, 226, 224), 0.2),
    "silver": ((172, 176, 180), 0.14),
    "grey": ((104, 108, 112), 0.13),
    "black": ((30, 31, 34), 0.15),
    "blue": ((36, 70, 150), 0.08),
    "dark blue": ((26, 36, 76), 0.05),
    "light blue": ((120, 170, 212), 0.03),
    "red": ((176, 28, 32), 0.08),
    "dark red": ((96, 22, 34), 0.03),
    "green": ((40, 110, 62), 0.03),
    "yellow": ((228, 192, 44), 0.03),
    "orange": ((222, 112, 32), 0.02),
    "brown": ((92, 66, 48), 0.02),
    "beige": ((196, 180, 146), 0.02),
}
"""Paint, and how common it is."""

_TYPES: Final = (
    *("sedan", "sedan", "hatchback", "hatchback", "estate", "suv", "suv", "pickup", "van", "van", "minibus"),
    *("lorry", "lorry", "bus", "motorbike"),
)
_CALLED: Final = {
    "sedan": ("sedan", "saloon car", "car"),
    "hatchback": ("hatchback", "small car", "car"),
    "estate": ("estate car", "station wagon", "car"),
    "suv": ("SUV", "off-road car", "sport utility vehicle"),
    "pickup": ("pickup truck", "pickup"),
    "van": ("van", "delivery van"),
    "minibus": ("minibus", "passenger van"),
    "lorry": ("lorry", "truck", "box truck"),
    "bus": ("bus", "coach"),
    "motorbike": ("motorbike", "motorcycle"),
}
_SIDES: Final = (
    ("seen from the right side", "from its right side", "passing by"),
    ("seen from the front right", "from the front at an angle", "in a three-quarter view"),
    ("seen from the front", "facing the camera", "coming towards the camera"),
    ("seen from the front left", "from the front at an angle", "in a three-quarter view"),
    ("seen from the left side", "from its left side", "passing by"),
    ("seen from the rear left", "from behind at an angle", "in a three-quarter rear view"),
    ("seen from behind", "from the rear", "driving away from the camera"),
    ("seen from the rear right", "from behind at an angle", "in a three-quarter rear view"),
)
_N_CAMERAS: Final = 24


def pictures(rng: np.random.Generator, n: int) -> Iterator[Picture]:
    """n pictures of one vehicle by 2 to 4 road cameras."""
    vehicle, names = _vehicle(rng)
    cameras = rng.choice(_N_CAMERAS, int(rng.integers(2, 5)), replace=False)
    for k in range(n):
        camera = int(cameras[k % len(cameras)])
        view = _view(camera, rng)
        light = pick(rng, ("day", "day", "day", "day", "rain", "night", "night"))
        image, quality = _shot(vehicle, view, camera, light, rng)
        caption = fitting(partial(_caption, vehicle, names, view, light, rng))
        yield Picture(image, quality, str(camera + 1), caption)


def _vehicle(rng: np.random.Generator) -> tuple[Vehicle, dict[str, str]]:
    """A vehicle, and the names of its colours by part."""
    kind = pick(rng, _TYPES)
    shares = np.array([share for _, share in COLOURS.values()])
    names = {
        part: list(COLOURS)[int(rng.choice(len(COLOURS), p=shares / shares.sum()))]
        for part in ("body", "cargo", "rider")
    }
    names |= {part: pick(rng, list(COLOURS)) for part in ("second", "mark")}
    paints = Paints(**{part: near(rng, COLOURS[name][0]) for part, name in names.items()})
    return build(kind, paints, rng), names


def _view(camera: int, rng: np.random.Generator) -> View:
    """Each camera looks down its road; vehicles come both ways, and turn a little."""
    habit = np.random.default_rng((camera, *b"view"))
    bearing = (
        float(habit.uniform(0, 2 * math.pi)) if habit.random() < 0.5 else 0.5 * math.pi + float(habit.normal(0, 0.35))
    )
    pitch = float(habit.uniform(0.08, 0.6))
    way = math.pi * float(rng.random() < 0.4)
    return View(
        yaw=(bearing + way + float(rng.normal(0, 0.12))) % (2 * math.pi),
        pitch=float(np.clip(pitch + rng.normal(0, 0.04), 0.03, 0.8)),
        roll=float(rng.normal(0, 0.03)),
        near=float(rng.uniform(0.02, 0.06)),
    )


def _shot(vehicle: Vehicle, view: View, camera: int, light: str, rng: np.random.Generator) -> tuple[Image.Image, int]:
    """The picture, and its JPEG quality. light: "day", "night" or "rain"."""
    box = view.frame(vehicle, rng)
    size = _size(box, rng)
    sheet = _road(camera, (2 * size[0], 2 * size[1]), rng)
    lamps = paint(vehicle, view, box, sheet, sun=float(rng.uniform(-1, 1)))
    if rng.random() < 0.2:
        obstructed(sheet, rng)
    if light == "rain":
        sheet = rained_on(sheet, rng)
    lens = night(rng) if light == "night" else daylight(rng)
    image = taken(sheet, size, lens, rng)
    if light == "night" and rng.random() < 0.7:
        image = _glaring(image, lamps, float(rng.uniform(0.3, 1.2)))
    return image, lens.quality


def _glaring(image: Image.Image, lamps: list[Lamp], strength: float) -> Image.Image:
    """The picture with lamps that shine into the lens."""
    values = np.asarray(image, dtype=np.float32).copy()
    y, x = np.ogrid[: image.height, : image.width]
    for lamp in lamps:
        near = ((x - lamp.centre.real / 2) ** 2 + (y - lamp.centre.imag / 2) ** 2) / (lamp.radius / 2 + 2) ** 2
        glow = np.exp(-near) + 0.25 * np.exp(-near / 12)
        values += np.float32(strength) * glow[..., None].astype(np.float32) * np.asarray(lamp.colour, dtype=np.float32)
    return picture(values)


def _size(box: tuple[float, float, float, float], rng: np.random.Generator) -> tuple[int, int]:
    """In pixels: 96 to 160 the longer side."""
    width, height = box[2] - box[0], box[3] - box[1]
    longer = float(rng.uniform(100, 150)) / max(width, height)
    return max(64, round(width * longer)), max(64, round(height * longer))


def _road(camera: int, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Tarmac with markings, and what lies beside and beyond."""
    habit = np.random.default_rng((camera, *b"road"))
    level = int(habit.integers(70, 150))
    sheet = ground(rng, size, (level, level, level + int(habit.integers(-6, 8))))
    pen, (width, height) = ImageDraw.Draw(sheet), size
    verge = ((88, 112, 66), (150, 140, 120), (120, 124, 128), (70, 92, 58))[int(habit.integers(4))]
    horizon = float(habit.uniform(-0.3, 0.35) + rng.normal(0, 0.05)) * height
    if horizon > 0:
        pen.rectangle((0, 0, width, horizon), fill=scaled(verge, float(rng.uniform(0.7, 1.2))))
        clutter_sheet = sheet.crop((0, 0, width, max(2, int(horizon))))
        clutter(clutter_sheet, rng, int(rng.integers(2, 8)))
        sheet.paste(clutter_sheet, (0, 0))
    slant = float(habit.normal(0, 0.8))
    for _ in range(int(rng.integers(0, 4))):
        x = float(rng.uniform(-0.3, 1.3)) * width
        pen.line((x, height, x + slant * height, horizon), fill=(214, 212, 200), width=int(rng.integers(2, 8)))
    return sheet


def _caption(vehicle: Vehicle, names: dict[str, str], view: View, light: str, rng: np.random.Generator) -> str:
    what = f"{names['body']} {pick(rng, _CALLED[vehicle.kind])}"
    side = pick(rng, _SIDES[round(view.yaw / (math.pi / 4)) % 8])
    details = [detail.format(**names) for detail in vehicle.details(view) if rng.random() < 0.75]
    where = pick(rng, ("on the road", "on a street", "in traffic", "in a road camera picture", ""))
    when = {
        "day": "",
        "night": pick(rng, ("at night", "in the dark")),
        "rain": pick(rng, ("in the rain", "in wet weather")),
    }
    extra = f"with {listed(details)}" if details else ""
    style = rng.random()
    if style < 0.45:
        return sentence(f"a {what} {extra} {side} {where} {when[light]}")
    if style < 0.75:
        return sentence(
            f"{pick(rng, ('a picture of', 'this is', 'there is'))} a {what} {where} {when[light]}, {side}" + f" {extra}"
        )
    return sentence(f"the {what} is {side} {where} {when[light]}" + (f" and has {listed(details)}" if details else ""))
