"""Who may match whom, and how well they do: an encoder on query and gallery → a Report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resight.clip.tokenizer import count_tokens
from resight.data.check_labels import unanswered
from resight.data.dataset import fingerprint, require_pictures
from resight.embed import PLAINLY, EmbedConfig, embed, embed_captions, require_unit_length
from resight.embedder import Embedder
from resight.errors import ConfigError, DataError
from resight.examples import Ranked, rank_captions
from resight.metrics import (
    Labels,
    Ranking,
    Ties,
    confidence_intervals,
    numbers,
    rank,
    rank_by_camera,
    rank_by_ties,
    summary,
    vehicleid_draws,
)
from resight.neighbours import similarity_blocks
from resight.open_set import OpenSet, open_set
from resight.rerank import reranked_blocks
from resight.types import Embeddings, Protocol, Record, Splits

RANKS = (1, 5, 10, 20)
N_DRAWS = 10  # VehicleID's protocol
ENDS_OF_TIES: tuple[Ties, ...] = ("pessimistic", "optimistic")

NOTHING_TO_FIND: dict[Protocol, str] = {
    "cross-camera": (
        "No query has anything to find: under the cross-camera rule a match must show the same identity from another "
        "camera, and no gallery picture does. Let matches come from the query's own camera with --protocol any-camera."
    ),
    "any-camera": "No query has anything to find: no identity has a second picture on the gallery's side.",
    "vehicleid": "No query has anything to find: every identity has a single picture. Check the identities.",
    "text": "No query has anything to find: no caption shares its identity with a picture of the gallery.",
}

Subset = Literal["test", "validation", "train"]
TaskName = Literal["image → image", "text → image", "image → text"]


@dataclass(frozen=True, slots=True)
class Rerank:
    """k-reciprocal re-ranking: neighbours k1, query expansion k2, weight of the plain distance (Zhong et al. 2017).

    Raises ConfigError unless 1 <= k2 <= k1 and 0 <= weight <= 1.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    def __post_init__(self) -> None:
        if not 1 <= self.k2 <= self.k1:
            raise ConfigError(f"re-ranking with k1 {self.k1} and k2 {self.k2}: needed is 1 <= k2 <= k1.")
        if not 0 <= self.weight <= 1:
            raise ConfigError(f"re-ranking with weight {self.weight}: needed is 0 to 1.")


@dataclass(frozen=True, slots=True)
class Rules:
    """How to compare.

    protocol: None takes the data set's own. seed: of the intervals, and of VehicleID's draws. device: where the matrix
    products run; counting is the processor's work. Raises ConfigError for a negative seed.
    """

    protocol: Protocol | None = None
    rerank: Rerank | None = None
    ties: Ties = "stable"
    camera_pairs: bool = False
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed}: 0 or more.")


@dataclass(frozen=True, slots=True)
class CameraPair:
    """Scores of one query camera against one gallery camera; shares from 0 to 1."""

    query_camera: str
    gallery_camera: str
    n_valid: int
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class Task:
    """One comparison. scores: mAP, R1, R5, R10, R20 and mINP, shares from 0 to 1, over the valid queries.

    intervals: 95 %, by resampling the query identities; of VehicleID over its ten draws. n_valid: queries that the
    gallery can answer (a mean over the draws for VehicleID). at_ties: mAP and R1 with the negatives first among equally
    similar pictures, and with the positives first; they differ where vectors are equal. reranked: the scores after
    re-ranking, or None. open_set: how far queries whose individual is not there are told from the others (of VehicleID
    the means over its draws); None where the gallery shows nobody but the query's individual.
    """

    name: TaskName
    protocol: Protocol
    n_queries: int
    n_valid: int
    n_gallery: int
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    at_ties: dict[Ties, dict[str, float]]
    reranked: dict[str, float] | None = None
    camera_pairs: tuple[CameraPair, ...] = ()
    open_set: OpenSet | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What `resight evaluate` found.

    data: fingerprint of the records that were compared. notes: a line each. answers: what some captions find, the best
    first; empty where nobody asked, or where captions were not compared.
    """

    encoder: str
    fingerprint: str
    data_name: str
    data: str
    subset: Subset
    rules: Rules
    tasks: tuple[Task, ...]
    notes: tuple[str, ...]
    answers: tuple[Ranked, ...] = ()


def evaluate(
    encoder: Embedder,
    splits: Splits,
    *,
    rules: Rules | None = None,
    subset: Subset = "test",
    config: EmbedConfig = PLAINLY,
    with_answers: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Pictures against pictures; and captions against pictures, both ways, where there are captions and a text tower.

    Captions come first where the data's own protocol is text, and alone where the rules ask for it.
    subset "validation" and "train" use those records as query and gallery at once. with_answers: the report shows what
    some captions find. Raises DataError when the subset is empty, when no query has anything to find and when files are
    missing (all before anything is embedded), and when a picture cannot be read.
    """
    rules = rules or Rules()
    plan = plan_comparison(splits, rules, subset, with_text=encoder.can_read)
    require_pictures(plan.records, splits.root)
    pictures = embed(encoder, plan.records, config, progress=progress)
    captions = embed_captions(encoder, plan.query, precision=config.precision) if plan.words else None
    source = encoder.card.source
    report = compare(splits, pictures, plan.records, captions, rules=rules, subset=subset, source=source)
    if captions is None:
        return report
    if with_answers:
        answers = rank_captions(
            captions, pictures, plan.records, plan.query, plan.gallery, ties=rules.ties, device=rules.device
        )
        report = replace(report, answers=answers)
    return replace(report, notes=(*report.notes, *_cut(encoder, captions.captions)))


