"""What sentences find, right and wrong, as one picture that a person looks through."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from PIL import Image, ImageDraw

from resight.contact_sheet import (
    GAP,
    INK,
    LABEL,
    MARGIN,
    MUTED,
    PAPER,
    TEXT,
    TITLE,
    WIDTH,
    lines_of,
    paste_thumbnail,
    save_sheet,
    thumbnail,
    write_line,
)
from resight.data.images import open_image
from resight.examples import N_SHOWN_TO_CAPTION, Match, Ranked
from resight.types import Record

ABOUT = (
    "Captions from the best to the worst by average precision, evenly spaced among all, at most one of an identity. "
    "Each with the picture that it was written for, and then the pictures most similar to it, with their cosine."
)
KEY = {True: "the same identity", False: "another one, or unknown"}
COLOUR = {True: "#1a7f37", False: "#b42318"}
MARK = {True: ((1, 7), (5, 11), (12, 2)), False: ((2, 2), (11, 11), (6.5, 6.5), (11, 2), (2, 11))}  # strokes in 14 × 14
FRAME, APART = 4, 48  # pixels; APART: between the caption's own picture and what it found
DASH, LINE = 12, TEXT + 6
INSIDE = WIDTH - 2 * MARGIN
PLACE = (INSIDE - APART - (N_SHOWN_TO_CAPTION - 1) * GAP) // (N_SHOWN_TO_CAPTION + 1) - 2 * FRAME  # a thumbnail's width
TALLEST = 2 * PLACE


def write_answers(answers: Sequence[Ranked], title: str, path: Path) -> None:
    """Writes `draw_answers` as JPEG. Raises DataError when it cannot be written or a picture cannot be read."""
    save_sheet(draw_answers(answers, title), path)


def draw_answers(answers: Sequence[Ranked], title: str) -> Image.Image:
    """A page, WIDTH wide, with a row for each ranked caption.

    A row: the caption on at most two lines, how well it did, the picture that it was written for, and what it found.
    Right: a solid frame and ✓; wrong: a dashed frame and ✗. The places are as high as half of the pictures need.
    """
    pictures = {
        record: _thumbnail(record)
        for ranked in answers
        for record in (ranked.query, *(match.record for match in ranked.matches))
    }
    shape = median(picture.width / picture.height for picture in pictures.values())
    place = (PLACE, min(max(round(PLACE / shape), PLACE // 4), TALLEST))
    strips = [_head(title), *(_row(ranked, pictures, place) for ranked in answers)]
    sheet = Image.new("RGB", (WIDTH, 2 * MARGIN + sum(strip.height for strip in strips)), PAPER)
    top = MARGIN
    for strip in strips:
        sheet.paste(strip, (MARGIN, top))
        top += strip.height
    return sheet


def _thumbnail(record: Record) -> Image.Image:
    """Small at once: a hundred whole photographs would fill the memory."""
    return thumbnail(open_image(record.path, box=record.box), (PLACE, TALLEST))


def _head(title: str) -> Image.Image:
    about = lines_of(ABOUT, TEXT, INSIDE, 2)
    strip = Image.new("RGB", (INSIDE, TITLE + 8 + (len(about) + 1) * LINE + 24), PAPER)
    pen = ImageDraw.Draw(strip)
    write_line(pen, (0, 0), title, TITLE, INK, INSIDE)
    top = _write_lines(pen, TITLE + 8, about, MUTED)
    for right, left in ((True, 0), (False, INSIDE // 4)):
        _draw_mark(strip, (left, top + 2), right)
        write_line(pen, (left + 20, top), KEY[right], TEXT, MUTED, INSIDE // 4)
    return strip


def _row(ranked: Ranked, pictures: dict[Record, Image.Image], place: tuple[int, int]) -> Image.Image:
    caption = lines_of(f"“{' '.join(ranked.caption.split())}”", TEXT, INSIDE, 2)
    strip = Image.new("RGB", (INSIDE, (len(caption) + 1) * LINE + place[1] + 2 * FRAME + LABEL + 40), PAPER)
    pen = ImageDraw.Draw(strip)
    said = (
        f"first right picture at rank {ranked.first_rank:,}, average precision {100 * ranked.average_precision:.1f} %"
    )
    top = _write_lines(pen, 0, caption, INK)
    top = _write_lines(pen, top, [said], MUTED) + 4
    paste_thumbnail(strip, pictures[ranked.query], (FRAME, top + FRAME), place)
    write_line(pen, (FRAME, top + place[1] + 2 * FRAME + 3), "written for", LABEL, MUTED, PLACE)
    left = PLACE + 2 * FRAME + APART
    for match in ranked.matches:
        _draw_match(strip, (left, top), match, pictures[match.record], place)
        left += PLACE + 2 * FRAME + GAP
    return strip


def _write_lines(pen: ImageDraw.ImageDraw, top: int, lines: Sequence[str], colour: str) -> int:
    """Writes below `top`; where the next line goes."""
    for line in lines:
        write_line(pen, (0, top), line, TEXT, colour, INSIDE)
        top += LINE
    return top


def _draw_match(
    strip: Image.Image, at: tuple[int, int], match: Match, picture: Image.Image, place: tuple[int, int]
) -> None:
    left, top = at
    width, height = place[0] + 2 * FRAME, place[1] + 2 * FRAME
    strip.paste(COLOUR[match.right], (left, top, left + width, top + height))
    if not match.right:
        for start, end in _gaps(width):
            strip.paste(PAPER, (left + start, top, left + end, top + height))
        for start, end in _gaps(height):
            for edge in (left, left + width - FRAME):
                strip.paste(PAPER, (edge, top + start, edge + FRAME, top + end))
    paste_thumbnail(strip, picture, (left + FRAME, top + FRAME), place)
    _draw_mark(strip, (left + FRAME, top + height + 3), match.right)
    pen = ImageDraw.Draw(strip)
    write_line(pen, (left + FRAME + 18, top + height + 3), f"{match.similarity:.3f}", LABEL, INK, PLACE - 18)


def _gaps(length: int) -> list[tuple[int, int]]:
    """Where a dashed line of that length is empty; it begins and ends with a dash."""
    n_gaps = length // (2 * DASH)
    ends = [round(k * length / (2 * n_gaps + 1)) for k in range(2 * n_gaps + 1)]
    return list(zip(ends[1::2], ends[2::2], strict=True))


def _draw_mark(strip: Image.Image, at: tuple[int, int], right: bool) -> None:
    """✓ or ✗; drawn four times as large, so that reducing it smooths its edges."""
    mask = Image.new("L", (56, 56))
    ImageDraw.Draw(mask).line([(4 * x + 2, 4 * y + 2) for x, y in MARK[right]], fill=255, width=10, joint="curve")
    strip.paste(COLOUR[right], at, mask.reduce(4))
