"""The triplet loss with batch-hard mining: the own identity near, every other one far."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def batch_hard_triplet(features: Tensor, identities: Tensor, *, margin: float | None) -> Tensor:
    """Mean over anchors of relu(margin + farthest positive - nearest negative): a scalar.

    features [B, D], any norm; identities [B], each as often as it likes. margin in units of Euclidean distance, None
    for the soft margin log(1 + exp(farthest positive - nearest negative)). The anchor is among its own positives.
    Distances and loss are float32 (float64 for float64), inside autocast too: they are differences of squares, which
    half precision cannot hold. Raises ValueError when the batch holds one identity only.
    Hermans et al. 2017, arXiv 1703.07737.
    """
    same = identities[:, None] == identities
    if bool(same.all()):
        raise ValueError(
            "the batch holds one identity only; a triplet needs a negative, so draw two identities or more"
        )
    distances = _distances(features.to(torch.promote_types(features.dtype, torch.float32)))
    farthest_positive = distances.masked_fill(~same, float("-inf")).max(dim=1).values
    nearest_negative = distances.masked_fill(same, float("inf")).min(dim=1).values
    gap = farthest_positive - nearest_negative
    return (functional.softplus(gap) if margin is None else (gap + margin).relu()).mean()


def _distances(features: Tensor) -> Tensor:
    """Euclidean distances [B, B]; squares below 1e-12 are set to it, since the root has no slope at 0."""
    squares = features.square().sum(dim=1)
    with torch.autocast(features.device.type, enabled=False):
        products = features @ features.T
    return (squares[:, None] + squares - 2 * products).clamp(min=1e-12).sqrt()
