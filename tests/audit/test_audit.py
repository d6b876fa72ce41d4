"""Planted faults of each kind are found, ranked first, and nothing is found where there is none."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from resight.audit import audit, sides_of
from resight.audit.confidence import fit_temperature, preferred
from resight.audit.copies import copy_faults
from resight.audit.likeness import _halve
from resight.audit.space import Space, soft_mean, soften
from resight.errors import DataError
from resight.types import Embeddings, Record, Splits

Draw = Callable[..., Any]


def test_nothing_is_found_on_clean_data(draw: Draw) -> None:
    for seed in range(3):
        drawn = draw(seed=seed)
        found = audit(drawn.pictures, drawn.records, drawn.sides)
        assert found.faults == ()
        assert found.notes == (
            "the data are not split: no copies across splits were looked for",
            "there are no captions to check",
        )


def test_pictures_under_a_wrong_identity_come_first(draw: Draw) -> None:
    drawn = draw()
    names = drawn.names
    for row, wrong in ((3, "7"), (40, "0"), (61, "2")):
        names[row] = wrong
    planted = drawn.named(names)
    found = audit(planted.pictures, planted.records, planted.sides).faults
    assert {fault.pictures[0] for fault in found} == {planted.records[row] for row in (3, 40, 61)}
    assert {fault.identities for fault in found} == {("7", "0"), ("0", "6"), ("2", "10")}
    for fault in found:
        assert (fault.kind, len(fault.pictures)) == ("wrong identity", 1)
        assert 0.95 <= fault.score <= 1
        (own, mine), (other, theirs) = fault.beside
        assert (own, other) == tuple(f"identity {name}" for name in fault.identities)
        assert fault.pictures[0] not in mine
        assert all(record.identity == fault.identities[0] for record in mine)
        assert all(record.identity == fault.identities[1] for record in theirs)
    assert found[0].why.startswith("likeness ")
    assert " (6 other pictures), " in found[0].why


def replace_names(drawn: Any, new: dict[int, str]) -> Any:
    return drawn.named([new.get(row, name) for row, name in enumerate(drawn.names)])


@pytest.mark.parametrize("by_camera", [True, False])
def test_one_individual_under_two_identities(draw: Draw, by_camera: bool) -> None:
    """Halves by camera too: pictures of one camera look alike anyway, and those of two are compared with such."""
    drawn = draw(n_identities=20, n_pictures=8)
    rows = np.flatnonzero(drawn.truth == 4)
    names = drawn.names
    for row in rows[4:] if by_camera else rows[::2]:
        names[row] = "again"
    planted = drawn.named(names)
    (fault,) = audit(planted.pictures, planted.records, planted.sides).faults
    assert (fault.kind, set(fault.identities)) == ("same individual", {"4", "again"})
    assert {record.identity for record in fault.pictures} == {fault.identities[1]}
    assert len(fault.pictures) == 4


def test_two_individuals_under_one_identity(draw: Draw) -> None:
    drawn = draw(n_identities=20, n_pictures=6)
    names = ["4" if name == "9" else name for name in drawn.names]
    names[2] = "4-2"  # a name that is taken
    planted = drawn.named(names)
    found = [f for f in audit(planted.pictures, planted.records, planted.sides).faults if f.kind == "two individuals"]
    (fault,) = found
    assert fault.identities == ("4", "4-3")
    cosine, apart, middle = map(float, re.findall(r"-?\d\.\d\d", fault.why))
    assert -1 <= apart < middle <= 1
    assert cosine < (apart + middle) / 2
    shown = {int(planted.truth[planted.records.index(record)]) for record in fault.pictures}
    assert shown in ({4}, {9})
    assert len(fault.pictures) == 6


def with_captions(drawn: Any, said: list[tuple[int, int, str]]) -> tuple[list[Record], Embeddings]:
    """Captions as (picture, whom they describe, text), as vectors at the described picture."""
    captions: dict[int, list[tuple[int, str]]] = {}
    for row, described, text in said:
        captions.setdefault(row, []).append((described, text))
    records = [
        replace(record, captions=tuple(text for _, text in captions.get(row, [])))
        for row, record in enumerate(drawn.records)
    ]
    order = [described for row in range(len(records)) for described, _ in captions.get(row, [])]
    vectors = drawn.pictures.embedding[order]
    nothing = (None,) * len(order)
    return records, Embeddings(vectors, vectors, ("",) * len(order), nothing, nothing, ("",) * len(order), "made-up")


def test_captions_of_another_picture(draw: Draw) -> None:
    drawn = draw()
    said = [(row, row, f"caption {row}") for row in range(len(drawn.records))]
    said[5], said[30] = (5, 30, "caption 30"), (30, 5, "caption 5")
    records, captions = with_captions(drawn, said)
    found = audit(drawn.pictures, records, drawn.sides, captions).faults
    assert {(fault.kind, fault.pictures[0], fault.caption) for fault in found} == {
        ("wrong caption", records[5], "caption 30"),
        ("wrong caption", records[30], "caption 5"),
    }
    for fault in found:
        assert fault.pictures[1].identity == fault.identities[1]
        assert "which stands at rank" in fault.why


def test_captions_that_identities_share(draw: Draw) -> None:
    drawn = draw()
    said = [(row, row, f"caption {row}") for row in range(len(drawn.records))]
    said[8] = (8, 0, " A  person")
    said[0] = (0, 0, "a person")
    said[1] = (1, 0, "a person")
    records, captions = with_captions(drawn, said)
    (fault,) = audit(drawn.pictures, records, drawn.sides, captions).faults
    assert (fault.kind, fault.identities, fault.caption, fault.score) == ("shared caption", ("0", "1"), "a person", 0.5)
    assert fault.pictures == (records[0], records[1], records[8])


def test_a_caption_of_an_unknown_person_is_held_against_known_ones(draw: Draw) -> None:
    drawn = draw()
    names = [None if name == "3" else name for name in drawn.names]
    drawn = drawn.named(names)
    said = [(row, row, f"caption {row}") for row in range(len(drawn.records)) if row != 20]
    records, captions = with_captions(drawn, [*said, (20, 40, "of 6")])
    (fault,) = audit(drawn.pictures, records, drawn.sides, captions).faults
    assert (fault.pictures[0], fault.identities) == (records[20], ("unknown", "6"))


@pytest.fixture
def scenes(tmp_path: Path) -> list[Record]:
    """Five pictures of coloured fields; three others that are the first three cut, brighter and mirrored."""
    records = []
    for k in range(5):
        fields = np.random.default_rng(k).integers(0, 256, (6, 4, 3)).astype(np.uint8)
        image = Image.fromarray(fields).resize((80, 120), Image.Resampling.BICUBIC)
        image.save(tmp_path / f"{k}.png")
        records.append(Record(tmp_path / f"{k}.png", str(k)))
        changed = {
            0: image.crop((1, 2, 79, 118)),
            1: ImageEnhance.Brightness(image).enhance(1.15),
            2: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        }
        if k in changed:
            changed[k].save(tmp_path / f"{k}-again.png")
            records.append(Record(tmp_path / f"{k}-again.png", f"other {k}"))
    return records


def test_copies_across_splits(scenes: list[Record]) -> None:
    sides = ["test" if "again" in record.path.name else "train" for record in scenes]
    vectors = np.ones((len(scenes), 2), np.float32) / np.float32(2**0.5)  # all alike: the pixels decide
    found = copy_faults(vectors, sides, scenes)
    names = {(fault.pictures[0].path.name, fault.beside[0][1][0].path.name) for fault in found}
    assert names == {("0.png", "0-again.png"), ("1.png", "1-again.png"), ("2.png", "2-again.png")}
    assert all(fault.kind == "copy across splits" and 0.95 <= fault.score <= 1 for fault in found)
    assert found[0].identities == ("0", "other 0")
    assert copy_faults(np.eye(len(scenes), dtype=np.float32), sides, scenes) == []
    assert copy_faults(vectors, ["train"] * len(scenes), scenes) == []
    assert copy_faults(vectors, [""] * len(scenes), scenes) == []


def test_a_picture_that_went_away_is_no_copy(scenes: list[Record]) -> None:
    sides = ["test" if "again" in record.path.name else "train" for record in scenes]
    scenes[0].path.unlink()
    vectors = np.ones((len(scenes), 2), np.float32) / np.float32(2**0.5)
    assert len(copy_faults(vectors, sides, scenes)) == 2


def test_sides_come_from_the_splits() -> None:
    one, two, three, four = (Record(Path(f"/{k}.png")) for k in range(4))
    splits = Splits("x", Path("/"), "any-camera", train=(one,), query=(two,), gallery=(two, three), unassigned=(four,))
    assert sides_of(splits) == {one: "train", two: "test", three: "test", four: ""}


def test_the_order_of_the_pictures_does_not_count(draw: Draw) -> None:
    drawn = draw()
    names = drawn.names
    names[3], names[40] = "7", "0"
    planted = drawn.named(names)
    order = np.random.default_rng(0).permutation(len(names))
    pictures = replace(planted.pictures, embedding=planted.pictures.embedding[order])
    first = audit(planted.pictures, planted.records, planted.sides).faults
    second = audit(pictures, [planted.records[row] for row in order], planted.sides).faults
    assert [(f.pictures, f.identities) for f in first] == [(f.pictures, f.identities) for f in second]
    np.testing.assert_allclose([f.score for f in first], [f.score for f in second], atol=1e-4)
    assert audit(planted.pictures, planted.records, planted.sides).faults == first


def test_what_cannot_be_judged_is_said(draw: Draw) -> None:
    drawn = draw()
    names = [None, "alone", *drawn.names[2:]]
    said = drawn.named(names)
    records = [replace(record, captions=("a person",)) for record in said.records]
    notes = audit(said.pictures, records, ["train"] * len(records)).notes
    assert notes == (
        "1 pictures of unknown identity: not held against identities",
        "1 identities have one picture: it cannot be held against others of its own",
        "the data are not split: no copies across splits were looked for",
        "the encoder has no text tower: captions were not checked",
    )


def test_vectors_of_broken_weights_are_refused(draw: Draw) -> None:
    drawn = draw(3, 3)
    drawn.pictures.embedding[1] = np.nan
    with pytest.raises(DataError, match=r"its vector has length nan, not 1; so have 0 others"):
        audit(drawn.pictures, drawn.records, [""] * 9)


def test_too_few_labels_are_refused(draw: Draw) -> None:
    drawn = draw(2, 2)
    for names, message in (
        ([None] * 4, "no identity is known, so that there is nothing to compare. Name the identities"),
        (["1"] * 4, r"one identity alone is known \(1\)"),
        (["1", "2", "3", None], "no identity has two pictures"),
    ):
        said = drawn.named(names)
        with pytest.raises(DataError, match=message):
            audit(said.pictures, said.records, said.sides)


def test_equal_pictures_spoil_nothing(draw: Draw) -> None:
    """An identity's only pictures may be one file twice: nothing is left of them without their mean."""
    drawn = draw()
    drawn.pictures.embedding[1] = drawn.pictures.embedding[0]
    rows = [0, 1, *range(6, 72)]
    pictures = replace(drawn.pictures, embedding=drawn.pictures.embedding[rows])
    planted = replace_names(drawn, {40: "7", 61: "2"})
    records = [planted.records[row] for row in rows]
    records[1] = replace(records[1], camera=records[0].camera)
    found = audit(pictures, records, [record.split for record in records]).faults
    assert {(fault.kind, fault.pictures) for fault in found} == {
        ("wrong identity", (planted.records[40],)),
        ("wrong identity", (planted.records[61],)),
    }
    assert all(np.isfinite(fault.score) for fault in found)


