"""Fruit, vegetables, dishes and drinks."""

from __future__ import annotations

from typing import Final

import numpy as np
from palette import HUES, INK, hue, near
from pen import RGB, Pen, lighter, scaled
from words import pick

_LEAF: Final[RGB] = (76, 160, 70)
_WOOD: Final[RGB] = (120, 80, 48)
_CRUST: Final[RGB] = (214, 158, 88)
_FRUITS: Final = ("red", "orange", "yellow", "light green", "green", "purple", "pink", "dark blue")


def _fruit(rng: np.random.Generator) -> tuple[str, RGB]:
    name = pick(rng, _FRUITS)
    return name, near(rng, HUES[name])


def _leaf(pen: Pen, root: complex, tip: complex) -> None:
    side = 0.35j * (tip - root)
    pen.blob([root, (root + tip) / 2 + side, tip, (root + tip) / 2 - side], _LEAF)


def apple(pen: Pen, rng: np.random.Generator) -> str:
    name, fill = _fruit(rng)
    bitten = rng.random() < 0.35
    pen.blob([-0.5j, 0.6 - 0.85j, 1.0 - 0.2j, 0.6 + 0.9j, 0.8j, -0.6 + 0.9j, -1.0 - 0.2j, -0.6 - 0.85j], fill)
    if bitten:
        pen.oval(0.85 + 0.05j, 0.3, 0.3, (255, 255, 255))
    pen.line([-0.5j, 0.08 - 0.95j], 0.08, _WOOD)
    _leaf(pen, 0.06 - 0.75j, 0.55 - 0.95j)
    return f"{'bitten ' if bitten else ''}{name} apple with a leaf"


def pear(pen: Pen, rng: np.random.Generator) -> str:
    name, fill = _fruit(rng)
    pen.blob(
        [-0.9j, 0.4 - 0.75j, 0.4 - 0.2j, 0.85 + 0.4j, 0.5 + 1j, -0.5 + 1j, -0.85 + 0.4j, -0.4 - 0.2j, -0.4 - 0.75j],
        fill,
    )
    pen.line([-0.75j, 0.1 - 1j], 0.08, _WOOD)
    return f"{name} pear"


def cherries(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), n = _fruit(rng), int(rng.integers(2, 4))
    for x in np.linspace(-0.55, 0.55, n).tolist():
        pen.line([0.2 - 0.9j, complex(x, 0.3)], 0.06, _LEAF)
        pen.oval(complex(x, 0.5), 0.36, 0.36, fill)
    _leaf(pen, 0.2 - 0.85j, 0.85 - 0.7j)
    return f"{('pair', 'group of three')[n - 2]}{' of' if n == 2 else ''} {name} cherries"


def grapes(pen: Pen, rng: np.random.Generator) -> str:
    name, fill = _fruit(rng)
    pen.line([-0.6j, 0.1 - 1j], 0.08, _WOOD)
    for row, count in enumerate((4, 3, 3, 2, 1)):
        for x in np.linspace(-0.2 * (count - 1), 0.2 * (count - 1), count).tolist():
            pen.oval(complex(x, -0.5 + 0.33 * row), 0.22, 0.22, fill)
    if rng.random() < 0.6:
        _leaf(pen, 0.05 - 0.75j, 0.7 - 0.85j)
        return f"bunch of {name} grapes with a leaf"
    return f"bunch of {name} grapes"


def banana(pen: Pen, rng: np.random.Generator) -> str:
    name, fill = ("yellow", HUES["yellow"]) if rng.random() < 0.5 else _fruit(rng)
    for k in range(int(rng.integers(1, 4))):
        spin = np.exp(0.22j * k)
        pen.shape(
            spin
            * np.array(
                [
                    -0.9 - 0.2j,
                    -0.6 + 0.4j,
                    0.1 + 0.7j,
                    0.8 + 0.35j,
                    0.85 + 0.15j,
                    0.2 + 0.3j,
                    -0.35 + 0.1j,
                    -0.72 - 0.35j,
                ]
            ),
            fill,
        )
    pen.box(-0.92, -0.42, -0.7, -0.2, _WOOD)
    return f"{name} banana"


