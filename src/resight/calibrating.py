"""An encoder on labelled pictures and captions → what its similarities mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from resight.calibration import Calibration
from resight.data.dataset import all_records, fingerprint, require_pictures
from resight.embed import PLAINLY, EmbedConfig, embed, embed_captions, require_unit_length
from resight.embedder import Embedder
from resight.errors import DataError
from resight.evaluate import sides
from resight.metrics import numbers
from resight.similarities import Sample
from resight.thresholds import RATES, Plan, learn, plan
from resight.types import Record, Splits

Subset = Literal["validation", "test", "train", "all"]


def calibrate(
    encoder: Embedder,
    splits: Splits,
    *,
    subset: Subset | None = None,
    rates: Sequence[float] = RATES,
    seed: int = 0,
    config: EmbedConfig = PLAINLY,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """What pictures' similarities mean, and those of captions with pictures where there are enough captions.

    subset: None takes the validation records where there are any, else query and gallery, else those without a split.
    Raises DataError when these have too few pairs, or missing files (before anything is embedded), when a picture
    cannot be read, and when the encoder cannot tell them apart; ConfigError for a rate out of range.
    """
    chosen, notes = _choose(splits, subset, encoder.card.data)
    work = _plan(chosen, rates, with_text=encoder.can_read)
    require_pictures(chosen, splits.root)
    vectors = embed(encoder, chosen, config, progress=progress)
    require_unit_length(vectors)
    pictures = learn(work.pictures, vectors.embedding, vectors.embedding, seed=seed)
    words = None
    without_words: tuple[str, ...] = ()
    if work.words is not None and vectors.aligned is not None:
        texts = embed_captions(encoder, chosen, precision=config.precision).embedding
        try:
            words = learn(work.words, texts, vectors.aligned, seed=seed)
        except DataError as error:
            without_words = (f"Words are left out. {error}",)
    return Calibration(
        encoder=vectors.encoder,
        data=fingerprint(chosen, splits.root),
        pictures=pictures,
        words=words,
        notes=(*notes, *work.notes, *without_words),
    )


def _choose(splits: Splits, subset: Subset | None, trained_on: str) -> tuple[list[Record], list[str]]:
    """Records of known identity, and what should be known of the choice. Raises DataError when none is left."""
    subset = subset or ("validation" if splits.validation else "test")
    if subset == "all":
        records = all_records(splits)
    else:
        query, gallery = sides(splits, subset)
        records = list(dict.fromkeys((*query, *gallery)))
    known = [record for record in records if record.identity is not None]
    if not known:
        raise DataError(f"{splits.root}: no identity of its {len(records):,} pictures ({subset}) is known. Label some.")
    notes = []
    if len(known) < len(records):
        notes.append(f"{len(records) - len(known):,} pictures of unknown identity are left out.")
    if subset == "test" and splits.query:
        notes.append(
            "Query and gallery were used: how well these thresholds hold is not to be measured on the same pictures."
        )
    train = set(splits.train or splits.unassigned)
    if trained_on in _fingerprints(splits) and not train.isdisjoint(known):
        notes.append(
            "The encoder was trained on these pictures: it tells them apart better than others, so the thresholds are "
            "too low. Use pictures of other individuals."
        )
    return known, notes


def _fingerprints(splits: Splits) -> Iterable[str]:
    """What `train_set` may have called the pictures of these splits, by what it learned from."""
    train = splits.train or splits.unassigned
    parts = (
        [record for record in train if record.identity is not None],
        [record for record in train if record.captions],
        [replace(record, identity=None, captions=()) for record in train],
    )
    for part in parts:
        for validation in ((), splits.validation):
            yield fingerprint([*part, *validation], splits.root)


@dataclass(frozen=True, slots=True)
class _Work:
    pictures: Plan
    words: Plan | None
    notes: tuple[str, ...]


def _plan(records: Sequence[Record], rates: Sequence[float], *, with_text: bool) -> _Work:
    """What can be learned, from the labels alone."""
    captioned = [record for record in records for _ in record.captions]
    both = _sample([*records, *captioned])
    shown, said = both.take(np.arange(len(records))), both.take(np.arange(len(records), len(records) + len(captioned)))
    pictures = plan(shown, None, rates)
    if not (with_text and captioned):
        return _Work(pictures, None, pictures.notes)
    try:
        words = plan(said, shown, rates)
    except DataError as error:
        return _Work(pictures, None, (*pictures.notes, f"Words are left out. {error}"))
    return _Work(pictures, words, (*pictures.notes, *(f"Words: {note}" for note in words.notes)))


def _sample(records: Sequence[Record]) -> Sample:
    return Sample(
        identities=numbers([record.identity for record in records]),
        cameras=numbers([record.camera for record in records]),
        pictures=numbers([str(record.path) for record in records]),
    )
