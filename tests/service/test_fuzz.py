"""Hundreds of requests that make no sense: each is refused in one line, nothing breaks, no memory is lost."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

N_BEFORE, N_AFTER = 150, 500

WRONG_NUMBERS = ["", "-1", "201", "nan", "inf", "-inf", "1e308", "1e999", "0x10", "1_0", "٣", "9" * 400, "true"]
NUMBERS = WRONG_NUMBERS + ["0", "1", "0.5", "1"] * 5
TEXTS = [
    "",
    " ",
    "a",
    "red",
    "red-0",
    "é" * 300,
    "x" * 1001,
    "a\0b",
    "\u202e",
    "' OR 1=1 --",
    '"',
    "%",
    "=",
    "a=b",
    "\\",
    "𝟙🦊",
]
BOXES = ["0,0,10,10", "5,5,5,5", "10,10,0,0", "-5,-5,9999,9999", "nan,0,1,1", "1e308,0,-1e308,1", ",,,", "0,0,1"]
FIELDS = {
    **dict.fromkeys(("top", "threshold", "text_weight", "since", "until", "time"), NUMBERS),
    **dict.fromkeys(("text", "without", "id", "camera", "identity", "field", "one_each", "nonsense"), TEXTS),
    "box": BOXES,
}
PATHS = [
    "/",
    "/search",
    "/add",
    "/remove",
    "/info",
    "/health",
    "/metrics",
    "/image/red-0",
    "/image/",
    "/docs",
    "/page.js",
]
STRANGE = ["/image/%00", "/image/%ff", "/image/..%2f..", "/%2e%2e/x", "/search/", "//search", "/image/" + "a" * 3_000]
KINDS = [
    "application/json",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "text/plain",
    "application/x-www-form-urlencoded",
    "é".encode("latin-1"),
    "image/png",
]
JSONS = [
    None,
    1,
    "x",
    [],
    {},
    {"ids": None},
    {"ids": ["x", 1]},
    {"ids": [{}]},
    {"ids": ["\ud800"]},
    {"ids": ["a\0"]},
    {"ids": ["zz"] * 2},
]


class Fuzz:
    """Draws requests; every one may have its bytes changed."""

    def __init__(self, seed: int, picture: bytes) -> None:
        self.random, self.picture = random.Random(seed), picture

    def damaged(self, content: bytes) -> bytes:
        changed = bytearray(content)
        for _ in range(self.random.choice((0, 0, 1, 5, 50))):
            place = self.random.randrange(max(1, len(changed)))
            match self.random.randrange(3):
                case 0:
                    changed[place : place + 1] = self.random.randbytes(1)
                case 1:
                    del changed[place : place + self.random.randrange(20)]
                case 2:
                    changed[place:place] = self.random.randbytes(self.random.randrange(20))
        return bytes(changed)

    def form(self) -> dict[str, Any]:
        names = self.random.sample(sorted(FIELDS), self.random.choice((0, 1, 1, 2, 4)))
        data = {name: self.random.choices(FIELDS[name], k=self.random.choice((1, 1, 1, 2, 9))) for name in names}
        files = [
            (
                self.random.choice(("picture", "picture", "text")),
                (self.random.choice(TEXTS), self.damaged(self.picture)),
            )
            for _ in range(self.random.choice((0, 1, 1, 2, 9)))
        ]
        return {"data": data, "files": files} if files else {"data": data}

    def body(self) -> dict[str, Any]:
        kind = self.random.choice(KINDS)
        content = self.random.choice(
            (
                json.dumps(self.random.choice(JSONS)).encode(),
                self.random.randbytes(self.random.randrange(200)),
                b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
                + self.picture
                + b"\r\n--x--",
            )
        )
        return {"content": self.damaged(content), "headers": {"content-type": kind}}

    def request(self) -> tuple[str, str, dict[str, Any]]:
        """Method, path, and the rest."""
        likely = self.random.random() < 0.8
        path = self.random.choice(("/search", "/search", "/add", "/remove") if likely else PATHS + STRANGE)
        method = "POST" if likely else self.random.choice(("GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"))
        rest = self.form() if self.random.random() < 0.7 else self.body()
        for name, values in (
            ("host", ("evil.example", "[", "")),
            ("origin", ("null", "http://[", "http://localhost:8008")),
        ):
            if self.random.random() < 0.05:
                rest["headers"] = {**rest.get("headers", {}), name: self.random.choice(values)}
        return method, path, rest


def resident() -> int:
    """Bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def ask(client: TestClient, fuzz: Fuzz) -> int:
    method, path, rest = fuzz.request()
    answer = client.request(method, path, **rest)
    case = (method, path, rest, answer.status_code, answer.text[:500])
    assert answer.status_code < 500 or answer.status_code == 503, case
    assert "Traceback" not in answer.text, case
    if answer.status_code >= 400 and method != "HEAD":
        (detail,) = answer.json().values()
        assert "\n" not in detail, case
        assert 0 < len(detail) < 400, case
    return answer.status_code


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Starlette leaves a file that breaks off to the collector
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc")
def test_nonsense_breaks_nothing(client: TestClient, picture: bytes, caplog: pytest.LogCaptureFixture) -> None:
    fuzz = Fuzz(0, picture)
    for _ in range(N_BEFORE):
        ask(client, fuzz)
    before = resident()
    statuses = {ask(client, fuzz) for _ in range(N_AFTER)}
    assert {200, 400, 403, 404, 405, 415, 422} <= statuses
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []
    assert resident() - before < 30e6
    assert client.get("/health").json() == {"status": "ok"}
