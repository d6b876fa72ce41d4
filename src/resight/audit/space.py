"""How alike labelled pictures are to their own and to other identities, by a space that was not learned from them.

An encoder's plain cosine also sees camera, light and pose. Each camera's mean is taken out, as far as it shows several
identities, and directions in which pictures of one identity differ count less (within-class whitening, the first half
of linear discriminant analysis). Identities are cut into FOLDS; those of a fold are compared in the space learned from
the other folds' labels, so that a wrong label never stretches the space it is judged in, and no picture supports
itself. Of what was compared on drawn people, vehicles and cow faces with planted faults this finds most: of swapped
labels plain cosines with an identity's mean find 0.98, 0.63 and 0.35 among as many findings as there are faults, this
0.99, 0.77 and 0.56. Means and whitening of the other four fifths of the pictures (a head cross-validated by picture)
find 0.99, 0.66 and 0.52, since they also lose a fifth of the neighbours; scaling cosines by whether two pictures share
a camera does worse (docs/results.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

FOLDS = 5
SOFTNESS = 0.1  # of the mean over pictures, in units of the cosine: small follows the most alike, large the average
BLOCK = 2**22  # cosines at a time: 16 MB
N_PAIRED = 500


def soften(cosines: Floats) -> Floats:
    """exp(cosine / SOFTNESS), to be summed for `soft_mean`; overwrites."""
    np.divide(cosines, np.float32(SOFTNESS), out=cosines)
    return np.exp(cosines, out=cosines)


def soft_mean(exponentials: Floats, counts: NDArray[np.int64]) -> Floats:
    """SOFTNESS · log of the mean of exp(cosine / SOFTNESS), of their sum and count; nan where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.where(
            counts > 0, SOFTNESS * np.log(np.maximum(exponentials, 1e-30) / np.maximum(counts, 1)), np.nan
        ).astype(np.float32)
    return found


