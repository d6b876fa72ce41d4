"""A Report as a table for people, and as JSON; what explains it, too."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from resight.embed import prepare_folder
from resight.errors import DataError
from resight.evaluate import ENDS_OF_TIES, RANKS, CameraPair, Report, Task
from resight.examples import Match
from resight.explaining import Explained, Explanation, Lists
from resight.open_set import RATES as RATES_OF_OPEN_SET
from resight.open_set import OpenSet
from resight.reproduction import Reproduction

COLUMNS = ("mAP", *(f"R{rank}" for rank in RANKS), "mINP")


def as_json(report: Report) -> dict[str, Any]:
    """Plain JSON values, without the answers, which are to be looked at; every score is a share from 0 to 1."""
    return {name: value for name, value in asdict(report).items() if name != "answers"}


def show(report: Report, console: Console) -> None:
    """Prints percent with one decimal, the 95 % interval below; re-ranked scores stand in a table of their own."""
    _line(console, f"{report.encoder} [{report.fingerprint}] on {report.data_name}, {report.subset} [{report.data}]")
    console.print(_table("without re-ranking, in percent, with 95 % intervals", report.tasks, reranked=False))
    reranked = tuple(task for task in report.tasks if task.reranked is not None)
    if report.rules.rerank is not None and reranked:
        k = report.rules.rerank
        title = f"with re-ranking (k1 {k.k1}, k2 {k.k2}, weight {k.weight:g}), in percent"
        console.print(_table(title, reranked, reranked=True))
    for task in report.tasks:
        if task.camera_pairs:
            console.print(_pairs_table(task.camera_pairs))
    for task in report.tasks:
        if task.open_set is not None:
            _line(console, f"open set: {task.name} {_open_set(task.open_set)}")
    for task in report.tasks:
        low, high = (_mean_and_first(task.at_ties[rule]) for rule in ENDS_OF_TIES)
        if low != high:
            _line(console, f"ties: {task.name} has {low} if the negatives win them all, {high} if the positives do")
    for note in report.notes:
        _line(console, f"note: {note}")


def _mean_and_first(scores: dict[str, float]) -> str:
    return f"mAP {_percent(scores['mAP'])} and R1 {_percent(scores['R1'])}"


def _open_set(found: OpenSet) -> str:
    """Shares in percent with their intervals, and what is left out."""
    told, too_few = [], []
    for name in (*(f"TPIR@{rate:.0%}" for rate in RATES_OF_OPEN_SET), "AUROC"):
        what = f"{name.replace('@', ' at FPIR ').replace('%', ' %')}"
        if name in found.scores:
            low, high = found.intervals[name]
            told.append(f"{what} {_percent(found.scores[name])} ({100 * low:.0f}–{100 * high:.0f})")
        else:
            too_few.append(what)
    left_out = f"; {' and '.join(too_few)} left out, {found.n_queries} queries are too few" if too_few else ""
    return ", ".join(told) + left_out


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _table(title: str, tasks: tuple[Task, ...], *, reranked: bool) -> Table:
    """At most 80 characters wide: what would make it wider stands on a task's second line."""
    table = _empty_table(title)
    table.add_column("task", no_wrap=True)
    for name in (*COLUMNS, "valid", "gallery"):
        table.add_column(name, justify="right", no_wrap=True)
    for task in tasks:
        scores = task.reranked if reranked and task.reranked is not None else task.scores
        cells = [_two(_percent(scores[name]), "" if reranked else _interval(task, name)) for name in COLUMNS]
        valid = _two(str(task.n_valid), f"of {task.n_queries}")
        table.add_row(_two(task.name, task.protocol), *cells, valid, str(task.n_gallery))
    return table


def _empty_table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )


def _two(above: str, below: str) -> Group:
    return Group(Text(above), Text(below, style="dim"))


def _interval(task: Task, name: str) -> str:
    low, high = task.intervals[name]
    return f"{100 * low:.0f}–{100 * high:.0f}"


def _pairs_table(pairs: tuple[CameraPair, ...]) -> Table:
    title = "by query camera and gallery camera, in percent"
    table = _empty_table(title)
    for name in ("query camera", "gallery camera", "mAP", "R1", "valid queries"):
        table.add_column(name, justify="right")
    for pair in pairs:
        values = (_percent(pair.scores["mAP"]), _percent(pair.scores["R1"]), str(pair.n_valid))
        table.add_row(pair.query_camera, pair.gallery_camera, *values)
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def explained_json(explanation: Explanation, reproduction: Reproduction) -> dict[str, Any]:
    """As `as_json`, with what explains the figures: lists with reasons, their counts, and what to reproduce them by."""
    return as_json(explanation.report) | {
        "lists": [_lists(one) for one in explanation.lists],
        "explanation_notes": list(explanation.notes),
        "reproduction": asdict(reproduction),
    }


def _lists(lists: Lists) -> dict[str, Any]:
    return {
        "task": lists.task,
        "cmc": lists.cmc.tolist(),
        "n_failed": lists.n_failed,
        "n_right": lists.n_right,
        "unanswered": {
            why: [{"query": str(record.path), "caption": caption} for record, caption in queries]
            for why, queries in lists.unanswered.items()
        },
        "n_judged": {"failed": lists.n_judged[0], "right": lists.n_judged[1]},
        "reasons": [asdict(one) for one in lists.reasons],
        "queries": [_explained(one) for one in lists.shown],
    }


def _explained(one: Explained) -> dict[str, Any]:
    ranked = one.ranked
    return {
        "query": str(ranked.query.path),
        "identity": ranked.query.identity,
        "camera": ranked.query.camera,
        "caption": ranked.caption,
        "average_precision": ranked.average_precision,
        "first_rank": ranked.first_rank,
        "reasons": [asdict(reason) for reason in one.reasons],
        "matches": [_match(match) for match in ranked.matches],
        "best_right": _match(ranked.best_right) if ranked.best_right else None,
    }


def _match(match: Match) -> dict[str, Any]:
    record = match.record
    about = {"picture": str(record.path), "identity": record.identity, "camera": record.camera}
    return about | {"similarity": match.similarity, "right": match.right, "rank": match.rank or None}


def write_json(values: dict[str, Any], folder: Path) -> None:
    """Writes `report.json` into `folder`. Raises DataError when it cannot be written."""
    prepare_folder(folder)
    path = folder / "report.json"
    try:
        text = json.dumps(values, indent=2, ensure_ascii=False, default=str)
        path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}). Free the disk or name another place.") from error
