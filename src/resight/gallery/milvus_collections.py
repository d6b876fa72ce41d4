"""The collection that holds a gallery: making it, its index, what it says of itself, and writing a Lite file anew."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from pymilvus import DataType, MilvusClient

from resight.errors import GalleryError
from resight.gallery.milvus_columns import MAX_FIELDS, MAX_TEXT, Whole, n_numbers, parts_of
from resight.gallery.milvus_link import ANSWER, CONNECT, MAINTAIN, Place, asking
from resight.gallery.rows import About

FORMAT = 1
NOTE = "resight"
"""The collection's property that holds the format, and `About`."""

N_CELLS = 1_024
FLAT: dict[str, Any] = {"index_type": "FLAT", "metric_type": "IP", "params": {}}
CELLS: dict[str, Any] = {"index_type": "IVF_FLAT", "metric_type": "IP", "params": {"nlist": N_CELLS}}
"""Rows in cells by their nearest centre. Looked at in every cell, a condition loses no neighbour, which it does in a
graph: measured on 2.3.5 with 8 % of the rows allowed, HNSW found 96 % of the neighbours with 400 candidates and 99 %
with 4,000."""

N_BYTES = 32 << 20
"""Of rows in one request; servers refuse more than 64 MiB."""


def note_of(about: About) -> dict[str, str]:
    return {NOTE: json.dumps({"format": FORMAT, **dataclasses.asdict(about)})}


def read_note(place: Place, described: Mapping[str, Any]) -> About:
    try:
        note = json.loads(described["properties"][NOTE])
        if note.pop("format") != FORMAT:
            raise GalleryError(f"{place.said}: is a gallery of another format. Upgrade resight.")
        return About(**note)
    except (KeyError, TypeError, ValueError) as error:
        raise GalleryError(f"{place.said}: is a collection of Milvus, but no gallery. Name another.") from error


def make(client: MilvusClient, place: Place, about: About, *, joined: bool) -> None:
    """An empty collection, which `make_ready` must make ready."""
    if place.lite is not None:  # left by a full disk: a folder that Lite neither lists nor makes again
        shutil.rmtree(place.lite / "collections" / place.name, ignore_errors=True)
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
    asking(place)(
        client.create_collection,
        place.name,
        schema=schema,
        consistency_level="Strong",
        properties=note_of(about),
        timeout=ANSWER,
    )


def make_ready(client: MilvusClient, place: Place, about: About, *, joined: bool) -> None:
    """Gives the collection a flat index where it has none, and loads it."""
    ask = asking(place)
    known = ask(client.list_indexes, place.name, timeout=CONNECT)
    for column in n_numbers(about, joined=joined):
        if column not in known:
            _index(client, place, column, FLAT)
    ask(client.load_collection, place.name, timeout=MAINTAIN)


def make_cells(client: MilvusClient, place: Place, about: About, *, joined: bool) -> None:
    """Makes `CELLS` in place of the flat index. Meanwhile the collection does not answer."""
    ask = asking(place)
    ask(client.release_collection, place.name, timeout=ANSWER)
    for column in n_numbers(about, joined=joined):
        ask(client.drop_index, place.name, column, timeout=ANSWER)
        _index(client, place, column, CELLS)
    ask(client.load_collection, place.name, timeout=MAINTAIN)


def index_of(client: MilvusClient, place: Place) -> Mapping[str, Any]:
    """As pymilvus describes the index of embeddings: its type, and how many rows are in it or wait for it."""
    found: Mapping[str, Any] = asking(place)(client.describe_index, place.name, "embedding", timeout=CONNECT)
    return found


def wait_for_index(client: MilvusClient, place: Place) -> None:
    """Until every row is in the index, for ten minutes at most; the server goes on behind that."""
    until = time.monotonic() + MAINTAIN
    while int(index_of(client, place)["pending_index_rows"]) and time.monotonic() < until:
        time.sleep(0.5)


def write_anew(client: MilvusClient, place: Place, about: About, rows: Iterator[dict[str, Any]]) -> None:
    """Copies the rows of a Lite file to a new collection, and puts that in the place of the old one.

    Lite itself keeps removed rows in its files until it happens to merge them. `mend` ends what was interrupted.
    """
    mend(client, place)
    ask = asking(place)
    new = dataclasses.replace(place, name=_new(place))
    make(client, new, about, joined=False)
    while page := list(islice(rows, 2_000)):
        whole = [values | {"thumbnail": Whole(values["thumbnail"])} for values in page]
        for part in parts_of(whole, N_BYTES):
            ask(client.insert, new.name, part, timeout=ANSWER)
    ask(client.flush, new.name, timeout=MAINTAIN)
    make_ready(client, new, about, joined=False)
    ask(client.rename_collection, place.name, _old(place), timeout=ANSWER)
    mend(client, place)
    make_ready(client, place, about, joined=False)


def mend(client: MilvusClient, place: Place) -> None:
    """Ends what `write_anew` was interrupted in: the new collection is whole once the old one has another name."""
    ask = asking(place)
    names = set(ask(client.list_collections, timeout=CONNECT))
    if place.name not in names and {_old(place), _new(place)} <= names:
        ask(client.rename_collection, _new(place), place.name, timeout=ANSWER)
        names = names - {_new(place)} | {place.name}
    if place.name in names:
        for name in names & {_old(place), _new(place)}:
            ask(client.drop_collection, name, timeout=ANSWER)


def _index(client: MilvusClient, place: Place, column: str, index: Mapping[str, Any]) -> None:
    parameters = client.prepare_index_params()
    parameters.add_index(column, index_name=column, **index)
    asking(place)(client.create_index, place.name, parameters, sync=False, timeout=ANSWER)


def _new(place: Place) -> str:
    return f"{place.name}__new"


def _old(place: Place) -> str:
    return f"{place.name}__old"
