"""The state of a contrast with centroids: who belongs to which, and the memory; saved with a run's checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from resight.losses.memory import centroids
from resight.losses.proxies import Proxies, split_by_camera

_TENSORS = ("labels", "own", "memory")


class Partition(nn.Module):
    """Which row of a memory each of N records belongs to in an epoch.

    labels: int64 [N], identity or cluster, -1 left out; empty before the first epoch. own: int64 [N], the row of the
    memory, -1 left out: of the cluster, or of its proxy for the picture's camera. memory: float32 [C, D]. Their sizes
    change from epoch to epoch, so that they are no buffers.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.epoch = 0
        self.labels = self.own = torch.empty(0, dtype=torch.int64, device=device)
        self.memory = torch.empty(0, 0, device=device)
        self.proxies = Proxies(self.labels, self.labels)

    def rebuild(self, epoch: int, features: Tensor, labels: Tensor, cameras: Tensor | None = None) -> None:
        """For an epoch: the means of features [N, D], L2-normalised, over labels [N], or over these and cameras [N]."""
        device = self.memory.device
        self.epoch, self.labels = epoch, labels.to(device)
        one = torch.zeros_like(self.labels) if cameras is None else cameras.to(device)
        self.own, self.proxies = split_by_camera(self.labels, one)
        self.memory = centroids(features.to(device), self.own)

    def get_extra_state(self) -> dict[str, Any]:
        tensors = {name: getattr(self, name) for name in _TENSORS}
        return tensors | {"epoch": self.epoch, "proxies": (self.proxies.clusters, self.proxies.cameras)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        device = self.memory.device
        self.epoch = state["epoch"]
        self.proxies = Proxies(*(tensor.to(device) for tensor in state["proxies"]))
        for name in _TENSORS:
            setattr(self, name, state[name].to(device))
