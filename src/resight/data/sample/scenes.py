"""What stands behind the people: six painted places, large enough to cut many different views from."""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from resight.data.sample.canvas import HEIGHT, RGB, SHEET, WIDTH, mixed

SCENE: Final = (720, 400)
"""A scene's size in pixels; a view of it at zoom 1 is twice as fine as a finished picture."""

_GROUND: Final = 210
"""Where wall and ground meet, in pixels from a scene's upper edge."""


def view(scene: Image.Image, x: float, y: float, zoom: float) -> Image.Image:
    """The part of a scene that one picture shows, as a drawing sheet.

    x, y: where in the scene it lies, 0 to 1. zoom: how large things appear, 1 to 2.
    """
    width, height = 2 * WIDTH / zoom, 2 * HEIGHT / zoom
    left, top = x * (scene.width - width), y * (scene.height - height)
    # The canvas averages later, so that the nearest pixel is good enough, and much faster than a mean.
    return scene.resize(SHEET, Image.Resampling.NEAREST, box=(left, top, left + width, top + height))


@functools.lru_cache(16)
def scene(place: str, seed: int) -> Image.Image:
    """The picture of a place: "street", "park", "corridor", "shops", "car park" or "station"."""
    rng = np.random.default_rng((seed, *place.encode()))
    image = Image.new("RGB", SCENE)
    _PAINTERS[place](image, ImageDraw.Draw(image), rng)
    return _weathered(image, rng)


