"""A picture, words, both, or a row → the rows of a gallery that show the same, with what a person should be told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resight.calibration import Calibration, Curve, Verdict
from resight.embedder import Embedder, Picture
from resight.errors import ConfigError, GalleryError
from resight.gallery.rows import EVERYWHERE, Entry, Gallery, Match, Space, Where
from resight.queries import text_query

N_CANDIDATES = 10
"""Times `top`: rows by pictures, and as many by words, that are weighed against each other when both are asked."""

MOST = 16_384
"""Rows that are gone through for different identities; few large identities then answer alone."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What is looked for, as vectors of length 1: of pictures [D], of words [A], or both.

    rows: ids whose vectors these are, which are not among the answers. notes: for the person who asked.
    """

    picture: NDArray[np.float32] | None = None
    words: NDArray[np.float32] | None = None
    rows: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """How to answer. threshold: least similarity. text_weight: share of the words where pictures are given too, 0 to 1.

    one_each: of every identity the most similar row alone; rows of unknown identity all count. Raises ConfigError out
    of range.
    """

    top: int = 10
    where: Where = EVERYWHERE
    threshold: float | None = None
    text_weight: float = 0.5
    one_each: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.top <= 10_000:
            raise ConfigError(f"top {self.top}: 1 to 10,000 results.")
        if not 0 <= self.text_weight <= 1:
            raise ConfigError(f"text weight {self.text_weight}: 0 (pictures alone) to 1 (words alone).")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ConfigError(f"threshold {self.threshold}: a similarity, -1 to 1.")


@dataclass(frozen=True, slots=True)
class Found:
    """verdict and probability: None where the gallery has no calibration for this kind of question."""

    entry: Entry
    similarity: float
    verdict: Verdict | None = None
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """found: the most similar first. notes: what the person who asked should be told, a line each."""

    found: tuple[Found, ...]
    notes: tuple[str, ...] = ()


def seek(
    encoder: Embedder, *, pictures: Sequence[Picture] = (), texts: Sequence[str] = (), without: Sequence[str] = ()
) -> Sought:
    """Pictures of one individual, pooled, and words for it, as `text_query` takes them.

    Raises ConfigError when there is neither, or words without a text tower; DataError for an unreadable picture.
    """
    if not pictures and not texts:
        raise ConfigError("Nothing is asked. Give a picture, words, or the id of a row.")
    if without and not texts:
        raise ConfigError("What is left out needs words to be taken from. Leave out --not, or give --text.")
    picture = pool(encoder.embed_images(pictures).embedding) if pictures else None
    if not texts:
        return Sought(picture)
    words = text_query(encoder, texts, without=without)
    return Sought(picture, words.vector, notes=words.notes)


def seek_rows(gallery: Gallery, ids: Sequence[str]) -> Sought:
    """The rows' own vectors, pooled. Raises GalleryError for an id that is not there."""
    rows = gallery.get(ids, thumbnails=False)
    missing = sorted(set(ids) - {row.entry.id for row in rows})
    if missing:
        raise GalleryError(f"row {missing[0]}: is not in the gallery. `resight gallery list` shows the ids.")
    return Sought(pool(np.stack([row.embedding for row in rows])), rows=tuple(ids))


def pool(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean direction of vectors [N, D] of one individual: [D]. Raises ConfigError when they cancel out."""
    mean = vectors.astype(np.float64).mean(axis=0)
    length = np.linalg.norm(mean)
    if not length > 1e-3:
        raise ConfigError("The pictures cancel out: they show nothing in common. Ask with one of them.")
    pooled: NDArray[np.float32] = (mean / length).astype(np.float32)
    return pooled


def look(gallery: Gallery, sought: Sought, terms: Terms | None = None) -> Answer:
    """What the gallery has that is like it. Raises GalleryError as `Gallery.search` does."""
    terms = terms or Terms()
    if sought.rows:
        terms = replace(terms, where=replace(terms.where, without_ids=(*terms.where.without_ids, *sought.rows)))
    if sought.picture is not None and sought.words is not None:
        both, curve = _by_both(gallery, sought, terms), None
        found = _one_each(both)[: terms.top] if terms.one_each else both[: terms.top]
    else:
        by: Space = "embedding" if sought.words is None else "aligned"
        vector = sought.picture if sought.words is None else sought.words
        if vector is None:
            raise ValueError("neither a picture nor words are sought")
        found, curve = _by_one(gallery, vector, by, terms), _curve(gallery, by)
    kept = [match for match in found if terms.threshold is None or match.similarity >= terms.threshold]
    return Answer(tuple(_judged(match, curve) for match in kept), sought.notes)


def _by_one(gallery: Gallery, vector: NDArray[np.float32], by: Space, terms: Terms) -> list[Match]:
    """Asks for more rows until there are enough identities, or no more rows, or too many to go through."""
    n = terms.top
    while True:
        found = gallery.search(vector, by=by, top=n, where=terms.where, exact=terms.exact)
        kept = _one_each(found) if terms.one_each else found
        if len(kept) >= terms.top or len(found) < n or n >= MOST:
            return kept[: terms.top]
        n = min(4 * n, MOST)


def _one_each(found: Sequence[Match]) -> list[Match]:
    seen: set[str] = set()
    kept = []
    for match in found:
        if match.entry.identity is None or match.entry.identity not in seen:
            kept.append(match)
            seen |= {match.entry.identity} if match.entry.identity is not None else set()
    return kept


def _by_both(gallery: Gallery, sought: Sought, terms: Terms) -> list[Match]:
    """The rows that come first by either, by the weighted mean of their two similarities.

    Words spread less than pictures in many a CLIP, so theirs are brought to the pictures' mean and spread.
    """
    assert sought.picture is not None
    assert sought.words is not None
    n = max(terms.top, min(N_CANDIDATES * terms.top, MOST))
    by_picture = gallery.search(sought.picture, by="embedding", top=n, where=terms.where, exact=terms.exact)
    by_words = gallery.search(sought.words, by="aligned", top=n, where=terms.where, exact=terms.exact)
    rows = gallery.get(sorted({match.entry.id for match in (*by_picture, *by_words)}), thumbnails=False)
    if not rows:
        return []
    pictures = np.stack([row.embedding for row in rows]) @ sought.picture
    words = np.stack([row.aligned for row in rows if row.aligned is not None]) @ sought.words
    spread = pictures.std() / words.std() if words.std() > 0 else 1.0
    words = pictures.mean() + spread * (words - words.mean())
    both = (1 - terms.text_weight) * pictures + terms.text_weight * words
    matches = [Match(row.entry, float(similarity)) for row, similarity in zip(rows, both, strict=True)]
    return sorted(matches, key=lambda match: (-match.similarity, match.entry.id))


def _curve(gallery: Gallery, by: Space) -> Curve | None:
    if gallery.about.calibration is None:
        return None
    calibration = Calibration.from_dict(gallery.about.calibration)
    return calibration.pictures if by == "embedding" else calibration.words


def _judged(match: Match, curve: Curve | None) -> Found:
    found = Found(match.entry, match.similarity)
    if curve is None:
        return found
    return replace(found, verdict=curve.judge(match.similarity), probability=curve.probability(match.similarity))
