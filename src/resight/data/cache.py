"""Pictures decoded and resized once, kept on disk for any number of threads and processes.

The folder can be deleted at any time; only a run that is just writing to it may stop with an error. Each size,
interpolation and background has its own files: `NAME.pixels`, rows of 3·H·W bytes, and `NAME.index`, entries of 24
bytes: a picture's name, its row, and a checksum over name and pixels. Both only grow. A picture has two names: one from
its file's content and its box; and, to save reading the file, one from its path, stat and box. An entry is believed
only while its checksum holds, so no damage, and no second process that writes at the same time, can hand out wrong
pixels: what is not believed is decoded again and appended. Rows are read rather than mapped: it is as fast, and reading
a mapped file that was cut short would kill the process. A cache takes 3·H·W bytes for every picture it has ever seen:
98 kB at 256×128.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import os
import re
import sys
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resight.data.images import content_name
from resight.data.transforms import Preprocess
from resight.errors import DataError
from resight.types import Record

_FORMAT = 1
"""Part of the file names; to be raised when entries change, or the pixels that decoding gives."""

_ENTRY = np.dtype([("name", "V16"), ("row", "<u4"), ("check", "<u4")])

_SETTLED = 2.0
"""Seconds. A file that changed more recently could change again and keep its stat: file systems' clocks are coarse."""

Put = Callable[[Record, NDArray[np.uint8]], None]
"""Puts a record's picture into uint8 [3, H, W]."""

_File = io.FileIO | io.BytesIO


@dataclass(frozen=True, slots=True)
class _Addition:
    """A picture to be appended, or (hit) one that is there already and gets its second name.

    shortcut: None while the file is too young. seen: what the cache had under `content`: nothing, or damaged.
    """

    image: NDArray[np.uint8]
    content: bytes
    shortcut: bytes | None
    hit: bool
    seen: tuple[int, int] | None


class PixelCache:
    """Resized pictures of one Preprocess on disk, shared by any number of threads and processes."""

    def __init__(self, folder: Path, preprocess: Preprocess) -> None:
        colour = bytes(preprocess.background).hex()
        name = f"{preprocess.height}x{preprocess.width}-{preprocess.interpolation}-{colour}-v{_FORMAT}"
        self._folder = folder
        self._pixels, self._index, self._lock = (folder / f"{name}.{kind}" for kind in ("pixels", "index", "lock"))
        self._row_size = 3 * preprocess.height * preprocess.width
        self._entries: dict[bytes, tuple[int, int]] = {}
        self._n_read = 0
        self._read_new_entries()

    @contextmanager
    def in_front_of(self, decode: Put) -> Iterator[Put]:
        """decode, but for pictures that are there; what had to be decoded is appended on leaving."""
        additions: list[_Addition] = []
        with ExitStack() as stack:

            @functools.cache
            def pixels() -> _File:  # opened with an entry at hand: the file is older than that, if not than this line
                file = _opened(self._pixels)
                stack.callback(file.close)
                return file

            yield lambda record, image: additions.extend(self._put(record, image, pixels, decode))
        if additions:
            self._append(additions)

    def _put(
        self, record: Record, image: NDArray[np.uint8], pixels: Callable[[], _File], decode: Put
    ) -> tuple[_Addition, ...]:
        if not record.path.is_file():  # a pipe would be waited for
            decode(record, image)  # says what is wrong with it
            return ()
        stat = _stat(record.path)
        shortcut = _name(str(record.path), stat, record.box)
        if self._read(shortcut, image, pixels):
            return ()
        settled = bool(stat) and time.time() - max(stat[1:3]) / 1e9 > _SETTLED
        try:
            with record.path.open("rb") as file:
                content = content_name(hashlib.file_digest(file, "blake2b").digest(), record.box)
        except OSError:
            decode(record, image)  # says what is wrong with the file
            return ()
        seen = self._entries.get(content)
        hit = self._read(content, image, pixels)
        if not hit:
            decode(record, image)
        if not stat or _stat(record.path) != stat:
            return ()  # someone is writing to the file: nobody knows which content was decoded
        return (_Addition(image, content, shortcut if settled else None, hit, seen),) if settled or not hit else ()

    def _read(self, name: bytes, image: NDArray[np.uint8], pixels: Callable[[], _File]) -> bool:
        if name not in self._entries:
            return False
        row, check = self._entries[name]
        try:
            pixels().seek(row * self._row_size)
            return pixels().readinto(image.data) == self._row_size and _check(name, image) == check
        except OSError:
            return False

    def _append(self, additions: Sequence[_Addition]) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may show people: for its owner only
            with _locked(self._lock):
                self._read_new_entries()
                fresh = {a.content: a.image for a in additions if not a.hit and self._entries.get(a.content) == a.seen}
                first = _append(self._pixels, [image.tobytes() for image in fresh.values()], self._row_size)
                rows = dict(zip(fresh, itertools.count(first), strict=False))
                entries = [
                    (name, rows[a.content] if a.content in rows else self._entries[a.content][0], _check(name, a.image))
                    for a in additions
                    for name in (a.content, a.shortcut)
                    if name is not None
                ]
                _append(self._index, [np.array(entries, _ENTRY).tobytes()], _ENTRY.itemsize)
                self._read_new_entries()
        except OSError as error:
            raise DataError(
                f"{error.filename or self._folder}: cannot write the cache of decoded pictures ({error.strerror}). "
                "Make room or make it writable, name another folder in RESIGHT_CACHE, or load without a cache."
            ) from error

    def _read_new_entries(self) -> None:
        with _opened(self._index) as file:
            file.seek(self._n_read * _ENTRY.itemsize)
            data = file.read()
        table = np.frombuffer(data, _ENTRY, count=len(data) // _ENTRY.itemsize)
        places = zip(table["row"].tolist(), table["check"].tolist(), strict=True)
        self._entries.update(zip(table["name"].tolist(), places, strict=True))
        self._n_read += len(table)


def forget_pictures(folder: Path, contents: Collection[str]) -> int:
    """Overwrites what the cache has of pictures, at every size, so that no pixel of them stays; how many there were.

    contents: `content_name` of each, as hexadecimal digits. Pixels that no entry names, of a process that was killed as
    it wrote, are overwritten too: nobody knows whose they are. Other processes may go on using the cache. Raises
    DataError when it cannot be written.
    """
    names = {bytes.fromhex(content) for content in contents}
    found: set[bytes] = set()
    try:
        for index in sorted(folder.glob(f"*-v{_FORMAT}.index")) if names else ():
            found |= _overwrite(index, names)
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot overwrite cached pictures ({error.strerror}). Delete the folder."
        ) from error
    return len(found)


