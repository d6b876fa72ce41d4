"""Pictures become rows of a gallery once each, whatever comes twice, changes, is no picture, or stops in the middle."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from resight import adding as parts
from resight.adding import Added, Sighting, add, adding, content_of
from resight.data.images import open_image
from resight.embed import EmbedConfig, embed
from resight.encoder import Encoder, Side
from resight.errors import ConfigError, GalleryError
from resight.gallery import store
from resight.gallery.rows import Gallery, Row, Where
from resight.gallery_encoder import describe
from resight.types import Record

SOURCE = "random:64x1/8"
SMALL = EmbedConfig(batch_size=4, workers=2)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load(SOURCE, size=(32, 16), device="cpu")


@pytest.fixture
def gallery(encoder: Encoder, tmp_path: Path) -> Iterator[Gallery]:
    made = store.create(str(tmp_path / "gallery"), describe(encoder, SOURCE, {"size": (32, 16)}))
    yield made
    made.close()


@pytest.fixture
def records(picture: Callable[..., Path]) -> list[Record]:
    """Eleven pictures, the last two of which are boxes of the first."""
    whole = [
        Record(picture(f"p{k}.png", colour=(20 * k, 90, 200)), f"i{k % 3}", f"c{k % 2}", time=float(k))
        for k in range(9)
    ]
    return [*whole, Record(whole[0].path, box=(0, 0, 9, 12)), Record(whole[0].path, "i0", box=(2.5, 3.0, 9.0, 20.0))]


def rows_of(gallery: Gallery) -> dict[str, Row]:
    return {row.entry.id: row for row in gallery.get([entry.id for entry in gallery.entries()])}


def hashed(path: Path, box: tuple[float, ...] | None = None) -> str:
    about = hashlib.blake2b(path.read_bytes()).digest(), box
    return hashlib.blake2b(repr(about).encode(), digest_size=16).hexdigest()


def no_more_encoding(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a picture that is there is embedded again")

    monkeypatch.setattr(encoder, "encode", refuse)


def test_every_picture_is_a_row_with_its_vectors(gallery: Gallery, encoder: Encoder, records: list[Record]) -> None:
    assert add(gallery, encoder, records, SMALL) == Added(n_seen=11, n_stored=11)
    made = embed(encoder, records)
    rows = rows_of(gallery)
    assert len(rows) == 11
    for k, record in enumerate(records):
        row = rows[hashed(record.path, None if record.box is None else tuple(map(float, record.box)))]
        assert made.aligned is not None
        assert row.aligned is not None
        np.testing.assert_allclose(row.embedding, made.embedding[k], atol=1e-6)
        np.testing.assert_allclose(row.aligned, made.aligned[k], atol=1e-6)
        entry = row.entry
        assert entry.content == entry.id
        assert (entry.path, entry.identity, entry.camera) == (str(record.path), record.identity, record.camera)
        assert (entry.time, entry.box) == (record.time, record.box)
        with Image.open(io.BytesIO(row.thumbnail)) as small:
            shown = np.asarray(small, dtype=float)
        expected = np.asarray(open_image(record.path, box=record.box), dtype=float)
        assert shown.shape == expected.shape
        assert abs(shown - expected).mean() < 12


def test_a_small_jpeg_is_its_own_thumbnail_but_a_box_shows_no_more_than_the_box(
    gallery: Gallery, encoder: Encoder, picture: Callable[..., Path]
) -> None:
    path = picture("a.jpg")
    add(gallery, encoder, [Sighting(path, id="whole"), Sighting(path, id="boxed", box=(0, 0, 5, 7))])
    whole_row, boxed = gallery.get(["whole", "boxed"])
    assert whole_row.thumbnail == path.read_bytes()
    with Image.open(io.BytesIO(boxed.thumbnail)) as small:
        assert small.size == (5, 7)


def test_what_is_there_is_not_embedded_again(
    gallery: Gallery, encoder: Encoder, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(gallery, encoder, records[:6], SMALL)
    assert add(gallery, encoder, records, SMALL) == Added(n_seen=11, n_stored=5, n_there=6)
    no_more_encoding(encoder, monkeypatch)
    assert add(gallery, encoder, records, SMALL) == Added(n_seen=11, n_there=11)
    assert gallery.count() == 11


@pytest.mark.parametrize("apart", [1, 3, 40])
def test_a_picture_that_comes_twice_is_one_row(
    gallery: Gallery, encoder: Encoder, picture: Callable[..., Path], apart: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "N_STORED", 8)
    paths = [picture(f"{k}.png") for k in range(apart)]
    twin = paths[0].with_name("twin.png")
    twin.write_bytes(paths[0].read_bytes())
    stream = [*(Record(path, camera="here") for path in paths), Record(twin, "Anna")]
    added = add(gallery, encoder, stream, SMALL)
    assert (added.n_stored, added.n_there, added.n_updated) == (apart, 1, 1)
    assert gallery.count() == apart
    (row,) = gallery.get([hashed(twin)])
    assert (row.entry.path, row.entry.identity, row.entry.camera) == (str(paths[0]), "Anna", "here")


def test_labels_that_are_known_are_taken_over(gallery: Gallery, encoder: Encoder, picture: Callable[..., Path]) -> None:
    path = picture("a.png")
    add(gallery, encoder, [Sighting(path, identity="Anna", time=3.0, fields={"hat": "red", "bag": "no"})])
    before = gallery.get([hashed(path)])[0]
    assert add(gallery, encoder, [Sighting(path)]) == Added(n_seen=1, n_there=1)
    added = add(gallery, encoder, [Sighting(path, identity="Berta", camera="x", fields={"bag": "blue"})])
    assert added == Added(n_seen=1, n_there=1, n_updated=1)
    after = gallery.get([hashed(path)])[0]
    assert (after.entry.identity, after.entry.camera, after.entry.time) == ("Berta", "x", 3.0)
    assert after.entry.fields == {"hat": "red", "bag": "blue"}
    np.testing.assert_array_equal(after.embedding, before.embedding)
    assert add(gallery, encoder, [Sighting(path, identity="Berta", camera="x")]).n_updated == 0


def test_a_record_names_its_row_and_its_fields(gallery: Gallery, encoder: Encoder, records: list[Record]) -> None:
    record = Record(records[0].path, fields=(("id", "frame 7"), ("weather", "rain")))
    add(gallery, encoder, [record])
    (row,) = gallery.get(["frame 7"])
    assert row.entry.fields == {"weather": "rain"}
    assert row.entry.content == hashed(record.path)


def test_a_changed_file_replaces_the_row_of_its_path_and_box(
    gallery: Gallery, encoder: Encoder, picture: Callable[..., Path]
) -> None:
    path, other = picture("a.png"), picture("b.png")
    box = (0.0, 0.0, 5.0, 5.0)
    add(gallery, encoder, [Record(path), Record(path, box=box), Record(other), Sighting(path, id="mine")], SMALL)
    old = hashed(path)
    Image.new("RGB", (9, 9), (1, 2, 3)).save(path)
    added = add(gallery, encoder, [Record(path), Record(other)], SMALL)
    assert added == Added(n_seen=2, n_stored=1, n_replaced=1, n_there=1)
    rows = rows_of(gallery)
    assert old not in rows
    assert {row.entry.box for row in rows.values()} == {None, box}
    assert {hashed(path), hashed(other), "mine"} < set(rows)
    assert len(rows) == 4
    again = add(gallery, encoder, [Sighting(path, id="mine")], SMALL)
    assert again == Added(n_seen=1, n_stored=1, n_replaced=1)
    assert gallery.get(["mine"])[0].entry.content == hashed(path)


def test_a_file_that_changes_in_the_middle_has_its_last_content(
    gallery: Gallery, encoder: Encoder, picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = picture("a.png")
    read: list[object] = []

    def counting(*arguments: Any) -> str:
        read.append(arguments)
        return content_of(*arguments)

    monkeypatch.setattr(parts, "content_of", counting)

    def changing() -> Iterator[Sighting]:
        yield Sighting(path)
        yield Sighting(path.read_bytes(), id="mine")
        deadline = time.monotonic() + 30
        while len(read) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        Image.new("RGB", (9, 9), (1, 2, 3)).save(path)  # the first two wait to be stored
        yield Sighting(path)
        yield Sighting(path.read_bytes(), id="mine")

    added = add(gallery, encoder, changing(), EmbedConfig(batch_size=1, workers=1))
    assert added == Added(n_seen=4, n_stored=4, n_replaced=2)
    assert {row.entry.content for row in rows_of(gallery).values()} == {hashed(path)}


def test_an_id_that_comes_twice_names_its_last_picture(
    gallery: Gallery, encoder: Encoder, picture: Callable[..., Path]
) -> None:
    first, last = picture("a.png").read_bytes(), picture("b.png").read_bytes()
    added = add(gallery, encoder, [Sighting(first, id="mine"), Sighting(last, id="mine")])
    assert added == Added(n_seen=2, n_stored=2, n_replaced=1)
    (row,) = rows_of(gallery).values()
    assert row.entry.content == content_of(last)


def test_a_copy_of_a_changed_file_keeps_its_row(
    gallery: Gallery, encoder: Encoder, picture: Callable[..., Path]
) -> None:
    path = picture("a.png")
    copy = path.with_name("copy.png")
    copy.write_bytes(path.read_bytes())
    add(gallery, encoder, [Record(path), Record(copy)])
    Image.new("RGB", (9, 9)).save(path)
    add(gallery, encoder, [Record(path), Record(copy)])
    assert set(rows_of(gallery)) == {hashed(path), hashed(copy)}


def test_what_cannot_be_added_is_told_and_the_rest_goes_on(
    gallery: Gallery, encoder: Encoder, records: list[Record], tmp_path: Path
) -> None:
    (tmp_path / "no picture.jpg").write_text("words")
    (tmp_path / "cut.png").write_bytes(records[0].path.read_bytes()[:200])
    os.mkfifo(tmp_path / "pipe.jpg")
    faulty = [
        Sighting(tmp_path / "no picture.jpg"),
        Sighting(tmp_path / "cut.png"),
        Sighting(tmp_path / "miss\ning.png"),
        Sighting(tmp_path),
        Sighting(tmp_path / "pipe.jpg"),
        Sighting(b""),
        Sighting(records[1].path, box=(500, 500, 600, 600)),
        Sighting(records[1].path, id="x" * 129),
        Sighting(records[1].path, identity=""),
        Sighting(records[1].path, time=float("nan")),
        Sighting(records[1].path, fields={"a": "nul\0"}),
    ]
    added = add(gallery, encoder, [records[0], *faulty, records[2]], SMALL)
    assert (added.n_seen, added.n_stored, len(added.left_out)) == (13, 2, 11)
    said = " | ".join(sorted(added.left_out))
    for words in (
        "no picture.jpg: is not a picture",
        "cut.png: is cut short or damaged",
        "miss\\ning.png: does not exist",
        f"{tmp_path}: is a folder",
        "pipe.jpg: is not a regular file",
        "a picture: is empty",
        "lies in the box 500, 500, 600, 600",
        f"{records[1].path}: row 'xxxx",
        "identity is empty",
        "is no number of seconds",
        "is not Unicode text",
    ):
        assert words in said
    assert "\n" not in said


def test_a_name_that_is_not_unicode_is_kept_as_far_as_it_can_be(
    gallery: Gallery, encoder: Encoder, picture: Callable[..., Path]
) -> None:
    path = Path(os.fsdecode(os.fsencode(picture("a.png").with_name("b")) + b"\xff.png"))
    picture("a.png").rename(path)
    assert add(gallery, encoder, [Record(path)]).n_stored == 1
    (entry,) = gallery.entries()
    assert entry.path.endswith("b\\xff.png")


def test_pictures_from_python(gallery: Gallery, encoder: Encoder, picture: Callable[..., Path]) -> None:
    path = picture("a.png")
    pixels = np.asarray(open_image(path))
    forms: list[Any] = [
        str(path),
        path.read_bytes(),
        pixels,
        Image.fromarray(pixels),
        torch.from_numpy(pixels.copy()).permute(2, 0, 1),
        Image.fromarray(pixels).convert("RGBA"),
    ]
    added = add(gallery, encoder, [Sighting(form, identity="a") for form in forms], SMALL)
    assert (added.n_stored, added.n_there) == (2, 4)  # the file, and its pixels
    assert set(rows_of(gallery)) == {hashed(path), content_of(Image.fromarray(pixels))}
    assert {entry.path for entry in gallery.entries()} == {str(path), ""}
    boxed = Sighting(pixels, id="boxed", box=(0, 0, 9, 9))
    add(gallery, encoder, [boxed])
    expected = encoder.embed_images([pixels[:9, :9]]).embedding[0]
    np.testing.assert_allclose(gallery.get(["boxed"])[0].embedding, expected, atol=1e-6)
    assert content_of(Image.new("RGB", (4, 6))) != content_of(Image.new("RGB", (6, 4)))
    assert content_of(b"x", (0, 0, 1, 1)) == content_of(b"x", (0.0, 0.0, 1.0, 1.0)) != content_of(b"x")
    with pytest.raises(ValueError, match="uint8"):
        add(gallery, encoder, [Sighting(pixels.astype(float))])


def test_relative_paths_become_absolute(
    gallery: Gallery, encoder: Encoder, picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = picture("a.png")
    monkeypatch.chdir(path.parent)
    add(gallery, encoder, [Sighting("./a.png")])
    assert [entry.path for entry in gallery.entries()] == [str(path)]


def test_cameras_and_views_reach_the_encoder(tmp_path: Path, picture: Callable[..., Path]) -> None:
    plain = Encoder.load("random:64x1/8", size=(32, 16), device="cpu")
    side = Side(1.0, ("a", "b"), ("front", "rear"))
    encoder = Encoder(plain.clip, plain.preprocess, plain.card, side=side).eval()
    torch.nn.init.normal_(encoder.side_table)
    gallery = store.create(str(tmp_path / "gallery"), describe(encoder, "x", {}))
    path = picture("a.png")
    cases = [("a", "front"), ("b", "front"), ("b", "rear"), (None, None)]
    shown = [Sighting(path, str(k), camera=camera, view=view) for k, (camera, view) in enumerate(cases)]
    add(gallery, encoder, shown, SMALL)
    for k, (camera, view) in enumerate(cases):
        expected = encoder.embed_images([path], cameras=[camera], views=[view]).embedding[0]
        np.testing.assert_allclose(gallery.get([str(k)])[0].embedding, expected, atol=1e-6)


def test_a_pause_stores_what_came(gallery: Gallery, encoder: Encoder, records: list[Record]) -> None:
    counts = []

    def pausing() -> Iterator[Record | None]:
        for record in records[:6]:
            yield record
            yield None
            counts.append(gallery.count())
        yield None

    assert add(gallery, encoder, pausing(), SMALL).n_stored == 6
    assert counts == [1, 2, 3, 4, 5, 6]


def test_a_slow_encoder_stores_what_it_has(
    gallery: Gallery, encoder: Encoder, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "SECONDS_STORED", 0.0)
    stored = [added.n_stored for added in adding(gallery, encoder, records, EmbedConfig(batch_size=2, workers=1))]
    assert stored == [2, 4, 6, 8, 10, 11, 11]


def test_a_stream_without_end_can_be_left(
    gallery: Gallery, encoder: Encoder, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "N_STORED", 4)
    run = adding(gallery, encoder, itertools.cycle(records), SMALL)
    seen = [next(run).n_seen for _ in range(5)]
    assert seen == [4, 8, 12, 16, 20]
    run.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("resight-loader")]
    assert gallery.count() == 11


def test_rows_of_others_that_come_meanwhile_are_not_doubled(
    gallery: Gallery, encoder: Encoder, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = store.open_gallery(str(gallery.info().place))
    real = encoder.encode

    def meanwhile(*arguments: Any, **more: Any) -> Any:
        monkeypatch.undo()
        add(other, encoder, [Record(records[0].path, "theirs")], SMALL)
        return real(*arguments, **more)

    monkeypatch.setattr(encoder, "encode", meanwhile)
    assert add(gallery, encoder, records[:3], SMALL) == Added(n_seen=3, n_stored=2, n_there=1, n_updated=1)
    assert gallery.count() == 3


def test_a_row_that_is_removed_meanwhile_is_not_an_error(
    gallery: Gallery, encoder: Encoder, records: list[Record]
) -> None:
    add(gallery, encoder, records[:3])

    def removing() -> Iterator[Record]:
        yield Record(records[0].path, "renamed")
        gallery.remove([hashed(records[0].path)])

    added = add(gallery, encoder, removing(), EmbedConfig(batch_size=1, workers=1))
    assert (added.n_stored, added.n_updated) in ((1, 0), (0, 0))  # looked up after, or before it was removed


def test_misfits_are_refused(gallery: Gallery, encoder: Encoder, records: list[Record]) -> None:
    other = Encoder.load(SOURCE, size=(32, 16), seed=1, device="cpu")
    with pytest.raises(GalleryError, match="they cannot be compared"):
        add(gallery, other, records)
    for config in (EmbedConfig(batch_size=0), EmbedConfig(workers=0)):
        with pytest.raises(ConfigError, match="must be at least 1, got 0"):
            add(gallery, encoder, records, config)
    assert add(gallery, encoder, []) == Added()


def test_a_store_that_fails_keeps_what_it_acknowledged(
    gallery: Gallery, encoder: Encoder, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "N_STORED", 4)
    real, calls = gallery.add, itertools.count()

    def failing(rows: list[Row]) -> None:
        if next(calls) == 1:
            raise GalleryError("the disk is full")
        real(rows)

    monkeypatch.setattr(gallery, "add", failing)
    seen: list[Added] = []
    with pytest.raises(GalleryError, match="the disk is full"):
        seen.extend(adding(gallery, encoder, records, SMALL))
    assert seen[-1].n_stored == gallery.count() == 4
    assert add(gallery, encoder, records, SMALL).n_there == 4
    assert gallery.count() == 11


def whole(gallery: Gallery, paths: list[Path]) -> int:
    """How many rows there are; each is checked to be one picture's, with vectors and thumbnail."""
    contents = {hashed(path) for path in paths}
    ids = [entry.id for entry in gallery.entries()]
    assert len(set(ids)) == len(ids) == gallery.count()
    for start in range(0, len(ids), 500):
        rows = gallery.get(ids[start : start + 500])
        assert len(rows) == len(ids[start : start + 500])
        for row in rows:
            assert row.entry.id == row.entry.content in contents
            assert row.aligned is not None
            for vector in (row.embedding, row.aligned):
                assert abs(float(vector @ vector) - 1) < 1e-4
            with Image.open(io.BytesIO(row.thumbnail)) as small:
                small.load()
    return len(ids)


