"""Who is let in, and how much: tokens, hosts, origins, bytes, seconds, requests at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from resight.service import guard
from resight.service.guard import Guard, Limits, is_loopback
from resight.service.metrics import Metrics

TOKEN = "a-long-random-text"


@pytest.mark.parametrize("path", ["/info", "/metrics", "/image/red-0", "/nowhere"])
def test_a_token_is_needed_for_all_that_is_not_the_page(path: str, serving: Callable[..., TestClient]) -> None:
    client = serving(token=TOKEN)
    answer = client.get(path)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["detail"] == "A token is needed: send the header Authorization: Bearer TOKEN."
    for wrong in (f"Bearer {TOKEN}x", "Bearer ", TOKEN, f"Basic {TOKEN}", "Bearer gehe\u00efm".encode("latin-1")):
        answer = client.get(path, headers={"authorization": wrong})
        assert (answer.status_code, answer.json()["detail"]) == (401, "Wrong token.")
    assert client.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code in (200, 404)


def test_the_page_and_health_need_no_token(serving: Callable[..., TestClient]) -> None:
    client = serving(token=TOKEN)
    for path in ("/", "/page.js", "/page.css", "/health", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200
    for route in ("/search", "/add", "/remove"):
        assert client.post(route).status_code == 401


@pytest.mark.parametrize("host", ["localhost", "LocalHost:8008", "127.0.0.1:8008", "127.1.2.3", "[::1]:8008"])
def test_this_machine_is_answered(host: str, shared: TestClient) -> None:
    assert shared.get("/info", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8008", "192.168.0.2", "", "[::1", "::1", "a@b"]
)
def test_names_that_others_may_point_here_are_refused(host: str, shared: TestClient) -> None:
    answer = shared.get("/info", headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["detail"] == "Without a token this service answers to localhost and 127.0.0.1 only."


def test_with_a_token_the_service_may_have_any_name(serving: Callable[..., TestClient]) -> None:
    client = serving(token=TOKEN)
    headers = {"host": "search.example", "authorization": f"Bearer {TOKEN}"}
    assert client.get("/info", headers=headers).status_code == 200
    assert client.post("/remove", json={"ids": []}, headers={**headers, "origin": "https://search.example"}).is_success
    answer = client.post("/remove", json={"ids": []}, headers={**headers, "origin": "https://other.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9", "http://[", ""])
def test_pages_of_other_sites_cannot_post(origin: str, client: TestClient, picture: bytes) -> None:
    answer = client.post("/add", files={"picture": picture}, headers={"origin": origin})
    assert answer.status_code == 403
    assert answer.json()["detail"] == "Requests from pages of other sites are refused."
    assert client.get("/info").json()["n_rows"] == 9
    own = client.post("/add", files={"picture": picture}, headers={"origin": "http://localhost:8008"})
    assert own.status_code == 201


def test_bytes_are_counted_before_and_while_they_come(serving: Callable[..., TestClient], picture: bytes) -> None:
    client = serving(max_bytes=5_000)
    told = client.post("/search", files={"picture": b"x" * 6_000})
    seen: list[int] = []

    def endless() -> Any:
        for n in range(1_000):
            seen.append(n)
            yield b"x" * 1_000

    untold = client.post("/search", content=endless(), headers={"content-type": "multipart/form-data; boundary=x"})
    for answer in (told, untold):
        assert answer.status_code == 413
        assert answer.json()["detail"] == "The request has more than 5,000 bytes. Send smaller or fewer pictures."
    assert client.post("/search", files={"picture": picture}).status_code == 200


def call(app: Guard, messages: AsyncIterator[dict[str, Any]], **headers: str) -> list[dict[str, Any]]:
    """What the guard sends in answer to a POST."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return await anext(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode("latin-1")) for name, value in {"host": "localhost", **headers}.items()]
    scope = {"type": "http", "method": "POST", "path": "/search", "headers": pairs}
    asyncio.run(app(scope, receive, send))
    return sent


async def read_all(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(("length", "status"), [("9" * 5_000, 413), ("\u00b2", 200), ("-1", 200), ("", 200)])
def test_a_length_that_is_none_is_not_read(length: str, status: int) -> None:
    async def nothing() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": b"", "more_body": False}

    guard = Guard(read_all, Limits(None, 10**6, frozenset()), Metrics())
    assert call(guard, nothing(), **{"content-length": length})[0]["status"] == status


def test_a_body_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)

    async def drip() -> AsyncIterator[dict[str, Any]]:
        while True:
            await asyncio.sleep(0.01)
            yield {"type": "http.request", "body": b"x", "more_body": True}

    start, body = call(Guard(read_all, Limits(None, 10**6, frozenset()), Metrics()), drip())
    assert start["status"] == 408
    assert body["body"] == b'{"detail":"The request did not come whole within 0.05 seconds."}'


def test_more_requests_than_memory_is_there_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "N_AT_ONCE", 0)

    async def nothing() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": b"", "more_body": False}

    start, body = call(Guard(read_all, Limits(None, 10**6, frozenset()), Metrics()), nothing())
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert body["body"] == b'{"detail":"Too many requests at once. Try again in a moment."}'


def test_an_answer_that_breaks_off_is_not_begun_again() -> None:
    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("in the middle")

    async def nothing() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": b"", "more_body": False}

    with pytest.raises(RuntimeError, match="in the middle"):
        call(Guard(half, Limits(None, 10**6, frozenset()), Metrics()), nothing())


def test_loopback_is_this_machine_alone() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.9.1", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.1", "localhost.example", "", "my-host", "128.0.0.1")))
