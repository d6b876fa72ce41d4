"""Faces with expressions, and heads of animals as a child would draw them."""

from __future__ import annotations

from typing import Final

import numpy as np
from palette import HUES, INK, hue, near
from pen import RGB, Pen, scaled
from words import pick

_EYES: Final = (
    "round eyes",
    "closed eyes",
    "heart eyes",
    "star eyes",
    "crossed eyes",
    "wide eyes",
    "a winking eye",
    "sunglasses",
)
_MOUTHS: Final = (
    "a smile",
    "a wide grin",
    "an open mouth",
    "a sad mouth",
    "a straight mouth",
    "a tongue out",
    "a crooked mouth",
    "clenched teeth",
)
_EXTRAS: Final = (
    "",
    "",
    "tears",
    "red cheeks",
    "raised eyebrows",
    "angry eyebrows",
    "a hat",
    "a halo",
    "a sweat drop",
    "a plaster",
)
_WHITE: Final[RGB] = (248, 248, 246)


def smiley(pen: Pen, rng: np.random.Generator) -> str:
    name, fill = ("yellow", near(rng, HUES["yellow"])) if rng.random() < 0.6 else hue(rng, "black", "dark grey")
    pen.oval(0j, 0.92, 0.92, fill)
    eyes, mouth, extra = pick(rng, _EYES), pick(rng, _MOUTHS), pick(rng, _EXTRAS)
    _eyes(pen, eyes, 0.32, -0.2)
    _mouth(pen, mouth, 0.38)
    if extra == "tears":
        for side in (-1, 1):
            pen.blob([side * 0.42 - 0.05j, side * 0.54 + 0.3j, side * 0.42 + 0.5j, side * 0.3 + 0.3j], (120, 190, 242))
    elif extra == "red cheeks":
        for side in (-1, 1):
            pen.oval(side * 0.58 + 0.18j, 0.15, 0.1, (240, 120, 110))
    elif extra.endswith("eyebrows"):
        slope = 0.1 if extra.startswith("angry") else -0.06
        for side in (-1, 1):
            pen.line([side * 0.18 - (0.48 - slope) * 1j, side * 0.5 - (0.48 + slope) * 1j], 0.06, INK)
    elif extra == "a hat":
        band, colour = hue(rng, name)
        pen.box(-0.8, -0.72, 0.8, -0.58, colour)
        pen.box(-0.48, -1.02, 0.48, -0.7, colour)
        extra = f"a {band} hat"
    elif extra == "a halo":
        pen.arc(-0.95j, 0.5, 0.12, 0, 1, 0.06, (130, 190, 240))
    elif extra == "a sweat drop":
        pen.blob([0.62 - 0.75j, 0.78 - 0.4j, 0.62 - 0.28j, 0.48 - 0.4j], (120, 190, 242))
    elif extra == "a plaster":
        pen.shape([-0.5 - 0.75j, 0.1 - 0.62j, 0.07 - 0.48j, -0.53 - 0.6j], (232, 196, 160))
    return f"{name} face with {eyes}, {mouth}" + (f" and {extra}" if extra else "")


def _eyes(pen: Pen, eyes: str, x: float, y: float) -> None:
    for side in (-1, 1):
        centre = complex(side * x, y)
        if eyes == "round eyes" or (eyes == "a winking eye" and side < 0):
            pen.oval(centre, 0.1, 0.14, INK)
        elif eyes in ("closed eyes", "a winking eye"):
            pen.arc(centre, 0.14, 0.1, 0.5, 1.0, 0.06, INK)
        elif eyes == "heart eyes":
            pen.blob(
                [
                    centre - 0.06j,
                    centre + 0.2 - 0.22j,
                    centre + 0.2,
                    centre + 0.22j,
                    centre - 0.2,
                    centre - 0.2 - 0.22j,
                ],
                (220, 44, 60),
            )
        elif eyes == "star eyes":
            angles = np.arange(10)
            pen.shape(centre - 0.22j * np.where(angles % 2, 0.45, 1.0) * np.exp(0.2j * np.pi * angles), (236, 120, 30))
        elif eyes == "crossed eyes":
            pen.line([centre - 0.12 - 0.12j, centre + 0.12 + 0.12j], 0.06, INK)
            pen.line([centre - 0.12 + 0.12j, centre + 0.12 - 0.12j], 0.06, INK)
        elif eyes == "wide eyes":
            pen.oval(centre, 0.19, 0.22, _WHITE)
            pen.oval(centre, 0.08, 0.09, INK)
        else:
            pen.blob([centre - 0.3 - 0.14j, centre + 0.3 - 0.14j, centre + 0.24 + 0.2j, centre - 0.24 + 0.2j], INK)
            pen.line([-0.2 - 0.28j, 0.2 - 0.28j], 0.06, INK)


def _mouth(pen: Pen, mouth: str, y: float) -> None:
    if mouth == "a smile":
        pen.arc(complex(0, y - 0.15), 0.42, 0.3, 0.05, 0.45, 0.07, INK)
    elif mouth == "a wide grin":
        pen.shape(
            [complex(-0.5, y - 0.15), complex(0.5, y - 0.15), complex(0.3, y + 0.25), complex(-0.3, y + 0.25)], _WHITE
        )
        pen.line([complex(-0.45, y), complex(0.45, y)], 0.03, INK)
    elif mouth == "an open mouth":
        pen.oval(complex(0, y + 0.05), 0.2, 0.26, (110, 40, 40))
    elif mouth == "a sad mouth":
        pen.arc(complex(0, y + 0.3), 0.36, 0.26, 0.56, 0.94, 0.07, INK)
    elif mouth == "a straight mouth":
        pen.line([complex(-0.36, y + 0.08), complex(0.36, y + 0.08)], 0.07, INK)
    elif mouth == "a tongue out":
        pen.line([complex(-0.36, y), complex(0.36, y)], 0.07, INK)
        pen.blob(
            [complex(-0.16, y), complex(0.16, y), complex(0.18, y + 0.34), complex(-0.18, y + 0.34)], (236, 100, 120)
        )
    elif mouth == "a crooked mouth":
        pen.line([complex(-0.34, y + 0.14), complex(-0.1, y), complex(0.1, y + 0.14), complex(0.36, y)], 0.06, INK)
    else:
        pen.box(-0.42, y - 0.08, 0.42, y + 0.18, _WHITE)
        for x in (-0.21, 0.0, 0.21):
            pen.line([complex(x, y - 0.08), complex(x, y + 0.18)], 0.025, INK)


