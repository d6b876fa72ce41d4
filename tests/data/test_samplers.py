from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from resight.data.samplers import (
    camera_diverse_batches,
    class_uniform_batches,
    identity_batches,
    one_per_identity_batches,
    one_row_of_each,
    random_batches,
    remaining_rows,
)
from resight.errors import ConfigError, DataError

SIZES = st.lists(st.integers(1, 12), min_size=2, max_size=15)
SEEDS = {"seed": st.integers(0, 3), "epoch": st.integers(0, 3)}


def people(sizes: list[int]) -> NDArray[np.int64]:
    """Identities with so many pictures each, mixed, and with gaps in their numbers."""
    return np.random.default_rng(0).permutation(np.repeat(3 * np.arange(len(sizes)) + 1, sizes))


def occluded_duke() -> NDArray[np.int64]:
    """702 identities with 15,618 pictures, as Occluded-Duke has; how many each has is drawn, not the real list."""
    rng = np.random.default_rng(0)
    shares = rng.lognormal(0, 1, 702)
    return people((6 + rng.multinomial(15_618 - 6 * 702, shares / shares.sum())).tolist())


def clusters() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels and cameras of 60 pictures: 6 labels with 14, 9, 6, 4, 3 and 1 of them, and 23 outliers.

    Cameras 0 to 3 take turns; the label with 6 pictures was seen by camera 7 alone.
    """
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, 3, 4, 5, -1], [14, 9, 6, 4, 3, 1, 23])
    cameras = np.where(labels == 2, 7, np.arange(60) % 4)
    order = rng.permutation(60)
    return labels[order], cameras[order]


def same(left: list[NDArray[np.int64]], right: list[NDArray[np.int64]]) -> bool:
    return len(left) == len(right) and all(map(np.array_equal, left, right))


@given(sizes=SIZES, n_identities=st.integers(2, 15), n_images=st.integers(1, 6), **SEEDS)
def test_identity_batches_keep_the_rules(
    sizes: list[int], n_identities: int, n_images: int, seed: int, epoch: int
) -> None:
    identities = people(sizes)
    n_identities = min(n_identities, len(sizes))
    plan = identity_batches(identities, n_identities=n_identities, n_images=n_images, seed=seed, epoch=epoch)
    chunks_left = {3 * i + 1: max(size // n_images, 1) for i, size in enumerate(sizes)}
    for rows in plan:
        assert rows.dtype == np.int64
        assert sum(left > 0 for left in chunks_left.values()) >= n_identities
        grouped = identities[rows].reshape(n_identities, n_images)
        assert (grouped == grouped[:, :1]).all()
        assert len(set(grouped[:, 0].tolist())) == n_identities
        for identity in grouped[:, 0].tolist():
            chunks_left[identity] -= 1
    assert min(chunks_left.values()) >= 0
    assert sum(left > 0 for left in chunks_left.values()) < n_identities
    times = Counter(np.concatenate(plan).tolist())
    enough = {3 * i + 1 for i, size in enumerate(sizes) if size >= n_images}
    assert all(count == 1 for row, count in times.items() if identities[row] in enough)


@given(sizes=SIZES, batch_size=st.integers(2, 15), **SEEDS)
def test_one_per_identity_batches_keep_the_rules(sizes: list[int], batch_size: int, seed: int, epoch: int) -> None:
    identities = people(sizes)
    batch_size = min(batch_size, len(sizes))
    plan = one_per_identity_batches(identities, batch_size=batch_size, seed=seed, epoch=epoch)
    for rows in plan:
        assert rows.dtype == np.int64
        assert len(set(identities[rows].tolist())) == len(rows) == batch_size
    assert len(set(np.concatenate(plan).tolist())) == len(plan) * batch_size
    one_more = len(plan) + 1  # m batches need m * batch_size pictures, of which an identity can give m
    assert sum(min(size, one_more) for size in sizes) < one_more * batch_size


@given(n=st.integers(1, 60), batch_size=st.integers(1, 20), **SEEDS)
def test_random_batches_are_a_permutation_without_an_empty_batch(
    n: int, batch_size: int, seed: int, epoch: int
) -> None:
    plan = random_batches(n, batch_size=batch_size, seed=seed, epoch=epoch)
    assert sorted(np.concatenate(plan).tolist()) == list(range(n))
    assert {len(rows) for rows in plan[:-1]} <= {batch_size}
    assert 1 <= len(plan[-1]) <= batch_size
    if n >= batch_size:
        full = random_batches(n, batch_size=batch_size, seed=seed, epoch=epoch, drop_last=True)
        assert same(full, plan[: n // batch_size])


def test_a_multiple_of_the_batch_size_has_no_empty_last_batch() -> None:
    """The reference implementation of CLIP-ReID's first stage stops there with an error."""
    assert [len(rows) for rows in random_batches(12, batch_size=4, seed=0, epoch=0)] == [4, 4, 4]


