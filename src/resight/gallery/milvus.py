"""A gallery on Milvus: a Lite file, a server, or a cluster.

It differs from a folder in three points. A server keeps what was removed in its files until its own garbage collection
runs (`dataCoord.gc`, hours later), and in its log for as long as that is kept. Answers that see every acknowledged row
wait for the server's next tick (`proxy.timeTickInterval`, 0.2 s). A Lite file is open in one process at a time.
"""

from __future__ import annotations

import dataclasses
import heapq
import json
import logging
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.errors import GalleryError
from resight.gallery.milvus_columns import (
    KNOWN,
    MAX_FIELDS,
    MAX_TEXT,
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

try:
    import grpc  # type: ignore[import-untyped]
    from pymilvus import DataType, MilvusClient, MilvusException
except ImportError as error:
    raise GalleryError(f"Milvus needs another library ({error}). Install it: pip install 'resight[milvus]'") from error

FORMAT = 1
NOTE = "resight"
"""The collection's property that holds the format, and `About`."""

GRAPH_FROM = 200_000
"""Rows from which `compact` makes an index. Below, a server compares with every row: exact, and fast enough."""

GRAPH = {"index_type": "HNSW", "metric_type": "IP", "params": {"M": 16, "efConstruction": 200}}
FLAT: dict[str, Any] = {"index_type": "FLAT", "metric_type": "IP", "params": {}}
EF = 400
"""Least number of candidates that a search of the graph keeps."""

MAX_TOP = 16_384
"""Rows that Milvus gives in one answer."""

CONNECT, ANSWER, MAINTAIN = 5, 60, 600
"""Seconds to wait: for a server at all, for an answer, and for flushing or loading."""

N_BYTES = 32 << 20
"""Of rows in one request; servers refuse more than 64 MiB."""

_lite = Counter[str]()
"""Galleries that are open on each Lite file: pymilvus serves a file once a process, and the last one ends that."""


@dataclass(frozen=True, slots=True)
class Place:
    """said: what the user wrote. address: a URI, or the path of a Lite file. name: of the collection."""

    said: str
    address: str
    name: str

    @property
    def lite(self) -> Path | None:
        return None if "://" in self.address else Path(self.address)


def create(place: str, about: About) -> MilvusGallery:
    """A new gallery. Raises GalleryError where one is, where no server answers, or when Milvus refuses."""
    where = _read(place)
    if where.lite is not None:
        _make_parent(where.lite)
    client = _connect(where)
    try:
        ask = _asking(where)
        if ask(client.has_collection, where.name, timeout=CONNECT):
            raise GalleryError(f"{place}: is there already. Name another gallery, or add to this one.")
        version = str(ask(client.get_server_version, timeout=CONNECT))
        _make(client, where, about, joined=bool(about.aligned) and re.match(r"v?2\.[0-3]\b", version) is not None)
        return MilvusGallery(where, client)
    except BaseException:
        _disconnect(where, client)
        raise


def open_gallery(place: str) -> MilvusGallery:
    """The gallery that `create` made. Raises GalleryError when there is none, or no server answers."""
    where = _read(place)
    if where.lite is not None and not where.lite.exists():
        raise GalleryError(f"{place}: is no gallery. Make one with `resight gallery create {place}`.")
    client = _connect(where)
    try:
        _mend(client, where)
        if not _asking(where)(client.has_collection, where.name, timeout=CONNECT):
            raise GalleryError(f"{place}: is no gallery. Make one with `resight gallery create {place}`.")
        return MilvusGallery(where, client)
    except BaseException:
        _disconnect(where, client)
        raise


class MilvusGallery:
    """`Gallery` on Milvus."""

    def __init__(self, place: Place, client: MilvusClient) -> None:
        self.place = place
        self._client = client
        self._ask = _asking(place)
        self._writing = threading.Lock()
        described = self._ask(client.describe_collection, place.name, timeout=CONNECT)
        self._fixed = _about(place, described)
        widths = {field["name"]: field["params"].get("dim") for field in described["fields"]}
        self._joined = self._fixed.aligned is not None and "aligned" not in widths
        _make_ready(client, place, self._fixed, joined=self._joined)

    @property
    def about(self) -> About:
        return _about(self.place, self._ask(self._client.describe_collection, self.place.name, timeout=CONNECT))

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
                    self._ask(self._client.upsert, self.place.name, part, timeout=ANSWER)
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

    def get(self, ids: Sequence[str]) -> list[Row]:
        columns = [*KNOWN, "thumbnail", *n_numbers(self._fixed, joined=self._joined)]
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
        """As `Gallery.search`. Beyond 16,383 rows, or exactly past an index, every vector is read and compared here."""
        check_query(vector, by, top, self._fixed)
        if exact and self._index()["index_type"] != "FLAT":
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
        index, lite = self._index(), self.place.lite
        return Info(
            backend="Milvus Lite" if lite else f"Milvus {self._ask(self._client.get_server_version, timeout=CONNECT)}",
            place=self.place.said,
            n_rows=n_rows,
            n_identities=len(identities - {""}),
            n_cameras=len(cameras - {""}),
            n_indexed=0 if index["index_type"] == "FLAT" else min(n_rows, int(index["indexed_rows"])),
            n_bytes=sum(path.stat().st_size for path in lite.rglob("*") if path.is_file()) if lite else None,
        )

    def compact(self) -> None:
        """Merges small pieces and drops what was removed; from `GRAPH_FROM` rows on, makes the index if there is none.

        A server merges and drops in the background. The gallery does not answer while its index is made. A Lite file
        is written anew.
        """
        with self._writing:
            self._ask(self._client.flush, self.place.name, timeout=MAINTAIN)
            if self.place.lite is not None:
                _write_anew(self._client, self.place, self._fixed, self._scan("", ["*"], page=500))
            else:
                self._ask(self._client.compact, self.place.name, timeout=ANSWER)
            if self._index()["index_type"] == "FLAT" and self.count() >= GRAPH_FROM:
                _make_ready(self._client, self.place, self._fixed, joined=self._joined, index=GRAPH)

    def keep_calibration(self, calibration: Mapping[str, Any] | None) -> None:
        note = _note(dataclasses.replace(self._fixed, calibration=calibration))
        self._ask(self._client.alter_collection_properties, self.place.name, {NOTE: note}, timeout=ANSWER)

    def close(self) -> None:
        if self._client is not None:
            _disconnect(self.place, self._client)
        self._client = None

    def _query(self, condition: str, columns: list[str], **options: Any) -> list[dict[str, Any]]:
        found = self._ask(
            self._client.query,
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

    def _scan(
        self, condition: str, columns: list[str], limit: int | None = None, *, page: int = 4_000
    ) -> Iterator[dict[str, Any]]:
        """Rows in the order of their ids, as an iterator of pymilvus reads them, which asks servers for more."""
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
            self._client.search,
            self.place.name,
            [query],
            anns_field=column,
            limit=n,
            filter=condition(where),
            output_fields=KNOWN,
            search_params={"metric_type": "IP", "params": {"ef": max(EF, 2 * n)}},
            consistency_level="Strong",
            timeout=ANSWER,
        )
        matches = [Match(as_entry(hit["entity"]), float(hit["distance"])) for hit in found[0]]
        return sorted(matches, key=lambda match: (-match.similarity, match.entry.id))

    def _compare_here(self, vector: NDArray[np.float32], by: Space, top: int, where: Where) -> list[Match]:
        column, _ = as_query(vector, by, self._fixed, joined=self._joined)
        matches = (
            Match(as_entry(values), float(vector_of(values, by, self._fixed) @ vector))
            for values in self._scan(condition(where), [*KNOWN, column], page=2_000)
        )
        return heapq.nsmallest(top, matches, key=lambda match: (-match.similarity, match.entry.id))

    def _index(self) -> dict[str, Any]:
        index = self._ask(self._client.describe_index, self.place.name, "embedding", timeout=CONNECT)
        return dict(index or {"index_type": "FLAT"})

    def _delete(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), 2_000):
            condition = one_of("id", ids[start : start + 2_000])
            self._ask(self._client.delete, self.place.name, filter=condition, timeout=ANSWER)

    def _take_back(self, rows: Sequence[Row], before: Sequence[Row]) -> None:
        with suppress(GalleryError):
            self._delete([row.entry.id for row in rows])
            for part in parts_of([as_columns(row, joined=self._joined) for row in before], N_BYTES):
                self._ask(self._client.upsert, self.place.name, part, timeout=ANSWER)