def strawberry(pen: Pen, rng: np.random.Generator) -> str:
    name, fill = ("red", HUES["red"]) if rng.random() < 0.4 else _fruit(rng)
    pen.blob([-0.4 - 0.75j, 0.4 - 0.75j, 1.0 - 0.3j, 0.6 + 0.5j, 1.1j, -0.6 + 0.5j, -1.0 - 0.3j], fill)
    for x, y in ((-0.4, -0.15), (0.0, -0.2), (0.4, -0.15), (-0.2, 0.15), (0.2, 0.15), (0.0, 0.5)):
        pen.oval(complex(x, y), 0.05, 0.08, (250, 226, 140))
    pen.shape([-0.6 - 0.7j, -0.3 - 0.95j, -0.75j, 0.3 - 0.95j, 0.6 - 0.7j, 0.25 - 0.5j, -0.6j, -0.25 - 0.5j], _LEAF)
    return f"{name} strawberry with green leaves"


def melon(pen: Pen, rng: np.random.Generator) -> str:
    (rind, skin), (name, fill) = hue(rng, "white"), _fruit(rng)
    angles = np.linspace(0, np.pi, 16)
    half = np.exp(1j * angles)
    pen.shape(0.95 * half - 0.4j, skin)
    pen.shape(0.8 * half - 0.4j, lighter(skin, 0.7))
    pen.shape(0.7 * half - 0.4j, fill)
    for angle in (0.25, 0.4, 0.6, 0.75):
        pen.oval(0.45 * np.exp(1j * np.pi * angle) - 0.35j, 0.04, 0.07, INK)
    return f"slice of {name} melon with a {rind} rind"


def citrus(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), n = _fruit(rng), int(rng.integers(6, 10))
    pen.oval(0j, 0.92, 0.92, fill)
    pen.oval(0j, 0.78, 0.78, lighter(fill, 0.8))
    for k in range(n):
        way = np.exp(2j * np.pi * k / n)
        pen.shape(way * np.array([0.12 + 0j, 0.68 - 1.5j / n, 0.68 + 1.5j / n]), lighter(fill, 0.25))
    return f"slice of {name} fruit, cut open"


def carrot(pen: Pen, rng: np.random.Generator) -> str:
    name, fill = _fruit(rng)
    for tip in (0.35 - 1.0j, 0.75 - 0.95j, 1.0 - 0.6j):
        _leaf(pen, 0.4 - 0.45j, tip)
    pen.blob([0.25 - 0.7j, 0.7 - 0.3j, 0.4 + 0.2j, -0.95 + 0.95j, -0.95 + 0.95j, -0.2 - 0.4j], fill)
    for x in (-0.35, 0.0, 0.25):
        pen.line([complex(x, -x * 0.9), complex(x + 0.18, -x * 0.9 + 0.1)], 0.04, scaled(fill, 0.7))
    return f"{name} carrot with green leaves"


