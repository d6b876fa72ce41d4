"""What every request goes through first: who may ask, how much may come in, and what every answer says to browsers."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from dataclasses import dataclass
from ipaddress import ip_address

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resight.service.metrics import Metrics
from resight.service.refusals import log, refusal

N_AT_ONCE = 256  # requests that are being answered; each may hold a megabyte of its upload in memory
BODY_SECONDS = 60.0  # within which a request's body must have come

HOST = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\])(:\d+)?")
"""Name or address, and port, of the Host header."""

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """token: what a client must show, None for nobody's. max_bytes: of one request's body.

    open_paths: need no token, since they say nothing of any picture.
    """

    token: str | None
    max_bytes: int
    open_paths: frozenset[str]


class Guard:
    """ASGI middleware. Answers what it refuses itself, and 500 for what nobody foresaw."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self._n_open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        self._n_open += 1
        try:
            await self._answer(scope, receive, send_guarded)
        finally:
            self._n_open -= 1
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.answered(route, status, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def send_noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            self._require(scope)
            await self.app(scope, self._limited(receive), send_noted)
        except HTTPException as refused:
            await refusal(refused.status_code, str(refused.detail), refused.headers)(scope, receive, send)
        except Exception:
            log.exception("%s %r", scope["method"], scope["path"])
            if begun:
                raise
            await refusal(500, "Something went wrong here; the service's log says what.")(scope, receive, send)

    def _require(self, scope: Scope) -> None:
        """Raises HTTPException for a request that is not to be answered."""
        headers, token = Headers(scope=scope), self.limits.token
        host = headers.get("host", "")
        named = HOST.fullmatch(host)
        if token is None and (named is None or not is_loopback(named[1].strip("[]"))):
            raise HTTPException(403, "Without a token this service answers to localhost and 127.0.0.1 only.")
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin is not None and origin.partition("://")[2] != host:
            raise HTTPException(403, "Requests from pages of other sites are refused.")
        if token is not None and scope["path"] not in self.limits.open_paths:
            given = headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, f"Bearer {token}".encode()):
                missing = "Wrong token." if given else "A token is needed: send the header Authorization: Bearer TOKEN."
                raise HTTPException(401, missing, {"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self.limits.max_bytes:  # Python reads no number of any length
            raise self._too_large()
        if self._n_open > N_AT_ONCE:
            raise HTTPException(503, "Too many requests at once. Try again in a moment.", {"Retry-After": "1"})

    def _limited(self, receive: Receive) -> Receive:
        """Raises HTTPException when the body is too long, or takes too long."""
        n_bytes, until, whole = 0, asyncio.get_running_loop().time() + BODY_SECONDS, False

        async def receive_limited() -> Message:
            nonlocal n_bytes, whole
            try:
                async with asyncio.timeout_at(None if whole else until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"The request did not come whole within {BODY_SECONDS:g} seconds.") from None
            n_bytes += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if n_bytes > self.limits.max_bytes:
                raise self._too_large()
            return message

        return receive_limited

    def _too_large(self) -> HTTPException:
        limit = self.limits.max_bytes
        return HTTPException(413, f"The request has more than {limit:,} bytes. Send smaller or fewer pictures.")


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine alone: localhost, 127.0.0.0/8, ::1."""
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
