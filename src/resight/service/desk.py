"""What the routes ask of the gallery and of the encoder, and what they say of it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException, UploadFile
from PIL import Image

from resight.calibration import Calibration
from resight.encoder import Encoder
from resight.errors import ConfigError
from resight.gallery.rows import Entry, Gallery, Row
from resight.queries import word
from resight.search import Found, Sought, pool, seek_rows
from resight.service import uploads
from resight.service.batching import Batcher, Vectors

MAX_PICTURES = 8
MAX_TEXTS = 8
MAX_CHARACTERS = 1_000  # of one text
MAX_IDS = 1_000
N_LOOKED_AT = 10_000  # rows whose cameras and fields are offered to choose from
N_CAMERAS, N_VALUES = 200, 50
NAMES_SECONDS = 10.0  # how old the offered names may be


@dataclass(frozen=True, slots=True)
class Question:
    """What /search asks for, beside the conditions."""

    pictures: Sequence[UploadFile]
    box: str | None
    texts: Sequence[str]
    without: Sequence[str]
    ids: Sequence[str]


class Desk:
    """A gallery and its encoder, asked by several requests at once; writing is one at a time."""

    def __init__(self, gallery: Gallery, encoder: Encoder, batcher: Batcher, *, max_pixels: int) -> None:
        self.gallery, self.encoder, self.batcher, self.max_pixels = gallery, encoder, batcher, max_pixels
        self._decoders = CapacityLimiter(os.cpu_count() or 1)  # each holds several bytes a pixel
        self._writing = asyncio.Lock()
        self._names: tuple[float, dict[str, Any]] | None = None
        self._naming = threading.Lock()

    async def seek(self, asked: Question) -> Sought:
        """As `search.seek` and `search.seek_rows`, together with other requests."""
        _require_few(asked)
        wording = None
        if asked.texts:
            wording = await to_thread.run_sync(lambda: word(self.encoder, asked.texts, without=asked.without))
        pictures = await self._decode(asked.pictures, asked.box)
        sought = await to_thread.run_sync(self._rows, asked.ids) if asked.ids else Sought()
        if pictures or wording:
            vectors = await self._embed(pictures, wording.texts if wording else ())
            if pictures:
                sought = replace(sought, picture=pool(vectors.embedding))
            if wording:
                query = wording.query(vectors.words)
                sought = replace(sought, words=query.vector, notes=query.notes)
        return sought

    async def add(self, picture: UploadFile, box: str | None, entry: Entry) -> tuple[str, bool]:
        """Id of the row, and whether it is new. entry: what the client says; without content, without id for a hash."""
        (upload,) = await self._decode([picture], box)
        vectors = await self._embed([upload], (), cameras=[entry.camera])
        parsed = None if box is None else uploads.parse_box(box)
        content = hashlib.blake2b(upload.content + repr(parsed).encode(), digest_size=16).hexdigest()
        entry = replace(entry, id=entry.id or content, content=content, box=parsed)
        aligned = None if vectors.aligned is None else vectors.aligned[0]
        row = Row(entry, vectors.embedding[0], aligned, thumbnail(upload.image))
        async with self._writing:
            return entry.id, await to_thread.run_sync(self._store, row)

    async def remove(self, ids: Sequence[str]) -> int:
        async with self._writing:
            return await to_thread.run_sync(self.gallery.remove, ids)

    def picture(self, id: str) -> bytes:
        """The row's thumbnail. Raises HTTPException 404."""
        rows = self.gallery.get([id])
        if not rows or not rows[0].thumbnail:
            raise HTTPException(404, f"row {uploads.quoted(id)}: is not in the gallery, or has no picture.")
        return rows[0].thumbnail

    def info(self) -> dict[str, Any]:
        info, about = self.gallery.info(), self.gallery.about
        thresholds = []
        if about.calibration is not None:
            thresholds = list(Calibration.from_dict(about.calibration).pictures.thresholds)
        return {
            "n_rows": info.n_rows,
            "n_identities": info.n_identities,
            "n_cameras": info.n_cameras,
            **self._offered(),
            "can_read": self.encoder.can_read,
            "calibrated": about.calibration is not None,
            "thresholds": [{"rate": one.rate, "similarity": one.similarity} for one in thresholds],
            "encoder": self.encoder.card.source,
        }

    def _offered(self) -> dict[str, Any]:
        """Cameras and values of fields, of the first rows; kept for some seconds, since it reads many."""
        with self._naming:
            if self._names is None or time.monotonic() > self._names[0] + NAMES_SECONDS:
                cameras: set[str] = set()
                fields: defaultdict[str, set[str]] = defaultdict(set)
                for entry in self.gallery.entries(limit=N_LOOKED_AT):
                    cameras |= {entry.camera} if entry.camera is not None else set()
                    for name, value in entry.fields.items():
                        fields[name].add(value)
                offered = {name: sorted(values)[:N_VALUES] for name, values in sorted(fields.items())}
                self._names = time.monotonic(), {"cameras": sorted(cameras)[:N_CAMERAS], "fields": offered}
            return self._names[1]

    def _rows(self, ids: Sequence[str]) -> Sought:
        there = self.gallery.contents(ids)
        for id in ids:
            if id not in there:
                raise HTTPException(404, f"row {uploads.quoted(id)}: is not in the gallery.")
        return seek_rows(self.gallery, ids)

    def _store(self, row: Row) -> bool:
        known = self.gallery.get([row.entry.id])
        if known and known[0].entry.content == row.entry.content:
            self.gallery.update([row.entry])
            return False
        self.gallery.add([row])
        return True

    async def _decode(self, files: Sequence[UploadFile], box: str | None) -> list[uploads.Upload]:
        parsed = None if box is None else uploads.parse_box(box)
        found = []
        for name, content in await uploads.read_bytes(files):
            found.append(
                await to_thread.run_sync(
                    uploads.decode,
                    name,
                    content,
                    parsed,
                    self.encoder.preprocess,
                    self.max_pixels,
                    limiter=self._decoders,
                )
            )
        return found

    async def _embed(
        self, pictures: Sequence[uploads.Upload], texts: Sequence[str], *, cameras: Sequence[str | None] | None = None
    ) -> Vectors:
        pixels = [upload.pixels for upload in pictures]
        return await asyncio.wrap_future(self.batcher.submit(pixels, texts, cameras=cameras))