def mushroom(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    pen.blob([-0.3 + 0j, 0.3 + 0j, 0.42 + 1.0j, -0.42 + 1.0j], (240, 226, 200))
    pen.shape([-0.95 + 0.15j, -0.85 - 0.4j, -0.4 - 0.85j, 0.4 - 0.85j, 0.85 - 0.4j, 0.95 + 0.15j], fill)
    if rng.random() < 0.75 and name != other:
        for x, y, size in ((-0.5, -0.25, 0.16), (0.05, -0.5, 0.18), (0.5, -0.15, 0.14), (0.0, -0.05, 0.1)):
            pen.oval(complex(x, y), size, size, mark)
        return f"{name} mushroom with {other} dots"
    return f"{name} mushroom"


def burger(pen: Pen, rng: np.random.Generator) -> str:
    layers = [("lettuce", _LEAF), ("cheese", (250, 196, 60)), ("tomato", (216, 60, 50)), ("meat", (112, 66, 40))]
    order = [layers[k] for k in rng.permutation(4)[: int(rng.integers(2, 5))]]
    pen.shape([-0.9 - 0.2j, -0.75 - 0.65j, -0.3 - 0.85j, 0.3 - 0.85j, 0.75 - 0.65j, 0.9 - 0.2j], _CRUST)
    step = 0.7 / len(order)
    for k, (_, fill) in enumerate(order):
        pen.box(-0.95, -0.2 + k * step, 0.95, -0.2 + (k + 1) * step, fill)
    pen.blob([-0.9 + 0.5j, 0.9 + 0.5j, 0.85 + 0.9j, -0.85 + 0.9j], _CRUST)
    return "burger with " + " and ".join([", ".join(name for name, _ in order[:-1]), order[-1][0]])


def pizza(pen: Pen, rng: np.random.Generator) -> str:
    (name, mark), (other, second) = hue(rng, "yellow"), hue(rng, "yellow")
    pen.shape([-0.85 - 0.6j, 0.85 - 0.6j, 0.95j], (250, 206, 96))
    pen.shape([-0.95 - 0.8j, 0.95 - 0.8j, 0.88 - 0.5j, -0.88 - 0.5j], _CRUST)
    for x, y in ((-0.35, -0.25), (0.35, -0.3), (0.0, 0.1), (0.05, 0.5)):
        pen.oval(complex(x, y), 0.16, 0.16, mark)
    for x, y in ((0.0, -0.3), (-0.25, 0.1), (0.25, 0.1)):
        pen.box(x - 0.07, y - 0.07, x + 0.07, y + 0.07, second)
    return f"slice of pizza with {name} and {other} bits on it"


def cake(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (icing, top), (_, flame), n = hue(rng), hue(rng), hue(rng), int(rng.integers(1, 5))
    for x in np.linspace(-0.15 * (n - 1), 0.15 * (n - 1), n).tolist():
        pen.line([complex(x, -0.7), complex(x, -0.3)], 0.09, flame)
        pen.oval(complex(x, -0.82), 0.07, 0.12, (250, 170, 40))
    pen.box(-0.8, -0.3, 0.8, 0.85, fill)
    pen.shape(
        [
            -0.8 - 0.35j,
            0.8 - 0.35j,
            0.8 + 0.05j,
            0.5 - 0.05j,
            0.25 + 0.2j,
            -0.05j,
            -0.3 + 0.2j,
            -0.55 - 0.05j,
            -0.8 + 0.1j,
        ],
        top,
    )
    if rng.random() < 0.5:
        pen.box(-0.8, 0.4, 0.8, 0.52, top)
    return f"{name} cake with {icing} icing and {('one candle', 'two candles', 'three candles', 'four candles')[n - 1]}"


def ice_cream(pen: Pen, rng: np.random.Generator) -> str:
    scoops = [hue(rng) for _ in range(int(rng.integers(1, 4)))]
    pen.shape([-0.42 + 0.1j, 0.42 + 0.1j, 1.0j], _CRUST)
    for k, (_, fill) in enumerate(scoops):
        pen.oval(complex(0.08 * (-1) ** k, 0.0 - 0.4 * k), 0.42, 0.36, fill)
    return f"{' and '.join(dict.fromkeys(name for name, _ in scoops))} ice cream in a cone"


def doughnut(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    pen.oval(0.05j, 0.94, 0.9, _CRUST)
    pen.oval(-0.02j, 0.82, 0.76, fill)
    angles = 2 * np.pi * np.arange(9) / 9 + rng.uniform(0, 6)
    for k, angle in enumerate(angles.tolist()):
        spot = (0.5 + 0.12 * (k % 2)) * np.exp(1j * angle)
        pen.line([spot - 0.07 * np.exp(2j * angle), spot + 0.07 * np.exp(2j * angle)], 0.06, mark)
    pen.oval(0.02j, 0.26, 0.24, (255, 255, 255))
    return f"doughnut with {name} icing and {other} sprinkles"


def cup(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, drink) = hue(rng), hue(rng, "white")
    pen.arc(0.62 + 0.1j, 0.32, 0.34, 0, 1, 0.14, fill)
    pen.shape([-0.75 - 0.4j, 0.65 - 0.4j, 0.5 + 0.85j, -0.6 + 0.85j], fill)
    pen.oval(-0.05 - 0.4j, 0.7, 0.16, drink)
    steam = rng.random() < 0.5
    if steam:
        for x in (-0.3, 0.15):
            pen.line(
                [complex(x, -0.6), complex(x + 0.1, -0.75), complex(x, -0.85), complex(x + 0.1, -1.0)],
                0.06,
                (170, 174, 180),
            )
    return f"{name} cup of {'hot ' if steam else ''}{other} drink"


def glass(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), kind = hue(rng, "white"), pick(rng, ("wine glass", "cocktail glass", "tumbler with a straw"))
    clear: RGB = (220, 234, 240)
    if kind == "tumbler with a straw":
        pen.line([0.2 + 0.3j, 0.5 - 0.95j, 0.8 - 0.95j], 0.1, hue(rng)[1])
        pen.shape([-0.6 - 0.7j, 0.6 - 0.7j, 0.45 + 0.9j, -0.45 + 0.9j], clear)
        pen.shape([-0.55 - 0.3j, 0.55 - 0.3j, 0.42 + 0.82j, -0.42 + 0.82j], fill)
        return f"{kind} and {name} drink"
    pen.box(-0.06, 0.1, 0.06, 0.8, clear)
    pen.oval(0.85j, 0.42, 0.1, clear)
    if kind == "wine glass":
        pen.blob([-0.6 - 1.0j, 0.6 - 1.0j, 0.65 - 0.2j, 0.3 + 0.35j, -0.3 + 0.35j, -0.65 - 0.2j], clear)
        pen.blob([-0.55 - 0.45j, 0.55 - 0.45j, 0.55 - 0.1j, 0.25 + 0.3j, -0.25 + 0.3j, -0.55 - 0.1j], fill)
    else:
        pen.shape([-0.85 - 0.85j, 0.85 - 0.85j, 0.2j], clear)
        pen.shape([-0.6 - 0.58j, 0.6 - 0.58j, 0.15j], fill)
    return f"{kind} of {name} drink"


def bottle(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark), (_, top) = hue(rng), hue(rng), hue(rng)
    pen.box(-0.16, -0.98, 0.16, -0.82, top)
    pen.shape(
        [
            -0.14 - 0.82j,
            0.14 - 0.82j,
            0.16 - 0.45j,
            0.42 - 0.1j,
            0.42 + 0.95j,
            -0.42 + 0.95j,
            -0.42 - 0.1j,
            -0.16 - 0.45j,
        ],
        fill,
    )
    pen.box(-0.42, 0.15, 0.42, 0.6, mark)
    return f"{name} bottle with a {other} label"


def sweet(pen: Pen, rng: np.random.Generator) -> str:
    (name, fill), (other, mark) = hue(rng), hue(rng)
    if rng.random() < 0.5:
        for side in (-1, 1):
            pen.shape([side * 0.5 + 0j, side * 0.98 - 0.42j, side * 0.98 + 0.42j], mark)
        pen.oval(0j, 0.6, 0.5, fill)
        pen.line([-0.15 - 0.45j, 0.15 + 0.45j], 0.12, mark)
        return f"{name} and {other} wrapped sweet"
    pen.line([0.1j, 0.98j], 0.1, (226, 220, 208))
    pen.oval(-0.3j, 0.62, 0.62, fill)
    turns = np.linspace(0, 5 * np.pi, 40)
    pen.line(-0.3j + 0.55 * turns / turns[-1] * np.exp(1j * turns), 0.09, mark)
    return f"{name} and {other} lollipop"


def egg(pen: Pen, rng: np.random.Generator) -> str:
    if rng.random() < 0.5:
        outline = np.exp(2j * np.pi * np.arange(9) / 9) * rng.uniform(0.75, 1.05, 9)
        pen.blob(list(outline), (244, 244, 238))
        name, yolk = pick(rng, (("yellow", (252, 200, 50)), ("orange", (244, 150, 40))))
        pen.oval(0.1 - 0.05j, 0.34, 0.34, yolk)
        return f"fried egg with a {name} yolk"
    (name, fill), (other, mark) = hue(rng), hue(rng)
    pen.blob(
        [-0.3 - 1.0j, 0.3 - 1.0j, 0.75 - 0.1j, 0.7 + 0.75j, 0.2 + 1.0j, -0.2 + 1.0j, -0.7 + 0.75j, -0.75 - 0.1j], fill
    )
    for y in (-0.1, 0.35):
        pen.line([complex(0.22 * k - 0.55, y + 0.1 * (-1) ** k) for k in range(6)], 0.08, mark)
    return f"{name} egg with {other} zigzag lines"


MOTIFS: Final = (
    *(
        apple,
        pear,
        cherries,
        grapes,
        banana,
        strawberry,
        melon,
        citrus,
        carrot,
        mushroom,
        burger,
        pizza,
        cake,
        ice_cream,
    ),
    *(doughnut, cup, glass, bottle, sweet, egg),
)
