"""What keeps a table of LanceDB quick and clean: few fragments, an index, nothing left of what was removed.

The index is IVF-RQ with 4 bits a number, of which every partition is searched: a scan of small codes, whose best are
compared with the vectors themselves. Unlike a graph it finds as much under a condition as without one, and it is
built several times faster. Gao et al. 2024, arXiv 2409.09913 (RaBitQ with several bits).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from lancedb.index import Bitmap, BTree, IvfRq, LabelList
from lancedb.table import IndexStatistics, Table

LARGE = 10_000
"""Rows from which on there is an index; fewer are compared one by one in a few ms."""

FEW = 5_000
"""Rows beside the index that are compared one by one."""

PIECES = 8
"""Pieces of an index, each of which costs a search about half a ms; with more, one is built of all."""

PARTITION = 8_192
"""Rows of a partition of the index."""

PORTION = 1_000
"""Rows that are replaced in one step. With more than its buffer holds, 100 MB, LanceDB 0.40 at times never returns."""

VERSIONS = 500
"""Former states that are kept: each call that writes leaves one, of some KB."""

ALIKE = 16
"""Fragments of like size, up to some hundred rows, that are merged into one."""

_CONDITIONS: dict[str, type[BTree | Bitmap | LabelList]] = {
    "id": BTree,
    "identity": BTree,
    "camera": Bitmap,
    "tags": LabelList,
}


def tidy(table: Table, folder: Path, vectors: Iterable[str]) -> None:
    """Before a write: merges fragments of like size, so that there are few and a row is seldom moved."""
    if table.version % ALIKE:
        return
    places = table.search().select(["_rowid"]).limit(table.count_rows()).to_arrow()["_rowid"].to_numpy()
    fragments, n_rows = np.unique(places >> 32, return_counts=True)  # a row's id is its fragment and its place there
    for size in (ALIKE, ALIKE**2):
        small = fragments[n_rows < size]
        if len(small) >= ALIKE:
            inside = " OR ".join(f"(_rowid >= {k << 32} AND _rowid < {(k + 1) << 32})" for k in small.tolist())
            put(table, table.search().where(inside).limit(len(places)).to_arrow())
            break
    if len(places) >= LARGE and n_unindexed(table, "id") >= LARGE:
        table.create_index("id", config=BTree())
    if sum(1 for _ in (folder / f"{table.name}.lance" / "_versions").iterdir()) > VERSIONS:
        prune(table)
        index(table, vectors)


def put(table: Table, rows: pa.Table) -> None:
    """Replaces the rows whose id is there, and adds the others: PORTION rows in one step."""
    for start in range(0, rows.num_rows, PORTION):
        merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        # by way of the index of ids it is slower, and hangs sooner
        merge.use_index(False).execute(rows.slice(start, PORTION), timeout=timedelta(minutes=10))


def index(table: Table, vectors: Iterable[str]) -> None:
    """Brings the rows into an index where that is worth it."""
    n_rows = table.count_rows()
    columns = [name for name in vectors if table.schema.field(name).type.list_size % 8 == 0]  # IVF-RQ takes no others
    behind = [name for name in columns if n_rows < LARGE or _is_behind(table, name, n_rows)]
    if n_rows >= LARGE and not behind and all(n_unindexed(table, name) < FEW for name in (*columns, "id")):
        return
    for name in behind:
        if _stats(table, name):
            table.drop_index(f"{name}_idx")
    prune(table)  # merges the fragments, and brings new rows into an index that is not behind
    if n_rows < LARGE:
        return
    for name in behind:
        config = IvfRq(distance_type="dot", num_partitions=max(1, n_rows // PARTITION), num_bits=4)
        table.create_index(name, config=config)
    for name, kind in _CONDITIONS.items():
        if not _stats(table, name):
            table.create_index(name, config=kind())
    prune(table)


def rewrite(table: Table) -> None:
    """Copies every row into new files, and deletes all others: indices, former states, and what was removed."""
    rows = table.search().limit(table.count_rows()).to_batches(1_024)
    table.add(rows, mode="overwrite")
    prune(table)


def prune(table: Table) -> None:
    """Merges fragments, brings rows beside an index into it as one more piece, and deletes former states."""
    for _ in range(2):  # the first leaves the state that it found itself
        time.sleep(0.002)
        table.optimize(cleanup_older_than=timedelta(milliseconds=1), delete_unverified=True)


def n_unindexed(table: Table, column: str) -> int:
    stats = _stats(table, column)
    n: int = stats.num_unindexed_rows if stats else table.count_rows()
    return n


def _is_behind(table: Table, column: str, n_rows: int) -> bool:
    """Whether a new index is better than another piece of the old one."""
    stats = _stats(table, column)
    return stats is None or (stats.num_indices or 1) > PIECES or stats.num_unindexed_rows > n_rows / 4


def _stats(table: Table, column: str) -> IndexStatistics | None:
    return table.index_stats(f"{column}_idx")