def _weathered(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The scene with blotches of light, large and small, and soft edges."""
    width, height = image.size
    light = np.ones((height, width))
    for size, depth in ((48, 0.07), (10, 0.05), (2, 0.05)):
        blotches = Image.fromarray(rng.normal(0, depth, (height // size + 1, width // size + 1)).astype(np.float32))
        light += np.asarray(blotches.resize((width, height), Image.Resampling.BICUBIC))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1.0)), dtype=np.float64) * light[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _near(rng: np.random.Generator, colour: RGB, spread: int = 14) -> RGB:
    r, g, b = np.clip(np.asarray(colour) + rng.integers(-spread, spread + 1) + rng.integers(-2, 3, 3), 0, 255).tolist()
    return r, g, b


def _paving(pen: ImageDraw.ImageDraw, rng: np.random.Generator, colour: RGB, joint: RGB, n_rows: int = 7) -> None:
    """The ground in slabs that grow towards the viewer."""
    width, height = SCENE
    pen.rectangle((0, _GROUND, width, height), fill=colour)
    rows = _GROUND + (height - _GROUND) * (np.arange(n_rows + 1) / n_rows) ** 1.6
    for top, bottom in zip(rows[:-1].tolist(), rows[1:].tolist(), strict=True):
        for k in range(-26, 26):
            xs = [
                width / 2 + (k + dx) * 60 * (0.35 + (y - _GROUND) / 190)
                for y, dx in ((top, 0), (top, 1), (bottom, 1), (bottom, 0))
            ]
            if max(xs) > 0 and min(xs) < width:
                corners = [(xs[0], top), (xs[1], top), (xs[2], bottom), (xs[3], bottom)]
                pen.polygon(corners, fill=_near(rng, colour, 8), outline=joint)


def _street(image: Image.Image, pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A brick wall with windows and doors, over pavement."""
    width, _ = SCENE
    mortar = (150, 134, 120)
    pen.rectangle((0, 0, width, _GROUND), fill=mortar)
    for row, y in enumerate(range(-2, _GROUND, 9)):
        for x in range(-22 + 11 * (row % 2), width, 22):
            pen.rectangle((x, y, x + 20, y + 7), fill=_near(rng, (142, 84, 64)))
    for x in range(int(rng.integers(20, 60)), width, 150):
        pen.rectangle((x, 20, x + 62, 118), fill=(206, 200, 188))
        pen.rectangle((x + 5, 25, x + 57, 113), fill=_near(rng, (70, 86, 100)))
        pen.line((x + 31, 25, x + 31, 113), fill=(206, 200, 188), width=4)
        door = x + 84
        pen.rectangle((door, 60, door + 44, _GROUND), fill=_near(rng, _DOORS[int(rng.integers(len(_DOORS)))]))
        pen.rectangle((door + 6, 70, door + 38, 120), outline=(30, 30, 30))
    pen.rectangle((0, _GROUND - 14, width, _GROUND), fill=(112, 104, 96))
    _paving(pen, rng, (168, 162, 152), (128, 122, 114))


def _park(image: Image.Image, pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Trees and a hedge behind a lawn, with a path across."""
    width, height = SCENE
    pen.rectangle((0, 0, width, 60), fill=(186, 208, 222))
    pen.rectangle((0, 60, width, _GROUND), fill=(40, 62, 36))
    for _ in range(260):
        x, y, radius = rng.uniform(-20, width + 20), rng.uniform(-30, 150), rng.uniform(10, 34)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_near(rng, (62, 98, 48), 26))
    for x in rng.uniform(0, width, 9).tolist():
        pen.rectangle((x, 60, x + rng.uniform(8, 18), _GROUND), fill=_near(rng, (84, 66, 50)))
    for x in range(-10, width, 7):
        top = 150 + rng.uniform(0, 16)
        pen.ellipse((x, top, x + 24, _GROUND + 14), fill=_near(rng, (44, 84, 40), 16))
    pen.rectangle((0, _GROUND, width, height), fill=(116, 152, 70))
    for _ in range(2200):
        x, y = rng.uniform(0, width), _GROUND + (height - _GROUND) * rng.uniform(0, 1)
        pen.line((x, y, x + rng.uniform(-2, 2), y - 3 - 6 * (y - _GROUND) / 190), fill=_near(rng, (110, 148, 64), 26))
    pen.polygon([(120, _GROUND), (190, _GROUND), (560, height), (140, height)], fill=(198, 182, 148))


def _corridor(image: Image.Image, pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Pale walls with doors and notices, over polished tiles that mirror the lamps."""
    width, height = SCENE
    pen.rectangle((0, 0, width, _GROUND), fill=(206, 196, 170))
    pen.rectangle((0, 0, width, 26), fill=(236, 232, 216))
    for x in range(int(rng.integers(10, 50)), width, 132):
        pen.rectangle((x, 44, x + 56, _GROUND), fill=_near(rng, (122, 82, 54)), outline=(88, 60, 40), width=4)
        pen.rectangle((x + 20, 62, x + 36, 100), fill=(178, 196, 200))
        pen.ellipse((x + 45, 130, x + 50, 135), fill=(226, 214, 160))
        notice = x + 76
        pen.rectangle((notice, 70, notice + 30, 108), fill=_near(rng, _DOORS[int(rng.integers(len(_DOORS)))], 40))
    pen.rectangle((0, 122, width, 128), fill=(150, 128, 96))
    pen.rectangle((0, _GROUND - 12, width, _GROUND), fill=(74, 66, 58))
    _paving(pen, rng, (176, 168, 150), (146, 138, 122), n_rows=9)
    mirrored = Image.new("L", SCENE)
    for x in range(60, width, 160):
        ImageDraw.Draw(mirrored).ellipse((x, _GROUND + 10, x + 60, height), fill=90)
    image.paste((250, 246, 226), (0, 0), mirrored.filter(ImageFilter.GaussianBlur(14)))


def _shops(image: Image.Image, pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Lit windows full of goods under coloured signs, over light concrete."""
    width, _ = SCENE
    pen.rectangle((0, 0, width, _GROUND), fill=(92, 94, 100))
    for x in range(-20, width, 120):
        sign = _DOORS[int(rng.integers(len(_DOORS)))]
        pen.rectangle((x, 14, x + 112, 44), fill=sign)
        for letter in range(8, 96, 12):
            pen.rectangle((x + letter, 22, x + letter + 7, 36), fill=(236, 234, 226))
        pen.rectangle((x + 4, 52, x + 108, 186), fill=_near(rng, (168, 186, 196)))
        for _ in range(18):
            left, top = x + 8 + rng.uniform(0, 84), 70 + rng.uniform(0, 90)
            goods = _near(rng, _GOODS[int(rng.integers(len(_GOODS)))])
            pen.rectangle((left, top, left + rng.uniform(6, 16), top + rng.uniform(8, 24)), fill=goods)
        pen.line((x + 56, 52, x + 56, 186), fill=(60, 62, 66), width=4)
        pen.polygon([(x + 14, 52), (x + 30, 52), (x + 8, 140), (x + 6, 140)], fill=(206, 218, 224))
    pen.rectangle((0, 190, width, _GROUND), fill=(66, 66, 70))
    _paving(pen, rng, (190, 190, 186), (160, 160, 158), n_rows=4)


def _car_park(image: Image.Image, pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Parked cars before a fence, over asphalt with white lines."""
    width, height = SCENE
    pen.rectangle((0, 0, width, 120), fill=(196, 202, 208))
    pen.rectangle((0, 86, width, 150), fill=(134, 140, 138))
    for post in range(0, width, 8):
        pen.line((post, 60, post, 150), fill=(112, 118, 120), width=1)
    pen.rectangle((0, 148, width, height), fill=(96, 98, 102))
    for left in range(-30, width, 138):
        paint_car(pen, left, 104, 116, _near(rng, _CARS[int(rng.integers(len(_CARS)))]))
    for k in range(-5, 7):
        near, far = width / 2 + k * 150, width / 2 + k * 84
        pen.polygon(
            [(far, _GROUND + 6), (far + 5, _GROUND + 6), (near + 11, height), (near, height)], fill=(206, 208, 206)
        )
    for _ in range(14):
        x, y = rng.uniform(0, width), rng.uniform(_GROUND, height)
        pen.ellipse((x, y, x + rng.uniform(14, 50), y + rng.uniform(3, 10)), fill=_near(rng, (74, 76, 80)))


def paint_car(pen: ImageDraw.ImageDraw, x: float, y: float, width: float, colour: RGB) -> None:
    """A car seen from its front, its upper left corner at x, y."""
    roof = y + 0.32 * width
    cabin = [(x + 0.14 * width, roof), (x + 0.24 * width, y), (x + 0.76 * width, y), (x + 0.86 * width, roof)]
    pen.polygon(cabin, fill=colour)
    pane = [(x + 0.19 * width, roof), (x + 0.27 * width, y + 0.05 * width), (x + 0.73 * width, y + 0.05 * width)]
    pen.polygon([*pane, (x + 0.81 * width, roof)], fill=(58, 68, 78))
    paint_bonnet(pen, x, roof, width, colour)


def paint_bonnet(pen: ImageDraw.ImageDraw, x: float, y: float, width: float, colour: RGB) -> None:
    """What of a car is below its windscreen."""
    grille, bumper = y + 0.20 * width, y + 0.48 * width
    pen.rounded_rectangle((x + 0.04 * width, y, x + 0.96 * width, bumper), radius=0.08 * width, fill=colour)
    pen.rectangle(
        (x + 0.06 * width, grille, x + 0.94 * width, bumper - 0.06 * width), fill=mixed(colour, (0, 0, 0), 0.3)
    )
    for side in (0.08, 0.74):
        lamp = (x + side * width, grille + 0.01 * width, x + (side + 0.18) * width, grille + 0.10 * width)
        pen.rounded_rectangle(lamp, radius=0.03 * width, fill=(236, 236, 222))
        pen.rectangle((x + side * width, bumper, x + (side + 0.18) * width, bumper + 0.09 * width), fill=(22, 22, 24))
    pen.rectangle(
        (x + 0.36 * width, grille + 0.06 * width, x + 0.64 * width, grille + 0.13 * width), fill=(226, 226, 220)
    )


def _station(image: Image.Image, pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Tiled walls with posters and pillars under lamps, over dark flags with a yellow line."""
    width, _ = SCENE
    for y in range(0, _GROUND, 14):
        for x in range(0, width, 20):
            pen.rectangle((x, y, x + 18, y + 12), fill=_near(rng, (128, 138, 136), 8))
    pen.rectangle((0, 96, width, 116), fill=(46, 84, 112))
    for x in range(int(rng.integers(10, 60)), width, 170):
        poster, disc = (_near(rng, _GOODS[int(rng.integers(len(_GOODS)))], 30) for _ in range(2))
        pen.rectangle((x, 40, x + 66, 140), fill=poster, outline=(40, 40, 42), width=4)
        pen.ellipse((x + 16, 56, x + 50, 90), fill=disc)
        pen.rectangle((x + 108, 0, x + 136, _GROUND + 16), fill=(92, 94, 96))
        pen.rectangle((x + 110, 0, x + 116, _GROUND + 16), fill=(124, 126, 128))
    _paving(pen, rng, (104, 104, 108), (82, 82, 86), n_rows=6)
    pen.polygon([(0, 300), (width, 262), (width, 274), (0, 316)], fill=(206, 172, 58))


_DOORS: Final[tuple[RGB, ...]] = ((46, 72, 96), (112, 38, 36), (58, 84, 60), (70, 58, 48), (190, 150, 60), (52, 52, 58))
_CARS: Final[tuple[RGB, ...]] = (
    (170, 172, 176),
    (40, 42, 48),
    (120, 30, 34),
    (44, 62, 104),
    (206, 206, 202),
    (88, 92, 86),
)
_GOODS: Final[tuple[RGB, ...]] = (
    (200, 196, 186),
    (150, 60, 56),
    (70, 92, 130),
    (40, 42, 46),
    (196, 168, 96),
    (90, 122, 92),
)
_PAINTERS: Final = {
    "street": _street,
    "park": _park,
    "corridor": _corridor,
    "shops": _shops,
    "car park": _car_park,
    "station": _station,
}
