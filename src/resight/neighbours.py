"""Exact nearest neighbours in blocks, and the Jaccard distance of k-reciprocal neighbourhoods as sparse matrices.

Two pictures are alike when they stand in each other's neighbour lists, and more so when they share neighbours (Zhong et
al. 2017, arXiv 1701.08398). Re-ranking and clustering both compare pictures by that distance. Each picture has a few
hundred neighbours at most, so nothing here holds a full matrix of pictures by pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

T = TypeVar("T")

BLOCK = 3 * 2**22  # numbers at a time, 48 MB in float32; below 32 MB the C library keeps freed blocks, and they pile up
PART = 2**21  # numbers at a time for work that gathers and scatters: with more it takes up to four times as long


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest gallery rows of each query, nearest first.

    rows: int64 [Q, k]; similarities: float32 [Q, k]. farthest: float32 [Q], the largest distance 2 − 2 cosine to any
    gallery row; never quite 0, since others are divided by it.
    """

    rows: NDArray[np.int64]
    similarities: NDArray[np.float32]
    farthest: NDArray[np.float32]


def similarity_blocks(
    query: NDArray[np.floating[Any]],
    gallery: NDArray[np.floating[Any]],
    *,
    block_rows: int | None = None,
    device: str = "cpu",
) -> Iterator[NDArray[np.float32]]:
    """Inner products of query rows with the whole gallery, as float32 [b, G] from the first query to the last.

    query [Q, D], gallery [G, D]; cosines when both are L2-normalised. Half precision is cast up before the product,
    since similarities in half precision tie. block_rows: by default as many as make 48 MB.
    """
    for block in _products(query, gallery, block_rows, device):
        yield block.cpu().numpy()


def _products(
    query: NDArray[np.floating[Any]], gallery: NDArray[np.floating[Any]], block_rows: int | None, device: str
) -> Iterator[Tensor]:
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ValueError(f"query {query.shape} and gallery {gallery.shape} are not two lists of vectors of one length")
    rows = block_rows or max(1, BLOCK // max(1, len(gallery)))
    columns = _tensor(gallery, device).T
    for start in range(0, len(query), rows):
        yield _tensor(query[start : start + rows], device) @ columns


def _tensor(vectors: NDArray[np.floating[Any]], device: str) -> Tensor:
    """float32; copied where torch cannot look at the array itself: read-only, reversed, of another type."""
    return torch.from_numpy(np.require(vectors, np.float32, ["C", "W"])).to(device)


def nearest_neighbours(
    query: NDArray[np.floating[Any]],
    gallery: NDArray[np.floating[Any]],
    k: int,
    *,
    own_rows: NDArray[np.integer[Any]] | None = None,
    device: str = "cpu",
) -> Neighbours:
    """The min(k, G) gallery rows most similar to each query; of equals, those first in the gallery.

    query [Q, D], gallery [G, D], L2-normalised. own_rows [Q]: the gallery row that is the query itself; it comes first
    even before an exact copy. Raises ValueError for a vector that is not of length 1, for an empty gallery, and for k
    below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}; at least one neighbour must be asked for")
    if not len(gallery):
        raise ValueError("the gallery is empty, so nothing has a neighbour")
    _check_unit_length(query, "query")
    if gallery is not query:
        _check_unit_length(gallery, "gallery")
    k = min(k, len(gallery))
    found = Neighbours(
        np.empty((len(query), k), np.int64), np.empty((len(query), k), np.float32), np.empty(len(query), np.float32)
    )
    start = 0
    for block in _products(query, gallery, None, device):
        here = slice(start, start + len(block))
        found.farthest[here] = (2 - 2 * block.amin(dim=1)).clamp(min=torch.finfo(torch.float32).tiny).cpu()
        own = None if own_rows is None else torch.from_numpy(np.asarray(own_rows[here], dtype=np.int64)).to(device)
        found.rows[here], found.similarities[here] = _largest(block, k, own)
        start += len(block)
    return found


def _largest(block: Tensor, k: int, own: Tensor | None) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Columns and values of the k largest of each row, largest first, lower column first among equals.

    block [b, G] is overwritten at `own`. The k-th largest of the maxima of disjoint pieces bounds the k-th largest of
    the row from below, so that few columns are left to sort; topk would look longer and break ties at random.
    """
    line = torch.arange(len(block), device=block.device)
    if own is not None:
        own_values = block[line, own].cpu().numpy()
        block[line, own] = torch.inf
    n_pieces = block.shape[1] // max(1, block.shape[1] // (16 * k))
    depth = block.shape[1] // n_pieces
    maxima = block[:, : depth * n_pieces].view(len(block), depth, n_pieces).amax(dim=1)
    bound = maxima.topk(k, dim=1).values[:, -1:]
    at = np.flatnonzero((block >= bound).cpu().numpy())  # many times faster than torch's nonzero
    values = block.view(-1)[torch.from_numpy(at).to(block.device)].cpu().numpy()
    lines, columns = np.divmod(at, block.shape[1])
    order = np.lexsort((columns, -values, lines))
    picked = order[np.searchsorted(lines, np.arange(len(block)))[:, None] + np.arange(k)]
    largest = values[picked]
    if own is not None:
        largest[:, 0] = own_values
    return columns[picked], largest


def _check_unit_length(features: NDArray[np.floating[Any]], name: str) -> None:
    """Raises ValueError unless every row is a finite vector of length 1, to the precision of float16."""
    lengths = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float32))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < 2e-3))
    if len(wrong):
        raise ValueError(f"{name} row {wrong[0]} has length {lengths[wrong[0]]:.4g}; the rows must be L2-normalised")


