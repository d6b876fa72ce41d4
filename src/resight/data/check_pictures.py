"""Opens every picture of a data set once, keeps little of each, and says which are no good and what was converted."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from resight.data.copies import Look, look
from resight.data.findings import Finding, found, missing_by_folder, picture, place
from resight.data.images import MAX_PIXELS, Box, Kind, PictureError, Trait, crop, decode
from resight.types import Record

MIN_SIDE = 16  # pixels; a patch of ViT-B/16
CHUNK = 32  # files that one call of a thread opens


@dataclass(frozen=True, slots=True)
class View:
    """One box of a picture, or the whole. side: the shorter, pixels. cut: the box reaches a pixel or more beyond it."""

    side: int
    cut: bool
    look: Look


@dataclass(frozen=True, slots=True)
class File:
    """A file. problem: why nothing came of it, or None. views: one a box, None for a box with nothing inside."""

    problem: Kind | None
    traits: tuple[Trait, ...] = ()
    views: Mapping[Box | None, View | None] = field(default_factory=dict)


def open_all(
    records: Iterable[Record], workers: int | None, progress: Callable[[int, int], None] | None
) -> dict[Path, File]:
    """Every file of the records, opened once for all its boxes, by a pool of threads; decoding lets go of the GIL."""
    boxes: dict[Path, dict[Box | None, None]] = {}
    for record in records:
        boxes.setdefault(record.path, {})[record.box] = None
    paths = list(boxes)
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]

    def opened(chunk: Sequence[Path]) -> list[File]:
        return [_open(path, boxes[path]) for path in chunk]

    files: dict[Path, File] = {}
    with warnings.catch_warnings(), ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        warnings.filterwarnings("ignore", module="PIL")  # on odd metadata; what matters comes back as a problem
        for chunk, done in zip(chunks, pool.map(opened, chunks), strict=True):
            files.update(zip(chunk, done, strict=True))
            if progress:
                progress(len(files), len(paths))
    return files


def _open(path: Path, boxes: Iterable[Box | None]) -> File:
    try:
        image, traits = decode(path)
    except PictureError as error:
        return File(error.kind)
    views: dict[Box | None, View | None] = {}
    for box in boxes:
        try:
            part = image if box is None else crop(image, box, path)
        except PictureError:
            views[box] = None
            continue
        beyond = () if box is None else (-box[0], -box[1], box[2] - image.width, box[3] - image.height)
        cut = any(pixels >= 1 for pixels in beyond)
        views[box] = View(min(part.size), cut, look(part))
    return File(None, traits, views)


PROBLEMS: Mapping[Kind, tuple[str, str]] = {
    "unreadable": ("files that cannot be read", "Check their permissions, and the disk."),
    "empty": ("empty files", "They have 0 bytes. Copy them again, or take them off the list."),
    "not a picture": ("files that are no picture", "Save them as JPEG or PNG, or take them off the list."),
    "damaged": ("damaged pictures", "They are cut short or broken inside. Copy them again, or take them off the list."),
    "too large": (
        "pictures that are too large",
        f"At most {MAX_PIXELS:,} pixels are read. Scale them down, or cut them.",
    ),
}

TRAITS: Mapping[Trait, tuple[str, str]] = {
    "alpha": ("pictures with transparency", "They are laid on white."),
    "palette": ("pictures with a palette", "They are turned into RGB."),
    "grey": ("grey pictures", "Their grey becomes red, green and blue."),
    "16 bit": (
        "pictures of 16 bits or more",
        "They are scaled to 8 bits by 1/257. Those that use little of the range come out dark: stretch them before.",
    ),
    "CMYK": ("CMYK pictures", "They are turned into RGB without a colour profile."),
    "rotated": ("pictures that EXIF says to turn", "They are turned; boxes are taken in the upright picture."),
    "several frames": ("pictures of several frames", "The first frame is taken."),
}


def check_files(files: Mapping[Path, File], root: Path) -> Iterator[Finding]:
    """What prevents a file from being used, and what was converted."""
    missing = [path for path, file in files.items() if file.problem == "missing"]
    if missing:
        advice = f"The first is {place(missing[0], root)}. Copy the pictures there, or take them off the list."
        yield Finding("missing files", "fault", len(missing), missing_by_folder(missing, files, root), advice)
    for problem, (kind, advice) in PROBLEMS.items():
        cases = [place(path, root) for path, file in files.items() if file.problem == problem]
        yield from found(kind, "fault", cases, advice)
    for trait, (kind, advice) in TRAITS.items():
        cases = [place(path, root) for path, file in files.items() if trait in file.traits]
        yield from found(kind, "note", cases, advice)


def check_pictures(files: Mapping[Path, File], records: Sequence[Record], root: Path) -> Iterator[Finding]:
    """What is wrong with boxes, sizes and contents."""
    whole = {(record.path, record.box): picture(record, root) for record in records if not files[record.path].problem}
    views = [(name, files[path].views[box]) for (path, box), name in whole.items()]
    advice = "Nothing of the picture is inside. Boxes are x1 y1 x2 y2 in pixels of the upright picture: correct them."
    yield from found("boxes outside their picture", "fault", [name for name, view in views if view is None], advice)
    advice = "What lies beyond the edge is cut off. Many of them: the boxes may be meant for another size."
    yield from found("boxes beyond the edge", "note", [name for name, view in views if view and view.cut], advice)
    advice = f"Less than {MIN_SIDE} pixels high or wide; there is little to recognise."
    yield from found(
        "very small pictures", "note", [name for name, view in views if view and view.side < MIN_SIDE], advice
    )
    advice = "They have one colour, near enough, and show nothing. Look at them, or take them off the list."
    yield from found("blank pictures", "note", [name for name, view in views if view and view.look.blank], advice)
