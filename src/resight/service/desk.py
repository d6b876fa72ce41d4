"""A gallery and its encoder, as the routes ask them: questions and rows in, what JSON holds out."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anyio import to_thread
from fastapi import HTTPException, UploadFile

from resight.adding import Sighting, add, content_of
from resight.calibration import Calibration
from resight.data.images import Box
from resight.embedder import Embedder
from resight.errors import ConfigError, GalleryError
from resight.gallery.rows import Entry, Gallery, Row, check_entry
from resight.queries import Wording, word
from resight.search import Answer, Found, Sought, Terms, look, pool, seek_rows
from resight.service.batching import Batcher
from resight.service.forms import Words, quoted
from resight.service.uploads import Decoder, name_of

N_LOOKED_AT = 10_000  # rows whose cameras and fields are offered to choose from
N_CAMERAS, N_VALUES = 200, 50
OFFER_SECONDS = 10.0  # how old what is offered may be


class Desk:
    """Asked by many requests at once; what writes waits for what else writes."""

    def __init__(self, gallery: Gallery, encoder: Embedder, batcher: Batcher, *, max_pixels: int) -> None:
        self.gallery, self.encoder, self.batcher = gallery, encoder, batcher
        self._decoder = Decoder(encoder.preprocess, max_pixels)
        self._writing = asyncio.Lock()
        self._offer: tuple[float, dict[str, Any]] | None = None
        self._offering = threading.Lock()

    async def seek(self, files: Sequence[UploadFile], box: Box | None, words: Words, ids: Sequence[str]) -> Sought:
        """As `search.seek` and `search.seek_rows`, but computed together with other requests.

        Raises ConfigError and PictureError for what is wrong, HTTPException 404 for an unknown id, and BusyError.
        """
        if not (files or words.texts or ids):
            raise ConfigError("Nothing is asked. Send a picture, text, or the id of a row.")
        if files and ids:
            raise ConfigError("Send pictures or ids of rows, not both.")
        wording = await to_thread.run_sync(self._word, words) if words.texts else None
        sought = await to_thread.run_sync(self._rows, ids) if ids else Sought()
        pixels = await self._decoder.pixels(files, box)
        if pixels or wording:
            job = self.batcher.submit(pixels, wording.texts if wording else ())
            vectors = await asyncio.wrap_future(job)
            if pixels:
                sought = replace(sought, picture=pool(vectors.embedding))
            if wording:
                query = wording.query(vectors.words)
                sought = replace(sought, words=query.vector, notes=query.notes)
        return sought

    async def look(self, sought: Sought, terms: Terms) -> Answer:
        return await to_thread.run_sync(look, self.gallery, sought, terms)

    async def add(self, file: UploadFile, entry: Entry) -> tuple[str, bool]:
        """Id of the picture's row, and whether it is new. entry: what the client says; an id of "" is for a hash.

        A picture that is there already is not computed again, but takes on labels that are said. Raises as `seek`.
        """
        content = await file.read()
        hashed = content_of(content, entry.box)
        entry = replace(entry, id=entry.id or hashed, content=hashed)
        try:
            check_entry(entry)
        except GalleryError as error:
            raise ConfigError(str(error)) from error
        if await to_thread.run_sync(self._is_there, entry):
            row = None
        else:
            pixels, thumbnail = await self._decoder.decode(name_of(file.filename), content, entry.box)
            vectors = await asyncio.wrap_future(self.batcher.submit([pixels], cameras=[entry.camera]))
            aligned = None if vectors.aligned is None else vectors.aligned[0]
            row = Row(entry, vectors.embedding[0], aligned, thumbnail)
        async with self._writing:
            return entry.id, await to_thread.run_sync(self._store, entry, row, content)

    async def remove(self, ids: Sequence[str]) -> int:
        async with self._writing:
            return await to_thread.run_sync(self.gallery.remove, ids)

    def thumbnail(self, id: str) -> bytes:
        """Raises HTTPException 404 when there is none."""
        rows = self.gallery.get([id])
        if not rows or not rows[0].thumbnail:
            raise HTTPException(404, f"row {quoted(id)}: is not in the gallery, or has no picture.")
        return rows[0].thumbnail

    def info(self) -> dict[str, Any]:
        info, calibration, source = self.gallery.info(), self.gallery.about.calibration, self.encoder.card.source
        thresholds = [] if calibration is None else Calibration.from_dict(calibration).pictures.thresholds
        return {
            "n_rows": info.n_rows,
            "n_identities": info.n_identities,
            "n_cameras": info.n_cameras,
            **self._offered(),
            "can_read": self.encoder.can_read,
            "calibrated": calibration is not None,
            "thresholds": [{"rate": one.rate, "similarity": one.similarity} for one in thresholds],
            "encoder": Path(source).name if Path(source).is_absolute() else source,
        }

    def _offered(self) -> dict[str, Any]:
        """Cameras and values of fields, of the first rows; kept for some seconds, since that reads many."""
        with self._offering:
            if self._offer is None or time.monotonic() > self._offer[0] + OFFER_SECONDS:
                cameras: set[str] = set()
                fields: defaultdict[str, set[str]] = defaultdict(set)
                for entry in self.gallery.entries(limit=N_LOOKED_AT):
                    cameras |= {entry.camera} if entry.camera is not None else set()
                    for name, value in entry.fields.items():
                        fields[name].add(value)
                values = {name: sorted(fields[name])[:N_VALUES] for name in sorted(fields)}
                self._offer = time.monotonic(), {"cameras": sorted(cameras)[:N_CAMERAS], "fields": values}
            return self._offer[1]

    def _word(self, words: Words) -> Wording:
        return word(self.encoder, words.texts, without=words.without)

    def _rows(self, ids: Sequence[str]) -> Sought:
        there = self.gallery.contents(ids)
        missing = [id for id in ids if id not in there]
        if missing:
            raise HTTPException(404, f"row {quoted(missing[0])}: is not in the gallery.")
        return seek_rows(self.gallery, ids)

    def _is_there(self, entry: Entry) -> bool:
        return self.gallery.contents([entry.id]).get(entry.id) == entry.content

    def _store(self, entry: Entry, row: Row | None, content: bytes) -> bool:
        """Whether the row is new. Of what is there already, `adding` knows what becomes of its labels."""
        if row is not None and not self._is_there(entry):
            self.gallery.add([row])
            return True
        known = {name: getattr(entry, name) for name in ("id", "identity", "camera", "time", "box", "fields")}
        return add(self.gallery, self.encoder, [Sighting(content, **known)]).n_stored > 0


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
