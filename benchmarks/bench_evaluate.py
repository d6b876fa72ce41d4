"""Evaluation and re-ranking against the usual way of doing them: time, and peak memory above the inputs.

    python benchmarks/bench_evaluate.py [--quick] [--json]

The usual evaluation holds the whole distance matrix, sorts the indices of each row, and walks the queries one by one;
the usual re-ranking holds several full matrices of pictures by pictures. Both are written here from their description.
Every measurement is a process of its own on the same made-up features, 512 numbers a picture, and the results of both
ways are compared. What does not fit into the free memory is not run, and the table says so.
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
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from resight.environment import describe
from resight.metrics import Labels, rank, summary
from resight.neighbours import similarity_blocks
from resight.rerank import reranked_blocks

DIMENSION = 512
Inputs = tuple[NDArray[np.float32], NDArray[np.float32], Labels, Labels]


@dataclass(frozen=True)
class Size:
    """Pictures like those of a public benchmark; `distractors` of the gallery match nobody."""

    name: str
    queries: int
    gallery: int
    identities: int
    cameras: int
    distractors: int = 0


@dataclass(frozen=True)
class Measurement:
    """seconds; megabytes: peak above the loaded inputs; None where nothing was run. measured: the share of the queries.

    The usual evaluation is proportional to the number of queries, so a share is scaled up to the whole.
    """

    case: str
    way: str
    seconds: float | None
    megabytes: float | None
    measured: float
    ratio: float | None = None


MARKET = Size("as Market-1501", 3_368, 19_732, 750, 6, 3_819)
MSMT = Size("as MSMT17", 11_659, 82_161, 3_060, 15)
SMALL = Size("small", 400, 3_000, 100, 6, 500)


def draw(size: Size, folder: Path) -> None:
    """Writes seeded features around one centre an identity; pictures differ in how far they lie from it."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((size.identities, DIMENSION), dtype=np.float32)
    for side, n, n_unknown in (("query", size.queries, 0), ("gallery", size.gallery, size.distractors)):
        identities = generator.integers(0, size.identities, n)
        features = generator.standard_normal((n, DIMENSION), dtype=np.float32)
        features *= generator.uniform(1.2, 3.0, (n, 1)).astype(np.float32)
        features += centres[identities]
        unknown = generator.permutation(n)[:n_unknown]
        features[unknown] = generator.standard_normal((n_unknown, DIMENSION), dtype=np.float32)
        identities[unknown] = -1
        np.save(folder / f"{side}.npy", features / np.linalg.norm(features, axis=1, keepdims=True))
        np.save(folder / f"{side}_labels.npy", np.stack([identities, generator.integers(0, size.cameras, n)]))


def load(folder: Path, n_queries: int | None) -> Inputs:
    """query, gallery, and their labels; the first n_queries of the queries."""
    labels = [Labels(*np.load(folder / f"{side}_labels.npy")) for side in ("query", "gallery")]
    query = np.load(folder / "query.npy")[:n_queries]
    return query, np.load(folder / "gallery.npy"), labels[0].take(np.arange(len(query))), labels[1]


def evaluate(inputs: Inputs) -> dict[str, float]:
    query, gallery, query_labels, gallery_labels = inputs
    return summary(rank(similarity_blocks(query, gallery), query_labels, gallery_labels, cross_camera=True))


def evaluate_as_usual(inputs: Inputs) -> dict[str, float]:
    """Squared Euclidean distances, whole rows sorted, a loop over the queries."""
    query, gallery, query_labels, gallery_labels = inputs
    distances = query @ gallery.T
    distances *= -2
    distances += (query**2).sum(axis=1)[:, None]
    distances += (gallery**2).sum(axis=1)
    return walk(np.argsort(distances, axis=1), query_labels, gallery_labels)


