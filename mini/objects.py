"""Buildings, vehicles, tools, clothes and what stands on a desk."""

from __future__ import annotations

from typing import Final

import numpy as np
from palette import INK, hue
from pen import RGB, Pen, lighter, regular, scaled, star
from words import NUMBERS, pick

_STEEL: Final[RGB] = (176, 182, 190)
_WOOD: Final[RGB] = (150, 100, 58)
_PANE: Final[RGB] = (168, 214, 238)
_WHITE: Final[RGB] = (248, 248, 248)


def house(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, roof), (_, door) = hue(rng), hue(rng), hue(rng)
    if rng.random() < 0.5:
        pen.box(0.4, -0.85, 0.62, -0.3, scaled(roof, 0.7))
    pen.box(-0.7, -0.15, 0.7, 0.9, fill)
    pen.shape([-0.95 - 0.1j, -0.9j, 0.95 - 0.1j], roof)
    pen.box(-0.15, 0.35, 0.2, 0.9, door)
    for x in (-0.45, 0.45):
        pen.box(x - 0.15, 0.05, x + 0.15, 0.32, _PANE)
    return f"{name} house with a {other} roof"


def tower_block(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), rows, columns = hue(rng), int(rng.integers(3, 6)), int(rng.integers(2, 5))
    pen.box(-0.62, -0.95, 0.62, 0.95, fill)
    pane = pick(rng, (_PANE, (250, 220, 120), (60, 72, 90)))
    for row in range(rows):
        for column in range(columns):
            x, y = -0.62 + 1.24 * (column + 0.5) / columns, -0.9 + 1.5 * (row + 0.5) / rows
            pen.box(x - 0.32 / columns, y - 0.45 / rows, x + 0.32 / columns, y + 0.45 / rows, pane)
    pen.box(-0.12, 0.68, 0.12, 0.95, INK)
    return f"{name} office block with {NUMBERS[rows]} floors"