def _cut(encoder: Embedder, captions: Sequence[str]) -> list[str]:
    """A line on the captions that the text tower did not read to their end."""
    length = encoder.context_length
    n_cut = sum(count_tokens(caption) > length for caption in captions)
    if not n_cut:
        return []
    share = f"{n_cut / len(captions):.1%}"
    return [f"{n_cut:,} of {len(captions):,} captions ({share}) are longer than {length} tokens and were cut."]


def sides(splits: Splits, subset: Subset = "test") -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Query and gallery of a subset; one set serves as both where the data names no query and gallery.

    Raises DataError when there is nothing to compare.
    """
    if subset != "test":
        chosen = getattr(splits, subset)
        if not chosen:
            raise DataError(f"{splits.root}: has no {subset} records. `resight data split` cuts them.")
        return chosen, chosen
    if splits.query and splits.gallery:
        return splits.query, splits.gallery
    if splits.query or splits.gallery:
        missing = "gallery" if splits.query else "query"
        raise DataError(
            f"{splits.root}: has no {missing} records. Name them in the split column, or use `resight data split`."
        )
    if splits.unassigned:
        return splits.unassigned, splits.unassigned
    raise DataError(
        f"{splits.root}: has neither query and gallery nor unassigned records. `resight data split` cuts them."
    )


def compare(
    splits: Splits,
    pictures: Embeddings,
    records: Sequence[Record],
    captions: Embeddings | None,
    *,
    rules: Rules,
    subset: Subset = "test",
    source: str,
) -> Report:
    """The Report on vectors that already exist, from whatever made them.

    pictures: one row for each of `records`, which hold every record of the subset's query and gallery. captions: rows
    of the query's captions, or None. source: what to call the encoder. Raises DataError for a picture's vector that is
    not of length 1, and as `evaluate` does.
    """
    plan = plan_comparison(splits, rules, subset, with_text=captions is not None and pictures.aligned is not None)
    require_unit_length(pictures)
    position = {record: row for row, record in enumerate(records)}
    query_rows = np.array([position[record] for record in plan.query])
    gallery_rows = np.array([position[record] for record in plan.gallery])
    tasks = []
    if plan.pictures is not None:
        labels = _labels(pictures.identities, pictures.cameras, pictures.paths)
        vectors = pictures.embedding
        both = _Sides(vectors[query_rows], vectors[gallery_rows], labels.take(query_rows), labels.take(gallery_rows))
        task = (
            _vehicleid(both, rules)
            if plan.pictures == "vehicleid"
            else _task("image → image", plan.pictures, both, rules, one_set=plan.query == plan.gallery)
        )
        tasks.append(replace(task, camera_pairs=_camera_pairs(both, pictures, plan.pictures, rules)))
    if plan.words:
        assert captions is not None
        assert pictures.aligned is not None
        identities = _labels((*captions.identities, *(pictures.identities[row] for row in gallery_rows))).identities
        n = len(captions.captions)
        texts = _Sides(
            captions.embedding, pictures.aligned[gallery_rows], Labels(identities[:n]), Labels(identities[n:])
        )
        words = [_task("text → image", "text", texts, rules), _task("image → text", "text", texts.swapped(), rules)]
        tasks = [*words, *tasks] if plan.protocol == "text" else [*tasks, *words]
    return Report(
        encoder=source,
        fingerprint=pictures.encoder,
        data_name=splits.data_name,
        data=fingerprint(plan.records, splits.root),
        subset=subset,
        rules=replace(rules, protocol=plan.protocol),
        tasks=tuple(tasks),
        notes=(*splits.notes, *plan.notes),
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be compared, known before anything is embedded.

    protocol: of the first task. pictures: the rule by which pictures are compared with pictures, None where they are
    not. words: whether captions are compared with pictures.
    """

    query: tuple[Record, ...]
    gallery: tuple[Record, ...]
    protocol: Protocol
    pictures: Protocol | None
    words: bool
    notes: tuple[str, ...]

    @property
    def records(self) -> list[Record]:
        return list(dict.fromkeys((*self.query, *self.gallery)))


