"""Learned tokens: some words for each identity (CLIP-ReID), or some rows shared by all inputs of both towers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from resight.clip.text import TextTransformer

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


class SharedPrompts(nn.Module):
    """Learned rows for both towers: pass `text` and `image` to them as their prompts.

    text [D, P, W], image [D, P', W']: depth D, of which level 0 enters the sequence and each further one replaces the
    rows before its block. A length of 0 leaves a side as it was. Li et al. 2024, arXiv 2401.02173.
    """

    def __init__(
        self, *, text_length: int, text_width: int, image_length: int, image_width: int, depth: int, seed: int
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.text = _draw((depth, text_length, text_width), generator)
        self.image = _draw((depth, image_length, image_width), generator)


def _draw(shape: tuple[int, ...], generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(STD * torch.randn(shape, generator=generator))
