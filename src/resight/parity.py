"""How far two encoders agree: on vectors, in batches of several sizes, and on what they find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resight.data.index import read
from resight.data.sample import make_sample
from resight.embed import EmbedConfig, embed
from resight.encoder import Encoder
from resight.errors import DataError
from resight.evaluate import Rules, compare, sides
from resight.exported import ExportedEncoder, Number
from resight.types import Embeddings, Record, Splits

N_PICTURES = 256
N_DRAWN = 12  # identities
BATCH_SIZES = (1, 3, 8)
TEXTS = ("a woman in a red coat", "a man with a black backpack and white shoes", "a small grey car", "x")
SAME_VECTORS = 0.999
"""Cosine from which on two vectors count as the same, so that galleries may hold both."""


@dataclass(frozen=True, slots=True)
class Limits:
    """cosine: the least, of any vector. mean_cosine: the least mean, over pictures. mean_ap: the most by which it may
    move. first: share of queries whose first answer stays, or is another that the original holds for as similar, to
    within `tie`."""

    cosine: float
    mean_cosine: float
    mean_ap: float
    first: float
    tie: float


EXACT = Limits(0.999, 0.999, 0.005, 0.99, 1e-3)
ROUNDED = Limits(0.99, 0.99, 0.01, 0.98, 5e-3)
COARSE = Limits(0.95, 0.99, 0.02, 0.95, 1e-2)
LIMITS: dict[Number, Limits] = {"float32": EXACT, "float16": EXACT, "bf16": ROUNDED, "int8": COARSE}


@dataclass(frozen=True, slots=True)
class Parity:
    """cosine, text_cosine: the least of any picture's and text's vector, over all batch sizes; None without texts.

    mean_ap, rank_1: before and after, pictures against pictures, any camera. same_first: as in `Limits`. probe: what
    the pictures were.
    """

    probe: str
    n_pictures: int
    batch_sizes: tuple[int, ...]
    cosine: float
    mean_cosine: float
    text_cosine: float | None
    mean_ap: tuple[float, float]
    rank_1: tuple[float, float]
    same_first: float
    limits: Limits

    @property
    def passed(self) -> bool:
        moved = abs(self.mean_ap[1] - self.mean_ap[0])
        near = self.least >= self.limits.cosine and self.mean_cosine >= self.limits.mean_cosine
        return near and moved <= self.limits.mean_ap and self.same_first >= self.limits.first

    @property
    def least(self) -> float:
        """The least cosine of any vector."""
        return min(self.cosine, 1.0 if self.text_cosine is None else self.text_cosine)

    @property
    def same_vectors(self) -> bool:
        return self.least >= SAME_VECTORS

    def line(self) -> str:
        words = "" if self.text_cosine is None else f", of texts {self.text_cosine:.5f}"
        limits = self.limits
        return (
            f"least cosine of {self.n_pictures} pictures ({self.probe}) {self.cosine:.5f}{words} (needed "
            f"{limits.cosine}), mean {self.mean_cosine:.5f} (needed {limits.mean_cosine}); mAP {self.mean_ap[0]:.2%} "
            f"-> {self.mean_ap[1]:.2%} (may move {limits.mean_ap:.1%}), R1 {self.rank_1[0]:.2%} -> "
            f"{self.rank_1[1]:.2%}; same first answer {self.same_first:.1%} (needed {limits.first:.0%})"
        )


def measure(encoder: Encoder, exported: ExportedEncoder, probe: Splits) -> Parity:
    """The agreement on the probe, as `choose_probe` or `drawn_probe` give it."""
    query, gallery = sides(probe)
    records = list(dict.fromkeys((*query, *gallery)))
    before, after = embed(encoder, records), embed(exported, records)
    cosines = [_cosines(before.embedding, after.embedding)]
    if before.aligned is not None and after.aligned is not None:
        cosines.append(_cosines(before.aligned, after.aligned))
    for size in BATCH_SIZES:
        few = embed(exported, records[: 2 * size + 1], EmbedConfig(batch_size=size)).embedding
        cosines.append(_cosines(before.embedding[: len(few)], few))
    text = None
    if encoder.can_read:
        texts = [*TEXTS, *(caption for record in query[:60] for caption in record.captions[:1])]
        text = float(_cosines(encoder.embed_texts(texts).embedding, exported.embed_texts(texts).embedding).min())
    limits = LIMITS[exported.form.precision]
    scores = [_scores(probe, before, records), dict.fromkeys(("mAP", "R1"), 0.0)]
    same_first = 0.0
    if (np.abs(np.linalg.norm(after.embedding, axis=1) - 1) < 1e-3).all():  # else halves overflowed: it finds nothing
        scores[1] = _scores(probe, after, records)
        row = {record: number for number, record in enumerate(records)}
        rows = [np.array([row[record] for record in side]) for side in (query, gallery)]
        same_first = _same_first(before.embedding, after.embedding, rows[0], rows[1], limits.tie)
    return Parity(
        probe=probe.name,
        n_pictures=len(records),
        batch_sizes=(*BATCH_SIZES, min(len(records), EmbedConfig().batch_size)),
        cosine=float(np.concatenate(cosines).min()),
        mean_cosine=float(np.concatenate(cosines).mean()),
        text_cosine=text,
        mean_ap=(scores[0]["mAP"], scores[1]["mAP"]),
        rank_1=(scores[0]["R1"], scores[1]["R1"]),
        same_first=same_first,
        limits=limits,
    )


def choose_probe(splits: Splits) -> Splits | None:
    """Some hundred pictures of identities that are seen twice in query and gallery; None where there are none."""
    try:
        query, gallery = sides(splits)
    except DataError:
        return None
    per: dict[str, list[Record]] = {}
    for record in dict.fromkeys((*query, *gallery)):
        if record.identity is not None:
            per.setdefault(record.identity, []).append(record)
    in_query, in_gallery = set(query), set(gallery)
    chosen: set[Record] = set()
    for records in per.values():
        asked, there = in_query.intersection(records), in_gallery.intersection(records)
        if len(chosen) < N_PICTURES and any(there - {one} for one in asked):
            chosen.update(records[:N_PICTURES])
    kept = tuple(tuple(record for record in side if record in chosen) for side in (query, gallery))
    if not chosen:
        return None
    return Splits(splits.name, splits.root, "any-camera", query=kept[0], gallery=kept[1])


def drawn_probe(folder: Path) -> Splits:
    """Drawn people in a new folder, where nobody named other pictures."""
    make_sample(folder, n_identities=N_DRAWN, workers=1)
    probe = choose_probe(read(folder))
    assert probe is not None
    return Splits("drawn people", probe.root, "any-camera", query=probe.query, gallery=probe.gallery)


def _scores(probe: Splits, vectors: Embeddings, records: Sequence[Record]) -> dict[str, float]:
    rules = Rules(protocol="any-camera")
    return compare(probe, vectors, records, None, rules=rules, source="").tasks[0].scores


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row; a vector that is no number agrees with none and has −1."""
    cosines: NDArray[np.float64] = np.einsum("nd,nd->n", one.astype(np.float64), other.astype(np.float64))
    return np.nan_to_num(cosines, nan=-1.0)


def _same_first(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    query: NDArray[np.int64],
    gallery: NDArray[np.int64],
    tie: float,
) -> float:
    own = query[:, None] == gallery
    similar, anew = (np.where(own, -2, vectors[query] @ vectors[gallery].T) for vectors in (before, after))
    rows = np.arange(len(query))
    lost = similar.max(axis=1) - similar[rows, anew.argmax(axis=1)]
    return float((lost <= tie).mean())
