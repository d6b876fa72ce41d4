"""Weather, plants and small animals."""

from __future__ import annotations

from typing import Final

import numpy as np
from palette import INK, hue
from pen import RGB, Pen, lighter, regular, scaled, star
from words import NUMBERS, pick

_CLOUD: Final = (-0.6 + 0.1j, -0.2 - 0.2j, 0.3 - 0.1j, 0.6 + 0.15j, 0.0 + 0.2j)
_GREEN: Final[RGB] = (72, 154, 72)
_WHITE: Final[RGB] = (250, 250, 250)


def sun(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), n = hue(rng, "white"), int(rng.integers(7, 13))
    long = rng.random() < 0.5
    if long:
        for k in range(n):
            way = np.exp(2j * np.pi * k / n)
            pen.shape(way * np.array([0.62 - 0.1j, 0.98 + 0j, 0.62 + 0.1j]), fill)
    else:
        pen.shape(0.95 * star(n, 0.72), scaled(fill, 0.92))
    pen.oval(0j, 0.55, 0.55, fill)
    if rng.random() < 0.4:
        for side in (-1, 1):
            pen.oval(side * 0.2 - 0.1j, 0.06, 0.08, INK)
        pen.arc(0.05j, 0.28, 0.22, 0.06, 0.44, 0.06, INK)
        return f"{name} sun with a smiling face"
    return f"{name} sun with {'pointed' if long else 'short'} rays"


def _cloud(pen: Pen, centre: complex, fill: RGB) -> None:
    for k, bump in enumerate(_CLOUD):
        pen.oval(centre + bump, *((0.36, 0.32), (0.42, 0.4), (0.4, 0.36), (0.3, 0.26), (0.7, 0.26))[k], fill)


def cloud(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng, "white")
    kind = pick(rng, ("rain", "snow", "lightning", "sun", "nothing"))
    if kind == "sun":
        pen.oval(0.4 - 0.45j, 0.42, 0.42, mark)
    _cloud(pen, -0.15j, fill)
    if kind == "rain":
        for x in (-0.5, -0.1, 0.3):
            pen.line([complex(x + 0.1, 0.35), complex(x - 0.1, 0.9)], 0.1, mark)
    elif kind == "snow":
        for x, y in ((-0.5, 0.5), (-0.05, 0.55), (0.4, 0.5), (-0.25, 0.82), (0.2, 0.85)):
            pen.oval(complex(x, y), 0.09, 0.09, mark)
    elif kind == "lightning":
        pen.shape([0.15 + 0.1j, -0.3 + 0.6j, -0.02 + 0.6j, -0.15 + 1.0j, 0.35 + 0.45j, 0.05 + 0.45j], mark)
    said = {
        "rain": f"{other} rain",
        "snow": f"{other} snow",
        "lightning": f"{other} lightning",
        "sun": f"a {other} sun",
    }
    return f"{name} cloud with {said[kind]}" if kind in said else f"{name} cloud"


def rainbow(pen: Pen, rng: np.random.Generator) -> str:
    bands = [hue(rng, "white") for _ in range(int(rng.integers(3, 6)))]
    for k, (_, fill) in enumerate(bands):
        pen.arc(0.5j, 0.88 - 0.17 * k, 0.95 - 0.17 * k, 0.5, 1.0, 0.18, fill)
    if rng.random() < 0.5:
        for side in (-1, 1):
            pen.oval(side * 0.62 + 0.6j, 0.34, 0.2, (224, 232, 240))
    return "rainbow of " + ", ".join(name for name, _ in bands[:-1]) + f" and {bands[-1][0]}"


def snowflake(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), n, at = hue(rng, "white", "beige"), pick(rng, (5, 6, 8)), float(rng.uniform(0.45, 0.7))
    for k in range(n):
        way = np.exp(2j * np.pi * k / n)
        pen.line([0j, 0.95 * way], 0.1, fill)
        for side in (-1, 1):
            pen.line([at * way, (at + 0.22 + 0.24j * side) * way], 0.08, fill)
    return f"{name} snowflake with {NUMBERS[n]} arms"


