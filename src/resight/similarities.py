"""Similarities of pairs of the same and of different individuals, however many: the highest exactly, the rest counted.

20,000 pictures are 200 million pairs. The few that a low rate of false matches depends on are kept with the identities
of both members, for drawing them again; all others are counted in fine bins, in blocks of pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 2**22  # similarities at a time, 16 MB, and a few times that in masks
PART = 2**16  # pairs that are weighed at a time; more than the processor's cache holds takes ten times as long
N_BINS = 20_000  # of -1 to 1, so that a bin is 1e-4 wide
EDGES = np.linspace(-1, 1, N_BINS + 1)


def binned(similarities: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """How many of the similarities lie in each bin [N_BINS]; rounding may have put some beyond -1 or 1."""
    bins = ((similarities + np.float32(1)) * np.float32(N_BINS / 2)).astype(np.int32)
    return np.bincount(np.clip(bins, 0, N_BINS - 1), minlength=N_BINS)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What is known of the rows of one side, as integers that mean the same on both sides.

    identities [N]: from 0 on. cameras [N]: -1 is unknown and equals no other. pictures [N]: the file that a row shows
    or was written for, from 0 on.
    """

    identities: NDArray[np.int64]
    cameras: NDArray[np.int64]
    pictures: NDArray[np.int64]

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name).shape != self.identities.shape:
                raise ValueError(f"{field.name} has shape {getattr(self, field.name).shape}, not one entry a row")
        if min(self.identities.min(initial=0), self.pictures.min(initial=0)) < 0:
            raise ValueError("a row of unknown identity or picture is the same as nobody; leave it out")

    def take(self, rows: NDArray[np.int64]) -> Sample:
        """What is known of some rows."""
        return Sample(self.identities[rows], self.cameras[rows], self.pictures[rows])


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows of `one` with rows of `other`; where that is None, any two rows of `one`, each pair once.

    Different individuals are paired unless both rows are of one file. Of the same individual are the pairs that differ
    in each of the columns `apart` of their samples: pictures, or pictures and cameras; one sample needs pictures.
    """

    one: Sample
    other: Sample | None
    apart: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.other is None and "pictures" not in self.apart:
            raise ValueError("a row is no pair with itself: one sample is compared apart in pictures")

    @property
    def second(self) -> Sample:
        return self.one if self.other is None else self.other

    @cached_property
    def n_identities(self) -> int:
        """G, of both sides together."""
        sides = (self.one.identities, self.second.identities)
        return 1 + max((int(identities.max(initial=-1)) for identities in sides), default=-1)

    def n_same(self) -> NDArray[np.int64]:
        """Pairs of the same individual, for each [G]."""
        n = self._alike("identities")
        for column in self.apart:
            n = n - self._alike("identities", column)
        if len(self.apart) == 2:  # what is alike in both was taken off twice
            n = n + self._alike("identities", *self.apart)
        return n // 2 if self.other is None else n

    def _alike(self, *columns: str) -> NDArray[np.int64]:
        """For each identity [G], pairs of rows that agree in all columns, of which identities is one; -1 is unlike."""
        sides = [np.stack([getattr(side, column) for column in columns], axis=1) for side in (self.one, self.second)]
        keys, of = np.unique(np.concatenate(sides), axis=0, return_inverse=True)
        n_one, n_second = (
            np.bincount(part, minlength=len(keys)) for part in np.split(of.reshape(-1), [len(self.one.identities)])
        )
        n = np.where((keys >= 0).all(axis=1), n_one * n_second, 0)
        found = np.zeros(self.n_identities, np.int64)
        np.add.at(found, keys[:, columns.index("identities")], n)
        return found

    def n_different(self, weights: NDArray[np.floating[Any]] | None = None) -> float:
        """Pairs of different individuals; with weights [G], the sum over them of the product of both's."""
        w = np.ones(self.n_identities) if weights is None else np.asarray(weights, np.float64)
        n_pictures = 1 + max(int(side.pictures.max(initial=-1)) for side in (self.one, self.second))
        one, second = (
            np.bincount(side.pictures, weights=w[side.identities], minlength=n_pictures)
            for side in (self.one, self.second)
        )
        same = w**2 @ (self._of_identity - self._of_identity_and_picture)
        n = one.sum() * second.sum() - one @ second - same
        return float(n / 2 if self.other is None else n)

    @cached_property
    def _of_identity(self) -> NDArray[np.int64]:
        return self._alike("identities")

    @cached_property
    def _of_identity_and_picture(self) -> NDArray[np.int64]:
        return self._alike("identities", "pictures")

    def same(self, one: NDArray[np.float32], second: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """An identity and similarities of its pairs, as many times as it takes to name all pairs.

        one, second: the vectors of both sides, of length 1; the same twice where there is one sample.
        """
        of_one, of_second = (_rows_of(side.identities, self.n_identities) for side in (self.one, self.second))
        for identity, (mine, theirs) in enumerate(zip(of_one, of_second, strict=True)):
            step = max(1, BLOCK // max(1, len(theirs)))
            for start in range(0, len(mine), step):
                rows = mine[start : start + step]
                apart = np.ones((len(rows), len(theirs)), dtype=bool)
                for column in self.apart:
                    left, right = getattr(self.one, column)[rows, None], getattr(self.second, column)[theirs]
                    apart &= (left != right) | (left < 0)
                if self.other is None:
                    apart &= rows[:, None] < theirs
                if apart.any():
                    yield identity, (one[rows] @ second[theirs].T)[apart]

    def different(self, one: NDArray[np.float32], second: NDArray[np.float32], *, n_kept: int) -> Different:
        """Similarities of all pairs of different individuals, the n_kept highest exactly; vectors as in `same`."""
        found = _Highest(n_kept)
        step = max(1, BLOCK // max(1, len(second)))
        for start in range(0, len(one), step):
            rows = slice(start, start + step)
            columns = slice(start if self.other is None else 0, None)
            block = one[rows] @ second[columns].T
            mine, theirs = self.one.identities[rows], self.second.identities[columns]
            apart = mine[:, None] != theirs
            apart &= self.one.pictures[rows, None] != self.second.pictures[columns]
            if self.other is None:
                apart[:, : len(mine)] &= np.tri(len(mine), k=-1, dtype=bool).T
            found.add(block, apart, mine, theirs)
        return found.all()


def _rows_of(identities: NDArray[np.int64], n_identities: int) -> list[NDArray[np.int64]]:
    order = np.argsort(identities, kind="stable")
    return np.split(order, np.searchsorted(identities[order], np.arange(1, n_identities)))


class _Highest:
    """Gathers similarities: the highest with the identities of both members, all of them in bins."""

    def __init__(self, n_kept: int) -> None:
        self._n_kept = n_kept
        self._floor = -np.inf
        self._n_held = 0
        self._held: list[tuple[NDArray[Any], ...]] = []
        self._counts = np.zeros(N_BINS, np.int64)

    def add(
        self, block: NDArray[np.float32], apart: NDArray[np.bool_], mine: NDArray[np.int64], theirs: NDArray[np.int64]
    ) -> None:
        self._counts += binned(block[apart])
        row, column = np.nonzero(apart & (block >= self._floor))
        self._held.append((block[row, column], mine[row].astype(np.int32), theirs[column].astype(np.int32)))
        self._n_held += len(row)
        if self._n_held > 2 * self._n_kept:
            self._cut()

    def _cut(self) -> None:
        values, first, second = (np.concatenate(column) for column in zip(*self._held, strict=True))
        kept = np.argpartition(-values, min(self._n_kept, len(values)) - 1)[: self._n_kept]
        self._held = [(values[kept], first[kept], second[kept])]
        self._n_held = len(kept)
        self._floor = values[kept].min(initial=np.inf) if len(kept) == self._n_kept else -np.inf

    def all(self) -> Different:
        self._cut()
        values, first, second = self._held[0]
        order = np.argsort(-values, kind="stable")
        return Different(values[order], first[order], second[order], self._counts)


@dataclass(frozen=True, eq=False)
class Different:
    """Similarities of pairs of different individuals.

    values [K]: the highest, falling. first, second [K]: the identities of both members. counts: all pairs in bins.
    """

    values: NDArray[np.float32]
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    counts: NDArray[np.int64]

    def at_rates(
        self, rates: Sequence[float], *, total: float, weights: NDArray[np.floating[Any]] | None = None
    ) -> NDArray[np.float64]:
        """For each rate, the lowest similarity that no more than this share of the pairs reaches: [R].

        It lies in the middle between two pairs, and above every pair where even the highest are too many. A pair counts
        as often as the weights [G] of its members multiply to; total: the sum of that over all pairs. Below the pairs
        that were kept the weights are taken as equal, and the bins as even inside.
        """
        found = np.empty(len(rates))
        waiting = sorted(range(len(rates)), key=lambda n: rates[n], reverse=True)  # the strictest last: it is met first
        reached = 0.0
        for start in range(0, len(self.values), PART):
            sums = reached + np.cumsum(self._weights(slice(start, start + PART), weights), dtype=np.float64)
            while waiting and (allowed := rates[waiting[-1]] * total * (1 + 1e-12)) < sums[-1]:
                found[waiting.pop()] = self._above(start + int(np.searchsorted(sums, allowed, side="right")))
            reached = float(sums[-1])
            if not waiting:
                break
        for n in waiting:
            found[n] = self._below(rates[n] * total - reached, total - reached)
        return found

    def _weights(self, part: slice, weights: NDArray[np.floating[Any]] | None) -> NDArray[np.floating[Any]]:
        if weights is None:
            return np.ones(len(self.values[part]))
        product: NDArray[np.floating[Any]] = weights[self.first[part]] * weights[self.second[part]]
        return product

    def _above(self, at: int) -> float:
        """Between the pair `at`, which is one too many, with all that equal it, and the next higher one."""
        start = self._starts[np.searchsorted(self._starts, at, side="right") - 1]
        refused = self.values[start]
        if start == 0:
            return float(np.nextafter(refused, np.float32(np.inf)))
        return (float(self.values[start - 1]) + float(refused)) / 2

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """Where runs of equal values start."""
        return np.flatnonzero(np.r_[True, self.values[1:] != self.values[:-1]])

    def _below(self, allowed: float, rest: float) -> float:
        reached = self._reached_below
        share = allowed / rest if rest > 0 else 1.0
        return float(min(np.interp(share * reached[-1], reached, EDGES[::-1]), self.values[-1]))

    @cached_property
    def _reached_below(self) -> NDArray[np.float64]:
        """How many of the pairs that were not kept lie above each edge, from 1 down."""
        below: NDArray[np.int64] = (self.counts - binned(self.values))[::-1]
        return np.concatenate([[0.0], np.cumsum(below, dtype=np.float64)])
