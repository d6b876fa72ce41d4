"""A gallery's folder, beside its rows: what it says of itself, one writer at a time, and one clear line on failure."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resight.errors import GalleryError, NoGalleryError
from resight.gallery.rows import About

if sys.platform != "win32":
    import fcntl

FORMAT = 1
NOTE = "gallery.json"
LOCK = "writing.lock"
PATIENCE = 60.0
"""Seconds that a writer waits for another one."""


def read_note(folder: Path) -> About:
    """Raises NoGalleryError when the folder holds none, GalleryError for a damaged one, or one of another format."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        if note.pop("format") != FORMAT:
            raise GalleryError(f"{folder}: is a gallery of another format. Use the version of resight that made it.")
        return About(**note)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoGalleryError(f"{folder}: is no gallery. Make one with `resight gallery create`.") from error
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise GalleryError(f"{folder / NOTE}: cannot be read ({error}). Restore the gallery from a copy.") from error


def write_note(folder: Path, about: About) -> None:
    write_whole(folder / NOTE, json.dumps({"format": FORMAT, **dataclasses.asdict(about)}, indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """On the disk, in place of what was there, or not at all."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        _keep(new)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    _keep(path.parent)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Inside, nobody else writes; what was written inside is kept through a power cut once this ends.

    Raises GalleryError when somebody else writes for longer than PATIENCE, and as `clearly` does.
    """
    with clearly(folder, "cannot be written"), (folder / LOCK).open("a") as lock:
        _wait_for(lock.fileno(), folder)
        before = files(folder)
        yield
        keep(files(folder) - before)


def _wait_for(lock: int, folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if sys.platform != "win32":  # there LanceDB alone keeps writers apart: the later commit is refused
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise GalleryError(
                    f"{folder}: another program has been writing to it for {PATIENCE:.0f} s. Try again when it is done."
                ) from error
            time.sleep(0.01)


def files(folder: Path) -> set[str]:
    return {os.path.join(place, name) for place, _, names in os.walk(folder) for name in names}


def keep(paths: set[str]) -> None:
    """Hands files and their folders to the disk: LanceDB leaves that to the operating system."""
    for path in paths | {os.path.dirname(path) for path in paths}:
        _keep(Path(path))


def _keep(path: Path) -> None:
    if sys.platform == "win32":
        return  # there only what is open for writing can be handed over
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def clearly(folder: Path, failing: str) -> Iterator[None]:
    """Turns what Python, Arrow and LanceDB raise inside into GalleryError. failing: what could not be done."""
    try:
        yield
    except GalleryError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise GalleryError(f"{folder}: {failing} ({_brief(error)}). {_advice(str(error))}") from error


def _brief(error: Exception) -> str:
    """The first sentence: LanceDB goes on with places in its own source."""
    text = " ".join(str(error).split())
    return re.split(r", \S+\.rs:\d+|, location:", text)[0][:200]


def _advice(text: str) -> str:
    for words, advice in (
        ("No space left|os error 28|Disk quota", "Free some space; nothing that was stored is lost."),
        ("Permission denied|Read-only|os error 13|os error 30", "Give yourself the right to write there."),
        ("not found|No such file|Not found", "A part of it is missing: restore the gallery from a copy."),
    ):
        if re.search(words, text):
            return advice
    return "It may be damaged: restore the gallery from a copy."
