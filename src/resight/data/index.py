"""A folder, a table or a benchmark as records; their labels; their table; and the cutting of splits."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import numpy as np

from resight.data.benchmarks_text import read_captions
from resight.data.folders import read_folder
from resight.data.recognise import read_benchmark
from resight.data.records import assemble, clean
from resight.data.tables import SUFFIXES, read_table
from resight.errors import ConfigError, DataError
from resight.types import Record, Role, Splits

COLUMNS: Final = ("path", "identity", "camera", "view", "split", "caption", "x1", "y1", "x2", "y2", "time")


def read(
    path: Path,
    *,
    benchmark: str | None = None,
    columns: Mapping[str, str] = MappingProxyType({}),
    fields: bool = False,
) -> Splits:
    """The records of a data set by role; no picture is opened, and a missing one is no error.

    path: a folder (one sub-folder an identity, sub-folders named as splits that hold such, or bare pictures); a CSV,
    TSV or Parquet table; a JSON file in CUHK-PEDES's form; or a public benchmark's root or the folder it lies in.
    benchmark: its name where the layout cannot tell. columns: our column → the table's, "" for "there is none".
    fields: keep a table's further columns as the records' fields. Raises DataError for what cannot be read, and
    ConfigError for an unknown benchmark or column name of ours.
    """
    path = Path(os.path.abspath(path))
    try:
        return _read(path, benchmark, columns, fields)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}). Check that you may read it and all below it.") from error


def _read(path: Path, benchmark: str | None, columns: Mapping[str, str], fields: bool) -> Splits:
    if not path.exists():
        raise DataError(f"{path}: no such file or folder. Check the path.")
    if benchmark is not None and not path.is_dir():
        raise ConfigError(
            f"benchmark {benchmark!r} is a folder, but {path} is a file. Give its folder, or no benchmark."
        )
    suffix = path.suffix.lower()
    is_table = not path.is_dir() and suffix in SUFFIXES
    if columns and not is_table:
        raise ConfigError(f"columns are named for a table, but {path} is none. Give a table, or no columns.")
    if is_table:
        return assemble(clean(read_table(path, columns, fields=fields)), name=path.stem, root=path.parent)
    if not path.is_dir():
        if suffix != ".json":
            raise DataError(
                f"{path}: is neither a folder nor a table ({' '.join(SUFFIXES)}) nor a .json file. Give one."
            )
        return assemble(clean(read_captions(path.parent, [path])), name=path.stem, root=path.parent, protocol="text")
    found = read_benchmark(path, benchmark)
    return found or assemble(clean(read_folder(path)), name=path.name, root=path)


def relabel(identities: Iterable[str | None]) -> dict[str, int]:
    """Original identity → its label 0, 1, …: by number when all are whole numbers, else by text; None gets none."""
    known = {identity for identity in identities if identity is not None}
    if all(re.fullmatch("-?[0-9]+", identity) for identity in known):
        return {identity: label for label, identity in enumerate(sorted(known, key=lambda text: (int(text), text)))}
    return {identity: label for label, identity in enumerate(sorted(known))}


def write_index(records: Iterable[Record], path: Path) -> None:
    """Write the records as a CSV that `read` gives back; paths are relative to its folder where they lie in it.

    Raises DataError when the file cannot be written, or a path is no Unicode text.
    """
    folder = Path(os.path.abspath(path)).parent
    rows = [_row(record, folder) for record in records]
    # the writer leaves a bare carriage return unquoted, which its reader refuses
    quoting: Literal[0, 1] = csv.QUOTE_ALL if any("\r" in cell for row in rows for cell in row) else csv.QUOTE_MINIMAL
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n", quoting=quoting).writerows([list(COLUMNS), *rows])
        part.replace(path)
    except UnicodeEncodeError as error:
        part.unlink()
        raise DataError(f"{path}: {error.object!r} cannot be written as Unicode text. Rename the picture.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}). Choose another place.") from error


def _row(record: Record, folder: Path) -> list[str]:
    place = record.path.relative_to(folder).as_posix() if record.path.is_relative_to(folder) else str(record.path)
    if place[0].isspace():  # readers of CSV skip a space after the separator
        place = f"./{place}"
    one = record.captions[0] if len(record.captions) == 1 else ""
    plain = one if one == one.strip() and not one.startswith("[") else ""
    return [
        place,
        record.identity or "",
        record.camera or "",
        record.view or "",
        record.split,
        plain if plain or not record.captions else json.dumps(record.captions, ensure_ascii=False),
        *(("", "", "", "") if record.box is None else (repr(float(corner)) for corner in record.box)),
        "" if record.time is None else repr(float(record.time)),
    ]


def split(
    records: Iterable[Record],
    *,
    by: Literal["identity", "camera", "day"],
    seed: int,
    test: int | float = 0.5,
    validation: int | float = 0,
    n_queries: int = 1,
) -> list[Record]:
    """The records with new splits, in the order of their paths: test identities become query and gallery.

    test, validation: how many identities (int), or which share of those that can be tested (float up to 1.0); the
    others, and pictures without identity, are for training, so that no test identity is trained on.
    by identity: of each test identity `n_queries` random pictures a camera are queries as long as each query keeps a
    gallery picture from another camera, or any other where no camera is known; the rest is the gallery.
    by camera, by day (UTC): a random half of all cameras or days, rounded down, is the queries' side, the others are
    the gallery's. `n_queries` random pictures of a test identity a camera or day are queries; its further ones on that
    side, and those without camera or time, are left out of the result.
    The order of `records` and their own splits do not count; one that stands in two splits counts once. Raises
    DataError when cameras or times are lacking or too few identities can be tested, and ConfigError for numbers out of
    range.
    """
    for name, number in (("test", test), ("validation", validation)):
        if not number >= 0 or (isinstance(number, float) and number > 1):  # nan is neither
            raise ConfigError(f"{name} is {number}. Give a whole number of identities, or a share between 0.0 and 1.0.")
    if n_queries < 1:
        raise ConfigError(f"n_queries is {n_queries}. Give 1 or more.")
    if seed < 0:
        raise ConfigError(f"seed is {seed}. Give 0 or more.")
    rng = np.random.default_rng(seed)
    ordered = sorted({replace(record, split="") for record in records}, key=_order)
    members: defaultdict[str, list[Record]] = defaultdict(list)
    for record in ordered:
        if record.identity is not None:
            members[record.identity].append(record)
    identities = list(relabel(members))
    if not identities:
        raise DataError(
            "no identity is known, so none can be cut. Name the column that holds them: --column identity=NAME, "
            "or give a folder with one sub-folder an identity."
        )
    sides = None if by == "identity" else _sides(ordered, by, rng)
    remedy = _remedy(ordered, by)
    testable = [identity for identity in identities if _can_be_tested(members[identity], by, sides)]
    tested = _draw(testable, test, "test", len(identities), remedy, rng)
    rest = [
        identity for identity in identities if identity not in tested and _can_be_tested(members[identity], by, None)
    ]
    held_out = _draw(rest, validation, "validation", len(identities) - len(tested), remedy, rng)
    cut: list[Record] = []
    for identity in identities:
        if identity in tested:
            cut += _query_and_gallery(members[identity], by, sides, n_queries, rng)
        else:
            cut += _as(members[identity], "validation" if identity in held_out else "train")
    return sorted(cut + _as([record for record in ordered if record.identity is None], "train"), key=_order)


def _order(record: Record) -> tuple[str, str]:
    return (str(record.path), str(record))


def _as(records: Iterable[Record], role: Role) -> list[Record]:
    return [replace(record, split=role) for record in records]


def _group(record: Record, by: str) -> str | None:
    """The day of the picture when cutting by day, else its camera; None is unknown."""
    if by != "day":
        return record.camera
    return None if record.time is None else datetime.fromtimestamp(record.time, UTC).date().isoformat()


def _sides(records: Sequence[Record], by: str, rng: np.random.Generator) -> frozenset[str]:
    """The cameras or days that give the queries."""
    groups = sorted({group for record in records if (group := _group(record, by)) is not None})
    if len(groups) < 2:
        column = "camera" if by == "camera" else "time"
        raise DataError(
            f"a cut by {by} needs two {by}s or more; the records name {len(groups)}. "
            f"Name the column that holds them: --column {column}=NAME, or cut by identity."
        )
    return frozenset(groups[place] for place in rng.permutation(len(groups))[: len(groups) // 2])


def _can_be_tested(records: Sequence[Record], by: str, sides: frozenset[str] | None) -> bool:
    """Whether one picture of the identity can be the query for another one."""
    groups = [_group(record, by) for record in records]
    if sides is None:
        return len(records) > 1 and (None in groups or len(set(groups)) > 1)
    known = {group for group in groups if group is not None}
    return bool(known & sides) and bool(known - sides)


def _remedy(records: Sequence[Record], by: str) -> str:
    """What to do where too few identities can be tested."""
    cameras = {record.camera for record in records}
    if by == "day" or None in cameras or len(cameras) > 1:
        return "Ask for fewer, or give more pictures."
    return (
        f"All pictures are of camera {cameras.pop()!r}, and a match must come from another. "
        "Leave the camera out: --column camera="
    )


def _draw(
    identities: Sequence[str], wanted: int | float, what: str, n_all: int, remedy: str, rng: np.random.Generator
) -> frozenset[str]:
    """So many of the identities, or such a share of them."""
    n = wanted if isinstance(wanted, int) else max(round(wanted * len(identities)), int(wanted > 0))
    if n > len(identities):
        raise DataError(
            f"{n:,} {what} identities are wanted, but of {n_all:,} only {len(identities):,} have two pictures that may "
            f"be matched. {remedy}"
        )
    return frozenset(identities[place] for place in rng.permutation(len(identities))[:n])


def _query_and_gallery(
    records: Sequence[Record], by: str, sides: frozenset[str] | None, n_queries: int, rng: np.random.Generator
) -> list[Record]:
    groups: defaultdict[str | None, list[Record]] = defaultdict(list)
    for place in rng.permutation(len(records)):
        groups[_group(records[place], by)].append(records[place])
    if sides is not None:
        queries = [record for group in groups if group in sides for record in groups[group][:n_queries]]
        gallery = [record for group in groups if group is not None and group not in sides for record in groups[group]]
        return _as(queries, "query") + _as(gallery, "gallery")
    queried: set[str | None] = set()
    queries = []
    for group in groups:
        for _ in range(n_queries):
            left = {other: len(rest) - (other == group) for other, rest in groups.items()}
            if left[group] < 0 or not all(_has_match(query, left) for query in queried | {group}):
                break
            queries.append(groups[group].pop())
            queried.add(group)
    return _as(queries, "query") + _as([record for rest in groups.values() for record in rest], "gallery")


def _has_match(query: str | None, left: Mapping[str | None, int]) -> bool:
    """Whether a query of this camera has a gallery picture: an unknown camera equals no other."""
    return sum(n for camera, n in left.items() if camera is None or camera != query) > 0
