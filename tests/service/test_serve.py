"""`resight serve`: what it refuses to start with, a service that runs and stops, and the examples of its document."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from resight.adding import Sighting, add
from resight.cli import main
from resight.commands import serve
from resight.encoder import Encoder
from resight.gallery import store
from resight.gallery.rows import Gallery

DOCUMENT = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")


def place(gallery: Gallery) -> str:
    return gallery.info().place


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nowhere"], "nowhere: is no gallery"),
        (["GALLERY", "--encoder", "random:64x3/8", "--device", "cpu"], "they cannot be compared"),
        (["GALLERY", "--encoder", "nowhere/encoder"], "nowhere/encoder"),
        (["GALLERY", "--host", "0.0.0.0"], "--host 0.0.0.0: others can reach this address. Set RESIGHT_TOKEN"),
        (["GALLERY", "--host", "search.example"], "--host search.example: others can reach this address."),
        (["GALLERY", "--port", "99999"], "--port 99999: 0 to 65535."),
        (["GALLERY", "--port", "TAKEN"], "cannot be listened on ([Errno 98] Address already in use). Choose another."),
        (["GALLERY", "--size", "64", "32"], "is a gallery already, with the size it was made with. Leave it out."),
        (["GALLERY", "--queue", "0"], "--queue 0: at least 1."),
        (["GALLERY", "--batch-wait", "-1"], "--batch-wait -1.0: 0 to 1 seconds."),
        (["GALLERY", "--max-pixels", "many"], "--max-pixels"),
        ([], "gallery"),
    ],
)
def test_what_cannot_start_is_one_line(
    flags: list[str],
    message: str,
    gallery: Gallery,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("RESIGHT_TOKEN", raising=False)
    monkeypatch.setattr(serve, "run", lambda *_, **__: pytest.fail("it runs"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        names = {"GALLERY": place(gallery), "TAKEN": str(taken.getsockname()[1])}
        free = [] if "--port" in flags else ["--port", "0"]
        assert main(["serve", *(names.get(flag, flag) for flag in flags), *free]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else name)
    assert main(["serve", "gallery"]) == 2
    assert capsys.readouterr().err == 'resight: uvicorn: not installed. Run: pip install "resight[serve]"\n'


def test_a_token_that_no_header_can_hold(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RESIGHT_TOKEN", "two words")
    assert main(["serve", "gallery", "--port", "0"]) == 2
    assert "The token holds what no header can" in capsys.readouterr().err


def test_one_command_leads_from_a_folder_to_the_page(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the same command again adds what is new, without naming the encoder."""
    new, apps = tmp_path / "new", []
    monkeypatch.setattr(serve, "run", lambda app, *_, **__: apps.append(app))
    crops = tmp_path / "crops"
    for name in ("red", "blue"):
        (crops / name).mkdir(parents=True)
        shutil.copy(people / f"{name}-0.jpg", crops / name)
    command = ["serve", str(new), "--data", str(crops), "--port", "0", "--device", "cpu"]
    assert main(command) == 2
    assert f"{new}: is no gallery yet" in capsys.readouterr().err
    assert not new.exists()
    assert main([*command, "--encoder", "random:64x2/8", "--size", "32", "16"]) == 0
    assert store.open_gallery(str(new)).about.options == {"size": [32, 16]}
    assert "2 pictures added" in capsys.readouterr().out
    shutil.copy(people / "red-1.jpg", crops / "red")
    (crops / "red" / "broken.jpg").write_bytes(b"no picture")
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "1 pictures added, 2 were there, 1 left out; 3 rows" in captured.out
    assert "broken.jpg" in captured.err
    assert len(apps) == 2
    with TestClient(apps[1], base_url="http://localhost:8008") as client:
        asked = {"picture": ("who.jpg", (people / "red-1.jpg").read_bytes())}
        found = client.post("/search", files=asked).json()["found"]
    assert [one["identity"] for one in found] == ["red", "red", "blue"]
    assert found[0]["similarity"] > 0.99999


