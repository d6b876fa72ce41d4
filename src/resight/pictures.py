"""Records → batches for `fit`: this process's share, augmented on its device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.data.augment import Augment
from resight.data.loader import load_batches
from resight.data.transforms import Preprocess
from resight.engine import Engine, Machine
from resight.training import Epoch
from resight.types import Record


@dataclass(frozen=True, slots=True)
class PictureBatch:
    """images: float32 [b, 3, H, W] of this process's share, on the device. rows: int64 [B] of the whole batch, on the
    processor: positions in the records. share: which of `rows` the images are."""

    images: Tensor
    rows: Tensor
    share: slice


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a training set, decoded once into `cache` (None: every time)."""

    records: Sequence[Record]
    preprocess: Preprocess
    augment: Augment
    cache: Path | None
    engine: Engine
    machine: Machine

    def epoch(self, plan: Sequence[NDArray[np.int64]], epoch: int, first: int) -> Epoch[PictureBatch]:
        """The batches of the epoch whose rows `plan` names, from number `first` on."""
        return Epoch(len(plan), self._batches(plan, epoch, first))

    def _batches(self, plan: Sequence[NDArray[np.int64]], epoch: int, first: int) -> Iterator[PictureBatch]:
        processes, size = self.machine.processes, (self.preprocess.height, self.preprocess.width)
        shares = [processes.share(len(rows)) for rows in plan]
        own = [rows[share] for rows, share in zip(plan[first:], shares[first:], strict=True)]
        loaded = load_batches(self.records, self.preprocess, own, cache=self.cache, workers=self.engine.workers)
        for number, batch in enumerate(loaded, start=first):
            draws = self.augment.draw(len(plan[number]), size, (self.engine.seed, epoch, number))
            images = torch.from_numpy(batch.images).to(self.machine.device, non_blocking=True)
            augmented = self.augment.apply(images, draws[shares[number]], self.preprocess)
            yield PictureBatch(augmented, torch.from_numpy(plan[number]), shares[number])
