"""What is Milvus' own: places, columns without nulls, refusals, limits, a server's index, an interrupted Lite file."""

from __future__ import annotations

import base64
import dataclasses
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resight.errors import GalleryError
from resight.gallery import milvus, milvus_collections, milvus_columns, milvus_link, store
from resight.gallery.milvus import MilvusGallery
from resight.gallery.rows import About, Gallery, Row, Where

Draw = Callable[..., list[Row]]
Nearest = Callable[..., list[tuple[str, float]]]
Create = Callable[[str, About], Gallery]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lite.db"


@pytest.fixture
def lite(file: Path, about: About) -> Iterator[MilvusGallery]:
    gallery = milvus.create(f"milvus:{file}/people", about)
    yield gallery
    gallery.close()


def refused(place: str, message: str, what: Callable[[str], object] = store.open_gallery) -> None:
    with pytest.raises(GalleryError, match=message) as error:
        what(place)
    assert place in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("milvus:", "expected milvus://HOST:PORT/NAME, or milvus:FILE.db/NAME"),
        ("milvus:people", "expected"),
        ("milvus:people.db", "expected"),
        ("milvus:folder/people", "expected"),
        ("milvus:http://localhost/people", "expected"),
        ("milvus://root:secret@localhost/people", "expected"),
        ("milvus://localhost", "expected"),
        ("milvus://localhost:19530/", "letters"),
        ("milvus://localhost:19530/two-words", "letters"),
        ("milvus:file.db/1st", "letters"),
        ("milvus:file.db/naïve", "letters"),
        ("milvus:nowhere.db/people", "is no gallery. Make one with `resight gallery create"),
    ],
)
def test_a_place_that_cannot_be(place: str, message: str) -> None:
    refused(place, message)
    assert not Path("nowhere.db").exists()


@pytest.mark.parametrize(
    ("place", "address", "name"),
    [
        ("milvus://milvus.example:19530/people", "http://milvus.example:19530", "people"),
        ("milvus://[::1]:19530/people", "http://[::1]:19530", "people"),
        ("milvus:https://cloud.example/_1", "https://cloud.example", "_1"),
        ("milvus:a folder/b.db/people", "a folder/b.db", "people"),
    ],
)
def test_places(place: str, address: str, name: str) -> None:
    found = milvus_link.read_place(place)
    assert (found.said, found.address, found.name) == (place, address, name)
    assert found.lite == (Path(address) if address.endswith(".db") else None)


