"""The pictures that resight-mini is pre-trained on, drawn: people, vehicles, animals, and things, each with a caption.

    python mini/draw.py OUT --pictures 60000 --seed 1 [--workers 2]

OUT gets a folder a kind and index.csv. The same seed gives the same files, however many workers draw them.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import animals
import numpy as np
import people
import things
import vehicles
from nuisance import Picture

from resight.data.index import write_index
from resight.types import Record

SHARES: Final = {"people": 0.4, "vehicles": 0.2, "animals": 0.2, "things": 0.2}
"""Of all pictures."""

FEWEST, MOST = 3, 6
"""Pictures of an identity."""

_TOWN: Final = 250
"""Identities that share their places; painting six of these takes as long as 300 pictures."""


def generator(seed: int, kind: str, number: int) -> np.random.Generator:
    """All that is random about one identity; numbers count from 1.

    The sample set seeds its generators with (seed, stream, number), streams 0 to 4 (resight.data.sample.jobs). Here the
    last letter of `kind` stands in the stream's place, above 96, and there are more than the four words up to which
    NumPy fills with zeros: no seed gives a generator, and so a person, that a sample set has.
    """
    return np.random.default_rng((seed, *kind.encode(), number))


def pictures(seed: int, kind: str, number: int) -> Iterator[Picture]:
    """The pictures of one identity."""
    rng = generator(seed, kind, number)
    n = n_pictures(rng)
    if kind == "people":
        return people.pictures(rng, n, town=seed * 1000 + number // _TOWN)
    take = {"vehicles": vehicles.pictures, "animals": animals.pictures, "things": things.pictures}[kind]
    return take(rng, n)


def n_pictures(rng: np.random.Generator) -> int:
    return int(rng.integers(FEWEST, MOST + 1))


def planned(n: int, seed: int) -> list[tuple[str, int]]:
    """(kind, number) of the identities that n pictures take, or a few pictures more since identities stay whole."""
    jobs = []
    for kind, share in SHARES.items():
        number = drawn = 0
        while drawn < share * n:
            number += 1
            drawn += n_pictures(generator(seed, kind, number))
            jobs.append((kind, number))
    return jobs


def draw(out: Path, seed: int, job: tuple[str, int]) -> list[Record]:
    """Draws one identity's files."""
    kind, number = job
    records = []
    for k, shot in enumerate(pictures(seed, kind, number)):
        path = out / kind / f"{number:05d}_{k}.jpg"
        shot.image.save(path, "JPEG", quality=shot.quality)
        camera = f"{kind}-{shot.camera}"
        records.append(Record(path, f"{kind}-{number:05d}", camera, captions=(shot.caption,), split="train"))
    return records


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT", type=Path, help="a new or empty folder")
    parser.add_argument("--pictures", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    if given.pictures < 1 or given.seed < 0 or given.workers < 1:
        parser.error("--pictures and --workers must be 1 or more, and --seed 0 or more.")
    out: Path = given.out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        parser.error(f"{out}: holds something already. Name another folder, or delete this one.")
    for kind in SHARES:
        (out / kind).mkdir(parents=True)
    jobs, job = planned(given.pictures, given.seed), partial(draw, out, given.seed)
    if given.workers == 1:
        drawn = [record for one in jobs for record in job(one)]
    else:
        with ProcessPoolExecutor(given.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            drawn = [record for records in pool.map(job, jobs, chunksize=50) for record in records]
    write_index(drawn, out / "index.csv")
    print(f"{len(drawn):,} pictures of {len(jobs):,} identities: {out / 'index.csv'}")


if __name__ == "__main__":
    main()
