"""Implicit relation reasoning: masked words are told from their sentence and its picture, to train both towers.

Jiang and Ye 2023, "IRRA", arXiv 2303.12501 §3.2, with the details of its code. Nothing of it is needed afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from resight.clip.transformer import Attention, LayerNorm, QuickGELU, Transformer

MASK = 49405
"""Stands for a masked word. It is the last word of the vocabulary, "jekyll", which loses its meaning here alone."""
SHARE, AS_MASK, AS_ANOTHER = 0.15, 0.8, 0.1
"""Share of the words that are asked for; of these, the shares that become MASK, or a random word; the rest stay."""
DEPTH = 4
"""Blocks after the cross-attention."""


def mask_tokens(token_ids: Tensor, seed: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rows with some words masked, and what stood there: two int64 [B, L], the second 0 where nothing is asked.

    token_ids [B, L], as `tokenize` gives them; start, end and padding are no words. In a row of which no word was drawn
    the first is masked, or the end where it has none. seed: whole numbers from 0, such as (seed, epoch, step), by which
    the same is drawn on every machine.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))  # not what augmentation draws from it
    drawn, fate, others = (torch.from_numpy(rng.random(token_ids.shape)) for _ in range(3))
    asked = (token_ids > 0) & (token_ids < MASK) & (drawn < SHARE)
    another = torch.where(fate < AS_MASK + AS_ANOTHER, 1 + (others * (MASK - 1)).long(), token_ids)
    replaced = torch.where(fate < AS_MASK, MASK, another)
    bare = ~asked.any(dim=1)
    asked[bare, 1], replaced[bare, 1] = True, MASK
    return torch.where(asked, replaced, token_ids), torch.where(asked, token_ids, 0)


class RelationReasoning(nn.Module):
    """Words look at their picture, then at each other, and those that are asked for are told.

    width: of both towers' tokens. Drawn from seed, as IRRA's code draws it; the global generator stays as it was.
    """

    def __init__(self, width: int, vocabulary: int, *, seed: int) -> None:
        super().__init__()
        heads = 1 if width % 64 else width // 64
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.ln_pre_text, self.ln_pre_image, self.ln_post = (LayerNorm(width) for _ in range(3))
            self.cross_attention = Attention(width, heads)
            self.cross_blocks = Transformer(width, DEPTH, heads, "quick_gelu")
            dense, words = nn.Linear(width, width), nn.Linear(width, vocabulary)
            self.mlm_head = nn.Sequential(dense, QuickGELU(), LayerNorm(width), words)
            into_stream = (width * 2 * DEPTH) ** -0.5
            nn.init.normal_(self.cross_attention.in_proj_weight, std=width**-0.5)
            nn.init.normal_(self.cross_attention.out_proj.weight, std=into_stream)
            nn.init.zeros_(self.cross_attention.in_proj_bias)
            nn.init.zeros_(self.cross_attention.out_proj.bias)
            nn.init.normal_(dense.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(words.weight, std=into_stream)

    def forward(self, words: Tensor, image: Tensor) -> Tensor:
        """Words [B, L, O] as their picture and each other make them: [B, L, O], before the head.

        words: the masked text's tokens; image [B, S, O]: the picture's. Padding is among the words, as in IRRA's code,
        so that texts must not be cut to the longest.
        """
        context = self.ln_pre_image(image)
        x = self.cross_attention(self.ln_pre_text(words), context, None)  # nothing is added to it: no residual here
        told: Tensor = self.ln_post(self.cross_blocks.last(self.cross_blocks.before_last(x)))
        return told

    def losses(self, words: Tensor, image: Tensor, answers: Tensor) -> Tensor:
        """Sum of each row's cross-entropies [B], float32 (float64 for float64); words and image as in `forward`.

        answers [B, L]: the words asked for, 0 where none is. A batch's loss is the sum over its rows, divided by the
        number of words that it asks for.
        """
        asked = answers > 0
        logits = self.mlm_head(self(words, image)[asked])  # of the others none is wanted, and they are most
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        found = functional.cross_entropy(exact, answers[asked], reduction="none")
        return found.new_zeros(asked.shape).masked_scatter(asked, found).sum(dim=1)