def _read(place: str) -> Place:
    """milvus://HOST:PORT/NAME, milvus:https://HOST:PORT/NAME or milvus:FILE.db/NAME."""
    address, _, name = place.removeprefix("milvus:").rpartition("/")
    served = re.fullmatch(r"(https:)?//[^/\s@]+", address) is not None
    if not served and not (address.endswith(".db") and "://" not in address):
        raise GalleryError(f"{place}: expected milvus://HOST:PORT/NAME, or milvus:FILE.db/NAME for Milvus Lite.")
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}", name) is None:
        raise GalleryError(f"{place}: Milvus' names are of letters, digits and _, and start with no digit.")
    return Place(place, f"http:{address}" if address.startswith("//") else address, name)


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GalleryError(f"{path.parent}: cannot be made ({error.strerror}). Name another place.") from error


def _connect(place: Place) -> MilvusClient:
    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # they print tracebacks of what is raised anyway
    try:
        client = MilvusClient(place.address, token=os.environ.get("MILVUS_TOKEN", ""), timeout=CONNECT, dedicated=True)
    except (MilvusException, grpc.RpcError, ValueError) as error:
        raise _explained(place, error) from error
    if place.lite is not None:
        _lite[str(place.lite.resolve())] += 1
    return client


def _disconnect(place: Place, client: MilvusClient) -> None:
    client.close()
    if place.lite is None:
        return
    file = str(place.lite.resolve())
    _lite[file] -= 1
    if not _lite[file]:
        from milvus_lite.server_manager import server_manager_instance

        server_manager_instance.release_server(place.address)


