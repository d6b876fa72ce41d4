"""Pictures of people, by the drawing code of the sample set."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from nuisance import Picture, daylight, taken

from resight.data.sample.cameras import CAMERAS, SIZE
from resight.data.sample.captions import captions
from resight.data.sample.people import person
from resight.data.sample.pictures import take
from resight.data.sample.shots import first_shot, next_shot, seen

_TOWNS = 2**40
"""Seeds of places from here on; the sets that people make have small ones."""


def pictures(rng: np.random.Generator, n: int, *, town: int) -> Iterator[Picture]:
    """n pictures of one person by 2 to 4 cameras of a town; those of a town share their backgrounds."""
    someone = person(rng)
    cameras = 1 + rng.choice(len(CAMERAS), int(rng.integers(2, 5)), replace=False)
    shots = [first_shot(int(camera), rng) for camera in cameras]
    for k in range(n):
        shot = next_shot(shots[k % len(shots)], rng)
        image = take(someone, shot, _TOWNS + town, rng)
        quality = CAMERAS[shot.camera - 1].quality
        if rng.random() < 0.3:  # otherwise the six cameras of the sample set would be all that is ever seen
            lens = daylight(rng)
            image, quality = taken(image, SIZE, lens, rng), lens.quality
        [caption] = captions(someone, seen(someone, shot), walks=shot.stance.stride > 0.2, n=1, rng=rng)
        yield Picture(image, quality, str(shot.camera), caption)