def test_a_camera_that_shows_one_identity_does_not_hide_it(draw: Draw) -> None:
    """Pictures that are each alone in their camera, and whole identities that are, stay what they look like."""
    drawn = draw()
    planted = replace_names(drawn, {40: "7", 61: "2"})
    by_identity = [replace(record, camera=f"camera of {record.identity}") for record in planted.records]
    by_picture = [replace(record, camera=f"camera {row}") for row, record in enumerate(planted.records)]
    for records, n_cameras in ((by_identity, 12), (by_picture, 72)):
        found = audit(drawn.pictures, records, drawn.sides)
        assert {fault.pictures for fault in found.faults} == {(records[40],), (records[61],)}
        assert found.notes[0] == (
            f"{n_cameras} cameras show one identity: what they add cannot be told from how it looks, and is left in"
        )


def test_a_cameras_mean_is_taken_out_as_far_as_it_shows_several() -> None:
    vectors = np.array([[4, 0], [0, 4], [4, 0], [8, 0]], np.float32)
    cameras, identities = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])  # the rows as they must stand
    space = Space.learn(vectors, identities, cameras)
    # both show two of two: half of their mean, [4, 0] and [4, 2], and half of that of all, [4, 1]
    np.testing.assert_allclose(space.vectors, [[0, -0.5], [-4, 2.5], [0, -0.5], [4, -1.5]])
    alone = Space.learn(vectors, identities, np.array([0, 1, 2, 3]))
    np.testing.assert_allclose(alone.vectors, vectors - [4, 1])


