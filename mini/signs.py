"""Hearts, stars, arrows, letters, flags and road signs."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from palette import HUES, hue
from pen import RGB, Pen, Points, lighter, regular, scaled, star
from words import NUMBERS, pick

_WHITE: Final[RGB] = (248, 248, 248)
_POLYGONS: Final = {3: "triangle", 4: "diamond", 5: "pentagon", 6: "hexagon", 8: "octagon", 24: "circle"}

_HEART: Final = (
    -0.62j,
    0.35 - 1.1j,
    1.05 - 0.75j,
    0.85 - 0.1j,
    0.0 + 1.0j,
    0.0 + 1.0j,
    -0.85 - 0.1j,
    -1.05 - 0.75j,
    -0.35 - 1.1j,
)


def heart(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    kind = pick(rng, ("plain", "arrow", "broken", "ribbon", "dots", "two", "inner"))
    corners = np.array(_HEART)
    if kind == "two":
        pen.blob(list(0.6 * corners + 0.35 - 0.3j), mark)
        pen.blob(list(0.72 * corners - 0.2 + 0.25j), fill)
        return f"{name} heart in front of a {other} heart"
    pen.blob(list(0.98 * corners), fill)
    if kind == "arrow":
        pen.line([-0.95 + 0.45j, 0.85 - 0.5j], 0.09, mark)
        pen.shape([1.0 - 0.6j, 0.62 - 0.6j, 0.85 - 0.28j], mark)
        return f"{name} heart with a {other} arrow"
    if kind == "broken":
        pen.line([-0.6j, 0.18 - 0.25j, -0.15 + 0.05j, 0.12 + 0.35j, 0.9j], 0.09, _WHITE)
        return f"broken {name} heart"
    if kind == "ribbon":
        pen.shape([-0.9 - 0.25j, 0.9 - 0.05j, 0.85 + 0.15j, -0.85 - 0.02j], mark)
        return f"{name} heart with a {other} ribbon"
    if kind == "dots":
        for x, y in ((-0.45, -0.35), (0.45, -0.35), (0, 0), (-0.3, 0.25), (0.3, 0.25), (0, 0.55)):
            pen.oval(complex(x, y), 0.1, 0.1, mark)
        return f"{name} heart with {other} dots"
    if kind == "inner":
        pen.blob(list(0.55 * corners), mark)
        return f"{name} heart with a {other} heart in it"
    return f"plain {name} heart"


def star_sign(pen: Pen, rng: np.random.Generator) -> str:
    n, (name, fill), (other, mark) = int(rng.integers(4, 9)), hue(rng), hue(rng)
    inner = float(rng.uniform(0.35, 0.65))
    pen.shape(0.97 * star(n, inner), fill)
    if rng.random() < 0.5:
        pen.shape(0.5 * star(n, inner), mark)
        return f"{name} star with {NUMBERS[n]} points and a {other} middle"
    return f"{name} star with {NUMBERS[n]} points"


def arrow(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, ground) = hue(rng), hue(rng)
    turn, way = pick(
        rng,
        (
            (0, "up"),
            (1, "to the right"),
            (2, "down"),
            (3, "to the left"),
            (0.5, "up and right"),
            (2.5, "down and left"),
        ),
    )
    spin = np.exp(0.5j * math.pi * turn)
    framed = rng.random() < 0.6
    if framed:
        pen.box(-0.9, -0.9, 0.9, 0.9, ground)
        spin *= 0.75
    slim = float(rng.uniform(0.14, 0.3))
    outline = np.array([-0.9j, 0.75 - 0.1j, slim - 0.1j, slim + 0.85j, -slim + 0.85j, -slim - 0.1j, -0.75 - 0.1j])
    pen.shape(outline * spin, fill if not framed or name != other else _WHITE)
    return f"{name} arrow pointing {way}" + (f" on a {other} square" if framed else "")


_STROKES: Final[dict[str, tuple[tuple[complex, ...], ...]]] = {
    "A": ((-0.5 + 0.6j, -0.6j, 0.5 + 0.6j), (-0.3 + 0.2j, 0.3 + 0.2j)),
    "B": (
        (-0.35 - 0.6j, -0.35 + 0.6j, 0.2 + 0.6j, 0.4 + 0.3j, 0.2 + 0j, -0.35 + 0j),
        (-0.35 - 0.6j, 0.15 - 0.6j, 0.32 - 0.3j, 0.2 + 0j),
    ),
    "C": ((0.4 - 0.45j, 0.1 - 0.6j, -0.25 - 0.5j, -0.45 + 0j, -0.25 + 0.5j, 0.1 + 0.6j, 0.4 + 0.45j),),
    "E": ((0.4 - 0.6j, -0.35 - 0.6j, -0.35 + 0.6j, 0.4 + 0.6j), (-0.35 + 0j, 0.25 + 0j)),
    "F": ((0.4 - 0.6j, -0.35 - 0.6j, -0.35 + 0.6j), (-0.35 + 0j, 0.25 + 0j)),
    "H": ((-0.4 - 0.6j, -0.4 + 0.6j), (0.4 - 0.6j, 0.4 + 0.6j), (-0.4 + 0j, 0.4 + 0j)),
    "K": ((-0.4 - 0.6j, -0.4 + 0.6j), (0.4 - 0.6j, -0.4 + 0j, 0.4 + 0.6j)),
    "L": ((-0.35 - 0.6j, -0.35 + 0.6j, 0.4 + 0.6j),),
    "M": ((-0.5 + 0.6j, -0.5 - 0.6j, 0.2j, 0.5 - 0.6j, 0.5 + 0.6j),),
    "N": ((-0.4 + 0.6j, -0.4 - 0.6j, 0.4 + 0.6j, 0.4 - 0.6j),),
    "P": ((-0.35 + 0.6j, -0.35 - 0.6j, 0.2 - 0.6j, 0.4 - 0.3j, 0.2 + 0j, -0.35 + 0j),),
    "S": ((0.4 - 0.5j, 0.0 - 0.62j, -0.38 - 0.4j, -0.2 - 0.05j, 0.25 + 0.08j, 0.4 + 0.35j, 0.0 + 0.62j, -0.4 + 0.5j),),
    "T": ((-0.5 - 0.6j, 0.5 - 0.6j), (-0.6j, 0.6j)),
    "V": ((-0.45 - 0.6j, 0.6j, 0.45 - 0.6j),),
    "X": ((-0.45 - 0.6j, 0.45 + 0.6j), (0.45 - 0.6j, -0.45 + 0.6j)),
    "Z": ((-0.4 - 0.6j, 0.4 - 0.6j, -0.4 + 0.6j, 0.4 + 0.6j),),
    "1": ((-0.25 - 0.35j, 0.05 - 0.6j, 0.05 + 0.6j),),
    "2": ((-0.4 - 0.35j, -0.1 - 0.6j, 0.25 - 0.55j, 0.35 - 0.2j, -0.4 + 0.6j, 0.4 + 0.6j),),
    "4": ((0.2 + 0.6j, 0.2 - 0.6j, -0.45 + 0.2j, 0.45 + 0.2j),),
    "7": ((-0.4 - 0.6j, 0.4 - 0.6j, -0.1 + 0.6j),),
    "plus": ((-0.55 + 0j, 0.55 + 0j), (-0.55j, 0.55j)),
    "minus": ((-0.55 + 0j, 0.55 + 0j),),
    "tick": ((-0.55 + 0.05j, -0.15 + 0.5j, 0.6 - 0.5j),),
    "exclamation mark": ((-0.65j, 0.2j), (0.48j, 0.62j)),
    "question mark": (
        (-0.35 - 0.35j, -0.1 - 0.62j, 0.25 - 0.55j, 0.35 - 0.2j, 0.02 + 0.05j, 0.02 + 0.25j),
        (0.02 + 0.5j, 0.02 + 0.62j),
    ),
}


def letter(pen: Pen, rng: np.random.Generator) -> str:
    which, (name, fill), (other, mark) = pick(rng, list(_STROKES)), hue(rng), hue(rng)
    kind = pick(rng, ("square", "circle", "none"))
    thick = float(rng.uniform(0.13, 0.24))
    if kind == "none":
        size = 1.25
    elif kind == "square":
        pen.box(-0.92, -0.92, 0.92, 0.92, fill)
        size = 0.9
    else:
        pen.oval(0j, 0.94, 0.94, fill)
        size = 0.85
    if name == other and kind != "none":
        other, mark = "white", _WHITE
    if kind == "none" and other == "white":
        other, mark = "black", HUES["black"]
    for stroke in _STROKES[which]:
        pen.line(size * np.array(stroke, dtype=np.complex128), thick * size, mark)
    called = which if len(which) > 1 else f"letter {which}" if which.isalpha() else f"number {which}"
    return f"{other} {called}" + ("" if kind == "none" else f" on a {name} {kind}")


def flag(pen: Pen, rng: np.random.Generator) -> str:
    """Stripes or a cross, with a device."""
    names, fills = zip(*(hue(rng) for _ in range(4)), strict=True)
    kind = pick(rng, ("upright stripes", "level stripes", "cross", "canton", "diagonal", "triangle", "disc"))
    top, low = -0.62, 0.62
    pen.box(-0.98, top, 0.98, low, fills[0])
    said = f"flag with a {names[1]} {kind} on {names[0]}"
    if kind == "upright stripes":
        pen.box(-0.33, top, 0.33, low, fills[1])
        pen.box(0.33, top, 0.98, low, fills[2])
        said = f"flag with upright {names[0]}, {names[1]} and {names[2]} stripes"
    elif kind == "level stripes":
        pen.box(-0.98, -0.2, 0.98, 0.21, fills[1])
        pen.box(-0.98, 0.21, 0.98, low, fills[2])
        said = f"flag with level {names[0]}, {names[1]} and {names[2]} stripes"
    elif kind == "cross":
        x = pick(rng, (0.0, -0.3))
        pen.box(x - 0.14, top, x + 0.14, low, fills[1])
        pen.box(-0.98, -0.14, 0.98, 0.14, fills[1])
    elif kind == "canton":
        for k in range(3):
            pen.box(-0.98, top + 0.25 + 0.41 * k, 0.98, top + 0.41 * (k + 1), fills[2])
        pen.box(-0.98, top, -0.05, 0.05, fills[1])
        said = f"flag with {names[0]} and {names[2]} stripes and a {names[1]} corner"
    elif kind == "diagonal":
        pen.shape([-0.98 + 0.62j, 0.98 - 0.62j, 0.98 + 0.62j], fills[1])
    elif kind == "triangle":
        pen.box(-0.98, 0, 0.98, low, fills[2])
        pen.shape([-0.98 - 0.62j, -0.1 + 0j, -0.98 + 0.62j], fills[1])
        said = f"flag with a {names[1]} triangle on {names[0]} and {names[2]}"
    else:
        pen.oval(0j, 0.36, 0.36, fills[1])
    if rng.random() < 0.5:
        x, y = (-0.52, -0.28) if kind in ("canton", "triangle") else (0, 0)
        pen.shape(complex(x, y) + 0.24 * star(5, 0.4), fills[3])
        said += f" and a {names[3]} star"
    return said


def road_sign(pen: Pen, rng: np.random.Generator) -> str:
    kind = pick(rng, ("round", "triangular", "square", "eight-sided", "diamond-shaped"))
    (rim, edge), (inner, field), (ink, mark) = hue(rng, "white"), hue(rng), hue(rng)
    if ink == inner:
        ink, mark = "white", _WHITE
    outlines: dict[str, Points] = {
        "round": regular(24),
        "triangular": regular(3) + 0.12j,
        "square": 1.2 * regular(4, turn=math.pi / 4),
        "eight-sided": regular(8, turn=math.pi / 8),
        "diamond-shaped": regular(4),
    }
    pen.shape(0.97 * outlines[kind], edge)
    pen.shape(0.76 * outlines[kind], field)
    what = pick(rng, ("bar", "slash", "plus", "exclamation mark", "tick", "X", "disc", "P"))
    if what == "bar":
        pen.box(-0.5, -0.13, 0.5, 0.13, mark)
    elif what == "slash":
        pen.line([-0.5 - 0.5j, 0.5 + 0.5j], 0.16, mark)
    elif what == "disc":
        pen.oval(0.05j, 0.3, 0.3, mark)
    else:
        for stroke in _STROKES[what]:
            pen.line(0.55 * np.array(stroke) + 0.08j, 0.13, mark)
    return f"{kind} {rim} and {inner} sign with a {ink} {what}"


def shapes(pen: Pen, rng: np.random.Generator) -> str:
    """A polygon with something in it."""
    n, (name, fill), (other, mark) = pick(rng, (3, 4, 5, 6, 8, 24)), hue(rng), hue(rng)
    pen.shape(0.95 * regular(n), fill)
    inner = pick(rng, (3, 4, 5, 6, 24, 0))
    if inner == 0:
        return f"{name} {_POLYGONS[n]}"
    pen.shape(0.45 * regular(inner) + (0.15j if n == 3 else 0j), mark)
    return f"{name} {_POLYGONS[n]} around a {other} {_POLYGONS[inner]}"


def dice(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark), n = hue(rng), hue(rng), int(rng.integers(1, 7))
    if name == other:
        other, mark = "white", _WHITE
    pen.box(-0.85, -0.85, 0.85, 0.85, fill)
    places = {
        1: (0j,),
        2: (-0.4 - 0.4j, 0.4 + 0.4j),
        3: (-0.45 - 0.45j, 0j, 0.45 + 0.45j),
        4: (-0.4 - 0.4j, 0.4 - 0.4j, -0.4 + 0.4j, 0.4 + 0.4j),
    }
    places |= {5: (*places[4], 0j), 6: (*places[4], -0.4 + 0j, 0.4 + 0j)}
    for place in places[n]:
        pen.oval(place, 0.16, 0.16, mark)
    return f"{name} die that shows {n} {other} dots"


def playing_card(pen: Pen, rng: np.random.Generator) -> str:
    suit, (name, mark) = pick(rng, ("heart", "diamond", "spade", "club")), hue(rng, "white")
    pen.box(-0.65, -0.92, 0.65, 0.92, _WHITE)
    pen.line([-0.65 - 0.92j, 0.65 - 0.92j, 0.65 + 0.92j, -0.65 + 0.92j, -0.65 - 0.92j], 0.05, HUES["dark grey"])
    for centre, size in ((0j, 0.42), (-0.42 - 0.7j, 0.14), (0.42 + 0.7j, 0.14)):
        if suit == "heart":
            pen.blob(list(centre + size * np.array(_HEART)), mark)
        elif suit == "diamond":
            pen.shape(centre + size * 1.1 * regular(4).real + 1.3j * size * regular(4).imag, mark)
        elif suit == "spade":
            pen.blob(list(centre - size * np.array(_HEART)), mark)
            pen.shape(centre + size * np.array([0.2j, 0.35 + 1.2j, -0.35 + 1.2j]), mark)
        else:
            for leaf in (-0.6j, -0.5 + 0.2j, 0.5 + 0.2j):
                pen.oval(centre + size * leaf, 0.5 * size, 0.5 * size, mark)
            pen.shape(centre + size * np.array([0.0j, 0.3 + 1.1j, -0.3 + 1.1j]), mark)
    return f"playing card with a {name} {suit}"


def target(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark), n = hue(rng), hue(rng), int(rng.integers(3, 6))
    if name == other:
        other, mark = "white", _WHITE
    for k in range(n):
        size = 0.94 * (n - k) / n
        pen.oval(0j, size, size, (fill, mark)[k % 2])
    return f"{name} and {other} target with {NUMBERS[n]} rings"


def recycling(pen: Pen, rng: np.random.Generator) -> str:
    n, (name, fill) = pick(rng, (2, 3, 4)), hue(rng, "white")
    for k in range(n):
        start = k / n
        pen.arc(0j, 0.7, 0.7, start, start + 0.65 / n, 0.2, fill)
        end = 2j * math.pi * (start + 0.65 / n)
        pen.shape(np.exp(end) * np.array([0.4 + 0j, 1.0 + 0j, 0.7 + 0.42j]), fill)
    return f"{name} sign of {NUMBERS[n]} arrows in a circle"


def moon_and_star(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng, "white"), hue(rng, "white")
    pen.oval(-0.1 + 0j, 0.85, 0.85, fill)
    pen.oval(0.25 - 0.05j, 0.7, 0.72, (255, 255, 255))
    pen.shape(0.35 - 0.05j + 0.4 * star(5, 0.42), mark)
    return f"{name} crescent moon with a {other} star"


def rosette(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    for side in (-1, 1):
        pen.shape([side * 0.1 + 0.2j, side * 0.6 + 0.9j, side * 0.28 + 0.8j, side * 0.1 + 0.98j], scaled(mark, 0.85))
    pen.shape(0.72 * star(12, 0.85) - 0.2j, fill)
    pen.oval(-0.2j, 0.42, 0.42, lighter(mark, 0.3))
    if rng.random() < 0.5:
        pen.shape(0.3 * star(5, 0.45) - 0.2j, fill)
    return f"{name} rosette with {other} ribbons"


MOTIFS: Final = (
    *(heart, heart, star_sign, arrow, letter, letter, letter, flag, flag, flag, road_sign, road_sign, shapes, dice),
    *(playing_card, target, recycling, moon_and_star, rosette),
)
"""As often as they are drawn."""
