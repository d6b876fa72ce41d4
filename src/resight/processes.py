"""Several processes that train one model together: who they are, who has which pictures, what they exchange."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from resight.errors import ConfigError, ResightError


@dataclass(frozen=True, slots=True)
class Processes:
    """This process's number, 0 … n - 1, among the n that train together; number 0 alone writes files."""

    number: int = 0
    n: int = 1

    @property
    def writes(self) -> bool:
        return self.number == 0

    def share(self, n_rows: int) -> slice:
        """This process's rows of a batch of n_rows; the parts differ by one row at most, and the earlier are longer.

        Raises ConfigError when there are fewer rows than processes.
        """
        if n_rows < self.n:
            raise ConfigError(
                f"A batch of {n_rows} cannot be shared by {self.n} processes. Start fewer, or use larger batches."
            )
        return self._share_of(self.number, n_rows)

    def _share_of(self, number: int, n_rows: int) -> slice:
        least, longer = divmod(n_rows, self.n)
        start = number * least + min(number, longer)
        return slice(start, start + least + (number < longer))

    def gather(self, share: Tensor, n_rows: int) -> Tensor:
        """The whole batch [n_rows, …] of every process's share of it; a gradient of it reaches the own share alone.

        Every process is to compute the same loss of the result. The share's gradient is n times its own, so that the
        mean over the processes is right for every parameter, whether it is used before gathering, after it, or both.
        """
        if self.n == 1:
            return share
        gathered: Tensor = _Gather.apply(share, self, n_rows)  # type: ignore[no-untyped-call]
        return gathered

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Makes tensors the same in all processes, in place: their mean."""
        if self.n == 1:
            return
        with self._together():
            exchanges = [(tensor, dist.all_reduce(tensor, async_op=True)) for tensor in tensors]
            for tensor, exchange in exchanges:
                exchange.wait()
                tensor.div_(self.n)

    def wait(self) -> None:
        """Returns when every process is here."""
        if self.n > 1:
            with self._together():
                dist.barrier()

    def leave(self) -> None:
        """Ends the group that `join` began."""
        if self.n > 1:
            dist.destroy_process_group()

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise ResightError(
                f"Process {self.number} of {self.n} lost the others ({why}). What the first to end says is the cause."
            ) from error


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, share: Tensor, processes: Processes, n_rows: int) -> Tensor:
        ctx.rows, ctx.n = processes.share(n_rows), processes.n
        shares = [processes._share_of(number, n_rows) for number in range(processes.n)]
        longest = shares[0].stop
        padded = share.new_zeros(longest, *share.shape[1:])  # the exchange wants parts of one size
        padded[: len(share)] = share
        parts = [torch.empty_like(padded) for _ in shares]
        with processes._together():
            dist.all_gather(parts, padded)
        return torch.cat([part[: rows.stop - rows.start] for part, rows in zip(parts, shares, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.n * gradients[0][ctx.rows], None, None


def join(device: torch.device) -> tuple[Processes, torch.device]:
    """The group that torchrun started this process in, or a group of one; and this process's device.

    Raises ConfigError when the others are not found, and when there are fewer GPUs here than processes.
    """
    n = _number_in_environment("WORLD_SIZE", default="1")
    if n == 1:
        return Processes(), device
    local = _number_in_environment("LOCAL_RANK")
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"Process {local} of this machine has no GPU: there are {torch.cuda.device_count()}. Start one process "
                "a GPU, or add --device cpu."
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    number = _number_in_environment("RANK")
    try:
        if device.type == "cuda":
            dist.init_process_group("nccl", device_id=device)
        else:
            dist.init_process_group("gloo")
    except (RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"Process {number} of {n} cannot join the others ({why}). {_HOW}") from error
    if dist.get_world_size() != n:
        raise ConfigError(f"{n} processes were started but {dist.get_world_size()} found each other. {_HOW}")
    return Processes(dist.get_rank(), n), device


_HOW = "Start all by one torchrun --nproc-per-node N -m resight …; for a single process, unset WORLD_SIZE."


def _number_in_environment(name: str, *, default: str | None = None) -> int:
    value = os.environ.get(name, default)
    if value is None or not value.isdecimal():
        raise ConfigError(f"{name} is {'not set' if value is None else repr(value)} in the environment. {_HOW}")
    return int(value)
