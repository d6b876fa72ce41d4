"""A gallery on Milvus: a Lite file, a server, or a cluster.

It differs from a folder in three points. A server keeps what was removed in its files until its own garbage collection
runs (`dataCoord.gc`, hours later), and in its log for as long as that is kept. Answers that see every acknowledged row
wait for the server's next tick (`proxy.timeTickInterval`, 0.2 s). A Lite file is open in one process at a time.
"""

from __future__ import annotations

import dataclasses
import heapq
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymilvus import MilvusClient

from resight.errors import GalleryError, NoGalleryError
from resight.gallery.milvus_collections import (
    N_BYTES,
    N_CELLS,
    index_of,
    make,
    make_cells,
    make_ready,
    mend,
    note_of,
    read_note,
    wait_for_index,
    write_anew,
)
from resight.gallery.milvus_columns import (
    KNOWN,
    as_columns,
    as_entry,
    as_query,
    as_row,
    both,
    condition,
    n_numbers,
    one_of,
    parts_of,
    text,
    vector_of,
)
from resight.gallery.milvus_link import (
    ANSWER,
    CONNECT,
    MAINTAIN,
    Place,
    asking,
    connect,
    disconnect,
    read_place,
    reconnect,
)
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

INDEX_FROM = 1_000_000
"""Rows from which `compact` makes an index on a server. Below, every row is compared, which is exact."""

N_PROBES = 128
"""Cells of the index that are looked at without a condition, of `N_CELLS`; with one, all are."""

MAX_TOP = 16_384
"""Rows that Milvus gives in one answer."""


def create(place: str, about: About) -> MilvusGallery:
    """A new gallery. Raises GalleryError where one is, where no server answers, or when Milvus refuses."""
    found = read_place(place)
    client = connect(found, new=True)
    try:
        ask = asking(found)
        if ask(client.has_collection, found.name, timeout=CONNECT):
            raise GalleryError(f"{place}: is there already. Name another gallery, or add to this one.")
        version = str(ask(client.get_server_version, timeout=CONNECT))
        make(client, found, about, joined=about.aligned is not None and _is_old(version))
        return MilvusGallery(found, client)
    except BaseException:
        disconnect(found, client)
        raise


def open_gallery(place: str) -> MilvusGallery:
    """The gallery that `create` made. Raises NoGalleryError when there is none, GalleryError when no server answers."""
    found = read_place(place)
    client = connect(found, new=False)
    try:
        if found.lite is not None:
            mend(client, found)
        if not asking(found)(client.has_collection, found.name, timeout=CONNECT):
            raise NoGalleryError(f"{place}: is no gallery. Make one with `resight gallery create {place}`.")
        return MilvusGallery(found, client)
    except BaseException:
        disconnect(found, client)
        raise


def _is_old(version: str) -> bool:
    """Before 2.4 a collection has one column of vectors."""
    return re.match(r"v?2\.[0-3]\b", version) is not None