def drop(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), n = hue(rng, "white"), pick(rng, (1, 1, 3))
    for centre, size in ((0.05j, 1.0),) if n == 1 else ((-0.45 - 0.3j, 0.5), (0.4 - 0.4j, 0.45), (0.05 + 0.45j, 0.55)):
        corners = np.array(
            [-1.2j, -1.0j, 0.5 - 0.1j, 0.75 + 0.5j, 0.3 + 0.95j, -0.3 + 0.95j, -0.75 + 0.5j, -0.5 - 0.1j]
        )
        pen.blob(list(centre + size * corners * 0.92), fill)
    return f"{name} drop" if n == 1 else f"group of three {name} drops"


def flame(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng, "white"), hue(rng)
    corners = np.array(
        [-0.1 - 1.15j, 0.45 - 0.5j, 0.75 - 0.4j, 0.85 + 0.4j, 0.4 + 1.0j, -0.4 + 1.0j, -0.85 + 0.4j, -0.6 - 0.3j]
    )
    pen.blob(list(corners), fill)
    pen.blob(list(0.5 * corners + 0.4j), mark)
    return f"{name} flame with a {other} middle"


def flower(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark), n = hue(rng), hue(rng), int(rng.integers(4, 9))
    stalk = rng.random() < 0.5
    centre, size = (-0.3j, 0.62) if stalk else (0j, 0.95)
    if stalk:
        pen.line([centre, 0.98j], 0.1, _GREEN)
        pen.blob([0.7j, 0.5 + 0.3j, 0.6 + 0.55j, 0.1 + 0.85j], _GREEN)
    for k in range(n):
        way = np.exp(2j * np.pi * (k / n + 0.25))
        pen.oval(centre + 0.6 * size * way, 0.4 * size, 1.5 * size / n, fill, turn=float(np.angle(way)))
    pen.oval(centre, 0.3 * size, 0.3 * size, mark)
    return f"{name} flower with {NUMBERS[n]} petals and a {other} middle" + (" on a stalk" if stalk else "")


def tulip(pen: Pen, rng: np.random.Generator) -> str:
    name, fill = hue(rng, "green")
    pen.line([0j, 0.98j], 0.1, _GREEN)
    for side in (-1, 1):
        pen.blob([0.95j, side * 0.2 + 0.6j, side * 0.7 + 0.1j, side * 0.4 + 0.8j], _GREEN)
    pen.shape(
        [
            -0.5 - 0.85j,
            -0.22 - 0.5j,
            -0.95j,
            0.22 - 0.5j,
            0.5 - 0.85j,
            0.5 - 0.2j,
            0.25 + 0.15j,
            -0.25 + 0.15j,
            -0.5 - 0.2j,
        ],
        fill,
    )
    return f"{name} tulip with green leaves"


def tree(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark), kind = (
        hue(rng, "white"),
        hue(rng),
        pick(rng, ("fir tree", "round tree", "palm tree", "fruit tree")),
    )
    trunk: RGB = (124, 84, 52)
    if kind == "palm tree":
        pen.shape([-0.1 + 0.95j, 0.14 + 0.95j, 0.12 - 0.3j, 0.0 - 0.3j], trunk)
        for angle in (-0.3, 0.3, 1.2, 2.0, 2.9, 3.4):
            way = np.exp(-1j * angle)
            pen.blob([0.05 - 0.35j, 0.05 - 0.5j + 0.5 * way, 0.05 - 0.3j + 0.95 * way, 0.05 - 0.25j + 0.5 * way], fill)
        return f"palm tree with {name} leaves"
    pen.box(-0.14, 0.4, 0.14, 0.98, trunk)
    if kind == "fir tree":
        for k in range(3):
            top, wide = -0.95 + 0.42 * k, 0.45 + 0.18 * k
            pen.shape([1j * top, wide + 1j * (top + 0.68), -wide + 1j * (top + 0.68)], fill)
        if rng.random() < 0.4 and other != name:
            for x, y in ((-0.2, -0.3), (0.2, 0.0), (-0.3, 0.35), (0.35, 0.42), (0, -0.7)):
                pen.oval(complex(x, y), 0.09, 0.09, mark)
            return f"{name} fir tree with {other} balls"
        return f"{name} fir tree"
    for x, y in ((-0.4, 0.1), (0.4, 0.1), (-0.3, -0.4), (0.3, -0.4), (0.0, -0.15)):
        pen.oval(complex(x, y), 0.46, 0.44, fill)
    if kind == "fruit tree" and other != name:
        for x, y in ((-0.45, -0.3), (0.35, -0.5), (0.0, -0.1), (-0.35, 0.2), (0.45, 0.15)):
            pen.oval(complex(x, y), 0.1, 0.1, mark)
        return f"{name} tree with {other} fruit"
    return f"{name} tree"


