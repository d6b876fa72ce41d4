"""Animals as cut-outs: a coat inside the outline of a face or body, with eyes, ears, horns, tags; and their poses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from nuisance import picture
from numpy.typing import NDArray
from pen import RGB, Pen, Points, lighter, rounded, scaled
from PIL import Image, ImageDraw
from words import pick

SHEET: Final = 256
"""Width and height in pixels; units are −1 to 1."""

_MESH: Final = 8
"""Cells across, into which a pose cuts the sheet."""

Levels = NDArray[np.float32]

_PINK: Final = (196, 146, 138)
_DARK: Final = (38, 34, 34)

# fmt: off
FACES: Final[dict[str, tuple[complex, ...]]] = {
    "cow": (
        -0.36 - 0.86j, 0.36 - 0.86j, 0.54 - 0.5j, 0.46 - 0.05j, 0.36 + 0.4j, 0.42 + 0.7j, 0.24 + 0.95j, -0.24 + 0.95j,
        -0.42 + 0.7j, -0.36 + 0.4j, -0.46 - 0.05j, -0.54 - 0.5j,
    ),
    "horse": (
        -0.22 - 0.92j, 0.22 - 0.92j, 0.42 - 0.55j, 0.38 - 0.1j, 0.26 + 0.4j, 0.28 + 0.75j, 0.16 + 0.97j,
        -0.16 + 0.97j, -0.28 + 0.75j, -0.26 + 0.4j, -0.38 - 0.1j, -0.42 - 0.55j,
    ),
    "cat": (
        -0.4 - 0.62j, 0.4 - 0.62j, 0.8 - 0.3j, 0.85 + 0.25j, 0.5 + 0.66j, 0.2 + 0.82j, -0.2 + 0.82j, -0.5 + 0.66j,
        -0.85 + 0.25j, -0.8 - 0.3j,
    ),
    "dog": (
        -0.36 - 0.75j, 0.36 - 0.75j, 0.66 - 0.4j, 0.6 + 0.1j, 0.36 + 0.4j, 0.32 + 0.8j, 0.12 + 0.9j, -0.12 + 0.9j,
        -0.32 + 0.8j, -0.36 + 0.4j, -0.6 + 0.1j, -0.66 - 0.4j,
    ),
    "seal": (
        -0.4 - 0.7j, 0.4 - 0.7j, 0.78 - 0.3j, 0.85 + 0.3j, 0.95 + 1.1j, -0.95 + 1.1j, -0.85 + 0.3j, -0.78 - 0.3j,
    ),
}
# fmt: on
"""Outlines from the front; kinds without one have that of another."""

_LIKE: Final = {"zebra": "horse", "giraffe": "horse", "leopard": "cat", "tiger": "cat"}

# fmt: off
BODIES: Final[dict[str, tuple[complex, ...]]] = {
    "cow": (
        -0.7 - 0.45j, 0.3 - 0.48j, 0.62 - 0.62j, 0.9 - 0.5j, 0.95 - 0.2j, 0.75 - 0.1j, 0.55 + 0.05j, 0.4 + 0.25j,
        -0.55 + 0.28j, -0.78 + 0.1j,
    ),
    "horse": (
        -0.68 - 0.32j, 0.2 - 0.3j, 0.5 - 0.7j, 0.62 - 0.9j, 0.95 - 0.55j, 0.85 - 0.45j, 0.66 - 0.5j, 0.52 + 0.05j,
        0.35 + 0.2j, -0.5 + 0.2j, -0.75 + 0.05j,
    ),
    "giraffe": (
        -0.55 + 0j, 0.05 - 0.15j, 0.4 - 0.85j, 0.5 - 0.98j, 0.82 - 0.8j, 0.78 - 0.7j, 0.55 - 0.75j, 0.34 + 0.1j,
        0.15 + 0.35j, -0.4 + 0.35j, -0.62 + 0.2j,
    ),
    "cat": (
        -0.7 - 0.3j, 0.3 - 0.32j, 0.5 - 0.55j, 0.78 - 0.62j, 0.95 - 0.35j, 0.8 - 0.12j, 0.55 + 0j, 0.4 + 0.22j,
        -0.55 + 0.24j, -0.8 + 0j,
    ),
    "seal": (
        -0.98 + 0.3j, -0.9 - 0.02j, -0.3 - 0.4j, 0.4 - 0.45j, 0.7 - 0.55j, 0.97 - 0.3j, 0.85 - 0.05j, 0.5 + 0.3j,
        -0.2 + 0.4j, -0.8 + 0.15j, -0.92 + 0.4j,
    ),
}
# fmt: on
"""Outlines of trunk, neck and head from the side, looking to the right; legs come apart."""

_BODY_LIKE: Final = {"zebra": "horse", "leopard": "cat", "tiger": "cat", "dog": "cat"}


@dataclass(frozen=True, slots=True)
class Beast:
    """cutout: RGBA, SHEET square. depth: how far the middle of it stands out, in units; 0 for a flat side."""

    cutout: Image.Image
    depth: float

    def posed(self, turn: float, rng: np.random.Generator) -> Image.Image:
        """The cut-out turned to the right by `turn` radians, tilted, nearer or further, and a little bent."""
        grid = np.linspace(-1, 1, _MESH + 1)
        x, y = np.meshgrid(grid, grid)
        zoom, tilt = float(rng.uniform(0.78, 1.12)), float(rng.normal(0, 0.12))
        shift = complex(*rng.normal(0, 0.07, 2).tolist())
        points = (x + 1j * y - shift) * np.exp(-1j * tilt) / zoom * (1 + float(rng.normal(0, 0.05)) * y)
        points = points.real * (1 + abs(turn) * 0.25 * (1 - self.depth)) + 1j * points.imag * (
            1 + float(rng.normal(0, 0.05))
        )
        if self.depth:  # a head is a cylinder with a muzzle that stands out below
            angle = np.arcsin(np.clip(points.real * 0.8, -1, 1)) - 0.75 * turn
            muzzle = np.exp(-((points.real / 0.6) ** 2) - ((points.imag - 0.5) / 0.5) ** 2)
            points = (
                np.sin(np.clip(angle, -1.55, 1.55)) / 0.8 + 0.55 * turn - self.depth * turn * muzzle + 1j * points.imag
            )
        bend = rng.normal(0, 0.02, (2, _MESH + 1, _MESH + 1))
        points += bend[0] + 1j * bend[1]
        source, target = (points + 1 + 1j) * (SHEET / 2), np.round((grid + 1) * (SHEET / 2)).astype(int)
        mesh = []
        for row in range(_MESH):
            for column in range(_MESH):
                corners = (
                    source[row, column],
                    source[row + 1, column],
                    source[row + 1, column + 1],
                    source[row, column + 1],
                )
                box = (int(target[column]), int(target[row]), int(target[column + 1]), int(target[row + 1]))
                mesh.append(
                    (box, tuple(value for corner in corners for value in (float(corner.real), float(corner.imag))))
                )
        return self.cutout.transform((SHEET, SHEET), Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def face(kind: str, fill: RGB, levels: Levels, rng: np.random.Generator) -> tuple[Beast, list[str]]:
    """An animal's face under a coat [H, W, 3], and what there is to say of it."""
    shape = _LIKE.get(kind, kind)
    cutout, pen = _empty()
    said: list[str] = []
    outline = _varied(FACES[shape], rng, 0.05)
    coat = _coat(levels)
    ears = _mean_colour(levels, rng)
    if shape == "cow":
        said += _cow_ears(pen, ears, rng)
    elif shape in ("horse", "giraffe"):
        _upright_ears(pen, ears, kind, rng)
    elif shape == "cat":
        for side in (-1, 1):
            tip = side * float(rng.uniform(0.6, 0.75)) - 1j * float(rng.uniform(0.85, 1.0))
            pen.shape([side * 0.25 - 0.55j, tip, side * 0.82 - 0.15j], ears)
            pen.shape([side * 0.4 - 0.52j, 0.93 * tip, side * 0.72 - 0.3j], scaled(_PINK, 0.8))
    _fill(cutout, coat, outline)
    pen.sheet.line(_flat(pen, outline), fill=scaled(ears, 0.5), width=2)
    if shape == "dog":
        for side in (-1, 1):
            drop = float(rng.uniform(0.1, 0.4))
            pen.blob(
                [side * 0.42 - 0.72j, side * 0.9 - 0.6j, side * 0.95 + drop * 1j, side * 0.6 + 0.05j], scaled(ears, 0.8)
            )
    _eyes(pen, shape, rng)
    said += _muzzle(pen, shape, rng)
    if kind == "horse" and rng.random() < 0.7:
        mane = pick(rng, ((30, 26, 24), (72, 46, 30), (206, 186, 150), scaled(fill, 0.6)))
        tip = complex(float(rng.normal(0, 0.15)), float(rng.uniform(-0.5, -0.1)))
        pen.shape([-0.2 - 0.95j, 0.2 - 0.95j, tip + 0.05, tip - 0.08], mane)
        said.append("a forelock")
    return Beast(cutout, 0.5 if shape != "seal" else 0.25), said