def test_pictures_that_cannot_be_read_at_all_leave_no_gallery(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", str(tmp_path / "nowhere"), "--encoder", "random:64x2/8", "--port", "0"]
    assert main(["serve", str(tmp_path / "new"), *flags]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@contextmanager
def live(gallery: Gallery, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service in a process of its own, and its address."""
    command = [sys.executable, "-m", "resight", "serve", place(gallery), "--port", "0", "--device", "cpu", *flags]
    known = {name: value for name, value in os.environ.items() if name != "RESIGHT_TOKEN"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=known)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_a_service_runs_the_documents_examples_and_finishes_what_it_began(
    gallery: Gallery, encoder: Encoder, people: Path, picture: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process does both, since starting it takes seconds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "who.jpg").write_bytes(picture)
    known: dict[str, Any] = {"identity": "0007", "camera": "3", "time": 1767230000.0, "fields": {"place": "door"}}
    add(gallery, encoder, [Sighting(people / "blue-0.jpg", id="cam3-0041", **known)])
    with live(gallery, "--batch-wait", "0.2", "--batch-size", "100", "--access-log") as (process, address):
        check_examples(address, gallery)
        check_stopping(process, address, picture)
        out, error = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "POST /search HTTP/1.1" in error
    assert "Traceback" not in out + error
    assert not store.open_gallery(place(gallery)).contents(["red-0"]), "what was removed is back"


def check_examples(address: str, gallery: Gallery) -> None:
    """The document's commands and programs run and print what it says."""
    examples = re.findall(r"```(bash|python)\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(examples) == 6
    assert shutil.which("curl") is not None, "the examples are in curl"
    outputs = []
    for language, text in examples:
        quietly = 'curl() { command curl -sS --fail-with-body "$@" && echo; }\n' if language == "bash" else ""
        program = ["bash", "-e", "-c"] if language == "bash" else [sys.executable, "-c"]
        words = [*program, quietly + text.replace("http://127.0.0.1:8008", address)]
        with_token = os.environ | {"RESIGHT_TOKEN": "x"}
        ran = subprocess.run(words, capture_output=True, text=True, env=with_token, timeout=60, check=False)
        assert ran.returncode == 0, f"{text}\n{ran.stdout}\n{ran.stderr}"
        outputs.append(ran.stdout)
    searches = [json.loads(line) for line in outputs[0].splitlines()]
    assert [answer["by"] for answer in searches] == ["picture", "picture", "words", "both", "picture"]
    (found,) = json.loads(outputs[1].splitlines()[0])["found"]
    assert found["id"] == "cam3-0041"
    (shown,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    assert list(json.loads(shown)) == list(searches[0])
    assert list(json.loads(shown)["found"][0]) == list(found)
    assert [json.loads(line) for line in outputs[2].splitlines()] == [
        {"id": "cam3-0042", "added": True},
        {"removed": 1},
    ]
    assert Path("small.jpg").read_bytes() == gallery.get(["cam3-0041"])[0].thumbnail
    assert "resight_rows 10.0" in outputs[3]
    assert "0007 3 cam3-0041" in outputs[4]
    assert json.loads(outputs[5])["n_rows"] == 10


def check_stopping(process: subprocess.Popen[str], address: str, picture: bytes) -> None:
    """Searches wait to be computed together when the signal comes: all are answered."""
    with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=address, timeout=30) as client:
        assert client.post("/remove", json={"ids": ["red-0"]}).json() == {"removed": 1}

        def ask() -> httpx.Response:
            return client.post("/search", files={"picture": picture})

        until = time.monotonic() + 30
        jobs = [pool.submit(ask) for _ in range(8)]
        while "resight_queue_length 8.0" not in client.get("/metrics").text:
            assert time.monotonic() < until
            if all(job.done() for job in jobs):  # the machine was too slow to have them wait together
                jobs = [pool.submit(ask) for _ in range(8)]
        process.send_signal(signal.SIGTERM)
        answers = [job.result() for job in jobs]
    assert [answer.status_code for answer in answers] == [200] * 8
    assert all("red-0" not in answer.text and "red-1" in answer.text for answer in answers)


def test_every_field_of_a_search_is_in_the_document(client: Any) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    (fields,) = (schema["properties"] for name, schema in schemas.items() if name.startswith("Body_search"))
    assert [name for name in fields if f"`{name}`" not in DOCUMENT] == []
