"""What explains a report, on people told by their colour; some are called by another's name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from resight.data.index import read
from resight.encoder import Encoder
from resight.evaluate import Rules, evaluate
from resight.explaining import N_RANKS, explain
from resight.relevance import picture_relevance
from resight.types import Record, Splits


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load("random:64x2/8", size=(32, 16), device="cpu")


@pytest.fixture
def people(coloured_people: Path) -> Splits:
    return read(coloured_people)


@pytest.fixture
def mixed(picture: Callable[..., Path], tmp_path: Path) -> Splits:
    """Of 12 identities two pictures by each of two cameras; every third has one of its neighbour's colour."""
    shades = [(20 * n, 250 - 20 * n, 40 * (n % 6)) for n in range(13)]
    records = [
        Record(picture(f"{n}-{camera}{k}.png", colour=shades[n + (k if n % 3 == 0 else 0)]), f"person {n}", camera)
        for n in range(12)
        for camera in "ab"
        for k in range(2)
    ]
    by_a = tuple(record for record in records if record.camera == "a")
    return Splits("mixed", tmp_path, "cross-camera", query=by_a, gallery=tuple(records))


def test_the_report_is_that_of_evaluate_and_the_lists_agree_with_it(people: Splits, encoder: Encoder) -> None:
    found = explain(encoder, people, rules=Rules(seed=3))
    plain = evaluate(encoder, people, rules=Rules(seed=3, camera_pairs=True))
    assert found.report.tasks == plain.tasks
    for lists, task in zip(found.lists, found.report.tasks, strict=False):
        assert (lists.task, lists.n_failed + lists.n_right) == (task.name, task.n_valid)
        assert lists.cmc.shape == (N_RANKS,)
        assert [lists.cmc[0], lists.cmc[4]] == pytest.approx([task.scores["R1"], task.scores["R5"]])
        assert lists.n_right == round(task.scores["R1"] * task.n_valid)
    assert [lists.task for lists in found.lists] == ["image → image", "text → image"]
    assert found.map is not None
    assert len(found.map.records) == 16


def test_failed_queries_come_first_and_each_identity_once_before_any_twice(mixed: Splits, encoder: Encoder) -> None:
    (every,) = explain(encoder, mixed, n_queries=100).lists
    assert len(every.shown) == 24 == every.n_failed + every.n_right
    failed = [one for one in every.shown if one.failed]
    assert len(failed) == every.n_failed >= 8
    assert list(every.shown[: len(failed)]) == failed
    worst = [one.ranked.average_precision for one in failed]
    best = [one.ranked.average_precision for one in every.shown[len(failed) :]]
    assert (worst, best) == (sorted(worst), sorted(best, reverse=True))
    (few,) = explain(encoder, mixed, n_queries=8).lists
    assert [one.failed for one in few.shown] == 6 * [True] + 2 * [False]
    turns = Counter(one.ranked.query.identity for one in failed)
    shown = Counter(one.ranked.query.identity for one in few.shown if one.failed)
    assert len(shown) == min(6, len(turns))
    assert (few.n_failed, few.n_right, few.reasons) == (every.n_failed, every.n_right, every.reasons)


def test_reasons_are_counted_among_failed_and_right_ones(
    mixed: Splits, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lists,) = explain(encoder, mixed, n_queries=100).lists
    assert lists.n_judged == (lists.n_failed, lists.n_right)
    for counted in lists.reasons:
        held = [one.failed for one in lists.shown if counted.kind in {reason.kind for reason in one.reasons}]
        assert (counted.n_failed, counted.n_right) == (sum(held), len(held) - sum(held))
    assert {"look-alike", "close call"} & {counted.kind for counted in lists.reasons}
    monkeypatch.setattr("resight.explaining.N_JUDGED", 3)
    assert explain(encoder, mixed, n_queries=2).lists[0].n_judged == (3, 3)


def test_queries_with_nothing_to_find_are_named_with_what_they_lack(people: Splits, encoder: Encoder) -> None:
    red, green, blue = (next(r for r in people.query if r.identity == name) for name in ("red", "green", "blue"))
    others = [r for r in people.query if r.identity == "grey"]
    gallery = [r for r in people.gallery if r.identity in ("green", "grey")]
    unknown = replace(red, identity=None)
    left = replace(gallery[0], camera="a")
    data = replace(
        people,
        query=(*others, unknown, green, blue),
        gallery=(left, *(r for r in gallery if r.identity == "grey")),
    )
    pictures, captions = explain(encoder, data).lists
    assert pictures.n_failed + pictures.n_right == 2
    assert pictures.unanswered == {
        "no known identity": ((unknown, ""),),
        "no picture by another camera": ((green, ""),),
        "no other picture in the gallery": ((blue, ""),),
    }
    assert captions.unanswered == {
        "no known identity": ((unknown, "a red person"),),
        "no other picture in the gallery": ((blue, "a blue person"),),
    }


def test_where_it_looked(people: Splits, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, captions = explain(encoder, people, n_queries=4).lists
    for one in pictures.shown:
        for shares in one.maps:
            assert shares is not None
            assert shares.shape == (4, 2)
            assert shares.sum() == pytest.approx(1) or not shares.any()
        assert one.words == ()
    for one in captions.shown:
        assert one.maps[0] is None
        assert one.maps[1] is not None
        assert " ".join(word for word, _ in one.words) == one.ranked.caption
    monkeypatch.setattr("resight.explaining.Encoder", type("Towers", (), {}))  # as an exported encoder is none
    pictures, captions = explain(encoder, people, n_queries=4).lists
    assert {(one.maps, one.words) for one in (*pictures.shown, *captions.shown)} == {((None, None), ())}


def test_no_more_pictures_are_looked_at_together_than_allowed(
    people: Splits, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []

    def count(encoder: Encoder, images: Tensor, *more: Any, **named: Any) -> NDArray[np.float32]:
        together.append(len(images))
        return picture_relevance(encoder, images, *more, **named)

    monkeypatch.setattr("resight.explaining.picture_relevance", count)
    monkeypatch.setattr("resight.explaining.n_together", lambda encoder: 3)
    (one, _) = explain(encoder, people, n_queries=8).lists
    assert len(one.shown) == 4
    assert together == [3, 1] * 3  # matches and queries of pictures, matches of captions


def test_a_planted_label_fault_is_a_reason(picture: Callable[..., Path], tmp_path: Path, encoder: Encoder) -> None:
    generator = np.random.default_rng(0)
    colours = [tuple(int(v) for v in generator.integers(20, 236, 3)) for _ in range(20)]
    records = [
        Record(picture(f"{n}-{k}.png", colour=colour), f"p{n}", "ab"[k % 2])
        for n, colour in enumerate(colours)
        for k in range(6)
    ]
    wrong = replace(records[0], identity="p7")
    data = Splits("planted", tmp_path, "cross-camera", unassigned=(wrong, *records[1:]))
    (lists,) = explain(encoder, data, n_queries=200).lists
    (own,) = (one for one in lists.shown if one.ranked.query == wrong)
    assert own.failed
    assert "likely label fault" in {reason.kind for reason in own.reasons}


def test_what_was_not_looked_at_is_told(people: Splits, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resight.explaining.N_AUDITED", 3)
    (note,) = explain(encoder, people, n_queries=1).notes
    assert note.startswith("Label faults were not looked for among 16 pictures: ")


def test_nothing_to_show_is_a_wrong_call(people: Splits, encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="n_queries is 0; at least 1"):
        explain(encoder, people, n_queries=0)
