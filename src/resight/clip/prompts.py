"""Learned tokens: some words for each identity (CLIP-ReID), or some rows shared by all inputs of both towers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resight.clip.image import ModifiedResNet, ResNetConfig, VisionTransformer
from resight.clip.model import ClipConfig
from resight.clip.text import TextTransformer
from resight.errors import ConfigError

STD = 0.02
"""Spread of the first values: CLIP-ReID, CoOp and MaPLe all draw from N(0, 0.02²)."""


class IdentityPrompts(nn.Module):
    """For each identity, vectors that stand in for the placeholder words of one template.

    vectors [N, M, W], M the number of placeholders. Li et al. 2022, "CLIP-ReID", arXiv 2211.13977 §3.2.
    """

    template: Tensor
    slots: Tensor

    def __init__(self, n_identities: int, template: Sequence[int], *, placeholder: int, width: int, seed: int) -> None:
        """template: token ids of one text; its end token is the largest. placeholder: the id to replace wherever it is.

        For CLIP's vocabulary "A photo of a X X X X person." has the placeholder 343, and a width of 512 in most models.
        Raises ValueError when the template holds no placeholder.
        """
        super().__init__()
        # Attention is causal: nothing after the end token reaches the feature.
        tokens = torch.tensor(template)[: template.index(max(template)) + 1]
        slots = (tokens == placeholder).nonzero().flatten()
        if not len(slots):
            raise ValueError(f"the template holds no placeholder {placeholder} before its end")
        self.register_buffer("template", tokens, persistent=False)
        self.register_buffer("slots", slots, persistent=False)
        self.vectors = _draw((n_identities, len(slots), width), torch.Generator().manual_seed(seed))

    def forward(self, identities: Tensor, text: TextTransformer) -> Tensor:
        """Text features [B, O] of identities [B], 0 <= identity < N, not normalised; freeze the tower yourself."""
        words = text.embed(self.template).expand(len(identities), -1, -1)
        words = words.index_copy(1, self.slots, self.vectors[identities].to(words.dtype))
        end = torch.full_like(identities, len(self.template) - 1)
        return text.encode(words, end)


@dataclass(frozen=True, slots=True)
class PromptForm:
    """What shared prompts look like.

    text_length, image_length: learned rows of each side; 0 leaves it as it was. depth: blocks whose input has rows of
    its own, from 1. position: the first level gets the tower's position embeddings, on the text side those of places 1
    to text_length, on the image side those of the first image_length patches.
    """

    text_length: int
    image_length: int
    depth: int = 1
    position: bool = False


class SharedPrompts(nn.Module):
    """Learned rows for both towers, which `Encoder` passes to them.

    text [D, P, W], image [D, P', W']: depth D, of which level 0 enters the sequence and each further one replaces the
    rows before its block; None for a side without. Li et al. 2024, arXiv 2401.02173.
    """

    text: nn.Parameter | None
    image: nn.Parameter | None

    def __init__(self, form: PromptForm, config: ClipConfig, *, seed: int) -> None:
        """Rows from N(0, 0.02²). Raises ConfigError when the towers cannot take prompts of this form."""
        super().__init__()
        _check(form, config)
        self.form = form
        generator = torch.Generator().manual_seed(seed)
        text_width = 0 if config.text is None else config.text.width
        for name, length, width in (
            ("text", form.text_length, text_width),
            ("image", form.image_length, config.image.width),
        ):
            rows = _draw((form.depth, length, width), generator) if length else None
            self.register_parameter(name, rows)

    def for_text(self, tower: TextTransformer) -> Tensor | None:
        """What the text tower takes as its prompts, [D, P, W]."""
        return _placed(self.text, tower.positional_embedding) if self.form.position else self.text

    def for_image(self, tower: VisionTransformer | ModifiedResNet) -> Tensor | None:
        """What the image tower takes as its prompts, [D, P', W']."""
        if isinstance(tower, ModifiedResNet) or not self.form.position:
            return self.image
        return _placed(self.image, tower.positional_embedding)


def _placed(rows: Tensor | None, positions: Tensor) -> Tensor | None:
    """Rows [D, P, W], with the positions 1 to P of a tower added to the first level."""
    if rows is None:
        return None
    return torch.cat([rows[:1] + positions[1 : 1 + rows.shape[1]], rows[1:]])


def _check(form: PromptForm, config: ClipConfig) -> None:
    if form.image_length and isinstance(config.image, ResNetConfig):
        raise ConfigError("Image prompts need a vision transformer; a ResNet has none: --image-length 0.")
    if form.text_length and config.text is None:
        raise ConfigError("Text prompts need a text tower, and this CLIP has none: --text-length 0.")
    depths, places = [], []
    if config.text is not None and form.text_length:
        depths.append(config.text.depth)
        places.append(("text", form.text_length, config.text.context_length - 1))
    if not isinstance(config.image, ResNetConfig) and form.image_length:
        depths.append(config.image.depth)
        places.append(("image", form.image_length, config.image.grid[0] * config.image.grid[1]))
    if depths and not 1 <= form.depth <= min(depths):
        raise ConfigError(f"Prompts of depth {form.depth}: from 1 to {min(depths)}, the blocks of the tower.")
    for side, length, there in places:
        if form.position and length > there:
            raise ConfigError(
                f"{length} {side} prompts with positions: the tower has {there}. Choose at most {there}, or none."
            )


def _draw(shape: tuple[int, ...], generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(STD * torch.randn(shape, generator=generator))
