"""What every gallery holds and does, whatever stores it: rows, conditions, matches, and the interface."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from resight.errors import ConfigError, GalleryError

Space = Literal["embedding", "aligned"]
"""Which of a row's vectors a query is compared with: identity search, or search by words."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one picture in a gallery.

    id: 1 to 128 characters; a hash of the content unless the user gave one. content: a hash of the picture's file and
    box. path: where it was when it was added, "" for an array; never read again. identity, camera: None is unknown,
    never "". time: UTC seconds since 1970, or None. box: as in `Record`. fields: whatever else to filter by.
    """

    id: str
    content: str
    path: str = ""
    identity: str | None = None
    camera: str | None = None
    time: float | None = None
    box: tuple[float, float, float, float] | None = None
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """An entry with its vectors, float32, of length 1: embedding [D], and aligned [A], or None without a text tower.

    thumbnail: a small JPEG without metadata, b"" where none is kept.
    """

    entry: Entry
    embedding: NDArray[np.float32]
    aligned: NDArray[np.float32] | None
    thumbnail: bytes = b""


@dataclass(frozen=True, slots=True)
class Where:
    """Which rows to look at, before anything is compared; all that is said must hold.

    identities, cameras: one of these; "" stands for unknown. since, until: UTC seconds, since <= time < until; a row
    without a time is then left out. fields: each name has this value. paths: one of these. without_ids: rows that are
    left out. Raises ConfigError for a time that is no finite number.
    """

    identities: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    without_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, time in (("since", self.since), ("until", self.until)):
            if time is not None and not math.isfinite(time):
                raise ConfigError(f"{name} {time}: expected seconds since 1970 (UTC).")


EVERYWHERE = Where()


@dataclass(frozen=True, slots=True)
class Match:
    """similarity: the inner product of the row's vector and the query's, -1 to 1."""

    entry: Entry
    similarity: float


@dataclass(frozen=True, slots=True)
class About:
    """What a gallery says of itself.

    encoder: fingerprint of the encoder its vectors are from. source: what to give `Encoder.load` to have that encoder
    again; options: with which keywords. dimension: D; aligned: A, or None without a text tower. preprocess: as in the
    encoder folder. calibration: as `Calibration.as_dict` gives it, or None.
    """

    encoder: str
    source: str
    options: Mapping[str, Any]
    dimension: int
    aligned: int | None
    preprocess: Mapping[str, Any]
    calibration: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Info:
    """backend: what stores the rows. n_indexed: rows in the index of `embedding`; the others are compared one by one.

    n_bytes: on disk, None where the server does not tell.
    """

    backend: str
    place: str
    n_rows: int
    n_identities: int
    n_cameras: int
    n_indexed: int
    n_bytes: int | None


class Gallery(Protocol):
    """Rows with unique ids. What a method has done is durable, and seen by every later call of any process.

    Every method raises GalleryError when the store cannot be read or written; nothing that was acknowledged is lost.
    """

    @property
    def about(self) -> About: ...

    def add(self, rows: Sequence[Row]) -> None:
        """Stores all rows or none. A row whose id is there replaces that one.

        Raises GalleryError and ValueError as `check_rows` does.
        """

    def update(self, entries: Sequence[Entry]) -> None:
        """Replaces what is known of rows, of all or none; their vectors stay.

        Raises GalleryError for an id that is not there, ValueError for one that stands twice.
        """

    def remove(self, ids: Sequence[str]) -> int:
        """Takes the rows out; how many there were. They are never found again; bytes may stay until `compact`."""

    def forget(self, identity: str) -> int:
        """Takes out every row of the identity, and purges the store: no byte of them stays on disk. How many."""

    def get(self, ids: Sequence[str], *, thumbnails: bool = True) -> list[Row]:
        """The rows with these ids, in this order; an id that is not there is left out.

        thumbnails: False leaves them out, as b"", which is several times faster.
        """

    def contents(self, ids: Sequence[str]) -> dict[str, str]:
        """id → content of those rows that are there; cheap, for adding what is missing."""

    def entries(self, where: Where = EVERYWHERE, *, start: int = 0, limit: int | None = None) -> Iterator[Entry]:
        """Entries in the order of their ids, from the start-th on."""

    def count(self, where: Where = EVERYWHERE) -> int: ...

    def search(
        self,
        vector: NDArray[np.float32],
        *,
        by: Space = "embedding",
        top: int = 10,
        where: Where = EVERYWHERE,
        exact: bool = False,
    ) -> list[Match]:
        """The `top` most similar rows that `where` allows, best first; equally similar ones in the order of their ids.

        vector: [D] or [A], of length 1. exact: compare with every row, index or not. Raises GalleryError for a vector
        of another width, or by "aligned" where rows have no aligned vector; ValueError for top below 1.
        """

    def info(self) -> Info: ...

    def compact(self) -> None:
        """Merges small pieces, brings every row into the index, and drops what was removed."""

    def keep_calibration(self, calibration: Mapping[str, Any] | None) -> None:
        """Stores it in `about`, in place of the former one."""

    def close(self) -> None: ...


def check_rows(rows: Sequence[Row], about: About) -> None:
    """Raises GalleryError for a row that the gallery cannot hold, ValueError for an id that stands twice."""
    check_ids([row.entry.id for row in rows])
    for row in rows:
        check_entry(row.entry)
        _check_vector(row, "embedding", about.dimension)
        _check_vector(row, "aligned", about.aligned)


def check_ids(ids: Sequence[str]) -> None:
    """Raises ValueError for an id that stands twice."""
    twice = [id_ for id_, n in Counter(ids).items() if n > 1]
    if twice:
        raise ValueError(f"row {twice[0]!r} stands twice in one call")


def check_query(vector: NDArray[np.float32], by: Space, top: int, about: About) -> None:
    """Raises what `Gallery.search` says."""
    width = about.dimension if by == "embedding" else about.aligned
    if width is None:
        raise GalleryError("The gallery cannot be searched by words: its encoder has no text tower. Give a picture.")
    if vector.shape != (width,):
        raise GalleryError(f"The query has {vector.size} numbers, the gallery's vectors {width}: another encoder's.")
    if top < 1:
        raise ValueError(f"top {top}: at least 1")


def check_entry(entry: Entry) -> None:
    """Raises GalleryError for what no gallery can hold."""
    if not 1 <= len(entry.id) <= 128:
        raise GalleryError(f"row {entry.id!r}: an id has 1 to 128 characters. Give it another.")
    texts = {"id": entry.id, "path": entry.path, "identity": entry.identity, "camera": entry.camera}
    for name, text in (*texts.items(), *(("field", text) for pair in entry.fields.items() for text in pair)):
        if text is not None and ("\0" in text or not _is_unicode(text)):
            raise GalleryError(f"row {entry.id!r}: {name} {text!r} is not Unicode text. Give it another.")
    for name in ("identity", "camera"):
        if texts[name] == "":
            raise GalleryError(f"row {entry.id!r}: {name} is empty. Leave it out where it is unknown.")
    if entry.time is not None and not math.isfinite(entry.time):
        raise GalleryError(f"row {entry.id!r}: time {entry.time} is no number of seconds since 1970.")


def _is_unicode(text: str) -> bool:
    """Names of files may hold bytes that are not UTF-8; Python keeps them as halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _check_vector(row: Row, name: Space, width: int | None) -> None:
    vector = row.embedding if name == "embedding" else row.aligned
    if (vector is None) != (width is None):
        has = "no aligned vector, other rows have" if vector is None else "an aligned vector, other rows have none"
        raise GalleryError(f"row {row.entry.id!r}: {has}. Use the gallery's encoder.")
    if vector is None:
        return
    if vector.shape != (width,):
        raise GalleryError(f"row {row.entry.id!r}: {name} has {vector.size} numbers, not {width}. Use its encoder.")
    if not abs(float(vector @ vector) - 1) < 1e-2:
        raise GalleryError(
            f"row {row.entry.id!r}: {name} is not of length 1. Normalise it, or embed the picture again."
        )
