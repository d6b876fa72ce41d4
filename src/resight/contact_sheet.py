"""Clusters as files that a person looks through: a table, and pages of thumbnails for each cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import takewhile
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from resight.data.images import open_image
from resight.data.index import write_index
from resight.data.records import printable
from resight.errors import DataError
from resight.types import Record

PER_PAGE = 120  # thumbnails
WIDTH, MARGIN, GAP = 1280, 24, 10  # pixels, as all below
HEIGHT = 160  # of a thumbnail
NARROWEST, WIDEST = 80, 240  # place of a thumbnail; narrower has no room for a camera's name
TITLE, TEXT, LABEL = 24, 16, 12  # letters
PAPER, INK, MUTED, PLACE = "#ffffff", "#1b1f24", "#57606a", "#f1f3f5"


def write_clusters(records: Sequence[Record], labels: NDArray[np.int64], folder: Path) -> list[str]:
    """Writes clusters.csv, cluster-0001.jpg, … from the largest cluster on, and outliers.jpg; the clusters' names.

    labels [N], one a record: numbers, -1 is an outlier. The table is an index of the records whose identity is the
    cluster's name, none for an outlier. Of more than PER_PAGE pictures further pages are named cluster-0001-2.jpg, ….
    Raises DataError when a file cannot be written or a picture cannot be read.
    """
    sizes = np.bincount(labels[labels >= 0])
    order = [int(label) for label in np.argsort(-sizes, kind="stable") if sizes[label]]
    digits = max(4, len(str(len(order))))
    names = {label: f"cluster-{number:0{digits}}" for number, label in enumerate(order, 1)}
    named = [replace(record, identity=names.get(int(label))) for record, label in zip(records, labels, strict=True)]
    write_index(named, folder / "clusters.csv")
    for label, name in {**names, -1: "outliers"}.items():
        members = [records[row] for row in np.flatnonzero(labels == label).tolist()]
        if members:
            write_sheets(sorted(members, key=_by_camera), name, folder)
    return list(names.values())


def _by_camera(record: Record) -> tuple[bool, str]:
    return record.camera is None, record.camera or ""


def write_sheets(records: Sequence[Record], name: str, folder: Path) -> None:
    """Writes the records' thumbnails in their order on pages name.jpg, name-2.jpg, …."""
    n_pages = -(-len(records) // PER_PAGE)
    for page in range(n_pages):
        path = folder / (f"{name}-{page + 1}.jpg" if page else f"{name}.jpg")
        shown = records[page * PER_PAGE : (page + 1) * PER_PAGE]
        title = f"{name}, page {page + 1} of {n_pages}" if n_pages > 1 else name
        save_sheet(draw_sheet(shown, title, _about(records)), path)


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Writes a page as JPEG. Raises DataError when it cannot be written."""
    try:
        sheet.save(path, quality=88)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}). Free the disk or name another place.") from error


def _about(records: Sequence[Record]) -> str:
    """How many pictures, and from which cameras."""
    count = f"{len(records):,} picture{'s' if len(records) > 1 else ''}"
    cameras = Counter(record.camera for record in records if record.camera is not None)
    if not cameras:
        return count
    each = [f"{camera} ({n:,})" for camera, n in sorted(cameras.items())]
    if n_unknown := len(records) - cameras.total():
        each.append(f"unknown ({n_unknown:,})")
    return f"{count} from {len(cameras):,} camera{'s' if len(cameras) > 1 else ''}: {', '.join(each)}"


def draw_sheet(records: Sequence[Record], title: str, about: str) -> Image.Image:
    """A page of the records' pictures under a title and a line; where cameras are known each has its camera's name."""
    pictures = [open_image(record.path, box=record.box) for record in records]
    return lay_out(pictures, [record.camera or "" for record in records], title, about)


def lay_out(pictures: Sequence[Image.Image], labels: Sequence[str], title: str, about: str) -> Image.Image:
    """A page of at least one picture under a title and a line, each picture with its label below it.

    WIDTH wide, less where all pictures fit into one row. The places are as wide as half of the pictures need.
    """
    shape = median(picture.width / picture.height for picture in pictures)
    place = (round(min(max(shape * HEIGHT, NARROWEST), WIDEST)), HEIGHT)
    line = LABEL + 8 if any(labels) else 0
    step = (place[0] + GAP, place[1] + line + GAP)
    columns = (WIDTH - 2 * MARGIN + GAP) // step[0]
    n_rows = -(-len(pictures) // columns)
    top = MARGIN + TITLE + 8 + TEXT + 20
    width = 2 * MARGIN - GAP + step[0] * min(columns, max(len(pictures), -(-480 // step[0])))  # room for the title
    sheet = Image.new("RGB", (width, top + n_rows * step[1] - GAP + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    write_line(pen, (MARGIN, MARGIN), title, TITLE, INK, width - 2 * MARGIN)
    write_line(pen, (MARGIN, MARGIN + TITLE + 8), about, TEXT, MUTED, width - 2 * MARGIN)
    for k, (label, picture) in enumerate(zip(labels, pictures, strict=True)):
        left, upper = MARGIN + k % columns * step[0], top + k // columns * step[1]
        paste_thumbnail(sheet, picture, (left, upper), place)
        if label:
            write_line(pen, (left, upper + place[1] + 3), label, LABEL, MUTED, place[0])
    return sheet


def paste_thumbnail(sheet: Image.Image, picture: Image.Image, at: tuple[int, int], place: tuple[int, int]) -> None:
    """Puts the picture, whole, in the middle of a place of that width and height; at: its upper left corner."""
    small = thumbnail(picture, place)
    sheet.paste(PLACE, (*at, at[0] + place[0], at[1] + place[1]))
    sheet.paste(small, (at[0] + (place[0] - small.width) // 2, at[1] + (place[1] - small.height) // 2))


def thumbnail(picture: Image.Image, place: tuple[int, int]) -> Image.Image:
    """The whole picture, as large as a place of that width and height allows; the thinnest is a pixel wide."""
    scale = min(place[0] / picture.width, place[1] / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def write_line(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: str, width: int) -> None:
    """One line of text, with its end left out where it is wider than `width`."""
    (line,) = lines_of(text, size, width, 1)
    pen.text(at, line, fill=colour, font=_font(size))


def lines_of(text: str, size: int, width: int, n_lines: int) -> list[str]:
    """The text on at most n_lines, broken at spaces where it has any; an end that does not fit is left out with ….

    size: of the letters; width: of a line, in pixels.
    """
    font = _font(size)
    rest = printable(text)
    lines: list[str] = []
    while font.getlength(rest) > width:
        tail = "…" if len(lines) == n_lines - 1 else ""
        lengths = (font.getlength(f"{rest[:n]}{tail}") for n in range(1, len(rest)))
        fitting = sum(1 for _ in takewhile(lambda length: length <= width, lengths))
        if tail:
            return [*lines, f"{rest[:fitting].rstrip()}{tail}"]
        end = rest.rfind(" ", 0, fitting + 1)
        end = end if end > 0 else max(1, fitting)
        lines.append(rest[:end])
        rest = rest[end:].lstrip()
    return [*lines, rest]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
