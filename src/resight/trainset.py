"""What is trained on: records with labels, and identities kept apart to choose settings on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resight.data.dataset import fingerprint
from resight.data.index import relabel
from resight.errors import DataError
from resight.types import Record, Splits


@dataclass(frozen=True, slots=True)
class TrainSet:
    """records: N pictures; labels: int64 [N], positions in `identities`, the original ones.

    cameras, views: the distinct ones of the records, sorted. validation: a Splits that holds nothing but validation
    records, or None. fingerprint: of every record trained on or validated on. notes: a line each.
    """

    records: tuple[Record, ...]
    identities: tuple[str, ...]
    labels: NDArray[np.int64]
    validation: Splits | None
    fingerprint: str
    notes: tuple[str, ...]

    @property
    def cameras(self) -> tuple[str, ...]:
        return _distinct([record.camera for record in self.records])

    @property
    def views(self) -> tuple[str, ...]:
        return _distinct([record.view for record in self.records])


def train_set(splits: Splits, *, validate: bool, validation_share: float = 0.1, seed: int = 0) -> TrainSet:
    """The train records, those without a split where the data names none; query and gallery are not looked at.

    validate: keep identities apart: the data's own validation records, else validation_share of the train identities
    that have a match, drawn from seed. Raises DataError when nothing is left to train on, or nothing to validate on.
    """
    known, notes = _with_identity(splits.train or splits.unassigned)
    if not known:
        raise DataError(f"{splits.root}: has no picture to train on: none is marked train and has an identity.")
    validation, train = splits.validation, known
    if validate and not validation:
        chosen = _chosen(known, validation_share, seed)
        validation = tuple(replace(r, split="validation") for r in known if r.identity in chosen)
        train = [record for record in known if record.identity not in chosen]
        notes.append(f"{len(chosen)} of the train identities are kept apart for validation.")
    order = relabel(record.identity for record in train)
    apart = Splits(splits.name, splits.root, splits.protocol, validation=validation) if validate else None
    return TrainSet(
        tuple(train),
        tuple(order),
        np.array([order[record.identity or ""] for record in train], dtype=np.int64),
        apart,
        fingerprint([*train, *(validation if validate else ())], splits.root),
        tuple(notes),
    )


def _with_identity(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    known = [record for record in records if record.identity is not None]
    n_unknown = len(records) - len(known)
    return known, [f"{n_unknown:,} train pictures without an identity are left out."] if n_unknown else []


def _chosen(records: Sequence[Record], share: float, seed: int) -> set[str]:
    """Identities for validation. Raises DataError when no identity has two pictures to compare."""
    pictures: dict[str, int] = {}
    for record in records:
        assert record.identity is not None
        pictures[record.identity] = pictures.get(record.identity, 0) + 1
    usable = [identity for identity in relabel(pictures) if pictures[identity] > 1]
    n = max(2, round(share * len(pictures)))
    if len(usable) < n or len(pictures) - n < 2:
        raise DataError(
            f"{len(pictures)} train identities, of which {len(usable)} have two pictures, are too few to keep "
            f"{n} for validation. Train without --validate-every, or bring more pictures."
        )
    rng = np.random.default_rng((seed, 1))
    return {usable[place] for place in rng.permutation(len(usable))[:n]}


def _distinct(names: Sequence[str | None]) -> tuple[str, ...]:
    return tuple(relabel(names))
