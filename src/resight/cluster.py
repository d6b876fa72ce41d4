"""Pictures without identities → clusters that stand for them: DBSCAN on the Jaccard distances of neighbourhoods.

As ClusterContrast (Dai et al. 2022, arXiv 2103.11568) and PCL-CLIP without labels (Li and Gong 2023, arXiv 2310.17218)
group their training pictures before every epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from resight.errors import ConfigError
from resight.neighbours import jaccard_graph

PUBLISHED_EPS = 0.6  # ClusterContrast's
TRIED_EPS = np.arange(4, 35) / 40  # 0.1 to 0.85
REACH = 0.9  # pairs farther apart are not looked at when eps is chosen


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """How pictures become clusters. The published values are those of the methods' public code."""

    k1: int = 30
    """Neighbours that make a picture's neighbourhood, itself among them; about as many as an identity has pictures
    (ClusterContrast: 30; CAP, O2CAP: 20)."""
    k2: int = 6
    """Neighbours that a neighbourhood is averaged over (all: 6)."""
    eps: float | Literal["auto"] = PUBLISHED_EPS
    """Jaccard distance, 0 to 1, up to which two pictures are neighbours (ClusterContrast: 0.6; CAP, O2CAP: 0.5; with
    CLIP: 0.4 on Market-1501, 0.7 on MSMT17), or auto: chosen from the pictures."""
    min_samples: int = 4
    """Pictures within eps, itself among them, that make a picture the core of a cluster (all: 4)."""

    def __post_init__(self) -> None:
        for name in ("k1", "k2", "min_samples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 1.")
        if self.k2 > self.k1:
            raise ConfigError(f"--k2 {self.k2}: at most the {self.k1} of --k1.")
        if self.eps != "auto" and not (isinstance(self.eps, float) and 0 < self.eps < 1):
            raise ConfigError(f"--eps {self.eps}: a number between 0 and 1, or auto.")


@dataclass(frozen=True, slots=True)
class Clusters:
    """labels: int64 [N], from 0 on in the order of their first pictures; -1 is an outlier. eps: the one used."""

    labels: NDArray[np.int64]
    eps: float


def cluster(features: NDArray[np.floating[Any]], config: ClusterConfig, *, device: str = "cpu") -> Clusters:
    """The pictures' clusters. features [N, D], L2-normalised.

    k1 and k2 are cut to N. A picture that is no core joins, of the clusters with a core within eps of it, the first.
    eps "auto" is the one of TRIED_EPS at which clusters are farthest apart by `_separation`, and PUBLISHED_EPS where
    none gives two clusters. Of what was compared this stays nearest to the best eps over drawn and real features; the
    largest number of clusters does as well on real ones but takes too small an eps for tight identities, and the elbow
    of the distances, modularity and the stability between neighbouring eps end in few giant clusters.
    Raises ValueError for a vector that is not of length 1.
    """
    if not len(features):
        return Clusters(np.empty(0, np.int64), PUBLISHED_EPS if config.eps == "auto" else config.eps)
    k1 = min(config.k1, len(features))
    graph = jaccard_graph(
        features.astype(np.float32, copy=False),
        k1=k1,
        k2=min(config.k2, k1),
        eps=REACH if config.eps == "auto" else config.eps,
        device=device,
    )
    eps = _choose_eps(graph, config.min_samples) if config.eps == "auto" else config.eps
    return Clusters(_dbscan(graph, eps, config.min_samples), eps)


def _dbscan(graph: sparse.csr_matrix, eps: float, min_samples: int) -> NDArray[np.int64]:
    from sklearn.cluster import DBSCAN  # a second to import

    found = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit_predict(graph)
    names, first, places = np.unique(found, return_index=True, return_inverse=True)
    order = np.argsort(np.where(names < 0, -1, first))  # outliers, if any, come first
    numbers = np.empty(len(names), np.int64)
    numbers[order] = np.arange(len(names)) - (names < 0).any()
    return numbers[places]


def _choose_eps(graph: sparse.csr_matrix, min_samples: int) -> float:
    """The eps with the largest separation; of equals the smallest."""
    alike = graph.copy()
    alike.data = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr)) != graph.indices  # nobody resembles itself
    alike.data = alike.data * (1 - graph.data)
    separations = [_separation(alike, _dbscan(graph, eps, min_samples)) for eps in TRIED_EPS]
    return float(TRIED_EPS[np.argmax(separations)]) if max(separations) > 0 else PUBLISHED_EPS


