"""What must be known to reach a report's figures again, and how far they are from published ones."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resight.data import benchmarks
from resight.data.benchmarks import Counts
from resight.environment import describe
from resight.errors import ConfigError, DataError
from resight.evaluate import Report
from resight.published import Published, published_for
from resight.runs import read_config
from resight.types import Record, Role, Splits


@dataclass(frozen=True, slots=True)
class RoleCounts:
    """One role of the data: what was found, and what its makers publish; None where they do not."""

    role: str
    found: Counts
    published: Counts | None


@dataclass(frozen=True, slots=True)
class Distance:
    """A published result beside ours; `ours` has the same scores, as shares."""

    published: Published
    ours: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """facts: lines of name and value. settings: of the training, as its config.json has them; None without a run."""

    facts: Mapping[str, str]
    counts: tuple[RoleCounts, ...]
    distances: tuple[Distance, ...]
    settings: Mapping[str, Any] | None


def reproduce(
    report: Report, splits: Splits, *, command: str, seconds: float, run: Path | None = None, device: str = ""
) -> Reproduction:
    """command: what was typed. seconds: what the evaluation took. run: the folder of the training, if there was one.

    Raises ConfigError when the run's config.json is none.
    """
    here = describe()
    config = None if run is None else read_config(run)
    facts = {
        "command": command,
        **({} if config is None or run is None else _training(run, config)),
        "encoder": f"{report.encoder}, fingerprint {report.fingerprint}",
        "data": f"{report.data_name}, {report.subset}, fingerprint {report.data}",
        "ties": report.rules.ties,
        "seed of the intervals and the map": str(report.rules.seed),
        "resight": str(here["resight"]),
        "libraries": ", ".join(f"{name} {version}" for name, version in here["libraries"].items()),
        "machine": _machine(here),
        **({"computed on": device} if device else {}),
        "time of the evaluation": f"{seconds:.1f} s",
    }
    return Reproduction(facts, _counts(splits), _distances(report, splits), config)


def _machine(described: Mapping[str, Any]) -> str:
    accelerators = described.get("accelerators") or []
    parts = [described.get("processor"), f"{described.get('cores')} cores", *accelerators, described.get("system")]
    return ", ".join(str(part) for part in parts if part)


def _training(run: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """What the run folder says of the training; files other than config.json may be missing."""
    data, there = config["data"], _read(run / "environment.json")
    seed = config["settings"].get("engine", {}).get("seed")
    stages: dict[str, float] = {}
    for line in _lines(run / "metrics.jsonl"):
        if "seconds" in line:
            stages[str(line["stage"])] = float(line["seconds"])
    facts = {
        "training": f"{config['recipe']} from {config['init']}",
        "training command": str(config.get("command", "")),
        "training data": f"{data.get('data')}, {data.get('pictures')} pictures of {data.get('identities')} identities, "
        f"fingerprint {data.get('fingerprint')}",
        "training seed": "" if seed is None else str(seed),
        "training time": ", ".join(f"{stage} until {seconds:.0f} s" for stage, seconds in stages.items()),
        "training machine": _machine(there) if there else "",
        "training libraries": ", ".join(f"{n} {v}" for n, v in there.get("libraries", {}).items()),
    }
    return {name: fact for name, fact in facts.items() if fact}


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines; a power cut leaves others, also in the middle of a run that went on."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        with suppress(ValueError):
            value = json.loads(line)
            found += [value] if isinstance(value, dict) and "stage" in value else []
    return found


def _counts(splits: Splits) -> tuple[RoleCounts, ...]:
    published = {} if splits.benchmark is None else benchmarks.find(splits.benchmark).published
    roles: dict[Role, Sequence[Record]] = {
        "train": splits.train,
        "validation": splits.validation,
        "query": splits.query,
        "gallery": splits.gallery,
        "": splits.unassigned,
    }
    if "test" in published:
        roles["test"] = tuple(dict.fromkeys((*roles.pop("query"), *roles.pop("gallery"))))
    return tuple(
        RoleCounts(role or "unassigned", _count(records, published), published.get(role))
        for role, records in roles.items()
        if records or role in published
    )


def _count(records: Sequence[Record], published: Mapping[Role, Counts]) -> Counts:
    """As makers count who publish: distractors are one identity more."""
    identities = {record.identity for record in records} - (set() if published else {None})
    return Counts(len(identities), len(records), sum(len(record.captions) for record in records))


def _distances(report: Report, splits: Splits) -> tuple[Distance, ...]:
    if report.subset != "test":
        return ()
    found = []
    for published in published_for(splits.benchmark):
        protocol = benchmarks.find(published.benchmark).protocol
        name = "text → image" if protocol == "text" else "image → image"
        task = next((t for t in report.tasks if (t.name, t.protocol) == (name, protocol)), None)
        if task is not None:  # by another protocol figures are not comparable
            found.append(Distance(published, {name: task.scores[name] for name in published.scores}))
    return tuple(found)


def data_of(run: Path, config: Mapping[str, Any]) -> tuple[Path, str | None, tuple[str, ...]]:
    """Where a run's data lay: path, benchmark, columns.

    Raises ConfigError when it does not say, and DataError when they are gone.
    """
    data = config["data"]
    if not isinstance(data.get("data"), str):
        raise ConfigError(f"{run}: does not say which data it was trained on. Name them: --data PATH.")
    path = Path(data["data"])
    if not os.path.exists(path):
        raise DataError(f"{path}: the data of {run} are no longer there. Name where they are now: --data PATH.")
    columns = data.get("column") or ()
    return path, data.get("benchmark"), tuple(map(str, columns))
