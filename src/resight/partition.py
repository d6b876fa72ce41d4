"""The state of a contrast with centroids: who belongs to which, and the memory; saved with a run's checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resight.losses.memory import centroids


class Partition(nn.Module):
    """labels: int64 [N], each record's row of the memory, -1 left out; memory: float32 [C, D]; before: the labels of
    the epoch before, empty at first. Their sizes change from epoch to epoch, so that they are no buffers."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.labels = self.before = torch.empty(0, dtype=torch.int64, device=device)
        self.memory = torch.empty(0, 0, device=device)

    def rebuild(self, features: Tensor, labels: Tensor) -> None:
        """A new memory of the means of features [N, D], L2-normalised, over labels [N]."""
        self.before, self.labels = self.labels, labels.to(self.labels.device)
        self.memory = centroids(features.to(self.memory.device), self.labels)

    def get_extra_state(self) -> dict[str, Tensor]:
        return {"labels": self.labels, "before": self.before, "memory": self.memory}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        device = self.memory.device
        self.labels, self.before, self.memory = (state[name].to(device) for name in ("labels", "before", "memory"))