def body(kind: str, levels: Levels, rng: np.random.Generator) -> tuple[Beast, list[str]]:
    """An animal from one of its sides under a coat [H, W, 3], and what there is to say of it."""
    shape = _BODY_LIKE.get(kind, kind)
    cutout, pen = _empty()
    said: list[str] = []
    coat, outline = _coat(levels), _varied(BODIES[shape], rng, 0.025)
    tone = _mean_colour(levels, rng)
    tail = pick(rng, (scaled(tone, 0.6), _DARK, lighter(tone, 0.3)))
    if shape == "seal":
        pen.blob([0.3 + 0.2j, 0.15 + 0.65j, 0.35 + 0.68j, 0.5 + 0.25j], scaled(tone, 0.8))
    else:
        _legs(cutout, pen, coat, shape, tone, rng)
        lower = complex(-0.9, float(rng.uniform(0.1, 0.45)))
        pen.line([-0.68 - 0.2j, -0.85 - 0.1j, lower], 0.05 if shape != "cat" else 0.08, tail)
    if shape in ("horse", "giraffe"):
        neck = (
            [0.16 - 0.34j, 0.46 - 0.78j, 0.62 - 0.95j, 0.3 - 0.3j]
            if shape == "horse"
            else [0.1 - 0.2j, 0.42 - 0.9j, 0.36 - 0.9j, 0.02 - 0.2j]
        )
        pen.shape(neck, tail)
    _fill(cutout, coat, outline)
    head = {
        "cow": 0.78 - 0.42j,
        "horse": 0.72 - 0.68j,
        "giraffe": 0.62 - 0.84j,
        "cat": 0.76 - 0.42j,
        "seal": 0.78 - 0.36j,
    }[shape]
    pen.oval(head, 0.03, 0.03, (16, 14, 14))
    if shape != "seal":
        back = {"cow": -0.17 - 0.12j, "horse": -0.1 - 0.18j, "giraffe": -0.12 - 0.1j, "cat": -0.12 - 0.14j}[shape]
        pen.shape([head + back, head + 0.7 * back - 0.16j, head + 0.4 * back - 0.02j], tone)
        pen.oval(head + 0.17 + 0.14j, 0.05, 0.04, _DARK)
    if kind == "cow":
        if rng.random() < 0.6:
            pen.oval(-0.3 + 0.3j, 0.15, 0.09, _PINK)
        if rng.random() < 0.3:
            pen.line([head - 0.05 - 0.14j, head + 0.02 - 0.3j], 0.04, (206, 196, 170))
            said.append("horns")
    if kind in ("horse", "dog", "cow") and rng.random() < 0.15:
        name, band = pick(rng, (("red", (188, 36, 34)), ("blue", (40, 72, 170)), ("yellow", (226, 190, 50))))
        x, y = (0.5, -0.1) if kind == "cow" else (0.42, -0.3) if kind == "horse" else (0.48, -0.2)
        pen.line([complex(x - 0.1, y - 0.3), complex(x + 0.12, y + 0.14)], 0.05, band)
        said.append(f"a {name} collar")
    if rng.random() < 0.5:
        cutout = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return Beast(cutout, 0.0), said


