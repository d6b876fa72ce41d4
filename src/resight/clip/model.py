"""CLIP: an image tower and, when its weights have one, a text tower."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resight.clip.image import ModifiedResNet, ResNetConfig, VisionTransformer, ViTConfig
from resight.clip.text import TextConfig, TextTransformer


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """Both towers; text is None for an image tower alone."""

    image: ViTConfig | ResNetConfig
    text: TextConfig | None

    def __post_init__(self) -> None:
        if self.text is not None and self.text.output != self.image.output:
            raise ValueError(f"image features of {self.image.output} and text features of {self.text.output} numbers")


class Clip(nn.Module):
    """The towers, and the factor on their cosine similarities as its natural logarithm.

    text and logit_scale are None together.
    """

    logit_scale: nn.Parameter | None

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.image = (
            VisionTransformer(config.image) if isinstance(config.image, ViTConfig) else ModifiedResNet(config.image)
        )
        self.text = None if config.text is None else TextTransformer(config.text)
        self.register_parameter("logit_scale", None if config.text is None else nn.Parameter(torch.empty(())))
        self.reset_parameters()

    def drop_text(self) -> None:
        """Leaves the image tower alone."""
        self.config = ClipConfig(self.config.image, None)
        self.text, self.logit_scale = None, None

    def reset_parameters(self) -> None:
        """Set the temperature to 0.07, as in Radford et al. 2021, arXiv 2103.00020 §2.5."""
        if self.logit_scale is not None:
            nn.init.constant_(self.logit_scale, math.log(1 / 0.07))

    def initialise(self, seed: int) -> None:
        """Draw all weights anew, on the CPU; the same seed gives the same weights.

        The global generator stays as it was.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            # Children first: a tower then replaces what PyTorch drew for its linear layers.
            for module in reversed(list(self.modules())):
                reset = getattr(module, "reset_parameters", None)
                if reset is not None:
                    reset()


def to_openai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `Clip` state dict in OpenAI's names: the image tower below `visual.`, the text tower without a prefix."""
    return {_openai_name(name): tensor for name, tensor in state.items()}


def from_openai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in OpenAI's names as `Clip` wants it."""
    return {_own_name(name): tensor for name, tensor in state.items()}


def _openai_name(name: str) -> str:
    return "visual." + name.removeprefix("image.") if name.startswith("image.") else name.removeprefix("text.")


def _own_name(name: str) -> str:
    if name.startswith("visual."):
        return "image." + name.removeprefix("visual.")
    return name if name == "logit_scale" else "text." + name
