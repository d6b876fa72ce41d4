"""An encoder on query and gallery, explained: its figures, lists of queries, why some fail, and where it looked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from resight.audit import audit, sides_of
from resight.data.dataset import require_pictures
from resight.data.images import open_image
from resight.embed import PLAINLY, EmbedConfig, embed, embed_captions
from resight.embedder import Embedder
from resight.embedding_map import EmbeddingMap, lay_out
from resight.encoder import Encoder
from resight.errors import DataError
from resight.evaluate import Plan, Report, Rules, Subset, TaskName, compare, plan_comparison
from resight.examples import Comparison, Ranked, compare_captions, compare_pictures
from resight.metrics import Ranking, cmc
from resight.reasons import LOW_SHARE, RULES, Look, Reason, Usual, find_reasons, look, usual_look
from resight.relevance import n_together, picture_relevance, word_relevance
from resight.types import Embeddings, Record, Splits

N_RANKS = 20
N_LEFT_OUT = 3
FAILED_SHARE = 0.75  # of the queries that are shown, where so many fail
N_JUDGED = 500  # queries of each kind whose reasons are counted
N_LOOKED_AT = 300  # pictures that tell what is usual
SURE = 0.99  # of a label fault: the encoder that fails is the one that judges
N_AUDITED = 20_000  # pictures; the time grows with their square

Map = NDArray[np.float32]
Looked = tuple[tuple[Map | None, Map | None], tuple[tuple[str, float], ...]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Explained:
    """A query with its list and what may explain it.

    maps: where the encoder looked, [rows, columns] of shares, in the query's picture for its first match, and in the
    first match for the query; None of a caption's own picture, and of an encoder without towers of ours. words: of a
    caption, each with what it adds to the likeness to the first match.
    """

    ranked: Ranked
    reasons: tuple[Reason, ...]
    maps: tuple[Map | None, Map | None]
    words: tuple[tuple[str, float], ...] = ()

    @property
    def failed(self) -> bool:
        return self.ranked.first_rank != 1


@dataclass(frozen=True, slots=True)
class Counted:
    """How often a reason holds among the failed and among the right queries that were judged."""

    kind: str
    n_failed: int
    n_right: int


@dataclass(frozen=True, slots=True)
class Lists:
    """One task's queries: the failed ones that are shown, the worst first, then right ones, the best first.

    cmc [N_RANKS], shares; empty by VehicleID's protocol, whose figures are of draws, not of these lists. n_failed,
    n_right: of all queries. unanswered: those that have nothing to find, pictures and captions ("" where the picture
    asks), by what they lack, in words. n_judged: failed and right ones whose reasons were looked for.
    """

    task: TaskName
    cmc: NDArray[np.float64]
    n_failed: int
    n_right: int
    unanswered: Mapping[str, tuple[tuple[Record, str], ...]]
    shown: tuple[Explained, ...]
    reasons: tuple[Counted, ...]
    n_judged: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A report and what explains it. map: None for very few pictures. notes: what was not looked at, and why."""

    report: Report
    lists: tuple[Lists, ...]
    map: EmbeddingMap | None
    notes: tuple[str, ...]