def animal_head(pen: Pen, rng: np.random.Generator) -> str:
    """Cat, bear, rabbit, mouse, pig, frog, dog or panda: by ears and nose."""
    kind = pick(rng, ("cat", "bear", "rabbit", "mouse", "pig", "frog", "dog", "koala"))
    name, fill = hue(rng, "black")
    inner = pick(rng, ((244, 170, 180), (246, 236, 220), scaled(fill, 0.75)))
    for side in (-1, 1):
        if kind in ("cat", "pig"):
            pen.shape([side * 0.2 - 0.6j, side * 0.72 - 0.98j, side * 0.82 - 0.25j], fill)
            pen.shape([side * 0.38 - 0.58j, side * 0.66 - 0.84j, side * 0.7 - 0.4j], inner)
        elif kind == "rabbit":
            pen.oval(side * 0.34 - 0.66j, 0.16, 0.36, fill)
            pen.oval(side * 0.34 - 0.66j, 0.08, 0.26, inner)
        elif kind == "frog":
            pen.oval(side * 0.42 - 0.58j, 0.26, 0.26, fill)
        elif kind == "dog":
            pen.blob([side * 0.5 - 0.6j, side * 1.0 - 0.4j, side * 0.98 + 0.45j, side * 0.7 + 0.3j], scaled(fill, 0.7))
        else:
            size = {"bear": 0.26, "mouse": 0.4, "koala": 0.36}[kind]
            pen.oval(side * 0.66 - 0.56j, size, size, fill)
            pen.oval(side * 0.66 - 0.56j, 0.6 * size, 0.6 * size, inner)
    top = -0.3 if kind == "rabbit" else -0.62
    pen.oval(complex(0, 0.13), 0.84, 0.12 - top, fill)
    eyes = pick(rng, ("round eyes", "round eyes", "closed eyes", "wide eyes", "heart eyes"))
    _eyes(pen, eyes, 0.36 if kind != "frog" else 0.42, 0.0 if kind != "frog" else -0.56)
    said = f"{name} {kind} head with {eyes}"
    if kind in ("bear", "dog", "mouse") or rng.random() < 0.4:
        pen.oval(0.48j, 0.34, 0.26, inner)
    if kind == "pig":
        pen.oval(0.4j, 0.32, 0.2, scaled(fill, 0.85))
        for side in (-1, 1):
            pen.oval(side * 0.13 + 0.4j, 0.05, 0.08, INK)
    elif kind != "frog":
        pen.blob([-0.14 + 0.3j, 0.14 + 0.3j, 0.48j], INK)
    pen.arc(0.5j, 0.26, 0.16, 0.06, 0.44, 0.05, INK)
    if rng.random() < 0.35:
        bow, colour = hue(rng, name)
        pen.shape([-0.3 - 0.75j, 0.3 - 0.4j, 0.3 - 0.75j, -0.3 - 0.4j], colour)
        said += f" and a {bow} bow"
    return said


def robot(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (eye, light) = hue(rng), hue(rng, "black", "dark grey")
    pen.line([-0.95j, -0.6j], 0.08, INK)
    pen.oval(-0.92j, 0.1, 0.1, light)
    for side in (-1, 1):
        pen.box(side * 0.84 - 0.1, -0.2, side * 0.84 + 0.1, 0.25, scaled(fill, 0.75))
    pen.box(-0.76, -0.65, 0.76, 0.8, fill)
    square = rng.random() < 0.5
    for side in (-1, 1):
        if square:
            pen.box(side * 0.36 - 0.18, -0.35, side * 0.36 + 0.18, 0.0, light)
        else:
            pen.oval(side * 0.36 - 0.17j, 0.2, 0.2, light)
    pen.box(-0.45, 0.3, 0.45, 0.56, _WHITE)
    for x in (-0.2, 0.0, 0.2):
        pen.line([complex(x, 0.3), complex(x, 0.56)], 0.04, INK)
    return f"{name} robot head with {eye} {'square' if square else 'round'} eyes"


def ghost(pen: Pen, rng: np.random.Generator) -> str:
    name, fill = hue(rng, "black", "dark grey")
    feet = [complex(0.75 - 0.3 * k, 0.95 if k % 2 == 0 else 0.7) for k in range(6)]
    pen.shape([-0.75 - 0.1j, -0.6 - 0.65j, -0.25 - 0.92j, 0.25 - 0.92j, 0.6 - 0.65j, 0.75 - 0.1j, *feet], fill)
    eyes = pick(rng, ("round eyes", "closed eyes", "wide eyes", "crossed eyes"))
    _eyes(pen, eyes, 0.28, -0.25)
    mouth = pick(rng, ("a smile", "an open mouth", "a tongue out", "a straight mouth"))
    _mouth(pen, mouth, 0.2)
    return f"{name} ghost with {eyes} and {mouth}"


MOTIFS: Final = (smiley, smiley, smiley, smiley, animal_head, animal_head, animal_head, robot, ghost)
"""As often as they are drawn."""