def _overwrite(index: Path, names: set[bytes]) -> set[bytes]:
    """Puts zeros in place of the pictures' entries and pixels; whose there were."""
    height, width = map(int, re.findall("[0-9]+", index.name)[:2])
    size = 3 * height * width
    place = index.with_suffix
    with _locked(place(".lock")), index.open("r+b") as entries, place(".pixels").open("r+b") as pixels:
        data = entries.read()
        table = np.frombuffer(data, _ENTRY, count=len(data) // _ENTRY.itemsize)
        pairs = zip(table["name"].tolist(), table["row"].tolist(), strict=True)
        named = [(name, row) for name, row in pairs if any(name)]
        theirs = {row for name, row in named if name in names}
        every = range(-(-pixels.seek(0, os.SEEK_END) // size))
        for row in sorted(theirs.intersection(every) | set(every) - {row for _, row in named}):
            pixels.seek(row * size)
            pixels.write(bytes(size))
        for entry in np.flatnonzero(np.isin(table["row"], [*theirs])).tolist():
            entries.seek(entry * _ENTRY.itemsize)
            entries.write(bytes(_ENTRY.itemsize))
        for file in (pixels, entries):
            file.flush()
            os.fsync(file.fileno())
    return {name for name, _ in named} & names


def _name(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()


def _check(name: bytes, image: NDArray[np.uint8]) -> int:
    return zlib.crc32(image.data, zlib.crc32(name))


def _stat(path: Path) -> tuple[int, ...]:
    """Size, times of change in ns and number of a file, which change when its content does; () where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _opened(path: Path) -> _File:
    """A file to read from; an empty one where it cannot be opened."""
    try:
        return path.open("rb", buffering=0)
    except OSError:
        return io.BytesIO()


def _append(path: Path, units: Sequence[bytes], size: int) -> int:
    """Number of the first of these units of `size` bytes in the file, where they now are; a torn end is filled up."""
    with path.open("ab") as file:
        end = file.seek(0, os.SEEK_END)
        first = -(-end // size)
        file.write(bytes(first * size - end) + b"".join(units))
    return first


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keeps others who lock the same path, threads or processes, waiting; ends when the file is closed."""
    with path.open("ab") as file:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
