"""How well an encoder finds, as tables and curves; how its training went; and a map of its embeddings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

from resight.charts import draw_lines
from resight.curves import Line, StageCurves
from resight.embedding_map import EmbeddingMap
from resight.evaluate import CameraPair, Report, Task
from resight.explaining import Lists
from resight.markup import element
from resight.page.document import Pictures, scrolling
from resight.page.lists import name_of

METRICS = ("mAP", "R1", "R5", "R10", "mINP")
N_CAMERAS = 30  # a side, that are drawn
SIDE, DOT = 560, 5  # of the map, in its own units
OVER_DRAWS = "over the ten draws of the gallery, of which the figures are the means"
GOLDEN = 137.508  # degrees: neighbours in the order of names get hues far apart


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def scores(report: Report, before: Report | None) -> Element:
    """Before and after for every task, without re-ranking, with intervals."""
    earlier = {task.name: task for task in before.tasks} if before else {}
    groups = []
    for task in report.tasks:
        valid = f"{task.n_valid:,} of {task.n_queries:,} queries can be answered"
        counts = element("small", f"{valid}, {task.n_gallery:,} in the gallery")
        title = task.name if task.protocol == "text" else f"{task.name}, {task.protocol}"
        name = element("th", title, element("br"), counts, colspan=6, scope="rowgroup")
        old = earlier.get(task.name)
        rows = [_row("before", old), _row("after", task), _change(old, task)] if old else [_row("scores", task)]
        groups.append(element("tbody", element("tr", name), *rows))
    caption = f"Percent, below it the 95 % interval {_over(report.tasks)}. Without re-ranking."
    return _table(caption, groups, "scores")


def _over(tasks: Sequence[Task]) -> str:
    """What the intervals tell."""
    draws = [task.protocol == "vehicleid" for task in tasks]
    if all(draws):
        return OVER_DRAWS
    return f"over the query identities (vehicleid: {OVER_DRAWS})" if any(draws) else "over the query identities"


def reranked(report: Report) -> list[Element]:
    """A table of its own; nothing where nothing was re-ranked."""
    k = report.rules.rerank
    found = [(task, task.reranked) for task in report.tasks if task.reranked is not None]
    if k is None or not found:
        return []
    rows = [
        element("tr", element("th", task.name, scope="row"), *(element("td", percent(again[m])) for m in METRICS))
        for task, again in found
    ]
    caption = (
        f"With re-ranking (k1 {k.k1}, k2 {k.k2}, weight {k.weight:g}), in percent. Not comparable with the table above."
    )
    return [_table(caption, [element("tbody", *rows)], "re-ranked scores")]


def _table(caption: str, groups: Iterable[Element], name: str) -> Element:
    head = element("tr", element("td"), *(element("th", metric, scope="col") for metric in METRICS))
    table = element("table", element("caption", caption), element("thead", head), *groups, class_="scores")
    return scrolling(table, name.capitalize())


def _row(name: str, task: Task) -> Element:
    cells = []
    for metric in METRICS:
        low, high = task.intervals[metric]
        interval = element("small", f"{100 * low:.1f}–{100 * high:.1f}")
        cells.append(element("td", percent(task.scores[metric]), element("br"), interval))
    return element("tr", element("th", name, scope="row"), *cells)


def _change(old: Task, new: Task) -> Element:
    points = [round(100 * (new.scores[name] - old.scores[name]), 1) + 0.0 for name in METRICS]  # no −0.0
    gains = (f"{gain:+.1f}".replace("-", "−") for gain in points)
    return element(
        "tr", element("th", "change", scope="row"), *(element("td", gain) for gain in gains), class_="change"
    )


def match_curves(lists: Sequence[Lists], before: Sequence[Lists]) -> list[Element]:
    """Nothing where no list has a curve."""
    named: list[tuple[str, Lists]] = [
        (one.task if len(lists) > 1 else "after" if before else one.task, one) for one in lists
    ]
    named += [(f"before, {one.task}" if len(lists) > 1 else "before", one) for one in before]
    lines = [
        Line(name, list(range(1, len(one.cmc) + 1)), [float(100 * share) for share in one.cmc])
        for name, one in named
        if len(one.cmc)
    ]
    if not lines:
        return []
    about = "CMC: the share of queries whose first right picture stands at that rank or above."
    chart = draw_lines(lines, name="cmc", x_name="rank", y_name="queries, %", x_low=1)
    return [element("figure", chart, element("figcaption", about))]


def camera_pairs(pairs: Sequence[CameraPair]) -> list[Element]:
    """A table for mAP and one for R1: query cameras down, gallery cameras across; a line where these are too many."""
    rows = _by_number({pair.query_camera for pair in pairs})
    columns = _by_number({pair.gallery_camera for pair in pairs})
    if max(len(rows), len(columns)) > N_CAMERAS:
        about = (
            f"Cameras: {len(rows):,} of queries, {len(columns):,} of the gallery; up to {N_CAMERAS} a side are drawn. "
            "The scores of each pair are in report.json."
        )
        return [element("p", about)]
    of = {(pair.query_camera, pair.gallery_camera): pair for pair in pairs}
    tables = []
    for metric in ("mAP", "R1"):
        every = [pair.scores[metric] for pair in pairs]
        ends = min(every), max(every)
        head = element("tr", element("td"), *(element("th", name, scope="col") for name in columns))
        body = [
            element(
                "tr", element("th", row, scope="row"), *(_pair(of.get((row, name)), metric, ends) for name in columns)
            )
            for row in rows
        ]
        caption = (
            f"{metric} in percent by query camera (row) and gallery camera (column), below it the valid queries; the "
            "stronger the colour, the higher, from the lowest to the highest of the table."
        )
        table = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
        table.set("class", "heat")
        tables.append(scrolling(table, f"{metric} by camera pair"))
    return tables


def _by_number(names: set[str]) -> list[str]:
    numbers = all(name.isdigit() for name in names)
    return sorted(names, key=lambda name: (int(name), name) if numbers else (0, name))


def _pair(pair: CameraPair | None, metric: str, ends: tuple[float, float]) -> Element:
    if pair is None:
        return element("td", "–", class_="none")
    low, high = ends
    heat = (pair.scores[metric] - low) / (high - low or 1)
    inside = percent(pair.scores[metric]), element("br"), element("small", f"{pair.n_valid:,}")
    return element("td", *inside, style=f"--heat:{heat:.2f}")


def stage(curves: StageCurves) -> Element:
    charts = [
        (curves.terms, "loss", 260, "Loss terms, weighted as they are summed; means over neighbouring steps."),
        ((curves.rate,), "learning rate", 170, "Learning rate."),
    ]
    if curves.validation:
        in_percent = tuple(Line(line.name, line.x, [100 * y for y in line.y]) for line in curves.validation)
        charts.append((in_percent, "validation, %", 200, "Scores on validation identities."))
    figures = [
        element(
            "figure",
            draw_lines(lines, name=f"{curves.stage} {name}", x_name="step", y_name=name, x_low=0, height=height),
            element("figcaption", about),
        )
        for lines, name, height, about in charts
    ]
    return element("div", element("h3", f"Stage: {curves.stage}"), *figures)


def embedding_map(found: EmbeddingMap, pictures: Pictures) -> Element:
    """Dots that name themselves under the pointer, or one by one by the arrow keys, coloured by identity or camera."""
    identities = _by_number({record.identity or "" for record in found.records})
    cameras = _by_number({record.camera or "" for record in found.records})
    dots = []
    order = sorted(range(len(found.records)), key=lambda k: (identities.index(found.records[k].identity or ""), k))
    for k in order:
        record, (x, y) = found.records[k], found.places[k]
        who, where = identities.index(record.identity or ""), cameras.index(record.camera or "")
        hues = f"--who:{GOLDEN * who % 360:.0f};--where:{360 * where / len(cameras):.0f}"
        place = {"cx": f"{10 + (SIDE - 20) * float(x):.0f}", "cy": f"{10 + (SIDE - 20) * float(y):.0f}"}
        data = {"data_picture": pictures.number(record), "data_who": who, "data_where": where}
        dots.append(element("circle", r=DOT, style=hues, data_name=name_of(record), **place, **data))
    told = f"{len(found.records):,} pictures of {len(identities):,} identities"
    shares = [f"{100 * found.same_identity:.0f} % of them lie beside one of their own identity"]
    if not math.isnan(found.same_camera):
        shares.append(f"{100 * found.same_camera:.0f} % beside one of their own camera")
    drawn = element(
        "svg",
        *dots,
        viewBox=f"0 0 {SIDE} {SIDE}",
        class_="map",
        role="img",
        tabindex=0,
        aria_label=f"Map of the embeddings: {told}; {', '.join(shares)}.",
        data_by="who",
    )
    by = [
        element("button", name, type="button", data_by=value, aria_pressed="true" if value == "who" else "false")
        for value, name in (("who", "identity"), ("where", "camera"))
        if value == "who" or len(cameras) > 1
    ]
    switch = element("div", "coloured by ", *by, class_="switch", role="group", aria_label="Coloured by")
    card = element(
        "div",
        element("p", "Point at a dot, or press the arrow keys, to see its picture."),
        class_="card",
        aria_live="polite",
    )
    about = (
        f"{told}, by t-SNE of their cosine distances: neighbours are alike, distances between far groups say little. "
        f"{' and '.join(shares)}."
    )
    return element("figure", switch, element("div", drawn, card, class_="plane"), element("figcaption", about))
