"""An encoder's evaluation, explained, as one HTML file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from resight.curves import StageCurves
from resight.evaluate import Task
from resight.explaining import Explanation
from resight.markup import element
from resight.page.document import Pictures, scrolling, write_document
from resight.page.figures import (
    METRICS,
    camera_pairs,
    embedding_map,
    match_curves,
    percent,
    reranked,
    scores,
    stage,
)
from resight.page.lists import query_lists, reasons_table, records_of, unanswered
from resight.reproduction import Reproduction, RoleCounts

__all__ = ["Page", "write_page"]


@dataclass(frozen=True, slots=True)
class Page:
    """What the page tells.

    about: one sentence, what was trained or measured on what. before: the encoder that training began with, on the same
    data; None where it was not measured. curves: of the training; none where there was none.
    """

    title: str
    about: str
    after: Explanation
    before: Explanation | None
    curves: Sequence[StageCurves]
    reproduction: Reproduction


def write_page(page: Page, path: Path) -> None:
    """Writes the page, whole or not at all.

    Raises DataError when it cannot be written or a picture cannot be read; ValueError when before and after were
    measured on different data or by different protocols.
    """
    before, after = page.before and page.before.report, page.after.report
    if before and (before.data, before.rules.protocol) != (after.data, after.rules.protocol):
        raise ValueError("before and after were not measured on the same data by the same protocol")
    found = page.after.map
    placed = () if found is None else found.records
    pictures = Pictures([record for lists in page.after.lists for record in records_of(lists)] + list(placed))
    write_document(page.title, _body(page, pictures), pictures, path)


def _body(page: Page, pictures: Pictures) -> list[Element]:
    report, found = page.after.report, page.after.map
    protocols = {task.name: task.protocol for task in report.tasks}
    before = page.before
    how_well = [
        element(
            "div",
            element("div", scores(report, before.report if before else None), *reranked(report)),
            *match_curves(page.after.lists, before.lists if before else ()),
            class_="columns",
        ),
        *_open_set(report.tasks),
        *_published(page.reproduction),
        *_notes((*report.notes, *page.after.notes)),
    ]
    pairs = [element_ for task in report.tasks if task.camera_pairs for element_ in camera_pairs(task.camera_pairs)]
    reasons = [part for lists in page.after.lists for part in (*reasons_table(lists), *unanswered(lists))]
    shown = [part for lists in page.after.lists for part in query_lists(lists, protocols[lists.task], pictures)]
    sections = [
        ("How well it finds", how_well),
        ("From camera to camera", [element("div", *pairs, class_="columns")] if pairs else []),
        ("Training", [element("div", *map(stage, page.curves), class_="columns")] if page.curves else []),
        ("Why queries fail", reasons),
        ("What it finds", shown),
        ("Who lies beside whom", [embedding_map(found, pictures)] if found else []),
        ("How this was made", _reproduction(page.reproduction)),
    ]
    present = [(name, inside) for name, inside in sections if inside]
    links = (element("li", element("a", name, href=f"#{_anchor(name)}")) for name, _ in present)
    return [
        element("header", element("h1", page.title), element("p", f"{page.about} {_gain(page)}", class_="summary")),
        element("nav", element("ul", *links), aria_label="Sections"),
        *(element("section", element("h2", name), *inside, id=_anchor(name)) for name, inside in present),
        element("noscript", element("p", "The pictures and the map need JavaScript; nothing leaves this page.")),
    ]


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _gain(page: Page) -> str:
    """How good it is, or how much better it got, as a sentence."""
    task = page.after.report.tasks[0]
    asked = "captions" if task.name == "text → image" else "queries"
    against = f"{task.n_valid:,} {asked} against {task.n_gallery:,} gallery pictures"
    if page.before is None:
        return f"With {against} it reaches mAP {_share(task, 'mAP')} and R1 {_share(task, 'R1')}."
    old = page.before.report.tasks[0]
    moved = [f"{name} went from {_share(old, name)} to {_share(task, name)}" for name in ("mAP", "R1")]
    return f"With {against}, {' and '.join(moved)}."


def _share(task: Task, name: str) -> str:
    return f"{percent(task.scores[name])}\N{NO-BREAK SPACE}%"


def _open_set(tasks: Sequence[Task]) -> list[Element]:
    """How far queries whose individual is not in the gallery are told from the others."""
    rows = []
    known_of_any = {name for task in tasks if task.open_set for name in task.open_set.scores}
    names = sorted(known_of_any, key=lambda name: (name == "AUROC", name))
    for task in tasks:
        if task.open_set is not None:
            cells = []
            for name in names:
                low, high = task.open_set.intervals.get(name, (0.0, 0.0))
                known = name in task.open_set.scores
                interval = element("small", f"{percent(low)}–{percent(high)}")
                cells.append(
                    element("td", percent(task.open_set.scores[name]), element("br"), interval)
                    if known
                    else element("td", "too few")
                )
            rows.append(element("tr", element("th", task.name, scope="row"), *cells))
    if not rows:
        return []
    head = element(
        "tr",
        element("td"),
        *(element("th", name.replace("@", " at FPIR ").replace("%", " %"), scope="col") for name in names),
    )
    caption = element(
        "caption",
        "Open set, percent with 95 % interval: each query asks with its individual in the gallery and without. TPIR: "
        "found first at the threshold that lets this share of the queries without theirs through.",
    )
    table = element("table", caption, element("thead", head), element("tbody", *rows))
    return [scrolling(table, "Open set")]


def _published(reproduction: Reproduction) -> list[Element]:
    if not reproduction.distances:
        return []
    rows = []
    names = [name for name in METRICS if any(name in one.published.scores for one in reproduction.distances)]
    for one in reproduction.distances:
        cells = [
            element("td", percent(share), element("br"), element("small", _signed(one.ours[name] - share)))
            if (share := one.published.scores.get(name)) is not None
            else element("td", "–")
            for name in names
        ]
        method = element("th", one.published.method, element("br"), element("small", one.published.source), scope="row")
        rows.append(element("tr", method, *cells))
    head = element("tr", element("td"), *(element("th", name, scope="col") for name in names))
    caption = element(
        "caption", "Published, in percent, without re-ranking; below it how much higher (+) or lower (−) this one is."
    )
    table = element("table", caption, element("thead", head), element("tbody", *rows), class_="scores published")
    return [element("h3", "Beside published results"), scrolling(table, "Published results")]


def _signed(difference: float) -> str:
    return f"{round(100 * difference, 1) + 0.0:+.1f}".replace("-", "−")


def _notes(lines: Sequence[str]) -> list[Element]:
    return [element("ul", *(element("li", line) for line in lines), class_="note")] if lines else []


def _reproduction(made: Reproduction) -> list[Element]:
    rows = (element("tr", element("th", name, scope="row"), element("td", fact)) for name, fact in made.facts.items())
    caption = element("caption", "Commands, versions, fingerprints and seeds")
    parts = [scrolling(element("table", caption, element("tbody", *rows), class_="facts"), "How this was made")]
    if made.counts:
        head = element(
            "tr", *(element("th", name, scope="col") for name in ("role", "identities", "pictures", "captions"))
        )
        body = element("tbody", *map(_count, made.counts))
        said = element("caption", "What the data hold; in brackets what their makers publish, where it differs.")
        parts.append(scrolling(element("table", said, element("thead", head), body), "Counts of the data"))
    if made.settings is not None:
        text = json.dumps(made.settings, indent=2, ensure_ascii=False)
        parts.append(
            element("details", element("summary", "Settings of the training"), element("pre", text, tabindex=0))
        )
    return parts


def _count(row: RoleCounts) -> Element:
    cells = []
    for name in ("identities", "pictures", "captions"):
        found, published = getattr(row.found, name), row.published and getattr(row.published, name)
        differs = published is not None and published != found
        cells.append(element("td", f"{found:,} ({published:,})" if differs else f"{found:,}"))
    same = row.published is not None and row.published == row.found
    return element("tr", element("th", row.role + (" ✓ as published" if same else ""), scope="row"), *cells)
