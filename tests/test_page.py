"""The page as a file: what is in it, what is not, and what a reader without eyes gets."""

from __future__ import annotations

import base64
import errno
import io
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resight.curves import Line, StageCurves
from resight.data.benchmarks import Counts
from resight.data.index import read
from resight.encoder import Encoder
from resight.errors import DataError
from resight.evaluate import Rerank, Rules
from resight.explaining import Explanation, explain
from resight.page import Page, write_page
from resight.page.document import shade
from resight.published import published_for
from resight.reproduction import Distance, Reproduction, RoleCounts
from resight.types import Record, Splits

VOID = {"br", "img", "meta"}
CURVES = StageCurves(
    "train",
    (Line("sum", [1, 2], [3.0, 2.0]), Line("identity", [1, 2], [2.0, 1.5]), Line("triplet", [1, 2], [1.0, 0.5])),
    Line("rate", [1, 2], [1e-4, 2e-4]),
    (Line("mAP", [2], [0.5]),),
)
MADE = Reproduction({"command": "resight report run", "machine": "2 cores"}, (), (), None)
STYLE = (files("resight.page") / "page.css").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load("random:64x2/8", size=(32, 16), device="cpu")


@pytest.fixture
def people(coloured_people: Path) -> Splits:
    return read(coloured_people)


def page(found: Explanation, **changes: Any) -> Page:
    return replace(Page("People by colour", "Measured on four people.", found, None, (), MADE), **changes)


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


def spoiled(people: Splits) -> Splits:
    """One red picture is called blue, so that it fails."""
    gallery = [
        replace(r, identity="blue") if r.path.name == "b0.png" and r.identity == "red" else r for r in people.gallery
    ]
    query = [
        replace(r, identity="grey") if r.path.name == "a1.png" and r.identity == "red" else r for r in people.query
    ]
    return replace(people, query=tuple(query), gallery=tuple(gallery))


