"""A tower on a whole batch, though it is computed in parts: over processes, and in micro-batches one after the other.

These losses compare every picture of a batch with every other, so a loss of a part is not a part of the loss. The
tower's outputs are therefore brought together first, and the loss is computed once, of all of them. For micro-batches
the outputs come without a graph; when their gradients are known, each part is computed again, with a graph, and its
gradients are carried on (gradient caching: Gao et al. 2021, arXiv 2101.06983 §3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from resight.environment import Precision, autocast
from resight.processes import Processes

Outputs = tuple[Tensor, ...]


class WholeBatch:
    """Calls `run` on this process's part of a batch and gives the outputs of the whole batch, float32.

    run: tensors [b, …] → tensors [b, …], without randomness. parameters: what `run` uses and training changes; their
    gradients are of this process's pictures alone until `fit` sums them. module: whose batch norms `run` passes; they
    see each part by itself. micro_batch: the most rows at a time, 0 for all.
    """

    def __init__(
        self,
        run: Callable[..., Outputs],
        *,
        parameters: Iterable[nn.Parameter],
        module: nn.Module,
        processes: Processes,
        device: torch.device,
        precision: Precision,
        micro_batch: int = 0,
        compiled: bool = False,
    ) -> None:
        self.parameters, self.module = list(parameters), module
        self.processes = processes
        self.device, self.precision = device, precision
        self.micro_batch = micro_batch
        self._compute = torch.compile(run) if compiled else run

    def __call__(self, n_rows: int, *inputs: Tensor | None) -> Outputs:
        """The outputs [n_rows, …] of a batch of n_rows, of which `inputs` hold this process's share."""
        first = next(tensor for tensor in inputs if tensor is not None)
        starts = range(0, len(first), self.micro_batch or len(first))
        parts = [tuple(None if t is None else t[i : i + starts.step] for t in inputs) for i in starts]
        if len(parts) == 1 or not torch.is_grad_enabled():
            outputs = _joined([self._run(*part) for part in parts])
        else:
            anchor = torch.ones((), device=self.device, requires_grad=True)  # so that autograd asks for gradients
            outputs = _Recomputed.apply(anchor, self, parts)  # type: ignore[no-untyped-call]
        return tuple(self.processes.gather(output, n_rows) for output in outputs)

    def _run(self, *inputs: Tensor | None) -> Outputs:
        with autocast(self.device, self.precision):
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
        with torch.enable_grad(), _statistics_kept(ctx.whole.module):
            for part in ctx.parts:
                outputs = ctx.whole._run(*part)
                rows = slice(start, start + len(outputs[0]))
                wanted = [(o, g[rows]) for o, g in zip(outputs, gradients, strict=True) if o.requires_grad]
                torch.autograd.backward([o for o, _ in wanted], [g for _, g in wanted])
                start = rows.stop
        return gradients[0].new_zeros(()), None, None


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batch norms follow what they see once, and not again when it is computed a second time."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _joined(parts: Sequence[Outputs]) -> Outputs:
    return parts[0] if len(parts) == 1 else tuple(torch.cat(column) for column in zip(*parts, strict=True))
