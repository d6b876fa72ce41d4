"""The page of label faults: what it says, how large it is, and that a person decides on it by keys, offline."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resight.audit import page as pages
from resight.audit.faults import COLUMNS, Fault, read_decisions, table_rows
from resight.audit.page import write_page
from resight.errors import DataError
from resight.types import Record

RED, BLUE = (220, 20, 20), (20, 20, 220)


@pytest.fixture
def faults(picture: Callable[..., Path]) -> list[Fault]:
    """One of each kind; names and captions hold what must be escaped."""
    red = [Record(picture(f"r{k}.png", colour=RED), "<1>", "a") for k in range(3)]
    blue = [Record(picture(f"b&{k}.png", colour=BLUE), "2") for k in range(3)]
    beside = (("identity <1>", tuple(red)), ("identity 2", tuple(blue)))
    return [
        Fault("wrong identity", 0.999, (red[0],), ("<1>", "2"), "likeness 0.1 & 0.9", beside=beside),
        Fault("same individual", 0.8, tuple(blue), ("<1>", "2"), "as alike", beside=beside),
        Fault("two individuals", 0.7, (red[1], red[2]), ("<1>", "<1>-2"), "apart", beside=beside),
        Fault("copy across splits", 0.97, (red[0],), ("<1>", "2"), "in train", beside=(("in test", (blue[0],)),)),
        Fault("wrong caption", 0.96, (red[0], blue[0]), ("<1>", "2"), "fits", "</script><b>x", beside=beside),
        Fault("shared caption", 0.5, (red[0], blue[0]), ("<1>", "2"), "both", 'a "person", twice', beside=beside),
    ]


def write(faults: list[Fault], folder: Path) -> Path:
    write_page(faults, folder, folder / "audit.html", name="farm & co", about="six", notes=["a <note>"])
    return folder / "audit.html"


def test_the_page_says_what_was_found(faults: list[Fault], tmp_path: Path) -> None:
    text = write(faults, tmp_path).read_text()
    for said in (
        "Label faults of farm &amp; co",
        "a &lt;note&gt;",
        "over 99 % sure",
        "likeness 0.1 &amp; 0.9",
        "Merge 2 into &lt;1&gt;",
        "Move 2 pictures to &lt;1&gt;-2",
        "Leave this picture out",
        "Leave it out at all 2 pictures",
        "Move the caption to the other picture",
        "“&lt;/script&gt;&lt;b&gt;x”",
        "this picture: &lt;1&gt;",
        'title="r0.png, camera a"',
    ):
        assert said in text
    assert text.count("<article") == 6
    rows = json.loads(re.search(r'id="rows" type="application/json">(.*?)</script>', text)[1])  # type: ignore[index]
    assert rows == table_rows(faults, tmp_path)
    pictures = json.loads(re.search(r'id="pictures" type="application/json">(.*?)</script>', text)[1])  # type: ignore[index]
    assert len(pictures) == 6  # each once, however often it is shown
    assert all(source.startswith("data:image/jpeg;base64,") for source in pictures)
    assert not re.search(r"(https?:)?//[a-z]", text.split("<script>")[0])


def test_many_pictures_are_drawn_smaller(faults: list[Fault], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write(faults, tmp_path).stat().st_size
    monkeypatch.setattr(pages, "LARGEST", 6_500)
    assert write(faults, tmp_path).stat().st_size < whole
    width, height = map(int, re.search(r'width="(\d+)" height="(\d+)"', (tmp_path / "audit.html").read_text()).groups())  # type: ignore[union-attr]
    assert max(width, height) < pages.SIZES[0][0]


@pytest.mark.slow
def test_two_hundred_faults_stay_below_five_megabytes(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    faults = []
    for k in range(200):
        own = []
        for j in range(9):
            noise = generator.integers(0, 256, (32, 16, 3)).astype(np.uint8)
            Image.fromarray(noise).resize((64, 128)).save(tmp_path / f"{k}-{j}.png")
            own.append(Record(tmp_path / f"{k}-{j}.png", str(k)))
        beside = (("one", tuple(own[1:5])), ("other", tuple(own[5:])))
        faults.append(Fault("wrong identity", 0.99, (own[0],), (str(k), "x"), "why", beside=beside))
    assert write(faults, tmp_path).stat().st_size <= 5_000_000


def test_a_page_that_cannot_be_written_says_so(faults: list[Fault], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"audit\.html: cannot be written .*Free the disk or name another place"):
        write_page(faults, tmp_path, tmp_path / "nowhere" / "audit.html", name="x", about="", notes=[])


def test_a_person_decides_by_keys(browser: Any, faults: list[Fault], tmp_path: Path) -> None:
    address = write(faults, tmp_path).as_uri()
    context = browser.new_context(accept_downloads=True)
    asked: list[str] = []
    errors: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    tab = context.new_page()
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(address)

    def current() -> str:
        return str(tab.get_attribute("article.current", "aria-label"))

    assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert current() == "1: wrong identity"
    tab.keyboard.press("v")
    assert current() == "2: same individual"
    tab.keyboard.press("x")  # not offered: nothing happens
    assert current() == "2: same individual"
    tab.keyboard.press("m")
    tab.keyboard.press("s")
    tab.keyboard.press("x")
    tab.keyboard.press("k")
    assert current() == "6: shared caption"
    tab.keyboard.press("x")
    assert tab.text_content("#count") == "5 of 6 decided"
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("u")
    assert tab.text_content("#count") == "4 of 6 decided"
    tab.click("article:nth-of-type(5) button[data-decision=move]")
    with tab.expect_download() as download:
        tab.keyboard.press("d")
    assert download.value.suggested_filename == "decisions.csv"
    download.value.save_as(tmp_path / "decisions.csv")
    with (tmp_path / "decisions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list(COLUMNS)
    told = [row[COLUMNS.index("decision")] for row in rows]
    assert told == ["move", "merge", "", "drop", "move", "drop"]
    for row in rows:
        row[COLUMNS.index("decision")] = ""
    assert rows == table_rows(faults, tmp_path)[1:]
    assert [one.decision for one in read_decisions(tmp_path / "decisions.csv")] == [one for one in told if one]

    tab.reload()  # what was decided is still there
    assert tab.text_content("#count") == "5 of 6 decided"
    assert current() == "3: two individuals"
    tab.click("button[data-kind='wrong caption']")
    assert tab.eval_on_selector_all("article", "cards => cards.filter(card => !card.hidden).length") == 1
    tab.keyboard.press("ArrowDown")
    assert current() == "5: wrong caption"
    assert errors == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}
    context.close()


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_window(browser: Any, faults: list[Fault], tmp_path: Path, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    tab = context.new_page()
    tab.goto(write(faults, tmp_path).as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
