"""The gallery in a folder: its index, its writers, what it forgets, and how it fails."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resight.errors import GalleryError
from resight.gallery import folder as folders
from resight.gallery import lance_upkeep as upkeep
from resight.gallery import store
from resight.gallery.lance import LanceGallery, create, open_gallery
from resight.gallery.rows import About, Entry, Row, Space, Where

Draw = Callable[..., list[Row]]
Nearest = Callable[..., list[tuple[str, float]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "gallery"


@pytest.fixture
def gallery(folder: Path, about: About) -> LanceGallery:
    return create(folder, about)


@pytest.fixture
def early_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index from 400 rows on instead of 10,000, and as many pieces of it as of a large one."""
    monkeypatch.setattr(upkeep, "LARGE", 400)
    monkeypatch.setattr(upkeep, "FEW", 50)
    monkeypatch.setattr(upkeep, "PARTITION", 64)
    monkeypatch.setattr(upkeep, "PIECES", 4)


def recall(gallery: LanceGallery, rows: list[Row], queries: list[Row], nearest: Nearest, **terms: Any) -> float:
    """Share of the ten most similar rows that a search finds."""
    by: Space = terms.get("by", "embedding")
    shares = []
    for query in queries:
        vector = getattr(query, by)
        found = {match.entry.id for match in gallery.search(vector, top=10, **terms)}
        true = {id_ for id_, _ in nearest(rows, vector, by, 10, terms.get("where", Where()))}
        shares.append(len(found & true) / len(true))
    return float(np.mean(shares))


@pytest.mark.usefixtures("early_index")
def test_the_index_finds_what_is_there_through_adds_and_removals(
    gallery: LanceGallery, draw: Draw, nearest: Nearest
) -> None:
    rows, queries = draw(700), draw(10, seed=3)
    wheres = [Where(), Where(cameras=("o'neil",)), Where(fields={"colour": "o'neil"}), Where(identities=("", "NULL"))]
    gallery.add(rows[:600])
    gallery.compact()
    assert gallery.info().n_indexed == 600

    def good(there: list[Row]) -> None:
        for by in ("embedding", "aligned"):
            assert all(recall(gallery, there, queries, nearest, by=by, where=where) >= 0.98 for where in wheres)
        assert recall(gallery, there, queries, nearest, exact=True) == 1

    good(rows[:600])
    gallery.add(rows[600:640])
    assert gallery.search(rows[620].embedding, top=1)[0].entry == rows[620].entry
    gallery.remove([row.entry.id for row in rows[:100]])
    good(rows[100:640])
    gallery.add(rows[640:])
    gallery.update([dataclasses.replace(rows[300].entry, camera="new")])
    assert gallery.search(rows[300].embedding, top=1)[0].entry.camera == "new"
    assert gallery.info().n_indexed < 600
    gallery.compact()
    assert gallery.info().n_indexed == 600
    rows[300] = dataclasses.replace(rows[300], entry=dataclasses.replace(rows[300].entry, camera="new"))
    good(rows[100:])


@pytest.mark.usefixtures("early_index")
def test_new_rows_become_a_piece_of_the_index_and_many_pieces_a_new_one(gallery: LanceGallery, draw: Draw) -> None:
    rows = draw(970)
    gallery.add(rows[:600])
    gallery.compact()
    gallery.add(rows[600:620])
    gallery.compact()
    assert gallery.info().n_indexed == 600  # a few are left beside it
    n = 620
    pieces = []
    while n < 970:
        gallery.add(rows[n : n + 50])
        gallery.compact()
        n += 50
        assert gallery.info().n_indexed == n
        pieces.append(gallery.table.index_stats("embedding_idx").num_indices)
    assert max(pieces) == upkeep.PIECES + 1
    assert min(pieces[pieces.index(max(pieces)) :]) == 1


@pytest.mark.usefixtures("early_index")
def test_a_small_gallery_has_no_index(gallery: LanceGallery, draw: Draw) -> None:
    rows = draw(500)
    gallery.add(rows)
    gallery.compact()
    assert gallery.info().n_indexed == 500
    gallery.remove([row.entry.id for row in rows[:200]])
    gallery.compact()
    assert gallery.info().n_indexed == 0
    assert list(gallery.table.list_indices()) == []
    assert gallery.search(rows[300].embedding, top=1)[0].entry == rows[300].entry