def _legs(cutout: Image.Image, pen: Pen, coat: Image.Image, shape: str, tone: RGB, rng: np.random.Generator) -> None:
    top = {"cow": 0.1, "horse": 0.05, "giraffe": 0.25, "cat": 0.1}[shape]
    foot, wide = {"cow": (0.85, 0.09), "horse": (0.9, 0.075), "giraffe": (0.97, 0.05), "cat": (0.72, 0.08)}[shape]
    rear, front = {"cow": (-0.62, 0.4), "horse": (-0.6, 0.36), "giraffe": (-0.48, 0.18), "cat": (-0.62, 0.4)}[shape]
    socks = rng.random() < 0.4
    for x, near in ((rear + 0.14, False), (front - 0.14, False), (rear, True), (front, True)):
        step = float(rng.normal(0, 0.06))
        leg = np.array(
            [
                complex(x - 1.4 * wide, top),
                complex(x + 1.4 * wide, top),
                complex(x + step + wide, foot),
                complex(x + step - wide, foot),
            ]
        )
        if near:
            _fill(cutout, coat, leg)
        else:
            pen.shape(leg, scaled(tone, 0.55))
        if socks:
            end = np.array([leg[2] - 0.2j, leg[2], leg[3], leg[3] - 0.2j])
            pen.shape(end, (206, 202, 194) if near else (140, 138, 132))
        pen.box(x + step - wide, foot - 0.03, x + step + wide, foot + 0.03, _DARK)