def castle(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    pen.box(-0.6, -0.15, 0.6, 0.9, fill)
    for x in (-0.7, 0.7):
        pen.box(x - 0.24, -0.45, x + 0.24, 0.9, scaled(fill, 0.9))
        pen.shape([complex(x - 0.3, -0.45), complex(x, -0.95), complex(x + 0.3, -0.45)], mark)
    pen.shape([-0.2 + 0.9j, -0.2 + 0.4j, 0.2j, 0.2 + 0.4j, 0.2 + 0.9j], INK)
    return f"{name} castle with {other} roofs"


def tent(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    pen.shape([-0.98 + 0.8j, -0.7j, 0.98 + 0.8j], fill)
    if rng.random() < 0.5:
        pen.shape([-0.7 + 0.8j, -0.7j, -0.35 + 0.8j], mark)
        pen.shape([0.35 + 0.8j, -0.7j, 0.7 + 0.8j], mark)
        return f"{name} tent with {other} stripes"
    pen.shape([-0.35 + 0.8j, 0j, 0.35 + 0.8j], mark)
    return f"{name} tent with a {other} opening"


def small_car(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), kind = hue(rng), pick(rng, ("car", "lorry", "bus", "tractor"))
    other, mark = hue(rng, name)
    wheels = (-0.55, 0.55)
    if kind == "car":
        pen.shape(
            [
                -0.95 + 0.5j,
                -0.95 + 0.05j,
                -0.6 - 0.05j,
                -0.35 - 0.5j,
                0.35 - 0.5j,
                0.6 - 0.05j,
                0.95 + 0.1j,
                0.95 + 0.5j,
            ],
            fill,
        )
        pen.shape([-0.45 - 0.05j, -0.28 - 0.38j, -0.03 - 0.38j, -0.03 - 0.05j], _PANE)
        pen.shape([0.06 - 0.05j, 0.06 - 0.38j, 0.28 - 0.38j, 0.45 - 0.05j], _PANE)
    elif kind == "lorry":
        pen.box(-0.95, -0.6, 0.35, 0.5, mark)
        pen.shape([0.35 + 0.5j, 0.35 - 0.3j, 0.7 - 0.3j, 0.95 + 0.1j, 0.95 + 0.5j], fill)
        pen.shape([0.45 + 0.05j, 0.45 - 0.18j, 0.65 - 0.18j, 0.8 + 0.05j], _PANE)
    elif kind == "bus":
        pen.box(-0.95, -0.55, 0.95, 0.5, fill)
        for x in (-0.75, -0.3, 0.15, 0.6):
            pen.box(x - 0.16, -0.4, x + 0.2, -0.05, _PANE)
        pen.box(-0.95, 0.1, 0.95, 0.24, mark)
    else:
        pen.box(-0.2, -0.1, 0.85, 0.4, fill)
        pen.box(-0.75, -0.75, 0.0, 0.3, fill)
        pen.box(-0.6, -0.6, -0.15, -0.15, _PANE)
        wheels = (-0.45, 0.62)
    for k, x in enumerate(wheels):
        size = 0.42 if kind == "tractor" and k == 0 else 0.24
        pen.oval(complex(x, 0.75 - size), size, size, INK)
        pen.oval(complex(x, 0.75 - size), 0.45 * size, 0.45 * size, mark if kind == "tractor" else _STEEL)
    return f"{name} {kind} from the side" + (f" with {other} parts" if kind != "car" else "")


def rocket(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    pen.blob([-0.2 + 0.5j, 0.2 + 0.5j, 0.25 + 0.8j, 1.1j, -0.25 + 0.8j], (250, 160, 40))
    for side in (-1, 1):
        pen.shape([side * 0.3 + 0.1j, side * 0.75 + 0.65j, side * 0.28 + 0.55j], mark)
    pen.blob([-1.15j, 0.4 - 0.5j, 0.42 + 0.3j, 0.25 + 0.65j, -0.25 + 0.65j, -0.42 + 0.3j, -0.4 - 0.5j], fill)
    pen.oval(-0.25j, 0.17, 0.17, _PANE)
    return f"{name} rocket with {other} fins"


def boat(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, sail) = hue(rng), hue(rng)
    pen.line([-0.9j, 0.4j], 0.08, _WOOD)
    pen.shape([0.06 - 0.85j, 0.75 + 0.25j, 0.06 + 0.25j], sail)
    if rng.random() < 0.6:
        pen.shape([-0.06 - 0.7j, -0.6 + 0.25j, -0.06 + 0.25j], lighter(sail, 0.4))
    pen.shape([-0.95 + 0.38j, 0.95 + 0.38j, 0.6 + 0.85j, -0.6 + 0.85j], fill)
    return f"{name} boat with a {other} sail"


def aeroplane(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    spin = np.exp(1j * pick(rng, (0.0, 0.8, -0.8, 1.57)))
    pen.shape(
        spin
        * np.array(
            [
                -0.1 - 0.15j,
                0.1 - 0.15j,
                0.98 + 0.3j,
                0.98 + 0.45j,
                0.1 + 0.25j,
                -0.1 + 0.25j,
                -0.98 + 0.45j,
                -0.98 + 0.3j,
            ]
        ),
        mark,
    )
    pen.shape(spin * np.array([0.6j, 0.42 + 0.92j, -0.42 + 0.92j]), mark)
    pen.shape(spin * np.array([-0.98j, 0.15 - 0.75j, 0.15 + 0.6j, 0.9j, -0.15 + 0.6j, -0.15 - 0.75j]), fill)
    return f"{name} aeroplane with {other} wings"


def balloon(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng, "white"), hue(rng)
    if rng.random() < 0.5:
        pen.line([0.4j, 0.1 + 0.6j, -0.1 + 0.8j, 0.98j], 0.05, INK)
        pen.oval(-0.25j, 0.6, 0.7, fill)
        pen.shape([0.4j, 0.14 + 0.58j, -0.14 + 0.58j], fill)
        return f"{name} balloon on a string"
    for x in (-0.25, 0.25):
        pen.line([complex(2 * x, 0.1), complex(x, 0.7)], 0.05, INK)
    pen.oval(-0.3j, 0.75, 0.68, fill)
    pen.oval(-0.3j, 0.34, 0.68, mark)
    pen.box(-0.25, 0.65, 0.25, 0.98, _WOOD)
    return f"{name} and {other} hot-air balloon"


def hammer(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), kind = hue(rng, "white"), pick(rng, ("hammer", "axe", "spade", "paint brush", "screwdriver"))
    spin = np.exp(1j * pick(rng, (0.7, -0.7, 0.0)))
    pen.shape(spin * np.array([-0.09 - 0.3j, 0.09 - 0.3j, 0.11 + 0.98j, -0.11 + 0.98j]), fill)
    heads: dict[str, tuple[complex, ...]] = {
        "hammer": (-0.55 - 0.85j, 0.4 - 0.85j, 0.6 - 0.6j, 0.4 - 0.4j, -0.55 - 0.4j),
        "axe": (-0.1 - 0.85j, 0.35 - 0.95j, 0.7 - 0.6j, 0.35 - 0.2j, -0.1 - 0.35j),
        "spade": (-0.4 - 0.3j, -0.4 - 0.75j, -1.0j, 0.4 - 0.75j, 0.4 - 0.3j),
        "paint brush": (-0.28 - 0.3j, -0.32 - 0.95j, 0.32 - 0.95j, 0.28 - 0.3j),
        "screwdriver": (-0.06 - 0.2j, -0.06 - 0.98j, 0.06 - 0.98j, 0.06 - 0.2j),
    }
    other, mark = hue(rng, name)
    pen.shape(spin * np.array(heads[kind]), mark)
    return f"{kind} with a {name} handle and a {other} head"


def scissors(pen: Pen, rng: np.random.Generator) -> str:
    name, fill = hue(rng, "white")
    for side in (-1, 1):
        pen.shape([side * 0.06 + 0.15j, side * 0.62 - 0.9j, side * 0.45 - 0.95j, -side * 0.1 + 0.1j], _STEEL)
        pen.arc(-side * 0.4 + 0.6j, 0.3, 0.3, 0, 1, 0.15, fill)
        pen.line([side * 0.05 + 0.1j, side * 0.25 + 0.4j], 0.14, fill)
    return f"pair of scissors with {name} handles"


def key(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), n = hue(rng, "white"), int(rng.integers(1, 4))
    spin, square = np.exp(1j * pick(rng, (0.0, 0.8, -0.8))), rng.random() < 0.4
    pen.shape(spin * np.array([-0.1 + 0j, 0.1 + 0j, 0.1 + 0.95j, -0.1 + 0.95j]), fill)
    for k in range(n):
        y = 0.5 + 0.18 * k
        pen.shape(spin * np.array([0.1 + 1j * y, 0.38 + 1j * y, 0.38 + 1j * (y + 0.1), 0.1 + 1j * (y + 0.1)]), fill)
    pen.shape(spin * ((0.48 * regular(4 if square else 20)) - 0.42j), fill)
    pen.oval(complex(spin * -0.45j), 0.17, 0.17, _WHITE)
    teeth = ("one tooth", "two teeth", "three teeth")[n - 1]
    return f"{name} key with a {'square' if square else 'round'} head and {teeth}"


def lock(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), open_ = hue(rng), rng.random() < 0.4
    pen.arc(complex(-0.1 if open_ else 0, -0.2), 0.42, 0.55, 0.5, 0.95 if open_ else 1.0, 0.16, _STEEL)
    pen.box(-0.68, -0.15, 0.68, 0.9, fill)
    pen.oval(0.28j, 0.15, 0.15, INK)
    pen.shape([0.3j, 0.12 + 0.65j, -0.12 + 0.65j], INK)
    return f"{name} {'open' if open_ else 'closed'} padlock"


def clock(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, face) = hue(rng), hue(rng, "black", "dark grey", "dark blue")
    hour = int(rng.integers(1, 13))
    pen.oval(0j, 0.93, 0.93, fill)
    pen.oval(0j, 0.74, 0.74, face)
    for k in range(12):
        way = np.exp(2j * np.pi * k / 12)
        pen.line([0.6 * way, 0.7 * way], 0.06, INK)
    pen.line([0j, 0.38j * -np.exp(2j * np.pi * hour / 12)], 0.1, INK)
    pen.line([0j, -0.58j], 0.07, INK)
    return f"{name} clock with a {other} face that shows {hour} o'clock"


def umbrella(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    pen.line([-0.7j, 0.75j], 0.08, INK)
    pen.arc(-0.15 + 0.75j, 0.15, 0.18, 0.0, 0.5, 0.08, INK)
    edges = [complex(-0.95 + 0.475 * k, 0.05) for k in range(5)]
    bulges = [(edge - 0.95j) / 2 + bulge for edge, bulge in zip(edges, (-0.18j, 0, 0, 0, -0.18j), strict=True)]
    for k in range(4):
        pen.shape([-0.95j, bulges[k], edges[k], edges[k + 1], bulges[k + 1]], (fill, mark)[k % 2])
    return f"{name} and {other} umbrella" if name != other else f"{name} umbrella"


def shirt(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    outline = [
        -0.3 - 0.8j,
        0.3 - 0.8j,
        0.98 - 0.4j,
        0.75 + 0.0j,
        0.5 - 0.15j,
        0.5 + 0.9j,
        -0.5 + 0.9j,
        -0.5 - 0.15j,
        -0.75 + 0j,
        -0.98 - 0.4j,
    ]
    pen.shape(outline, fill)
    kind = pick(rng, ("stripes", "star", "number", "nothing", "heart"))
    if kind == "stripes":
        for y in (-0.05, 0.3, 0.65):
            pen.box(-0.5, y - 0.08, 0.5, y + 0.08, mark)
        return f"{name} t-shirt with {other} stripes"
    if kind == "star":
        pen.shape(0.3 * star(5, 0.45) + 0.15j, mark)
    elif kind == "heart":
        pen.blob([0.02j, 0.2 - 0.2j, 0.4 + 0.0j, 0.55j, 0.55j, -0.4 + 0.0j, -0.2 - 0.2j], mark)
    elif kind == "number":
        pen.line([-0.12 - 0.05j, 0.05 - 0.25j, 0.05 + 0.5j], 0.13, mark)
    pen.arc(-0.8j, 0.26, 0.2, 0.0, 0.5, 0.07, mark)
    return f"{name} t-shirt with a {other} {kind}" if kind != "nothing" else f"{name} t-shirt with a {other} collar"


def shoe(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, sole), kind = hue(rng), hue(rng), pick(rng, ("boot", "sneaker", "high-heeled shoe"))
    if kind == "high-heeled shoe":
        pen.shape(
            [
                -0.9 - 0.5j,
                -0.6 - 0.45j,
                0.2 + 0.3j,
                0.95 + 0.45j,
                0.95 + 0.65j,
                0.1 + 0.6j,
                -0.55 + 0.05j,
                -0.65 + 0.7j,
                -0.75 + 0.7j,
                -0.85 + 0.1j,
            ],
            fill,
        )
        return f"{name} high-heeled shoe"
    top = -0.85 if kind == "boot" else -0.3
    pen.shape([-0.8 + 1j * top, -0.1 + 1j * top, 0.05 + 0.1j, 0.8 + 0.3j, 0.95 + 0.6j, -0.85 + 0.6j], fill)
    pen.box(-0.9, 0.55, 0.98, 0.78, sole)
    for k in range(3):
        lace = complex(-0.1 + 0.15 * k, 0.1 * k)
        pen.line([lace, lace + 0.25 - 0.06j + 0.02j * k], 0.06, sole)
    return f"{name} {kind} with a {other} sole"


def hat(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, band), kind = hue(rng), hue(rng), pick(rng, ("top hat", "party hat", "crown", "cap"))
    if kind == "crown":
        pen.shape([-0.85 + 0.6j, -0.95 - 0.5j, -0.45 + 0.0j, -0.75j, 0.45 + 0.0j, 0.95 - 0.5j, 0.85 + 0.6j], fill)
        for x in (-0.5, 0.0, 0.5):
            pen.oval(complex(x, 0.35), 0.12, 0.12, band)
        return f"{name} crown with {other} jewels"
    if kind == "party hat":
        pen.shape([-0.65 + 0.85j, -0.75j, 0.65 + 0.85j], fill)
        for x, y in ((-0.1, -0.1), (0.15, 0.25), (-0.3, 0.55), (0.4, 0.65)):
            pen.oval(complex(x, y), 0.11, 0.11, band)
        pen.oval(-0.8j, 0.18, 0.18, band)
        return f"{name} party hat with {other} dots"
    if kind == "cap":
        pen.shape([-0.75 + 0.3j, -0.65 - 0.3j, -0.2 - 0.6j, 0.3 - 0.5j, 0.5 + 0.3j], fill)
        pen.shape([0.2 + 0.15j, 0.95 + 0.35j, 0.9 + 0.5j, 0.1 + 0.35j], band)
        return f"{name} cap with a {other} peak"
    pen.box(-0.95, 0.55, 0.95, 0.78, fill)
    pen.box(-0.55, -0.8, 0.55, 0.6, fill)
    pen.box(-0.55, 0.25, 0.55, 0.5, band)
    return f"{name} top hat with a {other} band"


def gift(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, band) = hue(rng), hue(rng)
    for side in (-1, 1):
        pen.oval(side * 0.28 - 0.65j, 0.28, 0.17, band, turn=side * 0.5)
    pen.box(-0.75, -0.1, 0.75, 0.9, fill)
    pen.box(-0.88, -0.5, 0.88, -0.1, scaled(fill, 0.9))
    pen.box(-0.14, -0.5, 0.14, 0.9, band)
    return f"{name} gift box with a {other} bow"


def bulb(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, foot) = hue(rng), hue(rng)
    pen.box(-0.26, 0.4, 0.26, 0.9, foot)
    pen.oval(-0.25j, 0.66, 0.66, fill)
    pen.line([-0.2 + 0.45j, -0.25 - 0.15j, 0.0 + 0.05j, 0.25 - 0.15j, 0.2 + 0.45j], 0.06, INK)
    return f"{name} light bulb with a {other} socket"


def book(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    if rng.random() < 0.5:
        for side in (-1, 1):
            pen.shape([-0.5j, side * 0.95 - 0.65j, side * 0.95 + 0.55j, 0.7j], fill)
            pen.shape([-0.42j, side * 0.82 - 0.55j, side * 0.82 + 0.42j, 0.58j], _WHITE)
            for y in (-0.2, 0.0, 0.2):
                pen.line([side * 0.15 + 1j * (y + 0.04), side * 0.68 + 1j * (y - 0.06)], 0.05, mark)
        return f"open {name} book with {other} lines"
    pen.box(-0.65, -0.88, 0.7, 0.88, fill)
    pen.box(-0.65, -0.88, -0.45, 0.88, scaled(fill, 0.7))
    pen.box(-0.25, -0.55, 0.5, -0.2, mark)
    return f"closed {name} book with a {other} title"


def pencil(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, end) = hue(rng), hue(rng)
    spin = np.exp(1j * pick(rng, (0.78, -0.78)))
    for outline, colour in (
        ([-0.17 - 0.6j, 0.17 - 0.6j, 0.17 + 0.5j, -0.17 + 0.5j], fill),
        ([-0.17 - 0.98j, 0.17 - 0.98j, 0.17 - 0.75j, -0.17 - 0.75j], end),
        ([-0.17 - 0.75j, 0.17 - 0.75j, 0.17 - 0.6j, -0.17 - 0.6j], _STEEL),
        ([-0.17 + 0.5j, 0.17 + 0.5j, 0.98j], (236, 204, 160)),
        ([-0.06 + 0.82j, 0.06 + 0.82j, 0.98j], INK),
    ):
        pen.shape(spin * np.array(outline), colour)
    return f"{name} pencil with a {other} rubber"


def screen(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, glow), kind = hue(rng), hue(rng), pick(rng, ("phone", "television", "laptop"))
    if kind == "phone":
        pen.box(-0.5, -0.95, 0.5, 0.95, fill)
        pen.box(-0.4, -0.72, 0.4, 0.65, glow)
        pen.oval(0.8j, 0.09, 0.09, _WHITE)
    elif kind == "television":
        pen.box(-0.3, 0.5, 0.3, 0.85, scaled(fill, 0.7))
        pen.box(-0.95, -0.7, 0.95, 0.6, fill)
        pen.box(-0.8, -0.56, 0.8, 0.46, glow)
    else:
        pen.box(-0.7, -0.7, 0.7, 0.35, fill)
        pen.box(-0.58, -0.58, 0.58, 0.25, glow)
        pen.shape([-0.75 + 0.38j, 0.75 + 0.38j, 0.98 + 0.7j, -0.98 + 0.7j], lighter(fill, 0.4))
    return f"{name} {kind} with a {other} screen"


def envelope(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, seal) = hue(rng), hue(rng)
    pen.box(-0.92, -0.6, 0.92, 0.65, fill)
    pen.line([-0.92 - 0.6j, 0.1j, 0.92 - 0.6j], 0.06, scaled(fill, 0.65))
    pen.oval(0.12j, 0.18, 0.18, seal)
    return f"{name} envelope with a {other} seal"


def ball(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    kind = pick(rng, ("football", "basketball", "beach ball", "tennis ball"))
    pen.oval(0j, 0.92, 0.92, fill)
    if kind == "football":
        for centre in (0j, *(0.78 * regular(5))):
            pen.shape(centre + 0.28 * regular(5), mark)
    elif kind == "basketball":
        pen.line([-0.92j, 0.92j], 0.06, mark)
        pen.line([-0.92 + 0j, 0.92 + 0j], 0.06, mark)
        for side in (-1, 1):
            pen.arc(side * 0.9 + 0j, 0.5, 0.7, 0.32 if side > 0 else -0.18, 0.68 if side > 0 else 0.18, 0.06, mark)
    elif kind == "beach ball":
        for k in range(3):
            angles = 2 * np.pi * (k / 3 + np.linspace(0, 1 / 6, 6))
            pen.shape(np.append(0.9 * np.exp(1j * angles), 0.05 - 0.1j), mark)
    else:
        for side in (-1, 1):
            pen.arc(side * 0.95 + 0j, 0.5, 0.8, 0.34 if side > 0 else -0.16, 0.66 if side > 0 else 0.16, 0.09, mark)
    return f"{name} {kind} with {other} {'panels' if kind in ('football', 'beach ball') else 'lines'}"


def cup_prize(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, foot) = hue(rng, "white"), hue(rng)
    for side in (-1, 1):
        pen.arc(side * 0.6 - 0.5j, 0.28, 0.32, 0, 1, 0.1, fill)
    pen.shape(
        [-0.6 - 0.9j, 0.6 - 0.9j, 0.5 - 0.2j, 0.12 + 0.15j, 0.12 + 0.5j, -0.12 + 0.5j, -0.12 + 0.15j, -0.5 - 0.2j], fill
    )
    pen.box(-0.5, 0.5, 0.5, 0.9, foot)
    if rng.random() < 0.5:
        pen.shape(0.22 * star(5, 0.45) - 0.5j, foot)
    return f"{name} trophy on a {other} foot"


def bell(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    pen.oval(0.68j, 0.18, 0.18, mark)
    pen.shape(
        [-0.12 - 0.9j, 0.12 - 0.9j, 0.5 - 0.5j, 0.6 + 0.2j, 0.9 + 0.6j, -0.9 + 0.6j, -0.6 + 0.2j, -0.5 - 0.5j], fill
    )
    pen.box(-0.62, 0.15, 0.62, 0.3, mark)
    return f"{name} bell with a {other} band"


def guitar(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, neck) = hue(rng), hue(rng)
    spin = np.exp(0.6j)
    pen.shape(spin * np.array([-0.08 - 0.98j, 0.08 - 0.98j, 0.08 + 0.2j, -0.08 + 0.2j]), neck)
    pen.blob(
        list(
            spin
            * np.array(
                [-0.3 + 0j, 0.3 + 0j, 0.3 + 0.3j, 0.55 + 0.6j, 0.4 + 1.0j, -0.4 + 1.0j, -0.55 + 0.6j, -0.3 + 0.3j]
            )
        ),
        fill,
    )
    pen.oval(complex(spin * 0.45j), 0.15, 0.15, INK)
    return f"{name} guitar with a {other} neck"


def note(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), two = hue(rng, "white"), rng.random() < 0.6
    for x in (-0.45, 0.5) if two else (-0.1,):
        pen.oval(complex(x, 0.6), 0.3, 0.22, fill, turn=-0.4)
        pen.line([complex(x + 0.25, 0.55), complex(x + 0.25, -0.75)], 0.1, fill)
    if two:
        pen.shape([-0.25 - 0.85j, 0.8 - 0.85j, 0.8 - 0.55j, -0.25 - 0.55j], fill)
    else:
        pen.blob([0.1 - 0.8j, 0.6 - 0.5j, 0.65 + 0.1j, 0.45 - 0.25j], fill)
    return f"{'pair of joined' if two else 'single'} {name} music note{'s' if two else ''}"


def chart(pen: Pen, rng: np.random.Generator) -> str:
    bars = [hue(rng, "white") for _ in range(int(rng.integers(3, 5)))]
    heights = rng.uniform(0.4, 1.6, len(bars)).tolist()
    for k, ((_, fill), height) in enumerate(zip(bars, heights, strict=True)):
        x = -0.8 + 1.6 * (k + 0.5) / len(bars)
        pen.box(x - 0.6 / len(bars), 0.8 - height, x + 0.6 / len(bars), 0.8, fill)
    pen.line([-0.9 - 0.9j, -0.9 + 0.82j, 0.9 + 0.82j], 0.06, INK)
    return "bar chart in " + ", ".join(name for name, _ in bars[:-1]) + f" and {bars[-1][0]}"


MOTIFS: Final = (
    *(
        house,
        tower_block,
        castle,
        tent,
        small_car,
        small_car,
        rocket,
        boat,
        aeroplane,
        balloon,
        hammer,
        hammer,
        scissors,
    ),
    *(
        key,
        lock,
        clock,
        umbrella,
        shirt,
        shoe,
        hat,
        hat,
        gift,
        bulb,
        book,
        pencil,
        screen,
        envelope,
        ball,
        cup_prize,
        bell,
    ),
    *(guitar, note, chart),
)
"""As often as they are drawn."""
