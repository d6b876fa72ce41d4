"""Who passes which camera when: one job draws all pictures of one identity, or one picture of somebody else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from resight.data.sample.cameras import CAMERAS
from resight.data.sample.captions import captions
from resight.data.sample.people import Person, person, twin
from resight.data.sample.pictures import take
from resight.data.sample.shots import Shot, first_shot, next_shot, seen

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
_KINDS: Final = {TRAIN: "train", QUERY: "query", GALLERY: "gallery"}

_PEOPLE, _TOUR, _PICTURES, _DISTRACTORS, _JUNK = range(5)
"""Streams of random numbers, so that no two things share one."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture. path: relative to the set's root. kind: "train", "query", "gallery", "distractors" or "junk"."""

    path: str
    kind: str
    identity: int
    captions: tuple[str, ...] = ()


def person_of(seed: int, identity: int) -> Person:
    """Who has this number, from 1. Of each twenty, 5 and 6 are twins of 3 and 4, which are in the same split."""
    rng = np.random.default_rng((seed, _PEOPLE, identity))
    return twin(person_of(seed, identity - 2), rng) if identity % 20 in (5, 6) else person(rng)


def draw_identity(root: Path, seed: int, identity: int) -> list[Drawn]:
    """All pictures of a person: 1 to 4 by each of 2 to 6 cameras, and at least 2 by two of them.

    So every query has a match by another camera when one picture of each camera is taken as a query.
    """
    someone, tests = person_of(seed, identity), identity % 2 == 1
    rng = np.random.default_rng((seed, _TOUR, identity))
    n_cameras = int(rng.choice([2, 3, 4, 5, 6], p=(0.1, 0.2, 0.3, 0.25, 0.15)))
    cameras = 1 + rng.choice(len(CAMERAS), n_cameras, replace=False)
    drawn = []
    for rank, camera in enumerate(cameras.tolist()):
        n_pictures = int(rng.integers(2 if rank < 2 else 1, 5))
        queried, start, sequence = rng.integers((n_pictures, 90_000, 6)).tolist()
        shot = first_shot(camera, rng)
        for k in range(n_pictures):
            folder = TRAIN if not tests else QUERY if k == queried else GALLERY
            name = f"{identity:04d}_c{camera}s{sequence + 1}_{start + 25 * k + 1:06d}_{k:02d}.jpg"
            moment_rng = np.random.default_rng((seed, _PICTURES, identity, camera, k))
            moment = next_shot(shot, moment_rng)
            _save(take(someone, moment, seed, moment_rng), root / folder / name, camera)
            said = captions(someone, seen(someone, moment), walks=moment.stance.stride > 0.2, n=2, rng=moment_rng)
            drawn.append(Drawn(f"{folder}/{name}", _KINDS[folder], identity, tuple(said)))
    return drawn


def draw_distractor(root: Path, seed: int, number: int) -> list[Drawn]:
    """One picture of a person who is in no other, of a part of one, or of a place without anybody."""
    rng = np.random.default_rng((seed, _DISTRACTORS, number))
    shot = _somewhere(rng)
    kind = rng.random()
    if 0.4 <= kind < 0.7:
        shot = _badly_cropped(shot, rng)
    someone = None if kind >= 0.7 else person(rng)
    return _draw_other(root, seed, "0000", number, someone, shot, rng)


def draw_junk(root: Path, seed: int, number: int) -> list[Drawn]:
    """One badly cropped picture of a person."""
    rng = np.random.default_rng((seed, _JUNK, number))
    return _draw_other(root, seed, "-1", number, person(rng), _badly_cropped(_somewhere(rng), rng), rng)


def _somewhere(rng: np.random.Generator) -> Shot:
    return next_shot(first_shot(int(rng.integers(1, len(CAMERAS) + 1)), rng), rng)


def _badly_cropped(shot: Shot, rng: np.random.Generator) -> Shot:
    """The shot with a box that holds part of the person only, or too much around."""
    top, feet = [(-0.9, 1.1), (-0.1, 2.2), (0.45, 1.35), (0.3, 0.8)][int(rng.integers(4))]
    stance = replace(shot.stance, top=top, feet=feet, x=float(rng.choice([0.02, 0.15, 0.85, 0.98])))
    return replace(shot, stance=stance)


def _draw_other(
    root: Path, seed: int, prefix: str, number: int, someone: Person | None, shot: Shot, rng: np.random.Generator
) -> list[Drawn]:
    name = f"{prefix}_c{shot.camera}s{1 + number % 6}_{25 * number + 1:06d}_00.jpg"
    _save(take(someone, shot, seed, rng), root / GALLERY / name, shot.camera)
    return [Drawn(f"{GALLERY}/{name}", "junk" if prefix == "-1" else "distractors", int(prefix))]


def _save(image: Image.Image, path: Path, camera: int) -> None:
    image.save(path, "JPEG", quality=CAMERAS[camera - 1].quality)
