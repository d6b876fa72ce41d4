"""Made-up persons: what they look like and wear, in the words that the drawing and the captions share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from resight.data.sample.canvas import RGB

COLOURS: Final[Mapping[str, RGB]] = {
    "black": (30, 30, 34),
    "white": (226, 226, 222),
    "grey": (126, 128, 131),
    "dark grey": (70, 72, 76),
    "dark blue": (32, 40, 82),
    "blue": (42, 84, 168),
    "light blue": (136, 176, 216),
    "red": (182, 34, 38),
    "dark red": (104, 26, 38),
    "pink": (222, 142, 164),
    "orange": (220, 116, 40),
    "yellow": (226, 194, 66),
    "green": (54, 132, 68),
    "dark green": (34, 70, 50),
    "olive": (108, 104, 62),
    "purple": (104, 62, 138),
    "brown": (98, 66, 44),
    "beige": (196, 176, 140),
    "blond": (196, 164, 102),
    "auburn": (120, 58, 36),
}
DENIM: Final[Mapping[str, RGB]] = {"blue": (70, 92, 130), "light blue": (132, 156, 186), "dark blue": (44, 52, 78)}
SKINS: Final[Sequence[RGB]] = ((226, 184, 156), (206, 158, 124), (172, 122, 88), (122, 82, 58), (86, 58, 44))

_CLOTH: Final = tuple(name for name in COLOURS if name not in ("blond", "auburn"))
_COMMON: Final = ("black", "black", "grey", "dark grey", "dark blue", "white", "blue")
_HAIRS: Final = ("black", "black", "black", "brown", "brown", "brown", "blond", "blond", "auburn", "grey")
_SHOES: Final = ("black", "black", "white", "white", "grey", "brown", "red", "blue", "beige", "pink")

LONG_SLEEVED: Final = ("shirt", "sweater", "hoodie", "jacket", "coat")
OPEN_IN_FRONT: Final = ("jacket", "coat")


@dataclass(frozen=True, slots=True)
class Person:
    """What stays the same from picture to picture.

    sex: man, woman, or person where it is not said. height and shoulders: factors around 1 on a body of average size.
    Colours are names in COLOURS; `trim` is the second one of a patterned upper garment, `inner` that of what an open
    jacket shows. bag_side: 1 the person's left, −1 the right. dye: seed of how far every colour is from its name's.
    """

    sex: str
    height: float
    shoulders: float
    skin: RGB
    hair: str
    hair_colour: str
    upper: str
    upper_colour: str
    pattern: str
    trim: str
    inner: str
    lower: str
    lower_colour: str
    shoes: str
    shoe_colour: str
    bag: str
    bag_colour: str
    bag_side: int
    hat: str
    hat_colour: str
    glasses: bool
    dye: int


def person(rng: np.random.Generator) -> Person:
    """A person drawn from the wardrobe; men, women and the others choose from their own racks."""
    sex = _pick(rng, ("man",) * 11 + ("woman",) * 11 + ("person",) * 2)
    upper_colour = _cloth(rng)
    upper = _pick(rng, _UPPERS[sex])
    lower = "none" if upper == "dress" else _pick(rng, _LOWERS[sex])
    return Person(
        sex=sex,
        height=float(rng.uniform(0.97, 1.03) * (0.98 if sex == "woman" else 1.0)),
        shoulders=float(rng.choice([0.9, 0.98, 1.05, 1.17]) * rng.uniform(0.97, 1.03)),
        skin=SKINS[int(rng.choice(len(SKINS), p=(0.32, 0.28, 0.18, 0.12, 0.1)))],
        hair=_pick(rng, _HAIR_CUTS[sex]),
        hair_colour=_pick(rng, _HAIRS),
        upper=upper,
        upper_colour=upper_colour,
        pattern=_pick(rng, _PATTERNS[upper]),
        trim=_other(rng, upper_colour, _TRIMS),
        inner=_other(rng, upper_colour, _TRIMS),
        lower=lower,
        lower_colour=_lower_colour(rng, lower),
        shoes=_pick(rng, ("sneakers",) * 4 + ("shoes",) * 3 + ("boots",) * 2),
        shoe_colour=_pick(rng, _SHOES),
        bag=_pick(rng, ("none",) * 4 + ("backpack",) * 3 + _BAGS[sex] * 2),
        bag_colour=_cloth(rng),
        bag_side=int(rng.choice([-1, 1])),
        hat=_pick(rng, ("none",) * 8 + ("cap",) * 2 + ("beanie",)),
        hat_colour=_cloth(rng),
        glasses=bool(rng.random() < 0.15),
        dye=int(rng.integers(2**31)),
    )


def twin(other: Person, rng: np.random.Generator) -> Person:
    """A person who differs from `other` in one attribute only, and in one that pictures show."""
    unused = tuple({*_CLOTH} - {other.trim, other.inner})
    changes: list[Callable[[], Person]] = [
        lambda: replace(other, upper_colour=_other(rng, other.upper_colour, unused)),
        lambda: replace(other, shoe_colour=_other(rng, other.shoe_colour, _SHOES)),
        lambda: replace(other, bag=_other(rng, other.bag, ("none", "backpack", *_BAGS[other.sex]))),
        lambda: replace(other, hat=_other(rng, other.hat, ("none", "cap", "beanie"))),
        lambda: replace(other, shoulders=other.shoulders * (1.22 if other.shoulders < 1 else 0.8)),
    ]
    if other.hair != "bald" and other.hat == "none":
        changes.append(lambda: replace(other, hair_colour=_other(rng, other.hair_colour, _HAIRS)))
    if other.lower != "none":
        changes.append(lambda: replace(other, lower_colour=_lower_colour(rng, other.lower, besides=other.lower_colour)))
    if len(set(_PATTERNS[other.upper])) > 1:
        changes.append(lambda: replace(other, pattern=_other(rng, other.pattern, _PATTERNS[other.upper])))
    return changes[int(rng.integers(len(changes)))]()


@functools.lru_cache(4096)
def rgb(person: Person, part: str) -> RGB:
    """The exact colour of a part ("upper_colour", …): its name's, a little off, always the same for one person."""
    name = getattr(person, part)
    jeans = part == "lower_colour" and person.lower == "jeans"
    base = DENIM.get(name, COLOURS[name]) if jeans else COLOURS[name]
    rng = np.random.default_rng((person.dye, *part.encode()))
    shifted = np.asarray(base) * rng.uniform(0.86, 1.14) + rng.uniform(-7, 7, 3)
    r, g, b = np.clip(shifted, 8, 242).astype(int).tolist()
    return r, g, b


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _other(rng: np.random.Generator, taken: str, options: Sequence[str]) -> str:
    return _pick(rng, [option for option in sorted(options) if option != taken])