@pytest.mark.parametrize("n_batches", [1, 3, 200])
def test_a_number_of_batches_is_one_pass_cut_short_or_passes_that_follow_each_other(n_batches: int) -> None:
    identities = people([7, 9, 5, 8, 6, 12, 3])
    settings = {"n_identities": 3, "n_images": 2, "seed": 1, "epoch": 2}
    once = identity_batches(identities, **settings)
    plan = identity_batches(identities, **settings, n_batches=n_batches)
    assert len(plan) == n_batches
    assert same(plan[: len(once)], once[:n_batches])
    for rows in plan:
        grouped = identities[rows].reshape(3, 2)
        assert (grouped == grouped[:, :1]).all()
        assert len(set(grouped[:, 0].tolist())) == 3
    if n_batches > len(once):
        assert not same(plan[len(once) : 2 * len(once)], once)
        times = Counter(np.concatenate(plan).tolist())  # about 20 passes, of which a picture is in nearly each
        assert len(times) == len(identities)
        assert max(times.values()) < 4 * min(times.values())


# --- labels that clustering made ---


def one_pass_across_cameras(**changes: int) -> NDArray[np.int64]:
    """The rows of one pass: with a batch of one, batches end nowhere within what a label gives."""
    labels, cameras = clusters()
    settings = {"batch_size": 1, "n_images": 4, "n_batches": 21, "seed": 0, "epoch": 0, **changes}
    return np.concatenate(camera_diverse_batches(labels, cameras, **settings))


@given(n_images=st.integers(1, 8), **SEEDS)
def test_a_pass_takes_every_label_once_and_its_pictures_from_other_cameras(
    n_images: int, seed: int, epoch: int
) -> None:
    labels, cameras = clusters()
    n_rows = 5 * n_images + 1
    rows = one_pass_across_cameras(n_images=n_images, n_batches=n_rows, seed=seed, epoch=epoch)
    seen = set()
    while len(rows):
        label = int(labels[rows[0]])
        n_given = 1 if label == 5 else n_images
        (anchor, *others), rows = rows[:n_given].tolist(), rows[n_given:]
        assert label not in seen
        seen.add(label)
        assert set(labels[others].tolist()) <= {label}
        assert anchor not in others
        if label == 2:
            to_choose = 5
        else:
            assert int(cameras[anchor]) not in cameras[others]
            to_choose = np.count_nonzero((labels == label) & (cameras != cameras[anchor]))
        if to_choose >= n_images:
            assert len(set(others)) == len(others)
    assert seen == {0, 1, 2, 3, 4, 5}