class MilvusGallery:
    """`Gallery` on Milvus."""

    def __init__(self, place: Place, client: MilvusClient) -> None:
        self.place = place
        self._client = client
        self._writing = threading.Lock()
        described = self._ask("describe_collection", place.name, timeout=CONNECT)
        self._fixed = read_note(place, described)
        widths = {field["name"]: field["params"].get("dim") for field in described["fields"]}
        self._joined = self._fixed.aligned is not None and "aligned" not in widths
        make_ready(client, place, self._fixed, joined=self._joined)

    def _ask(self, what: str, *arguments: Any, **options: Any) -> Any:
        """Calls a method of pymilvus. A Lite file is opened anew when one fails: it may not see all its rows then."""
        try:
            return asking(self.place)(getattr(self._client, what), *arguments, **options)
        except GalleryError:
            self._reopen()
            raise

    def _reopen(self) -> None:
        if self.place.lite is not None:
            with suppress(GalleryError):
                self._client = reconnect(self.place, self._client)
                mend(self._client, self.place)
                asking(self.place)(self._client.load_collection, self.place.name, timeout=MAINTAIN)

    @property
    def about(self) -> About:
        return read_note(self.place, self._ask("describe_collection", self.place.name, timeout=CONNECT))

    def add(self, rows: Sequence[Row]) -> None:
        """Stores the rows: all of at most 32 MB or none, and more than that in requests of which each is.

        When one of these fails, the former are taken back, unless the server does not answer at all.
        """
        check_rows(rows, self._fixed)
        parts = parts_of([as_columns(row, joined=self._joined) for row in rows], N_BYTES)
        with self._writing:
            before = self.get([row.entry.id for row in rows]) if len(parts) > 1 else []
            try:
                for part in parts:
                    self._ask("upsert", self.place.name, part, timeout=ANSWER)
            except GalleryError:
                if len(parts) > 1:
                    self._take_back(rows, before)
                raise

    def update(self, entries: Sequence[Entry]) -> None:
        check_ids([entry.id for entry in entries])
        rows = {row.entry.id: row for row in self.get([entry.id for entry in entries])}
        for entry in entries:
            if entry.id not in rows:
                raise GalleryError(f"row {entry.id!r}: is not in the gallery. `resight gallery list` shows the ids.")
        self.add([dataclasses.replace(rows[entry.id], entry=entry) for entry in entries])

    def remove(self, ids: Sequence[str]) -> int:
        with self._writing:
            there = list(self.contents(ids))
            self._delete(there)
        return len(there)

    def forget(self, identity: str) -> int:
        """Takes out every row of the identity; how many.

        Of a Lite file no byte of them stays. A server drops them from its segments at once, deletes the old segments
        at its next garbage collections, and its log as it expires; backups and replicas of the storage are its own.
        """
        if not identity:
            raise ValueError("no identity to forget")
        with self._writing:
            ids = [values["id"] for values in self._scan(one_of("identity", [identity]), ["id"])]
            self._delete(ids)
        self.compact()
        return len(ids)

    def get(self, ids: Sequence[str], *, thumbnails: bool = True) -> list[Row]:
        columns = [*KNOWN, *n_numbers(self._fixed, joined=self._joined), *(["thumbnail"] if thumbnails else [])]
        found = self._named(ids, columns, 500)
        rows = {values["id"]: as_row(values, self._fixed) for values in found}
        return [rows[id_] for id_ in ids if id_ in rows]

    def contents(self, ids: Sequence[str]) -> dict[str, str]:
        return {values["id"]: values["content"] for values in self._named(ids, ["id", "content"], 2_000)}

    def entries(self, where: Where = EVERYWHERE, *, start: int = 0, limit: int | None = None) -> Iterator[Entry]:
        stop = None if limit is None else start + limit
        for values in islice(self._scan(condition(where), KNOWN, stop), start, stop):
            yield as_entry(values)

    def count(self, where: Where = EVERYWHERE) -> int:
        counted = self._query(condition(where), ["count(*)"])
        return int(counted[0]["count(*)"])

    def search(
        self,
        vector: NDArray[np.float32],
        *,
        by: Space = "embedding",
        top: int = 10,
        where: Where = EVERYWHERE,
        exact: bool = False,
    ) -> list[Match]:
        """As `Gallery.search`. Beyond 16,383 rows, or exactly past an index, every vector is read and compared here.

        Rows that are not in the index yet, since it was made, are compared by the server's interim index. That loses
        neighbours under a condition (2.3.5: 35 % where 8 % of the rows are allowed), unless the server is told
        `queryNode.segcore.interimIndex.enableIndex: false`.
        """
        check_query(vector, by, top, self._fixed)
        if exact and self._has_index():
            return self._compare_here(vector, by, top, where)
        n = top + 1
        while n <= MAX_TOP:
            found = self._nearest(vector, by, n, where)
            if len(found) < n or found[-1].similarity < found[top - 1].similarity:
                return found[:top]
            n *= 2  # more rows are as similar as the last: those with the first ids are wanted
        return self._compare_here(vector, by, top, where)

    def info(self) -> Info:
        n_rows, identities, cameras = 0, set(), set()
        for values in self._scan("", ["id", "identity", "camera"]):
            n_rows += 1
            identities.add(values["identity"])
            cameras.add(values["camera"])
        index, lite = index_of(self._client, self.place), self.place.lite
        return Info(
            backend="Milvus Lite" if lite else f"Milvus {self._ask('get_server_version', timeout=CONNECT)}",
            place=self.place.said,
            n_rows=n_rows,
            n_identities=len(identities - {""}),
            n_cameras=len(cameras - {""}),
            n_indexed=0 if index["index_type"] == "FLAT" else min(n_rows, int(index["indexed_rows"])),
            n_bytes=sum(path.stat().st_size for path in lite.rglob("*") if path.is_file()) if lite else None,
        )

    def compact(self) -> None:
        """Merges small pieces and drops what was removed: a server in the background, a Lite file by writing it anew.

        From `INDEX_FROM` rows on a server's collection gets an index, and does not answer until it has it.
        """
        with self._writing:
            self._ask("flush", self.place.name, timeout=MAINTAIN)
            if self.place.lite is not None:
                self._write_anew()
            else:
                self._ask("compact", self.place.name, timeout=ANSWER)
                if self.count() < INDEX_FROM:
                    return
                if not self._has_index():
                    make_cells(self._client, self.place, self._fixed, joined=self._joined)
                wait_for_index(self._client, self.place)

    def keep_calibration(self, calibration: Mapping[str, Any] | None) -> None:
        note = note_of(dataclasses.replace(self._fixed, calibration=calibration))
        self._ask("alter_collection_properties", self.place.name, note, timeout=ANSWER)

    def close(self) -> None:
        if self._client is not None:
            disconnect(self.place, self._client)
        self._client = None

    def _query(self, condition: str, columns: list[str], **options: Any) -> list[dict[str, Any]]:
        found = self._ask(
            "query",
            self.place.name,
            filter=condition,
            output_fields=columns,
            timeout=ANSWER,
            consistency_level="Strong",
            **options,
        )
        return list(found)

    def _named(self, ids: Sequence[str], columns: list[str], n: int) -> Iterator[dict[str, Any]]:
        wanted = list(dict.fromkeys(ids))
        for start in range(0, len(wanted), n):
            yield from self._query(one_of("id", wanted[start : start + n]), columns)

    def _scan(self, condition: str, columns: list[str], limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Rows in the order of their ids, as an iterator of pymilvus reads them, which asks servers for more."""
        page = 4_000 if self.place.lite is None else 100_000  # Lite goes through all rows for every page
        n = page if limit is None else max(1, min(page, limit))
        last = ""
        while found := self._query(
            both(condition, f"id > {text(last)}"), columns, limit=n, iterator="True", reduce_stop_for_best="True"
        ):
            yield from found
            last = found[-1]["id"]

    def _nearest(self, vector: NDArray[np.float32], by: Space, n: int, where: Where) -> list[Match]:
        column, query = as_query(vector, by, self._fixed, joined=self._joined)
        found = self._ask(
            "search",
            self.place.name,
            [query],
            anns_field=column,
            limit=n,
            filter=condition(where),
            output_fields=KNOWN,
            search_params={"metric_type": "IP", "params": {"nprobe": N_PROBES if where == EVERYWHERE else N_CELLS}},
            consistency_level="Strong",
            timeout=ANSWER,
        )
        matches = [Match(as_entry(hit["entity"]), float(hit["distance"])) for hit in found[0]]
        return sorted(matches, key=lambda match: (-match.similarity, match.entry.id))

    def _compare_here(self, vector: NDArray[np.float32], by: Space, top: int, where: Where) -> list[Match]:
        column, _ = as_query(vector, by, self._fixed, joined=self._joined)
        ids = [values["id"] for values in self._scan(condition(where), ["id"])]
        matches = (
            Match(as_entry(values), float(vector_of(values, by, self._fixed) @ vector))
            for values in self._named(ids, [*KNOWN, column], 2_000)
        )
        return heapq.nsmallest(top, matches, key=lambda match: (-match.similarity, match.entry.id))

    def _has_index(self) -> bool:
        return bool(index_of(self._client, self.place)["index_type"] != "FLAT")

    def _write_anew(self) -> None:
        try:
            ids = [values["id"] for values in self._scan("", ["id"])]
            write_anew(self._client, self.place, self.about, self._named(ids, ["*"], 500))
        except GalleryError:
            self._reopen()  # drops what was begun
            raise

    def _delete(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), 2_000):
            condition = one_of("id", ids[start : start + 2_000])
            self._ask("delete", self.place.name, filter=condition, timeout=ANSWER)

    def _take_back(self, rows: Sequence[Row], before: Sequence[Row]) -> None:
        with suppress(GalleryError):
            self._delete([row.entry.id for row in rows])
            for part in parts_of([as_columns(row, joined=self._joined) for row in before], N_BYTES):
                self._ask("upsert", self.place.name, part, timeout=ANSWER)