def explain(
    encoder: Embedder,
    splits: Splits,
    *,
    rules: Rules | None = None,
    subset: Subset = "test",
    config: EmbedConfig = PLAINLY,
    n_queries: int = 40,
    progress: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Measures as `evaluate` does, and looks closer at n_queries queries, shared by pictures and captions.

    Raises as `evaluate` does, and ValueError for n_queries below 1.
    """
    if n_queries < 1:
        raise ValueError(f"n_queries is {n_queries}; at least 1")
    plan = plan_comparison(splits, rules or Rules(), subset, with_text=encoder.can_read)
    require_pictures(plan.records, splits.root)
    rules = replace(rules or Rules(), camera_pairs=_knows_cameras(plan))
    pictures = embed(encoder, plan.records, config, progress=progress)
    captions = embed_captions(encoder, plan.query, precision=config.precision) if plan.words else None
    report = compare(splits, pictures, plan.records, captions, rules=rules, subset=subset, source=encoder.card.source)
    faults, notes = _label_faults(pictures, plan.records, splits)
    explainer = _Explainer(encoder, pictures, plan, rules, faults)
    n_kinds = (plan.pictures is not None) + plan.words
    lists = []
    for task in report.tasks:
        share = -(-n_queries // n_kinds)
        if task.name == "image → image":
            lists.append(explainer.pictures_found(share))
        elif task.name == "text → image":
            assert captions is not None
            lists.append(explainer.captions_found(captions, share))
    return Explanation(report, tuple(lists), lay_out(pictures, plan.records, seed=rules.seed), notes)


def _knows_cameras(plan: Plan) -> bool:
    both = any(r.camera is not None for r in plan.query) and any(r.camera is not None for r in plan.gallery)
    return both and plan.pictures in ("cross-camera", "any-camera")


def _label_faults(
    pictures: Embeddings, records: Sequence[Record], splits: Splits
) -> tuple[Mapping[Record, str], tuple[str, ...]]:
    """Why a picture's label is likely wrong, and what was not looked at.

    Identities that are likely one are left out: an encoder that takes one for the other says so of itself.
    """
    if len(records) > N_AUDITED:
        return (
            {},
            (f"Label faults were not looked for among {len(records):,} pictures: `resight data audit` does.",),
        )
    sides = sides_of(splits)
    try:
        found = audit(pictures, records, [sides[record] for record in records])
    except DataError as error:
        return {}, (f"Label faults were not looked for: {error}",)
    sure = (fault for fault in found.faults if fault.kind == "wrong identity" and fault.score >= SURE)
    return {fault.pictures[0]: fault.why for fault in sure}, ()


@dataclass(frozen=True, slots=True)
class _Explainer:
    encoder: Embedder
    pictures: Embeddings
    plan: Plan
    rules: Rules
    faults: Mapping[Record, str]

    def pictures_found(self, n_shown: int) -> Lists:
        cross_camera = self.plan.pictures == "cross-camera"
        sides = self.plan.query, self.plan.gallery
        comparison = compare_pictures(
            self.pictures, self.plan.records, *sides, cross_camera=cross_camera, ties=self.rules.ties
        )
        return self._lists("image → image", comparison, n_shown)

    def captions_found(self, captions: Embeddings, n_shown: int) -> Lists:
        sides = self.plan.query, self.plan.gallery
        comparison = compare_captions(captions, self.pictures, self.plan.records, *sides, ties=self.rules.ties)
        return self._lists("text → image", comparison, n_shown)

    def _lists(self, task: TaskName, comparison: Comparison, n_shown: int) -> Lists:
        ranking = comparison.rank(self.rules.device)
        ordered = comparison.by_precision(ranking)
        right = ordered[ranking.first_rank[ordered] == 1]
        failed = ordered[ranking.first_rank[ordered] > 1][::-1]
        judged = [_evenly(rows, N_JUDGED) for rows in (failed, right)]
        chosen = _choose(failed, right, comparison.query.identities, n_shown)
        ranked = {q: comparison.look(q, ranking, n_left_out=N_LEFT_OUT) for q in {*chosen, *judged[0], *judged[1]}}
        words = task == "text → image"
        reasons = self._reasons(ranked, comparison, ranking, words=words)
        counts = [Counter(reason.kind for q in rows for reason in reasons[q]) for rows in judged]
        maps = self._maps(task, comparison, [ranked[q] for q in chosen], chosen)
        return Lists(
            task,
            cmc(ranking, N_RANKS if words or self.plan.pictures != "vehicleid" else 0),
            len(failed),
            len(right),
            _unanswered(comparison, ranking),
            tuple(Explained(ranked[q], reasons[q], *looked) for q, looked in zip(chosen, maps, strict=True)),
            tuple(Counted(kind, counts[0][kind], counts[1][kind]) for kind in RULES if counts[0][kind]),
            (len(judged[0]), len(judged[1])),
        )

    def _reasons(
        self, ranked: Mapping[int, Ranked], comparison: Comparison, ranking: Ranking, *, words: bool
    ) -> dict[int, tuple[Reason, ...]]:
        best = ranking.best_positive[ranking.valid & (ranking.first_rank == 1)]
        median, low = np.quantile(best, [0.5, LOW_SHARE]).tolist() if len(best) else (np.nan, np.nan)
        looks = None if words else usual_look([self._look(r) for r in _evenly(self.plan.records, N_LOOKED_AT)])
        owners: dict[str, set[str]] = {}
        for record, caption in comparison.asked:
            if caption and record.identity is not None:
                owners.setdefault(caption, set()).add(record.identity)
        captions = [caption for _, caption in comparison.asked]
        usual = Usual(
            median,
            low,
            looks,
            self.faults,
            {caption: frozenset(names) for caption, names in owners.items()},
            float(np.median([len(caption.split()) for caption in captions])),
            self.encoder.context_length,
        )
        return {q: find_reasons(one, None if words else self._look(one.query), usual) for q, one in ranked.items()}

    def _look(self, record: Record) -> Look:
        image = open_image(record.path, box=record.box, background=self.encoder.preprocess.background)
        return look(image, self.encoder.preprocess)

    def _maps(
        self, task: TaskName, comparison: Comparison, lists: Sequence[Ranked], rows: Sequence[int]
    ) -> list[Looked]:
        """Where the encoder looked, in pictures and words: in what sets one apart from the mean of all."""
        if not isinstance(self.encoder, Encoder):
            return [((None, None), ())] * len(lists)
        words = task == "text → image"
        first = [next(match.record for match in ranked.matches if match.rank) for ranked in lists]
        place = {record: row for row, record in enumerate(comparison.gallery_records)}
        of_query, of_first = comparison.query_vectors[rows], comparison.gallery_vectors[[place[r] for r in first]]
        mean_of_queries, mean_of_gallery = (
            comparison.query_vectors.mean(axis=0),
            comparison.gallery_vectors.mean(axis=0),
        )
        there = self._looked(first, of_query - mean_of_queries, aligned=words)
        if words:
            told = word_relevance(self.encoder, [ranked.caption for ranked in lists], of_first - mean_of_gallery)
            return [((None, one), said) for one, said in zip(there, told, strict=True)]
        here = self._looked([ranked.query for ranked in lists], of_first - mean_of_gallery, aligned=False)
        return [(both, ()) for both in zip(here, there, strict=True)]

    def _looked(self, records: Sequence[Record], directions: Map, *, aligned: bool) -> list[Map]:
        assert isinstance(self.encoder, Encoder)
        found: list[Map] = []
        preprocess = self.encoder.preprocess
        n = n_together(self.encoder)
        for start in range(0, len(records), n):
            here = records[start : start + n]
            opened = (open_image(r.path, box=r.box, background=preprocess.background) for r in here)
            images = torch.from_numpy(np.stack([preprocess.resize(image) for image in opened]))
            found += list(
                picture_relevance(
                    self.encoder,
                    images,
                    directions[start : start + n],
                    aligned=aligned,
                    cameras=[record.camera for record in here],
                    views=[record.view for record in here],
                )
            )
        return found


def _unanswered(comparison: Comparison, ranking: Ranking) -> dict[str, tuple[tuple[Record, str], ...]]:
    lacking: dict[str, list[tuple[Record, str]]] = {}
    for q in np.flatnonzero(~ranking.valid).tolist():
        lacking.setdefault(comparison.why_unanswered(q), []).append(comparison.asked[q])
    return {why: tuple(queries) for why, queries in lacking.items()}


def _evenly(items: Iterable[T], n: int) -> list[T]:
    """At most n of the items, in their order, at even distances."""
    every = list(items)
    if len(every) <= n:
        return every
    return [every[k] for k in np.linspace(0, len(every) - 1, n).round().astype(int)]


def _choose(failed: NDArray[np.int64], right: NDArray[np.int64], identities: NDArray[np.integer], n: int) -> list[int]:
    """n queries: the worst of the failed, FAILED_SHARE of n where there are so many, then right ones, evenly.

    Of the failed each identity comes once before any comes twice.
    """
    n_right = min(len(right), max(n - len(failed), n - round(FAILED_SHARE * n)))
    turns: Counter[int] = Counter()
    by_turn = []
    for place, q in enumerate(failed.tolist()):
        by_turn.append((turns[int(identities[q])], place, q))
        turns[int(identities[q])] += 1
    worst = sorted(sorted(by_turn)[: n - n_right], key=lambda one: one[1])
    return [*(q for _, _, q in worst), *_evenly(right.tolist(), n_right)]