def walk(order: NDArray[np.int64], query: Labels, gallery: Labels) -> dict[str, float]:
    """The usual loop over queries, given each query's gallery rows from nearest to farthest."""
    assert query.cameras is not None
    assert gallery.cameras is not None
    matches = (gallery.identities[order] == query.identities[:, None]).astype(np.int32)
    curves, precisions, penalties = [], [], []
    for q, rows in enumerate(order):
        seen = (gallery.identities[rows] == query.identities[q]) & (gallery.cameras[rows] == query.cameras[q])
        hits = matches[q][~seen]
        if not hits.any():
            continue
        so_far = hits.cumsum()
        curves.append(np.minimum(so_far, 1)[:50])
        precisions.append((so_far / np.arange(1, len(hits) + 1) * hits).sum() / hits.sum())
        penalties.append(hits.sum() / (np.flatnonzero(hits)[-1] + 1))
    curve = np.mean(curves, axis=0)
    found = {f"R{k}": float(curve[k - 1]) for k in (1, 5, 10)}
    return {"mAP": float(np.mean(precisions)), **found, "mINP": float(np.mean(penalties))}


def check_same_ranks(inputs: Inputs) -> None:
    """Both ways on the same similarities, with a stable sort: equal to the last digits."""
    query, gallery, query_labels, gallery_labels = inputs
    similarities = np.concatenate(list(similarity_blocks(query, gallery)))
    usual = walk(np.argsort(-similarities, axis=1, kind="stable"), query_labels, gallery_labels)
    ours = summary(rank([similarities], query_labels, gallery_labels, cross_camera=True))
    assert all(abs(usual[name] - ours[name]) < 1e-12 for name in usual), (usual, ours)


N_KEPT = 200  # re-ranked rows that are compared


def rerank(inputs: Inputs, k1: int, k2: int) -> NDArray[np.float32]:
    """The first rows; the others are made and dropped."""
    kept: list[NDArray[np.float32]] = []
    for block in reranked_blocks(inputs[0], inputs[1], k1=k1, k2=k2):
        kept.append(block[: max(0, N_KEPT - sum(map(len, kept)))].copy())
    return np.concatenate(kept)


def rerank_as_usual(inputs: Inputs, k1: int, k2: int) -> NDArray[np.float32]:
    """Zhong et al. 2017 with full matrices, a loop over the pictures, and a loop over each query's neighbours."""
    query, gallery = inputs[:2]
    n_query, n = len(query), len(query) + len(gallery)
    features = np.concatenate([query, gallery])
    distances = features @ features.T
    distances *= -2
    distances += 2
    distances /= distances.max(axis=1, keepdims=True)
    order = np.argsort(distances, axis=1).astype(np.int32)

    def mutual(i: int, k: int) -> NDArray[np.int32]:
        forward = order[i, : k + 1]
        returned: NDArray[np.int32] = forward[(order[forward, : k + 1] == i).any(axis=1)]
        return returned

    weights = np.zeros_like(distances)
    for i in range(n):
        near = mutual(i, k1)
        expanded = [near]
        for j in near:
            candidate = mutual(j, round(k1 / 2))
            if len(np.intersect1d(candidate, near)) > 2 / 3 * len(candidate):
                expanded.append(candidate)
        members = np.unique(np.concatenate(expanded))
        closeness = np.exp(-distances[i, members])
        weights[i, members] = closeness / closeness.sum()
    distances = distances[:n_query].copy()
    weights = np.stack([weights[rows].mean(axis=0) for rows in order[:, :k2]])
    holders = [np.flatnonzero(column) for column in weights.T]
    reranked: NDArray[np.float32] = np.empty_like(distances)
    for q in range(n_query):
        shared = np.zeros(n, np.float32)
        for member in np.flatnonzero(weights[q]):
            held = holders[member]
            shared[held] += np.minimum(weights[q, member], weights[held, member])
        reranked[q] = 0.7 * (1 - shared / (2 - shared)) + 0.3 * distances[q]
    return reranked[:N_KEPT, n_query:]


