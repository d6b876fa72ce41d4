from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resight.examples import (
    N_CAPTIONS,
    N_SHOWN,
    N_SHOWN_TO_CAPTION,
    Ranked,
    compare_pictures,
    rank_captions,
)
from resight.metrics import Ties
from resight.types import Embeddings, Record


def record(k: int, identity: str | None, camera: str | None = None) -> Record:
    return Record(Path(f"/pictures/{k}.jpg"), identity, camera)


def embeddings(vectors: np.ndarray, records: list[Record]) -> Embeddings:
    array = vectors.astype(np.float32) / np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
    return Embeddings(
        embedding=array,
        aligned=None,
        paths=tuple(str(r.path) for r in records),
        identities=tuple(r.identity for r in records),
        cameras=tuple(r.camera for r in records),
        captions=("",) * len(records),
        encoder="0" * 16,
    )


def at_angles(angles: list[float], records: list[Record]) -> Embeddings:
    return embeddings(np.array([[np.cos(a), np.sin(a)] for a in angles]), records)


# One query of camera a at angle 0. The gallery by angle: the same identity and camera (1), another identity (2), the
# same identity from camera b (3), a distractor (4).
QUERY = [record(0, "p", "a")]
GALLERY = [record(1, "p", "a"), record(2, "q", "b"), record(3, "p", "b"), record(4, None, "b")]
PICTURES = at_angles([0.0, 0.1, 0.2, 0.3, 0.4], [*QUERY, *GALLERY])


def look(pictures: Embeddings, query: list[Record], gallery: list[Record], **rule: Any) -> list[Ranked]:
    """The list of every query that has something to find, the best first."""
    n_left_out = rule.pop("n_left_out", 0)
    records = list(dict.fromkeys([*query, *gallery]))
    comparison = compare_pictures(pictures, records, query, gallery, **rule)
    ranking = comparison.rank()
    return [comparison.look(q, ranking, n_left_out=n_left_out) for q in comparison.by_precision(ranking)]


def test_the_query_s_own_camera_is_left_out() -> None:
    (ranked,) = look(PICTURES, QUERY, GALLERY, cross_camera=True)
    assert [(m.record, m.right, m.rank) for m in ranked.matches] == [
        (GALLERY[1], False, 1),
        (GALLERY[2], True, 2),
        (GALLERY[3], False, 3),
    ]
    assert [m.similarity for m in ranked.matches] == pytest.approx(np.cos([0.2, 0.3, 0.4]), abs=1e-6)
    assert (ranked.query, ranked.average_precision, ranked.first_rank) == (QUERY[0], 0.5, 2)
    assert ranked.best_right == ranked.matches[1]


def test_what_is_left_out_is_shown_without_a_rank_where_asked_for() -> None:
    (ranked,) = look(PICTURES, QUERY, GALLERY, cross_camera=True, n_left_out=1)
    assert [(m.record, m.rank) for m in ranked.matches] == list(zip(GALLERY, (0, 1, 2, 3), strict=True))
    assert ranked.matches[0].right
    same = [record(10 + k, "p", "a") for k in range(4)]
    pictures = at_angles(
        [0.0, 0.01, 0.02, 0.03, 0.04, 0.3, 0.5, 0.6], [*QUERY, *same, GALLERY[2], record(20, "p", "a"), GALLERY[1]]
    )
    (ranked,) = look(
        pictures, QUERY, [*same, GALLERY[2], record(20, "p", "a"), GALLERY[1]], cross_camera=True, n_left_out=2
    )
    # the two most similar of those left out; none stands in for them
    assert [m.record.path.stem for m in ranked.matches] == ["10", "11", "3", "2"]


def test_the_best_right_picture_may_stand_below_the_list() -> None:
    gallery = [*(record(100 + k, f"other {k}", "b") for k in range(N_SHOWN + 2)), record(3, "p", "b")]
    pictures = at_angles([0.0, *(0.1 + 0.01 * k for k in range(N_SHOWN + 3))], [*QUERY, *gallery])
    (ranked,) = look(pictures, QUERY, gallery, cross_camera=True)
    assert len(ranked.matches) == N_SHOWN
    assert ranked.best_right is not None
    assert (ranked.best_right.record, ranked.best_right.rank) == (gallery[-1], N_SHOWN + 3)


def test_any_camera_keeps_it() -> None:
    (ranked,) = look(PICTURES, QUERY, GALLERY, cross_camera=False)
    assert [m.record for m in ranked.matches] == GALLERY
    assert ranked.average_precision == pytest.approx((1 + 2 / 3) / 2)


