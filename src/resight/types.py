"""The frozen data that every part shares; no logic."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Role = Literal["train", "validation", "query", "gallery", "test", ""]
"""What a record is for; "test" is query and gallery at once, "" is not said."""

Protocol = Literal["cross-camera", "any-camera", "vehicleid", "text"]
"""Who may match whom.

cross-camera: gallery pictures of the query's identity from the query's camera are left out (Market-1501's rule).
any-camera: only the query's own file is left out.
vehicleid: one random picture of each identity is the gallery, the others are queries; the mean of ten draws.
text: every caption is a query, every picture is in the gallery; then the other way round.
"""


@dataclass(frozen=True, slots=True)
class Record:
    """One picture, or one box of a picture, and what is known of it.

    path: absolute. identity: the original one as text; None is unknown, and a distractor when it lies in a gallery:
    it matches nobody. camera and view: text, None is unknown, and an unknown camera equals no other. box: left, top,
    right, bottom in pixels of the upright picture; None is the whole picture. time: UTC seconds since 1970.
    fields: what else was said of it, as pairs of name and value; records that differ in these alone are equal.
    """

    path: Path
    identity: str | None = None
    camera: str | None = None
    view: str | None = None
    captions: tuple[str, ...] = ()
    split: Role = ""
    box: tuple[float, float, float, float] | None = None
    time: float | None = None
    fields: tuple[tuple[str, str], ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Splits:
    """The records of one data set by role.

    A record whose split is "test" stands in query and in gallery. `unassigned` holds the records that name no split:
    training takes them as train, evaluation as query and gallery at once. notes: what a user should know of the
    reading (pictures dropped as junk, counts that differ from the published ones), a line each.
    """

    name: str
    root: Path
    protocol: Protocol
    benchmark: str | None = None
    train: tuple[Record, ...] = ()
    validation: tuple[Record, ...] = ()
    query: tuple[Record, ...] = ()
    gallery: tuple[Record, ...] = ()
    unassigned: tuple[Record, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def data_name(self) -> str:
        """What a run and a report call the data: the name, below that of the root's folder where it is another."""
        return self.name if self.name == self.root.name else f"{self.root.name}/{self.name}"


@dataclass(frozen=True, slots=True)
class Batch:
    """images: uint8 [B, 3, H, W], RGB. rows: int64 [B], the pictures' positions in the list that was loaded."""

    images: NDArray[np.uint8]
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One row a picture, or a text; every list has N entries.

    embedding: float32 [N, D], L2-normalised, what identity search compares. aligned: float32 [N, A], L2-normalised,
    comparable with texts; None when the encoder has no text tower. For texts both are the text's aligned vector.
    paths: as in Record, "" for a text. captions: the text, or "" for a picture. encoder: fingerprint of its weights.
    """

    embedding: NDArray[np.float32]
    aligned: NDArray[np.float32] | None
    paths: tuple[str, ...]
    identities: tuple[str | None, ...]
    cameras: tuple[str | None, ...]
    captions: tuple[str, ...]
    encoder: str