@pytest.mark.usefixtures("early_index")
def test_vectors_that_the_index_cannot_take_are_compared_one_by_one(folder: Path, about: About, draw: Draw) -> None:
    gallery = create(folder, dataclasses.replace(about, dimension=12))
    rows = draw(500, dimension=12)
    gallery.add(rows)
    gallery.compact()
    assert gallery.info().n_indexed == 0
    assert gallery.table.index_stats("aligned_idx").num_indexed_rows == 500
    assert gallery.search(rows[300].embedding, top=1)[0].entry == rows[300].entry


def test_many_small_adds_leave_few_files(
    gallery: LanceGallery, folder: Path, draw: Draw, nearest: Nearest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "VERSIONS", 30)
    rows = draw(80)
    most = 0
    for row in rows:
        gallery.add([row])
        most = max(most, gallery.table.stats()["fragment_stats"]["num_fragments"])
    assert most < 3 * upkeep.ALIKE
    assert sum(1 for _ in (folder / "rows.lance" / "_versions").iterdir()) < 30 + upkeep.ALIKE + 2
    assert sum(1 for path in folder.rglob("*") if path.is_file()) < 200
    assert recall(gallery, rows, rows[:5], nearest) == 1
    assert gallery.count() == 80


def traces(folder: Path, rows: list[Row]) -> list[str]:
    """Where anything of the rows is on disk: vectors, thumbnails, ids, paths, names."""
    found = []
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for row in rows:
            assert row.aligned is not None
            parts = {"embedding": row.embedding[:4].tobytes(), "aligned": row.aligned[2:6].tobytes()}
            parts |= {"thumbnail": row.thumbnail, "id": row.entry.id.encode(), "path": row.entry.path.encode()}
            parts |= {"identity": (row.entry.identity or "-").encode(), "content": row.entry.content.encode()}
            found += [f"{name} of {row.entry.id} in {path.name}" for name, part in parts.items() if part in content]
    return found


def named(row: Row, name: str, k: int) -> Row:
    """The row with everything in it that could be traced made long enough to be of this row alone."""
    entry = dataclasses.replace(
        row.entry, id=f"{name}-id-{k:05}", content=f"{name}-content-{k:05}", path=f"{name}-path-{k:05}", identity=name
    )
    return dataclasses.replace(row, entry=entry, thumbnail=f"{name}-thumbnail-{k:05}".encode() * 9)


def three_people(draw: Draw, n: int) -> dict[str, list[Row]]:
    rows = [named(row, f"{['Ada', 'Bea', 'Cid'][k % 3]} Surname", k) for k, row in enumerate(draw(n))]
    return {
        name: [row for row in rows if row.entry.identity == name]
        for name in ("Ada Surname", "Bea Surname", "Cid Surname")
    }


@pytest.mark.usefixtures("early_index")
@pytest.mark.parametrize("n", [60, 600])
def test_nothing_of_who_is_forgotten_stays_in_any_file(gallery: LanceGallery, folder: Path, draw: Draw, n: int) -> None:
    people = three_people(draw, n)
    ada, bea, cid = people.values()
    gallery.add([*ada, *bea[:-3]])
    gallery.compact()
    gallery.add(cid)
    gallery.add(bea[-3:])
    gallery.update([dataclasses.replace(bea[0].entry, camera="of Bea")])
    assert len(traces(folder, bea)) >= 7 * len(bea)
    assert gallery.forget("Bea Surname") == len(bea)
    assert traces(folder, bea) == []
    assert b"of Bea" not in b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert gallery.count() == len(ada) + len(cid)
    assert gallery.info().n_indexed == (gallery.count() if n == 600 else 0)
    assert gallery.search(bea[5].embedding, top=1)[0].entry.identity in ("Ada Surname", "Cid Surname")
    assert gallery.search(cid[5].embedding, top=1)[0].entry == cid[5].entry


