"""What a report.json says: the figures of one encoder, comparison by comparison."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resight.data.records import printable
from resight.errors import DataError

SCORES = ("mAP", "R1", "R5", "R10", "mINP")


@dataclass(frozen=True, slots=True)
class Result:
    """One comparison. scores, reranked: mAP, R1, R5, R10, mINP as shares from 0 to 1; intervals: 95 %, of the scores.

    encoder: fingerprint of what was measured; data: of what was compared. n_valid: queries that have something to find.
    rerank: the settings of `reranked`, "" where that is None.
    """

    encoder: str
    data_name: str
    data: str
    subset: str
    task: str
    protocol: str
    n_queries: int
    n_valid: int
    n_gallery: int
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    reranked: Mapping[str, float] | None
    rerank: str


def read_results(report: Path) -> tuple[Result, ...]:
    """Every comparison in a report.json, or in that of a folder. Raises DataError when it is no report."""
    path = report / "report.json" if report.is_dir() else report
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        k = values["rules"]["rerank"]
        rerank = "" if k is None else f"k1 {k['k1']:g}, k2 {k['k2']:g}, weight {k['weight']:g}"
        return tuple(_result(values, task, rerank) for task in values["tasks"])
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}). Name what `resight evaluate --out` wrote.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        found = " ".join(str(error).split())
        raise DataError(f"{path}: is no report ({found}). Name what `resight evaluate --out` wrote.") from error


def _result(report: Mapping[str, Any], task: Mapping[str, Any], rerank: str) -> Result:
    encoder, data_name, data, subset = (
        printable(str(report[name])) for name in ("fingerprint", "data_name", "data", "subset")
    )
    name, protocol = (printable(str(task[name])) for name in ("name", "protocol"))
    n_queries, n_valid, n_gallery = (int(task[name]) for name in ("n_queries", "n_valid", "n_gallery"))
    intervals = {score: (_share(task["intervals"][score][0]), _share(task["intervals"][score][1])) for score in SCORES}
    reranked = None if task["reranked"] is None else _scores(task["reranked"])
    counts = n_queries, n_valid, n_gallery
    return Result(
        encoder, data_name, data, subset, name, protocol, *counts, _scores(task["scores"]), intervals, reranked, rerank
    )


def _scores(values: Mapping[str, Any]) -> Mapping[str, float]:
    return {score: _share(values[score]) for score in SCORES}


def _share(value: Any) -> float:
    share = float(value)
    if not (math.isfinite(share) and 0 <= share <= 1):
        raise ValueError(f"a score of {value}, which is no share from 0 to 1")
    return share
