"""A tower on a whole batch, though it is computed in parts: over processes, and in micro-batches one after the other.

These losses compare every picture of a batch with every other, so a loss of a part is not a part of the loss. The
tower's outputs are therefore brought together first, and the loss is computed once, of all of them. For micro-batches
the outputs come without a graph; when their gradients are known, each part is computed again, with a graph, and its
gradients are carried on (gradient caching: Gao et al. 2021, arXiv 2101.06983 §3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resight.environment import Precision, autocast
from resight.errors import ConfigError
from resight.processes import Processes

Outputs = tuple[Tensor, ...]


class WholeBatch:
    """Calls `run` on this process's part of a batch and gives the outputs of the whole batch, float32 or float64.

    run: tensors [b, …] → tensors [b, …], without randomness. module: whose batch norms `run` passes. On several GPUs
    they are synchronised; else each part of a batch goes through them by itself, as `note` says. micro_batch: the most
    rows at a time, 0 for all.
    """

    def __init__(
        self,
        run: Callable[..., Outputs],
        *,
        module: nn.Module,
        processes: Processes,
        device: torch.device,
        precision: Precision,
        micro_batch: int = 0,
        compiled: bool = False,
    ) -> None:
        self.processes, self.device, self.precision = processes, device, precision
        self.micro_batch, self.compiled = micro_batch, compiled
        if device.type == "cuda" and processes.n > 1 and not micro_batch:  # parts might differ in number
            nn.SyncBatchNorm.convert_sync_batchnorm(module)
        self._norms = [inner for inner in module.modules() if isinstance(inner, _BatchNorm)]
        self._compute = torch.compile(run) if compiled else run

    @property
    def note(self) -> str | None:
        """What a user should know of the batch norms, where they do not see the whole batch."""
        if not self._own_norms() or (self.processes.n == 1 and not self.micro_batch):
            return None
        what = "micro-batch" if self.micro_batch else "process's share of a batch"
        return f"the tower's batch norms see each {what} by itself, so that results differ from whole batches"

    def statistics(self) -> list[Tensor]:
        """Running means and variances of what this process saw alone; `fit` averages them over the processes."""
        own = (statistic for norm in self._own_norms() for statistic in (norm.running_mean, norm.running_var))
        return [statistic for statistic in own if statistic is not None]

    def _own_norms(self) -> list[_BatchNorm]:
        return [norm for norm in self._norms if not isinstance(norm, nn.SyncBatchNorm)]

    def __call__(self, n_rows: int, *inputs: Tensor | None) -> Outputs:
        """The outputs [n_rows, …] of a batch of n_rows, of which `inputs` hold this process's share.

        Raises ValueError when they hold another number of rows, or want gradients, which they do not get.
        """
        given, share = [tensor for tensor in inputs if tensor is not None], self.processes.share(n_rows)
        n_own = share.stop - share.start
        if any(len(tensor) != n_own or tensor.requires_grad for tensor in given):
            raise ValueError(f"inputs must have the {n_own} rows of this process's share, and need no gradient")
        step = self.micro_batch or n_own
        parts = [tuple(None if t is None else t[i : i + step] for t in inputs) for i in range(0, n_own, step)]
        if len(parts) == 1 or not torch.is_grad_enabled():
            outputs = _joined([self._run(*part) for part in parts])
        else:
            anchor = torch.ones((), device=self.device, requires_grad=True)  # so that autograd asks for gradients
            outputs = _Recomputed.apply(anchor, self, parts)  # type: ignore[no-untyped-call]
        return tuple(self.processes.gather(output, n_rows) for output in outputs)

    def _run(self, *inputs: Tensor | None) -> Outputs:
        with autocast(self.device, self.precision), _compiling() if self.compiled else nullcontext():
            outputs = self._compute(*inputs)
        return tuple(
            output.float() if output.dtype in (torch.bfloat16, torch.float16) else output for output in outputs
        )


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchor: Tensor, whole: WholeBatch, parts: Sequence[tuple[Tensor | None, ...]]) -> Outputs:
        ctx.whole, ctx.parts = whole, parts
        return _joined([whole._run(*part) for part in parts])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        start = 0
        with torch.enable_grad(), _statistics_kept(ctx.whole._norms):
            for part in ctx.parts:
                outputs = ctx.whole._run(*part)
                rows = slice(start, start + len(outputs[0]))
                wanted = [(o, g[rows]) for o, g in zip(outputs, gradients, strict=True) if o.requires_grad]
                torch.autograd.backward([o for o, _ in wanted], [g for _, g in wanted])
                start = rows.stop
        return gradients[0].new_zeros(()), None, None


@contextmanager
def _statistics_kept(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Batch norms follow what they see once, and not again when it is computed a second time."""
    tracking = [norm.track_running_stats for norm in norms]
    try:
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm, tracked in zip(norms, tracking, strict=True):
            norm.track_running_stats = tracked


@contextmanager
def _compiling() -> Iterator[None]:
    """Turns torch.compile's failures into one line."""
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"--compile: torch.compile failed here ({why}). It needs a C++ compiler on a CPU, and Triton on a GPU; "
            "leave --compile out otherwise."
        ) from error


def _joined(parts: Sequence[Outputs]) -> Outputs:
    return parts[0] if len(parts) == 1 else tuple(torch.cat(column) for column in zip(*parts, strict=True))