def plan_comparison(splits: Splits, rules: Rules, subset: Subset, *, with_text: bool) -> Plan:
    """Raises DataError when there is nothing to compare, ConfigError when the rules ask for what cannot be had."""
    query, gallery = sides(splits, subset)
    notes = []
    protocol = rules.protocol or splits.protocol
    no_camera = all(record.camera is None for record in (*query, *gallery))
    if protocol == "cross-camera" and no_camera:
        protocol = "any-camera"
        notes.append("No camera is known: a match may be any picture but the query itself (any-camera).")
    if protocol == "vehicleid":
        query = gallery = tuple(dict.fromkeys((*query, *gallery)))
    captioned = [record for record in query if record.captions]
    words = with_text and _can_be_answered(captioned, gallery, "text")
    if protocol == "text" and not (with_text and captioned):
        raise DataError(
            f"{splits.root}: the protocol is text, but there is no caption, or the encoder has no text tower. "
            "Use an encoder with a text tower on data with captions, or --protocol any-camera."
        )
    if not (words if protocol == "text" else _can_be_answered(query, gallery, protocol)):
        raise DataError(NOTHING_TO_FIND[protocol])
    pictures: Protocol | None = None if protocol == "text" else protocol
    if protocol == "text" and rules.protocol is None:
        pictures = _rule_beside_words(query, gallery, no_camera)
        if pictures is not None:
            notes.append(f"Pictures are compared with pictures too, by the rule {pictures}.")
    if with_text and captioned and not words:
        notes.append(f"Captions were left out. {NOTHING_TO_FIND['text']}")
    if rules.camera_pairs and (no_camera or pictures in (None, "vehicleid")):
        raise ConfigError("A table of camera pairs compares pictures of known cameras. Leave out --camera-pairs.")
    if rules.rerank is not None and pictures is None:
        raise ConfigError("Re-ranking compares pictures with pictures, not with words. Leave out --rerank.")
    return Plan(query, gallery, protocol, pictures, words, tuple(notes))


def _rule_beside_words(query: Sequence[Record], gallery: Sequence[Record], no_camera: bool) -> Protocol | None:
    """How pictures can be compared with pictures where the data's own protocol is text, None where no query can."""
    possible: list[Protocol] = ["any-camera"] if no_camera else ["cross-camera", "any-camera"]
    for rule in possible:
        if _can_be_answered(query, gallery, rule):
            return rule
    return None


def _can_be_answered(query: Sequence[Record], gallery: Sequence[Record], protocol: Protocol) -> bool:
    """Whether some query has something to find."""
    return len(query) > sum(1 for _ in unanswered(query, gallery, protocol))


@dataclass(frozen=True, slots=True)
class _Sides:
    """Vectors [Q, D] and [G, D], and what is known of them."""

    query_vectors: NDArray[np.float32]
    gallery_vectors: NDArray[np.float32]
    query: Labels
    gallery: Labels

    def swapped(self) -> _Sides:
        return _Sides(self.gallery_vectors, self.query_vectors, self.gallery, self.query)

    def similarities(self, rules: Rules) -> Iterable[NDArray[np.float32]]:
        return similarity_blocks(self.query_vectors, self.gallery_vectors, device=rules.device)


def _labels(
    identities: Sequence[str | None], cameras: Sequence[str | None] | None = None, paths: Sequence[str] | None = None
) -> Labels:
    """Names as integers; what is unknown is −1."""
    return Labels(
        numbers(identities),
        cameras=None if cameras is None else numbers(cameras),
        pictures=None if paths is None else numbers(paths),
    )


