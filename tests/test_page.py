from __future__ import annotations

import base64
import errno
import io
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resight.charts import Line
from resight.curves import StageCurves
from resight.data.index import read
from resight.errors import DataError
from resight.evaluate import Rules, compare, sides
from resight.examples import rank_examples
from resight.page import METRICS, STYLE, Measured, Page, write_page
from resight.types import Embeddings, Record, Splits

VOID = {"br", "img", "meta"}
CURVES = StageCurves(
    "train",
    (Line("sum", [1, 2], [3.0, 2.0]), Line("identity", [1, 2], [2.0, 1.5]), Line("triplet", [1, 2], [1.0, 0.5])),
    Line("rate", [1, 2], [1e-4, 2e-4]),
    (Line("mAP", [2], [0.5]),),
)


def measured(splits: Splits, *, seed: int, known: float) -> Measured:
    """Random vectors, in which the identity is known more or less."""
    query, gallery = sides(splits)
    records = list(dict.fromkeys((*query, *gallery)))
    generator = np.random.default_rng(seed)
    names = sorted({r.identity or "" for r in records})
    vectors = (
        generator.normal(size=(len(records), 8)) + known * np.eye(8)[[names.index(r.identity or "") for r in records]]
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pictures = Embeddings(
        embedding=vectors.astype(np.float32),
        aligned=None,
        paths=tuple(str(r.path) for r in records),
        identities=tuple(r.identity for r in records),
        cameras=tuple(r.camera for r in records),
        captions=("",) * len(records),
        encoder=f"{seed:016x}",
    )
    report = compare(splits, pictures, records, None, rules=Rules(seed=3), source=f"encoder {seed}")
    cross_camera = report.rules.protocol == "cross-camera"
    return Measured(report, rank_examples(pictures, records, query, gallery, cross_camera=cross_camera))


def page(splits: Splits, **changes: Any) -> Page:
    whole = Page(
        title="People by colour",
        trained="Two stages on four people.",
        after=measured(splits, seed=1, known=9),
        before=measured(splits, seed=0, known=0),
        curves=(CURVES, replace(CURVES, stage="prompts", validation=())),
        reproduce={"command": "resight train clip-reid", "machine": "2 cores"},
    )
    return replace(whole, **changes)


class Reader(HTMLParser):
    """Elements with their attributes and text; fails where tags do not close as they opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[dict[str, str]] = []
        self.found: list[dict[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        one = {"tag": tag, "text": "", "inside": " ".join(other["tag"] for other in self.open)}
        one |= {name: value or "" for name, value in attrs}
        self.found.append(one)
        if tag not in VOID:
            self.open.append(one)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        for one in self.open:
            one["text"] += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        wanted = {"tag": tag, **{name.rstrip("_"): value for name, value in attributes.items()}}
        return [one for one in self.found if all(one.get(name) == value for name, value in wanted.items())]


def shown(what: Page, path: Path) -> Reader:
    write_page(what, path)
    return Reader(path.read_text(encoding="utf-8"))


@pytest.fixture
def people(coloured_people: Path) -> Splits:
    return read(coloured_people)


def test_the_page_needs_nothing_else(people: Splits, tmp_path: Path) -> None:
    html = shown(page(people), tmp_path / "new" / "report.html")
    assert {one["tag"] for one in html.found} & {"script", "link", "iframe", "object", "base", "form"} == set()
    assert all(one["src"].startswith("data:image/jpeg;base64,") for one in html.all("img"))
    names = {name for one in html.found for name in one}
    assert not [name for name in names if name in {"href", "srcset"} or name.startswith("on")]
    text = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import", text)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]


def test_the_summary_says_what_and_how_much_better(people: Splits, tmp_path: Path) -> None:
    what = page(people)
    assert what.before is not None
    old, new = (one.report.tasks[0].scores for one in (what.before, what.after))
    html = shown(what, tmp_path / "report.html")
    assert html.all("title")[0]["text"] == html.all("h1")[0]["text"] == "People by colour"
    assert html.all("p", class_="summary")[0]["text"].replace("\N{NO-BREAK SPACE}", " ") == (
        f"Two stages on four people. With 8 queries against 8 gallery pictures, mAP went from {100 * old['mAP']:.1f} % "
        f"to {100 * new['mAP']:.1f} % and R1 went from {100 * old['R1']:.1f} % to {100 * new['R1']:.1f} %."
    )
    assert new["mAP"] > old["mAP"]


def test_the_table_holds_before_after_and_change(people: Splits, tmp_path: Path) -> None:
    what = page(people)
    assert what.before is not None
    html = shown(what, tmp_path / "report.html")
    assert [one["text"] for one in html.all("th", scope="col")] == list(METRICS)
    rows = [re.sub(r"[^\d.–+−]+", " ", one["text"]).split() for one in html.all("tr")]
    tasks = what.before.report.tasks[0], what.after.report.tasks[0]
    for row, task in zip(rows[2:4], tasks, strict=True):
        cells = "".join(
            f"{100 * task.scores[name]:.1f}{100 * task.intervals[name][0]:.1f}–{100 * task.intervals[name][1]:.1f}"
            for name in METRICS
        )
        assert "".join(row) == cells
    gains = [100 * (tasks[1].scores[name] - tasks[0].scores[name]) for name in METRICS]
    assert [
        float(cell.replace("−", "-")) for cell in "".join(rows[4]).replace("+", " +").replace("−", " −").split()
    ] == (pytest.approx(gains, abs=0.0501))
    caption = html.all("caption")[0]["text"]
    assert "95 % interval over the query identities" in caption
    assert "Without re-ranking" in caption


def test_figures_that_fell_are_shown_as_such(people: Splits, tmp_path: Path) -> None:
    better = page(people)
    assert better.before is not None
    html = shown(replace(better, before=better.after, after=better.before), tmp_path / "report.html")
    assert "−" in html.all("tr", class_="change")[0]["text"]
    same = shown(replace(better, before=better.after), tmp_path / "report.html")
    assert same.all("tr", class_="change")[0]["text"] == "change" + "+0.0" * len(METRICS)


def test_without_before_and_curves(people: Splits, tmp_path: Path) -> None:
    html = shown(page(people, before=None, curves=()), tmp_path / "report.html")
    assert "it reaches mAP" in html.all("p", class_="summary")[0]["text"]
    assert html.all("th", scope="row")[0]["text"] == "after"
    assert not html.all("tr", class_="change")
    assert len(html.all("svg")) == 1
    assert [one["text"] for one in html.all("h2")] == ["How well it finds", "What it finds", "How this was made"]


def test_the_stages_stand_beside_each_other(people: Splits, tmp_path: Path) -> None:
    html = shown(page(people), tmp_path / "report.html")
    assert [one["text"] for one in html.all("h3")][:2] == ["Stage: train", "Stage: prompts"]
    labels = [one["aria-label"] for one in html.all("svg")]
    assert labels[0].startswith("queries, % over rank: after from ")
    assert labels[1] == "loss over step: sum from 3 to 2; identity from 2 to 1.5; triplet from 1 to 0.5"
    assert labels[2] == "learning rate over step: rate from 1e-4 to 2e-4"
    assert labels[3] == "validation, % over step: mAP from 50 to 50"
    assert len(labels) == 6


def test_ranked_lists_mark_right_and_wrong_by_more_than_colour(people: Splits, tmp_path: Path) -> None:
    what = page(people)
    html = shown(what, tmp_path / "report.html")
    lists = (*what.after.retrieval.best, *what.after.retrieval.worst)
    matches = [match for ranked in lists for match in ranked.matches]
    assert {match.right for match in matches} == {True, False}
    items = html.all("li", inside="html body main section div div div ol")
    figures = [one for one in html.all("figure") if one.get("class", "").startswith("match ")]
    assert len(items) == len(matches)
    assert [one["class"] for one in figures].count("match query") == len(lists)
    for item, match in zip(items, matches, strict=True):
        record = match.record
        mark = "✓" if match.right else "✗"
        assert item["text"] == f"{mark} {match.similarity:.3f}{record.identity}camera {record.camera}"
    alts = [one["alt"] for one in html.all("img")]
    assert sum(alt.startswith("Query ") for alt in alts) == len(lists)
    assert f"Rank 1, right: {matches[0].record.identity}, camera b" in alts
    assert ".wrong img { border-color: var(--wrong); border-style: dashed; }" in STYLE
    said = html.all("p", class_="about")[0]["text"]
    precision = 100 * lists[0].average_precision
    assert said == (
        f"Query {lists[0].query.identity}, camera a: average precision {precision:.1f} %, first right picture at rank 1"
    )


def test_what_the_rule_leaves_out_is_not_shown(people: Splits, tmp_path: Path) -> None:
    """One set queries itself: each picture finds the others, but not itself, and of its identity not its own camera."""
    records = (*people.query, *people.gallery)
    data = replace(people, query=(), gallery=(), unassigned=records)
    what = page(data, after=measured(data, seed=1, known=9), before=None)
    html = shown(what, tmp_path / "report.html")
    assert "from the query's own camera are left out" in html.all("p")[1]["text"]
    for ranked in what.after.retrieval.best:
        assert ranked.query not in {match.record for match in ranked.matches}
        assert {match.record.camera for match in ranked.matches if match.right} == {"a", "b"} - {ranked.query.camera}


def test_thumbnails_are_small_upright_cut_and_of_their_own_shape(
    people: Splits, tmp_path: Path, picture: Callable[..., Path]
) -> None:
    what = page(people, before=None)
    car = Record(picture("car.png", size=(400, 300)), "car", "a", box=(0, 0, 400, 200))
    first = replace(what.after.retrieval.best[0], query=car)
    after = replace(what.after, retrieval=replace(what.after.retrieval, best=(first,)))
    html = shown(replace(what, after=after), tmp_path / "report.html")
    one = html.all("img", alt="Query car, camera a")[0]
    assert (one["width"], one["height"]) == ("128", "64")
    small = Image.open(io.BytesIO(base64.b64decode(one["src"].partition(",")[2])))
    assert (small.format, small.size) == ("JPEG", (128, 64))
    other = html.all("img")[1]
    assert (other["width"], other["height"]) == ("20", "30")  # never enlarged


def test_how_it_was_made_is_told(people: Splits, tmp_path: Path) -> None:
    what = page(people)
    html = shown(what, tmp_path / "report.html")
    facts = [one["text"] for one in html.all("td", inside="html body main section div table tbody tr")]
    report = what.after.report
    for fact in (
        "resight train clip-reid",
        "2 cores",
        f"{report.data_name}, test, fingerprint {report.data}",
        "encoder 0, fingerprint 0000000000000000",
        "encoder 1, fingerprint 0000000000000001",
        "3",
    ):
        assert fact in facts
    for note in report.notes:
        assert note in [one["text"] for one in html.all("li")]


EVIL = "<script>alert('x')</script>\"'& onerror=alert(1)"


def test_what_users_wrote_is_never_markup(picture: Callable[..., Path], tmp_path: Path) -> None:
    rows = [
        Record(picture(f"{name}{k}.png"), identity, camera, split=split)
        for name, identity in (("x", EVIL), ("y", "</style></title>\udce4"))
        for k, (camera, split) in enumerate((("a", "query"), (EVIL, "gallery")))
    ]
    data = Splits(EVIL, tmp_path, "cross-camera", query=(rows[0], rows[2]), gallery=(rows[1], rows[3]), notes=(EVIL,))
    bad = replace(CURVES, stage=EVIL, terms=tuple(replace(line, name=EVIL) for line in CURVES.terms))
    what = page(data, title=EVIL, trained=EVIL, curves=(bad,), reproduce={EVIL: EVIL})
    html = shown(what, tmp_path / "report.html")
    assert not html.all("script")
    assert not [name for one in html.found for name in one if name.startswith("on")]
    assert html.all("h1")[0]["text"] == EVIL
    assert EVIL in [one["text"] for one in html.all("td")]
    assert EVIL in [one["title"] for one in html.all("span")]
    assert any(EVIL in one["alt"] for one in html.all("img"))
    assert EVIL in html.all("svg")[1]["aria-label"]
    assert "</style></title>?" in [one["text"] for one in html.all("span")]  # bytes that are no text


def test_a_reader_without_eyes_finds_a_way(people: Splits, tmp_path: Path) -> None:
    html = shown(page(people), tmp_path / "report.html")
    assert html.all("html")[0]["lang"] == "en"
    assert all(one["alt"] for one in html.all("img"))
    assert all(one.get("scope") for one in html.all("th"))
    assert all(one["role"] == "img" and one["aria-label"] for one in html.all("svg"))
    assert len(html.all("figcaption")) == len(html.all("figure"))
    scrolling = html.all("div", class_="scroll")
    assert all(one["tabindex"] == "0" and one["role"] == "region" and one["aria-label"] for one in scrolling)
    assert [one["tag"] for one in html.found if one["tag"] in ("h1", "h2", "h3")][:3] == ["h1", "h2", "h2"]


def luminance(colour: str) -> float:
    """Relative luminance of a #rrggbb colour. WCAG 2.2, "relative luminance"."""
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_coloured_is_read_easily(scheme: str) -> None:
    """WCAG 2.2, level AA: text stands out from its ground by at least 4.5 to 1."""
    light, _, dark = STYLE.partition("@media (prefers-color-scheme: dark)")
    text = {"light": light, "dark": dark}[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", text))
    paper = colours.pop("paper")
    colours.pop("rule")  # a line of the grid, which says nothing
    assert len(colours) == 10
    for name, colour in colours.items():
        high, low = sorted((luminance(colour), luminance(paper)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, f"--{name} {colour} on {paper}"


def test_every_colour_used_is_defined() -> None:
    light, _, dark = STYLE.partition("@media (prefers-color-scheme: dark)")
    used = set(re.findall(r"var\(--([\w-]+)\)", STYLE)) | {"paper", "rule"}
    for text in (light, dark):
        assert used <= set(re.findall(r"--([\w-]+): #", text))


def test_a_full_page_stays_small(picture: Callable[..., Path], tmp_path: Path) -> None:
    """12 lists of 11 pictures, 256 × 128 pixels of noise, the worst for JPEG, and curves of 150 points."""
    rows = [
        Record(picture(f"{name}{camera}.png", size=(128, 256)), str(name), camera, split=split)
        for name in range(8)
        for camera, split in (("a", "query"), ("b", "query"), ("c", "gallery"), ("d", "gallery"))
    ]
    sides_of = {split: tuple(r for r in rows if r.split == split) for split in ("query", "gallery")}
    data = Splits("noise", tmp_path, "cross-camera", query=sides_of["query"], gallery=sides_of["gallery"])
    points = [float(k) for k in range(150)]
    curves = replace(CURVES, terms=tuple(Line(name, points, points) for name in "abcdef"))
    what = page(data, curves=(curves, curves))
    assert len(what.after.retrieval.best) == len(what.after.retrieval.worst) == 6
    write_page(what, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 3_000_000


def test_before_and_after_must_be_comparable(people: Splits, tmp_path: Path) -> None:
    what = page(people)
    assert what.before is not None
    for changes in ({"data": "0" * 16}, {"rules": replace(what.after.report.rules, protocol="any-camera")}):
        other = replace(what.before, report=replace(what.before.report, **changes))
        with pytest.raises(ValueError, match="not measured on the same data by the same protocol"):
            write_page(replace(what, before=other), tmp_path / "report.html")


def test_lists_of_other_protocols_are_not_shown(people: Splits, tmp_path: Path) -> None:
    what = page(people, before=None)
    report = replace(what.after.report, rules=Rules(protocol="vehicleid"))
    with pytest.raises(ValueError, match="cross-camera and any-camera results, not vehicleid"):
        write_page(replace(what, after=replace(what.after, report=report)), tmp_path / "report.html")


def test_a_picture_that_is_gone(people: Splits, tmp_path: Path) -> None:
    what = page(people)
    what.after.retrieval.best[0].query.path.unlink()
    with pytest.raises(DataError, match="does not exist"):
        write_page(what, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_place_that_cannot_be_written(people: Splits, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(DataError, match="file: cannot be written"):
        write_page(page(people), tmp_path / "file" / "report.html")
    with pytest.raises(DataError, match=r"folder\.html: cannot be written .* Free the disk or name another place"):
        write_page(page(people), tmp_path / "folder.html")
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_leaves_the_old_page(people: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(self: Path, *_: object, **__: object) -> int:
        self.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match=r"report\.html: cannot be written .*No space left"):
        write_page(page(people), path)
    assert path.read_text() == "old"
    assert not list(tmp_path.glob(".*"))
