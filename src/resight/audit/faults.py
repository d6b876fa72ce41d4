"""Likely label faults, what may be decided about each, and both as a table that a person or a page fills in."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from resight.data.findings import picture
from resight.errors import DataError
from resight.types import Record

Kind = Literal[
    "wrong identity", "same individual", "two individuals", "copy across splits", "wrong caption", "shared caption"
]
Decision = Literal["keep", "move", "merge", "drop"]

OFFERED: Final[Mapping[Kind, tuple[Decision, ...]]] = {
    "wrong identity": ("move", "merge", "drop"),
    "same individual": ("merge",),
    "two individuals": ("move",),
    "copy across splits": ("drop",),
    "wrong caption": ("drop", "move"),
    "shared caption": ("drop",),
}
"""What may be decided beside keep, the suggestion first.

move: the pictures, or the caption, to the second identity or picture. merge: the second identity into the first. drop:
the row of the picture, or the caption, is left out; of a shared caption at every picture.
"""

COLUMNS: Final = (
    "rank",
    "score",
    "kind",
    "suggestion",
    "decision",
    "pictures",
    "identities",
    "caption",
    "beside",
    "why",
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One likely fault.

    score: 0 to 1, how sure; comparable within a kind, and roughly across kinds. pictures: what a decision changes; of a
    wrong caption its own picture and the one that it fits. identities: from which, to which. beside: what to look at,
    groups of pictures by title.
    """

    kind: Kind
    score: float
    pictures: tuple[Record, ...]
    identities: tuple[str, ...]
    why: str
    caption: str = ""
    beside: tuple[tuple[str, tuple[Record, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Decided:
    """A row of a table of decisions. place: file and line, for messages. pictures: by their names in that table."""

    place: str
    kind: Kind
    decision: Decision
    pictures: tuple[str, ...]
    identities: tuple[str, ...]
    caption: str


def sureness(score: float) -> str:
    """The score for people; no method here is sure to more than a percent."""
    return "over 99 % sure" if score > 0.99 else f"{100 * score:.0f} % sure"


def table_rows(faults: Iterable[Fault], root: Path) -> list[list[str]]:
    """The header and a row a fault, decisions empty; lists are JSON, pictures are named by their path below root."""
    rows = [list(COLUMNS)]
    for rank, fault in enumerate(faults, 1):
        beside = [picture(record, root) for _, records in fault.beside for record in records]
        pictures = [picture(record, root) for record in fault.pictures]
        lists = [json.dumps(cells, ensure_ascii=False) for cells in (pictures, fault.identities)]
        told = [f"{fault.score:.4f}", fault.kind, OFFERED[fault.kind][0], ""]
        rows.append([str(rank), *told, *lists, fault.caption, json.dumps(beside, ensure_ascii=False), fault.why])
    return rows


def write_rows(rows: Iterable[Sequence[str]], path: Path) -> None:
    """Writes a CSV, whole or not at all. Raises DataError when that fails."""
    part = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}). Choose another place.") from error
    finally:
        part.unlink(missing_ok=True)


def read_decisions(path: Path) -> list[Decided]:
    """The rows of a table of faults whose decision is filled in.

    Raises DataError for a file that is no such table, with the line for a row that cannot be read, and where nothing is
    decided.
    """
    remedy = "Give the findings.csv of `resight data audit`, decisions filled in, or what its page downloads."
    limit = csv.field_size_limit()
    try:
        csv.field_size_limit(max(limit, path.stat().st_size))  # the whole process's, so it is put back below
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            needed = ("kind", "decision", "pictures", "identities", "caption")
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path}: has no column {', '.join(missing)}. {remedy}")
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table of decisions ({error}). {remedy}") from error
    finally:
        csv.field_size_limit(limit)
    decided = [_decided(f"{path}: line {line}", row) for line, row in rows if (row["decision"] or "").strip()]
    if not decided:
        raise DataError(f"{path}: decides nothing. Fill in its column decision: keep, move, merge or drop.")
    return decided


def _decided(place: str, row: Mapping[str, str | None]) -> Decided:
    kind, decision = ((row[name] or "").strip().lower() for name in ("kind", "decision"))
    known = next((one for one in get_args(Kind) if one == kind), None)
    if known is None:
        raise DataError(f"{place}: kind {kind!r} is none of {', '.join(get_args(Kind))}. Restore it.")
    offered: tuple[Decision, ...] = ("keep", *OFFERED[known])
    chosen = next((one for one in offered if one == decision), None)
    if chosen is None:
        raise DataError(f"{place}: a {kind} may be decided as {', '.join(offered)}, not {decision!r}.")
    return Decided(
        place,
        known,
        chosen,
        _names(place, "pictures", row),
        _names(place, "identities", row),
        row["caption"] or "",
    )


def _names(place: str, column: str, row: Mapping[str, str | None]) -> tuple[str, ...]:
    try:
        names = json.loads(row[column] or "")
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(f'{place}: {column} is not a list such as ["a", "b"]. Restore it.')
    return tuple(names)
