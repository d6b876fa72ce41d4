"""Which pictures make a batch: an epoch's plan as lists of rows, decided by (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.errors import ConfigError, DataError


def identity_batches(
    identities: Sequence[int] | NDArray[np.integer[Any]],
    *,
    n_identities: int,
    n_images: int,
    seed: int,
    epoch: int,
    n_batches: int | None = None,
) -> list[NDArray[np.int64]]:
    """One epoch of P×K batches: rows [n_identities * n_images], the n_images rows of an identity side by side.

    identities [N]: from 0; every different number is an identity. An identity's pictures are shuffled and cut into
    chunks of n_images, the remainder left out; one with fewer pictures gives one chunk, drawn with replacement. A
    batch takes a chunk each of n_identities drawn from those that have chunks left. When these are too few the epoch
    ends, so that it is shorter than all chunks would make it, and its length changes from epoch to epoch. With
    n_batches it has exactly so many: that pass is cut short, or others follow it, each shuffled and cut anew.
    Raises DataError when there are fewer than two identities, or fewer than n_identities; ConfigError when
    n_identities is below 2, or n_images or n_batches below 1. The sampler of Hermans et al. 2017, arXiv 1703.07737,
    section 2, as CLIP-ReID (Li et al. 2023, arXiv 2211.13977) draws it, and with n_batches PCL-CLIP (Li and Gong 2023,
    arXiv 2310.17218).
    """
    _expect_at_least(2, n_identities=n_identities)
    _expect_at_least(1, n_images=n_images)
    rng = np.random.default_rng((seed, epoch))
    if n_batches is None:
        return _identity_pass(identities, n_identities, n_images, rng)
    return _passes(lambda: _identity_pass(identities, n_identities, n_images, rng), n_batches)


def _identity_pass(
    identities: Sequence[int] | NDArray[np.integer[Any]], n_identities: int, n_images: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    shuffled, counts = _by_identity(identities, rng)
    _expect_identities(len(counts), n_identities, "n-identities")
    n_chunks = np.maximum(counts // n_images, 1)
    first_chunk = np.cumsum(n_chunks) - n_chunks
    owner = np.repeat(np.arange(len(counts)), n_chunks)
    places = (np.arange(len(owner)) - first_chunk[owner])[:, None] * n_images + np.arange(n_images)
    short = counts[owner] < n_images
    places[short] = rng.integers(counts[owner[short], None], size=places[short].shape)
    chunks = shuffled[places + (np.cumsum(counts) - counts)[owner, None]]

    batches = []
    taken = np.zeros_like(n_chunks)
    available = np.arange(len(counts))
    while len(available) >= n_identities:
        drawn = rng.choice(available, n_identities, replace=False)
        batches.append(chunks[first_chunk[drawn] + taken[drawn]].ravel())
        taken[drawn] += 1
        available = available[taken[available] < n_chunks[available]]
    return batches


def camera_diverse_batches(
    labels: Sequence[int] | NDArray[np.integer[Any]],
    cameras: Sequence[int] | NDArray[np.integer[Any]],
    *,
    batch_size: int,
    n_images: int,
    n_batches: int,
    seed: int,
    epoch: int,
) -> list[NDArray[np.int64]]:
    """n_batches batches in which a label's pictures are by different cameras, where it has them: rows [batch_size].

    labels [N]: from 0, or -1, which is never drawn; cameras [N]: any numbers, an unknown camera being one of its own.
    A pass takes the labels in random order. Each gives a random picture, and n_images - 1 of those that other cameras
    took of it; where none did, of its other pictures; where it has no other, that picture alone. They are different
    pictures if there are n_images or more to choose from, else drawn with replacement. A pass is cut into batches
    wherever they end, also within a label, and its remainder is left out; passes follow each other.
    Raises DataError when there are fewer than two labels, or a pass does not fill a batch; ConfigError when batch_size,
    n_images or n_batches is below 1; ValueError when labels and cameras differ in length. The sampler of
    ClusterContrast (Dai et al. 2021, arXiv 2103.11568), in its authors' code.
    """
    if len(labels) != len(cameras):
        raise ValueError(f"{len(labels)} labels, but {len(cameras)} cameras")
    rng = np.random.default_rng((seed, epoch))
    seen_by = np.asarray(cameras)

    def draw(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        anchor = rng.choice(rows)
        if len(rows) == 1:
            return rows
        elsewhere = rows[seen_by[rows] != seen_by[anchor]]
        others = elsewhere if len(elsewhere) else rows[rows != anchor]
        return np.append(anchor, rng.choice(others, n_images - 1, replace=len(others) < n_images))

    return _label_batches(labels, draw, rng, batch_size=batch_size, n_images=n_images, n_batches=n_batches)


def class_uniform_batches(
    labels: Sequence[int] | NDArray[np.integer[Any]],
    *,
    batch_size: int,
    n_images: int,
    n_batches: int,
    seed: int,
    epoch: int,
) -> list[NDArray[np.int64]]:
    """n_batches batches in which every label comes as often as any other: rows [batch_size].

    labels [N]: from 0, or -1, which is never drawn. A pass takes the labels in random order, and n_images random
    pictures of each; one that has fewer gives all of them, then the same again until it has given n_images. A pass is
    cut into batches wherever they end, also within a label, and its remainder is left out; passes follow each other.
    Raises DataError when there are fewer than two labels, or a pass does not fill a batch; ConfigError when batch_size,
    n_images or n_batches is below 1. The sampler of CAP (Wang et al. 2021, arXiv 2012.10674), in its authors' code.
    """
    rng = np.random.default_rng((seed, epoch))

    def draw(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.resize(rng.permutation(rows), n_images)

    return _label_batches(labels, draw, rng, batch_size=batch_size, n_images=n_images, n_batches=n_batches)


def _label_batches(
    labels: Sequence[int] | NDArray[np.integer[Any]],
    draw: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    rng: np.random.Generator,
    *,
    batch_size: int,
    n_images: int,
    n_batches: int,
) -> list[NDArray[np.int64]]:
    """Passes over the labels in random order, each giving what `draw` takes of its rows, cut into full batches."""
    _expect_at_least(1, batch_size=batch_size, n_images=n_images)
    numbers = np.asarray(labels, dtype=np.int64)
    labelled = np.flatnonzero(numbers >= 0)
    counts = np.unique(numbers[labelled], return_counts=True)[1]
    if len(counts) < 2:
        raise DataError(
            f"Labels found: {len(counts)}, on {len(labelled)} of {len(numbers)} pictures; telling them apart needs at "
            "least 2. If clustering made them, choose another --eps or a smaller --min-samples."
        )
    by_label = np.split(labelled[np.argsort(numbers[labelled], kind="stable")], np.cumsum(counts)[:-1])

    def one_pass() -> list[NDArray[np.int64]]:
        rows = np.concatenate([draw(by_label[number]) for number in rng.permutation(len(by_label))])
        if len(rows) < batch_size:
            raise DataError(
                f"{len(by_label)} labels give {len(rows)} pictures, {n_images} of each at most, but a batch takes "
                f"{batch_size}. Choose at most --batch-size {len(rows)}."
            )
        return [rows[start : start + batch_size] for start in range(0, len(rows) - batch_size + 1, batch_size)]

    return _passes(one_pass, n_batches)


def _passes(one_pass: Callable[[], list[NDArray[np.int64]]], n_batches: int) -> list[NDArray[np.int64]]:
    """The first n_batches batches of passes that follow each other; each has one at least."""
    _expect_at_least(1, n_batches=n_batches)
    batches: list[NDArray[np.int64]] = []
    while len(batches) < n_batches:
        batches += one_pass()
    return batches[:n_batches]


def random_batches(
    n: int, *, batch_size: int, seed: int, epoch: int, drop_last: bool = False
) -> list[NDArray[np.int64]]:
    """One epoch of the rows 0 … n-1 in random order: rows [batch_size], the last batch smaller or left out.

    No batch is empty. Raises DataError when there would be no batch at all, ConfigError when batch_size is below 1.
    """
    _expect_at_least(1, batch_size=batch_size)
    if n < (batch_size if drop_last else 1):
        raise DataError(
            f"{n} pictures do not fill a batch of {batch_size}. Give more, or choose a smaller --batch-size."
        )
    rows = np.random.default_rng((seed, epoch)).permutation(n)
    end = n - n % batch_size if drop_last else n
    return [rows[start : start + batch_size] for start in range(0, end, batch_size)]


def one_per_identity_batches(
    identities: Sequence[int] | NDArray[np.integer[Any]], *, batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """One epoch of batches in which no identity comes twice: rows [batch_size], each row at most once an epoch.

    identities [N], from 0. For contrast of pictures and captions, where another picture of the same identity would be
    a false negative. There are as many batches as the identities allow, all full: an identity with more pictures than
    there are batches shows a random part of them.
    Raises DataError when there are fewer than two identities, or fewer than batch_size; ConfigError when batch_size
    is below 2.
    """
    _expect_at_least(2, batch_size=batch_size)
    rng = np.random.default_rng((seed, epoch))
    shuffled, counts = _by_identity(identities, rng)
    _expect_identities(len(counts), batch_size, "batch-size")
    n_batches = len(shuffled) // batch_size
    while (full := int(np.minimum(counts, n_batches).sum()) // batch_size) < n_batches:
        n_batches = full
    order = rng.permutation(len(counts))
    used = np.minimum(counts, n_batches)[order]
    owner = np.repeat(order, used)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(used) - used, used)
    rows = shuffled[(np.cumsum(counts) - counts)[owner] + within]

    # Rows are dealt in rounds, one to every batch, in random order. An identity has at most n_batches rows, one after
    # another, so that it can meet itself only where it goes on from one round into the next.
    owners = owner[: batch_size * n_batches].reshape(batch_size, n_batches)
    plan = np.empty((n_batches, batch_size), np.int64)
    deal = np.arange(n_batches)
    for turn in range(batch_size):
        before = deal[owners[turn - 1] == owners[turn, 0]]  # none at first: the last round has other identities
        deal = rng.permutation(n_batches)
        head = deal[~np.isin(deal, before)][: np.count_nonzero(owners[turn] == owners[turn, 0])]
        deal = np.concatenate([head, deal[~np.isin(deal, head)]])
        plan[deal, turn] = rows[turn * n_batches : (turn + 1) * n_batches]
    return list(plan)


def remaining_rows(n: int, *, drop: float, seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows 0 … n-1 but for those that an epoch leaves out, each with probability `drop`; in order, one at least.

    n is at least 1.
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, epoch), spawn_key=(4,)))  # not what makes batches of them
    chances = rng.random(n)
    kept = np.flatnonzero(chances >= drop)
    return kept if len(kept) else np.array([chances.argmax()], dtype=np.int64)


def one_row_of_each(owners: Sequence[int] | NDArray[np.integer[Any]], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """A random row of each owner, in the order of their numbers. owners [N]: any numbers."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, epoch), spawn_key=(5,)))
    rows = rng.permutation(len(owners))
    return rows[np.unique(np.asarray(owners)[rows], return_index=True)[1]]


def _by_identity(
    identities: Sequence[int] | NDArray[np.integer[Any]], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows sorted by identity, in random order within each, and how many rows each identity has."""
    numbers = np.asarray(identities, dtype=np.int64)
    if numbers.size and numbers.min() < 0:
        raise ValueError(f"identities must be 0 or more, got {numbers.min()}; leave unknown ones out")
    rows = rng.permutation(len(numbers))
    counts = np.unique(numbers, return_counts=True)[1]
    return rows[np.argsort(numbers[rows], kind="stable")], counts.astype(np.int64)


def _expect_identities(found: int, wanted: int, flag: str) -> None:
    if found < 2:
        raise DataError(f"The training set has {found} identities; telling identities apart needs at least 2.")
    if found < wanted:
        raise DataError(
            f"The training set has {found} identities, but a batch takes {wanted}. Choose at most --{flag} {found}."
        )


def _expect_at_least(least: int, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, got {value}.")