def test_what_was_not_compared_is_not_alike(draw: Draw) -> None:
    """Of identities seen once, by one camera, nothing tells how alike one individual's pictures by it would be."""
    drawn = draw(n_identities=30, n_pictures=2)
    rows = [row for row in range(60) if row >= 20 or row % 2 == 0]  # the first ten by camera a alone
    pictures = replace(drawn.pictures, embedding=drawn.pictures.embedding[rows])
    records = [drawn.records[row] for row in rows]
    found = audit(pictures, records, [""] * len(rows))
    assert found.faults == ()
    assert found.notes[1] == (
        "45 of 435 pairs of identities were not held against each other (same individual): no identity is seen twice "
        "by one camera, which would tell how alike one's pictures are"
    )
    halves = [replace(record, identity=f"{record.identity} {record.camera}") for record in drawn.records[:2]]
    (fault,) = audit(drawn.pictures, [*halves, *drawn.records[2:]], drawn.sides).faults
    assert (fault.kind, set(fault.identities)) == ("same individual", {"0 a", "0 b"})
    assert fault.why.endswith(" those of one identity usually are")


def test_identities_of_one_camera_each_are_compared_within_it(draw: Draw) -> None:
    drawn = draw(n_identities=20, n_pictures=8)
    names = [("again" if row % 2 else name) if name == "4" else name for row, name in enumerate(drawn.names)]
    records = [
        replace(record, camera="ab"[truth % 2])
        for record, truth in zip(drawn.named(names).records, drawn.truth, strict=True)
    ]
    found = audit(drawn.pictures, records, drawn.sides)
    (fault,) = found.faults
    assert (fault.kind, set(fault.identities)) == ("same individual", {"4", "again"})
    assert found.notes[0] == (
        "110 of 210 pairs of identities were not held against each other (same individual): no identity is seen by two "
        "cameras, which would tell how alike one's pictures are"
    )
    apart = [replace(record, camera=f"of {record.identity}") for record in records]
    found = audit(drawn.pictures, apart, drawn.sides)
    assert found.faults == ()
    assert found.notes[1].startswith("210 of 210 pairs of identities were not held against each other")


