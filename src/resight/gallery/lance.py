"""A gallery in a folder: LanceDB's table of rows, and `gallery.json` with what the gallery says of itself.

Each write is one commit of LanceDB, under a lock of the folder, and is handed to the disk before the call returns; who
reads meanwhile sees the state before or after it.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.compute
from lancedb.query import ColumnOrdering, LanceVectorQueryBuilder
from lancedb.table import Table
from numpy.typing import NDArray

from resight.errors import GalleryError
from resight.gallery.conditions import condition, one_of
from resight.gallery.folder import LOCK, NOTE, clearly, read_note, write_note, write_whole, writing
from resight.gallery.lance_columns import KNOWN, as_entries, as_matches, as_rows, as_table, schema, spaces
from resight.gallery.lance_upkeep import PORTION, index, n_unindexed, put, rewrite, tidy
from resight.gallery.rows import (
    EVERYWHERE,
    About,
    Entry,
    Info,
    Match,
    Row,
    Space,
    Where,
    check_entry,
    check_ids,
    check_query,
    check_rows,
)

TABLE = "rows"
OWED = "unpurged"
"""A file that is there while bytes of removed or replaced rows may be on disk."""

HALF = "half-done"
"""A file with the state to go back to, while a call takes several steps."""

REFINE = 5
"""Times as many rows as asked for are compared exactly, of those that the index found."""

ALL = 1_000_000
"""Partitions of the index that are searched: more than there are."""

IDS = 1_000  # in one condition
ATTEMPTS = 5

T = TypeVar("T")


def create(folder: Path, about: About) -> LanceGallery:
    """A new gallery in an empty or new folder. Raises GalleryError otherwise."""
    with clearly(folder, "cannot be written"):
        _require_empty(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GalleryError(f"{folder}: cannot be made ({error.strerror}). Name another folder.") from error
        with writing(folder):
            _require_empty(folder)
            try:
                _connect(folder).create_table(TABLE, schema=schema(about))
                write_note(folder, about)
            except BaseException:
                shutil.rmtree(folder / f"{TABLE}.lance", ignore_errors=True)
                raise
    return LanceGallery(folder)


def open_gallery(folder: Path) -> LanceGallery:
    """The gallery in a folder. Raises NoGalleryError when there is none, GalleryError for a damaged one."""
    gallery = LanceGallery(folder)
    if not set(schema(gallery.about)) <= set(gallery.table.schema):
        raise GalleryError(f"{folder}: its rows are not those that its note tells of. Restore it from a copy.")
    return gallery


class LanceGallery:
    """`Gallery` on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        read_note(folder)
        with clearly(folder, "cannot be read"):
            self.table = _connect(folder).open_table(TABLE)

    @property
    def about(self) -> About:
        return read_note(self.folder)

    def add(self, rows: Sequence[Row]) -> None:
        about = self.about
        check_rows(rows, about)
        if not rows:
            return
        with self._writing():
            tidy(self.table, self.folder, spaces(about))
            if self._take([row.entry.id for row in rows], ["id"]).num_rows:
                self._put(rows, about)
            else:
                self.table.add(as_table(rows, about))

    def update(self, entries: Sequence[Entry]) -> None:
        ids = [entry.id for entry in entries]
        check_ids(ids)
        for entry in entries:
            check_entry(entry)
        if not entries:
            return
        with self._writing():
            about = self.about
            rows = {row.entry.id: row for row in self.get(ids)}
            missing = [id_ for id_ in ids if id_ not in rows]
            if missing:
                raise GalleryError(f"row {missing[0]!r}: is not in the gallery. `resight gallery list` shows the ids.")
            tidy(self.table, self.folder, spaces(about))
            self._put([dataclasses.replace(rows[entry.id], entry=entry) for entry in entries], about)

    def remove(self, ids: Sequence[str]) -> int:
        n = 0
        with self._writing():
            for some in _portions(ids):
                n_there = self.table.count_rows(one_of("id", some))
                if n_there:
                    self._owe()
                    self.table.delete(one_of("id", some))
                    n += n_there
        return n

    def forget(self, identity: str) -> int:
        if not identity:
            raise ValueError("no identity to forget")
        with self._writing():
            n: int = self.table.count_rows(one_of("identity", [identity]))
            if n:
                self._owe()
                self.table.delete(one_of("identity", [identity]))
            if self._owes():
                self._purge()
        return n

    def get(self, ids: Sequence[str], *, thumbnails: bool = True) -> list[Row]:
        columns = None if thumbnails else [*KNOWN, *spaces(self.about)]
        rows = {row.entry.id: row for row in as_rows(self._take(ids, columns))}
        return [rows[id_] for id_ in ids if id_ in rows]

    def contents(self, ids: Sequence[str]) -> dict[str, str]:
        found = self._take(ids, ["id", "content"])
        return dict(zip(found["id"].to_pylist(), found["content"].to_pylist(), strict=True))

    def entries(self, where: Where = EVERYWHERE, *, start: int = 0, limit: int | None = None) -> Iterator[Entry]:
        order = [ColumnOrdering(column_name="id", ascending=True, nulls_first=False)]

        def page(table: Table) -> pa.Table:
            query = table.search().select(KNOWN).order_by(order).offset(start)
            query = query.limit(table.count_rows() if limit is None else limit)
            return (query.where(condition(where)) if condition(where) else query).to_arrow()

        found = self._ask(page) if limit != 0 else pa.table({})
        for first in range(0, found.num_rows, IDS):
            yield from as_entries(found.slice(first, IDS))

    def count(self, where: Where = EVERYWHERE) -> int:
        n: int = self._ask(lambda table: table.count_rows(condition(where) or None))
        return n

    def search(
        self,
        vector: NDArray[np.float32],
        *,
        by: Space = "embedding",
        top: int = 10,
        where: Where = EVERYWHERE,
        exact: bool = False,
    ) -> list[Match]:
        check_query(vector, by, top, self.about)

        def nearest(n: int) -> list[Match]:
            def ask(table: Table) -> pa.Table:
                query = cast(LanceVectorQueryBuilder, table.search(vector, vector_column_name=by))
                query = query.distance_type("dot").nprobes(ALL).refine_factor(REFINE)
                query = query.where(condition(where), prefilter=True) if condition(where) else query
                query = query.bypass_vector_index() if exact else query
                return query.select([*KNOWN, "_distance"]).limit(n).to_arrow()

            return as_matches(self._ask(ask))

        n = top + 1
        while True:
            found = nearest(n)
            if len(found) < n or found[-1].similarity < found[top - 1].similarity:
                return found[:top]
            n *= 2  # more rows are as similar as the last: those with the first ids are wanted

    def info(self) -> Info:
        def known(table: Table) -> tuple[pa.Table, int]:
            names = table.search().select(["identity", "camera"]).limit(table.count_rows()).to_arrow()
            return names, n_unindexed(table, "embedding")

        names, n_beside = self._ask(known)
        return Info(
            backend="LanceDB",
            place=str(self.folder),
            n_rows=names.num_rows,
            n_identities=pa.compute.count_distinct(names["identity"]).as_py(),
            n_cameras=pa.compute.count_distinct(names["camera"]).as_py(),
            n_indexed=max(0, names.num_rows - n_beside),
            n_bytes=sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()),
        )

    def compact(self) -> None:
        with self._writing():
            if self._owes():
                self._purge()
            else:
                index(self.table, spaces(self.about))

    def keep_calibration(self, calibration: Mapping[str, Any] | None) -> None:
        with self._writing():
            write_note(self.folder, dataclasses.replace(self.about, calibration=calibration))

    def close(self) -> None:
        """Nothing is open between calls."""

    def _take(self, ids: Sequence[str], columns: list[str] | None = None) -> pa.Table:
        """The rows with these ids, in any order."""

        def some(table: Table, ids: Sequence[str]) -> pa.Table:
            query = table.search().where(one_of("id", ids)).limit(len(ids))
            return (query.select(columns) if columns else query).to_arrow()

        return self._ask(lambda table: pa.concat_tables([some(table, part) for part in _portions(ids) or [[""]]]))

    def _put(self, rows: Sequence[Row], about: About) -> None:
        """Replaces the rows that are there, and adds the others, all or none."""
        self._owe()
        if len(rows) > PORTION:
            write_whole(self.folder / HALF, str(self.table.version))
        try:
            put(self.table, as_table(rows, about))
        except BaseException:
            self._undo_half()
            raise
        (self.folder / HALF).unlink(missing_ok=True)

    def _undo_half(self) -> None:
        """Takes back the steps of a call that failed, or whose process ended, before all of them were done."""
        half = self.folder / HALF
        if half.exists():
            self.table.restore(int(half.read_text()))
            half.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with writing(self.folder):
            self._undo_half()
            yield

    def _ask(self, query: Callable[[Table], T]) -> T:
        """Asks again when a writer meanwhile deleted the state that was read."""
        with clearly(self.folder, "cannot be read"):
            for attempt in range(ATTEMPTS):
                try:
                    return query(self.table)
                except (OSError, RuntimeError, ValueError) as error:
                    if attempt == ATTEMPTS - 1 or "not found" not in str(error).lower():
                        raise
        raise AssertionError("the last attempt returns or raises")

    def _owe(self) -> None:
        """Notes, before rows are taken out, that their bytes are to be purged: also when this process ends before."""
        (self.folder / OWED).touch()

    def _owes(self) -> bool:
        return (self.folder / OWED).exists()

    def _purge(self) -> None:
        rewrite(self.table)
        index(self.table, spaces(self.about))
        (self.folder / OWED).unlink()


def _require_empty(folder: Path) -> None:
    if (folder / NOTE).is_file():
        raise GalleryError(f"{folder}: is a gallery already. `resight gallery add {folder}` adds to it.")
    if folder.exists() and (not folder.is_dir() or any(path.name != LOCK for path in folder.iterdir())):
        raise GalleryError(f"{folder}: is not empty. Name a new folder for the gallery.")


def _connect(folder: Path) -> lancedb.DBConnection:
    return lancedb.connect(folder, read_consistency_interval=timedelta(0))


def _portions(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[first : first + IDS] for first in range(0, len(ids), IDS)]
