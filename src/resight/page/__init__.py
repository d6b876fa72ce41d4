"""A trained run as one HTML file that needs nothing else: figures, curves, and what the best and worst queries find."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from resight import charts
from resight.charts import Line, draw_lines, element
from resight.curves import StageCurves
from resight.data.images import open_image
from resight.embed import prepare_folder
from resight.errors import DataError
from resight.evaluate import Report, Task
from resight.examples import Match, Ranked, Retrieval
from resight.types import Record

METRICS = ("mAP", "R1", "R5", "R10", "mINP")
THUMBNAIL = 128  # pixels, the longer side
QUALITY = 80  # of the thumbnails' JPEG; 130 of them then take half a megabyte

LEFT_OUT = {
    "cross-camera": "Pictures of the query's identity from the query's own camera are left out, as in the figures.",
    "any-camera": "The query's own picture is left out, as in the figures.",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One encoder's figures and ranked lists."""

    report: Report
    retrieval: Retrieval


@dataclass(frozen=True, slots=True)
class Page:
    """What the page tells.

    trained: one sentence, what was trained on what. before: the encoder that training began with, on the same data;
    None where it was not measured. reproduce: what to know to make the page again (command, versions, machine, seed).
    """

    title: str
    trained: str
    after: Measured
    before: Measured | None
    curves: Sequence[StageCurves]
    reproduce: Mapping[str, str]


def write_page(page: Page, path: Path) -> None:
    """Writes the page, whole or not at all.

    Raises DataError when it cannot be written or a picture cannot be read; ValueError when before and after were
    measured on different data or by different protocols, or by one without ranked lists of pictures.
    """
    before, after = page.before and page.before.report, page.after.report
    if after.rules.protocol not in LEFT_OUT:
        raise ValueError(f"the page shows {' and '.join(LEFT_OUT)} results, not {after.rules.protocol}")
    if before and (before.data, before.rules.protocol) != (after.data, after.rules.protocol):
        raise ValueError("before and after were not measured on the same data by the same protocol")
    root = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", page.title),
            element("style", STYLE + charts.STYLE),
        ),
        element("body", element("main", *_sections(page))),
        lang="en",
    )
    text = "<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"
    prepare_folder(path.parent)
    written = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        written.write_text(text, encoding="utf-8", errors="replace")  # a file name need not be text
        written.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}). Free the disk or name another place.") from error
    finally:
        written.unlink(missing_ok=True)


def _sections(page: Page) -> list[Element]:
    after = page.after.retrieval
    rule = LEFT_OUT[page.after.report.rules.protocol or ""]
    about = (
        "Each row is a query and the gallery pictures most similar to it, the most similar first, with their cosine. ✓ "
        f"and a solid frame: the same identity; ✗ and a dashed frame: another one. {rule} At most one query of an "
        "identity is shown in a list."
    )
    return [
        element("header", element("h1", page.title), element("p", f"{page.trained} {_gain(page)}", class_="summary")),
        _section("How well it finds", element("div", _scores(page), _cmc(page), class_="columns"), *_notes(page)),
        *([_section("Training", element("div", *map(_stage, page.curves), class_="columns"))] if page.curves else []),
        _section(
            "What it finds",
            element("p", about),
            *_lists("Best queries, by average precision", after.best),
            *_lists("Worst queries, by average precision", after.worst),
        ),
        _section("How this was made", _reproduce(page)),
    ]


def _section(name: str, *inside: Element) -> Element:
    return element("section", element("h2", name), *inside)


def _gain(page: Page) -> str:
    """How much better it got, as a sentence."""
    task = page.after.report.tasks[0]
    against = f"{task.n_valid:,} queries against {task.n_gallery:,} gallery pictures"
    if page.before is None:
        return f"With {against} it reaches mAP {_percent(task, 'mAP')} and R1 {_percent(task, 'R1')}."
    old = page.before.report.tasks[0]
    moved = [f"{name} went from {_percent(old, name)} to {_percent(task, name)}" for name in ("mAP", "R1")]
    return f"With {against}, {' and '.join(moved)}."


def _percent(task: Task, name: str) -> str:
    return f"{100 * task.scores[name]:.1f}\N{NO-BREAK SPACE}%"