@pytest.mark.parametrize("n", [2, 3, 5])
def test_every_cut_has_two_sides(n: int) -> None:
    generator = np.random.default_rng(0)
    for vectors in (np.zeros((n, 4)), np.ones((n, 4)) / 2, np.eye(n, 4), generator.standard_normal((n, 4))):
        second = _halve(vectors.astype(np.float32))
        assert 0 < second.sum() < n
        assert not second[0]


def test_two_small_identities_are_enough(draw: Draw) -> None:
    drawn = draw(2, 2)
    assert audit(drawn.pictures, drawn.records, drawn.sides).faults == ()


def test_likeness_is_as_written(draw: Draw) -> None:
    """Blocks, cells and sums against loops from the formula."""
    drawn = draw(6, 5)
    cameras = np.array([-1 if row % 4 == 0 else row % 3 for row in range(30)])
    order = np.lexsort((cameras, drawn.truth))
    space = Space.learn(drawn.pictures.embedding[order], drawn.truth[order], cameras[order])
    placed = {identity: p for identities, p in space.folds() for identity in identities}
    assert sorted(placed) == list(range(6))
    seen = []
    for identities, cosines in space.blocks():
        rows = slice(int(space.starts[identities.start]), int(space.starts[identities.stop]))
        sums, counts = space.by_camera(cosines.copy(), rows)
        found = soft_mean(sums, counts)
        for k, row in enumerate(range(rows.start, rows.stop)):
            mine = placed[int(space.identities[row])]
            seen.append(row)
            for other in range(6):
                if other == space.identities[row]:
                    continue
                for relation in (0, 1):
                    members = [
                        m
                        for m in space.members(other)
                        if (space.cameras[m] == space.cameras[row] and space.cameras[m] >= 0) == bool(relation)
                    ]
                    if not members:
                        assert np.isnan(found[relation, k, other])
                        continue
                    mean = np.mean([np.exp(float(mine[row] @ mine[m]) / 0.1) for m in members])
                    assert found[relation, k, other] == pytest.approx(0.1 * np.log(mean), abs=1e-4)
    assert seen == list(range(30))


