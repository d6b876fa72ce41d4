"""Which parameters learn how fast, and the learning rate of each epoch as the published methods have it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from resight.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Descent:
    """How an image tower's parameters change, epoch by epoch; the defaults are those of CLIP-ReID's ViT."""

    epochs: int = 60
    """Epochs; one is a pass of the P×K sampler (CLIP-ReID's code: 60; ResNet 120)."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam (CLIP-ReID's code), or stochastic gradient descent with momentum 0.9 (PCL-CLIP's code)."""
    rate: float = 5e-6
    """Highest learning rate (CLIP-ReID's code: 5e-6, ResNet 3.5e-4; small towers with Adam: 1e-4 to 1e-3)."""
    weight_decay: float = 1e-4
    """Coupled (L2), on every parameter (CLIP-ReID's code: 1e-4, ResNet 5e-4)."""
    bias_rate_factor: float = 2.0
    """Times the rate for parameters with "bias" in their name (CLIP-ReID's code: 2)."""
    classifier_rate_factor: float = 1.0
    """Times the rate for the classifiers, which start from nothing (CLIP-ReID's code: 1; runs of a few hundred steps
    need 10 to 100, or the classifiers have learned nothing when the tower's rate falls)."""
    warmup_epochs: int = 10
    """Epochs in which the rate rises (CLIP-ReID's code: 10)."""
    warmup_factor: float = 0.1
    """Part of the rate that it rises from (CLIP-ReID's code: 0.1, ResNet 0.01)."""
    milestones: tuple[int, ...] = (30, 50)
    """Epochs from which on the rate is `decay` of what it was (CLIP-ReID's code: 30 50, ResNet 40 70)."""
    decay: float = 0.1
    """Factor on the rate at each milestone (CLIP-ReID's code: 0.1)."""
    stepped: Literal["before", "after"] = "before"
    """Whether the schedule moves on before an epoch (CLIP-ReID's code) or after it (PCL-CLIP's), one epoch later."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"--epochs {self.epochs}: at least 1.")
        factors = ("bias_rate_factor", "classifier_rate_factor", "warmup_factor")
        for name in ("rate", "weight_decay", "warmup_epochs", "decay", *factors):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: 0 or more.")

    def groups(self, named: Iterable[tuple[str, nn.Parameter]]) -> list[dict[str, Any]]:
        """Parameter groups as `parameter_groups` gives them, and one of those with "classifier" in their name."""
        classifiers: list[tuple[str, nn.Parameter]] = []
        others: list[tuple[str, nn.Parameter]] = []
        for name, parameter in named:
            (classifiers if "classifier" in name else others).append((name, parameter))
        factor = {"rate_factor": self.classifier_rate_factor, "weight_decay": self.weight_decay}
        return [
            *parameter_groups(others, weight_decay=self.weight_decay, bias_rate_factor=self.bias_rate_factor),
            {"params": [parameter for _, parameter in classifiers], **factor},
        ]

    def optimizer_of(self, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        """The optimizer of these parameters, in the groups that `groups` makes."""
        if self.optimizer == "adam":
            return torch.optim.Adam(self.groups(named), lr=self.rate, fused=True)
        return torch.optim.SGD(self.groups(named), lr=self.rate, momentum=0.9, fused=True)

    def rate_in(self, epoch: int) -> float:
        """The rate in an epoch, which counts from 1."""
        return warmup_steps(
            epoch,
            rate=self.rate,
            milestones=self.milestones,
            gamma=self.decay,
            warmup=self.warmup_epochs,
            factor=self.warmup_factor,
            shift=int(self.stepped == "after"),
        )


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    *,
    weight_decay: float,
    bias_weight_decay: float | None = None,
    bias_rate_factor: float = 1.0,
) -> list[dict[str, Any]]:
    """Two groups for an optimizer: all parameters but the biases, and those with "bias" in their name.

    Each holds params, weight_decay, and rate_factor for `set_rates`; frozen parameters are left out. CLIP-ReID's code
    makes a group of every tensor, which is the same arithmetic. bias_weight_decay None: as the others.
    Raises ValueError when every parameter is frozen.
    """
    trained = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    if not trained:
        raise ValueError("every parameter is frozen; there is nothing to train")
    others = [parameter for name, parameter in trained if "bias" not in name]
    biases = [parameter for name, parameter in trained if "bias" in name]
    bias_weight_decay = weight_decay if bias_weight_decay is None else bias_weight_decay
    return [
        {"params": others, "weight_decay": weight_decay, "rate_factor": 1.0},
        {"params": biases, "weight_decay": bias_weight_decay, "rate_factor": bias_rate_factor},
    ]


def set_rates(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Every group learns at `rate` times its rate_factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]


# The rate of an epoch, which counts from 1.


def warmup_cosine(epoch: int, *, epochs: int, rate: float, start: float, floor: float, warmup: int) -> float:
    """From `start` straight towards `rate` before epoch `warmup`, then half a cosine that ends in `floor`.

    The cosine has run since epoch 0 when the warm-up ends, so `rate` itself is never reached, and the last epoch
    learns at `floor`. Stage 1 of CLIP-ReID's code.
    """
    if epoch < warmup:
        return start + epoch * (rate - start) / warmup
    return floor + (rate - floor) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def warmup_then_cosine(epoch: int, *, epochs: int, rate: float, warmup: int, factor: float) -> float:
    """From `factor` times `rate` in epoch 1 straight to `rate` after `warmup` epochs, then half a cosine towards 0.

    The cosine starts at the end of the warm-up and would reach 0 one epoch after the last. IRRA's code.
    """
    index = epoch - 1
    if index < warmup:
        return rate * _warmed_up(index / warmup, factor)
    return rate * (1 + math.cos(math.pi * (index - warmup) / (epochs - warmup))) / 2


def warmup_steps(
    epoch: int, *, rate: float, milestones: Sequence[int], gamma: float, warmup: int, factor: float, shift: int
) -> float:
    """`rate`, times `gamma` for each milestone reached; it rises straight from `factor` times itself up to `warmup`.

    All epochs count from `shift`: 0 where the code steps its schedule before an epoch, as stage 2 of CLIP-ReID,
    and 1 where it steps after, as PCL-CLIP.
    """
    index = epoch - shift
    rising = _warmed_up(index / warmup, factor) if index < warmup else 1.0
    return rate * rising * gamma ** sum(milestone <= index for milestone in milestones)


def _warmed_up(share: float, factor: float) -> float:
    """The straight line from `factor` at share 0 to 1 at share 1."""
    return factor * (1 - share) + share