def _separation(alike: sparse.csr_matrix, labels: NDArray[np.int64]) -> float:
    """Mean over pictures of their mean similarity to their own cluster, minus the largest to another; -1 to 1.

    alike [N, N]: similarities 1 − Jaccard distance, 0 where not stored and of a picture with itself. An outlier counts
    as 0, and so do all pictures of fewer than two clusters. The numerator of the silhouette (Rousseeuw 1987, J. Comput.
    Appl. Math. 20, with clusters' means), so that pictures in loose clusters count less.
    """
    members = np.flatnonzero(labels >= 0)
    sizes = np.bincount(labels[members])
    if len(sizes) < 2:
        return 0.0
    cells = (np.ones(len(members), np.float32), (members, labels[members]))
    to_clusters = (alike @ sparse.csr_matrix(cells, shape=(len(labels), len(sizes)))).tocsr()
    own = np.repeat(labels, np.diff(to_clusters.indptr)) == to_clusters.indices
    within = to_clusters.data[own] / np.maximum(sizes[to_clusters.indices[own]] - 1, 1)
    to_clusters.data = np.where(own, 0, to_clusters.data / sizes[to_clusters.indices])
    beside = to_clusters.max(axis=1).toarray().ravel()[members]
    return float((within.sum() - beside.sum()) / len(labels))


@dataclass(frozen=True, slots=True)
class Summary:
    """largest: pictures of the largest cluster. share_used: of the pictures, 0 to 1, those in clusters. agreement:
    adjusted Rand index, 1 at best and about 0 by chance, with the partition before, over pictures clustered in both;
    None where there is none."""

    n_clusters: int
    n_outliers: int
    largest: int
    share_used: float
    agreement: float | None

    def __str__(self) -> str:
        said = (
            f"{self.n_clusters:,} clusters, the largest of {self.largest:,} pictures; "
            f"{self.n_outliers:,} outliers, {100 * self.share_used:.1f} % of the pictures used"
        )
        return said if self.agreement is None else f"{said}; agreement with the clusters before {self.agreement:.3f}"


def summary(labels: NDArray[np.int64], before: NDArray[np.int64] | None = None) -> Summary:
    """What came out. labels [N], before [N], the pictures' clusters at an earlier time: numbers, -1 is an outlier."""
    sizes = np.bincount(labels[labels >= 0])
    n_used = int(sizes.sum())
    agreement = None
    if before is not None and (both := (labels >= 0) & (before >= 0)).any():
        from sklearn.metrics import adjusted_rand_score

        agreement = float(adjusted_rand_score(before[both], labels[both]))
    return Summary(
        n_clusters=int((sizes > 0).sum()),
        n_outliers=len(labels) - n_used,
        largest=int(sizes.max(initial=0)),
        share_used=n_used / max(1, len(labels)),
        agreement=agreement,
    )


@dataclass(frozen=True, slots=True)
class Truth:
    """How well clusters agree with identities, over the n_pictures whose identity is known; an outlier stands alone.

    adjusted_rand: 1 at best, about 0 by chance. precision: share of the pairs of one cluster that show one identity;
    recall: the reverse; both 1 where there is no such pair. f_measure: their harmonic mean.
    """

    adjusted_rand: float
    f_measure: float
    precision: float
    recall: float
    n_pictures: int

    def __str__(self) -> str:
        return (
            f"adjusted Rand index {self.adjusted_rand:.3f}, pairwise F-measure {self.f_measure:.3f} "
            f"(precision {self.precision:.3f}, recall {self.recall:.3f}) over {self.n_pictures:,} pictures"
        )


def compare(labels: NDArray[np.int64], identities: Sequence[str | None]) -> Truth | None:
    """The agreement of labels [N] with identities [N]; None where no identity is known."""
    from sklearn.metrics import adjusted_rand_score

    known = np.array([identity is not None for identity in identities], dtype=bool)
    if not known.any():
        return None
    alone = np.where(labels < 0, labels.max() + 1 + np.arange(len(labels)), labels)[known]
    true = np.unique([identity for identity in identities if identity is not None], return_inverse=True)[1]
    n_clustered, n_true = _pairs(alone), _pairs(true)
    n_both = _pairs(true * np.int64(alone.max() + 1) + alone)
    precision, recall = n_both / n_clustered if n_clustered else 1.0, n_both / n_true if n_true else 1.0
    harmonic = 2 * n_both / (n_clustered + n_true) if n_clustered + n_true else 1.0
    return Truth(float(adjusted_rand_score(true, alone)), harmonic, precision, recall, len(alone))


def _pairs(groups: NDArray[np.int64]) -> int:
    sizes = np.unique(groups, return_counts=True)[1]
    return int((sizes * (sizes - 1) // 2).sum())
