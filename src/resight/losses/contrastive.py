"""Losses between pictures and texts: what belongs together is alike, what does not is not.

Products, logarithms and means are float32 (float64 for float64), inside autocast too. Features are of any norm and
dtype; except where a loss says otherwise it takes their cosine.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-8
"""Keeps the logarithm of a target of 0 finite; each unit of probability on such a pair costs 18.42."""


def prompt_contrastive(images: Tensor, texts: Tensor, identities: Tensor) -> tuple[Tensor, Tensor]:
    """Picture-to-text and text-to-picture loss of prompts learned for each identity: two scalars.

    images [B, O]; texts [U, O], one for each identity; identities [B], each picture's row of texts. Plain products, no
    temperature. The result is that of a text for every picture: a text stands in the sum as often as its identity has
    pictures here, and one whose identity has none does not count. Li et al. 2022, arXiv 2211.13977 §3.2.
    """
    logits = _products(images, texts)
    n_pictures = torch.bincount(identities, minlength=len(texts)).to(logits.dtype)
    own = logits.gather(1, identities[:, None])[:, 0]
    image_to_text = (logits + n_pictures.log()).logsumexp(dim=1) - own
    text_to_image = logits.logsumexp(dim=0)[identities] - own
    return image_to_text.mean(), text_to_image.mean()


def image_text_contrastive(
    images: Tensor, texts: Tensor, identities: Tensor | None = None, *, logit_scale: float | Tensor
) -> Tensor:
    """InfoNCE, the mean of both directions: a scalar. images [B, O] and texts [B, O] are pairs, row by row.

    identities None: a row's own partner is its only positive, and another pair of the same identity is a negative, as
    in CLIP (Radford et al. 2021) and IRRA. identities [B]: all partners of the same identity are positives, and share
    the target equally. Logits are cosine times logit_scale.
    """
    logits = logit_scale * _cosines(images, texts)
    pairs = torch.arange(len(images), device=images.device) if identities is None else identities
    targets = _targets(pairs, logits)
    return (functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)) / 2


def similarity_distribution_matching(
    images: Tensor, texts: Tensor, identities: Tensor, *, logit_scale: float | Tensor
) -> Tensor:
    """SDM, the sum of both directions: how far the softmax of a row is from equal shares for its identity: a scalar.

    images [B, O] and texts [B, O] are pairs, row by row; identities [B]. The divergence is KL(predicted || target).
    Jiang and Ye 2023, "IRRA", arXiv 2303.12501.
    """
    logits = logit_scale * _cosines(images, texts)
    targets = _targets(identities, logits)
    return _divergence(logits, targets) + _divergence(logits.T, targets)


def cross_modal_projection_matching(images: Tensor, texts: Tensor, identities: Tensor) -> Tensor:
    """CMPM, the sum of both directions: SDM of the features' projections on the other side's directions: a scalar.

    images [B, O] and texts [B, O] are pairs, row by row; identities [B]. Norms count on the projected side. A row of
    targets is divided by its Euclidean length, not by its sum, as the public code has it (Zhang and Lu 2018, ECCV).
    """
    images, texts = _exact(images), _exact(texts)
    targets = functional.normalize((identities[:, None] == identities).to(images.dtype))
    image_to_text = _divergence(_products(images, functional.normalize(texts)), targets)
    return image_to_text + _divergence(_products(texts, functional.normalize(images)), targets)


def triplet_alignment(
    images: Tensor, texts: Tensor, identities: Tensor, *, margin: float, temperature: float
) -> Tensor:
    """TAL, the sum over pairs and both directions of relu(margin - positive + soft maximum of the negatives): a scalar.

    images [B, O] and texts [B, O] are pairs, row by row; identities [B]; margin in units of the cosine. The positive is
    the mean over the same identity, weighted by a softmax whose weights get no gradient. Raises ValueError when the
    batch holds one identity only. Qin et al. 2024, "RDE", arXiv 2308.09911.
    """
    same = identities[:, None] == identities
    if bool(same.all()):
        raise ValueError(
            "the batch holds one identity only; alignment needs a negative, so draw two identities or more"
        )
    cosines = _cosines(images, texts)
    directions = (_alignment(rows, same, margin=margin, temperature=temperature) for rows in (cosines, cosines.T))
    return torch.stack(list(directions)).sum()


def _alignment(cosines: Tensor, same: Tensor, *, margin: float, temperature: float) -> Tensor:
    """One direction of `triplet_alignment`: rows look for columns."""
    logits = cosines / temperature
    weights = logits.masked_fill(~same, float("-inf")).softmax(dim=1).detach()
    positive = (weights * cosines).sum(dim=1)
    negative = temperature * logits.masked_fill(same, float("-inf")).logsumexp(dim=1)
    return (margin - positive + negative).relu().sum()


def _divergence(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows of KL(softmax of the row || its targets)."""
    predicted = logits.log_softmax(dim=1)
    return (predicted.exp() * (predicted - (targets + EPSILON).log())).sum(dim=1).mean()


def _targets(identities: Tensor, like: Tensor) -> Tensor:
    """Equal shares for the pairs of each row's identity, summing to 1, in the dtype of `like` [B, B]."""
    same = (identities[:, None] == identities).to(like.dtype)
    return same / same.sum(dim=1, keepdim=True)


def _cosines(images: Tensor, texts: Tensor) -> Tensor:
    return _products(functional.normalize(_exact(images)), functional.normalize(_exact(texts)))


def _products(rows: Tensor, columns: Tensor) -> Tensor:
    """All dot products of two sets of features; autocast would round them to half precision."""
    with torch.autocast(rows.device.type, enabled=False):
        return _exact(rows) @ _exact(columns).T


def _exact(features: Tensor) -> Tensor:
    """As float32, or as float64 where they are."""
    return features.to(torch.promote_types(features.dtype, torch.float32))
