"""What is trained on: records with labels, and identities kept apart to choose settings on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resight.data.check_labels import unanswered
from resight.data.dataset import fingerprint
from resight.data.index import relabel
from resight.errors import DataError
from resight.types import Protocol, Record, Splits

LearnsFrom = Literal["identities", "captions", "pictures"]


@dataclass(frozen=True, slots=True)
class TrainSet:
    """records: N pictures; labels: int64 [N], positions in `identities`, the original ones in `relabel`'s order.

    Where captions are learned from, a picture of unknown identity has a label of its own behind them; where pictures
    alone are, records and identities hold none, and every label is -1. cameras, views: the distinct ones of the
    records, sorted. validation: a Splits that holds nothing but validation records, or None. fingerprint: of every
    record trained on or validated on. notes: a line each. licence: of the pictures, as far as it was stated.
    """

    records: tuple[Record, ...]
    identities: tuple[str, ...]
    labels: NDArray[np.int64]
    validation: Splits | None
    fingerprint: str
    notes: tuple[str, ...]
    licence: str = "unknown"

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(relabel(record.camera for record in self.records))

    @property
    def views(self) -> tuple[str, ...]:
        return tuple(relabel(record.view for record in self.records))


def train_set(
    splits: Splits,
    *,
    learns_from: LearnsFrom = "identities",
    validate: bool = False,
    validation_share: float = 0.1,
    seed: int = 0,
) -> TrainSet:
    """The train records, those without a split where the data names none; query and gallery are not looked at.

    learns_from: from captions, identities may be unknown; from pictures, no train record's identity or caption is
    read. validate: keep identities apart: the data's own validation records, else validation_share of the train
    identities that have something to find, drawn from seed; of unlabelled pictures none can be drawn. Raises DataError
    when nothing is left to train on, or nothing to validate on.
    """
    train = splits.train or splits.unassigned
    if learns_from == "pictures":
        return _unlabelled(splits, train, validate)
    captions = learns_from == "captions"
    usable = [record for record in train if (record.captions if captions else record.identity is not None)]
    if not train:
        raise DataError(f"{splits.root}: no picture is marked train. Mark some, or leave all without a split.")
    what = "a caption" if captions else "an identity"
    if not usable:
        column = "caption" if captions else "identity"
        raise DataError(
            f"{splits.root}: none of its {len(train):,} train pictures has {what}. Mark some as train, or name the "
            f"column: --column {column}=…"
        )
    notes = []
    if len(usable) < len(train):
        notes.append(f"{len(train) - len(usable):,} train pictures without {what} are left out.")
    validation = splits.validation if validate else ()
    protocol = _protocol(splits.protocol, validation or usable, captions)
    if validate and not validation:
        chosen = _chosen(usable, protocol, validation_share, seed)
        validation = tuple(replace(record, split="validation") for record in usable if record.identity in chosen)
        usable = [record for record in usable if record.identity not in chosen]
        notes.append(f"{len(chosen)} of the train identities are kept apart for validation.")
    if validate and not _answered(validation, protocol):
        raise DataError(
            f"{splits.root}: no validation picture has anything to find ({protocol}). Correct the validation records, "
            "or train without --validate-every."
        )
    order = relabel(record.identity for record in usable)
    unknown = iter(range(len(order), len(order) + len(usable)))
    labels = [next(unknown) if record.identity is None else order[record.identity] for record in usable]
    return TrainSet(
        tuple(usable),
        tuple(order),
        np.array(labels, dtype=np.int64),
        Splits(splits.name, splits.root, protocol, validation=validation) if validate else None,
        fingerprint([*usable, *validation], splits.root),
        tuple(notes),
    )


def _unlabelled(splits: Splits, train: Sequence[Record], validate: bool) -> TrainSet:
    if not train:
        raise DataError(f"{splits.root}: no picture is marked train. Mark some, or leave all without a split.")
    if validate and not splits.validation:
        raise DataError(
            f"{splits.root}: has no validation records, and identities are not read of pictures without labels. Mark "
            "some as validation, or train without --validate-every."
        )
    bare = tuple(
        Record(r.path, camera=r.camera, view=r.view, split=r.split, box=r.box, time=r.time)  # not replace: it reads all
        for r in train
    )
    validation = splits.validation if validate else ()
    protocol = _protocol(splits.protocol, validation or bare, captions=False)
    if validate and not _answered(validation, protocol):
        raise DataError(f"{splits.root}: no validation picture has anything to find ({protocol}). Correct them.")
    return TrainSet(
        bare,
        (),
        np.full(len(bare), -1, dtype=np.int64),
        Splits(splits.name, splits.root, protocol, validation=validation) if validate else None,
        fingerprint([*bare, *validation], splits.root),
        (),
    )


def _protocol(own: Protocol, records: Iterable[Record], captions: bool) -> Protocol:
    """How validation pictures are compared: as the data set says, as far as they tell what that needs."""
    if captions:
        return "text"
    no_camera = all(record.camera is None for record in records)
    return "any-camera" if own == "text" or (own == "cross-camera" and no_camera) else own


def _answered(records: Sequence[Record], protocol: Protocol) -> set[str]:
    """The identities that have something to find among the records."""
    asking = [record for record in records if record.captions] if protocol == "text" else records
    lost = set(unanswered(asking, records, protocol))
    return {record.identity for record in asking if record.identity is not None and record not in lost}


def _chosen(records: Sequence[Record], protocol: Protocol, share: float, seed: int) -> set[str]:
    """Identities for validation. Raises DataError when too few have anything to find, or too few are left."""
    identities, answered = relabel(record.identity for record in records), _answered(records, protocol)
    usable = [identity for identity in identities if identity in answered]
    n = max(2, round(share * len(identities)))
    if len(usable) < n or len(identities) - n < 2:
        raise DataError(
            f"{len(identities)} train identities, of which {len(usable)} have something to find ({protocol}), are too "
            f"few to keep {n} for validation. Train without --validate-every, or bring more pictures."
        )
    rng = np.random.default_rng((seed, 1))
    return {usable[place] for place in rng.permutation(len(usable))[:n]}