def _scores(page: Page) -> Element:
    """Before and after for every task, without re-ranking, with intervals."""
    head = element("tr", element("td"), *(element("th", name, scope="col") for name in METRICS))
    earlier = {task.name: task for task in page.before.report.tasks} if page.before else {}
    groups = []
    for task in page.after.report.tasks:
        valid = f"{task.n_valid:,} of {task.n_queries:,} queries can be answered"
        counts = element("small", f"{valid}, {task.n_gallery:,} in the gallery")
        name = element("th", f"{task.name}, {task.protocol}", element("br"), counts, colspan=6, scope="rowgroup")
        rows = [element("tr", name)]
        if old := earlier.get(task.name):
            rows += [_row("before", old), _row("after", task), _change(old, task)]
        else:
            rows.append(_row("after", task))
        groups.append(element("tbody", *rows))
    caption = "Percent, below it the 95 % interval over the query identities. Without re-ranking."
    table = element("table", element("caption", caption), element("thead", head), *groups, class_="scores")
    return _scrolling(table, "Scores")


def _row(name: str, task: Task) -> Element:
    cells = []
    for metric in METRICS:
        low, high = task.intervals[metric]
        interval = element("small", f"{100 * low:.1f}–{100 * high:.1f}")
        cells.append(element("td", f"{100 * task.scores[metric]:.1f}", element("br"), interval))
    return element("tr", element("th", name, scope="row"), *cells)


def _change(old: Task, new: Task) -> Element:
    points = [round(100 * (new.scores[name] - old.scores[name]), 1) + 0.0 for name in METRICS]  # no −0.0
    gains = (f"{gain:+.1f}".replace("-", "−") for gain in points)
    return element(
        "tr", element("th", "change", scope="row"), *(element("td", gain) for gain in gains), class_="change"
    )


def _cmc(page: Page) -> Element:
    lines = [_cmc_line("after", page.after)]
    if page.before is not None:
        lines.append(_cmc_line("before", page.before))
    about = "CMC: the share of queries whose first right picture stands at that rank or above."
    return element(
        "figure", draw_lines(lines, x_name="rank", y_name="queries, %", x_low=1), element("figcaption", about)
    )


def _cmc_line(name: str, measured: Measured) -> Line:
    shares = measured.retrieval.cmc
    return Line(name, list(range(1, len(shares) + 1)), [float(100 * share) for share in shares])


def _notes(page: Page) -> list[Element]:
    notes = [element("li", note) for note in page.after.report.notes]
    return [element("ul", *notes, class_="note")] if notes else []


def _stage(curves: StageCurves) -> Element:
    charts = [
        (curves.terms, "loss", 240, "Loss terms, weighted as they are summed; means over neighbouring steps."),
        ((curves.rate,), "learning rate", 130, "Learning rate."),
    ]
    if curves.validation:
        percent = tuple(Line(line.name, line.x, [100 * y for y in line.y]) for line in curves.validation)
        charts.append((percent, "validation, %", 180, "Scores on validation identities."))
    figures = [
        element(
            "figure",
            draw_lines(lines, x_name="step", y_name=name, x_low=0, height=height),
            element("figcaption", about),
        )
        for lines, name, height, about in charts
    ]
    return element("div", element("h3", f"Stage: {curves.stage}"), *figures)


def _lists(name: str, examples: Sequence[Ranked]) -> list[Element]:
    if not examples:
        return []
    return [element("h3", name), *map(_list, examples)]


def _list(ranked: Ranked) -> Element:
    query = ranked.query
    said = f"average precision {100 * ranked.average_precision:.1f} %, first right picture at rank {ranked.first_rank}"
    name = f"Query {_name(query)}"
    asked = element(
        "figure", _picture(query, name), element("figcaption", "query", *_labels(query)), class_="match query"
    )
    found = element("ol", *(element("li", _match(rank, match)) for rank, match in enumerate(ranked.matches, 1)))
    strip = _scrolling(element("div", asked, found, class_="strip"), f"Pictures found for {name}")
    return element("div", element("p", element("b", name), f": {said}", class_="about"), strip, class_="ranked")


def _match(rank: int, match: Match) -> Element:
    mark, said = ("✓", "right") if match.right else ("✗", "wrong")
    caption = element(
        "figcaption",
        element("b", mark, class_="mark", aria_hidden="true"),
        f" {match.similarity:.3f}",
        *_labels(match.record),
    )
    picture = _picture(match.record, f"Rank {rank}, {said}: {_name(match.record)}")
    return element("figure", picture, caption, class_=f"match {said}")


def _name(record: Record) -> str:
    """A picture in words."""
    camera = "" if record.camera is None else f", camera {record.camera}"
    return ("of unknown identity" if record.identity is None else record.identity) + camera


