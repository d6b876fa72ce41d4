"""A made-up person benchmark on a disk: Market-1501's folders, CUHK-PEDES's captions."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from resight.data.sample.captions import tokens
from resight.data.sample.jobs import GALLERY, QUERY, TRAIN, Drawn, draw_distractor, draw_identity, draw_junk
from resight.errors import ConfigError, DataError

CAPTIONS: Final = "reid_raw.json"

_WORTH_A_PROCESS: Final = 50
"""Jobs below which another process takes longer to start than it saves."""

_README: Final = """\
Made-up people: {identities} identities (even ones to train on, odd ones to test), {pictures} pictures, {captions}
captions.
Drawn by `resight data make-sample`, seed {seed}, {identities} identities. No real person is shown.
Free of rights: dedicated to the public domain under CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/

Folders and file names are those of Market-1501: 0002_c1s1_000451_03.jpg is identity 2 from camera 1; identity 0000 are
distractors, -1 is junk. {file} has captions in the form of CUHK-PEDES.
"""


@dataclass(frozen=True, slots=True)
class SampleCounts:
    """What was drawn; pictures but for `identities` and `captions`. gallery: without distractors and junk."""

    identities: int
    train: int
    query: int
    gallery: int
    distractors: int
    junk: int
    captions: int


_Job = tuple[Callable[[Path, int, int], list[Drawn]], int]


def make_sample(
    out: Path,
    *,
    n_identities: int = 200,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SampleCounts:
    """Draws people whom six unlike cameras see, with two captions a picture, into `out`, a new or empty folder.

    Even identities are to train on, odd ones to test; of each twenty, two pairs differ in one attribute only. The same
    seed gives the same files, however many workers draw them, and an identity looks the same however many there are.
    workers: processes; None is one a core, fewer where that does not pay. progress: called with (done, total).
    Raises ConfigError for fewer than 4 identities, a negative seed or no worker; DataError where `out` holds something
    or cannot be written.
    """
    if n_identities < 4:
        raise ConfigError(f"n_identities must be at least 4, two to train on and two to test; got {n_identities}.")
    if seed < 0:
        raise ConfigError(f"seed must not be negative, got {seed}.")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}.")
    jobs: list[_Job] = [(draw_identity, number) for number in range(1, n_identities + 1)]
    jobs += [(draw_distractor, number) for number in range(n_identities)]
    jobs += [(draw_junk, number) for number in range(n_identities // 2)]
    with _folder(out) as root:
        drawn: list[Drawn] = []
        for done, pictures in enumerate(_carried_out(jobs, root, seed, workers), 1):
            drawn += pictures
            if progress is not None:
                progress(done, len(jobs))
        counts = _counts(drawn, n_identities)
        _write_texts(root, drawn, counts, seed)
    return counts


@contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` whose content becomes that of `out` when all is done, and goes when something fails."""
    out = out.resolve()
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.unfinished")
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DataError(f"{out}: holds something already. Name another folder, or delete this one.")
        for name in (TRAIN, QUERY, GALLERY):
            (unfinished / name).mkdir(parents=True)
        yield unfinished
        out.mkdir(exist_ok=True)
        for child in sorted(unfinished.iterdir()):
            shutil.move(child, out / child.name)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error}). Name another folder, or make room.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _carried_out(jobs: list[_Job], root: Path, seed: int, workers: int | None) -> Iterator[list[Drawn]]:
    """What each job drew, in their order."""
    if workers is None:
        workers = max(1, min(os.cpu_count() or 1, len(jobs) // _WORTH_A_PROCESS))
    if workers == 1:
        yield from (_carry_out(root, seed, job) for job in jobs)
        return
    # Not forked: PyTorch's threads may hold locks in this process.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(partial(_carry_out, root, seed), jobs, chunksize=8)
    except BrokenProcessPool as error:
        advice = "In a script, call make_sample below `if __name__ == '__main__':`; or give workers=1."
        raise DataError(f"{root.parent}: the processes that draw people ended early. {advice}") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _carry_out(root: Path, seed: int, job: _Job) -> list[Drawn]:
    draw, number = job
    return draw(root, seed, number)


def _counts(drawn: list[Drawn], n_identities: int) -> SampleCounts:
    kinds = Counter(picture.kind for picture in drawn)
    n_captions = sum(len(picture.captions) for picture in drawn)
    return SampleCounts(identities=n_identities, captions=n_captions, **kinds)


def _write_texts(root: Path, drawn: list[Drawn], counts: SampleCounts, seed: int) -> None:
    """The captions, a picture a line, and a note on what this is."""
    rows: list[dict[str, Any]] = [
        {
            "split": "train" if picture.kind == "train" else "test",
            "captions": picture.captions,
            "file_path": picture.path,
            "processed_tokens": [tokens(caption) for caption in picture.captions],
            "id": picture.identity,
        }
        for picture in drawn
        if picture.captions
    ]
    lines = ",\n".join(json.dumps(row) for row in rows)
    (root / CAPTIONS).write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    note = _README.format(
        identities=counts.identities, pictures=len(drawn), captions=counts.captions, seed=seed, file=CAPTIONS
    )
    (root / "README.txt").write_text(note, encoding="utf-8")
