"""Rows as LanceDB's columns, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from resight.gallery.conditions import tags
from resight.gallery.rows import About, Entry, Match, Row

KNOWN = ["id", "content", "path", "identity", "camera", "time", "box", "fields"]
"""Columns of an entry."""

_TEXTS = ("id", "content", "path", "identity", "camera")


def schema(about: About) -> pa.Schema:
    columns = [pa.field(name, pa.string()) for name in _TEXTS]
    columns += [
        pa.field("time", pa.float64()),
        pa.field("box", pa.list_(pa.float64())),
        pa.field("fields", pa.string()),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("thumbnail", pa.binary()),
    ]
    return pa.schema(columns + [pa.field(name, pa.list_(pa.float32(), n)) for name, n in spaces(about).items()])


def spaces(about: About) -> dict[str, int]:
    """The columns of vectors, with their width."""
    return {"embedding": about.dimension} | ({} if about.aligned is None else {"aligned": about.aligned})


def as_table(rows: Sequence[Row], about: About) -> pa.Table:
    entries = [row.entry for row in rows]
    columns: dict[str, Any] = {name: [getattr(entry, name) for entry in entries] for name in (*_TEXTS, "time", "box")}
    columns["fields"] = [json.dumps(dict(entry.fields), sort_keys=True) for entry in entries]
    columns["tags"] = [tags(entry.fields) for entry in entries]
    columns["thumbnail"] = [row.thumbnail for row in rows]
    for name, n in spaces(about).items():
        numbers = np.concatenate([getattr(row, name) for row in rows], dtype=np.float32)
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(numbers), n)
    return pa.table(columns, schema=schema(about))


def as_rows(table: pa.Table) -> list[Row]:
    vectors = {name: _matrix(table, name) for name in ("embedding", "aligned") if name in table.column_names}
    has_thumbnails = "thumbnail" in table.column_names
    thumbnails = table["thumbnail"].to_pylist() if has_thumbnails else [b""] * table.num_rows
    return [
        Row(entry, vectors["embedding"][k], vectors["aligned"][k] if "aligned" in vectors else None, thumbnails[k])
        for k, entry in enumerate(as_entries(table))
    ]


def as_entries(table: pa.Table) -> list[Entry]:
    return [_entry(values) for values in table.select(KNOWN).to_pylist()]


def as_matches(table: pa.Table) -> list[Match]:
    """Best first; equally similar ones in the order of their ids."""
    # LanceDB's dot distance is 1 - the inner product
    found = zip(as_entries(table), table["_distance"].to_pylist(), strict=True)
    matches = [Match(entry, 1 - distance) for entry, distance in found]
    return sorted(matches, key=lambda match: (-match.similarity, match.entry.id))


def _matrix(table: pa.Table, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    column = table[name].combine_chunks()
    return np.array(column.flatten(), np.float32).reshape(len(column), column.type.list_size)


def _entry(values: Mapping[str, Any]) -> Entry:
    box = values["box"]
    return Entry(**{**values, "fields": json.loads(values["fields"]), "box": None if box is None else tuple(box)})