def leaf(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), n = hue(rng, "white"), pick(rng, (1, 3, 5))
    for k in range(n):
        way = -1j * np.exp(1j * (k - (n - 1) / 2) * 0.9)
        size = 1.0 if n == 1 else 0.85
        start = 0.45j
        pen.blob(
            [start, start + size * (0.5 + 0.45j) * way, start + 1.35 * size * way, start + size * (0.5 - 0.45j) * way],
            fill,
        )
        pen.line([start, start + size * way], 0.04, scaled(fill, 0.7))
    pen.line([0.45j, 0.98j], 0.08, scaled(fill, 0.7))
    return f"{name} leaf" if n == 1 else f"{name} leaf with {NUMBERS[n]} lobes"


def cactus(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, pot) = hue(rng, "white"), hue(rng)
    pen.blob([-0.3 - 0.98j, 0.3 - 0.98j, 0.3 + 0.6j, -0.3 + 0.6j], fill)
    arms = pick(rng, ((-1,), (1,), (-1, 1)))
    for side in arms:
        y = 0.1 * side
        pen.shape(
            [
                side * 0.2 + (y + 0.1) * 1j,
                side * 0.7 + (y + 0.1) * 1j,
                side * 0.7 + (y - 0.5) * 1j,
                side * 0.5 + (y - 0.5) * 1j,
                side * 0.5 + (y - 0.1) * 1j,
                side * 0.2 + (y - 0.1) * 1j,
            ],
            fill,
        )
    pen.shape([-0.5 + 0.45j, 0.5 + 0.45j, 0.38 + 0.98j, -0.38 + 0.98j], pot)
    return f"{name} cactus with {'one arm' if len(arms) == 1 else 'two arms'} in a {other} pot"