def _labels(record: Record) -> list[Element]:
    identity = "unknown" if record.identity is None else record.identity
    camera = "" if record.camera is None else f"camera {record.camera}"
    return [element("span", identity, title=identity), element("span", camera, title=camera)]


def _picture(record: Record, alt: str) -> Element:
    image = open_image(record.path, box=record.box)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    source = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    return element("img", src=source, alt=alt, width=image.width, height=image.height)


def _reproduce(page: Page) -> Element:
    report = page.after.report
    facts = {
        **page.reproduce,
        "data": f"{report.data_name}, {report.subset}, fingerprint {report.data}",
        **({"encoder before": _encoder(page.before.report)} if page.before else {}),
        "encoder after": _encoder(report),
        "ties": report.rules.ties,
        "seed of the intervals": str(report.rules.seed),
    }
    rows = (element("tr", element("th", name, scope="row"), element("td", fact)) for name, fact in facts.items())
    return _scrolling(element("table", element("tbody", *rows), class_="facts"), "How this was made")


def _encoder(report: Report) -> str:
    return f"{report.encoder}, fingerprint {report.fingerprint}"


def _scrolling(inside: Element, name: str) -> Element:
    """What is too wide for the window scrolls by itself; it takes the focus, so that the arrow keys move it."""
    return element("div", inside, class_="scroll", tabindex=0, role="region", aria_label=name)


STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1f24; --muted: #57606a; --rule: #d5dae0;
  --right: #1a7f37; --wrong: #b42318;
  --line-0: #0a5bc4; --line-1: #a84f00; --line-2: #1a7f37; --line-3: #7a3fc9; --line-4: #b3205a; --line-5: #57606a; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #10141a; --ink: #e6eaef; --muted: #a0abb8; --rule: #323b46;
    --right: #4cc366; --wrong: #ff8a7f;
    --line-0: #6cb1ff; --line-1: #f2a154; --line-2: #4cc366; --line-3: #c3a0ff; --line-4: #ff8fb6;
    --line-5: #a0abb8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 40px 0 12px; padding-top: 12px; border-top: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 20px 0 8px; }
p { margin: 0 0 12px; max-width: 80ch; overflow-wrap: anywhere; }
small, figcaption, caption, .note { color: var(--muted); font-size: .85rem; }
.summary { font-size: 1.1rem; }
.columns { display: grid; gap: 16px 40px; grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); }
.columns > * { min-width: 0; max-width: 560px; }
figure { margin: 0 0 16px; }
.scroll { overflow-x: auto; max-width: 100%; }
.scroll:focus-visible { outline: 2px solid var(--line-0); outline-offset: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; caption-side: bottom; padding-top: 6px; }
th, td { padding: 6px 12px 6px 0; text-align: left; vertical-align: top; line-height: 1.3; }
.scores { width: 100%; }
.scores td small { white-space: nowrap; }
.scores th small { font-weight: 400; }
@media (max-width: 480px) { .scores th, .scores td { padding-right: 4px; font-size: .8rem; }
  .scores td small { font-size: .62rem; letter-spacing: -.02em; } }
.scores [scope=row] { position: sticky; left: 0; background: var(--paper); }
thead th, tbody tr { border-bottom: 1px solid var(--rule); }
tbody th { font-weight: 600; }
tr.change td { font-weight: 600; }
.facts td { white-space: pre-wrap; overflow-wrap: anywhere; font-family: ui-monospace, monospace; font-size: .85rem; }
.facts th { min-width: 10ch; }
.ranked { margin: 0 0 20px; }
.about { margin-bottom: 6px; }
.strip { display: flex; gap: 16px; width: max-content; }
.note { margin: 12px 0 0; padding-left: 20px; overflow-wrap: anywhere; }
ol { display: flex; gap: 8px; list-style: none; margin: 0; padding: 0; }
.match { width: fit-content; min-width: 72px; margin: 0; }
.match img { display: block; border: 4px solid; border-radius: 4px; box-sizing: content-box; }
.match figcaption { width: 0; min-width: 100%; line-height: 1.35; padding-top: 4px; }
.match span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.query { position: sticky; left: 0; background: var(--paper); }
.query img { border-color: var(--ink); }
.right img { border-color: var(--right); }
.wrong img { border-color: var(--wrong); border-style: dashed; }
.mark { font-size: 1rem; }
.right .mark { color: var(--right); }
.wrong .mark { color: var(--wrong); }
"""
