"""k-reciprocal re-ranking: distances that also count how many neighbours two pictures share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.neighbours import jaccard_blocks, nearest_neighbours, reciprocal_weights, similarity_blocks


def reranked_blocks(
    query: NDArray[np.floating[Any]] | None,
    gallery: NDArray[np.floating[Any]],
    *,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
    device: str = "cpu",
) -> Iterator[NDArray[np.float32]]:
    """Re-ranked distances from query rows to the whole gallery, float32 [b, G] from the first query to the last.

    query [Q, D], gallery [G, D], L2-normalised; a query of None is the gallery itself, each picture once: in two
    copies every picture's nearest neighbour would be itself, at half the neighbourhood. weight: of the plain
    distance, against the Jaccard distance. The plain distance is 2 − 2 cosine, divided by the query's largest to
    any query or gallery picture. Neighbours are sought among queries and gallery together, so one query's distances
    depend on the other queries; k1 + 1 neighbours are as many as there are pictures when there are fewer. The
    defaults are the paper's; CLIP-ReID's code takes k1 50 and k2 15. Raises ValueError for a vector that is not of
    length 1, unless 1 <= k2 <= k1, and for a weight outside 0 to 1.
    Zhong et al. 2017, arXiv 1701.08398.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight is {weight}; needed is 0 <= weight <= 1")
    features = (gallery if query is None else np.concatenate([query, gallery])).astype(np.float32, copy=False)
    n_query = len(gallery) if query is None else len(query)
    neighbours = nearest_neighbours(features, features, k1 + 1, own_rows=np.arange(len(features)), device=device)
    weights = reciprocal_weights(features, neighbours, k1=k1, k2=k2, relative=True)
    blocks = jaccard_blocks(weights[:n_query], weights[len(features) - len(gallery) :])
    del weights  # a copy of either part is on its way; a third of the peak of memory otherwise
    start = 0
    for block in blocks:
        here = slice(start, start + len(block))
        (similarities,) = similarity_blocks(features[here], gallery, block_rows=len(block), device=device)
        plain = np.maximum(2 - 2 * similarities, 0) / neighbours.farthest[here, None]
        block *= 1 - weight
        block += weight * plain
        yield block
        start += len(block)