def _cow_ears(pen: Pen, colour: RGB, rng: np.random.Generator) -> list[str]:
    said, droop = [], float(rng.normal(0.1, 0.12))
    if rng.random() < 0.25:
        for side in (-1, 1):
            root = side * 0.34 - 0.82j
            pen.shape([root - side * 0.07, root + side * 0.22 - 0.2j, root + side * 0.07 + 0.1j], (206, 196, 170))
        said.append("short horns")
    tag, place = (
        pick(rng, ("yellow", "yellow", "orange", "none", "none")),
        pick(rng, ("both ears", "left ear", "right ear")),
    )
    paint = {"yellow": (232, 200, 40), "orange": (232, 128, 40), "none": (0, 0, 0)}[tag]
    dark = rng.random(2) < 0.5
    for side, shade in ((-1, dark[0]), (1, dark[1])):
        centre = side * 0.72 + 1j * (-0.5 + droop)
        pen.oval(centre, 0.28, 0.14, scaled(colour, 0.6) if shade else colour, turn=side * (0.15 + droop))
        pen.oval(centre + 0.02j, 0.18, 0.07, scaled(_PINK, 0.75), turn=side * (0.15 + droop))
        if tag != "none" and place in ("both ears", "left ear" if side < 0 else "right ear"):
            low = centre + side * 0.08 + 0.12j
            pen.box(low.real - 0.09, low.imag - 0.08, low.real + 0.09, low.imag + 0.13, paint)
            for k in range(3):
                if rng.random() < 0.7:
                    pen.box(low.real - 0.06 + 0.045 * k, low.imag, low.real - 0.035 + 0.045 * k, low.imag + 0.08, _DARK)
    if tag != "none":
        said.append(f"{tag} tags in both ears" if place == "both ears" else f"a {tag} tag in the {place}")
    return said


def _upright_ears(pen: Pen, colour: RGB, kind: str, rng: np.random.Generator) -> None:
    spread = float(rng.uniform(0.24, 0.4)) if kind != "giraffe" else 0.6
    for side in (-1, 1):
        if kind == "giraffe":
            pen.line([side * 0.14 - 0.8j, side * 0.2 - 1.0j], 0.09, colour)
            pen.oval(side * 0.2 - 1j, 0.08, 0.06, _DARK)
        pen.blob(
            [side * 0.14 - 0.8j, side * spread - 1.08j, side * (spread + 0.1) - 0.85j, side * 0.36 - 0.66j], colour
        )