def plainly(
    query: Record, gallery: list[Record], similarities: list[float], cross_camera: bool, ties: Ties
) -> tuple[list[Record], float]:
    """The whole ranked list and its average precision, from the rule's own words."""
    rows = []
    for place, (other, similarity) in enumerate(zip(gallery, similarities, strict=True)):
        if other.path == query.path:
            continue
        if (
            cross_camera
            and other.identity == query.identity
            and other.camera == query.camera
            and query.camera is not None
        ):
            continue
        right = other.identity == query.identity
        tie = {"stable": 0, "optimistic": int(not right), "pessimistic": int(right)}[ties]
        rows.append((-similarity, tie, place, other))
    rows.sort(key=lambda row: row[:3])
    ordered = [row[3] for row in rows]
    hits, precisions = 0, []
    for rank, other in enumerate(ordered, 1):
        if other.identity == query.identity:
            hits += 1
            precisions.append(hits / rank)
    return ordered, sum(precisions) / len(precisions) if precisions else float("nan")


@pytest.mark.parametrize("cross_camera", [True, False])
@pytest.mark.parametrize("ties", ["stable", "optimistic", "pessimistic"])
@pytest.mark.parametrize("seed", range(4))
def test_lists_and_average_precision_equal_a_plain_loop(cross_camera: bool, ties: Ties, seed: int) -> None:
    """One set queries itself; vectors of few values tie often; some identities and cameras are unknown."""
    generator = np.random.default_rng(seed)
    names = [*"abcdefghij", None]
    records = [
        record(k, names[generator.integers(11)], [None, "1", "2", "3"][generator.integers(4)]) for k in range(60)
    ]
    corners = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0.5, 0.5], [0, 0, 1, 0]])
    pictures = embeddings(corners[generator.integers(4, size=60)], records)
    found = look(pictures, records, records, cross_camera=cross_camera, ties=ties)
    similarities = pictures.embedding @ pictures.embedding.T
    truth = {}
    for q, query in enumerate(records):
        ordered, precision = plainly(query, records, similarities[q].tolist(), cross_camera, ties)
        if query.identity is not None and not np.isnan(precision):
            truth[query] = ordered, precision
    for ranked in found:
        ordered, precision = truth[ranked.query]
        assert ranked.average_precision == pytest.approx(precision)
        assert [m.record for m in ranked.matches] == ordered[:N_SHOWN]
        assert all(m.right == (m.record.identity == ranked.query.identity) for m in ranked.matches)
        assert ordered[ranked.first_rank - 1].identity == ranked.query.identity
        assert all(other.identity != ranked.query.identity for other in ordered[: ranked.first_rank - 1])
    assert [ranked.query for ranked in found] == sorted(truth, key=lambda query: -truth[query][1])  # stable


def test_a_query_without_anything_to_find_is_in_no_list() -> None:
    query = [record(0, "p", "a"), record(1, "lonely", "a"), record(2, None, "a")]
    gallery = [record(3, "p", "b"), record(4, None, "b")]
    pictures = at_angles([0, 1, 2, 0.1, 2.1], [*query, *gallery])
    assert [ranked.query for ranked in look(pictures, query, gallery, cross_camera=True)] == query[:1]


def test_what_a_query_without_anything_to_find_lacks() -> None:
    query = [record(0, None, "a"), record(1, "p", "a"), record(2, "q", "a"), record(3, "q", "b"), record(4, "r", None)]
    gallery = [query[1], record(5, "q", "a"), query[4], record(6, None, "b")]
    records = list(dict.fromkeys([*query, *gallery]))
    for cross_camera, answered in ((True, [3]), (False, [2, 3])):
        pictures = at_angles([0.1 * k for k in range(len(records))], records)
        comparison = compare_pictures(pictures, records, query, gallery, cross_camera=cross_camera)
        assert np.flatnonzero(comparison.rank().valid).tolist() == answered
        lacking = [comparison.why_unanswered(q) for q in (0, 1, 4)]
        assert lacking == ["no known identity", *2 * ["no other picture in the gallery"]]
        if cross_camera:
            assert comparison.why_unanswered(2) == "no picture by another camera"


def captions_of(vectors: np.ndarray, query: list[Record]) -> Embeddings:
    asked = [(record, caption) for record in query for caption in record.captions]
    made = embeddings(vectors, [record for record, _ in asked])
    return dataclasses.replace(made, captions=tuple(caption for _, caption in asked))


def pictures_of(vectors: np.ndarray, records: list[Record]) -> Embeddings:
    """Only the aligned vectors are theirs."""
    made = embeddings(vectors, records)
    return dataclasses.replace(made, embedding=np.zeros_like(made.embedding), aligned=made.embedding)


def test_a_caption_finds_its_own_picture_too_and_pictures_of_its_own_camera() -> None:
    records = [Record(Path("/0"), "p", "a", captions=("one", "two")), record(1, "p", "a"), record(2, None, "a")]
    pictures = pictures_of(np.array([[1, 0.0], [0, 1], [1, 1]]), records)
    (found,) = rank_captions(captions_of(np.array([[0.1, 1], [1, 0]]), records), pictures, records, records, records)
    # "one" likes 1 (right), 2 (wrong), 0 (right): 5/6; "two" 0, 2, 1: the same; equals keep their order
    assert (found.query, found.caption, found.first_rank) == (records[0], "one", 1)
    assert found.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert [(match.record, match.right) for match in found.matches] == [
        (records[1], True),
        (records[2], False),
        (records[0], True),
    ]
    assert found.matches[0].similarity == pytest.approx(1 / np.sqrt(1.01), abs=1e-6)