def test_no_server(about: About, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        place = f"milvus://127.0.0.1:{taken.getsockname()[1]}/people"
        refused(place, "no Milvus server answers. Start it", lambda place: store.create(place, about))
        refused(place, "no Milvus server answers. Start it")
    assert capfd.readouterr().err == ""


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    monkeypatch.delitem(sys.modules, "resight.gallery.milvus_link")
    with pytest.raises(GalleryError, match=r"pip install 'resight\[milvus\]'"):
        importlib.import_module("resight.gallery.milvus_link")


@pytest.mark.parametrize(
    ("said", "cause", "message"),
    [
        ("Fail connecting to server on host:1", "auth check failure, please check username", "MILVUS_TOKEN"),
        ("Fail connecting to server on host:1", "StatusCode.UNAVAILABLE", "no Milvus server answers"),
        ("Received UNIMPLEMENTED from server", "", "no Milvus server. Check the port"),
        ("PermissionDenied to Insert", "", "the token does not allow this"),
        ("rpc Retry timeout: 60s", "", "may or may not have been done"),
        ("deny to write the message to mq", "", "has no room for more"),
        ("[Errno 28] No space left on device", "", "has no room for more"),
        ("collection not loaded[collection=7]", "", "being loaded"),
        ("can't find collection people", "", "is gone"),
        ("something\nelse", "", r"Milvus refuses \(something else\)"),
    ],
)
def test_what_milvus_says_in_plain_words(said: str, cause: str, message: str) -> None:
    def fail() -> None:
        try:
            raise milvus_link.MilvusException(message=cause)
        except milvus_link.MilvusException as error:
            raise milvus_link.MilvusException(message=said) from error

    place = milvus_link.read_place("milvus://localhost/people")
    refused(place.said, message, lambda _: milvus_link.asking(place)(fail))


@pytest.mark.parametrize(
    ("version", "old"), [("v2.3.5-lite", True), ("2.2.16", True), ("v2.4.0", False), ("v2.30.1", False), ("3.0", False)]
)
def test_servers_with_one_column_of_vectors(version: str, old: bool) -> None:
    assert milvus._is_old(version) == old


@pytest.mark.parametrize("joined", [False, True])
def test_columns_and_back(joined: bool, about: About, draw: Draw, same: Callable[[Row, Row], bool]) -> None:
    query = draw(1, seed=3)[0]
    for row in draw(20):
        columns = milvus_columns.as_columns(row, joined=joined)
        assert same(milvus_columns.as_row(columns, about), row)
        assert not any(value is None for value in columns.values())
        for by, vector, own in (
            ("embedding", query.embedding, row.embedding),
            ("aligned", query.aligned, row.aligned),
        ):
            column, asked = milvus_columns.as_query(vector, by, about, joined=joined)
            assert float(columns[column] @ asked) == pytest.approx(float(own @ vector), abs=1e-6)
    widths = {"embedding": 24} if joined else {"embedding": 16, "aligned": 8}
    assert milvus_columns.n_numbers(about, joined=joined) == widths


def test_what_is_too_long_for_milvus_is_refused(lite: MilvusGallery, draw: Draw) -> None:
    row = draw(1)[0]
    for known, message in (
        ({"path": "é" * 32_768}, "path has more than 65,535 bytes"),
        ({"camera": "x" * 65_536}, "camera has more"),
        ({"fields": {"a": "x" * 65_536}}, "the fields have more"),
        ({"fields": {str(k): "" for k in range(4_097)}}, "has 4,097 fields. Milvus holds 4,096"),
    ):
        with pytest.raises(GalleryError, match=f"'r000': {message}"):
            lite.add([*draw(3)[1:], dataclasses.replace(row, entry=dataclasses.replace(row.entry, **known))])
    with pytest.raises(GalleryError, match="'r000': thumbnail has more"):
        lite.add([dataclasses.replace(row, thumbnail=bytes(50_000))])
    assert lite.count() == 0
    long = dataclasses.replace(row.entry, path="x" * 65_535, identity="é" * 32_767)
    lite.add([dataclasses.replace(row, entry=long, thumbnail=bytes(49_149))])
    assert lite.get(["r000"])[0].entry == long
    assert lite.count(Where(paths=("x" * 65_535,))) == 1


def test_requests_stay_small(about: About, draw: Draw) -> None:
    columns = [milvus_columns.as_columns(row, joined=False) for row in draw(100)]
    assert milvus_columns.parts_of([], 1_000) == []
    assert [len(part) for part in milvus_columns.parts_of(columns[:3], 1)] == [1, 1, 1]
    parts = milvus_columns.parts_of(columns, 10_000)
    assert [values for part in parts for values in part] == columns
    assert 10 <= len(parts) < 50


def test_rows_in_several_requests_are_all_there_or_none(
    lite: MilvusGallery, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = draw(12), draw(40, seed=1)
    lite.add(old)
    monkeypatch.setattr(milvus, "N_BYTES", 10_000)
    upsert, asked = lite._client.upsert, []

    def fail_at_the_third(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments)
        if len(asked) == 3:
            raise milvus_link.MilvusException(message="No space left on device")
        return upsert(*arguments, **options)

    monkeypatch.setattr(lite._client, "upsert", fail_at_the_third)
    monkeypatch.setattr(lite, "_reopen", lambda: None)  # it would bring the true `upsert` back
    with pytest.raises(GalleryError, match="no room"):
        lite.add(new)
    assert [entry.id for entry in lite.entries()] == [row.entry.id for row in old]
    np.testing.assert_array_equal(lite.get(["r003"])[0].embedding, old[3].embedding)
    lite.add(new)
    assert lite.count() == 40
    np.testing.assert_array_equal(lite.get(["r003"])[0].embedding, new[3].embedding)


def test_more_rows_than_milvus_gives_at_once(
    lite: MilvusGallery, draw: Draw, nearest: Nearest, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = draw(60)
    lite.add(rows)
    monkeypatch.setattr(milvus, "MAX_TOP", 10)
    query, where = rows[3], Where(cameras=("",))
    for top in (9, 10, 25, 100):
        for by in ("embedding", "aligned"):
            found = lite.search(getattr(query, by), by=by, top=top, where=where)
            expected = nearest(rows, getattr(query, by), by, top, where)
            assert [match.entry.id for match in found] == [id_ for id_, _ in expected]
            np.testing.assert_allclose([match.similarity for match in found], [s for _, s in expected], atol=1e-6)


def test_another_collection_is_no_gallery(lite: MilvusGallery, file: Path) -> None:
    lite._client.create_collection("other", dimension=4)
    refused(f"milvus:{file}/other", "is a collection of Milvus, but no gallery")
    lite._client.alter_collection_properties("people", {"resight": '{"format": 99}'})
    refused(f"milvus:{file}/people", "of another format. Upgrade resight")


def test_galleries_of_one_file_are_closed_one_by_one(lite: MilvusGallery, file: Path, about: About, draw: Draw) -> None:
    rows = draw(4)
    lite.add(rows)
    other = milvus.create(f"milvus:{file}/other", dataclasses.replace(about, dimension=3, aligned=None))
    again = store.open_gallery(f"milvus:{file}/people")
    other.close()
    again.close()
    again.close()
    assert lite.count() == 4


HOLD = """
import sys
from resight.gallery import store
gallery = store.open_gallery(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_file_that_another_process_has_open(lite: MilvusGallery, file: Path, draw: Draw) -> None:
    lite.add(draw(3))
    lite.close()
    place = f"milvus:{file}/people"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        refused(place, "is open in another process")
        process.send_signal(signal.SIGKILL)
    again = store.open_gallery(place)
    assert again.count() == 3
    again.close()


@pytest.mark.parametrize("name", ["plain file", "not allowed"])
def test_a_file_that_cannot_be_opened(name: str, tmp_path: Path, about: About) -> None:
    if name == "plain file":
        (tmp_path / "x.db").write_text("something else")
    else:
        (tmp_path / "x.db").mkdir()
        (tmp_path / "x.db" / "collections").write_text("something else")
    refused(f"milvus:{tmp_path}/x.db/people", "cannot be", lambda place: store.create(place, about))


def test_forgotten_rows_are_in_no_file(lite: MilvusGallery, file: Path, draw: Draw) -> None:
    generator = np.random.default_rng(3)
    rows = [dataclasses.replace(row, thumbnail=generator.bytes(60)) for row in draw(60)]
    forgotten = [row for row in rows if row.entry.identity == "o'neil"]
    marks = [
        mark
        for row in (forgotten[0], forgotten[-1])
        for mark in (base64.b64encode(row.thumbnail)[:16], row.embedding[:4].tobytes())
    ]

    def on_disk(mark: bytes) -> bool:
        return any(mark in path.read_bytes() for path in file.rglob("*") if path.is_file())

    lite.add(rows[:30])
    lite.compact()
    lite.add(rows[30:])  # these are in the log alone
    assert all(map(on_disk, marks))
    assert lite.forget("o'neil") == len(forgotten)
    assert not any(map(on_disk, marks))
    assert lite.count() == 60 - len(forgotten)


class Killed(BaseException):
    """The process ended here."""


@pytest.mark.parametrize(
    ("method", "at"),
    [("insert", 1), ("flush", 2), ("rename_collection", 1), ("rename_collection", 2), ("drop_collection", 1)],
)
def test_an_interrupted_compaction_loses_nothing(
    lite: MilvusGallery, file: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch, method: str, at: int
) -> None:
    rows = draw(50)
    lite.add(rows)
    lite.remove(["r007"])
    call, asked = getattr(lite._client, method), []

    def die(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments)
        if len(asked) == at:
            raise Killed
        return call(*arguments, **options)

    monkeypatch.setattr(lite._client, method, die)
    with pytest.raises(Killed):
        lite.compact()
    lite.close()
    again = milvus.open_gallery(f"milvus:{file}/people")
    assert [entry.id for entry in again.entries()] == [row.entry.id for row in rows if row.entry.id != "r007"]
    again.compact()
    assert again.count() == 49
    assert again._client.list_collections() == ["people"]
    again.close()


def test_a_server_that_stops_while_it_is_used(lite: MilvusGallery, draw: Draw) -> None:
    lite.add(draw(5))
    milvus_link._release(lite.place)
    with pytest.raises(GalleryError, match="no Milvus server answers"):
        lite.count()
    assert lite.count() == 5  # the call that failed opened the file anew


def test_threads_write_at_once(lite: MilvusGallery, draw: Draw) -> None:
    rows, failed = draw(80), []

    def write(start: int) -> None:
        try:
            for k in range(start, start + 20, 2):
                lite.add(rows[k : k + 2])
                lite.search(rows[k].embedding)
        except GalleryError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(start,)) for start in range(0, 80, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [entry.id for entry in lite.entries()] == [row.entry.id for row in rows]


ADD_FOR_EVER = """
import sys
import numpy as np
from resight.gallery import store
from resight.gallery.rows import Entry, Row
gallery = store.open_gallery(sys.argv[1])
unit = np.eye(16, dtype=np.float32)[0]
for k in range(10**6):
    gallery.add([Row(Entry(f"k{k:06}", ""), unit, unit[:8])])
    if k % 10 == 9:
        gallery.compact()
    print(k + 1, flush=True)
"""


def test_what_was_acknowledged_outlives_a_kill(lite: MilvusGallery, file: Path) -> None:
    lite.close()
    place = f"milvus:{file}/people"
    with subprocess.Popen([sys.executable, "-c", ADD_FOR_EVER, place], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 15:
            pass
        os.kill(process.pid, signal.SIGKILL)
        acknowledged = int(([15, *map(int, process.stdout.read().split())])[-1])
    again = store.open_gallery(place)
    assert acknowledged <= again.count() <= acknowledged + 1
    again.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk cannot be mounted here: only root may")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.filterwarnings("ignore:.*wal_:pytest.PytestUnraisableExceptionWarning")  # Lite leaves its log open
def test_a_full_disk_loses_nothing(small_disk: Path, about: About, draw: Draw) -> None:
    place = f"milvus:{small_disk}/lite.db/people"
    gallery = store.create(place, about)
    rows = [dataclasses.replace(row, thumbnail=os.urandom(20_000)) for row in draw(300)]
    stored = 0

    def fill() -> None:
        nonlocal stored
        while True:
            gallery.add(rows[stored : stored + 5])
            stored += 5

    with pytest.raises(GalleryError, match=r"no room for more. Free some; nothing that was stored is lost"):
        fill()
    for change in (gallery.compact, lambda: gallery.forget("o'neil"), lambda: store.create(place + "2", about)):
        with pytest.raises(GalleryError, match="no room"):
            change()
    assert [entry.id for entry in gallery.entries()] == [row.entry.id for row in rows[:stored]]
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    gallery.add(rows[stored:])
    gallery.compact()
    assert gallery.count() == 300
    store.create(place + "2", about).close()
    gallery.close()


@pytest.mark.xdist_group("milvus")
def test_an_index_on_a_server(
    milvus_server: str, worker_id: str, about: About, draw: Draw, nearest: Nearest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past 1,024 rows a server has one; conditions and `exact` lose nothing to it."""
    monkeypatch.setattr(milvus, "INDEX_FROM", 1_200)
    rows = [dataclasses.replace(row, entry=dataclasses.replace(row.entry, id=f"i{k:04}"), aligned=None) for k, row in
            enumerate(draw(1_500))]  # fmt: skip
    gallery = milvus.create(f"milvus://{milvus_server}/indexed_{worker_id}", dataclasses.replace(about, aligned=None))
    gallery.add(rows[:1_100])
    gallery.compact()
    assert gallery.info().n_indexed == 0
    gallery.add(rows[1_100:])
    gallery.compact()
    assert milvus_collections.index_of(gallery._client, gallery.place)["index_type"] == "IVF_FLAT"
    assert gallery.info().n_indexed > 1_000
    query = draw(1, seed=7)[0].embedding
    for where, exact in ((Where(identities=("o'neil",)), False), (Where(since=1e9 + 700), False), (Where(), True)):
        found = gallery.search(query, where=where, exact=exact)
        expected = nearest(rows, query, "embedding", 10, where)
        assert [match.entry.id for match in found] == [id_ for id_, _ in expected]
    approximate = {match.entry.id for match in gallery.search(query, top=10)}
    assert len(approximate & {id_ for id_, _ in nearest(rows, query, "embedding", 10)}) >= 8
    gallery.close()