def _asking(place: Place) -> Callable[..., Any]:
    """Calls pymilvus, and gives what goes wrong as a GalleryError."""

    def ask(what: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return what(*arguments, **options)
        except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError, ValueError) as error:
            raise _explained(place, error) from error

    return ask


def _explained(place: Place, error: Exception) -> GalleryError:
    said = getattr(error, "message", None) or (error.details() if isinstance(error, grpc.RpcError) else None)
    said = " ".join(str(said or error).split())[:300]
    kinds = {
        r"Open local milvus failed": _why_not_open(place),
        r"auth check failure|[Uu]nauthenticated|UNAUTHENTICATED|password|token": "the server refuses the token. "
        "Set the environment variable MILVUS_TOKEN to user:password, or to a key.",
        r"PermissionDenied|permission deny|privilege": "the token does not allow this. Ask who runs the server.",
        r"[Nn]o space left|disk quota|deny to write|memory quota": f"has no room for more ({said}). Free some.",
        r"[Ff]ail connecting|UNAVAILABLE|[Tt]imeout|DEADLINE|failed to connect": "no Milvus server answers there. "
        "Start it, or check host and port.",
        r"not loaded|not fully loaded": "is being loaded by the server. Try again in a minute.",
        r"not found|not exist|can't find": "is gone from the server. Make it with `resight gallery create`.",
    }
    for pattern, meaning in kinds.items():
        if re.search(pattern, said):
            return GalleryError(f"{place.said}: {meaning}")
    return GalleryError(f"{place.said}: Milvus refuses ({said}). See its log.")


def _why_not_open(place: Place) -> str:
    """pymilvus does not say why it cannot serve a Lite file."""
    try:
        from milvus_lite import MilvusLite

        MilvusLite(place.address).close()
    except ImportError as error:
        return f"Milvus Lite cannot be loaded ({error}). Install it: pip install 'resight[milvus]'"
    except Exception as error:
        if "lock" in type(error).__name__.lower():
            return "is open in another process; a Lite file is open in one at a time. End that, or use a server."
        return f"cannot be opened ({' '.join(str(error).split())[:200]}). Name another place, or mend that."
    return "could not be opened. Try again."


