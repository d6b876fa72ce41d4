"""What the parts refuse → a status and one line of JSON."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from resight.data.images import PictureError
from resight.data.records import printable
from resight.errors import ConfigError, ResightError
from resight.service.batching import BusyError
from resight.service.forms import quoted

OF_PICTURES = {"too large": 413, "box": 400}  # 415 for every other reason that a picture cannot be used
LIBRARIES_OWN = {"Not Found", "Method Not Allowed"}  # what Starlette says where no route of ours speaks

log = logging.getLogger("resight.service")


def add_refusals(app: FastAPI) -> None:
    """Has every error that a request can cause answered as {"detail": "one line"}."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return refusal(422, complaint(error.errors()[0]))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        detail = str(error.detail)
        if detail in LIBRARIES_OWN:
            detail = f"There is no {request.method} {quoted(request.url.path)} here. See /docs."
        return refusal(error.status_code, detail, error.headers)

    @app.exception_handler(PictureError)
    async def no_picture(request: Request, error: PictureError) -> JSONResponse:
        return refusal(OF_PICTURES.get(error.kind, 415), str(error))

    @app.exception_handler(ConfigError)
    async def wrong(request: Request, error: ConfigError) -> JSONResponse:
        return refusal(400, str(error))

    @app.exception_handler(BusyError)
    async def busy(request: Request, error: BusyError) -> JSONResponse:
        return refusal(503, str(error), {"Retry-After": "1"})

    @app.exception_handler(ResightError)
    async def no_gallery(request: Request, error: ResightError) -> JSONResponse:
        log.error("%s", error)  # it names places of this machine, so the client is not told
        return refusal(503, "The gallery does not answer; the service's log says why.", {"Retry-After": "5"})


def refusal(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": printable(detail)}, status, headers)


def complaint(found: Mapping[str, Any]) -> str:
    """One of pydantic's complaints, without the value that it repeats."""
    place = ".".join(str(part) for part in found["loc"][1:]) or "the request"
    match found["type"]:
        case "json_invalid":
            return f"The request is not JSON: {found['ctx']['error']} at character {place}."
        case "value_error":  # of files alone: pydantic knows the other types itself
            return f"{place}: is not a file. Send it as a part with a file name."
    return f"{place}: {found['msg']}."
