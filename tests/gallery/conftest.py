"""What the tests of galleries share: places in every backend, made-up rows, and the same search written plainly."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resight.errors import GalleryError
from resight.gallery import store
from resight.gallery.rows import EVERYWHERE, About, Entry, Gallery, Row, Space, Where

BACKENDS = ["lance", "milvus-lite", pytest.param("milvus-server", marks=pytest.mark.xdist_group("milvus"))]
DIMENSION, ALIGNED = 16, 8

AWKWARD = ("o'neil", 'say "yes"', "naïve 犬 🐄", "two\nlines", "back\\slash", "50%_off", "NULL", "' OR '1'='1")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(backend: str, tmp_path: Path, worker_id: str, request: pytest.FixtureRequest) -> str:
    """Where the test's gallery can be; nothing is there yet."""
    if backend == "lance":
        return str(tmp_path / "gallery")
    if backend == "milvus-lite":
        lacks("milvus_lite", "pip install 'resight[milvus]'")
        return f"milvus:{tmp_path}/lite.db/gallery"
    name = "shared" if {"create", "gallery"} & set(request.fixturenames) else tmp_path.name.replace("-", "_")
    return f"milvus://{request.getfixturevalue('milvus_server')}/{name}_{worker_id}"


def lacks(module: str, remedy: str) -> None:
    """Skips the test where a library is missing, unless nothing may be."""
    if find_spec(module) is None:
        (pytest.fail if os.environ.get("RESIGHT_REQUIRE_ALL") else pytest.skip)(f"{module} is missing: {remedy}")


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> str:
    """HOST:PORT of a server that all workers share; the first that needs it starts it, and it ends with the run."""
    lacks("milvus", "there is a server for Linux on x86-64: pip install milvus==2.3.5")
    alone = worker_id == "master"
    shared = tmp_path_factory.getbasetemp() if alone else tmp_path_factory.getbasetemp().parent
    folder = shared / "milvus"
    address, run = folder / "address", os.getpid() if alone else os.getppid()
    with (shared / "milvus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.mkdir()
            with (shared / "milvus.log").open("w") as log:
                program = [sys.executable, Path(__file__).with_name("milvus_server.py"), folder, run]
                subprocess.run([str(part) for part in program], stdout=log, stderr=log, check=True)
        until = time.monotonic() + 120
        while not address.exists():
            assert folder.exists(), f"Milvus ended at once: {(shared / 'milvus.log').read_text()}"
            assert time.monotonic() < until, "Milvus did not start within two minutes"
            time.sleep(0.1)
    return address.read_text()


@pytest.fixture
def about() -> About:
    preprocess = {"size": [256, 128], "mean": [0.5, 0.5, 0.5]}
    return About("1f2e", "resight-mini", {"size": [256, 128]}, DIMENSION, ALIGNED, preprocess)


@pytest.fixture
def create() -> Iterator[Callable[[str, About], Gallery]]:
    """`store.create`, whose galleries are closed after the test.

    A server takes seconds to make a gallery, so there all tests use one, emptied.
    """
    with ExitStack() as stack:

        def make(place: str, about: About) -> Gallery:
            if place.startswith("milvus://"):
                gallery = _emptied(f"{place}_without" if about.aligned is None else place, about)
            else:
                gallery = store.create(place, about)
            stack.callback(gallery.close)
            return gallery

        yield make


def _emptied(place: str, about: About) -> Gallery:
    try:
        gallery = store.create(place, about)
    except GalleryError:
        gallery = store.open_gallery(place)
        gallery.remove([entry.id for entry in gallery.entries()])
        gallery.keep_calibration(about.calibration)
    return gallery


@pytest.fixture
def gallery(create: Callable[[str, About], Gallery], place: str, about: About) -> Gallery:
    return create(place, about)


@pytest.fixture
def draw() -> Callable[..., list[Row]]:
    """draw(n): rows r000, r001, … of eight identities, half of whose cameras, times and boxes are unknown in turn."""

    def rows(n: int, *, seed: int = 0, dimension: int = DIMENSION, aligned: int | None = ALIGNED) -> list[Row]:
        generator = np.random.default_rng(seed)

        def unit(width: int) -> NDArray[np.float32]:
            vector = generator.standard_normal(width, dtype=np.float32)
            return vector / np.linalg.norm(vector)

        found = []
        for k in range(n):
            entry = Entry(
                id=f"r{k:03}",
                content=f"content {k}",
                path=f"pictures/{AWKWARD[k % 8]}/{k}.jpg",
                identity=AWKWARD[k % 8] if k % 5 else None,
                camera=AWKWARD[k // 2 % 8] if k % 2 else None,
                time=1e9 + k / 2 if k % 3 else None,
                box=(0.5, 1.0, 20.25, 40.0 + k) if k % 4 else None,
                fields={"colour": AWKWARD[k % 3], AWKWARD[k % 2]: "1"} if k % 7 else {},
            )
            found.append(Row(entry, unit(dimension), None if aligned is None else unit(aligned), bytes([k % 256]) * 30))
        return found

    return rows


@pytest.fixture
def allowed() -> Callable[[Entry, Where], bool]:
    """What `Where` says, in plain Python."""

    def allows(entry: Entry, where: Where) -> bool:
        return (
            (not where.identities or (entry.identity or "") in where.identities)
            and (not where.cameras or (entry.camera or "") in where.cameras)
            and (where.since is None or (entry.time is not None and entry.time >= where.since))
            and (where.until is None or (entry.time is not None and entry.time < where.until))
            and all(entry.fields.get(name) == value for name, value in where.fields.items())
            and (not where.paths or entry.path in where.paths)
            and entry.id not in where.without_ids
        )

    return allows


@pytest.fixture
def nearest(allowed: Callable[[Entry, Where], bool]) -> Callable[..., list[tuple[str, float]]]:
    """(id, similarity) of the most similar rows, in float64 from the definition."""

    def search(
        rows: Sequence[Row], vector: NDArray[np.float32], by: Space, top: int, where: Where = EVERYWHERE
    ) -> list[tuple[str, float]]:
        pairs = [
            (row.entry.id, float(np.dot(getattr(row, by).astype(float), vector.astype(float))))
            for row in rows
            if allowed(row.entry, where)
        ]
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:top]

    return search


@pytest.fixture
def same() -> Callable[[Row, Row], bool]:
    """Two rows agree in everything, the vectors bit for bit."""

    def agree(one: Row, other: Row) -> bool:
        def bits(vector: Any) -> bytes | None:
            return None if vector is None else vector.dtype.str.encode() + vector.tobytes()

        vectors = bits(one.embedding) == bits(other.embedding) and bits(one.aligned) == bits(other.aligned)
        return vectors and one.entry == other.entry and one.thumbnail == other.thumbnail

    return agree
