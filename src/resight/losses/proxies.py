"""Camera-aware proxies: a cluster is several directions, one for each camera that sees it.

All proxies lie in one memory [P, D], L2-normalised, which `losses.memory` begins and moves. Each loss is the sum over
the cameras of the batch of the mean over that camera's pictures: a camera with few pictures counts as much as one with
many. The gradient reaches the features alone. Products, logarithms and means are float32 (float64 for float64), inside
autocast too. Wang et al. 2021, "CAP", arXiv 2012.10674; Wang et al. 2022, "O2CAP", arXiv 2201.05820.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Proxies:
    """What each row of the memory stands for."""

    clusters: Tensor
    """int64 [P], from 0."""
    cameras: Tensor
    """int64 [P], any numbers."""


def split_by_camera(labels: Tensor, cameras: Tensor) -> tuple[Tensor, Proxies]:
    """Each picture's proxy [N], and the proxies, numbered by cluster and then by camera.

    labels int64 [N], clusters from 0, or -1, which stays -1 and makes no proxy; cameras int64 [N], any numbers.
    """
    rows = labels >= 0
    pairs, numbers = torch.unique(torch.stack([labels[rows], cameras[rows]], dim=1), dim=0, return_inverse=True)
    own = torch.full_like(labels, -1)
    own[rows] = numbers
    return own, Proxies(clusters=pairs[:, 0], cameras=pairs[:, 1])


def intra_camera_contrast(
    features: Tensor, own: Tensor, memory: Tensor, proxies: Proxies, *, temperature: float
) -> Tensor:
    """Cross-entropy of picking the own proxy among those of the picture's camera: a scalar.

    features [B, D], any norm; own [B], each picture's proxy; memory [P, D]. CAP's intra-camera loss.
    """
    logits = _similarities(features, memory) / temperature
    elsewhere = proxies.cameras != proxies.cameras[own][:, None]
    log_shares = logits.masked_fill(elsewhere, float("-inf")).log_softmax(dim=1)
    return _over_cameras(-log_shares.gather(1, own[:, None])[:, 0], proxies.cameras[own])


def offline_association(
    features: Tensor, own: Tensor, memory: Tensor, proxies: Proxies, *, temperature: float, n_negatives: int = 50
) -> Tensor:
    """Cross-entropy with equal shares for all proxies of the own cluster, whatever their camera: a scalar.

    features [B, D], any norm; own [B], each picture's proxy; memory [P, D]. Negatives are the n_negatives most similar
    of the other proxies, or all where there are fewer. O2CAP's offline association, and CAP's inter-camera loss, which
    CAP weighs by 0.5 and begins in the sixth epoch.
    """
    similarities = _similarities(features, memory)
    positives = proxies.clusters == proxies.clusters[own][:, None]
    losses = _shared_cross_entropy(similarities / temperature, positives, similarities, n_negatives)
    return _over_cameras(losses, proxies.cameras[own])


def online_association(
    features: Tensor,
    own: Tensor,
    memory: Tensor,
    proxies: Proxies,
    *,
    temperature: float,
    n_negatives: int = 50,
    n_positives: int = 3,
    balance: float = 0.15,
) -> Tensor:
    """Cross-entropy with equal shares for the proxies that are most similar now, whatever their cluster: a scalar.

    features [B, D], any norm; own [B], each picture's proxy; memory [P, D]. A proxy is as similar as balance times its
    cosine with the picture plus (1 - balance) times that with the own proxy. Positives are each camera's most similar
    proxy, of the n_positives best cameras, or of all where there are fewer; negatives the n_negatives most similar of
    the others, or all. Which they are gets no gradient. O2CAP's online association.
    """
    similarities = _similarities(features, memory)
    with torch.no_grad():
        between = _similarities(memory[own], memory).to(similarities.dtype)
        mixed = balance * similarities + (1 - balance) * between
        best = _best_of_each_camera(mixed, proxies.cameras)
        chosen = mixed.gather(1, best).topk(min(n_positives, best.shape[1])).indices
        positives = torch.zeros_like(mixed, dtype=torch.bool).scatter_(1, best.gather(1, chosen), True)
    losses = _shared_cross_entropy(similarities / temperature, positives, mixed, n_negatives)
    return _over_cameras(losses, proxies.cameras[own])


def _similarities(features: Tensor, memory: Tensor) -> Tensor:
    """Cosine of each feature [B, D] with each proxy: [B, P]. A copy of the memory stands, should it move meanwhile."""
    with torch.autocast(features.device.type, enabled=False):
        directions = functional.normalize(features.to(torch.promote_types(features.dtype, torch.float32)))
        return directions @ memory.detach().clone().to(directions.dtype).T


def _best_of_each_camera(similarities: Tensor, cameras: Tensor) -> Tensor:
    """The most similar proxy of each camera: [B, cameras]."""
    of_cameras = [(cameras == camera).nonzero()[:, 0] for camera in torch.unique(cameras)]
    return torch.stack([rows[similarities[:, rows].argmax(dim=1)] for rows in of_cameras], dim=1)


def _shared_cross_entropy(logits: Tensor, positives: Tensor, similarities: Tensor, n_negatives: int) -> Tensor:
    """Mean over a row's positives of -log softmax among them and the n_negatives most similar others: [B].

    logits, positives (bool, at least one a row) and similarities are [B, P].
    """
    others = similarities.detach().masked_fill(positives, float("-inf"))
    hardest = others.topk(min(n_negatives, others.shape[1])).indices  # too few others: positives, which stay in anyway
    compared = positives.scatter(1, hardest, True)
    normaliser = logits.masked_fill(~compared, float("-inf")).logsumexp(dim=1)
    return normaliser - (logits * positives).sum(dim=1) / positives.sum(dim=1)


def _over_cameras(losses: Tensor, cameras: Tensor) -> Tensor:
    """Sum over cameras of the mean loss [B] of each camera's pictures: a scalar."""
    _, numbers, counts = torch.unique(cameras, return_inverse=True, return_counts=True)
    shares: Tensor = losses / counts[numbers]
    return shares.sum()