def run(
    job: Callable[..., Any], folder: Path, n_queries: int | None, arguments: tuple[int, ...]
) -> tuple[float, float, Any]:
    """Seconds, megabytes above the inputs, and the result; in this process."""
    inputs = load(folder, n_queries)
    inputs[0][:8] @ inputs[1][:8].T  # whatever libraries set up at their first product is no cost of either way
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    result = job(inputs, *arguments)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return seconds, (peak - before) / (2**20 if sys.platform == "darwin" else 2**10), result


def alone(job: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call in a new process, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(job, *arguments).result()


def free_bytes() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def compare_evaluation(size: Size, folder: Path, most_queries: int) -> list[Measurement]:
    """The usual way on at most `most_queries`, and on no more than fit: 24 bytes a pair with its temporary copies."""
    fitting = int(0.8 * free_bytes() / (24 * size.gallery))
    subset = min(size.queries, most_queries, fitting)
    case = f"evaluation {size.name}: {size.queries:,} × {size.gallery:,}"
    our_seconds, megabytes, _ = alone(run, evaluate, folder, None, ())
    ours = Measurement(case, "counted in blocks", our_seconds, megabytes, 1.0)
    on_subset = alone(run, evaluate, folder, subset, ())[2]
    seconds, megabytes, found = alone(run, evaluate_as_usual, folder, subset, ())
    assert all(abs(found[name] - on_subset[name]) < 1e-4 for name in found), (found, on_subset)
    alone(run, check_same_ranks, folder, min(subset, 200), ())
    share = subset / size.queries
    usual = Measurement(case, "argsort", seconds / share, megabytes / share, share, seconds / share / our_seconds)
    return [ours, usual]


def compare_reranking(size: Size, folder: Path, k1: int, k2: int) -> list[Measurement]:
    """The dense way only where its three to four full matrices, and the sorted indices, fit into the free memory."""
    n = size.queries + size.gallery
    case = f"re-ranking {n:,} pictures, k1 {k1}, k2 {k2}"
    our_seconds, megabytes, kept = alone(run, rerank, folder, None, (k1, k2))
    ours = Measurement(case, "sparse, streamed", our_seconds, megabytes, 1.0)
    if 24 * n * n > 0.9 * free_bytes():
        return [ours, Measurement(case, "dense: does not fit here", None, None, 0.0)]
    seconds, megabytes, dense = alone(run, rerank_as_usual, folder, None, (k1, k2))
    apart = np.abs(dense - kept)
    # rounding in float32 puts another picture into a neighbour list now and then, and moves a few distances by 1e-3
    assert np.median(apart) < 1e-6, np.median(apart)
    assert (apart > 1e-4).mean() < 0.01, (apart > 1e-4).mean()
    return [ours, Measurement(case, "dense", seconds, megabytes, 1.0, seconds / our_seconds)]


def show(measurements: list[Measurement]) -> None:
    table = Table("case", "way", "seconds", "MB above\ninputs", "times\nours")
    for m in measurements:
        scaled = "" if m.measured in (0, 1) else f" (from {100 * m.measured:.0f} % of the queries)"
        numbers = ((m.seconds, ".1f"), (m.megabytes, ",.0f"), (m.ratio, ".1f"))
        table.add_row(m.case, m.way + scaled, *("" if number is None else format(number, f) for number, f in numbers))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    measurements: list[Measurement] = []
    for size in (SMALL,) if options.quick else (MARKET, MSMT):
        with tempfile.TemporaryDirectory() as folder:
            alone(draw, size, Path(folder))
            measurements += compare_evaluation(size, Path(folder), most_queries=4_000 if size is not MSMT else 1_000)
            if size is not MSMT:
                for k1, k2 in ((20, 6), (50, 15)):
                    measurements += compare_reranking(size, Path(folder), k1, k2)
    if options.json:
        found = {"date": time.strftime("%Y-%m-%d"), "machine": describe(), "results": [asdict(m) for m in measurements]}
        print(json.dumps(found, indent=2))
    else:
        show(measurements)


if __name__ == "__main__":
    main()