def test_anchors_and_the_pictures_beside_them_are_drawn_evenly() -> None:
    labels = np.array([0, 0, 0, 0, 1])
    cameras = np.array([3, 3, 5, 9, 3])
    anchors, beside = Counter[int](), Counter[tuple[int, int]]()
    plan = camera_diverse_batches(labels, cameras, batch_size=1, n_images=2, n_batches=3 * 2000, seed=0, epoch=0)
    rows = [row for row in np.concatenate(plan).tolist() if row != 4]
    for anchor, other in zip(rows[::2], rows[1::2], strict=True):
        anchors[anchor] += 1
        beside[anchor, other] += 1
    assert max(abs(anchors[row] - 500) for row in range(4)) < 4 * (2000 * 0.25 * 0.75) ** 0.5
    assert set(beside) == {(0, 2), (0, 3), (1, 2), (1, 3), (2, 0), (2, 1), (2, 3), (3, 0), (3, 1), (3, 2)}
    assert max(abs(beside[0, other] - 250) for other in (2, 3)) < 4 * (500 * 0.25) ** 0.5


def test_as_many_as_there_are_to_choose_from_are_drawn_with_replacement() -> None:
    """n_images - 1 pictures would do without, but the authors' code asks for n_images."""
    repeats = {3: 0, 4: 0}
    for size in repeats:  # pictures of each of two labels, every one by another camera; 2 or 3 to choose 2 from
        settings = {"batch_size": 3, "n_images": 3, "n_batches": 400, "seed": 0, "epoch": 0}
        plan = camera_diverse_batches(np.arange(2 * size) % 2, np.arange(2 * size), **settings)
        repeats[size] = sum(len(set(rows.tolist())) < 3 for rows in plan)
    assert abs(repeats[3] - 200) < 4 * (400 * 0.25) ** 0.5
    assert repeats[4] == 0


@given(n_images=st.integers(1, 9), **SEEDS)
def test_a_pass_gives_every_label_the_same_number_of_pictures(n_images: int, seed: int, epoch: int) -> None:
    labels, _ = clusters()
    plan = class_uniform_batches(
        labels, batch_size=1, n_images=n_images, n_batches=2 * 6 * n_images, seed=seed, epoch=epoch
    )
    for rows in np.concatenate(plan).reshape(2, 6, n_images):
        assert (labels[rows] == labels[rows[:, :1]]).all()
        assert sorted(labels[rows[:, 0]].tolist()) == [0, 1, 2, 3, 4, 5]
        for row in rows:
            size = np.count_nonzero(labels == labels[row[0]])
            times = Counter(row.tolist())  # repeated evenly where it is short
            assert len(times) == min(size, n_images)
            assert max(times.values()) - min(times.values()) <= 1


def test_labels_come_in_random_order_and_pictures_evenly() -> None:
    labels, _ = clusters()
    first, times = Counter[int](), Counter[int]()
    for epoch in range(300):
        (rows,) = class_uniform_batches(labels, batch_size=12, n_images=2, n_batches=1, seed=0, epoch=epoch)
        first[int(labels[rows[0]])] += 1
        times.update(rows.tolist())
    assert max(abs(first[label] - 50) for label in range(6)) < 4 * (300 / 6) ** 0.5
    expected = 300 * 2 / 14
    assert all(abs(times[int(row)] - expected) < 4 * expected**0.5 for row in np.flatnonzero(labels == 0))


@pytest.mark.parametrize("n_batches", [1, 2, 5, 40])
def test_passes_are_cut_into_full_batches_anywhere_and_follow_each_other(n_batches: int) -> None:
    labels, cameras = clusters()
    settings = {"batch_size": 9, "n_images": 4, "seed": 3, "epoch": 1, "n_batches": n_batches}
    longer = {**settings, "n_batches": 41}
    plans = [
        (camera_diverse_batches(labels, cameras, **settings), camera_diverse_batches(labels, cameras, **longer)),
        (class_uniform_batches(labels, **settings), class_uniform_batches(labels, **longer)),
    ]
    for plan, more in plans:
        assert len(plan) == n_batches
        assert same(plan, more[:n_batches])
        assert all(len(rows) == 9 and rows.dtype == np.int64 for rows in plan)
        assert labels[np.concatenate(plan)].min() == 0
        for start in range(0, n_batches, 2):  # a pass gives 21 or 24 rows, of which two batches take 18
            within = labels[np.concatenate(plan[start : start + 2])]
            assert max(Counter(within.tolist()).values()) <= 4


