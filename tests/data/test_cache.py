from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from resight.data import cache as cache_module
from resight.data import loader
from resight.data.cache import forget_pictures
from resight.data.images import content_name, open_image
from resight.data.loader import load
from resight.data.transforms import Preprocess
from resight.errors import DataError
from resight.types import Record

SMALL = Preprocess(12, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")
ROW = 3 * 12 * 8
N = 9


def draw(path: Path, seed: int, *, height: int = 20) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, 15, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="bmp")  # the same size for any content
    return path


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    (tmp_path / "pictures").mkdir()
    return [Record(draw(tmp_path / "pictures" / f"{i}.bmp", i)) for i in range(N)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were decoded so far."""
    names: list[str] = []

    def count(path: Path, **keywords: object) -> Image.Image:
        names.append(path.name)
        return open_image(path, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(loader, "open_image", count)
    return names


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each file that was read for its content; files count as settled whatever their age."""
    calls: list[None] = []
    file_digest = cache_module.hashlib.file_digest

    def count(file: object, digest: str) -> object:
        calls.append(None)
        return file_digest(file, digest)  # type: ignore[arg-type]

    monkeypatch.setattr(cache_module.hashlib, "file_digest", count)
    monkeypatch.setattr(cache_module, "_SETTLED", -60.0)
    return calls


def pictures(records: list[Record], folder: Path | None, preprocess: Preprocess = SMALL) -> NDArray[np.uint8]:
    batches = load(records, preprocess, batch_size=4, cache=folder)
    return np.concatenate([batch.images for batch in batches])


def file(folder: Path, kind: str) -> Path:
    (found,) = folder.glob(f"*.{kind}")
    return found


def test_pictures_are_decoded_once(records: list[Record], folder: Path, decoded: list[str]) -> None:
    first = pictures(records, folder)
    assert sorted(decoded) == [record.path.name for record in records]
    decoded.clear()
    assert np.array_equal(pictures(records[::-1], folder), first[::-1])
    assert decoded == []
    assert np.array_equal(first, pictures(records, None))
    assert file(folder, "pixels").stat().st_size == N * ROW


def test_settled_files_are_not_even_read(
    records: list[Record], folder: Path, decoded: list[str], hashed: list[None]
) -> None:
    first = pictures(records, folder)
    assert len(decoded) == len(hashed) == N
    assert np.array_equal(pictures(records, folder), first)
    assert len(decoded) == len(hashed) == N


def test_a_file_that_was_touched_or_renamed_is_read_but_not_decoded(
    records: list[Record], folder: Path, decoded: list[str], hashed: list[None]
) -> None:
    first = pictures(records, folder)
    os.utime(records[0].path, (0, 0))
    renamed = records[1].path.rename(records[1].path.with_name("new name.bmp"))
    now = [records[0], Record(renamed), *records[2:]]
    for _ in range(2):
        assert np.array_equal(pictures(now, folder), first)
        assert len(decoded) == N
        assert len(hashed) == N + 2


@pytest.mark.parametrize("settled", [True, False])
def test_a_file_whose_content_changed_is_decoded_again(
    records: list[Record], folder: Path, settled: bool, request: pytest.FixtureRequest
) -> None:
    if settled:
        request.getfixturevalue("hashed")
    pictures(records, folder)
    before = records[3].path.stat()
    draw(records[3].path, 99)
    os.utime(records[3].path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert records[3].path.stat().st_size == before.st_size
    if settled and records[3].path.stat().st_ctime_ns == before.st_ctime_ns:
        pytest.skip("this file system's clock is too coarse")
    assert np.array_equal(pictures(records, folder), pictures(records, None))


def test_young_files_are_settled_later(
    records: list[Record], folder: Path, decoded: list[str], hashed: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_SETTLED", 60.0)
    for n_passes in (1, 2):
        pictures(records, folder)
        assert len(hashed) == n_passes * N
    monkeypatch.setattr(cache_module, "_SETTLED", -60.0)
    for _ in range(2):
        pictures(records, folder)
        assert len(hashed) == 3 * N
    assert len(decoded) == N


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    records: list[Record], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(path: Path, **keywords: object) -> Image.Image:
        if path == records[0].path:
            draw(path, 99, height=30)
        return open_image(path)

    monkeypatch.setattr(loader, "open_image", change)
    pictures(records, folder)
    assert file(folder, "pixels").stat().st_size == (N - 1) * ROW
    monkeypatch.undo()
    assert np.array_equal(pictures(records, folder), pictures(records, None))


def test_equal_content_is_kept_once(records: list[Record], folder: Path) -> None:
    for record in records[1:]:
        shutil.copy(records[0].path, record.path)
    assert len(np.unique(pictures(records, folder), axis=0)) == 1
    assert file(folder, "pixels").stat().st_size == ROW


@pytest.mark.parametrize(
    "change",
    [
        {"height": 8, "width": 12},
        {"interpolation": "bicubic"},
        {"background": (0, 0, 0)},
    ],
)
def test_what_changes_the_pixels_is_kept_apart(
    tmp_path: Path, folder: Path, change: dict[str, object], hashed: list[None]
) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (20, 15, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    other = dataclasses.replace(SMALL, **change)  # type: ignore[arg-type]
    for preprocess in (SMALL, other, SMALL, other):
        got = pictures([Record(tmp_path / "a.png")], folder, preprocess)
        assert np.array_equal(got, pictures([Record(tmp_path / "a.png")], None, preprocess))


def test_normalisation_does_not_change_the_pixels(records: list[Record], folder: Path, decoded: list[str]) -> None:
    pictures(records, folder)
    pictures(records, folder, dataclasses.replace(SMALL, mean=(0.1, 0.2, 0.3)))
    assert len(decoded) == N


def test_boxes_are_kept_apart(records: list[Record], folder: Path, decoded: list[str], hashed: list[None]) -> None:
    path = records[0].path
    boxes = [None, (0.0, 0.0, 7.0, 9.0), (0.0, 0.0, 7.0, 10.0), (1.0, 0.0, 7.0, 9.0)]
    cropped = [Record(path, box=box) for box in boxes]
    first = pictures(cropped, folder)
    assert np.array_equal(pictures(cropped, folder), first)
    assert np.array_equal(first, [SMALL.resize(open_image(path, box=box)) for box in boxes])
    assert len(decoded) == len(boxes)


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "emptied": lambda path: os.truncate(path, 0),
    "cut short": lambda path: os.truncate(path, path.stat().st_size // 2 + 5),
    "first byte flipped": lambda path: flip(path, 0),
    "middle byte flipped": lambda path: flip(path, path.stat().st_size // 2),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "overwritten": lambda path: path.write_bytes(b"x" * 1001),
    "one byte lost": lambda path: path.write_bytes(path.read_bytes()[1:]),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "rows swapped": lambda path: path.write_bytes(path.read_bytes()[::-1]),
}


@pytest.mark.parametrize("kind", ["pixels", "index"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_mended(
    records: list[Record], folder: Path, decoded: list[str], hashed: list[None], damage: str, kind: str
) -> None:
    first = pictures(records, folder)
    DAMAGE[damage](file(folder, kind))
    decoded.clear()
    assert np.array_equal(pictures(records, folder), first)
    if kind == "pixels" or "flipped" not in damage:  # in the index, that may hit one of a picture's two names only
        assert (decoded == []) == (damage == "one byte more")
    decoded.clear()
    assert np.array_equal(pictures(records, folder), first)
    assert decoded == []
    draw(records[0].path, 99)
    assert np.array_equal(pictures(records, folder), pictures(records, None))


def test_any_flipped_byte_of_the_index_is_found(records: list[Record], folder: Path, hashed: list[None]) -> None:
    first = pictures(records[:2], folder)
    index = file(folder, "index")
    sound, pixels = index.read_bytes(), file(folder, "pixels").read_bytes()
    for position in range(len(sound)):
        flip(index, position)
        assert np.array_equal(pictures(records[:2], folder), first)
        index.write_bytes(sound)
        file(folder, "pixels").write_bytes(pixels)


def test_the_folder_may_be_deleted(records: list[Record], folder: Path, hashed: list[None]) -> None:
    first = pictures(records, folder)
    batches = load(records, SMALL, batch_size=4, cache=folder)
    shutil.rmtree(folder)
    assert np.array_equal(np.concatenate([batch.images for batch in batches]), first)
    assert np.array_equal(pictures(records, folder), first)


def test_a_full_disk_is_one_clear_error(records: list[Record], folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    pictures(records, folder)
    file(folder, "pixels").unlink()
    next(folder.glob("*.index")).with_suffix(".pixels").symlink_to("/dev/full")
    with pytest.raises(DataError) as caught:
        pictures(records, folder)
    assert "cannot write the cache of decoded pictures (No space left on device). Make room or" in str(caught.value)
    assert "RESIGHT_CACHE, or load without a cache." in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_one_clear_error(records: list[Record], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/cache: cannot write the cache of decoded pictures \(Not a directory\)"):
        pictures(records, tmp_path / "file" / "cache")


def test_an_unwritable_cache_is_not_skipped_as_a_bad_picture(records: list[Record], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    seen: list[object] = []
    with pytest.raises(DataError, match="cannot write the cache"):
        list(load(records, SMALL, batch_size=4, cache=tmp_path / "file", on_error=lambda *fault: seen.append(fault)))
    assert seen == []


def test_a_complete_cache_need_not_be_writable(
    records: list[Record], folder: Path, decoded: list[str], hashed: list[None]
) -> None:
    first = pictures(records, folder)
    file(folder, "lock").unlink()
    next(folder.glob("*.index")).with_suffix(".lock").mkdir()
    assert np.array_equal(pictures(records, folder), first)
    assert len(decoded) == N


def test_a_new_folder_is_its_owners_alone(records: list[Record], folder: Path) -> None:
    pictures(records, folder)
    if os.name == "posix":
        assert folder.stat().st_mode & 0o077 == 0


def test_many_threads_keep_each_picture_once(records: list[Record], folder: Path) -> None:
    order = np.random.default_rng(0).integers(0, N, 400).tolist()
    batches = list(load(records, SMALL, batch_size=3, cache=folder, workers=8, order=order))
    got = np.concatenate([batch.images for batch in batches])
    assert np.array_equal(got, pictures(records, None)[order])
    assert file(folder, "pixels").stat().st_size == len(set(order)) * ROW


FILL = """
import sys, time
from pathlib import Path
import numpy as np
from resight.data.cache import PixelCache
from resight.data.images import content_name, open_image
from resight.data.transforms import Preprocess
from resight.types import Record

pictures, folder, go, seed, out = map(Path, sys.argv[1:])
preprocess = Preprocess(12, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")
records = [Record(path) for path in sorted(pictures.iterdir())]
images = np.zeros((len(records), 3, 12, 8), np.uint8)

def decode(record, image):
    image[:] = preprocess.resize(open_image(record.path))

out.with_suffix(".ready").touch()
while not go.exists():
    time.sleep(0.001)
cache = PixelCache(folder, preprocess)
for chunk in np.array_split(np.random.default_rng(int(str(seed))).permutation(len(records)), 30):
    with cache.in_front_of(decode) as put:
        for row in chunk:
            put(records[row], images[row])
np.save(out, images)
"""


def test_processes_fill_one_cache_at_once(tmp_path: Path, folder: Path, decoded: list[str]) -> None:
    (tmp_path / "pictures").mkdir()
    records = [Record(draw(tmp_path / "pictures" / f"{i:03}.bmp", i)) for i in range(120)]
    outs = [tmp_path / f"{seed}.npy" for seed in range(3)]
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                FILL,
                str(tmp_path / "pictures"),
                str(folder),
                str(tmp_path / "go"),
                out.stem,
                str(out),
            ]
        )
        for out in outs
    ]
    deadline = time.monotonic() + 60
    while not all(out.with_suffix(".ready").exists() for out in outs) and time.monotonic() < deadline:
        time.sleep(0.01)
    (tmp_path / "go").touch()
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    expected = pictures(records, None)
    assert all(np.array_equal(np.load(out), expected) for out in outs)
    assert file(folder, "pixels").stat().st_size == 120 * ROW
    decoded.clear()
    assert np.array_equal(pictures(records, folder), expected)
    assert decoded == []


def content(record: Record) -> str:
    return content_name(hashlib.blake2b(record.path.read_bytes()).digest(), record.box).hex()


def cached_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_a_forgotten_picture_is_in_no_file(
    records: list[Record], folder: Path, decoded: list[str], hashed: list[None]
) -> None:
    other = dataclasses.replace(SMALL, height=16)
    boxed = Record(records[0].path, box=(1, 2, 9, 11))
    shown = {SMALL: pictures([*records, boxed], folder), other: pictures(records, folder, other)}
    gone = [records[2], records[5], boxed]
    names = [content(record) for record in gone]
    assert forget_pictures(folder, {*names, content(Record(records[3].path, box=(0, 0, 1, 1)))}) == 3
    left = cached_bytes(folder)
    for number, record in enumerate([*records, boxed]):
        for images in shown.values():
            if number < len(images):
                assert (images[number].tobytes() in left) == (record not in gone)
    for name in names:
        assert bytes.fromhex(name) not in left
    decoded.clear()
    assert np.array_equal(pictures([*records, boxed], folder), shown[SMALL])
    assert sorted(decoded) == ["0.bmp", "2.bmp", "5.bmp"]
    assert forget_pictures(folder, names) == 3  # they were looked at again
    assert forget_pictures(folder, names) == 0


def test_a_reader_that_is_open_meanwhile_decodes_again(records: list[Record], folder: Path, decoded: list[str]) -> None:
    expected = pictures(records, folder)
    decoded.clear()
    batches = load(records, SMALL, batch_size=1, cache=folder, workers=1)
    first = next(batches).images
    assert forget_pictures(folder, [content(record) for record in records]) == N
    rest = [batch.images for batch in batches]
    assert np.array_equal(np.concatenate([first, *rest]), expected)
    assert decoded


def test_pixels_that_nobody_names_are_overwritten_too(records: list[Record], folder: Path) -> None:
    """A process that is killed between writing pixels and their entry leaves some."""
    assert len(list(load(records, SMALL, batch_size=4, cache=folder, workers=1))) == 3  # in the records' order
    index = file(folder, "index")
    index.write_bytes(index.read_bytes()[: -5 * 24])  # nine pictures, too young for second names
    orphan = pictures(records, None)[8].tobytes()
    assert orphan in cached_bytes(folder)
    assert forget_pictures(folder, [content(records[0])]) == 1
    assert orphan not in cached_bytes(folder)
    assert file(folder, "pixels").stat().st_size == N * ROW


def test_a_damaged_index_makes_nothing_large(records: list[Record], folder: Path) -> None:
    pictures(records, folder)
    name = bytes.fromhex(content(records[0]))
    with file(folder, "index").open("ab") as index:
        index.write(name + (2**31).to_bytes(4, "little") + bytes(4) + b"torn")
    assert forget_pictures(folder, [name.hex()]) == 1
    assert file(folder, "pixels").stat().st_size == N * ROW
    assert name not in cached_bytes(folder)


def test_nothing_to_forget(folder: Path, records: list[Record]) -> None:
    assert forget_pictures(folder, ["00" * 16]) == 0
    assert not folder.exists()
    pictures(records, folder)
    before = cached_bytes(folder)
    assert forget_pictures(folder, []) == forget_pictures(folder, ["00" * 16]) == 0
    assert cached_bytes(folder) == before
    file(folder, "pixels").unlink()
    with pytest.raises(DataError, match=r"pixels: cannot overwrite cached pictures .*Delete the folder"):
        forget_pictures(folder, [content(records[0])])