def _note(about: About) -> str:
    return json.dumps({"format": FORMAT, **dataclasses.asdict(about)})


def _about(place: Place, described: Mapping[str, Any]) -> About:
    try:
        note = json.loads(described["properties"][NOTE])
        if note.pop("format") != FORMAT:
            raise GalleryError(f"{place.said}: is a gallery of another format. Upgrade resight.")
        return About(**note)
    except (KeyError, TypeError, ValueError) as error:
        raise GalleryError(f"{place.said}: is a collection of Milvus, but no gallery. Name another.") from error


def _make(client: MilvusClient, place: Place, about: About, *, joined: bool) -> None:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=512)
    for name in ("content", "path", "identity", "camera", "more", "thumbnail"):
        # large and read only when found: on disk, where the server can (from 2.4 on)
        mapped = {"mmap_enabled": True} if name in ("more", "thumbnail") else {}
        schema.add_field(name, DataType.VARCHAR, max_length=MAX_TEXT, **mapped)
    schema.add_field("time", DataType.DOUBLE)
    schema.add_field("tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_length=32, max_capacity=MAX_FIELDS)
    for name, width in n_numbers(about, joined=joined).items():
        schema.add_field(name, DataType.FLOAT_VECTOR, dim=width)
    _asking(place)(
        client.create_collection,
        place.name,
        schema=schema,
        consistency_level="Strong",
        properties={NOTE: _note(about)},
        timeout=ANSWER,
    )


def _make_ready(
    client: MilvusClient, place: Place, about: About, *, joined: bool, index: Mapping[str, Any] | None = None
) -> None:
    """Loads the collection, and before that makes its index: `index`, or a flat one where there is none."""
    ask = _asking(place)
    columns = n_numbers(about, joined=joined)
    known = ask(client.list_indexes, place.name, timeout=CONNECT)
    if index is not None:
        ask(client.release_collection, place.name, timeout=ANSWER)
        for name in known:
            ask(client.drop_index, place.name, name, timeout=ANSWER)
    for column in columns:
        if index is not None or column not in known:
            parameters = client.prepare_index_params()
            parameters.add_index(column, index_name=column, **(index or FLAT))
            ask(client.create_index, place.name, parameters, sync=index is not None)
    ask(client.load_collection, place.name, timeout=MAINTAIN)


def _write_anew(client: MilvusClient, place: Place, about: About, rows: Iterator[dict[str, Any]]) -> None:
    """Copies the rows of a Lite file to a new collection, and puts that in the place of the old one.

    Lite keeps removed rows in its files until it happens to merge them. `_mend` ends what was interrupted.
    """
    ask = _asking(place)
    new = dataclasses.replace(place, name=_new(place))
    if ask(client.has_collection, new.name, timeout=CONNECT):
        ask(client.drop_collection, new.name, timeout=ANSWER)
    _make(client, new, _about(place, ask(client.describe_collection, place.name, timeout=CONNECT)), joined=False)
    while page := list(islice(rows, 2_000)):
        for part in parts_of(page, N_BYTES):
            ask(client.upsert, new.name, part, timeout=ANSWER)
    ask(client.flush, new.name, timeout=MAINTAIN)
    ask(client.rename_collection, place.name, _old(place), timeout=ANSWER)
    _mend(client, place)
    _make_ready(client, place, about, joined=False)


def _mend(client: MilvusClient, place: Place) -> None:
    """Ends a compaction of a Lite file that was interrupted."""
    if place.lite is None:
        return
    ask = _asking(place)
    names = ask(client.list_collections, timeout=CONNECT)
    if place.name not in names and _old(place) in names and _new(place) in names:
        ask(client.rename_collection, _new(place), place.name, timeout=ANSWER)
        names = [place.name, _old(place)]
    if place.name in names:
        for name in {_old(place), _new(place)} & set(names):
            ask(client.drop_collection, name, timeout=ANSWER)


def _new(place: Place) -> str:
    return f"{place.name}__new"


def _old(place: Place) -> str:
    return f"{place.name}__old"