def test_labels_need_not_be_without_gaps_and_may_be_lists() -> None:
    settings = {"batch_size": 4, "n_images": 2, "n_batches": 3, "seed": 0, "epoch": 0}
    for plan in (
        camera_diverse_batches([8, -1, 3, 8, 3], [0, 0, 0, 1, 1], **settings),
        class_uniform_batches([8, -1, 3, 8, 3], **settings),
    ):
        assert [sorted(rows.tolist()) for rows in plan] == [[0, 2, 3, 4]] * 3


def test_nothing_to_sample_is_refused() -> None:
    settings = {"batch_size": 4, "n_images": 2, "n_batches": 3, "seed": 0, "epoch": 0}
    for labels, found in (
        ([-1, 5, -1, 5, 5], "Labels found: 1, on 3 of 5 pictures; telling them apart needs at least 2"),
        ([-1, -1], "Labels found: 0, on 0 of 2 pictures"),
        ([], "Labels found: 0, on 0 of 0 pictures"),
    ):
        with pytest.raises(DataError, match=found):
            camera_diverse_batches(labels, [0] * len(labels), **settings)
        with pytest.raises(DataError, match=r"choose another --eps or a smaller --min-samples\.$"):
            class_uniform_batches(labels, **settings)
    settings["batch_size"] = 16
    with pytest.raises(DataError) as caught:
        camera_diverse_batches([0, 0, 1, 2, 2], [0, 1, 0, 0, 1], **settings)
    assert str(caught.value) == (
        "3 labels give 5 pictures, 2 of each at most, but a batch takes 16. Choose at most --batch-size 5."
    )
    with pytest.raises(DataError, match=r"give 6 pictures, 2 of each at most, but a batch takes 16\."):
        class_uniform_batches([0, 0, 1, 2, 2], **settings)


def test_labels_without_cameras_are_a_wrong_call() -> None:
    with pytest.raises(ValueError, match="3 labels, but 2 cameras"):
        camera_diverse_batches([0, 1, 2], [0, 1], batch_size=1, n_images=1, n_batches=1, seed=0, epoch=0)


@pytest.mark.parametrize("name", ["batch_size", "n_images", "n_batches"])
def test_numbers_below_one_are_refused(name: str) -> None:
    settings = {"batch_size": 2, "n_images": 2, "n_batches": 2, "seed": 0, "epoch": 0, name: 0}
    with pytest.raises(ConfigError, match=f"{name} must be at least 1, got 0"):
        camera_diverse_batches([0, 1], [0, 1], **settings)
    with pytest.raises(ConfigError, match=f"{name} must be at least 1, got 0"):
        class_uniform_batches([0, 1], **settings)


# --- all of them ---


def test_seed_and_epoch_decide() -> None:
    identities = people([7, 9, 5, 8, 6, 12, 3])

    labels, cameras = clusters()
    sizes = {"batch_size": 9, "n_images": 4, "n_batches": 7}

    def plans(seed: int, epoch: int) -> list[list[NDArray[np.int64]]]:
        return [
            identity_batches(identities, n_identities=3, n_images=2, seed=seed, epoch=epoch),
            identity_batches(identities, n_identities=3, n_images=2, seed=seed, epoch=epoch, n_batches=20),
            camera_diverse_batches(labels, cameras, seed=seed, epoch=epoch, **sizes),
            class_uniform_batches(labels, seed=seed, epoch=epoch, **sizes),
            random_batches(50, batch_size=8, seed=seed, epoch=epoch),
            one_per_identity_batches(identities, batch_size=5, seed=seed, epoch=epoch),
        ]

    assert all(map(same, plans(1, 2), plans(1, 2)))
    for other in ((1, 3), (2, 2), (2, 1)):
        assert not any(map(same, plans(1, 2), plans(*other)))