def test_the_page_needs_nothing_else(people: Splits, encoder: Encoder, tmp_path: Path) -> None:
    html = shown(page(explain(encoder, people)), tmp_path / "new" / "report.html")
    assert {one["tag"] for one in html.found} & {"link", "iframe", "object", "base", "form"} == set()
    assert all("src" not in one for one in html.all("script"))
    assert all(one["href"].startswith("#") for one in html.found if "href" in one)
    assert all(one["src"].startswith("data:image/") for one in html.found if "src" in one)
    (policy,) = (one["content"] for one in html.all("meta") if one.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not [name for one in html.found for name in one if name == "srcset" or name.startswith("on")]
    text = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import", text)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]


def test_lists_name_right_wrong_and_left_out_and_say_why(people: Splits, encoder: Encoder, tmp_path: Path) -> None:
    records = (*spoiled(people).query, *people.gallery)
    data = replace(people, query=(), gallery=(), unassigned=records)
    found = explain(encoder, data)
    (pictures, words) = found.lists
    assert pictures.n_failed == sum(one.failed for one in pictures.shown) > 0
    html = shown(page(found), tmp_path / "report.html")
    alts = [one["alt"] for one in html.all("img")]
    for role in ("right", "wrong", "left out"):
        assert any(f", {role}: " in alt for alt in alts), role
    marks = {one["text"].split()[0] for one in html.all("li") if "ol" in one["inside"].split()[-1:]}
    assert {"✓", "✗", "–"} <= marks
    assert "border-style: dashed" in STYLE
    assert "border-style: dotted" in STYLE
    titles = [one["text"] for one in html.all("h3")]
    assert f"Pictures that fail: {pictures.n_failed} of {pictures.n_failed}" in titles
    assert any(title.startswith("Captions that ") for title in titles)
    assert words.shown[0].ranked.caption
    first = pictures.shown[0]
    assert next(one["text"] for one in html.all("h4")) == f"Query {first.ranked.query.identity}, camera a"
    said = [one["text"] for one in html.all("li") if one["inside"].endswith("article ul")]
    for reason in first.reasons:
        assert f"{reason.kind}: {reason.found}" in said
    assert any(alt.startswith("Where the encoder looked in the query: upper third ") for alt in alts)
    assert any(one["text"].startswith("What each word adds: a ") for one in html.all("p"))
    table = next(one for one in html.all("table") if one.get("class") == "reasons")
    for counted in pictures.reasons:
        assert f"{counted.kind}" in table["text"]
        assert (
            f"{counted.n_failed:,} ({100 * counted.n_failed / pictures.n_judged[0]:.0f}\N{NO-BREAK SPACE}%)"
            in table["text"]
        )


def test_queries_with_nothing_to_find_are_counted_and_named(people: Splits, encoder: Encoder, tmp_path: Path) -> None:
    red, green = ([r for r in people.query if r.identity == name] for name in ("red", "green"))
    gallery = tuple(
        replace(r, camera="a") if r.identity == "red" else r for r in people.gallery if r.identity != "green"
    )
    found = explain(encoder, replace(people, gallery=gallery))
    html = shown(page(found), tmp_path / "report.html")
    texts = {one["text"] for one in html.all("summary")}
    assert "2 queries have no picture by another camera: in no figure" in texts
    assert "2 queries have no other picture in the gallery: in no figure" in texts
    assert "2 captions have no other picture in the gallery: in no figure" in texts
    named = [one["text"] for one in html.all("li") if one["inside"].endswith("details ul")]
    assert {f"{r.path.name}: {r.identity}, camera a" for r in (*red, *green)} <= set(named)
    assert "“a green person”, a0.png: green, camera a" in named
    one = replace(found.lists[0], unanswered={"no known identity": ((replace(red[0], identity=None), ""),)})
    many = replace(found.lists[1], unanswered={"no other picture in the gallery": ((green[0], "green"),) * 501})
    html = shown(page(replace(found, lists=(one, many))), tmp_path / "report.html")
    assert "1 query has no known identity: in no figure" in {one["text"] for one in html.all("summary")}
    assert html.all("details")[1]["text"].endswith("and 1 more, in report.json")


def test_an_exported_encoder_has_no_maps(
    people: Splits, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resight.explaining.Encoder", type("Towers", (), {}))
    html = shown(page(explain(encoder, people)), tmp_path / "report.html")
    assert not html.all("img", class_="shade")
    told = [one["text"] for one in html.all("p") if one["text"].startswith("A row is a query")]
    assert len(told) == 2
    assert all(text.endswith("is not known of an exported one.") for text in told)


def test_every_picture_is_in_the_page_once(people: Splits, encoder: Encoder, tmp_path: Path) -> None:
    html = shown(page(explain(encoder, people)), tmp_path / "report.html")
    (stored,) = (json.loads(one["text"]) for one in html.all("script", type="application/json"))
    assert len(stored) == len(set(stored)) == 16
    assert {int(one["data-picture"]) for one in html.found if "data-picture" in one} == set(range(16))
    small = Image.open(io.BytesIO(base64.b64decode(stored[0].partition(",")[2])))
    assert (small.format, small.size) == ("JPEG", (20, 30))  # never enlarged


def test_boxes_are_cut_out_and_thumbnails_keep_their_shape(
    encoder: Encoder, picture: Callable[..., Path], tmp_path: Path
) -> None:
    cars = [Record(picture(f"{k}.png", size=(400, 300)), "car", "ab"[k], box=(0, 0, 400, 200)) for k in range(2)]
    data = Splits("cars", tmp_path, "cross-camera", query=(cars[0],), gallery=(cars[1],))
    html = shown(page(explain(encoder, data)), tmp_path / "report.html")
    assert {(one["width"], one["height"]) for one in html.all("img") if "data-picture" in one} == {("128", "64")}


def test_before_after_and_change(people: Splits, encoder: Encoder, tmp_path: Path) -> None:
    other = Encoder.load("random:64x1/16", size=(32, 16), device="cpu", seed=5)
    before, after = explain(other, people, n_queries=1), explain(encoder, people)
    html = shown(page(after, before=before, curves=(CURVES,)), tmp_path / "report.html")
    rows = [one["text"] for one in html.all("th", scope="row")]
    assert rows[:3] == ["before", "after", "change"]
    gain = html.all("tr", class_="change")[0]["text"]
    task, old = after.report.tasks[0], before.report.tasks[0]
    change = f"{100 * (task.scores['mAP'] - old.scores['mAP']):+.1f}".replace("-", "−")
    assert gain.startswith(f"change{change}")
    assert "mAP went from" in html.all("p", class_="summary")[0]["text"]
    labels = [one["aria-label"] for one in html.all("svg")]
    assert any(label.startswith("loss over step: sum from 3 to 2") for label in labels)
    with pytest.raises(ValueError, match="not measured on the same data by the same protocol"):
        write_page(
            page(after, before=replace(before, report=replace(before.report, data="0" * 16))), tmp_path / "x.html"
        )


def test_raw_and_reranked_scores_never_share_a_table(people: Splits, encoder: Encoder, tmp_path: Path) -> None:
    found = explain(encoder, people, rules=Rules(rerank=Rerank(3, 2)))
    html = shown(page(found), tmp_path / "report.html")
    captions = [one["text"] for one in html.all("caption")]
    assert sum("With re-ranking (k1 3, k2 2, weight 0.3)" in text for text in captions) == 1
    assert sum("Without re-ranking" in text for text in captions) == 1


def test_camera_pairs_open_set_published_counts_and_settings(people: Splits, encoder: Encoder, tmp_path: Path) -> None:
    found = explain(encoder, people)
    published = published_for("market1501")[0]
    made = Reproduction(
        {"command": "resight report"},
        (
            RoleCounts("query", Counts(4, 8, 8), Counts(4, 8, 8)),
            RoleCounts("gallery", Counts(4, 8, 8), Counts(4, 9, 8)),
        ),
        (Distance(published, {"mAP": published.scores["mAP"] - 0.1, "R1": 1.0}),),
        {"recipe": "clip-reid"},
    )
    html = shown(page(found, reproduction=made), tmp_path / "report.html")
    heats = [one for one in html.all("table") if one.get("class") == "heat"]
    assert len(heats) == 2
    task = found.report.tasks[0]
    assert f"{100 * task.camera_pairs[0].scores['mAP']:.1f}{task.camera_pairs[0].n_valid}" in heats[0]["text"]
    row = next(one["text"] for one in html.all("tr") if "CLIP-ReID" in one["text"])
    assert row == "ViT-B/16CLIP-ReID, arXiv 2211.1397789.6−10.095.5+4.5"
    rows = [one["text"] for one in html.all("tr")]
    assert "query ✓ as published488" in rows
    assert "gallery48 (9)8" in rows
    assert "Open set" in [one["aria-label"] for one in html.all("div", class_="scroll")]
    assert '"recipe": "clip-reid"' in html.all("pre")[0]["text"]


def test_vehicleid_s_figures_are_of_draws(people: Splits, encoder: Encoder, tmp_path: Path) -> None:
    """A curve of the lists, which are over all pictures, would not be that of the table."""
    with_words = explain(encoder, people, rules=Rules(protocol="vehicleid"))
    assert [len(lists.cmc) for lists in with_words.lists] == [0, 20]
    html = shown(page(with_words), tmp_path / "report.html")
    over = "over the ten draws of the gallery, of which the figures are the means"
    assert f"below it the 95 % interval over the query identities (vehicleid: {over})." in captions(html)[0]
    (curve,) = (label for one in html.all("svg") if "over rank" in (label := one["aria-label"]))
    assert "text → image" in curve
    assert "image → image" not in curve
    query, gallery = (tuple(replace(r, captions=()) for r in side) for side in (people.query, people.gallery))
    pictures = replace(people, query=query, gallery=gallery)
    alone = explain(encoder, pictures, rules=Rules(protocol="vehicleid"))
    html = shown(page(alone), tmp_path / "report.html")
    assert f"below it the 95 % interval {over}." in captions(html)[0]
    assert not [one for one in html.all("svg") if "over rank" in one["aria-label"]]
    html = shown(page(explain(encoder, people)), tmp_path / "report.html")
    assert "below it the 95 % interval over the query identities." in captions(html)[0]


def captions(html: Reader) -> list[str]:
    return [one["text"] for one in html.all("caption")]


@pytest.mark.parametrize(("n", "drawn"), [(30, True), (31, False)])
def test_pairs_of_many_cameras_are_in_the_json_alone(
    n: int, drawn: bool, people: Splits, encoder: Encoder, tmp_path: Path
) -> None:
    """365 days a camera would make 266,000 cells."""
    found = explain(encoder, people)
    task = found.report.tasks[0]
    pair = replace(task.camera_pairs[0], query_camera="1")
    many = replace(task, camera_pairs=tuple(replace(pair, gallery_camera=str(k)) for k in range(n)))
    html = shown(page(replace(found, report=replace(found.report, tasks=(many,)), lists=())), tmp_path / "report.html")
    assert len(html.all("table", class_="heat")) == (2 if drawn else 0)
    said = f"Cameras: 1 of queries, {n} of the gallery; up to 30 a side are drawn."
    assert any(one["text"].startswith(said) for one in html.all("p")) is not drawn


EVIL = "<script>alert('x')</script>\"'& onerror=alert(1)"


def test_what_users_wrote_is_never_markup(picture: Callable[..., Path], encoder: Encoder, tmp_path: Path) -> None:
    rows = [
        Record(picture(f"{name}{k}.png"), identity, camera, split=split, captions=(EVIL,))
        for name, identity in (("x", EVIL), ("y", "</style></title>\udce4"))
        for k, (camera, split) in enumerate((("a", "query"), (EVIL, "gallery")))
    ]
    data = Splits(EVIL, tmp_path, "cross-camera", query=(rows[0], rows[2]), gallery=(rows[1], rows[3]), notes=(EVIL,))
    bad = replace(CURVES, stage=EVIL, terms=tuple(replace(line, name=EVIL) for line in CURVES.terms))
    made = replace(MADE, facts={EVIL: EVIL}, settings={EVIL: EVIL})
    what = page(explain(encoder, data), title=EVIL, about=EVIL, curves=(bad,), reproduction=made)
    html = shown(what, tmp_path / "report.html")
    assert len(html.all("script")) == 2
    assert not [name for one in html.found for name in one if name.startswith("on")]
    assert html.all("h1")[0]["text"] == EVIL
    assert EVIL in [one["text"] for one in html.all("td")]
    assert EVIL in [one["title"] for one in html.all("span") if "title" in one]
    assert any(EVIL in one["alt"] for one in html.all("img"))
    assert any(EVIL in one["data-name"] for one in html.all("circle") if "data-name" in one)
    assert f"“{EVIL}”" in [one["text"] for one in html.all("h4")]


def test_a_reader_without_eyes_finds_a_way(people: Splits, encoder: Encoder, tmp_path: Path) -> None:
    html = shown(page(explain(encoder, spoiled(people)), curves=(CURVES,)), tmp_path / "report.html")
    assert html.all("html")[0]["lang"] == "en"
    assert all(one["alt"] or one["class"] == "shade" for one in html.all("img"))
    assert all(one.get("scope") for one in html.all("th"))
    assert all(one["role"] == "img" and one["aria-label"] for one in html.all("svg"))
    assert len(html.all("figcaption")) == len(html.all("figure"))
    assert len(html.all("caption")) == len(html.all("table"))
    scrolling = html.all("div", class_="scroll")
    assert all(one["tabindex"] == "0" and one["role"] == "region" and one["aria-label"] for one in scrolling)
    levels = [int(one["tag"][1]) for one in html.found if re.fullmatch("h[1-6]", one["tag"])]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    ids = [one["id"] for one in html.found if "id" in one]
    assert len(ids) == len(set(ids))
    anchors = {one["href"][1:] for one in html.all("a")}
    assert anchors == {one["id"] for one in html.all("section")}


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


def test_the_largest_share_is_clear_and_what_does_not_count_is_dark() -> None:
    shares = np.zeros((4, 2), np.float32)
    shares[2, 1] = 1
    image = Image.open(io.BytesIO(base64.b64decode(shade(shares).partition(",")[2])))
    assert (image.mode, image.size) == ("LA", (2, 4))
    alpha = np.asarray(image)[..., 1]
    assert alpha[2, 1] == 0
    assert set(alpha[shares == 0].tolist()) == {191}
    assert shade(np.zeros((4, 2), np.float32)) != shade(shares)


def test_200_queries_of_noise_stay_below_five_megabytes(
    encoder: Encoder, picture: Callable[..., Path], tmp_path: Path
) -> None:
    """The worst for JPEG; 200 lists of 11 pictures with two maps each."""
    rows = [
        Record(picture(f"{name}-{k}.png", size=(64, 128)), f"person {name}", f"camera {k}", split="test")
        for name in range(26)
        for k in range(8)
    ]
    data = Splits("noise", tmp_path, "cross-camera", query=tuple(rows), gallery=tuple(rows))
    found = explain(encoder, data, n_queries=200)
    assert sum(len(lists.shown) for lists in found.lists) == 200
    write_page(page(found), tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 5_000_000


def test_a_picture_that_is_gone(people: Splits, encoder: Encoder, tmp_path: Path) -> None:
    what = page(explain(encoder, people))
    what.after.lists[0].shown[0].ranked.query.path.unlink()
    with pytest.raises(DataError, match="does not exist"):
        write_page(what, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_place_that_cannot_be_written(people: Splits, encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.html").mkdir()
    what = page(explain(encoder, people))
    with pytest.raises(DataError, match="file: cannot be written"):
        write_page(what, tmp_path / "file" / "report.html")
    with pytest.raises(DataError, match=r"folder\.html: cannot be written .* Free the disk or name another place"):
        write_page(what, tmp_path / "folder.html")
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_leaves_the_old_page(
    people: Splits, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    what = page(explain(encoder, people))

    def full(self: Path, *_: object, **__: object) -> int:
        self.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match=r"report\.html: cannot be written .*No space left"):
        write_page(what, path)
    assert path.read_text() == "old"
    assert not list(tmp_path.glob(".*"))
