"""Pictures → rows of a gallery: hashed, looked up, decoded, embedded and stored, in one pass that can be repeated."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.data.images import Box, content_name, crop, open_bytes, read_bytes
from resight.data.loader import ahead, expect_at_least_one
from resight.data.records import printable
from resight.data.thumbnails import thumbnail
from resight.embed import PLAINLY, EmbedConfig
from resight.embedder import Embedder, Picture
from resight.errors import DataError, GalleryError
from resight.gallery.rows import Entry, Gallery, Row, Where, check_entry
from resight.gallery_encoder import require_encoder
from resight.types import Record

N_STORED = 1024
"""Rows that are stored at a time: every time costs the disk's confirmation."""
SECONDS_STORED = 10.0
"""After which what there is is stored, so that a slow encoder loses little when it is stopped."""


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """One picture, and what is known of it.

    picture: a path, the bytes of a file, or a Pillow image, array or tensor as `Encoder.embed_images` takes them.
    id: of its row; None is its content's hash. identity, camera, view, time and box as in `Record`.
    """

    picture: Picture | bytes
    id: str | None = None
    identity: str | None = None
    camera: str | None = None
    view: str | None = None
    time: float | None = None
    box: Box | None = None
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Added:
    """What became of `n_seen` pictures so far: stored, there already, left out, or not yet stored.

    n_replaced: of the stored ones, how many took the place of a row with the same id, or of the same path, whose file
    had changed. n_updated: of those that were there, how many labels were changed. left_out: a line for each.
    """

    n_seen: int = 0
    n_stored: int = 0
    n_replaced: int = 0
    n_there: int = 0
    n_updated: int = 0
    left_out: tuple[str, ...] = ()


def add(
    gallery: Gallery, encoder: Embedder, pictures: Iterable[Sighting | Record | None], config: EmbedConfig = PLAINLY
) -> Added:
    """Adds every picture, as `adding` does, to its end."""
    (added,) = deque(adding(gallery, encoder, pictures, config), maxlen=1)
    return added


def adding(
    gallery: Gallery, encoder: Embedder, pictures: Iterable[Sighting | Record | None], config: EmbedConfig = PLAINLY
) -> Generator[Added, None, None]:
    """Adds pictures that may come without end, and says after every batch what became of them so far.

    What `n_stored` counts is durable. A picture whose content is there already, be it from an earlier pass that was
    stopped, is neither decoded nor embedded; labels that are known of it and differ are updated, and unknown ones stay.
    A file that changed under its path replaces the path's row of the same box, unless ids are given. None among the
    pictures is a pause: what has come so far is stored before the next is asked for. The field "id" of a record is its
    row's id. Pictures that cannot be read, or have labels that no gallery can hold, are left out.
    config: `cache` is not used, since pictures are read once. Raises GalleryError when the encoder is not the gallery's
    or the store fails, and ConfigError for numbers below 1.
    """
    expect_at_least_one(batch_size=config.batch_size, workers=config.workers)
    require_encoder(gallery, encoder)
    run = _Run(gallery, encoder, config)
    stream = iter(pictures)
    ended = False

    def until_pause() -> Iterator[Sighting]:
        nonlocal ended
        for picture in stream:
            if picture is None:
                return
            yield _sighting(picture) if isinstance(picture, Record) else picture
        ended = True

    while not ended:
        yield from run.through(until_pause())


def content_of(source: bytes | Image.Image, box: Box | None = None) -> str:
    """32 hexadecimal digits that name a picture: the hash of a file, or of size and RGB pixels, and of the box."""
    if isinstance(source, Image.Image):
        source = repr(source.size).encode() + source.tobytes()
    return content_name(hashlib.blake2b(source).digest(), box).hex()


def _sighting(record: Record) -> Sighting:
    fields = dict(record.fields)
    return Sighting(
        record.path,
        fields.pop("id", None),
        record.identity,
        record.camera,
        record.view,
        record.time,
        record.box,
        fields,
    )


def _name(sighting: Sighting) -> str:
    """For messages."""
    return str(sighting.picture) if isinstance(sighting.picture, str | Path) else "a picture"


def _path(sighting: Sighting) -> str:
    """Where the picture is, as Unicode text, which a file's name need not be."""
    if not isinstance(sighting.picture, str | Path):
        return ""
    return os.fsencode(os.path.abspath(sighting.picture)).decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A batch of pictures after the threads' work. there: of those whose rows exist. images: of `new`, resized."""

    n: int
    there: list[Entry]
    new: list[tuple[Entry, str | None, bytes]]
    images: NDArray[np.uint8]
    faults: list[str]