def test_identities_may_be_a_list() -> None:
    plan = identity_batches([0, 1, 0, 1], n_identities=2, n_images=2, seed=0, epoch=0)
    assert [sorted(rows.tolist()) for rows in plan] == [[0, 1, 2, 3]]


def test_too_few_pictures_are_drawn_with_replacement() -> None:
    """Three draws from two pictures: all four kinds of multiset come up, and each picture equally often."""
    identities = np.array([0, 0, 1, 1, 1])
    drawn = Counter[int]()
    kinds = set()
    for epoch in range(400):
        (rows,) = identity_batches(identities, n_identities=2, n_images=3, seed=0, epoch=epoch)
        short = rows[identities[rows] == 0].tolist()
        drawn.update(short)
        kinds.add(tuple(sorted(short)))
    assert kinds == {(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1)}
    assert abs(drawn[0] - 600) < 5 * 1200**0.5 / 2


def test_identities_are_drawn_evenly() -> None:
    """The first batch takes 4 of 20 identities, whatever the number of their pictures."""
    identities = people([4] * 10 + [40] * 10)
    first = Counter[int]()
    for epoch in range(500):
        rows = identity_batches(identities, n_identities=4, n_images=2, seed=0, epoch=epoch)[0]
        first.update(set(identities[rows].tolist()))
    assert len(first) == 20
    assert max(abs(count - 100) for count in first.values()) < 4 * (500 * 0.2 * 0.8) ** 0.5


