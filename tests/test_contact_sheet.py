"""Clusters as a table and as pages: names, order, what stands where on a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resight import contact_sheet
from resight.contact_sheet import GAP, HEIGHT, MARGIN, TEXT, WIDTH, draw_sheet, lines_of, write_clusters, write_sheets
from resight.data.index import read
from resight.errors import DataError
from resight.types import Record

RED, BLUE = (220, 20, 20), (20, 20, 220)


@pytest.fixture
def records(picture: Callable[..., Path]) -> list[Record]:
    """Nine pictures of 40 × 80, the first five red, the others blue."""
    return [
        Record(picture(f"{k}.png", colour=RED if k < 5 else BLUE, size=(40, 80)), camera="ab"[k % 2], captions=("one",))
        for k in range(9)
    ]


def test_names_go_from_the_largest_cluster_on(records: list[Record], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert write_clusters(records, np.array([0, 1, 1, -1, 2, 1, 2, -1, 0]), out) == [
        "cluster-0001",
        "cluster-0002",
        "cluster-0003",
    ]
    assert sorted(path.name for path in out.iterdir()) == [
        "cluster-0001.jpg",
        "cluster-0002.jpg",
        "cluster-0003.jpg",
        "clusters.csv",
        "outliers.jpg",
    ]
    named = read(out / "clusters.csv").unassigned
    assert [record.identity and record.identity[-1] for record in named] == [*"211", None, *"313", None, "2"]
    assert [record.path for record in named] == [record.path for record in records]
    assert [record.camera for record in named] == [record.camera for record in records]
    assert all(record.captions == ("one",) for record in named)


def test_the_table_is_relative_where_it_can_be(records: list[Record], tmp_path: Path) -> None:
    write_clusters(records, np.zeros(9, np.int64), tmp_path)
    assert (tmp_path / "clusters.csv").read_text().splitlines()[1].startswith("0.png,cluster-0001,a,")
    assert not (tmp_path / "outliers.jpg").exists()


def test_no_cluster_and_no_picture(records: list[Record], tmp_path: Path) -> None:
    assert write_clusters(records, np.full(9, -1), tmp_path) == []
    assert (tmp_path / "outliers.jpg").exists()
    assert write_clusters([], np.empty(0, np.int64), tmp_path) == []


def test_many_pictures_make_several_pages(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "PER_PAGE", 4)
    titles = []
    drawn = draw_sheet

    def noted(shown: list[Record], title: str, about: str) -> Image.Image:
        titles.append((len(shown), title, about))
        return drawn(shown, title, about)

    monkeypatch.setattr(contact_sheet, "draw_sheet", noted)
    write_sheets(records, "outliers", tmp_path)
    about = "9 pictures from 2 cameras: a (5), b (4)"
    assert titles == [
        (4, "outliers, page 1 of 3", about),
        (4, "outliers, page 2 of 3", about),
        (1, "outliers, page 3 of 3", about),
    ]
    for name in ("outliers.jpg", "outliers-2.jpg", "outliers-3.jpg"):
        assert (tmp_path / name).exists()


def test_what_is_known_of_cameras_is_told(records: list[Record]) -> None:
    unknown = Record(records[0].path)
    assert contact_sheet._about([unknown]) == "1 picture"
    assert contact_sheet._about([records[0]]) == "1 picture from 1 camera: a (1)"
    assert contact_sheet._about([records[1], unknown]) == "2 pictures from 1 camera: b (1), unknown (1)"


def test_thumbnails_stand_in_their_order(records: list[Record]) -> None:
    sheet = draw_sheet(records, "two colours", "9 pictures")
    pixels = np.asarray(sheet).astype(int)
    red = (pixels[..., 0] > 180) & (pixels[..., 2] < 60)
    blue = (pixels[..., 2] > 180) & (pixels[..., 0] < 60)
    for mask, n, first in ((red, 5, 0), (blue, 4, 5)):
        columns = np.flatnonzero(mask.any(axis=0))
        assert columns.min() == pytest.approx(MARGIN + first * (80 + GAP), abs=2)
        assert columns.max() == pytest.approx(MARGIN + (first + n) * (80 + GAP) - GAP - 1, abs=2)
        rows = np.flatnonzero(mask.any(axis=1))
        assert rows.max() - rows.min() == pytest.approx(HEIGHT - 1, abs=2)
    assert sheet.width < WIDTH


@pytest.mark.parametrize("size", [(2, 90), (90, 2), (300, 300), (2000, 2)])
def test_odd_shapes_and_long_names_stay_on_the_page(picture: Callable[..., Path], size: tuple[int, int]) -> None:
    many = [Record(picture("x.png", size=size), camera="camera\n" * 30) for _ in range(25)]
    sheet = draw_sheet(many, "title " * 100, "about " * 200)
    assert sheet.width <= WIDTH
    edge = np.concatenate([np.asarray(sheet)[:, -MARGIN + 2 :].ravel(), np.asarray(sheet)[:MARGIN].ravel()])
    assert (edge == 255).all()


def test_text_is_broken_at_spaces_and_its_end_left_out() -> None:
    font = contact_sheet._font(TEXT)
    words = " ".join(f"word{k}" for k in range(60))
    one, two, three = (lines_of(words, TEXT, 400, n) for n in (1, 2, 3))
    assert [len(lines) for lines in (one, two, three)] == [1, 2, 3]
    for lines in (one, two, three):
        assert all(300 < font.getlength(line) <= 400 for line in lines)
        assert words.startswith(" ".join(lines).removesuffix("…"))
        assert lines[-1].endswith("…")
    assert three[0] == two[0]
    assert all(line.split()[-1] in words.split() for line in three[:2])
    assert lines_of("short", TEXT, 400, 2) == ["short"]
    assert " ".join(lines_of(words, TEXT, 400, 99)) == words


def test_text_without_spaces_is_broken_anywhere() -> None:
    first, second = lines_of("x" * 200, TEXT, 400, 2)
    assert set(first) == {"x"}
    assert set(second) == {"x", "…"}
    assert "".join(lines_of("x" * 100, TEXT, 400, 9)) == "x" * 100
    assert lines_of("xx", TEXT, 1, 1) == ["…"]


def test_a_box_is_cut_out(tmp_path: Path) -> None:
    halves = Image.new("RGB", (100, 100), RED)
    halves.paste(BLUE, (50, 0, 100, 100))
    halves.save(tmp_path / "halves.png")
    sheet = np.asarray(draw_sheet([Record(tmp_path / "halves.png", box=(60, 0, 100, 100))], "blue", "")).astype(int)
    assert not ((sheet[..., 0] > 180) & (sheet[..., 1] < 60)).any()


def test_a_page_that_cannot_be_written_says_so(records: list[Record], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.jpg: cannot be written .*Free the disk or name another place"):
        write_sheets(records, "x", tmp_path / "nowhere")
