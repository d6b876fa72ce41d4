"""A small gallery of coloured people with a small encoder, and clients of its service."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from resight.adding import Sighting, add
from resight.encoder import Encoder
from resight.gallery import store
from resight.gallery.rows import Gallery
from resight.gallery_encoder import describe
from resight.service.app import ServeConfig, create_app

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "grey": (120, 120, 120)}
TINY = ("random:64x2/8", {"size": (32, 16)})


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    source, options = TINY
    return Encoder.load(source, **options, device="cpu")


def draw(path: Path, colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (20, 30)) -> Path:
    """A JPEG of one colour with noise of its own."""
    noise = np.random.default_rng(seed).integers(-30, 30, (size[1], size[0], 3))
    Image.fromarray(np.clip(noise + np.array(colour), 0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Path:
    """A folder with red-0.jpg and so on, and their gallery.

    Of each colour there are two rows, by cameras a and b, at times 0 to 7, called as their files; and one of nobody,
    without a camera.
    """
    folder = tmp_path_factory.mktemp("people")
    source, options = TINY
    made = store.create(str(folder / "gallery"), describe(encoder, source, options))
    sightings = [
        Sighting(
            draw(folder / f"{name}-{k}.jpg", colour, 2 * n + k),
            id=f"{name}-{k}",
            identity=name,
            camera="ab"[k],
            time=float(2 * n + k),
            fields={"place": "door" if k else "hall"},
        )
        for n, (name, colour) in enumerate(COLOURS.items())
        for k in range(2)
    ]
    nobody = Sighting(draw(folder / "nobody.jpg", (200, 200, 20), 99), id="a/nobody ü?")
    assert add(made, encoder, [*sightings, nobody]).n_stored == 9
    return folder


@pytest.fixture
def gallery(people: Path, tmp_path: Path) -> Gallery:
    """A copy of the people's gallery."""
    shutil.copytree(people / "gallery", tmp_path / "gallery")
    return store.open_gallery(str(tmp_path / "gallery"))


@pytest.fixture
def picture(tmp_path: Path) -> bytes:
    """A JPEG of somebody in red, who is not in the gallery as this picture."""
    return draw(tmp_path / "query.jpg", COLOURS["red"], 1234, (40, 80)).read_bytes()


@pytest.fixture
def serving(gallery: Gallery, encoder: Encoder) -> Iterator[Callable[..., TestClient]]:
    """A client of a service with this configuration."""
    clients = []

    def start(**config: object) -> TestClient:
        client = TestClient(create_app(gallery, encoder, ServeConfig(**config)), base_url="http://localhost:8008")  # type: ignore[arg-type]
        clients.append(client.__enter__())
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serving: Callable[..., TestClient]) -> TestClient:
    return serving()


@pytest.fixture(scope="session")
def shared(people: Path, encoder: Encoder) -> Iterator[TestClient]:
    """A client for what changes nothing, so that hundreds of requests need one service."""
    app = create_app(store.open_gallery(str(people / "gallery")), encoder, ServeConfig())
    with TestClient(app, base_url="http://localhost:8008") as client:
        yield client