def test_epoch_length_lies_a_little_below_that_of_all_chunks() -> None:
    """CLIP-ReID on Occluded-Duke has 211 to 213 batches where all chunks would make 227; this list is simulated."""
    identities = occluded_duke()
    assert (len(identities), len(np.unique(identities))) == (15_618, 702)
    all_chunks = (np.maximum(np.unique(identities, return_counts=True)[1] // 4, 1)).sum() / 16
    lengths = [len(identity_batches(identities, n_identities=16, n_images=4, seed=0, epoch=e)) for e in range(12)]
    assert 220 < all_chunks < 235
    assert 0.9 * all_chunks < min(lengths) <= max(lengths) < all_chunks
    assert 1 < len(set(lengths)) <= 8


def test_one_per_identity_batches_mix_identities_anew() -> None:
    """Two identities meet about as often as chance has it, also when their pictures are dealt one after the other."""
    identities = people([6] * 40)
    plan = one_per_identity_batches(identities, batch_size=20, seed=0, epoch=0)
    together = np.zeros((40, 40), int)
    for rows in plan:
        present = np.unique(identities[rows]) // 3
        together[np.ix_(present, present)] += 1
    pairs = together[np.triu_indices(40, 1)]
    assert pairs.sum() == 12 * 20 * 19 / 2
    assert (pairs == 6).mean() < 0.02
    neighbours = [len(set(identities[a]) & set(identities[b])) for a, b in pairwise(plan)]
    assert 7 < np.mean(neighbours) < 13


def test_a_dominant_identity_gives_one_picture_a_batch() -> None:
    plan = one_per_identity_batches(people([100, 2, 2]), batch_size=2, seed=0, epoch=0)
    assert len(plan) == 4
    assert len(one_per_identity_batches(people([100, 1, 1]), batch_size=3, seed=0, epoch=0)) == 1


@pytest.mark.parametrize("drop", [0.0, 0.1, 0.6])
def test_rows_are_left_out_with_their_probability(drop: float) -> None:
    """Each by itself, and others every epoch: within 4 deviations."""
    n, epochs = 2000, range(1, 21)
    kept = [remaining_rows(n, drop=drop, seed=0, epoch=epoch) for epoch in epochs]
    assert all((np.diff(rows) > 0).all() for rows in kept)
    total = sum(map(len, kept))
    assert abs(total / (n * len(kept)) - (1 - drop)) <= 4 * np.sqrt(drop * (1 - drop) / (n * len(kept)))
    counts = np.bincount(np.concatenate(kept), minlength=n)
    assert abs(counts.var() - len(kept) * drop * (1 - drop)) <= 0.2 * len(kept) * drop
    for rows, epoch in zip(kept, epochs, strict=True):
        np.testing.assert_array_equal(rows, remaining_rows(n, drop=drop, seed=0, epoch=epoch))
    if drop:
        assert not np.array_equal(kept[0], remaining_rows(n, drop=drop, seed=1, epoch=1))


def test_one_row_remains() -> None:
    found = [remaining_rows(3, drop=1.0, seed=0, epoch=epoch).tolist() for epoch in range(40)]
    assert {len(rows) for rows in found} == {1}
    assert {row for rows in found for row in rows} == {0, 1, 2}


def test_one_row_of_each_owner_any_of_them() -> None:
    owners = np.array([7, 2, 7, 2, 9, 7])
    found = [tuple(one_row_of_each(owners, seed=0, epoch=epoch).tolist()) for epoch in range(300)]
    assert all(owners[list(rows)].tolist() == [2, 7, 9] for rows in found)
    counts = Counter(found)
    assert set(counts) == {(two, seven, 4) for two in (1, 3) for seven in (0, 2, 5)}
    assert min(counts.values()) > 25  # of 50 expected
    assert one_row_of_each(owners, seed=0, epoch=3).tolist() == list(found[3])


def test_too_few_identities_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        identity_batches([0, 1, 2] * 9, n_identities=16, n_images=4, seed=0, epoch=0)
    assert str(caught.value) == (
        "The training set has 3 identities, but a batch takes 16. Choose at most --n-identities 3."
    )
    with pytest.raises(DataError, match=r"has 3 identities, but a batch takes 4\. Choose at most --batch-size 3"):
        one_per_identity_batches([0, 1, 2] * 9, batch_size=4, seed=0, epoch=0)
    for identities, found in (([5, 5, 5], 1), ([], 0)):
        with pytest.raises(DataError, match=f"has {found} identities; telling identities apart needs at least 2"):
            identity_batches(identities, n_identities=2, n_images=2, seed=0, epoch=0)
        with pytest.raises(DataError, match=f"has {found} identities; telling"):
            one_per_identity_batches(identities, batch_size=2, seed=0, epoch=0)


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(DataError, match=r"0 pictures do not fill a batch of 4\. Give more, or choose a smaller"):
        random_batches(0, batch_size=4, seed=0, epoch=0)
    with pytest.raises(DataError, match="3 pictures do not fill a batch of 4"):
        random_batches(3, batch_size=4, seed=0, epoch=0, drop_last=True)


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="n_identities must be at least 2, got 1"):
        identity_batches([0, 1], n_identities=1, n_images=1, seed=0, epoch=0)
    with pytest.raises(ConfigError, match="n_images must be at least 1, got 0"):
        identity_batches([0, 1], n_identities=2, n_images=0, seed=0, epoch=0)
    with pytest.raises(ConfigError, match="n_batches must be at least 1, got 0"):
        identity_batches([0, 1], n_identities=2, n_images=1, seed=0, epoch=0, n_batches=0)
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        random_batches(5, batch_size=0, seed=0, epoch=0)
    with pytest.raises(ConfigError, match="batch_size must be at least 2, got 1"):
        one_per_identity_batches([0, 1], batch_size=1, seed=0, epoch=0)


def test_unknown_identities_are_a_wrong_call() -> None:
    for plan in (
        lambda: identity_batches([0, -1, 2], n_identities=2, n_images=1, seed=0, epoch=0),
        lambda: one_per_identity_batches([0, -1, 2], batch_size=2, seed=0, epoch=0),
    ):
        with pytest.raises(ValueError, match="identities must be 0 or more, got -1; leave unknown ones out"):
            plan()
