"""A gallery in a folder: LanceDB's table of rows, and `gallery.json` with what the gallery says of itself."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.query import LanceVectorQueryBuilder
from numpy.typing import NDArray

from resight.errors import GalleryError
from resight.gallery.rows import (
    EVERYWHERE,
    About,
    Entry,
    Info,
    Match,
    Row,
    Space,
    Where,
    check_ids,
    check_query,
    check_rows,
)

FORMAT = 1
NOTE = "gallery.json"
TABLE = "rows"


def create(folder: Path, about: About) -> LanceGallery:
    """A new gallery in an empty or new folder. Raises GalleryError otherwise."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise GalleryError(f"{folder}: is not empty. Name a new folder for the gallery.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _connect(folder).create_table(TABLE, schema=_schema(about))
        _write_note(folder, about)
    except OSError as error:
        raise GalleryError(f"{folder}: cannot be written ({error}). Free the disk or name another place.") from error
    return LanceGallery(folder)


def open_gallery(folder: Path) -> LanceGallery:
    """The gallery in a folder. Raises GalleryError when there is none."""
    _read_note(folder)
    return LanceGallery(folder)


class LanceGallery:
    """`Gallery` on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._table = _connect(folder).open_table(TABLE)

    @property
    def about(self) -> About:
        return _read_note(self.folder)

    def add(self, rows: Sequence[Row]) -> None:
        check_rows(rows, self.about)
        if not rows:
            return
        self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(
            _as_table(rows, self.about)
        )

    def update(self, entries: Sequence[Entry]) -> None:
        check_ids([entry.id for entry in entries])
        rows = {row.entry.id: row for row in self.get([entry.id for entry in entries])}
        missing = [entry.id for entry in entries if entry.id not in rows]
        if missing:
            raise GalleryError(f"row {missing[0]!r}: is not in the gallery. `resight gallery list` shows the ids.")
        self.add([dataclasses.replace(rows[entry.id], entry=entry) for entry in entries])

    def remove(self, ids: Sequence[str]) -> int:
        n = self._table.count_rows(_one_of("id", ids)) if ids else 0
        if n:
            self._table.delete(_one_of("id", ids))
        return n

    def forget(self, identity: str) -> int:
        if not identity:
            raise ValueError("no identity to forget")
        where = _one_of("identity", [identity])
        n = self._table.count_rows(where)
        self._table.delete(where)
        self.compact()
        return n

    def get(self, ids: Sequence[str]) -> list[Row]:
        if not ids:
            return []
        found = self._table.search().where(_one_of("id", ids)).limit(len(ids)).to_arrow().to_pylist()
        rows = {values["id"]: _row(values) for values in found}
        return [rows[id_] for id_ in ids if id_ in rows]

    def contents(self, ids: Sequence[str]) -> dict[str, str]:
        if not ids:
            return {}
        query = self._table.search().where(_one_of("id", ids)).select(["id", "content"]).limit(len(ids))
        return {values["id"]: values["content"] for values in query.to_arrow().to_pylist()}

    def entries(self, where: Where = EVERYWHERE, *, start: int = 0, limit: int | None = None) -> Iterator[Entry]:
        query = self._table.search().select(_KNOWN).limit(self._table.count_rows())
        condition = _condition(where)
        found = (query.where(condition) if condition else query).to_arrow().sort_by("id")
        for values in found.slice(min(start, found.num_rows), limit).to_pylist():
            yield _entry(values)

    def count(self, where: Where = EVERYWHERE) -> int:
        n: int = self._table.count_rows(_condition(where) or None)
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
        n = top + 1
        while True:
            found = self._nearest(vector, by, n, where, exact)
            if len(found) < n or found[-1].similarity < found[top - 1].similarity:
                return found[:top]
            n *= 2  # more rows are as similar as the last: those with the first ids are wanted

    def _nearest(self, vector: NDArray[np.float32], by: Space, n: int, where: Where, exact: bool) -> list[Match]:
        query = cast(LanceVectorQueryBuilder, self._table.search(vector, vector_column_name=by)).distance_type("dot")
        condition = _condition(where)
        if condition:
            query = query.where(condition, prefilter=True)
        if exact:
            query = query.bypass_vector_index()
        found = query.select([*_KNOWN, "_distance"]).limit(n).to_arrow().to_pylist()
        # LanceDB's dot distance is 1 - the inner product
        matches = [Match(_entry(values), 1 - values["_distance"]) for values in found]
        return sorted(matches, key=lambda match: (-match.similarity, match.entry.id))

    def info(self) -> Info:
        known = self._table.search().select(["identity", "camera"]).limit(self._table.count_rows()).to_arrow()
        return Info(
            backend="LanceDB",
            place=str(self.folder),
            n_rows=known.num_rows,
            n_identities=len(set(known["identity"].to_pylist()) - {None}),
            n_cameras=len(set(known["camera"].to_pylist()) - {None}),
            n_indexed=0,
            n_bytes=sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()),
        )

    def compact(self) -> None:
        self._table.optimize(cleanup_older_than=timedelta(milliseconds=1), delete_unverified=True)

    def keep_calibration(self, calibration: Mapping[str, Any] | None) -> None:
        _write_note(self.folder, dataclasses.replace(self.about, calibration=calibration))

    def close(self) -> None:
        """Nothing stays open between calls."""


_KNOWN = ["id", "content", "path", "identity", "camera", "time", "box", "fields"]


def _connect(folder: Path) -> lancedb.DBConnection:
    return lancedb.connect(folder, read_consistency_interval=timedelta(0))


def _read_note(folder: Path) -> About:
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        if note.pop("format") != FORMAT:
            raise GalleryError(f"{folder}: is a gallery of another format. Upgrade resight.")
        return About(**note)
    except FileNotFoundError as error:
        raise GalleryError(f"{folder}: is no gallery. Make one with `resight gallery create {folder}`.") from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise GalleryError(f"{folder / NOTE}: cannot be read ({error}). Copy the gallery again.") from error


def _write_note(folder: Path, about: About) -> None:
    text = json.dumps({"format": FORMAT, **dataclasses.asdict(about)}, indent=2) + "\n"
    written = folder / f".{NOTE}.new"
    written.write_text(text, encoding="utf-8")
    written.replace(folder / NOTE)


def _schema(about: About) -> pa.Schema:
    columns = [pa.field(name, pa.string()) for name in ("id", "content", "path", "identity", "camera")]
    columns += [
        pa.field("time", pa.float64()),
        pa.field("box", pa.list_(pa.float64())),
        pa.field("fields", pa.string()),
    ]
    columns += [pa.field("tags", pa.list_(pa.string())), pa.field("thumbnail", pa.binary())]
    columns.append(pa.field("embedding", pa.list_(pa.float32(), about.dimension)))
    if about.aligned is not None:
        columns.append(pa.field("aligned", pa.list_(pa.float32(), about.aligned)))
    return pa.schema(columns)


def _as_table(rows: Sequence[Row], about: About) -> pa.Table:
    entries = [row.entry for row in rows]
    columns: dict[str, Any] = {
        name: [getattr(entry, name) for entry in entries]
        for name in ("id", "content", "path", "identity", "camera", "time", "box")
    }
    columns["fields"] = [json.dumps(dict(entry.fields), sort_keys=True) for entry in entries]
    columns["tags"] = [[_tag(*pair) for pair in entry.fields.items()] for entry in entries]
    columns["thumbnail"] = [row.thumbnail for row in rows]
    columns["embedding"] = [row.embedding for row in rows]
    if about.aligned is not None:
        columns["aligned"] = [row.aligned for row in rows]
    return pa.table(columns, schema=_schema(about))


def _tag(name: str, value: str) -> str:
    """A field as one text, by which LanceDB filters a list."""
    return json.dumps([name, value], ensure_ascii=False)


def _entry(values: Mapping[str, Any]) -> Entry:
    known = {name: values[name] for name in _KNOWN}
    box = known["box"]
    return Entry(**known | {"fields": json.loads(known["fields"]), "box": None if box is None else tuple(box)})


def _row(values: Mapping[str, Any]) -> Row:
    aligned = values.get("aligned")
    return Row(
        _entry(values),
        np.array(values["embedding"], np.float32),
        None if aligned is None else np.array(aligned, np.float32),
        values["thumbnail"],
    )


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _one_of(column: str, values: Sequence[str]) -> str:
    return f"{column} IN ({', '.join(map(_text, values))})"


def _known_or_not(column: str, values: Sequence[str]) -> str:
    """The column has one of the values, of which "" is unknown."""
    named = [value for value in values if value]
    parts = ([_one_of(column, named)] if named else []) + ([f"{column} IS NULL"] if "" in values else [])
    return f"({' OR '.join(parts)})"


def _condition(where: Where) -> str:
    parts = [_known_or_not("identity", where.identities)] if where.identities else []
    parts += [_known_or_not("camera", where.cameras)] if where.cameras else []
    parts += [] if where.since is None else [f"time >= {where.since!r}"]
    parts += [] if where.until is None else [f"time < {where.until!r}"]
    parts += [f"array_has(tags, {_text(_tag(name, value))})" for name, value in where.fields.items()]
    parts += [_one_of("path", where.paths)] if where.paths else []
    parts += [f"NOT {_one_of('id', where.without_ids)}"] if where.without_ids else []
    return " AND ".join(parts)
