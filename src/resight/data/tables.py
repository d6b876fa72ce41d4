"""Records from a CSV, TSV or Parquet file, under this project's column names or other tools'."""

from __future__ import annotations

import ast
import csv
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from resight.data.records import SPLIT_NAMES, Reading, known_identity, picture_path, require_file
from resight.errors import ConfigError, DataError
from resight.types import Record, Role

SUFFIXES: Final = (".csv", ".tsv", ".parquet", ".pq")

# our name: the headers that mean it, the first that is there counts; OML's and wildlife-datasets' are among them
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "path": (
        "path",
        "file_path",
        "filepath",
        "img_path",
        "image_path",
        "filename",
        "file_name",
        "image",
        "img",
        "file",
    ),
    "identity": ("identity", "pid", "person_id", "vehicle_id", "individual", "individual_id", "label", "id", "name"),
    "camera": ("camera", "camid", "cam_id", "camera_id", "cam", "sequence"),
    "view": ("view", "viewpoint", "view_id"),
    "split": ("split", "subset"),
    "caption": ("caption", "captions", "text", "description"),
    "x1": ("x1", "x_1", "xmin"),
    "y1": ("y1", "y_1", "ymin"),
    "x2": ("x2", "x_2", "xmax"),
    "y2": ("y2", "y_2", "ymax"),
    "time": ("time", "timestamp", "datetime", "date"),
    "bbox": ("bbox",),
    "is_query": ("is_query",),
    "is_gallery": ("is_gallery",),
}
# AnimalCLEF's word for the gallery, as wildlife-datasets passes it on; a folder of that name may be anything
SPLITS: Final[Mapping[str, Role]] = {**SPLIT_NAMES, "database": "gallery"}
BOX: Final = ("x1", "y1", "x2", "y2")
YEAR_1: Final = datetime(1, 1, 1, tzinfo=UTC).timestamp()
YEAR_10000: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp() + 86_400
FLAGS: Final = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False, "": False}


@dataclass(frozen=True, slots=True)
class Table:
    """header: the columns' names. first_row: number of the first row of values, as a spreadsheet shows it.

    load: the values of a column in the rows' order, None throughout for an empty row. plain: columns of text, numbers
    and times.
    """

    header: list[str]
    first_row: int
    load: Callable[[str], Sequence[Any]]
    plain: list[str]


def read_table(path: Path, columns: Mapping[str, str], *, fields: bool = False) -> Reading:
    """The records of a table, in its order; what a row says beyond the columns of COLUMNS becomes `fields`, if asked.

    columns: our name → the file's column, "" for "there is none", before any synonym. Several captions of a picture
    stand in several rows or in one cell as a list. bbox is left, top, width, height (wildlife-datasets); x1 y1 x2 y2
    are left, top, right, bottom. is_query and is_gallery (OML) refine a row that is not for training; both true is
    "test". A time is UTC seconds since 1970 or an ISO 8601 date; without an offset it is UTC. Where all identities are
    whole numbers "12.0" is "12"; an identity "unknown" is None, and -1 is junk, dropped with a note. A path lies
    relative to the file's folder. A missing picture is no error here. Raises DataError, with the row, for a value that
    cannot be read, and ConfigError for a name in `columns` that is not ours.
    """
    table = open_table(path)
    chosen = choose_columns(path, table.header, columns)
    unread = [column for column in table.header if column and column not in chosen.values()]
    wanted = [column for column in unread if fields and column in table.plain]
    extra = {column: texts for column in wanted if (texts := _texts(table, column))}
    values = {name: table.load(column) for name, column in chosen.items()}
    for name in ("identity", "camera", "view"):
        if name in values:
            values[name] = _whole_numbers(values[name])
    records = []
    for place, row in enumerate(zip(*values.values(), strict=True)):
        number, cells = table.first_row + place, dict(zip(values, row, strict=True))
        if all(cell is None for cell in row):
            continue
        said = tuple((column, texts[place]) for column, texts in extra.items() if texts[place])
        try:
            records.append(_record(path.parent, cells, said))
        except ValueError as error:
            raise DataError(f"{path}: row {number}: {error}") from error
    if not records:
        raise DataError(f"{path}: has no row below its header. Add a row for each picture.")
    unread = [column for column in unread if column not in extra]
    return Reading(tuple(records), _column_notes(chosen, [*extra], unread))


def open_table(path: Path) -> Table:
    """The columns of a CSV, TSV or Parquet file. Raises DataError for a file that is none."""
    require_file(path)
    return _read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _read_csv(path)