def test_a_fold_does_not_learn_from_its_own_labels(draw: Draw) -> None:
    drawn = draw(10, 4)
    cameras = np.zeros(40, np.int64)
    whole = Space.learn(drawn.pictures.embedding, drawn.truth, cameras)
    changed = drawn.pictures.embedding.copy()
    changed[:4] = changed[:4][::-1] + np.float32(0.3) * changed[[1, 3, 0, 2]]
    changed[:4] -= changed[:4].mean(axis=0) - drawn.pictures.embedding[:4].mean(axis=0)
    other = Space.learn(changed, drawn.truth, cameras)
    first, second = ([to_space @ to_space.T for to_space in space.maps[:2]] for space in (whole, other))
    np.testing.assert_allclose(first[0], second[0], rtol=1e-3, atol=1e-2)
    assert not np.allclose(first[1], second[1], rtol=1e-2, atol=1e-1)


def test_identities_must_ascend() -> None:
    for identities in ([1, 0], [0, 2]):
        with pytest.raises(ValueError, match="must ascend from 0 without gaps"):
            Space.learn(np.eye(2, dtype=np.float32), np.array(identities), np.zeros(2, np.int64))


def test_margins_become_probabilities() -> None:
    assert preferred(np.array([0.0]), 0.1).tolist() == [0.5]
    np.testing.assert_allclose(preferred(np.array([0.2, -0.2]), 0.1), [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))])
    assert preferred(np.array([1e6, -1e6]), 0.05) == pytest.approx([1, 0])
    assert fit_temperature(np.empty(0), np.empty((0, 3))) == 1.0
    generator = np.random.default_rng(0)  # labels drawn by a softmax of that temperature are told by it
    likeness = 0.5 * generator.standard_normal((20_000, 4))
    chances = np.exp(likeness / 0.2)
    drawn = (generator.random((20_000, 1)) > np.cumsum(chances / chances.sum(axis=1, keepdims=True), axis=1)).sum(
        axis=1
    )
    own = likeness[np.arange(20_000), drawn]
    likeness[np.arange(20_000), drawn] = -np.inf
    assert fit_temperature(own, likeness) == pytest.approx(0.2, rel=0.1)
    assert fit_temperature(np.array([0.9]), np.array([[0.1, -np.inf]])) == pytest.approx(0.05)


def test_soft_means_lie_between_the_mean_and_the_largest() -> None:
    cosines = np.array([[0.1, 0.5, 0.9]], np.float32)
    sums = soften(cosines.copy()).sum(axis=1)
    assert 0.5 < soft_mean(sums, np.array([3]))[0] < 0.9
    assert np.isnan(soft_mean(np.zeros(1, np.float32), np.array([0]))[0])
