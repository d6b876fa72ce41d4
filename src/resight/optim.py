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


@dataclass(frozen=True, slots=True)
class TextDescent:
    """How both towers' parameters change when they learn from captions; the defaults are IRRA's, arXiv 2303.12501."""

    epochs: int = 60
    """Passes over the training captions (IRRA's code: 60)."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam with coupled decay and betas 0.9, 0.999 (IRRA's code), or AdamW with decoupled decay and betas 0.9, 0.98,
    as CLIP was trained from nothing."""
    rate: float = 1e-5
    """Highest learning rate (IRRA's code: 1e-5; small towers, and from nothing: about 1e-3)."""
    weight_decay: float = 4e-5
    """On every parameter but the biases (IRRA's code: 4e-5)."""
    epsilon: float = 1e-3
    """Added to the root of Adam's second moment (IRRA's code: 1e-3, at which gradients far below it move a parameter by
    their size; PyTorch's own: 1e-8; CLIP from nothing: 1e-6)."""
    bias_rate_factor: float = 2.0
    """Times the rate for parameters with "bias" in their name (IRRA's code: 2)."""
    fresh_rate_factor: float = 5.0
    """Times the rate for what starts from nothing: classifiers, cross-attention and masked words (IRRA's code: 5)."""
    warmup_epochs: int = 5
    """Epochs in which the rate rises; it then falls to 0 along half a cosine (IRRA's code: 5)."""
    warmup_factor: float = 0.1
    """Part of the rate that it rises from (IRRA's code: 0.1)."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"--epochs {self.epochs}: at least 1.")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ConfigError(
                f"--warmup-epochs {self.warmup_epochs}: 0 or more, and fewer than the {self.epochs} epochs."
            )
        for name in ("rate", "weight_decay", "bias_rate_factor", "fresh_rate_factor", "warmup_factor"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: 0 or more.")
        if not 0 < self.epsilon < math.inf:
            raise ConfigError(f"--epsilon {self.epsilon}: more than 0.")

    def groups(self, named: Iterable[tuple[str, nn.Parameter]]) -> list[dict[str, Any]]:
        """Parameters by factor and decay, of which a later rule of IRRA's code overrules the earlier ones.

        "cross" in a name: fresh. "bias": the biases' factor, and no decay. "classifier" or "mlm_head": fresh, with the
        decay as it was. Frozen parameters are left out. Raises ValueError when all are.
        """
        members: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in named:
            if parameter.requires_grad:
                members.setdefault(self._rule(name), []).append(parameter)
        if not members:
            raise ValueError("every parameter is frozen; there is nothing to train")
        return [
            {"params": parameters, "rate_factor": factor, "weight_decay": decay}
            for (factor, decay), parameters in members.items()
        ]

    def _rule(self, name: str) -> tuple[float, float]:
        """The factor on the rate, and the decay."""
        decay = 0.0 if "bias" in name else self.weight_decay
        if "classifier" in name or "mlm_head" in name:
            return self.fresh_rate_factor, decay
        if "bias" in name:
            return self.bias_rate_factor, decay
        return (self.fresh_rate_factor if "cross" in name else 1.0), decay

    def optimizer_of(self, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        """The optimizer of these parameters, in the groups that `groups` makes."""
        groups = self.groups(named)
        if self.optimizer == "adam":
            return torch.optim.Adam(groups, lr=self.rate, eps=self.epsilon, fused=True)
        return torch.optim.AdamW(groups, lr=self.rate, betas=(0.9, 0.98), eps=self.epsilon, fused=True)

    def rate_in(self, epoch: int) -> float:
        """The rate in an epoch, which counts from 1."""
        return warmup_then_cosine(
            epoch, epochs=self.epochs, rate=self.rate, warmup=self.warmup_epochs, factor=self.warmup_factor
        )


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], *, weight_decay: float, bias_rate_factor: float = 1.0
) -> list[dict[str, Any]]:
    """Two groups for an optimizer: all parameters but the biases, and those with "bias" in their name.

    Each holds params, weight_decay, and rate_factor for `set_rates`; frozen parameters are left out. CLIP-ReID's code
    makes a group of every tensor, which is the same arithmetic. Raises ValueError when every parameter is frozen.
    """
    trained = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    if not trained:
        raise ValueError("every parameter is frozen; there is nothing to train")
    others = [parameter for name, parameter in trained if "bias" not in name]
    biases = [parameter for name, parameter in trained if "bias" in name]
    return [
        {"params": others, "weight_decay": weight_decay, "rate_factor": 1.0},
        {"params": biases, "weight_decay": weight_decay, "rate_factor": bias_rate_factor},
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