def reciprocal_weights(
    features: NDArray[np.floating[Any]], neighbours: Neighbours, *, k1: int, k2: int, relative: bool
) -> sparse.csr_matrix:
    """Each picture as weights over its expanded k-reciprocal neighbourhood: float32 [N, N], rows sum to 1.

    features [N, D]. neighbours: of each of them, itself first; as many as there are count as neighbourhood (re-ranking
    takes k1 + 1, clustering k1). A member's own neighbourhood, of round(k1 / 2) + 1, is added where more than two
    thirds of it are shared. A weight falls with exp(-d), d = 2 − 2 cosine, divided with `relative` by the picture's
    largest d to any; then each row becomes the mean over its first k2 neighbours. Raises ValueError unless 1 <= k2 <=
    k1.
    """
    if not 1 <= k2 <= k1:
        raise ValueError(f"k1 is {k1} and k2 is {k2}; needed are 1 <= k2 <= k1")
    rows = neighbours.rows
    weights = _expand(_reciprocal(rows), _reciprocal(rows[:, : round(k1 / 2) + 1]))
    per_row = np.diff(weights.indptr)
    distances = np.maximum(2 - 2 * _cosines(features, neighbours, weights), 0)
    if relative:
        distances /= np.repeat(neighbours.farthest, per_row)
    closeness = np.exp(-distances)
    weights.data = closeness / np.repeat(np.add.reduceat(closeness, weights.indptr[:-1]), per_row)
    first = rows[:, :k2]
    return _lists(first, np.float32(1 / first.shape[1])) @ weights


def _lists(rows: NDArray[np.int64], value: np.float32 | np.int32) -> sparse.csr_matrix:
    """[N, N], `value` at each picture's neighbours."""
    n, k = rows.shape
    indptr = np.arange(0, n * k + 1, k)
    return sparse.csr_matrix((np.full(n * k, value), rows.ravel().astype(np.int32), indptr), shape=(n, n))


def _reciprocal(rows: NDArray[np.int64]) -> sparse.csr_matrix:
    """int32 [N, N], 1 where two pictures stand in each other's lists."""
    lists = _lists(rows, np.int32(1))
    return lists.multiply(lists.T.tocsr()).tocsr()


def _expand(whole: sparse.csr_matrix, half: sparse.csr_matrix) -> sparse.csr_matrix:
    """Neighbourhoods `whole`, with those `half` ones of their members that they share by more than two thirds."""
    sizes, columns = np.diff(half.indptr), half.T.tocsr()
    expanded = []
    for start in range(0, whole.shape[0], 4096):
        part = whole[start : start + 4096]
        members = (part @ columns).multiply(part).tocsr()
        members.data = (3 * members.data > 2 * sizes[members.indices]).astype(np.int32)
        expanded.append(part + members @ half)
    both = sparse.vstack(expanded, format="csr")
    both.eliminate_zeros()
    return both.astype(np.float32)


