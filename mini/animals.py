"""Pictures of animals with coats of their own: faces from the front, bodies from the side, by day and in infra-red."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from beasts import SHEET, Beast, body, face
from coats import PATTERNS, SIZE, Share, blaze, coloured
from nuisance import Picture, clutter, daylight, ground, infrared, night, obstructed, picture, smooth, taken
from palette import near
from pen import RGB
from PIL import Image
from words import fitting, listed, pick, sentence

COLOURS: Final[dict[str, RGB]] = {
    "white": (230, 226, 218),
    "cream": (220, 200, 166),
    "black": (34, 31, 31),
    "dark brown": (66, 44, 32),
    "brown": (110, 72, 46),
    "reddish brown": (138, 70, 38),
    "tan": (182, 140, 94),
    "orange": (204, 130, 62),
    "grey": (126, 124, 122),
    "dark grey": (74, 73, 74),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """coats: (base, second, pattern) as often as they are common. shown: "face" or "body", as often as they are."""

    coats: tuple[tuple[str, str, str], ...]
    shown: tuple[str, ...]
    blazes: tuple[str, ...] = ("none",)


_COWS: Final = (
    *((("white", "black", "patches"),) * 5),
    *((("black", "white", "patches"),) * 2),
    *((("white", "reddish brown", "patches"), ("white", "brown", "patches")) * 2),
    *(("reddish brown", "white", "plain"), ("tan", "cream", "plain"), ("black", "dark brown", "plain")),
    *(("dark brown", "tan", "patches"), ("white", "dark grey", "speckle"), ("brown", "tan", "plain")),
)
_HORSES: Final = (
    *((("reddish brown", "black", "plain"), ("dark brown", "black", "plain"), ("brown", "tan", "plain")) * 2),
    *((("white", "brown", "patches"), ("white", "black", "patches")) * 2),
    *(("grey", "white", "speckle"), ("white", "brown", "spots"), ("black", "dark brown", "plain")),
)
_CATS: Final = (
    *((("orange", "cream", "bars"), ("grey", "black", "bars"), ("brown", "black", "stripes")) * 2),
    *(("white", "black", "patches"), ("white", "orange", "patches"), ("black", "orange", "patches")),
    *(("grey", "white", "patches"), ("black", "white", "plain"), ("cream", "dark brown", "plain")),
)
KINDS: Final[dict[str, Kind]] = {
    "cow": Kind(_COWS, ("face", "face", "face", "body"), ("broad", "broad", "narrow", "star", "snip", "none", "none")),
    "horse": Kind(_HORSES, ("face", "body"), ("broad", "narrow", "star", "snip", "none", "none")),
    "cat": Kind(_CATS, ("face", "face", "body"), ("none", "none", "none", "narrow", "broad")),
    "dog": Kind(
        (*_CATS[6:], ("tan", "black", "patches"), ("white", "black", "spots"), ("white", "brown", "patches")),
        ("face", "body"),
        ("broad", "narrow", "none"),
    ),
    "zebra": Kind(
        (("white", "black", "bars"), ("white", "black", "stripes"), ("cream", "dark brown", "bars")),
        ("body", "body", "face"),
    ),
    "giraffe": Kind(
        (("cream", "brown", "net"), ("cream", "reddish brown", "net"), ("tan", "dark brown", "net")), ("body", "face")
    ),
    "leopard": Kind(
        (("tan", "black", "spots"), ("cream", "dark brown", "spots"), ("orange", "black", "spots")), ("body", "face")
    ),
    "tiger": Kind((("orange", "black", "bars"), ("orange", "black", "stripes")), ("body", "face")),
    "seal": Kind(
        (
            ("grey", "dark grey", "speckle"),
            ("grey", "black", "speckle"),
            ("dark grey", "grey", "spots"),
            ("cream", "dark grey", "speckle"),
            ("grey", "black", "spots"),
        ),
        ("body", "face"),
    ),
}
_SHARE_OF_COWS: Final = 0.4
_PATTERN_WORDS: Final = {
    "patches": ("with patches", "patched", "with large patches"),
    "stripes": ("striped", "with stripes"),
    "bars": ("striped", "with upright stripes"),
    "spots": ("spotted", "with spots"),
    "net": ("with large net-like patches", "with a patched coat"),
    "speckle": ("speckled", "with fine speckles"),
    "plain": ("",),
}
_N_CAMERAS: Final = 16


@dataclass(frozen=True, slots=True)
class _Animal:
    """What stays: its parts in `beast`, and what can be said of them."""

    kind: str
    shown: str
    beast: Beast
    base: str
    second: str
    pattern: str
    details: tuple[str, ...]


def pictures(rng: np.random.Generator, n: int) -> Iterator[Picture]:
    """n pictures of one animal, always of its face or always of its body, by 2 to 4 cameras; odd ones see infra-red."""
    animal = _animal(rng)
    cameras = rng.choice(_N_CAMERAS, int(rng.integers(2, 5)), replace=False)
    for k in range(n):
        camera = int(cameras[k % len(cameras)])
        turn = float(np.clip(rng.normal(0, 0.3), -0.7, 0.7))
        sheet = _before(animal, camera, turn, rng)
        if rng.random() < 0.25:
            obstructed(sheet, rng)
        grey = camera % 2 == 1
        lens = infrared(rng) if grey else night(rng) if rng.random() < 0.1 else daylight(rng)
        size = (int(rng.integers(96, 150)),) * 2
        image = taken(sheet, size, lens, rng)
        caption = fitting(partial(_caption, animal, turn, grey, rng))
        yield Picture(image, lens.quality, str(camera + 1), caption)


def _animal(rng: np.random.Generator) -> _Animal:
    kind = "cow" if rng.random() < _SHARE_OF_COWS else pick(rng, list(KINDS)[1:])
    base, second, pattern = pick(rng, KINDS[kind].coats)
    shown = pick(rng, KINDS[kind].shown)
    share = PATTERNS[pattern](rng)
    fill, other = near(rng, COLOURS[base]), near(rng, COLOURS[second])
    levels = coloured(fill, other, share, rng)
    details, mark = [], pick(rng, KINDS[kind].blazes) if shown == "face" else "none"
    pale = max((fill, other), key=sum)
    if mark != "none" and sum(pale) < 560:
        pale = near(rng, COLOURS["white"])
    covered = blaze(rng, mark)
    levels += covered[..., None] * (np.asarray(pale, dtype=np.float32) - levels)
    named = {"broad": "a broad white blaze", "narrow": "a narrow white stripe down the face"}
    named |= {"star": "a white star on the forehead", "snip": "a white mark above the nose"}
    if mark != "none" and sum(pale) > 560:
        details.append(named[mark])
    if shown == "face" and pattern == "patches":
        details += _eye_patches(share * (1 - covered), second)
    beast, said = face(kind, fill, levels, rng) if shown == "face" else body(kind, levels, rng)
    return _Animal(kind, shown, beast, base, second, pattern, (*details, *said))


def _eye_patches(share: Share, second: str) -> list[str]:
    """What lies around its eyes, as seen by the viewer."""
    row, column = int(0.40 * SIZE), int(0.31 * SIZE)
    left = float(share[row - 8 : row + 8, column - 8 : column + 8].mean()) > 0.6
    right = float(share[row - 8 : row + 8, -column - 8 : 8 - column].mean()) > 0.6
    if left and right:
        return [f"{second} patches over both eyes"]
    return [f"a {second} patch over the {'left' if left else 'right'} eye"] if left or right else []


def _before(animal: _Animal, camera: int, turn: float, rng: np.random.Generator) -> Image.Image:
    """The animal in its pose, lit, before what the camera sees there."""
    habit = np.random.default_rng((camera, *b"yard"))
    level = habit.uniform(40, 170)
    r, g, b = np.clip(level * habit.uniform(0.8, 1.15, 3), 20, 220).astype(int).tolist()
    sheet = ground(rng, (SHEET, SHEET), (r, g, b), 0.2)
    clutter(sheet, rng, int(rng.integers(0, 9)))
    posed = animal.beast.posed(turn, rng)
    colour, mask = np.asarray(posed.convert("RGB"), dtype=np.float32), np.asarray(posed.getchannel("A"))
    y, x = np.mgrid[-1 : 1 : SHEET * 1j, -1 : 1 : SHEET * 1j].astype(np.float32)
    way = float(rng.uniform(-math.pi, math.pi))
    light = 1 + np.float32(rng.uniform(0, 0.35)) * (x * np.float32(math.cos(way)) + y * np.float32(math.sin(way)))
    light += np.float32(rng.uniform(0, 0.12)) * smooth(rng, (SHEET, SHEET), (3, 3))
    sheet.paste(picture(colour * light[..., None]), (0, 0), Image.fromarray(mask))
    return sheet


def _caption(animal: _Animal, turn: float, grey: bool, rng: np.random.Generator) -> str:
    colours = animal.base if animal.pattern == "plain" else f"{animal.base} and {animal.second}"
    if rng.random() < 0.3 and animal.pattern != "plain":
        colours = f"{animal.second} and {animal.base}"
    if grey and rng.random() < 0.5:
        colours = pick(rng, ("light and dark", "patterned", "")) if animal.pattern != "plain" else ""
    how = pick(rng, _PATTERN_WORDS[animal.pattern]) if rng.random() < 0.5 else ""
    before, after = ("", how) if how.startswith("with") else (how, "")
    what = f"{colours} {before} {animal.kind} {after}"
    details = [detail for detail in animal.details if rng.random() < 0.7]
    if grey:
        details = [detail.replace("yellow ", "").replace("orange ", "") for detail in details]
    having = f"with {listed(details)}" if details else ""
    if animal.shown == "face":
        side = "facing the camera" if abs(turn) < 0.22 else f"looking to the {'right' if turn > 0 else 'left'}"
        side = pick(rng, (side, side, "seen from the front", "close up"))
    else:
        side = pick(
            rng,
            ("seen from the side", "standing sideways", "from the side")
            if animal.kind != "seal"
            else ("lying on its side", "seen from above", "lying on the ground"),
        )
    when = (
        pick(rng, ("at night", "in an infra-red picture", "in black and white", ""))
        if grey
        else pick(rng, ("by day", "in daylight", "", ""))
    )
    style = rng.random()
    if style < 0.5:
        return sentence(f"a {what} {side} {having} {when}")
    if style < 0.8:
        start = pick(rng, ("a picture of", "this is", "the head of" if animal.shown == "face" else "the body of"))
        also = having.replace("with", "and", 1) if after else having
        return sentence(f"{start} a {what} {also}, {side} {when}")
    return sentence(f"the {what} is {side} {when}" + (f" and has {listed(details)}" if details else ""))