def _read_csv(path: Path) -> Table:
    limit = csv.field_size_limit()
    try:
        csv.field_size_limit(max(limit, path.stat().st_size))  # the whole process's, so it is put back below
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=first.count)
            cells = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            rows = [row if any(cell.strip() for cell in row) else [] for row in cells]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error}). Save it again as UTF-8.") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table ({error}). Save it again as CSV.") from error
    finally:
        csv.field_size_limit(limit)
    if not any(rows):
        raise DataError(f"{path}: is empty. Give a table with a header and a row for each picture.")
    header = [name.strip() for name in rows[0]]
    for number, row in enumerate(rows[1:], 2):
        if row and len(row) != len(header):
            raise DataError(
                f"{path}: row {number} has {len(row)} cells, the header {len(header)}. "
                "Put quotes around a value that holds the separator."
            )
    places = {name: place for place, name in enumerate(header)}
    return Table(header, 2, lambda column: [row[places[column]] if row else None for row in rows[1:]], header)


def _read_parquet(path: Path) -> Table:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
        header = list(file.schema_arrow.names)
    except (OSError, arrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({error}). Write it again.".replace("\n", " ")) from error

    def load(column: str) -> list[Any]:
        try:
            values = file.read(columns=[column])[column]
            if arrow.types.is_timestamp(values.type) and values.type.unit == "ns":
                # without pandas, nanoseconds become no Python time
                values = values.cast(arrow.timestamp("us", values.type.tz), safe=False)
            return values.to_pylist()  # type: ignore[no-any-return]
        except (OSError, arrow.ArrowException, ValueError, OverflowError) as error:
            raise DataError(f"{path}: column {column!r} cannot be read ({error}). Write it again.") from error

    plain = [field.name for field in file.schema_arrow if _is_plain(field.type)]
    return Table(header, 1, load, plain)


def choose_columns(path: Path, header: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Our name → the file's column, as `read_table` takes them, with its errors."""
    for column in header:
        if column and header.count(column) > 1:
            raise DataError(f"{path}: two columns are named {column!r}. Rename one.")
    chosen: dict[str, str] = {}
    for name, column in columns.items():
        if name not in COLUMNS:
            raise ConfigError(f"column {name!r} is unknown{_closest(name, COLUMNS)}. Known: {', '.join(COLUMNS)}.")
        if column and column not in header:
            raise DataError(f"{path}: has no column {column!r}{_closest(column, header)}. It has: {', '.join(header)}.")
        if column:
            chosen[name] = column
    free: defaultdict[str, list[str]] = defaultdict(list)
    for column in header:
        if column not in chosen.values():
            free[re.sub(r"[ -]", "_", column.lower())].append(column)
    for name, synonyms in COLUMNS.items():
        synonym = next((synonym for synonym in synonyms if synonym in free), None)
        if name in columns or synonym is None:
            continue
        alike = free[synonym]
        if len(alike) > 1 and synonym not in alike:
            raise DataError(f"{path}: {' and '.join(alike)} are one name in two spellings. Name one: --column {name}=…")
        chosen[name] = synonym if synonym in alike else alike[0]
    if "path" not in chosen:
        raise DataError(
            f"{path}: no column holds the pictures' paths. It has: {', '.join(header)}. Name one: --column path=NAME"
        )
    corners = [name for name in BOX if name in chosen]
    if corners and len(corners) < len(BOX):
        raise DataError(f"{path}: of a box only {', '.join(corners)} are there. Give {', '.join(BOX)}, or none.")
    return chosen


def _closest(name: str, names: Mapping[str, object] | Sequence[str]) -> str:
    close = get_close_matches(name, list(names), n=1)
    return f"; the closest is {close[0]!r}" if close else ""


def _column_notes(chosen: Mapping[str, str], kept: Sequence[str], unread: Sequence[str]) -> tuple[str, ...]:
    renamed = [f"{name} = {column}" for name, column in chosen.items() if name != column]
    notes = [f"columns read: {', '.join(renamed)}"] if renamed else []
    notes += [f"columns kept as fields: {', '.join(kept)}"] if kept else []
    if unread:
        notes.append(f"columns not read: {', '.join(unread)} (--column camera=NAME names one)")
    return tuple(notes)


def _is_empty(cell: object) -> bool:
    return (
        cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and not cell.strip())
    )


def as_text(cell: object) -> str:
    """The cell as text, "" where it is empty; a float without fraction as a whole number.

    Raises ValueError for a list, bytes, or whatever else is no text.
    """
    if _is_empty(cell):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, str | int | float | date):
        return str(cell)
    raise ValueError(f"a {type(cell).__name__} where text was expected. Name another column with --column.")


def _is_plain(kind: Any) -> bool:
    """Whether a Parquet column can be text: one of vectors or pictures would take much memory to find out."""
    from pyarrow import types

    checks = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    return any(check(kind) for check in (*checks, types.is_timestamp, types.is_date, types.is_dictionary))


def _texts(table: Table, column: str) -> list[str]:
    """The cells as text; nothing for a column of something else."""
    try:
        return [as_text(cell).strip() for cell in table.load(column)]
    except (ValueError, DataError):
        return []


