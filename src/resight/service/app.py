"""The service's routes: what a request says → a search, a new row, a removal → JSON."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import FastAPI, File, Form, HTTPException, Response, UploadFile
from pydantic import BaseModel, Field
from starlette.middleware import Middleware

from resight.data.images import MAX_PIXELS
from resight.embedder import Embedder
from resight.environment import Precision
from resight.errors import ConfigError
from resight.gallery.rows import Entry, Gallery, Where
from resight.gallery_encoder import require_encoder
from resight.search import Terms
from resight.service.batching import Batcher
from resight.service.desk import Desk, said
from resight.service.forms import Words, label, labels, parse_box, parse_fields
from resight.service.guard import Guard, Limits
from resight.service.listing import listing
from resight.service.metrics import Metrics
from resight.service.refusals import add_refusals

MAX_REMOVED = 1_000  # rows by one request


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """token: what clients must show, None for nobody's. max_bytes: of one request; max_pixels: of one picture.

    queue: requests that may wait to be embedded; batch_size, batch_wait (seconds), precision: as in `Batcher`. Raises
    ConfigError out of range.
    """

    token: str | None = None
    read_only: bool = False
    max_bytes: int = 10_000_000
    max_pixels: int = 25_000_000
    queue: int = 64
    batch_size: int = 32
    batch_wait: float = 0.005
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and " " not in self.token):
            raise ConfigError("The token holds what no header can: use letters, digits and signs, without spaces.")
        for name in ("max_bytes", "max_pixels", "queue", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 1.")
        if self.max_pixels > MAX_PIXELS:
            raise ConfigError(f"--max-pixels {self.max_pixels}: at most {MAX_PIXELS}.")
        if not (math.isfinite(self.batch_wait) and 0 <= self.batch_wait <= 1):
            raise ConfigError(f"--batch-wait {self.batch_wait}: 0 to 1 seconds.")


def said_in(description: str, **limits: Any) -> Any:
    """A field of a form."""
    return Form(description=description, **limits)


Id = Annotated[str, said_in("id of the row, 1 to 128 characters (default: a hash of the file and the box)")]
Ids = Annotated[list[str], said_in("ids of rows to search by, in place of pictures")]
Texts = Annotated[list[str], said_in("descriptions of the individual, up to 8 of 1,000 characters")]
Without = Annotated[list[str], said_in("descriptions of what it is not")]
Pictures = Annotated[list[UploadFile], File(description="up to 8 pictures of one individual")]
Picture = Annotated[UploadFile, File(description="one picture")]
BoxText = Annotated[str | None, said_in("left,top,right,bottom: what to look at, in pixels of the upright picture")]
Top = Annotated[int, said_in("how many rows to find", ge=1, le=200)]
Threshold = Annotated[float | None, said_in("least similarity", ge=-1, le=1, allow_inf_nan=False)]
Weight = Annotated[float, said_in("share of words beside pictures", ge=0, le=1, allow_inf_nan=False)]
OneEach = Annotated[bool, said_in("of every identity the most similar row alone")]
Cameras = Annotated[list[str], said_in('rows of these cameras; "" is unknown')]
Identities = Annotated[list[str], said_in('rows of these identities; "" is unknown')]
Since = Annotated[float | None, said_in("rows from this time on, in UTC seconds since 1970", allow_inf_nan=False)]
Until = Annotated[float | None, said_in("rows before this time", allow_inf_nan=False)]
Fields = Annotated[list[str], said_in("name=value, of a further field")]
Identity = Annotated[str, said_in("who is in the picture")]
Camera = Annotated[str, said_in("which camera took it")]
Time = Annotated[float | None, said_in("when it was taken, in UTC seconds since 1970", allow_inf_nan=False)]
NONE: Any = []  # FastAPI copies a default before it hands it out


class Removal(BaseModel):
    """Rows to take out of the gallery."""

    ids: Annotated[list[str], Field(max_length=MAX_REMOVED)]


def create_app(gallery: Gallery, encoder: Embedder, config: ServeConfig) -> FastAPI:
    """The service. Raises GalleryError when the gallery's vectors are from another encoder."""
    require_encoder(gallery, encoder)
    metrics = Metrics()
    batcher = Batcher(
        encoder,
        size=config.batch_size,
        wait=config.batch_wait,
        room=config.queue,
        precision=config.precision,
        on_batch=metrics.batch,
    )
    metrics.watch(n_waiting=lambda: batcher.n_waiting, n_rows=gallery.count)
    desk = Desk(gallery, encoder, batcher, max_pixels=config.max_pixels)
    page = _page()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await to_thread.run_sync(batcher.close)

    limits = Limits(config.token, config.max_bytes, open_paths=frozenset({*page, "/health", "/docs", "/openapi.json"}))
    app = FastAPI(
        title="resight",
        docs_url=None,  # FastAPI's own page loads scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        middleware=[Middleware(Guard, limits=limits, metrics=metrics)],
    )
    add_refusals(app)
    for path, file in page.items():
        app.get(path, include_in_schema=False)(_sender(file))
    _add_reading(app, desk, metrics, config)
    _add_writing(app, desk, config)
    app.get("/docs", include_in_schema=False)(_sender(Response(listing(app.openapi()), media_type="text/html")))
    return app