def draw_many(folder: Path, n: int) -> list[Path]:
    folder.mkdir()
    generator = np.random.default_rng(0)
    paths = [folder / f"{k:05}.jpg" for k in range(n)]
    for path in paths:
        Image.fromarray(generator.integers(0, 256, (12, 8, 3), dtype=np.uint8)).save(path)
    return paths


def kill_in_the_middle(place: Path, pictures: Path, *, stored: int, at_least: int) -> None:
    """Adds pictures in another process, and kills that as soon as so many are stored. stored: rows at a time."""
    code = (
        f"import resight.adding, resight.cli; resight.adding.N_STORED = {stored}; "
        f"resight.cli.main(['gallery', 'add', {str(place)!r}, '--data', {str(pictures)!r}, '--batch-size', '8'])"
    )
    gallery = store.open_gallery(str(place))
    worker = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        while gallery.count() < at_least:
            assert worker.poll() is None, "it was done before it could be killed"
            time.sleep(0.002)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        gallery.close()


def test_killed_in_the_middle_every_row_is_whole_and_the_next_pass_completes(
    gallery: Gallery, encoder: Encoder, tmp_path: Path
) -> None:
    paths = draw_many(tmp_path / "pictures", 400)
    kill_in_the_middle(tmp_path / "gallery", tmp_path / "pictures", stored=8, at_least=60)
    n = whole(gallery, paths)
    assert 60 <= n < 400
    added = add(gallery, encoder, [Record(path) for path in paths])
    assert (added.n_stored, added.n_there) == (400 - n, n)
    assert whole(gallery, paths) == 400