def _whole_numbers(cells: Sequence[object]) -> Sequence[object]:
    """The cells with "12.0" as "12" where all of the column are such, as spreadsheets and pandas write numbers."""
    filled = [known_identity(cell) for cell in cells if isinstance(cell, str)]
    if not all(re.fullmatch(r"-?[0-9]+(\.0+)?", text) for text in filled if text):
        return cells
    return [cell.strip().partition(".")[0] if isinstance(cell, str) else cell for cell in cells]


def _record(folder: Path, cells: Mapping[str, Any], fields: tuple[tuple[str, str], ...]) -> Record:
    path = cells["path"]
    try:
        time = utc_seconds(cells.get("time"))
    except ValueError as error:
        raise ValueError(f"{error} Correct it, leave it empty, or leave the column out: --column time=") from error
    return Record(
        picture_path(folder, path if isinstance(path, str) else as_text(path)),
        identity=known_identity(as_text(cells.get("identity"))),
        camera=as_text(cells.get("camera")).strip() or None,
        view=as_text(cells.get("view")).strip() or None,
        captions=_captions(cells.get("caption")),
        split=_role(cells),
        box=_box(cells),
        time=time,
        fields=fields,
    )


def _role(cells: Mapping[str, Any]) -> Role:
    text = as_text(cells.get("split")).strip().lower()
    if text and text not in SPLITS:
        raise ValueError(f"split {text!r} is none of {', '.join(SPLITS)}. Correct it, or leave it empty.")
    role = SPLITS.get(text, "")
    query, gallery = (_flag(name, cells.get(name)) for name in ("is_query", "is_gallery"))
    if not query and not gallery:
        return role
    if role == "train":
        raise ValueError("split train, yet is_query or is_gallery is true. A picture is for training or for testing.")
    return "test" if query and gallery else "query" if query else "gallery"


def _flag(name: str, cell: object) -> bool:
    text = as_text(cell).strip().lower()
    if text not in FLAGS:
        raise ValueError(f"{name} {text!r} is none of true, false, 1, 0. Correct it, or leave it empty.")
    return FLAGS[text]


def _captions(cell: object) -> tuple[str, ...]:
    if isinstance(cell, list | tuple):
        return tuple(as_text(caption) for caption in cell)
    text = as_text(cell).strip()
    if text.startswith("[") and text.endswith("]"):
        for parse in (json.loads, ast.literal_eval):  # Python's own list is what pandas writes
            try:
                said = parse(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(said, list) and all(isinstance(caption, str) for caption in said):
                return tuple(said)
    return (text,) if text else ()


def _box(cells: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    corners = [cells.get(name) for name in BOX]
    if not all(_is_empty(corner) for corner in corners):
        x1, y1, x2, y2 = _numbers("the box", corners)
    elif not _is_empty(cells.get("bbox")):
        x1, y1, width, height = _numbers("bbox", cells["bbox"])
        x2, y2 = x1 + width, y1 + height
    else:
        return None
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"the box {x1:g} {y1:g} {x2:g} {y2:g} (left top right bottom) is empty. Correct it.")
    return x1, y1, x2, y2


def _numbers(what: str, cells: object) -> list[float]:
    items = re.split(r"[,;\s]+", cells.strip("[]() \t")) if isinstance(cells, str) else cells
    try:
        numbers = [float(item) for item in items]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 4 or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{what} {cells!r} is not four numbers. Correct it, or leave it empty.")
    return numbers


def utc_seconds(cell: object) -> float | None:
    """UTC seconds since 1970; None for an empty cell. Raises ValueError for what is no time.

    Eight digits are a date, four a year: as seconds they would lie in 1970.
    """
    if _is_empty(cell):
        return None
    if isinstance(cell, float):
        return _seconds(cell)
    if isinstance(cell, date):
        return _utc(cell if isinstance(cell, datetime) else datetime(cell.year, cell.month, cell.day))
    text = as_text(cell).strip()
    is_date = re.fullmatch(r"[0-9]{4}|[0-9]{4}-[0-9]{2}|[0-9]{8}", text)
    if not is_date and (number := _number(text)) is not None:
        return _seconds(number)
    try:
        moment = datetime.fromisoformat(text + {4: "-01-01", 7: "-01"}.get(len(text) if is_date else 0, ""))
    except ValueError as error:
        raise ValueError(
            f"time {text!r} is neither UTC seconds nor a date such as 2024-05-31 or 2024-05-31T12:00:00Z."
        ) from error
    return _utc(moment)


def _utc(moment: datetime) -> float:
    return _seconds((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _seconds(number: float) -> float:
    if not YEAR_1 <= number < YEAR_10000:
        raise ValueError(f"time {number:g} is no UTC second of the years 1 to 9999. Divide milliseconds by 1000.")
    return number
