"""How rows stand in Milvus' columns, and `Where` in its language: for 2.3, which knows neither null nor bytes.

Unknown is "" for an identity or camera, and `NO_TIME` for a time. A thumbnail is text in base 64. Servers before 2.4
allow one vector a row: there both vectors stand in one column, one behind the other, and a query has zeros in the place
of the vector it does not ask for, which leaves every inner product as it is.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.errors import GalleryError
from resight.gallery.rows import About, Entry, Row, Space, Where

KNOWN = ["id", "content", "path", "identity", "camera", "time", "more"]
"""Columns that an entry is made of; `more` is JSON of what no condition asks for."""

MAX_TEXT = 65_535
"""Bytes of one text in Milvus; a thumbnail in base 64 takes 4 for 3."""

MAX_FIELDS = 4_096
NO_TIME = -sys.float_info.max


class Whole(str):
    """A long text that pymilvus does not look at character by character, which takes it longer than all the rest."""

    def __iter__(self) -> Iterator[str]:
        return iter(())


def n_numbers(about: About, *, joined: bool) -> dict[str, int]:
    """The vector columns, with their widths."""
    if about.aligned is None:
        return {"embedding": about.dimension}
    if joined:
        return {"embedding": about.dimension + about.aligned}
    return {"embedding": about.dimension, "aligned": about.aligned}


def as_columns(row: Row, *, joined: bool) -> dict[str, Any]:
    """The row as Milvus takes it. Raises GalleryError for a text that is too long for it, or too many fields."""
    entry = row.entry
    texts = {
        "id": entry.id,
        "content": entry.content,
        "path": entry.path,
        "identity": entry.identity or "",
        "camera": entry.camera or "",
        "more": json.dumps([entry.box, dict(entry.fields)], ensure_ascii=False),
        "thumbnail": Whole(base64.b64encode(row.thumbnail).decode()),
    }
    for name, text in texts.items():
        if len(text) > MAX_TEXT // 4 and len(text.encode()) > MAX_TEXT:
            what = "the fields have" if name == "more" else f"{name} has"
            raise GalleryError(f"row {entry.id!r}: {what} more than {MAX_TEXT:,} bytes. Milvus holds no more.")
    if len(entry.fields) > MAX_FIELDS:
        raise GalleryError(f"row {entry.id!r}: has {len(entry.fields):,} fields. Milvus holds {MAX_FIELDS:,}.")
    time = NO_TIME if entry.time is None else float(entry.time)
    columns = texts | {"time": time, "tags": [_tag(*pair) for pair in entry.fields.items()]}
    if row.aligned is None:
        return columns | {"embedding": row.embedding}
    if joined:
        return columns | {"embedding": np.concatenate([row.embedding, row.aligned])}
    return columns | {"embedding": row.embedding, "aligned": row.aligned}


def as_entry(columns: Mapping[str, Any]) -> Entry:
    box, fields = json.loads(columns["more"])
    return Entry(
        id=columns["id"],
        content=columns["content"],
        path=columns["path"],
        identity=columns["identity"] or None,
        camera=columns["camera"] or None,
        time=None if columns["time"] == NO_TIME else columns["time"],
        box=None if box is None else tuple(box),
        fields=fields,
    )


def as_row(columns: Mapping[str, Any], about: About) -> Row:
    thumbnail = base64.b64decode(columns.get("thumbnail", ""))
    aligned = None if about.aligned is None else vector_of(columns, "aligned", about)
    return Row(as_entry(columns), vector_of(columns, "embedding", about), aligned, thumbnail)


def vector_of(columns: Mapping[str, Any], by: Space, about: About) -> NDArray[np.float32]:
    """One vector of a row: [D] or [A]."""
    if by == "aligned" and "aligned" in columns:
        return np.array(columns["aligned"], np.float32)
    both = np.array(columns["embedding"], np.float32)
    return both[: about.dimension] if by == "embedding" else both[about.dimension :]


def as_query(vector: NDArray[np.float32], by: Space, about: About, *, joined: bool) -> tuple[str, NDArray[np.float32]]:
    """The column to compare with, and the vector to compare it with."""
    if not joined:
        return by, vector
    before, behind = (0, about.aligned or 0) if by == "embedding" else (about.dimension, 0)
    return "embedding", np.pad(vector, (before, behind))


def one_of(column: str, values: Iterable[str]) -> str:
    return f"{column} in [{', '.join(map(text, values))}]"


def condition(where: Where) -> str:
    """What `where` says in Milvus' language, "" where it allows everything."""
    parts = [one_of("identity", where.identities)] if where.identities else []
    parts += [one_of("camera", where.cameras)] if where.cameras else []
    parts += [] if where.since is None else [f"time >= {float(where.since)!r}"]
    parts += [] if where.until is None else [f"time < {float(where.until)!r}"]
    parts += [] if where.since is None and where.until is None else [f"time > {NO_TIME!r}"]
    parts += [f'array_contains(tags, "{_tag(name, value)}")' for name, value in where.fields.items()]
    parts += [one_of("path", where.paths)] if where.paths else []
    parts += [f"not ({one_of('id', where.without_ids)})"] if where.without_ids else []
    return " and ".join(parts)


def both(*conditions: str) -> str:
    return " and ".join(part for part in conditions if part)


def text(value: str) -> str:
    """A literal of Milvus' language. Lite knows no escapes but these, and all else may stand as it is."""
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        value = value.replace(character, escaped)
    return f'"{value}"'


def _tag(name: str, value: str) -> str:
    """A field as one short word, whatever it holds: 128 bits of a hash."""
    return blake2b(json.dumps([name, value]).encode(), digest_size=16).hexdigest()


def parts_of(columns: Sequence[dict[str, Any]], n_bytes: int) -> list[list[dict[str, Any]]]:
    """The rows in requests of at most about so many bytes each."""
    parts: list[list[dict[str, Any]]] = []
    size = n_bytes
    for values in columns:
        width = 200 + sum(4 * len(value) for name, value in values.items() if name != "time")
        if size + width > n_bytes:
            parts.append([])
            size = 0
        parts[-1].append(values)
        size += width
    return parts
