"""Clustering against the usual way with full matrices: time, and peak memory above the features.

    python benchmarks/bench_cluster.py [--quick | --large] [--json]

The usual way holds several matrices of pictures by pictures: similarities, neighbourhood weights, Jaccard distances. It
is written here from its description, and runs at the smaller size only; both ways must give the same clusters. Every
measurement is a process of its own on the same made-up features, 1280 numbers a picture as of CLIP's ViT-B/16. --large:
200,000 pictures, ours alone; half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from bench_evaluate import alone
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score

from resight.cluster import ClusterConfig, cluster, compare, summary
from resight.environment import describe

DIMENSION = 1280
INNER = 64  # numbers that the features vary in, but for a little noise; real ones too lie near few dimensions
CONFIG = ClusterConfig()


@dataclass(frozen=True)
class Size:
    """Pictures like those of a public training set."""

    name: str
    pictures: int
    identities: int
    cameras: int


@dataclass(frozen=True)
class Measurement:
    """processor_seconds: of all cores together, which other programs hardly change. megabytes: peak above the features.
    f_measure: over pairs, against the identities that were drawn. ratio: of the seconds to ours."""

    case: str
    way: str
    seconds: float
    processor_seconds: float
    megabytes: float
    n_clusters: int
    n_outliers: int
    eps: float
    f_measure: float
    ratio: float | None = None


MARKET = Size("as Market-1501", 12_936, 751, 6)
MSMT = Size("as MSMT17", 32_621, 1_041, 15)
LARGE = Size("large", 200_000, 10_000, 20)
SMALL = Size("small", 2_000, 100, 6)


def draw(size: Size, folder: Path) -> None:
    """Writes seeded features: a centre an identity, a shift a camera and one a camera's view of an identity, and noise
    of a strength of its own for each picture."""
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return generator.standard_normal(shape, dtype=np.float32)

    identities = generator.integers(0, size.identities, size.pictures)
    cameras = generator.integers(0, size.cameras, size.pictures)
    shifts, views = normal(size.cameras, INNER) / 2, normal(size.identities, size.cameras, INNER) / 2
    inner = normal(size.identities, INNER)[identities] + shifts[cameras] + views[identities, cameras]
    inner += np.float32(0.7) * np.exp(np.float32(0.3) * normal(size.pictures, 1)) * normal(size.pictures, INNER)
    features = inner @ (normal(INNER, DIMENSION) / np.float32(INNER**0.5))
    for start in range(0, size.pictures, 10_000):
        features[start : start + 10_000] += np.float32(0.3) * normal(*features[start : start + 10_000].shape)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    np.save(folder / "features.npy", features)
    np.save(folder / "identities.npy", identities)


Labels = tuple[NDArray[np.int64], float]


def ours(features: NDArray[np.float32]) -> Labels:
    found = cluster(features, CONFIG)
    return found.labels, found.eps


def ours_auto(features: NDArray[np.float32]) -> Labels:
    found = cluster(features, ClusterConfig(eps="auto"))
    return found.labels, found.eps


def as_usual(features: NDArray[np.float32]) -> Labels:
    """Zhong et al. 2017 with k1 neighbours and full matrices, loops over the pictures, DBSCAN on all distances."""
    k1, k2, eps = CONFIG.k1, CONFIG.k2, CONFIG.eps
    assert eps != "auto"
    n = len(features)
    similarities = features @ features.T
    np.fill_diagonal(similarities, 2)  # first in its own list
    near = np.argpartition(-similarities, k1, axis=1)[:, :k1]
    near = np.take_along_axis(near, np.argsort(-np.take_along_axis(similarities, near, 1), axis=1), 1)
    np.fill_diagonal(similarities, 1)

    def mutual(i: int, k: int) -> NDArray[np.int64]:
        forward = near[i, :k]
        returned: NDArray[np.int64] = forward[(near[forward, :k] == i).any(axis=1)]
        return returned

    whole = [mutual(i, k1) for i in range(n)]
    half = [mutual(i, round(k1 / 2) + 1) for i in range(n)]
    weights = np.zeros((n, n), np.float32)
    for i in range(n):
        shared = [half[j] for j in whole[i] if len(np.intersect1d(half[j], whole[i])) > 2 / 3 * len(half[j])]
        members = np.unique(np.concatenate([whole[i], *shared]))
        closeness = np.exp(-(2 - 2 * similarities[i, members]))
        weights[i, members] = closeness / closeness.sum()
    weights = np.stack([weights[rows].mean(axis=0) for rows in near[:, :k2]])
    holders = [np.flatnonzero(column) for column in weights.T]
    distances = np.zeros((n, n), np.float32)
    for i in range(n):
        both = np.zeros(n, np.float32)
        for member in np.flatnonzero(weights[i]):
            held = holders[member]
            both[held] += np.minimum(weights[i, member], weights[held, member])
        distances[i] = 1 - both / (2 - both)
    distances[distances < 0] = 0
    return DBSCAN(eps=eps, min_samples=CONFIG.min_samples, metric="precomputed").fit_predict(distances), eps


def measure(way: Callable[[NDArray[np.float32]], Labels], folder: Path) -> tuple[float, float, float, Labels]:
    """Seconds, processor seconds, megabytes above the features, and the labels; in this process."""
    features = np.load(folder / "features.npy")
    ours(features[:50])  # whatever libraries set up at their first call is no cost of either way
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, processor = time.perf_counter(), time.process_time()
    labels = way(features)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return seconds, processor, (peak - before) / (2**20 if sys.platform == "darwin" else 2**10), labels


def compare_ways(
    size: Size, folder: Path, ways: dict[str, Callable[[NDArray[np.float32]], Labels]]
) -> list[Measurement]:
    identities = [str(identity) for identity in np.load(folder / "identities.npy")]
    case = f"{size.name}: {size.pictures:,} pictures, {size.identities:,} identities"
    found: dict[str, tuple[float, float, float, Labels]] = {
        name: alone(measure, way, folder) for name, way in ways.items()
    }
    if "full matrices" in found:
        usual, here = (found[name][3][0] for name in ("full matrices", "sparse, eps 0.6"))
        assert ((usual < 0) == (here < 0)).all()
        assert adjusted_rand_score(usual, here) == 1
    measurements = []
    for name, (seconds, processor, megabytes, (labels, eps)) in found.items():
        outcome, truth = summary(labels), compare(labels, identities)
        assert truth is not None
        ratio = seconds / found["sparse, eps 0.6"][0] if name == "full matrices" else None
        counts = (outcome.n_clusters, outcome.n_outliers, eps, truth.f_measure)
        measurements.append(Measurement(case, name, seconds, processor, megabytes, *counts, ratio))
    return measurements


def show(measurements: list[Measurement]) -> None:
    table = Table(
        "case",
        "way",
        "seconds",
        "processor\nseconds",
        "MB above\nfeatures",
        "times\nours",
        "clusters",
        "outliers",
        "eps",
        "pairwise F",
    )
    for m in measurements:
        ratio = "" if m.ratio is None else f"{m.ratio:.1f}"
        found = (f"{m.n_clusters:,}", f"{m.n_outliers:,}", f"{m.eps:.3f}", f"{m.f_measure:.3f}")
        table.add_row(
            m.case, m.way, f"{m.seconds:.1f}", f"{m.processor_seconds:.1f}", f"{m.megabytes:,.0f}", ratio, *found
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small size")
    parser.add_argument("--large", action="store_true", help="200,000 pictures")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    load = os.getloadavg()
    sizes = (SMALL,) if options.quick else (LARGE,) if options.large else (MARKET, MSMT)
    measurements: list[Measurement] = []
    for size in sizes:
        sparse_ways = {"sparse, eps 0.6": ours, "sparse, eps auto": ours_auto}
        ways = {"sparse, eps auto": ours_auto} if size is LARGE else sparse_ways
        if size in (SMALL, MARKET):
            ways = {**ways, "full matrices": as_usual}
        with tempfile.TemporaryDirectory() as folder:
            alone(draw, size, Path(folder))
            measurements += compare_ways(size, Path(folder), ways)
    if options.json:
        about = {"date": time.strftime("%Y-%m-%d"), "machine": describe(), "load of the machine before": load}
        print(json.dumps({**about, "results": [asdict(m) for m in measurements]}, indent=2))
    else:
        show(measurements)


if __name__ == "__main__":
    main()
