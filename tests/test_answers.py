"""The picture of what sentences find: what stands where, and that nothing strange breaks it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from resight.answers import APART, COLOUR, FRAME, PLACE, draw_answers, write_answers
from resight.contact_sheet import GAP, MARGIN, WIDTH
from resight.errors import DataError
from resight.examples import Match, Ranked
from resight.types import Record

BLUE, GREY = (20, 20, 220), (128, 128, 128)
STEP = PLACE + 2 * FRAME + GAP
FIRST = MARGIN + PLACE + 2 * FRAME + APART  # left edge of the first match's frame


@pytest.fixture
def ranked(picture: Callable[..., Path]) -> Ranked:
    """A blue picture's caption; of its eight grey matches the second and the third are right."""
    size = (40, 80)
    matches = [
        Match(Record(picture(f"{k}.png", colour=GREY, size=size)), 0.9 - k / 10, k in (1, 2), k + 1) for k in range(8)
    ]
    own = Record(picture("own.png", colour=BLUE, size=size), "p")
    return Ranked(own, 0.58, 2, tuple(matches), "a person in blue")


def pixels(*answers: Ranked) -> np.ndarray:
    return np.asarray(draw_answers(answers, "an encoder on people, test")).astype(int)


def near(image: np.ndarray, colour: tuple[int, ...], tolerance: int = 24) -> np.ndarray:
    return np.asarray(np.all(np.abs(image - np.array(colour)) <= tolerance, axis=-1))


def test_a_row_shows_the_caption_s_picture_then_what_it_found(ranked: Ranked) -> None:
    image = pixels(ranked)
    assert image.shape[1] == WIDTH
    blue = np.flatnonzero(near(image, BLUE).any(axis=0))
    assert (blue.min(), blue.max()) == (MARGIN + FRAME, MARGIN + FRAME + PLACE - 1)
    rows = np.flatnonzero(near(image, BLUE).any(axis=1))
    assert len(rows) == 2 * PLACE  # 40 x 80, as all the others
    middle = image[rows[len(rows) // 2]]
    for k in range(8):
        left = FIRST + k * STEP + FRAME
        assert near(middle[left : left + PLACE], GREY, 40).all()
    assert near(middle[FIRST + 7 * STEP + 2 * FRAME + PLACE :], (255, 255, 255)).all()


def test_right_and_wrong_differ_by_frame_and_by_mark(ranked: Ranked) -> None:
    image = pixels(ranked)
    rows = np.flatnonzero(near(image, BLUE).any(axis=1))
    top, bottom = rows[0] - FRAME, rows[-1] + FRAME
    marks: dict[bool, np.ndarray] = {}
    for k, match in enumerate(ranked.matches):
        left = FIRST + k * STEP
        right = left + PLACE + 2 * FRAME - 1
        edges = [
            image[top : bottom + 1, left + 1],
            image[top : bottom + 1, right - 1],
            image[top + 1, left : right + 1],
            image[bottom - 1, left : right + 1],
        ]
        colour = ImageColor.getrgb(COLOUR[match.right])
        shares = [near(edge, colour, 0).mean() for edge in edges]
        assert all(share == 1 if match.right else 0.4 < share < 0.7 for share in shares)
        assert all(near(edge[[0, -1]], colour, 0).all() for edge in edges)  # corners are whole
        mark = image[bottom + 4 : bottom + 18, left + FRAME : left + FRAME + 14].astype(np.uint8)
        marks.setdefault(match.right, np.asarray(Image.fromarray(mark).convert("L")))
        assert near(mark, colour, 40).any()
    assert np.abs(marks[True].astype(int) - marks[False]).max() > 100


def test_a_caption_takes_two_lines_at_most(ranked: Ranked) -> None:
    heights = []
    for caption in ("short", "of two lines " * 15, "much too long " * 500, "unbroken" * 500, "a\n\n\nb\x1b[31m 一 😀"):
        image = draw_answers([Ranked(ranked.query, 1.0, 1, ranked.matches, caption)], "title " * 100)
        edges = np.asarray(image)[:, [*range(MARGIN - 4), *range(WIDTH - MARGIN + 4, WIDTH)]]
        assert (edges == 255).all()
        heights.append(image.height)
    assert heights[0] == heights[4] < heights[1] == heights[2] == heights[3]


def test_a_box_is_cut_out_and_a_short_list_is_no_trouble(tmp_path: Path) -> None:
    halves = Image.new("RGB", (100, 100), (220, 20, 20))
    halves.paste(BLUE, (50, 0, 100, 100))
    halves.save(tmp_path / "halves.png")
    record = Record(tmp_path / "halves.png", "p", box=(60, 0, 100, 100))
    image = pixels(Ranked(record, 1.0, 1, (Match(record, 0.5, True, 1),), "blue"))
    assert not ((image[..., 0] > 200) & (image[..., 1] < 30)).any()
    assert near(image, BLUE).any()


@pytest.mark.parametrize("size", [(2000, 2), (2, 2000), (1, 1)])
def test_needles_are_drawn(picture: Callable[..., Path], size: tuple[int, int]) -> None:
    record = Record(picture("needle.png", size=size), "p")
    image = draw_answers([Ranked(record, 1.0, 1, (Match(record, 1.0, True, 1),), "thin")] * 2, "needles")
    assert image.height < 1000


def test_it_is_written_as_jpeg_or_says_why_not(ranked: Ranked, tmp_path: Path) -> None:
    write_answers([ranked], "title", tmp_path / "answers.jpg")
    with Image.open(tmp_path / "answers.jpg") as image:
        assert (image.format, image.width) == ("JPEG", WIDTH)
    with pytest.raises(DataError, match=r"answers\.jpg: cannot be written .*Free the disk or name another place"):
        write_answers([ranked], "title", tmp_path / "nowhere" / "answers.jpg")
    ranked.query.path.unlink()
    with pytest.raises(DataError, match=r"own\.png"):
        write_answers([ranked], "title", tmp_path / "answers.jpg")
