"""What a run logged in metrics.jsonl → lines to draw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any

from resight.errors import DataError

N_POINTS = 150  # of a line; more than a chart has room for only make it ragged
SHOWN = ("mAP", "R1")  # of the validation scores: by the first an epoch is chosen, the second is what people know


@dataclass(frozen=True, slots=True)
class Line:
    """One value, y, for each of x, which ascends; a value that is not finite is unknown."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, slots=True)
class StageCurves:
    """One stage's lines over its steps so far.

    terms: each loss term as it enters the sum, before them their sum where there are several; means of neighbouring
    steps. rate: the learning rate. validation: scores from 0 to 1, or nothing.
    """

    stage: str
    terms: tuple[Line, ...]
    rate: Line
    validation: tuple[Line, ...]


def read_curves(path: Path) -> tuple[StageCurves, ...]:
    """The curves of every stage in a metrics.jsonl, in the order in which they ran.

    A line that was cut short, as a stopped process leaves it, is left out. Raises DataError when the file is missing,
    is something else, or holds no step.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        entries = [entry for entry in map(_parsed, lines) if entry is not None]
        if lines and not entries:
            raise ValueError("no line of it is one of a run's")
        by_stage: dict[str, list[dict[str, Any]]] = {}
        for entry in entries:
            by_stage.setdefault(entry["stage"], []).append(entry)
        curves = tuple(_curves(*stage) for stage in by_stage.items() if any("rate" in entry for entry in stage[1]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is not the metrics of a run ({error!r}). Name a run's own file.") from error
    if not curves:
        raise DataError(f"{path}: holds no step yet. Wait until the run has logged some.")
    return curves


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _curves(stage: str, entries: Sequence[dict[str, Any]]) -> StageCurves:
    steps = [entry for entry in entries if "rate" in entry]
    n_steps = {entry["epoch"]: entry["step"] for entry in steps}  # an epoch's last line stands
    before = dict(zip(n_steps, accumulate(n_steps.values(), initial=0), strict=False))

    def line(name: str, chosen: Sequence[dict[str, Any]], values: Sequence[float]) -> Line:
        return Line(name, [before[entry["epoch"]] + entry["step"] for entry in chosen], [float(v) for v in values])

    names = list(dict.fromkeys(name for entry in steps for name in entry["terms"]))
    terms = []
    if len(names) > 1:
        terms.append(line("sum", steps, [entry["loss"] for entry in steps]))
    for name in names:
        having = [entry for entry in steps if name in entry["terms"]]
        terms.append(line(name, having, [entry["terms"][name] for entry in having]))
    scores = [entry for entry in entries if "validation" in entry]
    validation = [
        line(name, scores, [entry["validation"][name] for entry in scores])
        for name in SHOWN
        if scores and name in scores[0]["validation"]
    ]
    rate = line("rate", steps, [entry["rate"] for entry in steps])
    return StageCurves(stage, tuple(map(thin, terms)), thin(rate), tuple(map(thin, validation)))


def thin(line: Line, n_points: int = N_POINTS) -> Line:
    """The means of neighbouring points, as many together as leave at most n_points."""
    together = -(-len(line.x) // n_points) or 1
    starts = range(0, len(line.x), together)
    x, y = ([fmean(values[start : start + together]) for start in starts] for values in (line.x, line.y))
    return Line(line.name, x, y)