@pytest.mark.parametrize("ties", ["stable", "optimistic", "pessimistic"])
@pytest.mark.parametrize("seed", range(4))
def test_captions_equal_a_plain_loop(ties: Ties, seed: int) -> None:
    """Query and gallery share pictures; vectors of few values tie often; some identities are unknown."""
    generator = np.random.default_rng(seed)
    names = [*"abcdefghijklmnopqrstuvw", None]
    everything = [
        dataclasses.replace(
            record(k, names[generator.integers(24)], "a"),
            captions=tuple(f"{k} {n}" for n in range(generator.integers(4))),
        )
        for k in range(80)
    ]
    query, gallery = everything[:50], everything[30:]
    corners = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0.5, 0.5], [0, 0, 1, 0]])
    pictures = pictures_of(corners[generator.integers(4, size=80)], everything)
    asked = [(one, caption) for one in query for caption in one.captions]
    captions = captions_of(corners[generator.integers(4, size=len(asked))], query)
    found = rank_captions(captions, pictures, everything, query, gallery, ties=ties)
    assert pictures.aligned is not None
    truth = {}
    for row, (one, caption) in enumerate(asked):
        nobody = Record(Path("/words"), one.identity)  # its own picture stays, and so do those of its camera
        similarities = (pictures.aligned[30:] @ captions.embedding[row]).tolist()
        ordered, precision = plainly(nobody, gallery, similarities, False, ties)
        if one.identity is not None and not np.isnan(precision):
            truth[caption] = one, ordered, precision
    assert len(found) == N_CAPTIONS
    for ranked in found:
        one, ordered, precision = truth[ranked.caption]
        assert ranked.query == one
        assert ranked.average_precision == pytest.approx(precision)
        assert [match.record for match in ranked.matches] == ordered[:N_SHOWN_TO_CAPTION]
        assert all(match.right == (match.record.identity == one.identity) for match in ranked.matches)
        assert [other.identity for other in ordered].index(one.identity) == ranked.first_rank - 1
    ordered_captions = sorted(truth, key=lambda caption: -truth[caption][2])  # stable
    places = [ordered_captions.index(ranked.caption) for ranked in found]
    assert places == sorted(places)
    assert places[0] == 0
    if truth[ordered_captions[-1]][0].identity != found[0].query.identity:
        assert places[-1] == len(truth) - 1
    assert len({ranked.query.identity for ranked in found}) == N_CAPTIONS


def in_order(names: str) -> list[str]:
    """Which captions are taken of "0 a", "1 b", … for the letters' identities, each worse than the one before."""
    n = len(names)
    query = [Record(Path(f"/{k}"), name, captions=(f"{k} {name}",)) for k, name in enumerate(names)]
    gallery = [record(1000 + k, name) for k, name in enumerate(sorted(set(names)))]
    gallery += [record(2000 + k, None) for k in range(n)]
    letters, size = sorted(set(names)), len(set(names))
    views = np.zeros((len(gallery), size + n))
    views[:size, :size] = np.eye(size)
    views[size:, size:] = np.eye(n)
    words = np.zeros((n, size + n))
    for k, name in enumerate(names):
        words[k, letters.index(name)] = 1
        words[k, size : size + k] = 2  # k distractors come first, so the average precision is 1 / (k + 1)
    records = [*query, *gallery]
    pictures = pictures_of(np.concatenate([np.ones((n, size + n)), views]), records)
    found = rank_captions(captions_of(words, query), pictures, records, query, gallery)
    assert [ranked.first_rank for ranked in found] == [int(ranked.caption.split()[0]) + 1 for ranked in found]
    return [ranked.caption for ranked in found]


def test_captions_are_spread_evenly_from_the_best_to_the_worst() -> None:
    names = "".join(chr(ord("A") + k) for k in range(23))
    assert [int(caption.split()[0]) for caption in in_order(names)] == list(range(0, 23, 2))


def test_an_identity_s_second_caption_gives_way_to_the_nearest() -> None:
    assert in_order("abcabc") == ["0 a", "1 b", "5 c"]  # in the middle, 2, stands another of c
    assert in_order("aaaaaab") == ["0 a", "6 b"]
    assert in_order("abbbbba") == ["0 a", "5 b"]  # the last is of the first's identity


def test_captions_without_anything_to_find_are_not_shown() -> None:
    query = [Record(Path("/0"), "p", captions=("lonely",)), Record(Path("/1"), None, captions=("unknown",))]
    gallery = [record(2, "q"), record(3, None)]
    pictures = pictures_of(np.eye(4), [*query, *gallery])
    assert rank_captions(captions_of(np.eye(4)[:2], query), pictures, [*query, *gallery], query, gallery) == ()
