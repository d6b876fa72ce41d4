"""Several processes that train one model together: who they are, who has which pictures, what they exchange."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from resight.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Processes:
    """This process's number, 0 … n - 1, among the n that train together; number 0 alone writes files."""

    number: int = 0
    n: int = 1

    @property
    def writes(self) -> bool:
        return self.number == 0

    def share(self, n_rows: int) -> slice:
        """This process's rows of a batch of n_rows; the parts differ by one row at most, and the earlier are longer."""
        return self._share_of(self.number, n_rows)

    def _share_of(self, number: int, n_rows: int) -> slice:
        least, longer = divmod(n_rows, self.n)
        start = number * least + min(number, longer)
        return slice(start, start + least + (number < longer))

    def gather(self, share: Tensor, n_rows: int) -> Tensor:
        """The whole batch [n_rows, …] of every process's share of it; a gradient of it reaches the own share alone.

        Every process is to compute the same loss of the result: the gradient of the own rows is then already whole.
        """
        if self.n == 1:
            return share
        gathered: Tensor = _Gather.apply(share, self, n_rows)  # type: ignore[no-untyped-call]
        return gathered

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Adds up gradients that each process has of its own pictures."""
        self._reduce((p.grad for p in parameters if p.grad is not None), dist.ReduceOp.SUM)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Makes tensors the same in all processes: their mean."""
        self._reduce(tensors, dist.ReduceOp.SUM, divide=True)

    def _reduce(self, tensors: Iterable[Tensor], operation: Any, *, divide: bool = False) -> None:
        if self.n == 1:
            return
        for tensor in tensors:
            dist.all_reduce(tensor, operation)
            if divide:
                tensor.div_(self.n)

    def wait(self) -> None:
        """Returns when every process is here."""
        if self.n > 1:
            dist.barrier()

    def leave(self) -> None:
        """Ends the group that `join` began."""
        if self.n > 1:
            dist.destroy_process_group()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, share: Tensor, processes: Processes, n_rows: int) -> Tensor:
        ctx.rows = processes.share(n_rows)
        shares = [processes._share_of(number, n_rows) for number in range(processes.n)]
        longest = max(rows.stop - rows.start for rows in shares)
        padded = share.new_zeros(longest, *share.shape[1:])  # the exchange wants parts of one size
        padded[: len(share)] = share
        parts = [torch.empty_like(padded) for _ in shares]
        dist.all_gather(parts, padded)
        return torch.cat([part[: rows.stop - rows.start] for part, rows in zip(parts, shares, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.rows], None, None


def join(device: torch.device) -> tuple[Processes, torch.device]:
    """The group that torchrun started this process in, or a group of one; and this process's device.

    Raises ConfigError when the group is not the size that torchrun promised.
    """
    wanted = int(os.environ.get("WORLD_SIZE", "1"))
    if wanted == 1:
        return Processes(), device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    found = dist.get_world_size()
    if found != wanted:
        raise ConfigError(f"{wanted} processes were started but {found} found each other. Start all by one torchrun.")
    return Processes(dist.get_rank(), found), device