@pytest.mark.slow
def test_killed_again_and_again_among_ten_thousand(gallery: Gallery, encoder: Encoder, tmp_path: Path) -> None:
    paths = draw_many(tmp_path / "pictures", 10_000)
    for at_least in (1, 1500, 4000, 8000):
        kill_in_the_middle(tmp_path / "gallery", tmp_path / "pictures", stored=100, at_least=at_least)
        assert at_least <= whole(gallery, paths) < 10_000
    add(gallery, encoder, [Record(path) for path in paths])
    assert whole(gallery, paths) == 10_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if (
        sys.platform != "linux"
        or os.geteuid() != 0
        or subprocess.run(words, capture_output=True, check=False).returncode
    ):
        pytest.skip("to make a small disk one must be root on Linux, and allowed to mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_loses_nothing_that_was_acknowledged(
    small_disk: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "N_STORED", 50)
    paths = draw_many(tmp_path / "pictures", 400)
    gallery = store.create(str(small_disk / "gallery"), describe(encoder, SOURCE, {"size": (32, 16)}))
    ballast = small_disk / "ballast"

    def filling(run: Iterator[Added]) -> Iterator[Added]:
        for added in run:
            yield added
            if added.n_stored == 100 and not ballast.exists():
                left = os.statvfs(small_disk)
                ballast.write_bytes(bytes(max(0, left.f_bavail * left.f_frsize - 120_000)))

    records, seen = [Record(path) for path in paths], list[Added]()
    with pytest.raises(GalleryError, match="Free some space"):
        seen.extend(filling(adding(gallery, encoder, records, EmbedConfig(batch_size=50, workers=1))))
    assert 100 <= seen[-1].n_stored < 400
    again = store.open_gallery(str(small_disk / "gallery"))
    assert whole(again, paths) == seen[-1].n_stored
    ballast.unlink()
    add(again, encoder, records)
    assert whole(again, paths) == 400


def test_where_finds_rows_by_path(gallery: Gallery, encoder: Encoder, records: list[Record]) -> None:
    add(gallery, encoder, records)
    found = gallery.entries(Where(paths=(str(records[0].path), "nowhere")))
    assert {entry.box for entry in found} == {None, (0.0, 0.0, 9.0, 12.0), (2.5, 3.0, 9.0, 20.0)}