@pytest.mark.usefixtures("early_index")
def test_nothing_of_what_was_removed_or_replaced_stays_after_compaction(
    gallery: LanceGallery, folder: Path, draw: Draw
) -> None:
    ada, bea, cid = three_people(draw, 600).values()
    gallery.add([*ada, *bea, *cid])
    gallery.compact()
    gallery.remove([row.entry.id for row in bea[:3]])
    new = [
        dataclasses.replace(row, entry=dataclasses.replace(row.entry, path="x", content="x")) for row in draw(2, seed=9)
    ]
    gallery.add([dataclasses.replace(row, entry=dataclasses.replace(row.entry, id=old.entry.id)) for row, old in
                 zip(new, bea[3:5], strict=True)])  # fmt: skip
    gallery.compact()
    left = [trace for trace in traces(folder, bea[:5]) if not trace.startswith("identity")]
    assert [trace for trace in left if not trace.startswith("id of")] == []
    assert traces(folder, bea[:3]) == [trace for trace in traces(folder, bea[:3]) if trace.startswith("identity")]
    gallery.compact()
    assert gallery.count() == 597


@pytest.mark.parametrize("when", ["rewrite", "prune", "index"])
def test_forgetting_that_was_interrupted_is_finished_later(
    gallery: LanceGallery, folder: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    ada, bea, cid = three_people(draw, 60).values()
    gallery.add([*ada, *bea, *cid])

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(f"resight.gallery.{'lance_upkeep' if when == 'prune' else 'lance'}.{when}", fail)
        with pytest.raises(GalleryError, match=r"No space left.*Free some space"):
            gallery.forget("Bea Surname")
    again = open_gallery(folder)
    assert again.count() == 40
    assert again.forget("Bea Surname") == 0
    assert traces(folder, bea) == []
    assert again.count() == 40


WRITER = """
import sys
import numpy as np
from resight.gallery import store
from resight.gallery.rows import Entry, Row
gallery = store.open_gallery(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for k in range(int(sys.argv[3])):
    vector = np.eye(16, dtype=np.float32)[k % 16]
    gallery.add([Row(Entry(f"{sys.argv[2]}{k}", "c"), vector, vector[:8] if k % 16 < 8 else vector[8:], b"x" * 1000)])
    print(f"{sys.argv[2]}{k}", flush=True)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.mark.parametrize("ended", [False, True])
def test_many_rows_are_replaced_all_or_none(
    gallery: LanceGallery, folder: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """They take several steps; the third fails, or the process ends there."""
    monkeypatch.setattr(upkeep, "PORTION", 10)
    monkeypatch.setattr("resight.gallery.lance.PORTION", 10)
    rows, new = draw(40), [dataclasses.replace(row, thumbnail=b"new") for row in draw(60)]
    gallery.add(rows)
    steps = []

    def fail(table: Any, portion: Any) -> None:
        for start in range(0, 60, 10):
            if len(steps) == 3:
                raise OSError(28, "No space left on device")
            upkeep.put(table, portion.slice(start, 10))
            steps.append(start)

    with monkeypatch.context() as broken:
        broken.setattr("resight.gallery.lance.put", fail)
        if ended:
            broken.setattr(LanceGallery, "_undo_half", lambda self: None)
        with pytest.raises(GalleryError, match=r"No space left"):
            gallery.add(new)
    again = open_gallery(folder)
    if ended:
        assert again.remove(["nothing"]) == 0  # any writer takes the half back
    assert again.count() == 40
    assert {row.thumbnail for row in again.get([f"r{k:03}" for k in range(60)])} == {row.thumbnail for row in rows}
    again.add(new)
    assert again.count() == 60
    assert {row.thumbnail for row in again.get([f"r{k:03}" for k in range(60)])} == {b"new"}
    assert not (folder / "half-done").exists()


def test_two_processes_that_write_at_once_lose_nothing(gallery: LanceGallery, folder: Path) -> None:
    with start(WRITER, folder, "a", 15) as one, start(WRITER, folder, "b", 15) as other:
        go(one)
        go(other)
        n_seen = 0
        while one.poll() is None or other.poll() is None:
            gallery.compact()
            n_now = gallery.count()  # readers and compaction go on meanwhile
            assert n_now >= n_seen
            n_seen = n_now
    assert (one.returncode, other.returncode) == (0, 0)
    assert {entry.id for entry in gallery.entries()} == {f"{name}{k}" for name in "ab" for k in range(15)}


def test_a_killed_writer_keeps_what_it_acknowledged(gallery: LanceGallery, folder: Path, draw: Draw) -> None:
    with start(WRITER, folder, "a", 10_000) as writer:
        go(writer)
        assert writer.stdout is not None
        said = [writer.stdout.readline().strip() for _ in range(20)]
        writer.kill()
        said += writer.stdout.read().split()
    there = {entry.id for entry in gallery.entries()}
    assert set(said[:20]) <= there
    assert len(there) <= len(said) + 1
    gallery.add(draw(3))  # its lock is gone with it
    gallery.compact()
    assert gallery.count() == len(there) + 3


def test_a_writer_waits_for_another_and_readers_do_not(
    gallery: LanceGallery, folder: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.add(draw(3))
    with folders.writing(folder):
        assert gallery.count() == 3
        assert len(gallery.search(draw(1)[0].embedding)) == 3
        monkeypatch.setattr(folders, "PATIENCE", 0.05)
        with pytest.raises(GalleryError, match=r"another program has been writing to it") as error:
            gallery.add(draw(4)[3:])
        assert str(folder) in str(error.value)
    gallery.add(draw(4)[3:])
    assert gallery.count() == 4


def test_readers_go_on_while_everything_is_rewritten(gallery: LanceGallery, folder: Path, draw: Draw) -> None:
    rows = draw(200)
    gallery.add(rows)
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        reader = open_gallery(folder)
        while not done.is_set():
            try:
                assert reader.search(rows[7].embedding, top=1)[0].entry == rows[7].entry
                assert len(list(reader.entries())) > 100
                assert len(reader.get(["r007", "r014"])) == 2
            except BaseException as error:
                failures.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for k in range(8):
        gallery.remove([f"r{100 + k}"])
        gallery.compact()
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []


def one_line(error: pytest.ExceptionInfo[GalleryError], folder: Path) -> None:
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
    assert ".rs" not in str(error.value)


def test_what_is_no_gallery_is_refused(tmp_path: Path, about: About) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "picture.jpg").write_text("x")
    for place in (tmp_path / "nothing", file, tmp_path / "other", file / "inside"):
        with pytest.raises(GalleryError, match=r"is no gallery. Make one with `resight gallery create`") as error:
            open_gallery(place)
        one_line(error, place)
    for place in (file, tmp_path / "other"):
        with pytest.raises(GalleryError, match=r"is not empty. Name a new folder") as error:
            create(place, about)
        one_line(error, place)
    with pytest.raises(GalleryError, match=r"cannot be made \(Not a directory\). Name another folder.$") as error:
        create(file / "inside", about)
    assert file.read_text() == "x"
    (tmp_path / "empty").mkdir()
    assert create(tmp_path / "empty", about).count() == 0


def test_a_gallery_that_could_not_be_made_leaves_nothing(
    folder: Path, about: About, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("resight.gallery.lance.write_note", fail)
        with pytest.raises(GalleryError, match=r"cannot be written \(.*No space left") as error:
            create(folder, about)
    one_line(error, folder)
    assert [path.name for path in folder.iterdir()] == ["writing.lock"]
    assert create(folder, about).count() == 0


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ("", "cannot be read"),
        ("[1, 2]", "cannot be read"),
        ("{}", "cannot be read .*format"),
        ('{"format": 1}', "cannot be read"),
        ('{"format": 2}', "another format. Use the version of resight"),
        (None, "is no gallery"),
    ],
)
def test_a_damaged_note_is_one_clear_line(
    gallery: LanceGallery, folder: Path, draw: Draw, note: str | None, message: str
) -> None:
    gallery.add(draw(2))
    (folder / "gallery.json").unlink()
    if note is not None:
        (folder / "gallery.json").write_text(note)
    for call in (lambda: open_gallery(folder), lambda: gallery.add(draw(3)[2:])):
        with pytest.raises(GalleryError, match=message) as error:
            call()
        one_line(error, folder)


def test_a_note_of_another_gallery_is_refused(gallery: LanceGallery, folder: Path) -> None:
    note = json.loads((folder / "gallery.json").read_text())
    (folder / "gallery.json").write_text(json.dumps(note | {"dimension": 512}))
    with pytest.raises(GalleryError, match=r"its rows are not those that its note tells of") as error:
        open_gallery(folder)
    one_line(error, folder)


@pytest.mark.parametrize("damage", ["missing", "cut", "noise"])
@pytest.mark.parametrize("part", ["data", "_versions", "_deletions"])
def test_damaged_files_are_one_clear_line(
    gallery: LanceGallery, folder: Path, draw: Draw, damage: str, part: str
) -> None:
    gallery.add(draw(40))
    gallery.remove(["r003"])
    for path in (folder / "rows.lance" / part).iterdir():
        content = path.read_bytes()
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(content[: len(content) // 2] if damage == "cut" else bytes(b ^ 85 for b in content))
    with pytest.raises(
        GalleryError, match=r"cannot be (read|written) \(.*\)\. .*[Rr]estore the gallery from a copy"
    ) as error:
        open_gallery(folder).search(draw(1)[0].embedding)
    one_line(error, folder)


def test_rows_that_are_missing_are_one_clear_line(gallery: LanceGallery, folder: Path) -> None:
    (folder / "rows.lance").rename(folder / "elsewhere")
    with pytest.raises(GalleryError, match=r"A part of it is missing: restore the gallery") as error:
        open_gallery(folder)
    one_line(error, folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk cannot be mounted here: only root may")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path, about: About, draw: Draw) -> None:
    gallery = create(small_disk / "gallery", about)
    rows = [dataclasses.replace(row, thumbnail=os.urandom(8_000)) for row in draw(300)]
    stored = 0

    def fill() -> None:
        nonlocal stored
        while stored < 300:
            gallery.add(rows[stored : stored + 5])
            stored += 5

    with pytest.raises(GalleryError, match=r"No space left.*Free some space; nothing that was stored is lost") as error:
        fill()
    one_line(error, small_disk)
    assert 50 < stored < 300
    assert [entry.id for entry in gallery.entries()] == [row.entry.id for row in rows[:stored]]
    assert gallery.get(["r007"])[0].thumbnail == rows[7].thumbnail
    with pytest.raises(GalleryError, match=r"No space left"):
        gallery.keep_calibration({"slope": "x" * 10**6})
    assert gallery.about.calibration is None
    with pytest.raises(GalleryError, match=r"No space left"):
        gallery.compact()
    assert open_gallery(small_disk / "gallery").count() == stored
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    gallery.add(rows[stored:])
    gallery.compact()
    assert [entry.id for entry in gallery.entries()] == [row.entry.id for row in rows]


def test_a_folder_that_may_only_be_read_is_searched(small_disk: Path, about: About, draw: Draw) -> None:
    folder = small_disk / "gallery"
    rows = draw(10)
    create(folder, about).add(rows)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    gallery = open_gallery(folder)
    assert gallery.search(rows[3].embedding, top=1)[0].entry == rows[3].entry
    assert len(list(gallery.entries())) == 10
    for call in (
        lambda: gallery.add(rows[:1]),
        lambda: gallery.remove(["r003"]),
        lambda: gallery.forget("o'neil"),
        lambda: gallery.update([rows[0].entry]),
        gallery.compact,
        lambda: gallery.keep_calibration(None),
    ):
        with pytest.raises(GalleryError, match=r"cannot be written \(.*Read-only.*the right to write") as error:
            call()
        one_line(error, folder)
    with pytest.raises(GalleryError, match=r"cannot be made \(Read-only"):
        create(small_disk / "other", about)


def test_the_store_says_nothing_on_its_own(folder: Path, about: About) -> None:
    code = """
import sys
import numpy as np
from resight.gallery import lance_upkeep, store
from resight.gallery.rows import Entry, Row
lance_upkeep.LARGE, lance_upkeep.FEW = 300, 5
gallery = store.open_gallery(sys.argv[1])
vectors = np.random.default_rng(0).standard_normal((400, 16)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
rows = [Row(Entry(str(k), "c"), vector, np.eye(8, dtype=np.float32)[k % 8]) for k, vector in enumerate(vectors)]
for start, end in ((0, 350), (350, 360), (360, 400)):
    gallery.add(rows[start:end])
    gallery.compact()
gallery.remove(["3"])
gallery.compact()
gallery.search(vectors[0], top=5)
"""
    store.create(str(folder), about).close()
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, folder], capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr, run.returncode) == ("", "", 0)


def test_rows_of_unknown_identity_are_never_forgotten(gallery: LanceGallery, draw: Draw) -> None:
    rows = draw(10)
    gallery.add([dataclasses.replace(row, entry=Entry(row.entry.id, "c")) for row in rows])
    assert gallery.forget("NULL") == 0
    assert gallery.count() == 10
