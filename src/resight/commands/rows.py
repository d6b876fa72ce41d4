"""Rows of a gallery as people and programs read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.cells import cell_len

from resight.data.records import printable

if TYPE_CHECKING:
    from resight.gallery.rows import Entry


def time_text(seconds: float | None) -> str:
    """As 2024-05-31T12:00:00Z, with a fraction where there is one; "" where it is unknown."""
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):  # no year of the calendar
        return repr(seconds)


def fields_text(entry: Entry) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(entry.fields.items()))


def print_columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints lines whose columns stand below each other; columns in which no row has anything are left out.

    Nothing is cut or broken, so that a pipe gets whole paths.
    """
    lines = [[printable(cell) for cell in row] for row in rows]
    shown = [k for k in range(len(header)) if any(line[k] for line in lines)]
    lines = [[line[k] for k in shown] for line in [[*header], *lines]]
    widths = [max(cell_len(line[k]) for line in lines) for k in range(len(shown))]
    for line in lines:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip())