def fish(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    pen.shape([0.45 + 0j, 0.98 - 0.5j, 0.85 + 0j, 0.98 + 0.5j], mark)
    pen.blob([-0.2 - 0.4j, 0.05 - 0.85j, 0.35 - 0.3j], mark)
    pen.oval(-0.15 + 0j, 0.75, 0.48, fill)
    if rng.random() < 0.5:
        for x in (-0.2, 0.12):
            pen.line([complex(x, -0.4), complex(x + 0.06, 0), complex(x, 0.4)], 0.1, mark)
        said = "stripes"
    else:
        said = "fins"
    pen.oval(-0.58 - 0.1j, 0.12, 0.12, _WHITE)
    pen.oval(-0.6 - 0.1j, 0.06, 0.06, INK)
    return f"{name} fish with {other} {said}"


def butterfly(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark), (_, lower) = hue(rng), hue(rng), hue(rng)
    for side in (-1, 1):
        pen.blob([side * 0.05 - 0.1j, side * 0.5 - 0.95j, side * 1.05 - 0.7j, side * 0.85 + 0.05j], fill)
        pen.blob([side * 0.05 + 0.05j, side * 0.8 + 0.05j, side * 0.75 + 0.75j, side * 0.2 + 0.75j], lower)
        pen.oval(side * 0.62 - 0.42j, 0.15, 0.15, mark)
        pen.line([-0.4j, side * 0.25 - 0.9j], 0.05, INK)
    pen.oval(0.05j, 0.09, 0.55, INK)
    return f"{name} butterfly with {other} dots on its wings"


def ladybird(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark), n = hue(rng, "black"), hue(rng), pick(rng, (2, 4, 6))
    pen.oval(-0.6j, 0.4, 0.32, INK)
    pen.oval(0.12j, 0.78, 0.78, fill)
    pen.line([-0.6j, 0.9j], 0.06, INK)
    for x, y in ((0.38, 0.1), (0.3, -0.3), (0.3, 0.5))[: n // 2]:
        for side in (-1, 1):
            pen.oval(complex(side * x, y), 0.14, 0.14, mark if other != name else INK)
    return f"{name} ladybird with {NUMBERS[n]} {other if other != name else 'black'} dots"


def snail(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, body) = hue(rng), hue(rng)
    pen.blob([-0.95 + 0.85j, -0.9 - 0.2j, -0.5 - 0.2j, -0.4 + 0.4j, 0.9 + 0.6j, 0.98 + 0.85j], body)
    for x in (-0.85, -0.6):
        pen.line([complex(x, -0.1), complex(x - 0.05, -0.55)], 0.06, body)
        pen.oval(complex(x - 0.05, -0.58), 0.08, 0.08, INK)
    pen.oval(0.25 + 0.05j, 0.6, 0.6, fill)
    turns = np.linspace(0.5, 4 * np.pi, 30)
    pen.line(0.25 + 0.05j + 0.48 * turns / turns[-1] * np.exp(1j * turns), 0.09, scaled(fill, 0.65))
    return f"{other} snail with a {name} shell"


def bird(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark), (_, beak) = hue(rng), hue(rng), hue(rng, "white")
    pen.shape([0.4 + 0.2j, 1.0 - 0.15j, 0.9 + 0.35j], scaled(fill, 0.8))
    pen.shape([-0.62 - 0.5j, -1.0 - 0.35j, -0.62 - 0.25j], beak)
    pen.oval(0.05 + 0.2j, 0.65, 0.5, fill)
    pen.oval(-0.42 - 0.4j, 0.36, 0.36, fill)
    pen.blob([-0.2 + 0.1j, 0.7 + 0.0j, 0.5 + 0.5j, 0.0 + 0.5j], mark)
    pen.oval(-0.5 - 0.48j, 0.06, 0.06, INK)
    for x in (-0.05, 0.2):
        pen.line([complex(x, 0.66), complex(x, 0.95)], 0.06, beak)
    return f"{name} bird with a {other} wing"


def owl(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, eye) = hue(rng, "black"), hue(rng, "black")
    pen.shape([-0.65 - 0.95j, 0.0 - 0.7j, 0.65 - 0.95j, 0.78 + 0.0j, 0.6 + 0.8j, -0.6 + 0.8j, -0.78 + 0.0j], fill)
    pen.oval(0.4j, 0.42, 0.44, lighter(fill, 0.5))
    for side in (-1, 1):
        pen.oval(side * 0.32 - 0.32j, 0.28, 0.28, _WHITE)
        pen.oval(side * 0.32 - 0.32j, 0.2, 0.2, eye)
        pen.oval(side * 0.32 - 0.32j, 0.1, 0.1, INK)
    pen.shape([-0.12 - 0.15j, 0.12 - 0.15j, 0.12j], (240, 160, 40))
    return f"{name} owl with {other} eyes"


def globe(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    pen.oval(0j, 0.9, 0.9, fill)
    for centre, size in ((-0.35 - 0.3j, 0.36), (0.4 + 0.25j, 0.34), (0.1 - 0.6j, 0.2), (-0.3 + 0.5j, 0.22)):
        pen.blob(list(centre + size * regular(7) * rng.uniform(0.5, 1.25, 7)), mark)
    if rng.random() < 0.4:
        pen.arc(0j, 1.0, 0.3, 0.0, 0.5, 0.09, scaled(mark, 0.8))
        return f"{name} planet with {other} land and a ring"
    return f"{name} globe with {other} land"


def mountain(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng, "white")
    pen.oval(complex(float(rng.choice([-0.6, 0.65])), -0.6), 0.24, 0.24, mark)
    pen.shape([0.35 - 0.35j, 0.98 + 0.8j, -0.3 + 0.8j], scaled(fill, 0.8))
    pen.shape([-0.25 - 0.75j, 0.55 + 0.8j, -0.98 + 0.8j], fill)
    pen.shape([-0.25 - 0.75j, -0.02 - 0.3j, -0.2 - 0.42j, -0.3 - 0.25j, -0.46 - 0.3j], _WHITE)
    return f"{name} mountain with snow and a {other} {pick(rng, ('sun', 'moon'))}"


MOTIFS: Final = (
    *(sun, cloud, cloud, rainbow, snowflake, drop, flame, flower, flower, tulip, tree, leaf, cactus, fish, butterfly),
    *(ladybird, snail, bird, owl, globe, mountain),
)
"""As often as they are drawn."""