def _cosines(
    features: NDArray[np.floating[Any]], neighbours: Neighbours, pairs: sparse.csr_matrix
) -> NDArray[np.float32]:
    """[nnz], the cosine of each stored pair; nearly all are known from the search for neighbours."""
    n, lines = len(features), np.repeat(np.arange(len(features)), np.diff(pairs.indptr))
    known = (np.arange(n)[:, None] * n + neighbours.rows).ravel()
    order = np.argsort(known)
    at = order[np.searchsorted(known, lines * n + pairs.indices, sorter=order).clip(max=len(known) - 1)]
    cosines: NDArray[np.float32] = neighbours.similarities.ravel()[at]
    missing = np.flatnonzero(known[at] != lines * n + pairs.indices)
    for part in np.array_split(missing, 1 + len(missing) * features.shape[1] // PART):
        vectors = (features[ends[part]].astype(np.float32, copy=False) for ends in (lines, pairs.indices))
        cosines[part] = np.einsum("nd,nd->n", *vectors)
    return cosines


def jaccard_blocks(rows: sparse.csr_matrix, columns: sparse.csr_matrix) -> Iterator[NDArray[np.float32]]:
    """Jaccard distances of some pictures to others, as float32 [b, G] from the first row to the last, from 0 to 1.

    rows [Q, N], columns [G, N]: their weights. With m the sum of the smaller of two weights, the distance is
    1 − m / (2 − m).
    """
    n_columns, step = columns.shape[0], max(1, BLOCK // columns.shape[0])
    holders = columns.T.tocsr()  # who has weight on a picture
    del columns  # as large as all the rest
    for start in range(0, rows.shape[0], step):
        shared = _shared_weight(rows[start : start + step], holders, n_columns)
        yield np.maximum(1 - shared / (2 - shared), 0)


def _shared_weight(rows: sparse.csr_matrix, holders: sparse.csr_matrix, n_columns: int) -> NDArray[np.float32]:
    """[b, G], the sum of the smaller of both weights."""
    shared = np.empty((rows.shape[0], n_columns), np.float32)

    def fill(start: int, end: int) -> None:
        members, smaller = _meetings(rows[start:end], holders)
        by_row = (smaller.data, smaller.indices, smaller.indptr[members.indptr])
        sparse.csr_matrix(by_row, shape=(end - start, n_columns)).toarray(out=shared[start:end])  # adds up repetitions

    _in_parts(fill, rows, holders)
    return shared


def _in_parts(work: Callable[[int, int], T], rows: sparse.csr_matrix, holders: sparse.csr_matrix) -> list[T]:
    """work(start, end) of all rows in order, a few at a time: as many as meet PART others. Threads share the parts."""
    visits = np.append(0, np.cumsum(np.diff(holders.indptr)[rows.indices], dtype=np.int64))[rows.indptr]
    ends = [0]
    while ends[-1] < rows.shape[0]:
        last = int(np.searchsorted(visits, visits[ends[-1]] + PART, side="right")) - 1
        ends.append(max(ends[-1] + 1, last))
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # scipy and numpy let go of Python's lock
        return list(pool.map(work, ends[:-1], ends[1:]))


def _meetings(rows: sparse.csr_matrix, holders: sparse.csr_matrix) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """The rows' every weight as a place of its own [b, W], and the smaller of it and others' [W, G].

    Only pictures on which both have weight are visited.
    """
    met = holders[rows.indices]
    np.minimum(met.data, np.repeat(rows.data, np.diff(met.indptr)), out=met.data)
    ones = (np.ones(rows.nnz, np.float32), np.arange(rows.nnz, dtype=np.int32), rows.indptr)
    return sparse.csr_matrix(ones, shape=(rows.shape[0], rows.nnz)), met


def jaccard_graph(
    features: NDArray[np.floating[Any]], *, k1: int, k2: int, eps: float, device: str = "cpu"
) -> sparse.csr_matrix:
    """Jaccard distances of at most eps among pictures: float32 [N, N], zeros stored; what is not stored is farther.

    features [N, D], L2-normalised; k1 neighbours count, itself among them (at most N). For DBSCAN with
    metric="precomputed". Raises ValueError unless 0 < eps < 1; at 1 every pair would be stored. As in
    ClusterContrast (Dai et al. 2022, arXiv 2103.11568).
    """
    if not 0 < eps < 1:
        raise ValueError(f"eps is {eps}; needed is 0 < eps < 1")
    neighbours = nearest_neighbours(features, features, k1, own_rows=np.arange(len(features)), device=device)
    weights = reciprocal_weights(features, neighbours, k1=k1, k2=k2, relative=False)
    holders = weights.T.tocsr()

    def near(start: int, end: int) -> sparse.csr_matrix:
        members, smaller = _meetings(weights[start:end], holders)
        distances = members @ smaller  # so far the shared weight, of the pairs that share any
        np.maximum(1 - distances.data / (2 - distances.data), 0, out=distances.data)
        kept = distances.data <= eps
        indptr = np.append(0, np.cumsum(kept))[distances.indptr]
        rows = sparse.csr_matrix((distances.data[kept], distances.indices[kept], indptr), shape=distances.shape)
        rows.sort_indices()
        return rows

    return sparse.vstack(_in_parts(near, weights, holders), format="csr")