class _Run:
    """One pass: what waits to be stored, and the counts."""

    def __init__(self, gallery: Gallery, encoder: Embedder, config: EmbedConfig) -> None:
        self._gallery, self._encoder, self._config = gallery, encoder, config
        # in what was empty nothing need be looked up before it is embedded; who else adds is seen when rows are stored
        self._was_empty = gallery.count() == 0
        self._rows: dict[str, Row] = {}
        self._places: set[tuple[str, Box | None]] = set()
        self._there: list[Entry] = []
        self._stored_at = time.monotonic()
        self._added = Added()

    def through(self, sightings: Iterator[Sighting]) -> Iterator[Added]:
        """Adds these; all of them are stored at the end."""
        parts = iter(lambda: list(islice(sightings, self._config.batch_size)), [])
        for part in ahead(self._prepare, parts, self._config.workers):
            self._embed(part)
            waiting = len(self._rows) + len(self._there)
            if waiting >= N_STORED or time.monotonic() - self._stored_at > SECONDS_STORED:
                self._store()
            yield self._added
        self._store()
        yield self._added

    def _prepare(self, sightings: Sequence[Sighting]) -> _Part:
        read, there, new, images, faults = [], [], {}, [], []
        for sighting in sightings:
            try:
                read.append((sighting, *self._read(sighting)))
            except DataError as error:
                faults.append(printable(str(error)))
            except GalleryError as error:
                faults.append(printable(f"{_name(sighting)}: {error}"))
        contents = {} if self._was_empty else self._gallery.contents(list({entry.id for _, entry, _ in read}))
        for sighting, entry, source in read:
            if contents.get(entry.id) == entry.content or (entry.id, entry.content) in new:
                there.append(entry)
                continue
            try:
                image = self._open(sighting, source)
            except DataError as error:
                faults.append(printable(str(error)))
                continue
            images.append(self._encoder.preprocess.resize(image))
            whole = source if isinstance(source, bytes) and sighting.box is None else b""
            new[entry.id, entry.content] = entry, sighting.view, thumbnail(image, whole)
        return _Part(len(sightings), there, [*new.values()], np.stack(images) if images else _NO_IMAGES, faults)

    def _read(self, sighting: Sighting) -> tuple[Entry, bytes | Image.Image]:
        picture = sighting.picture
        source: bytes | Image.Image
        if isinstance(picture, str | Path):
            source = read_bytes(Path(picture))
        else:
            source = picture if isinstance(picture, bytes) else self._encoder.open_picture(picture)
        content = content_of(source, sighting.box)
        entry = Entry(
            id=content if sighting.id is None else sighting.id,
            content=content,
            path=_path(sighting),
            identity=sighting.identity,
            camera=sighting.camera,
            time=sighting.time,
            box=sighting.box,
            fields=sighting.fields,
        )
        check_entry(entry)
        return entry, source

    def _open(self, sighting: Sighting, source: bytes | Image.Image) -> Image.Image:
        if isinstance(source, bytes):
            background = self._encoder.preprocess.background
            return open_bytes(source, _name(sighting), box=sighting.box, background=background)
        return source if sighting.box is None else crop(source, sighting.box, Path(_name(sighting)))

    def _embed(self, part: _Part) -> None:
        self._there += part.there
        if part.new:
            embedding, aligned = self._encoder.encode(
                part.images,
                cameras=[entry.camera for entry, _, _ in part.new],
                views=[view for _, view, _ in part.new],
                precision=self._config.precision,
            )
            for k, (entry, _, small) in enumerate(part.new):
                self._put(Row(entry, embedding[k], None if aligned is None else aligned[k], small))
        left_out = (*self._added.left_out, *part.faults) if part.faults else self._added.left_out
        self._added = replace(self._added, n_seen=self._added.n_seen + part.n, left_out=left_out)

    def _put(self, row: Row) -> None:
        """Has the row wait to be stored; one whose place it takes is stored before."""
        entry = row.entry
        waiting = self._rows.get(entry.id)
        if waiting is not None and waiting.entry.content == entry.content:
            self._there.append(entry)
            return
        if waiting is not None or (entry.path, entry.box) in self._places:
            self._store()
        self._rows[entry.id] = row
        self._places |= {(entry.path, entry.box)} if entry.path else set()

    def _store(self) -> None:
        contents = self._gallery.contents([*self._rows])  # since the threads looked others may have added the same
        new = [row for row in self._rows.values() if contents.get(row.entry.id) != row.entry.content]
        there = [row.entry for row in self._rows.values() if contents.get(row.entry.id) == row.entry.content]
        kept = {entry.id for entry in self._there}
        replaced = [id_ for id_ in self._changed([row.entry for row in new]) if id_ not in kept]
        self._gallery.add(new)
        self._gallery.remove(replaced)
        n_updated = self._relabel([*there, *self._there])
        self._added = replace(
            self._added,
            n_stored=self._added.n_stored + len(new),
            n_replaced=self._added.n_replaced + len(replaced) + sum(row.entry.id in contents for row in new),
            n_there=self._added.n_there + len(there) + len(self._there),
            n_updated=self._added.n_updated + n_updated,
        )
        self._rows, self._places, self._there = {}, set(), []
        self._stored_at = time.monotonic()

    def _changed(self, entries: Sequence[Entry]) -> list[str]:
        """Ids of rows whose file is now one of these; ids that a user gave name rows that stay."""
        places = {(entry.path, entry.box) for entry in entries if entry.path and entry.id == entry.content}
        if not places:
            return []
        former = self._gallery.entries(Where(paths=tuple(sorted({path for path, _ in places}))))
        return [entry.id for entry in former if entry.id == entry.content and (entry.path, entry.box) in places]

    def _relabel(self, entries: Sequence[Entry]) -> int:
        """Updates rows of which more is known than before, or something else; how many."""
        labelled = [entry for entry in entries if _labels(entry)]
        rows = self._gallery.get(list({entry.id for entry in labelled}), thumbnails=False)
        before = {row.entry.id: row.entry for row in rows}
        after = dict(before)
        for entry in labelled:
            if entry.id in after:
                fields = {**after[entry.id].fields, **entry.fields}
                after[entry.id] = replace(after[entry.id], **_labels(entry) | {"fields": fields})
        changed = [entry for entry in after.values() if entry != before[entry.id]]
        self._gallery.update(changed)
        return len(changed)


_NO_IMAGES: NDArray[np.uint8] = np.empty((0, 3, 0, 0), np.uint8)


def _labels(entry: Entry) -> dict[str, Any]:
    """What is known of it."""
    said = {"identity": entry.identity, "camera": entry.camera, "time": entry.time, "fields": entry.fields or None}
    return {name: value for name, value in said.items() if value is not None}