def _task(name: TaskName, protocol: Protocol, both: _Sides, rules: Rules, *, one_set: bool = False) -> Task:
    """One comparison; pictures against pictures are re-ranked too where the rules ask for it.

    one_set: the gallery queries itself, each picture for the others.
    """
    cross_camera = protocol == "cross-camera"
    by_ties = rank_by_ties(both.similarities(rules), both.query, both.gallery, cross_camera=cross_camera)
    ranking = by_ties[rules.ties]
    reranked = None
    if rules.rerank is not None and name == "image → image":
        k = rules.rerank
        distances = reranked_blocks(
            None if one_set else both.query_vectors,
            both.gallery_vectors,
            k1=k.k1,
            k2=k.k2,
            weight=k.weight,
            device=rules.device,
        )
        similarities = (-block for block in distances)
        again = rank(similarities, both.query, both.gallery, cross_camera=cross_camera, ties=rules.ties)
        reranked = summary(again, ranks=RANKS)
    return Task(
        name=name,
        protocol=protocol,
        n_queries=len(ranking.valid),
        n_valid=int(ranking.valid.sum()),
        n_gallery=len(both.gallery_vectors),
        scores=summary(ranking, ranks=RANKS),
        intervals=confidence_intervals(ranking, both.query.identities, seed=rules.seed, ranks=RANKS),
        at_ties={rule: _at_ties(by_ties[rule]) for rule in ENDS_OF_TIES},
        reranked=reranked,
        open_set=_open_set(ranking, both.query.identities, rules.seed),
    )


def _open_set(ranking: Ranking, identities: NDArray[np.integer[Any]], seed: int) -> OpenSet | None:
    """Of the valid queries, each with its mates and without; None where nobody else is there to be taken for them."""
    valid = ranking.take(ranking.valid)
    if not len(valid.valid) or np.isneginf(valid.best_negative).all():
        return None
    right, groups = valid.first_rank == 1, identities[ranking.valid]
    return open_set(right, valid.best_positive, valid.best_negative, groups, seed=seed)


def _at_ties(ranking: Ranking) -> dict[str, float]:
    scores = summary(ranking, ranks=(1,))
    return {name: scores[name] for name in ("mAP", "R1")}


def _vehicleid(both: _Sides, rules: Rules) -> Task:
    """The mean over ten draws of one gallery picture an identity; the interval is over the draws."""
    draws = []
    for query_rows, gallery_rows in vehicleid_draws(both.gallery.identities, seed=rules.seed, n_draws=N_DRAWS):
        drawn = _Sides(
            both.gallery_vectors[query_rows],
            both.gallery_vectors[gallery_rows],
            both.gallery.take(query_rows),
            both.gallery.take(gallery_rows),
        )
        draws.append(_task("image → image", "vehicleid", drawn, rules))
    reranked = [draw.reranked for draw in draws if draw.reranked is not None]
    return replace(
        draws[0],
        n_valid=round(float(np.mean([draw.n_valid for draw in draws]))),
        scores=_mean([draw.scores for draw in draws]),
        intervals={name: _percentiles([draw.scores[name] for draw in draws]) for name in draws[0].scores},
        at_ties={rule: _mean([draw.at_ties[rule] for draw in draws]) for rule in ENDS_OF_TIES},
        reranked=_mean(reranked) if reranked else None,
        open_set=_over_draws([draw.open_set for draw in draws if draw.open_set is not None]),
    )


def _over_draws(found: list[OpenSet]) -> OpenSet | None:
    """The mean of what all draws tell, and its range."""
    if not found:
        return None
    names = [name for name in found[0].scores if all(name in one.scores for one in found)]
    scores = [{name: one.scores[name] for name in names} for one in found]
    intervals = {name: _percentiles([one[name] for one in scores]) for name in names}
    return OpenSet(round(float(np.mean([one.n_queries for one in found]))), _mean(scores), intervals)


def _mean(scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}


def _percentiles(values: list[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _camera_pairs(both: _Sides, pictures: Embeddings, protocol: Protocol, rules: Rules) -> tuple[CameraPair, ...]:
    """One row for each query camera and gallery camera between which some query can be answered, where asked for."""
    if not rules.camera_pairs:
        return ()
    assert both.query.cameras is not None
    names = list(dict.fromkeys(camera for camera in pictures.cameras if camera is not None))
    rankings = rank_by_camera(
        both.similarities(rules), both.query, both.gallery, cross_camera=protocol == "cross-camera", ties=rules.ties
    )
    found = []
    for query_camera in np.unique(both.query.cameras[both.query.cameras >= 0]):
        for gallery_camera, ranking in rankings.items():
            part = ranking.take(both.query.cameras == query_camera)
            if part.valid.any():
                names_of = names[int(query_camera)], names[gallery_camera]
                found.append(CameraPair(*names_of, int(part.valid.sum()), summary(part, ranks=RANKS)))
    return tuple(sorted(found, key=lambda pair: (pair.query_camera, pair.gallery_camera)))
