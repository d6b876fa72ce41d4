"""Records → batches of uint8 pictures, prepared ahead by threads, and decoded once where a cache is given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from resight.data.cache import PixelCache
from resight.data.images import open_image
from resight.data.transforms import Preprocess
from resight.errors import ConfigError, DataError
from resight.types import Batch, Record

_AHEAD = 2
"""Batches prepared ahead, for each thread."""

Part = TypeVar("Part")
Prepared = TypeVar("Prepared")


def load(
    records: Sequence[Record],
    preprocess: Preprocess,
    *,
    batch_size: int,
    cache: Path | None = None,
    workers: int = 2,
    order: Sequence[int] | None = None,
    on_error: Callable[[Record, DataError], None] | None = None,
) -> Iterator[Batch]:
    """Batches of the records' pictures, resized, in the given order; the last may be smaller.

    cache: folder for decoded pictures, such as environment.default_cache(); None decodes every time, which is best
    for pictures that are needed once. workers: threads that prepare batches. order: rows of `records`, each as
    often as it shall come; None is each once. on_error: called, in order and in the consumer's thread, for each
    picture that cannot be read and that its batch therefore lacks (Batch.rows says who is there); None raises the
    error instead.
    Raises DataError for an unreadable picture or an unusable cache, ConfigError where a number is below 1.
    """
    expect_at_least_one(batch_size=batch_size, workers=workers)
    rows = _checked("order", range(len(records)) if order is None else order, len(records))
    chunks = (rows[start : start + batch_size] for start in range(0, len(rows), batch_size))
    return _load(records, preprocess, chunks, cache, workers, on_error)


def load_batches(
    records: Sequence[Record],
    preprocess: Preprocess,
    batches: Iterable[NDArray[np.integer[Any]]],
    *,
    cache: Path | None = None,
    workers: int = 2,
) -> Iterator[Batch]:
    """Batches of the records' pictures, resized, each with the rows that it is given, in their order.

    batches: rows of `records`, such as data.samplers plans them; taken a few ahead, in the consumer's thread, so that
    they need not end. cache and workers: as in `load`.
    Raises DataError for an unreadable picture or an unusable cache, since a batch that lacks a picture is not the one
    that was planned; ConfigError where workers is below 1.
    """
    expect_at_least_one(workers=workers)
    chunks = (_checked("a batch", rows, len(records)) for rows in batches)
    return _load(records, preprocess, chunks, cache, workers, None)


def expect_at_least_one(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}.")


def _checked(name: str, rows: Sequence[int] | NDArray[np.integer[Any]], n_records: int) -> NDArray[np.int64]:
    """A copy, which Batch.rows is, so that nobody changes it meanwhile."""
    copy: NDArray[np.int64] = np.array(rows, dtype=np.int64)
    if copy.size and not 0 <= copy.min() <= copy.max() < n_records:
        raise ValueError(f"{name} names rows {copy.min()} to {copy.max()}, but there are {n_records} records")
    return copy


@dataclass(frozen=True, slots=True)
class _Prepared:
    batch: Batch
    faults: list[tuple[Record, DataError]]


def _load(
    records: Sequence[Record],
    preprocess: Preprocess,
    chunks: Iterator[NDArray[np.int64]],
    cache: Path | None,
    workers: int,
    on_error: Callable[[Record, DataError], None] | None,
) -> Iterator[Batch]:
    store = None if cache is None else PixelCache(cache, preprocess)
    for prepared in ahead(lambda chunk: _prepare(records, chunk, preprocess, store), chunks, workers):
        for record, error in prepared.faults:
            if on_error is None:
                raise error
            on_error(record, error)
        if len(prepared.batch.rows):
            yield prepared.batch


def ahead(prepare: Callable[[Part], Prepared], parts: Iterator[Part], workers: int) -> Iterator[Prepared]:
    """`prepare` of each part, in order, while threads do a few more ahead; what it raises is raised here."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="resight-loader")
    pending: deque[Future[Prepared]] = deque()
    try:
        while True:
            pending.extend(pool.submit(prepare, part) for part in islice(parts, _AHEAD * workers - len(pending)))
            if not pending:
                return
            yield pending.popleft().result()
    finally:  # also when the consumer drops the iterator or is interrupted
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare(
    records: Sequence[Record], rows: NDArray[np.int64], preprocess: Preprocess, store: PixelCache | None
) -> _Prepared:
    images = np.empty((len(rows), 3, preprocess.height, preprocess.width), np.uint8)
    faults: dict[int, tuple[Record, DataError]] = {}

    def decode(record: Record, image: NDArray[np.uint8]) -> None:
        image[:] = preprocess.resize(open_image(record.path, box=record.box, background=preprocess.background))

    with nullcontext(decode) if store is None else store.in_front_of(decode) as put:
        for position, row in enumerate(rows):
            record = records[row]
            try:
                put(record, images[position])
            except DataError as error:
                faults[position] = record, error
            except Exception as error:
                error.add_note(f"while reading {record.path}")
                raise
    if faults:
        kept = [position for position in range(len(rows)) if position not in faults]
        images, rows = images[kept], rows[kept]
    return _Prepared(Batch(images, rows), list(faults.values()))