def thumbnail(image: Image.Image) -> bytes:
    small = image.copy()
    small.thumbnail((192, 192))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return file.getvalue()


def said(found: Found) -> dict[str, Any]:
    """A result as JSON holds it. The picture's path stays here: it is the server's, not the client's."""
    entry = found.entry
    return {
        "id": entry.id,
        "similarity": found.similarity,
        "identity": entry.identity,
        "camera": entry.camera,
        "time": entry.time,
        "fields": dict(entry.fields),
        "verdict": found.verdict,
        "probability": found.probability,
        "image": f"/image/{quote(entry.id, safe='')}",
    }


def _require_few(asked: Question) -> None:
    """Raises ConfigError for a question that is none, or too long."""
    if not (asked.pictures or asked.texts or asked.ids):
        raise ConfigError("Nothing is asked. Send a picture, text, or the id of a row.")
    if asked.pictures and asked.ids:
        raise ConfigError("Send pictures or ids of rows, not both.")
    if asked.without and not asked.texts:
        raise ConfigError("What is left out needs words to be taken from. Leave out `without`, or send `text`.")
    if asked.box is not None and len(asked.pictures) != 1:
        raise ConfigError("A box belongs to one picture. Send one picture, or no box.")
    for what, values, limit in (
        ("picture", asked.pictures, MAX_PICTURES),
        ("text", asked.texts, MAX_TEXTS),
        ("without", asked.without, MAX_TEXTS),
        ("id", asked.ids, MAX_IDS),
    ):
        if len(values) > limit:
            raise ConfigError(f"{what} stands there {len(values):,} times; at most {limit}.")
    for text in (*asked.texts, *asked.without):
        if len(text) > MAX_CHARACTERS:
            raise ConfigError(f"A text has {len(text):,} characters; at most {MAX_CHARACTERS:,}.")