def _eyes(pen: Pen, shape: str, rng: np.random.Generator) -> None:
    x, y, rx, ry = {
        "cow": (0.4, -0.28, 0.075, 0.06),
        "horse": (0.34, -0.38, 0.06, 0.055),
        "cat": (0.36, -0.08, 0.16, 0.13),
        "dog": (0.28, -0.18, 0.075, 0.075),
        "seal": (0.38, -0.15, 0.14, 0.14),
    }[shape]
    iris = pick(rng, ((206, 180, 60), (120, 160, 70), (90, 140, 180), (180, 120, 50)))
    for side in (-1, 1):
        centre = side * x + 1j * y
        if shape == "cat":
            pen.oval(centre, rx, ry, iris)
            pen.oval(centre, 0.3 * rx, 0.9 * ry, _DARK)
            continue
        pen.oval(centre, 1.5 * rx, 1.4 * ry, (52, 44, 42) if shape != "seal" else (30, 28, 28))
        pen.oval(centre, rx, ry, (18, 15, 15))
        pen.oval(centre - 0.02 - 0.02j, 0.3 * rx, 0.3 * ry, (214, 214, 214))


def _muzzle(pen: Pen, shape: str, rng: np.random.Generator) -> list[str]:
    pink = rng.random() < 0.4
    colour = scaled(_PINK if pink else _DARK, float(rng.uniform(0.85, 1.25)))
    if shape in ("cow", "horse"):
        wide = 0.34 if shape == "cow" else 0.24
        pen.oval(0.76j, wide, 0.2, colour)
        for side in (-1, 1):
            pen.oval(side * 0.6 * wide + 0.7j, 0.06, 0.045, scaled(colour, 0.4), turn=side * 0.5)
        pen.line([-0.7 * wide + 0.9j, 0.7 * wide + 0.9j], 0.02, scaled(colour, 0.5))
        return [f"a {'pink' if pink else 'dark'} muzzle"]
    y, size = {"cat": (0.26, 0.09), "dog": (0.5, 0.13), "seal": (0.2, 0.11)}[shape]
    pen.shape([-size + 1j * y, size + 1j * y, 1j * (y + size)], colour)
    pen.line([1j * (y + size), 1j * (y + 2 * size)], 0.02, _DARK)
    pen.arc(-size + 1j * (y + 2 * size), size, 0.6 * size, 0.0, 0.4, 0.02, _DARK)
    pen.arc(size + 1j * (y + 2 * size), size, 0.6 * size, 0.1, 0.5, 0.02, _DARK)
    if shape != "dog":
        for side in (-1, 1):
            for k in (-1, 0, 1):
                pen.line(
                    [side * 0.2 + 1j * (y + 0.12), side * 0.8 + 1j * (y + 0.12 + 0.12 * k)], 0.008, (220, 218, 214)
                )
    return [f"a {'pink' if pink else 'dark'} nose"] if shape != "seal" else []


def _empty() -> tuple[Image.Image, Pen]:
    cutout = Image.new("RGBA", (SHEET, SHEET))
    return cutout, Pen(ImageDraw.Draw(cutout), _placed, SHEET / 2)


def _placed(points: Points) -> Points:
    placed: Points = (points + 1 + 1j) * (SHEET / 2)
    return placed


def _varied(corners: tuple[complex, ...], rng: np.random.Generator, by: float) -> Points:
    """The outline of an individual, its corners cut."""
    points = np.array(corners) + rng.normal(0, by, len(corners)) + 1j * rng.normal(0, by, len(corners))
    return rounded(points)


def _coat(levels: Levels) -> Image.Image:
    return picture(levels).resize((SHEET, SHEET), Image.Resampling.BILINEAR)


def _fill(cutout: Image.Image, coat: Image.Image, outline: Points) -> None:
    mask = Image.new("L", cutout.size)
    ImageDraw.Draw(mask).polygon(_placed(outline).view(np.float64).tolist(), fill=255)
    cutout.paste(coat, (0, 0), mask)


def _flat(pen: Pen, outline: Points) -> list[float]:
    values: list[float] = pen.place(np.append(outline, outline[:1])).view(np.float64).tolist()
    return values


def _mean_colour(levels: Levels, rng: np.random.Generator) -> RGB:
    """The coat's colour at a random place."""
    x, y = rng.integers(0, len(levels) - 9, 2).tolist()
    r, g, b = np.clip(levels[y : y + 8, x : x + 8].mean(axis=(0, 1)), 0, 255).astype(int).tolist()
    return r, g, b
