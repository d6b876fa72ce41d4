"""What `resight gallery` and `resight serve` share: a new gallery, where pictures come from, and adding them."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from resight.commands.arguments import (
    DataArguments,
    EmbedArguments,
    parse_time,
    print_json,
    progress_bar,
    say,
    say_slow,
)
from resight.errors import ConfigError, DataError, GalleryError
from resight.types import Record

if TYPE_CHECKING:
    from resight.adding import Added
    from resight.embedder import Embedder
    from resight.gallery.rows import Gallery

MANY = 5000
"""Stored rows after which the gallery is compacted."""
SILENCE, SLOWNESS = 1.0, 5.0
"""Seconds that a pipe of paths is waited for before what came is stored; and at most, where it never falls silent."""


@dataclass(frozen=True, slots=True)
class PicturesArguments:
    """Which pictures, and what is known of all of them."""

    data: Path | None = None
    """A folder (one sub-folder an identity), a CSV, TSV or Parquet table, or a benchmark's root. A table's time is the
    rows' time, its column `id` their id, and columns that are not known become fields."""
    paths: str | None = None
    """A file with a picture's path on each line, or - for a pipe; a pipe may go on for ever."""
    benchmark: str | None = None
    """Name of the benchmark, where its layout does not tell; `resight data list` shows them."""
    column: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A table's column under another name, as camera=session_date; may be repeated."""
    identity: str | None = None
    """Who all the pictures show."""
    camera: str | None = None
    """The camera of all the pictures."""
    time: str | None = None
    """The time of all the pictures: 2024-05-31, 2024-05-31T12:00:00+02:00, or UTC seconds."""

    def given(self) -> bool:
        return self.data is not None or self.paths is not None

    def read(self) -> Iterable[Record | None]:
        """The pictures; None where a pipe is silent. Raises ConfigError or DataError."""
        said = {"identity": self.identity, "camera": self.camera, "time": parse_time("--time", self.time)}
        labels: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
        for name in ("identity", "camera"):
            if labels.get(name) == "":
                raise ConfigError(f'--{name} "": leave it out where it is unknown.')
        if self.data is not None and self.paths is not None:
            raise ConfigError("--data and --paths: the pictures come from one of them. Leave one out.")
        if self.data is not None:
            from resight.data.dataset import all_records

            splits = DataArguments(self.data, self.benchmark, self.column).read(fields=True)
            return [replace(record, **labels) for record in all_records(splits)]
        if self.paths is None:
            raise ConfigError("no pictures are named. Give --data PATH, or --paths FILE, or --paths - for a pipe.")
        if self.benchmark is not None or self.column:
            raise ConfigError("--benchmark and --column belong to --data. Leave them out.")
        lines = as_they_come(_opened(self.paths))
        return (None if line is None else replace(_record(line), **labels) for line in lines if line != "")


def _opened(paths: str) -> int:
    if paths == "-":
        return sys.stdin.fileno()
    try:
        return os.open(paths, os.O_RDONLY)
    except OSError as error:
        raise DataError(
            f"{paths}: cannot be read ({error.strerror}). Name a file with a path on each line, or - for a pipe."
        ) from error


def _record(line: str) -> Record:
    return Record(Path(os.path.abspath(line)))


def as_they_come(file: int) -> Iterator[str | None]:
    """The lines of an open file, by its number, without their ends; None where it is silent, or slower than its reader.

    The thread that waits for it holds no lock, so that the program can end while a pipe stays open.
    """
    lines: queue.Queue[bytes | None] = queue.Queue(maxsize=10_000)

    def read() -> None:
        rest = b""
        try:
            while some := os.read(file, 65_536):
                *whole, rest = (rest + some).split(b"\n")
                for line in whole:
                    lines.put(line)
        except OSError as error:
            say(f"note: the list of paths ends where it cannot be read on ({error.strerror})")
        lines.put(rest)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    paused = time.monotonic()
    while True:
        try:
            line = lines.get(timeout=SILENCE)
        except queue.Empty:
            yield None
            paused = time.monotonic()
            continue
        if line is None:
            return
        yield os.fsdecode(line.rstrip(b"\r"))
        if lines.empty() and time.monotonic() - paused > SLOWNESS:
            yield None
            paused = time.monotonic()


def begin(place: str, source: str, *, device: str, options: Mapping[str, Any]) -> tuple[Gallery, Embedder]:
    """A new gallery and its encoder, with the encoder's calibration. source, options: as `open_embedder` takes them."""
    from resight.calibration import stored
    from resight.gallery.store import create
    from resight.gallery_encoder import describe
    from resight.opening import open_embedder

    encoder = open_embedder(source, device=device, **options)
    calibration = stored(encoder, Path(source))
    learned = None if calibration is None else calibration.as_dict()
    return create(place, describe(encoder, source, options, learned)), encoder


def fill(
    gallery: Gallery,
    encoder: Embedder,
    pictures: Iterable[Record | None],
    embed: EmbedArguments,
    *,
    place: str,
    as_json: bool,
) -> int:
    """Adds the pictures and tells what became of them; the exit status."""
    from resight.adding import Added, adding

    config = embed.config()
    say_slow(encoder, config.precision)
    added = Added()
    n = len(pictures) if isinstance(pictures, Sized) else None
    try:
        with progress_bar("add") as progress:
            for added in adding(gallery, encoder, pictures, config):
                if progress is not None:
                    progress(added.n_seen, n)
        if added.n_stored >= MANY:
            say(f"{place}: bringing {added.n_stored:,} new rows into the index")
            gallery.compact()
    except KeyboardInterrupt:
        say(f"stopped: {_counts(added)}. What is stored stays; the same command goes on.")
        return 130
    except GalleryError:
        say(f"{place}: {_counts(added)}. What is stored stays; the same command goes on.")
        raise
    for line in added.left_out:
        say(f"left out: {line}")
    if as_json:
        print_json({"gallery": place, **asdict(added), "n_rows": gallery.count()})
    else:
        print(f"{place}: {_counts(added)}; {gallery.count():,} rows")
    return 1 if added.left_out else 0


def _counts(added: Added) -> str:
    counts = [f"{added.n_stored:,} pictures added"]
    counts += [f"{added.n_replaced:,} of them in place of earlier rows"] if added.n_replaced else []
    counts += [f"{added.n_there:,} were there"] if added.n_there else []
    counts += [f"{added.n_updated:,} of these with new labels"] if added.n_updated else []
    return ", ".join([*counts, f"{len(added.left_out):,} left out"])
