"""CLIP's text tower; parameters keep OpenAI's names, which have no prefix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resight.clip.transformer import Activation, LayerNorm, Transformer, insert_prompts, n_prompts

TOGETHER = 16
"""Texts that a processor computes at a time; in larger parts more is padding, in smaller ones products are slower."""


@dataclass(frozen=True, slots=True)
class TextConfig:
    """A causal text transformer. context_length: the most tokens of a text; vocabulary: rows of the token table."""

    width: int
    depth: int
    heads: int
    output: int
    activation: Activation
    context_length: int = 77
    vocabulary: int = 49408


class TextTransformer(nn.Module):
    """Token ids [B, L], L up to the context length → text features [B, O], not normalised to length 1.

    Every row starts with the start token, and its end token is the largest id in it; what follows the end is ignored.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, config.width))
        self.transformer = Transformer(config.width, config.depth, config.heads, config.activation)
        self.ln_final = LayerNorm(config.width)
        self.text_projection = nn.Parameter(torch.empty(config.width, config.output))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw this module's own parameters as OpenAI's code does."""
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=self.config.width**-0.5)

    def forward(self, token_ids: Tensor, *, prompts: Tensor | None = None) -> Tensor:
        """Features [B, O] of texts; prompts as in `encode`."""
        return self.encode(self.embed(token_ids), token_ids.argmax(1), prompts=prompts)

    def tokens(self, token_ids: Tensor) -> Tensor:
        """Every token, padding too, normed and projected: [B, L, O]; each sees itself and those before it."""
        x = self.embed(token_ids) + self.positional_embedding[: token_ids.shape[1]]
        places = torch.arange(x.shape[1], device=x.device)
        visible = places <= places[:, None]
        stream = self.transformer.before_last(x, visible=visible)
        tokens: Tensor = self.ln_final(self.transformer.last(stream, visible=visible))
        return tokens @ self.text_projection

    def by_length(self, token_ids: Tensor, *, prompts: Tensor | None = None) -> Tensor:
        """The same features at less work on a processor: texts of like length together, each part cut to its longest.

        Elsewhere many small parts cost more than the columns that they save.
        """
        if token_ids.device.type != "cpu" or len(token_ids) <= TOGETHER or torch.compiler.is_compiling():
            features: Tensor = self(token_ids, prompts=prompts)
            return features
        ends = token_ids.argmax(1)
        order = ends.argsort(stable=True)
        embedded = self.embed(token_ids)  # all at once: the gradient of a token table is large, however few its rows
        parts = [
            self.encode(embedded[rows, : int(ends[rows[-1]]) + 1], ends[rows], prompts=prompts)
            for rows in order.split(TOGETHER)
        ]
        return torch.cat(parts)[order.argsort()]

    def embed(self, token_ids: Tensor) -> Tensor:
        """Token embeddings [..., W], without positions."""
        embedded: Tensor = self.token_embedding(token_ids)
        return embedded

    def encode(self, embedded: Tensor, end: Tensor, *, prompts: Tensor | None = None) -> Tensor:
        """Features [B, O] at the end tokens; the last block is computed for those rows alone.

        embedded [B, L, W]: token embeddings without positions. end [B]: index of each end token. prompts: learned rows
        after the start token, [P, W] or [D, P, W] as in `insert_prompts`; the words keep the positions they have
        without them.
        """
        x = insert_prompts(embedded + self.positional_embedding[: embedded.shape[1]], prompts)
        end = end + n_prompts(prompts)
        places = torch.arange(x.shape[1], device=x.device)
        stream = self.transformer.before_last(x, visible=places <= places[:, None], prompts=prompts)
        rows = stream[torch.arange(x.shape[0], device=x.device), end][:, None]
        seen = (places <= end[:, None])[:, None, None]
        last: Tensor = self.ln_final(self.transformer.last(rows, stream, visible=seen))[:, 0]
        return last @ self.text_projection


def cut_to_longest(token_ids: Tensor) -> Tensor:
    """The same rows [B, L] without the columns after the last end token; features stay the same, at less work."""
    return token_ids[:, : int(token_ids.argmax(1).max()) + 1]
