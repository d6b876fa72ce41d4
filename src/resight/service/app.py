"""The service's routes: what a request says → a search, a new row, a removal → JSON."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import FastAPI, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.middleware import Middleware

from resight.data.images import PictureError
from resight.encoder import Encoder
from resight.environment import Precision
from resight.errors import ConfigError, GalleryError
from resight.gallery.rows import Entry, Gallery, Where
from resight.gallery_encoder import require_encoder
from resight.search import Terms, look
from resight.service import uploads
from resight.service.batching import Batcher, BusyError
from resight.service.desk import Desk, Question, said
from resight.service.guard import Guard, Limits, log
from resight.service.metrics import Metrics


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """token: what clients must show, None for nobody's. max_bytes: of one request; max_pixels: of one picture.

    queue: requests that may wait to be embedded; batch_size, batch_wait (seconds), precision: as in `Batcher`.
    """

    token: str | None = None
    read_only: bool = False
    max_bytes: int = 10_000_000
    max_pixels: int = 25_000_000
    queue: int = 64
    batch_size: int = 32
    batch_wait: float = 0.005
    precision: Precision = "float32"


class Removal(BaseModel):
    ids: list[str]


Texts = Annotated[list[str], Form()]
Number = Annotated[float | None, Form(allow_inf_nan=False)]


def create_app(gallery: Gallery, encoder: Encoder, config: ServeConfig) -> FastAPI:
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

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await to_thread.run_sync(batcher.close)

    page = _page()
    limits = Limits(config.token, config.max_bytes, open_paths=frozenset({*page, "/health", "/docs", "/openapi.json"}))
    guard = Middleware(Guard, limits=limits, metrics=metrics)
    app = FastAPI(title="resight", docs_url=None, redoc_url=None, lifespan=lifespan, middleware=[guard])
    desk = Desk(gallery, encoder, batcher, max_pixels=config.max_pixels)
    metrics.watch(n_waiting=lambda: batcher.n_waiting, n_rows=lambda: gallery.count())
    for path, file in page.items():
        app.get(path, include_in_schema=False)(_sender(file))
    _add_errors(app)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics", response_class=Response)
    async def measured() -> Response:
        return Response(await to_thread.run_sync(metrics.text), media_type="text/plain; version=0.0.4")

    @app.get("/info")
    async def info() -> dict[str, Any]:
        return {"can_add": not config.read_only} | await to_thread.run_sync(desk.info)

    @app.get("/image/{id:path}", response_class=Response)
    async def image(id: str) -> Response:
        return Response(await to_thread.run_sync(desk.picture, id), media_type="image/jpeg")

    @app.post("/search")
    async def search(
        picture: Annotated[list[UploadFile], File()] = [],  # noqa: B006
        box: Annotated[str | None, Form()] = None,
        text: Texts = [],  # noqa: B006
        without: Texts = [],  # noqa: B006
        id: Texts = [],  # noqa: B006
        top: Annotated[int, Form(ge=1, le=200)] = 24,
        threshold: Annotated[float | None, Form(ge=-1, le=1)] = None,
        text_weight: Annotated[float, Form(ge=0, le=1)] = 0.5,
        one_each: Annotated[bool, Form()] = False,
        camera: Texts = [],  # noqa: B006
        identity: Texts = [],  # noqa: B006
        since: Number = None,
        until: Number = None,
        field: Texts = [],  # noqa: B006
    ) -> dict[str, Any]:
        began = time.perf_counter()
        where = Where(tuple(identity), tuple(camera), since, until, uploads.parse_fields(field))
        terms = Terms(top=top, where=where, threshold=threshold, text_weight=text_weight, one_each=one_each)
        sought = await desk.seek(Question(picture, box, text, without, id))
        answer = await to_thread.run_sync(look, gallery, sought, terms)
        by = "words" if sought.picture is None else "picture" if sought.words is None else "both"
        return {
            "found": [said(one) for one in answer.found],
            "notes": answer.notes,
            "by": by,
            "seconds": round(time.perf_counter() - began, 4),
        }

    @app.post("/add", status_code=201)
    async def add(
        picture: Annotated[UploadFile, File()],
        id: Annotated[str, Form()] = "",
        identity: Annotated[str | None, Form()] = None,
        camera: Annotated[str | None, Form()] = None,
        time: Number = None,
        field: Texts = [],  # noqa: B006
        box: Annotated[str | None, Form()] = None,
    ) -> dict[str, Any]:
        _require_writable(config)
        fields = uploads.parse_fields(field)
        entry = Entry(id, "", identity=identity or None, camera=camera or None, time=time, fields=fields)
        row, added = await desk.add(picture, box, entry)
        return {"id": row, "added": added}

    @app.post("/remove")
    async def remove(removal: Removal) -> dict[str, int]:
        _require_writable(config)
        return {"removed": await desk.remove(removal.ids)}

    return app


def _require_writable(config: ServeConfig) -> None:
    if config.read_only:
        raise HTTPException(403, "This service only reads: it was started with --read-only.")


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


STATUS = {"too large": 413, "box": 400}  # of a picture that cannot be used; 415 otherwise


def _add_errors(app: FastAPI) -> None:
    """Turns what a part refuses into a status and one line."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return _refusal(422, f"{place}: {first['msg']}.")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return _refusal(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(PictureError)
    async def no_picture(request: Request, error: PictureError) -> JSONResponse:
        return _refusal(STATUS.get(error.kind, 415), str(error))

    @app.exception_handler(ConfigError)
    async def wrong(request: Request, error: ConfigError) -> JSONResponse:
        return _refusal(400, str(error))

    @app.exception_handler(BusyError)
    async def busy(request: Request, error: BusyError) -> JSONResponse:
        return _refusal(503, str(error), {"Retry-After": "1"})

    @app.exception_handler(GalleryError)
    async def no_gallery(request: Request, error: GalleryError) -> JSONResponse:
        log.error("%s", error)  # names places of this machine, so the client is not told
        return _refusal(503, "The gallery does not answer; the service's log says why.", {"Retry-After": "5"})


def _refusal(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers)
