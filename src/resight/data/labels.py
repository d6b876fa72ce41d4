"""Corrections of a gallery's rows from a table, as `resight gallery list --csv` writes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from resight.data.records import known_identity
from resight.data.tables import as_text, open_table, utc_seconds
from resight.errors import DataError

FIXED: Final = ("path", "content", "x1", "y1", "x2", "y2", "split", "view", "caption")
"""Columns that say what was added, not what is known of it."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What a table says of the row `id`. known: identity, camera and time as far as it has these columns, None where
    the cell is empty. fields: of its further columns, "" where the cell is empty."""

    id: str
    known: Mapping[str, str | float | None]
    fields: Mapping[str, str]


def read_labels(path: Path) -> list[Labels]:
    """The rows of a table with a column `id`, in its order.

    Raises DataError for a file that is no such table, an id that is empty or stands twice, and a time that is none.
    """
    table = open_table(path)
    if "id" not in table.header:
        raise DataError(f"{path}: has no column id. `resight gallery list --csv` writes a table that has.")
    columns = {name: table.load(name) for name in table.header if name and name not in FIXED}
    found: dict[str, Labels] = {}
    for place, row in enumerate(zip(*columns.values(), strict=True)):
        cells = dict(zip(columns, row, strict=True))
        if all(cell is None for cell in row):
            continue
        try:
            labels = _labels(cells)
            if labels.id in found:
                raise ValueError(f"id {labels.id} stands twice. Leave one of its rows out.")
        except ValueError as error:
            raise DataError(f"{path}: row {table.first_row + place}: {error}") from error
        found[labels.id] = labels
    if not found:
        raise DataError(f"{path}: has no row below its header. Add a row for each correction.")
    return [*found.values()]


def _labels(cells: Mapping[str, object]) -> Labels:
    texts = {name: as_text(cell).strip() for name, cell in cells.items() if name != "time"}
    id_ = texts.pop("id")
    if not id_:
        raise ValueError("the id is empty. Give it, or remove the row.")
    known: dict[str, str | float | None] = {}
    if "identity" in texts:
        known["identity"] = known_identity(texts.pop("identity"))
    if "camera" in texts:
        known["camera"] = texts.pop("camera") or None
    if "time" in cells:
        known["time"] = utc_seconds(cells["time"])
    return Labels(id_, known, texts)