def _cloth(rng: np.random.Generator) -> str:
    """Half of all cloth in the streets has one of a few colours."""
    return _pick(rng, _COMMON if rng.random() < 0.5 else _CLOTH)


def _lower_colour(rng: np.random.Generator, lower: str, *, besides: str = "") -> str:
    return _other(rng, besides, _LOWER_COLOURS.get(lower, _LOWER_COLOURS["trousers"]))


_UPPERS: Final[Mapping[str, tuple[str, ...]]] = {
    "man": ("t-shirt", "t-shirt", "shirt", "shirt", "sweater", "hoodie", "jacket", "jacket", "coat"),
    "woman": ("t-shirt", "t-shirt", "shirt", "sweater", "hoodie", "jacket", "coat", "dress", "top"),
    "person": ("t-shirt", "sweater", "hoodie", "jacket", "coat"),
}
_LOWERS: Final[Mapping[str, tuple[str, ...]]] = {
    "man": ("trousers", "trousers", "jeans", "jeans", "shorts"),
    "woman": ("trousers", "jeans", "jeans", "leggings", "shorts", "skirt", "skirt"),
    "person": ("trousers", "jeans", "shorts"),
}
_LOWER_COLOURS: Final[Mapping[str, tuple[str, ...]]] = {
    "jeans": ("blue", "light blue", "dark blue", "black", "grey"),
    "trousers": ("black", "black", "dark grey", "grey", "dark blue", "brown", "beige", "olive", "white"),
    "leggings": ("black", "black", "dark grey", "dark blue", "purple", "grey"),
    "shorts": ("black", "grey", "dark blue", "beige", "blue", "red", "olive", "white"),
    "skirt": ("black", "dark blue", "red", "grey", "beige", "pink", "green", "white", "yellow"),
}
_PATTERNS: Final[Mapping[str, tuple[str, ...]]] = {
    "t-shirt": ("plain", "plain", "striped", "logo", "logo", "two-tone"),
    "top": ("plain", "plain", "striped"),
    "shirt": ("plain", "plain", "checked", "checked", "striped"),
    "sweater": ("plain", "plain", "striped", "two-tone"),
    "hoodie": ("plain", "plain", "logo", "two-tone"),
    "jacket": ("plain", "plain", "two-tone"),
    "coat": ("plain",),
    "dress": ("plain", "striped", "checked"),
}
_HAIR_CUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "man": ("short", "short", "short", "short", "bald", "shoulder-length"),
    "woman": ("long", "long", "shoulder-length", "ponytail", "bun", "short"),
    "person": ("short", "shoulder-length", "ponytail"),
}
_BAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "man": ("shoulder bag",),
    "woman": ("handbag", "shoulder bag"),
    "person": ("shoulder bag",),
}
_TRIMS: Final = (
    "white",
    "white",
    "black",
    "grey",
    "red",
    "dark blue",
    "yellow",
    "light blue",
    "green",
    "orange",
    "beige",
)
