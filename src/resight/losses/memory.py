"""The memory of cluster contrast: one direction for each identity or cluster, which pictures are held against.

The loss reads the memory, `update_memory` moves it; neither knows of the other. Products, norms and means are float32
(float64 for float64), inside autocast too. Dai et al. 2021, "Cluster Contrast", arXiv 2103.11568; as PCL-CLIP uses it,
Li and Gong 2023, arXiv 2310.17218.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def centroids(features: Tensor, labels: Tensor) -> Tensor:
    """The L2-normalised mean of each label's features: [C, D], a memory to begin with.

    features [N, D], L2-normalised; labels int64 [N], 0 … C-1, or -1 where a picture is left out.
    Raises ValueError when a label below the largest has no picture, or none has a label.
    """
    rows = labels >= 0
    counts = torch.bincount(labels[rows])
    if not len(counts):
        raise ValueError("no picture has a label; there is nothing to take a mean of")
    if not bool(counts.all()):
        raise ValueError(f"label {int(counts.argmin())} has no picture; number the labels from 0 without gaps")
    exact = _exact(features[rows])
    sums = exact.new_zeros(len(counts), exact.shape[1]).index_add_(0, labels[rows], exact)
    return functional.normalize(sums / counts[:, None])


def memory_contrast(features: Tensor, labels: Tensor, memory: Tensor, *, temperature: float) -> Tensor:
    """Mean cross-entropy of picking the own row of the memory, by cosine divided by temperature: a scalar.

    features [B, D], any norm; labels [B], each picture's row of memory [C, D], which is L2-normalised. The gradient
    reaches the features alone, and is that of the memory as it is now, also when it moves before the backward pass.
    """
    with torch.autocast(features.device.type, enabled=False):
        directions = functional.normalize(_exact(features))
        similarities = directions @ memory.detach().clone().to(directions.dtype).T
    return functional.cross_entropy(similarities / temperature, labels)


@torch.no_grad()
def update_memory(memory: Tensor, features: Tensor, labels: Tensor, *, momentum: float, hardest: bool) -> None:
    """Moves the memory [C, D] in place: row ← momentum · row + (1 - momentum) · feature, normalised again.

    features [B, D], any norm, of which the direction counts; labels [B], each picture's row; momentum from 0 to 1, the
    share of the old row. hardest: each label's picture least like its row, the first of equals, moves it. Else all of
    its pictures do, one after the other in the order of the batch.
    """
    directions = functional.normalize(_exact(features)).to(memory.dtype)
    order = torch.arange(len(labels), device=labels.device)
    if hardest:
        order = (directions * memory[labels]).sum(dim=1).argsort(stable=True)
    turns = _occurrence(labels[order])
    n_turns = 1 if hardest else int(turns.max()) + 1
    for turn in range(n_turns):  # in a turn every label comes at most once, so that its rows move together
        rows = order[turns == turn]
        moved = momentum * memory[labels[rows]] + (1 - momentum) * directions[rows]
        memory[labels[rows]] = functional.normalize(moved)


def _occurrence(labels: Tensor) -> Tensor:
    """How many times each entry's label came before it: [B]."""
    order = labels.argsort(stable=True)
    counts = torch.unique_consecutive(labels[order], return_counts=True)[1]
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)
    occurrence = torch.empty_like(labels)
    occurrence[order] = torch.arange(len(labels), device=labels.device) - first
    return occurrence


def _exact(features: Tensor) -> Tensor:
    """As float32, or as float64 where they are."""
    return features.to(torch.promote_types(features.dtype, torch.float32))
