"""Where an encoder looked: how much each place of a picture counts towards a direction of its vectors.

A vision transformer's maps follow Chefer et al. 2021 (arXiv 2103.15679, equations 5 and 6): in every block the
attention times its gradient, what is negative left out, is averaged over the heads and added up from block to block,
from the patches to the class token. A ResNet's are its last feature map times its gradient, summed over channels
(HiResCAM: Draelos and Carin 2020, arXiv 2011.08891); where the feature is the map's average, that is exactly what
each place adds to the cosine. Of what was tried on pictures of drawn people, greying out the places that these two
call most relevant lowers the similarity most: the last block's attention times its gradient, LeGrad and Grad-CAM
follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from resight.clip.image import VisionTransformer
from resight.clip.transformer import Attention, Transformer
from resight.encoder import Encoder

MOST_TOGETHER = 16  # pictures
MOST_BYTES = 512 * 1024**2  # of attention that is kept for its gradient


def picture_relevance(
    encoder: Encoder,
    images: Tensor,
    directions: NDArray[np.float32],
    *,
    aligned: bool = False,
    cameras: Sequence[str | None] | None = None,
    views: Sequence[str | None] | None = None,
) -> NDArray[np.float32]:
    """Maps [B, rows, columns] of shares that are 0 or more and sum to 1, or are all 0 where nothing counts.

    images: uint8 [B, 3, H, W] at the size of the encoder's `preprocess`. directions: one for each picture, in the space
    of the embedding [B, D], or of the aligned vectors [B, O]: what a vector's inner product is taken with, at length 1.
    With another picture's vector it is their cosine; with that less the mean of many, what sets it apart from them. The
    length of the picture's own vector counts as fixed, so that the places of a feature map add up. Raises ValueError in
    training mode.
    """
    if encoder.training:
        raise ValueError("the encoder is in training mode; call eval() first")
    unknown: list[str | None] = [None] * len(images)
    side = None if encoder.side is None else encoder.side.weights(cameras or unknown, views or unknown)
    tower = encoder.clip.image
    rows, columns = tower.config.grid
    wanted = functional.normalize(torch.from_numpy(directions).to(encoder.device))

    def project() -> Tensor:
        given = encoder.preprocess.normalise(images.to(encoder.device))
        found: tuple[Tensor, Tensor] = encoder(given, None if side is None else side.to(encoder.device))
        return _along(found[1] if aligned else found[0], wanted)

    if isinstance(tower, VisionTransformer):
        counted = _through_blocks(tower.transformer, project)[:, -rows * columns :]
    else:
        counted = _on_map(tower.layer4, project).flatten(1)
    return _shares(counted).reshape(-1, rows, columns)


def n_together(encoder: Encoder) -> int:
    """How many pictures `picture_relevance` may take at a time, so that the attention it keeps takes half a GB."""
    tower = encoder.clip.image
    if not isinstance(tower, VisionTransformer):
        return MOST_TOGETHER
    rows, columns = tower.config.grid
    n_prompts = 0 if encoder.prompts is None else encoder.prompts.form.image_length
    n_tokens = 1 + n_prompts + rows * columns
    of_one = 4 * tower.config.depth * tower.config.heads * n_tokens**2  # float32
    return max(1, min(MOST_TOGETHER, MOST_BYTES // of_one))


def word_relevance(
    encoder: Encoder, texts: Sequence[str], directions: NDArray[np.float32]
) -> list[tuple[tuple[str, float], ...]]:
    """For each text its words, in order, each with how much the inner product falls when that word is left out.

    directions: [B, O], in the space of the aligned vectors. A word is what white space sets apart; a word that stands
    against the direction has less than 0. Attention's way, as for pictures, would name the noun where its colour tells:
    what a word says has moved to the next one by the last blocks. Raises ConfigError when the encoder has no text
    tower.
    """
    found = []
    for text, direction in zip(texts, directions, strict=True):
        words = text.split()
        without = [" ".join(words[:k] + words[k + 1 :]) for k in range(len(words))]
        scores = encoder.embed_texts([text, *without]).embedding @ direction
        found.append(tuple(zip(words, (scores[0] - scores[1:]).tolist(), strict=True)))
    return found


def _along(vectors: Tensor, directions: Tensor) -> Tensor:
    """The sum of all inner products of the vectors, at length 1, with their directions."""
    vectors = vectors.float()
    total: Tensor = ((vectors / vectors.norm(dim=1, keepdim=True).detach()) * directions).sum()
    return total


def _shares(counted: Tensor) -> NDArray[np.float32]:
    """[B, N], what is above 0 as shares of the whole."""
    positive = counted.detach().clamp(min=0)
    shares: NDArray[np.float32] = functional.normalize(positive, p=1, dim=1).cpu().numpy()
    return shares


def _through_blocks(transformer: Transformer, project: Callable[[], Tensor]) -> Tensor:
    """Relevance [B, S] of every row that enters a transformer to the one row that its last block is asked for."""
    kept: list[Tensor] = []

    def attend_and_keep(module: nn.Module, inputs: tuple[Any, ...], _: Tensor) -> Tensor:
        """The same output, computed through an attention that a gradient can be asked of."""
        assert isinstance(module, Attention)
        x, context, visible = inputs
        width = x.shape[-1]
        query = functional.linear(x, module.in_proj_weight[:width], module.in_proj_bias[:width])
        other = functional.linear(context, module.in_proj_weight[width:], module.in_proj_bias[width:])
        parts = (query, *other.chunk(2, -1))
        query, key, value = (rows.unflatten(-1, (module.heads, -1)).transpose(1, 2) for rows in parts)
        scores = (query * query.shape[-1] ** -0.5) @ key.mT
        if visible is not None:
            scores = scores.masked_fill(~visible, float("-inf"))
        kept.append(scores.softmax(-1))
        gathered: Tensor = module.out_proj((kept[-1] @ value).transpose(1, 2).flatten(2))
        return gathered

    blocks = (block.attn for block in transformer.resblocks)
    total = _hooked(blocks, attend_and_keep, project)
    gradients = torch.autograd.grad(total, kept)
    relevance: Tensor = torch.eye(kept[0].shape[-1], device=kept[0].device)
    for attention, gradient in zip(kept, gradients, strict=True):  # no gradient in prompts that are replaced thereafter
        update = (attention.detach() * gradient).clamp(min=0).mean(1) @ relevance
        relevance = relevance[..., : update.shape[1], :] + update  # the last block has one row
    to_last: Tensor = relevance[:, 0]
    return to_last


def _on_map(layer: nn.Module, project: Callable[[], Tensor]) -> Tensor:
    """[B, h, w] of a layer's feature map [B, C, h, w]."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        kept.append(output)

    total = _hooked([layer], keep, project)
    (gradient,) = torch.autograd.grad(total, kept)
    return (kept[0].detach() * gradient).sum(1)


def _hooked(modules: Any, hook: Any, project: Callable[[], Tensor]) -> Tensor:
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        with torch.enable_grad():
            return project()
    finally:
        for handle in handles:
            handle.remove()
