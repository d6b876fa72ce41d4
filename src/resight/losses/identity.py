"""The identity loss: which of the training identities a picture shows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def identity_loss(logits: Tensor, identities: Tensor, *, smoothing: float) -> Tensor:
    """Mean cross-entropy with the targets (1 - smoothing) · one-hot + smoothing / N: a scalar.

    logits [B, N], in half precision too: the loss is float32 (float64 for float64). identities [B], 0 <= identity < N;
    smoothing from 0 (plain cross-entropy) to 1. Szegedy et al. 2016, arXiv 1512.00567 §7.
    """
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return functional.cross_entropy(exact, identities, label_smoothing=smoothing)