@dataclass(frozen=True, slots=True)
class Space:
    """Labelled pictures in the order of identity, then camera, and what turns them into the space of each fold.

    vectors: float32 [N, D], the mean and what each camera adds taken out. identities: int [N], ascending from 0 without
    gaps. cameras: int [N], −1 is unknown. starts [n + 1]: where each identity begins. maps: one [D, D] a fold.
    """

    vectors: Floats
    identities: Rows
    cameras: Rows
    starts: Rows
    maps: tuple[Floats, ...]

    @classmethod
    def learn(cls, vectors: Floats, identities: Rows, cameras: Rows) -> Space:
        """vectors [N, D]; identities and cameras as in the class. Raises ValueError when identities do not ascend."""
        sizes = np.bincount(identities)
        if (np.diff(identities) < 0).any() or not sizes.all():
            raise ValueError("identities must ascend from 0 without gaps")
        starts = np.append(0, np.cumsum(sizes))
        centred = (vectors - vectors.mean(axis=0)).astype(np.float32)
        for camera in np.unique(cameras):
            here = cameras == camera
            centred[here] -= _several(identities[here]) * centred[here].mean(axis=0)
        means = np.add.reduceat(centred, starts[:-1]) / sizes[:, None].astype(np.float32)
        inside = centred - means[identities]
        n_folds = min(FOLDS, len(sizes))
        folds = identities * n_folds // len(sizes)
        several = sizes[identities] > 1
        maps = tuple(_whitening(inside[several & (folds != fold)]) for fold in range(n_folds))
        return cls(centred, identities, cameras, starts, maps)

    @property
    def n_identities(self) -> int:
        return len(self.starts) - 1

    def folds(self) -> Iterator[tuple[range, Floats]]:
        """Each fold's identities, and all pictures in its space [N, D], L2-normalised."""
        n, n_folds = self.n_identities, len(self.maps)
        for fold, to_space in enumerate(self.maps):
            placed = self.vectors @ to_space
            placed /= np.maximum(np.linalg.norm(placed, axis=1, keepdims=True), 1e-12)
            yield range(-(-fold * n // n_folds), -(-(fold + 1) * n // n_folds)), placed

    def blocks(self) -> Iterator[tuple[range, Floats]]:
        """Whole identities, and the cosines of their pictures with all [b, N]; the diagonal is −inf.

        As many identities as make BLOCK cosines, but at least one.
        """
        rows = max(1, BLOCK // len(self.vectors))
        for identities, placed in self.folds():
            first = identities.start
            while first < identities.stop:
                last = int(np.searchsorted(self.starts, self.starts[first] + rows, side="right")) - 1
                last = min(max(last, first + 1), identities.stop)
                own = slice(self.starts[first], self.starts[last])
                cosines = placed[own] @ placed.T
                cosines[np.arange(own.stop - own.start), np.arange(own.start, own.stop)] = -np.inf
                yield range(first, last), cosines
                first = last

    def rows(self, identity: int) -> slice:
        return slice(int(self.starts[identity]), int(self.starts[identity + 1]))

    def members(self, identity: int) -> Rows:
        """The rows of an identity's pictures."""
        return np.arange(self.starts[identity], self.starts[identity + 1])

    def by_camera(self, cosines: Floats, rows: slice) -> tuple[Floats, Rows]:
        """Sums of `soften` and counts [2, b, n]: of each identity's pictures by other cameras, and by the row's own.

        cosines [b, N], of these rows with all, are overwritten; −inf counts for nothing but is counted.
        """
        new = (np.diff(self.identities, prepend=-1) != 0) | (np.diff(self.cameras, prepend=-2) != 0)
        cells = np.flatnonzero(new)
        sizes = np.diff(np.append(cells, len(self.vectors)))
        in_cells = np.add.reduceat(soften(cosines), cells, axis=1, dtype=np.float64)  # differences of sums are taken
        first = np.searchsorted(cells, self.starts[:-1])
        total = np.add.reduceat(in_cells, first, axis=1)
        sums = np.stack([total, np.zeros_like(total)])
        counts = np.stack([np.broadcast_to(np.diff(self.starts), total.shape), np.zeros(total.shape, np.int64)])
        for camera in np.unique(self.cameras[rows]):
            if camera < 0:
                continue
            of_camera = np.flatnonzero(self.cameras[cells] == camera)
            seen = self.identities[cells[of_camera]]
            here = np.ix_(self.cameras[rows] == camera, seen)
            sums[1][here] = in_cells[self.cameras[rows] == camera][:, of_camera]
            counts[1][here] = sizes[of_camera]
        sums[0] = np.maximum(sums[0] - sums[1], 0)
        counts[0] -= counts[1]
        return sums, counts

    def between_identities(self) -> Floats:
        """Mean cosines of the pictures of two identities, of all pairs of at most N_PAIRED evenly spaced identities."""
        _, placed = next(self.folds())
        means = np.add.reduceat(placed, self.starts[:-1]) / np.diff(self.starts)[:, None].astype(np.float32)
        chosen = np.unique(np.linspace(0, len(means) - 1, min(N_PAIRED, len(means))).round().astype(int))
        products = means[chosen] @ means[chosen].T
        pairs: Floats = products[np.triu_indices(len(chosen), 1)]
        return pairs

    def same_camera(self, rows: slice) -> NDArray[np.bool_]:
        """Which pairs of these pictures have one known camera."""
        cameras = self.cameras[rows]
        same: NDArray[np.bool_] = (cameras[:, None] == cameras) & (cameras >= 0)
        return same


def _several(identities: Rows) -> float:
    """The chance that two pictures, drawn with replacement, show different identities: how far their mean is none's.

    The mean over one identity is that identity, and taking it out would leave nothing to compare.
    """
    n_each = np.unique(identities, return_counts=True)[1]
    return 1 - float(np.sum((n_each / len(identities)) ** 2))


def _whitening(inside: Floats) -> Floats:
    """[D, D], after which deviations from the identity's mean [M, D] have equal spread in every direction.

    The covariance is shrunk towards a ball by the oracle approximating estimate (Chen et al. 2010, arXiv 0907.4698, eq.
    23), so that few pictures of many numbers do no harm. Nothing is changed where there are no deviations.
    """
    n, width = inside.shape
    covariance = inside.T.astype(np.float64) @ inside / max(n, 1)
    total, square = np.trace(covariance), np.sum(covariance**2)
    if n < 2 or total < 1e-12:
        return np.eye(width, dtype=np.float32)
    above = (1 - 2 / width) * square + total**2
    below = (n + 1 - 2 / width) * (square - total**2 / width)
    share = 1.0 if below <= 0 else min(1.0, above / below)
    values, directions = np.linalg.eigh((1 - share) * covariance + share * total / width * np.eye(width))
    scaled: Floats = (directions / np.sqrt(np.maximum(values, 1e-12))).astype(np.float32)
    return scaled
