"""The pre-norm transformer inside both of CLIP's towers; parameters keep OpenAI's names."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Activation = Literal["quick_gelu", "gelu"]


class LayerNorm(nn.LayerNorm):
    """x normalised over its last dimension in float32 or wider, in the dtype it came in."""

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        return F.layer_norm(x.to(wide), self.normalized_shape, self.weight.to(wide), self.bias.to(wide), self.eps).to(x)


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the approximation that OpenAI trained CLIP with."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


_ACTIVATIONS: dict[str, type[nn.Module]] = {"quick_gelu": QuickGELU, "gelu": nn.GELU}


def plain_attention(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
    """softmax(Q Kᵀ / sqrt(d)) V, written out; arguments as scaled_dot_product_attention's, visible is its mask."""
    scores = (query * query.shape[-1] ** -0.5) @ key.mT
    if visible is not None:
        scores = scores.masked_fill(~visible, float("-inf"))
    return torch.matmul(scores.softmax(-1), value)


def attend(query: Tensor, key: Tensor, value: Tensor, *, heads: int, visible: Tensor | None = None) -> Tensor:
    """What each query row gathers from the value rows, heads side by side: [B, Q, W].

    query [B, Q, W]; key and value [B, S, W]; visible: boolean, broadcasts to [B, heads, Q, S], True where a query may
    look; None is everywhere.
    """
    query, key, value = (rows.view(*rows.shape[:2], heads, -1).transpose(1, 2) for rows in (query, key, value))
    # On a CPU the fused kernel's backward pass is the slower of the two.
    if query.device.type == "cpu":
        gathered = plain_attention(query, key, value, visible)
    else:
        gathered = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
    return gathered.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Multi-head attention whose queries may be fewer rows than its context."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, visible: Tensor | None) -> Tensor:
        width = x.shape[-1]
        query_weight, other_weight = torch.split(self.in_proj_weight, [width, 2 * width])
        query_bias, other_bias = torch.split(self.in_proj_bias, [width, 2 * width])
        query = F.linear(x, query_weight, query_bias)
        key, value = F.linear(context, other_weight, other_bias).chunk(2, -1)
        gathered: Tensor = self.out_proj(attend(query, key, value, heads=self.heads, visible=visible))
        return gathered


class MLP(nn.Module):
    """Two linear layers, four times as wide between them."""

    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation {activation!r}: there are {', '.join(_ACTIVATIONS)}")
        self.gelu = _ACTIVATIONS[activation]()
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.c_proj(self.gelu(self.c_fc(x)))
        return hidden


class ResidualBlock(nn.Module):
    """x + attention(LN x), then + MLP(LN x)."""

    def __init__(self, width: int, heads: int, activation: Activation) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = LayerNorm(width)
        self.mlp = MLP(width, activation)

    def forward(self, x: Tensor, context: Tensor | None = None, visible: Tensor | None = None) -> Tensor:
        """The rows x [B, Q, W] after this block; context [B, S, W] holds every row, None when x does."""
        rows = self.ln_1(x)
        x = x + self.attn(rows, rows if context is None else self.ln_1(context), visible)
        updated: Tensor = x + self.mlp(self.ln_2(x))
        return updated


class Transformer(nn.Module):
    """Residual blocks, of which the last may be asked for some rows only.

    recompute: keep no activations inside a block for the backward pass but compute them again; less memory, one more
    forward pass of time.
    """

    def __init__(self, width: int, depth: int, heads: int, activation: Activation) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.recompute = False
        self.resblocks = nn.ModuleList(ResidualBlock(width, heads, activation) for _ in range(depth))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights as OpenAI's code does for its text tower (here the image tower gets the same)."""
        for block in self.resblocks:
            assert isinstance(block, ResidualBlock)
            width = block.attn.out_proj.in_features
            into_stream = (width * 2 * len(self.resblocks)) ** -0.5
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=into_stream)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=into_stream)
            for bias in (block.attn.in_proj_bias, block.attn.out_proj.bias):
                nn.init.zeros_(bias)

    def before_last(self, x: Tensor, *, visible: Tensor | None = None, prompts: Tensor | None = None) -> Tensor:
        """All rows [B, S, W] as the last block receives them; prompts as `insert_prompts` took them."""
        levels = () if prompts is None else _levels(prompts)
        if len(levels) > len(self.resblocks):
            raise ValueError(f"prompts for {len(levels)} blocks, but the transformer has {len(self.resblocks)}")
        for number, block in enumerate(self.resblocks):
            if 0 < number < len(levels):
                rows = levels[number].expand(x.shape[0], -1, -1)
                x = torch.cat([x[:, :1], rows.to(x.dtype), x[:, 1 + rows.shape[1] :]], 1)
            if number < len(self.resblocks) - 1:
                x = self._run(block, x, None, visible)
        return x

    def last(self, x: Tensor, context: Tensor | None = None, *, visible: Tensor | None = None) -> Tensor:
        """The rows x [B, Q, W] after the last block; context as in `ResidualBlock`."""
        return self._run(self.resblocks[-1], x, context, visible)

    def _run(self, block: nn.Module, *arguments: Tensor | None) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            # The re-entrant form would give learned prompts no gradient when the weights are frozen.
            result: Tensor = checkpoint(block, *arguments, use_reentrant=False, preserve_rng_state=False)
        else:
            result = block(*arguments)
        return result


def insert_prompts(x: Tensor, prompts: Tensor | None) -> Tensor:
    """x [B, S, W] with learned rows after its first one: [B, S + P, W].

    prompts: [P, W], or [D, P, W] of which the first level enters here, and level k replaces the same rows before
    block k (1 <= k < D) in `Transformer.before_last` (VPT-deep, arXiv 2203.12119 §3.2); None inserts nothing.
    """
    if prompts is None:
        return x
    rows = _levels(prompts)[0].expand(x.shape[0], -1, -1)
    return torch.cat([x[:, :1], rows.to(x.dtype), x[:, 1:]], 1)


def n_prompts(prompts: Tensor | None) -> int:
    """P, the number of rows that `insert_prompts` adds."""
    return 0 if prompts is None else prompts.shape[-2]


def _levels(prompts: Tensor) -> tuple[Tensor, ...]:
    return prompts.unbind(0) if prompts.dim() == 3 else (prompts,)
