"""`Where` as an SQL condition on the columns of lance_columns.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from resight.gallery.rows import Where


def condition(where: Where) -> str:
    """What must be true of a row; "" when anything goes."""
    parts = [_known_or_not("identity", where.identities)] if where.identities else []
    parts += [_known_or_not("camera", where.cameras)] if where.cameras else []
    parts += [] if where.since is None else [f"time >= {float(where.since)!r}"]
    parts += [] if where.until is None else [f"time < {float(where.until)!r}"]
    parts += [f"array_has(tags, {_quoted(tag)})" for tag in tags(where.fields)]
    parts += [one_of("path", where.paths)] if where.paths else []
    parts += [f"NOT ({one_of('id', where.without_ids)})"] if where.without_ids else []
    return " AND ".join(parts)


def one_of(column: str, values: Sequence[str]) -> str:
    return f"{column} IN ({', '.join(map(_quoted, values))})"


def tags(fields: Mapping[str, str]) -> list[str]:
    """Each field as one text, so that a list of them can be filtered."""
    return [json.dumps([name, value], ensure_ascii=False) for name, value in fields.items()]


def _known_or_not(column: str, values: Sequence[str]) -> str:
    """The column has one of the values, of which "" is unknown."""
    named = [value for value in values if value]
    parts = ([one_of(column, named)] if named else []) + ([f"{column} IS NULL"] if "" in values else [])
    return f"({' OR '.join(parts)})"


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