def _add_reading(app: FastAPI, desk: Desk, metrics: Metrics, config: ServeConfig) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        """That the service runs."""
        return {"status": "ok"}

    @app.get("/metrics", response_class=Response)
    async def measured() -> Response:
        """What the service counts of itself, as Prometheus reads it."""
        return Response(await to_thread.run_sync(metrics.text), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/info")
    async def info() -> dict[str, Any]:
        """What the gallery holds, and what can be asked."""
        return {"can_add": not config.read_only} | await to_thread.run_sync(desk.info)

    @app.get("/image/{id:path}", response_class=Response)
    async def image(id: str) -> Response:
        """A small JPEG of a row."""
        return Response(await to_thread.run_sync(desk.thumbnail, label(id, "id")), media_type="image/jpeg")

    @app.post("/search")
    async def search(
        picture: Pictures = NONE,
        box: BoxText = None,
        text: Texts = NONE,
        without: Without = NONE,
        id: Ids = NONE,
        top: Top = 24,
        threshold: Threshold = None,
        text_weight: Weight = 0.5,
        one_each: OneEach = False,
        camera: Cameras = NONE,
        identity: Identities = NONE,
        since: Since = None,
        until: Until = None,
        field: Fields = NONE,
    ) -> dict[str, Any]:
        """The rows that are most similar to pictures, words, both, or other rows."""
        began = time.perf_counter()
        where = Where(labels(identity, "identity"), labels(camera, "camera"), since, until, parse_fields(field))
        terms = Terms(top=top, where=where, threshold=threshold, text_weight=text_weight, one_each=one_each)
        sought = await desk.seek(picture, parse_box(box), Words(text, without), labels(id, "id"))
        answer = await desk.look(sought, terms)
        by = "words" if sought.picture is None else "picture" if sought.words is None else "both"
        seconds = round(time.perf_counter() - began, 4)
        return {"found": [said(one) for one in answer.found], "notes": answer.notes, "by": by, "seconds": seconds}


def _add_writing(app: FastAPI, desk: Desk, config: ServeConfig) -> None:
    def require_writable() -> None:
        if config.read_only:
            raise HTTPException(403, "This service only reads: it was started with --read-only.")

    @app.post("/add", status_code=201)
    async def add(
        picture: Picture,
        id: Id = "",
        identity: Identity = "",
        camera: Camera = "",
        time: Time = None,
        field: Fields = NONE,
        box: BoxText = None,
    ) -> dict[str, Any]:
        """A new row; a picture that is there already takes on labels that are said."""
        require_writable()
        entry = Entry(
            id=label(id, "id"),
            content="",
            identity=label(identity, "identity") or None,
            camera=label(camera, "camera") or None,
            time=time,
            box=parse_box(box),
            fields=parse_fields(field),
        )
        row, added = await desk.add(picture, entry)
        return {"id": row, "added": added}

    @app.post("/remove")
    async def remove(removal: Removal) -> dict[str, int]:
        """Takes rows out; they are never found again."""
        require_writable()
        return {"removed": await desk.remove(labels(removal.ids, "id", MAX_REMOVED))}


KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def _page() -> dict[str, Response]:
    """path → a file of the page, read once."""
    found = {}
    for file in (files("resight.service") / "page").iterdir():
        kind = KINDS.get(Path(file.name).suffix)
        if kind is not None:
            path = "/" if file.name == "index.html" else f"/{file.name}"
            found[path] = Response(file.read_bytes(), media_type=kind)
    return found


def _sender(response: Response) -> Callable[[], Awaitable[Response]]:
    async def send() -> Response:
        return Response(response.body, media_type=response.media_type)

    return send
