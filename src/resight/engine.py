"""How and where a training computes: the settings that every recipe shares, and what they become on this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from resight import environment
from resight.environment import Precision
from resight.errors import ConfigError
from resight.processes import Processes, join
from resight.whole_batch import Outputs, WholeBatch


@dataclass(frozen=True, slots=True)
class Engine:
    """How to compute: these fields change speed, memory and what is written, hardly the result."""

    device: str = "auto"
    """auto (a GPU where there is one), cpu, or a PyTorch device such as cuda:1."""
    precision: Precision | Literal["auto"] = "auto"
    """Of the towers; losses are float32. auto: bf16 where the hardware multiplies in it, fp16 on older GPUs, else
    float32."""
    micro_batch: int = 0
    """Pictures computed at a time, with the gradients of the whole batch (a second forward pass); 0: all at once."""
    recompute: bool = False
    """Keep no activations inside a transformer's blocks but compute them again: less memory, a third more time."""
    compile: bool = False
    """Let torch.compile fuse the image tower: minutes at the start, faster steps; needs a C++ compiler on a CPU."""
    clip_norm: float = 0.0
    """Largest norm of the gradient of all parameters together; 0: not clipped, as published."""
    workers: int = 2
    """Threads that prepare pictures."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints inside an epoch; there is one at the end of every epoch in any case."""
    log_every: int = 20
    """Steps between lines of metrics.jsonl."""
    tensorboard: bool = False
    """Also write TensorBoard files into the run folder; needs pip install 'resight[track]'."""
    validate_every: int = 0
    """Epochs between evaluations on validation identities; 0: none, and train on all. They are the data's own, or cut
    from train."""
    validation_share: float = 0.1
    """Share of the train identities cut for validation, where the data has none."""
    keep: Literal["last", "best"] = "last"
    """The epoch that becomes the result: the last, as published, or the best mAP on validation identities."""
    seed: int = 1234
    """Of all randomness: batches, augmentation, fresh parameters (CLIP-ReID's code: 1234)."""

    def __post_init__(self) -> None:
        for name in ("micro_batch", "clip_norm", "checkpoint_minutes", "validate_every", "seed"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: 0 or more.")
        for name in ("workers", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 1.")
        if self.seed > 2**62:  # a few seeds above it are used too, and PyTorch's end at 2^63
            raise ConfigError(f"--seed {self.seed}: at most 2^62.")
        if not 0 < self.validation_share < 1:
            raise ConfigError(f"--validation-share {self.validation_share}: between 0 and 1.")
        if self.keep == "best" and not self.validate_every:
            raise ConfigError("--keep best: the best is chosen on validation identities; add --validate-every N.")


FREE = ("device", "recompute", "compile", "workers", "checkpoint_minutes", "log_every", "tensorboard")
"""Fields of Engine that may differ when a run goes on: its results stay the same, but for rounding."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a run computes: this process's device and precision, and its place among the processes."""

    device: torch.device
    precision: Precision
    processes: Processes

    @classmethod
    def of(cls, engine: Engine) -> Machine:
        """Raises ConfigError where this machine lacks what the engine asks for, or other processes are not found."""
        if engine.tensorboard:
            summary_writer()
        processes, device = join(environment.choose_device(engine.device))
        chosen = engine.precision if engine.precision != "auto" else environment.best_precision(device)
        return cls(device, chosen, processes)

    def autocast(self) -> AbstractContextManager[None]:
        """A context in which matrix products run in the run's precision."""
        return environment.autocast(self.device, self.precision)

    def spread(self, run: Callable[..., Outputs], engine: Engine, *, module: nn.Module) -> WholeBatch:
        """`run` as a function of the whole batch, which passes the batch norms of module."""
        return WholeBatch(
            run,
            module=module,
            processes=self.processes,
            device=self.device,
            precision=self.precision,
            micro_batch=engine.micro_batch,
            compiled=engine.compile,
        )


def summary_writer() -> Any:
    """TensorBoard's writer. Raises ConfigError when it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("--tensorboard: is not installed here. pip install 'resight[track]', or leave it out.") from (
            error
        )
    return SummaryWriter
