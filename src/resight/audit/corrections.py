"""Decisions about label faults → a corrected table; pictures and the original table stay as they are."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from resight.audit.faults import Decided, write_rows
from resight.data.dataset import all_records
from resight.data.findings import picture
from resight.data.index import read, write_index
from resight.data.tables import SUFFIXES, choose_columns, open_table, read_table
from resight.errors import DataError
from resight.types import Record

Corrected = Record | None
"""None is left out."""


@dataclass(frozen=True, slots=True)
class Changes:
    """How many rows of pictures were moved to another identity and left out, pairs of identities merged, captions of
    rows moved and left out, and how many faults were decided to be none."""

    moved: int
    dropped: int
    merged: int
    captions_moved: int
    captions_dropped: int
    kept: int

    def __str__(self) -> str:
        return (
            f"{self.moved:,} pictures moved, {self.dropped:,} left out; {self.merged:,} identities merged into others; "
            f"{self.captions_dropped:,} captions left out, {self.captions_moved:,} moved; {self.kept:,} faults kept as "
            "they are"
        )


def write_corrected(
    decisions: Sequence[Decided],
    data: Path,
    out: Path,
    *,
    benchmark: str | None = None,
    columns: Mapping[str, str] = MappingProxyType({}),
) -> Changes:
    """Writes the data as a CSV with every decision carried out, and says what changed.

    Of a table all rows and columns are kept but those left out; its paths are written anew where `out` lies in another
    folder. A folder or benchmark becomes an index. Raises DataError when the data lack what a decision names, or two
    decisions contradict, and what reading and writing raise.
    """
    data, out = Path(os.path.abspath(data)), Path(os.path.abspath(out))
    if data.is_dir() or data.suffix.lower() not in SUFFIXES:
        splits = read(data, benchmark=benchmark, columns=columns)
        corrected, changes = correct(all_records(splits), decisions, splits.root)
        write_index([record for record in corrected if record is not None], out)
        return changes
    read(data, benchmark=benchmark, columns=columns)  # for its errors: what is wrong is said as everywhere
    records = read_table(data, columns).records
    corrected, changes = correct(records, decisions, data.parent)
    write_rows(_rows(data, columns, records, corrected, out), out)
    return changes


def correct(records: Sequence[Record], decisions: Sequence[Decided], root: Path) -> tuple[list[Corrected], Changes]:
    """Every record as decided, in their order. Pictures are named by their path below root, as in a table of faults.

    Pictures and captions first, then whole identities: what moves to an identity that is merged goes along. A picture
    decided about by itself does not move with its half of an identity. Raises DataError, with the decision's place,
    for what the records lack and for decisions that contradict.
    """
    work = _Work(list(records), _by_name(records, root))
    counts: Counter[str] = Counter()
    order = ("wrong identity", "copy across splits", "two individuals", "wrong caption", "shared caption")
    single = [one for one in decisions if one.decision in ("move", "drop")]
    for one in sorted(single, key=lambda one: order.index(one.kind)):
        if "caption" in one.kind:
            counts[f"captions {one.decision}"] += work.change_captions(one)
        else:
            counts[one.decision] += work.change_pictures(one)
    merges = [one for one in decisions if one.decision == "merge"]
    counts["merged"] = work.merge(merges)
    kept = sum(one.decision == "keep" for one in decisions)
    changes = Changes(
        moved=counts["move"],
        dropped=counts["drop"],
        merged=counts["merged"],
        captions_moved=counts["captions move"],
        captions_dropped=counts["captions drop"],
        kept=kept,
    )
    return work.records, changes


def _by_name(records: Sequence[Record], root: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        found.setdefault(picture(record, root), []).append(row)
    return found


class _Work:
    """records: as they are by now. decided: rows that a decision changed, and what it made of them."""

    def __init__(self, records: list[Record], by_name: dict[str, list[int]]) -> None:
        self.records: list[Corrected] = list(records)
        self.original = records
        self.by_name = by_name
        self.decided: dict[int, tuple[Decided, str | None]] = {}

    def rows(self, name: str, one: Decided) -> list[int]:
        if name not in self.by_name:
            raise DataError(f"{one.place}: {name} is not among the pictures of --data. Give the data audited.")
        return self.by_name[name]

    def change_pictures(self, one: Decided) -> int:
        """Moves or leaves out the rows of the decision's pictures that have the identity it is about."""
        target = one.identities[1] if one.decision == "move" and len(one.identities) > 1 else None
        if one.decision == "move" and target is None:
            raise DataError(f"{one.place}: does not say to which identity. Restore its identities.")
        n = 0
        for name in one.pictures:
            rows = [row for row in self.rows(name, one) if self._named(row) == one.identities[0]]
            if not rows:
                raise DataError(
                    f"{one.place}: {name} is not of identity {one.identities[0]} in --data. Give the data audited."
                )
            for row in rows:
                earlier = self.decided.get(row)
                if earlier and earlier[1] != target:
                    if one.kind == "two individuals":
                        continue  # decided by itself already
                    raise DataError(
                        f"{earlier[0].place} and {one.place} decide differently about {name}. Empty one of them."
                    )
                self.decided[row] = one, target
                if not earlier:
                    n += 1
                    self.records[row] = None if target is None else replace(self.original[row], identity=target)
        return n

    def _named(self, row: int) -> str:
        return self.original[row].identity or "unknown"

    def change_captions(self, one: Decided) -> int:
        """Takes the caption from its pictures, and gives it to the other one where it is moved."""
        to = one.pictures[1:] if one.kind == "wrong caption" else ()
        if one.decision == "move" and not to:
            raise DataError(f"{one.place}: does not say to which picture. Restore its pictures.")
        n = 0
        for name in one.pictures[:1] if one.kind == "wrong caption" else one.pictures:
            for row in self.rows(name, one):
                record = self.records[row]
                left = () if record is None else tuple(c for c in record.captions if _plain(c) != _plain(one.caption))
                if record is not None and left != record.captions:
                    self.records[row] = replace(record, captions=left)
                    n += 1
        if not n and not any(self.records[row] is None for name in one.pictures for row in self.rows(name, one)):
            raise DataError(f"{one.place}: no caption of {one.pictures[0]} is its caption. Give the data audited.")
        if one.decision == "move":
            row = self.rows(to[0], one)[0]
            other = self.records[row]
            if other is not None and one.caption not in other.captions:
                self.records[row] = replace(other, captions=(*other.captions, one.caption))
        return n

    def merge(self, merges: Sequence[Decided]) -> int:
        """Gives both identities of each decision one name, the first's; chains of them too."""
        known = {record.identity for record in (*self.original, *self.records) if record is not None}
        into: dict[str, str] = {}

        def name_of(identity: str) -> str:
            while identity in into:
                identity = into[identity]
            return identity

        for one in merges:
            for identity in one.identities[:2]:
                if identity not in known:
                    raise DataError(f"{one.place}: no picture is of identity {identity}. Give the data audited.")
            if len(one.identities) < 2:
                raise DataError(f"{one.place}: does not say which two identities. Restore its identities.")
            first, second = map(name_of, one.identities[:2])
            if first != second:
                into[second] = first
        for row, record in enumerate(self.records):
            if record is not None and record.identity in into:
                self.records[row] = replace(record, identity=name_of(record.identity))
        return len(into)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _rows(
    path: Path, columns: Mapping[str, str], records: Sequence[Record], corrected: Sequence[Corrected], out: Path
) -> list[list[str]]:
    """The table's header and rows as text, with what was corrected in its cells."""
    table = open_table(path)
    chosen = choose_columns(path, table.header, columns)
    values = [table.load(column) for column in table.header]
    read_columns = [table.header.index(column) for column in chosen.values()]
    rows = [list(row) for row in zip(*values, strict=True)]
    rows = [row for row in rows if not all(row[k] is None for k in read_columns)]
    place = {name: table.header.index(column) for name, column in chosen.items()}
    written = [list(table.header)]
    for row, before, after in zip(rows, records, corrected, strict=True):
        if after is None:
            continue
        cells = [_cell(value) for value in row]
        if "identity" in place and after.identity is not None:
            cells[place["identity"]] = after.identity
        if after.captions != before.captions and "caption" in place:
            cells[place["caption"]] = _captions(after.captions)
        if out.parent != path.parent:
            home = after.path.is_relative_to(out.parent)
            cells[place["path"]] = after.path.relative_to(out.parent).as_posix() if home else str(after.path)
        written.append(cells)
    return written


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple) else str(value)


def _captions(captions: tuple[str, ...]) -> str:
    """One cell that is read as these captions."""
    one = captions[0] if len(captions) == 1 else ""
    plain = one and one == one.strip() and not one.startswith("[")
    return one if plain or not captions else json.dumps(captions, ensure_ascii=False)
