from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resight.clip.transformer import (
    Activation,
    LayerNorm,
    ResidualBlock,
    Transformer,
    attend,
    insert_prompts,
    n_prompts,
    plain_attention,
)


def stack(depth: int = 3, activation: Activation = "quick_gelu") -> Transformer:
    torch.manual_seed(0)
    transformer = Transformer(16, depth, 4, activation).double()
    for parameter in transformer.parameters():
        nn.init.normal_(parameter, mean=0.1, std=0.3)
    return transformer


@pytest.mark.parametrize("mask", [None, "causal", "rows"])
@pytest.mark.parametrize(("n_queries", "n_keys", "width"), [(7, 7, 8), (1, 7, 5), (3, 1, 2)])
def test_both_ways_of_attention_are_equal(n_queries: int, n_keys: int, width: int, mask: str | None) -> None:
    torch.manual_seed(0)
    visible = None
    if mask == "causal":
        visible = torch.arange(n_keys) <= torch.arange(n_queries)[:, None]
    elif mask == "rows":
        visible = (torch.arange(n_keys) <= torch.tensor([0, n_keys - 1])[:, None])[:, None, None]
    inputs = [torch.randn(2, 3, n, width, dtype=torch.float64) for n in (n_queries, n_keys, n_keys)]
    results = []
    for way in (plain_attention, lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m)):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        out = way(*leaves, visible)
        results.append([out, *torch.autograd.grad(out.sin().sum(), leaves)])
    for ours, fused in zip(*results, strict=True):
        torch.testing.assert_close(ours, fused, atol=1e-12, rtol=1e-12)


def test_only_the_cpu_takes_plain_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Tensor:
        raise NotImplementedError("fused")

    monkeypatch.setattr(F, "scaled_dot_product_attention", refuse)
    rows = torch.randn(2, 5, 8)
    assert attend(rows, rows, rows, heads=2).shape == (2, 5, 8)
    with pytest.raises(NotImplementedError, match="fused"):
        attend(rows.to("meta"), rows.to("meta"), rows.to("meta"), heads=2)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_block_equals_pytorchs_layers(activation: Activation, causal: bool) -> None:
    block = stack(1, activation).resblocks[0]
    assert isinstance(block, ResidualBlock)
    reference = nn.MultiheadAttention(16, 4, batch_first=True, dtype=torch.float64)
    reference.load_state_dict(block.attn.state_dict())
    x = torch.randn(2, 6, 16, dtype=torch.float64)
    visible = torch.ones(6, 6, dtype=torch.bool).tril() if causal else None
    normed = F.layer_norm(x, (16,), block.ln_1.weight, block.ln_1.bias, 1e-5)
    hidden = None if visible is None else ~visible
    expected = x + reference(normed, normed, normed, attn_mask=hidden, need_weights=False)[0]
    normed = F.layer_norm(expected, (16,), block.ln_2.weight, block.ln_2.bias, 1e-5)
    z = normed @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias
    z = F.gelu(z) if activation == "gelu" else z / (1 + torch.exp(-1.702 * z))
    expected = expected + z @ block.mlp.c_proj.weight.T + block.mlp.c_proj.bias
    torch.testing.assert_close(block(x, visible=visible), expected, atol=1e-12, rtol=1e-12)


def test_rows_of_the_last_block_equal_the_whole() -> None:
    transformer = stack()
    stream = transformer.before_last(torch.randn(2, 6, 16, dtype=torch.float64))
    whole = transformer.last(stream)
    torch.testing.assert_close(transformer.last(stream[:, 2:4], stream), whole[:, 2:4], atol=1e-12, rtol=1e-12)


def test_layer_norm_computes_in_float32_and_keeps_the_dtype() -> None:
    norm = LayerNorm(32)
    nn.init.normal_(norm.weight)
    x = (100 + torch.randn(4, 32)).bfloat16()
    expected = F.layer_norm(x.float(), (32,), norm.weight, norm.bias, 1e-5)
    assert norm(x).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x), expected.bfloat16(), atol=0, rtol=0)
    torch.testing.assert_close(norm.bfloat16()(x), norm.float()(x), atol=0.02, rtol=0.02)
    assert norm.double()(x.double()).dtype == torch.float64


@pytest.mark.parametrize("frozen", [False, True])
def test_recomputing_gives_the_same_gradients_from_fewer_stored_numbers(frozen: bool) -> None:
    transformer = stack().requires_grad_(not frozen)
    prompts = torch.randn(2, 3, 16, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 40, 16, dtype=torch.float64)
    leaves = [prompts, *(() if frozen else transformer.parameters())]
    gradients, sizes = [], []
    for recompute in (False, True):
        transformer.recompute = recompute
        stored: list[int] = []

        def note(tensor: Tensor, stored: list[int] = stored) -> Tensor:
            stored.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            stream = transformer.before_last(insert_prompts(x, prompts), prompts=prompts)
            loss = transformer.last(stream[:, :1], stream).sin().sum()
        sizes.append(sum(stored))
        gradients.append(torch.autograd.grad(loss, leaves))
    assert sizes[1] < sizes[0] / 5
    assert gradients[0][0].abs().min() > 0
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed, atol=1e-12, rtol=1e-12)


def test_deeper_prompts_replace_the_rows_before_their_block() -> None:
    transformer = stack()
    x, prompts = torch.randn(2, 4, 16, dtype=torch.float64), torch.randn(2, 2, 16, dtype=torch.float64)
    blocks = list(transformer.resblocks)
    expected = blocks[0](torch.cat([x[:, :1], prompts[0].expand(2, -1, -1), x[:, 1:]], 1))
    expected[:, 1:3] = prompts[1]
    expected = blocks[1](expected)
    found = transformer.before_last(insert_prompts(x, prompts), prompts=prompts)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_no_prompts_and_one_level_of_them() -> None:
    x, prompts = torch.randn(2, 4, 16), torch.randn(3, 16)
    assert insert_prompts(x, None) is x
    assert torch.equal(insert_prompts(x, prompts[:0]), x)
    assert torch.equal(insert_prompts(x, prompts), insert_prompts(x, prompts[None]))
    assert [n_prompts(p) for p in (None, prompts, prompts[None])] == [0, 3, 3]


def test_faults_are_named() -> None:
    with pytest.raises(ValueError, match="5 heads do not divide a width of 16"):
        Transformer(16, 1, 5, "gelu")
    with pytest.raises(ValueError, match=r"^activation 'relu': there are quick_gelu, gelu$"):
        stack(activation="relu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prompts for 4 blocks, but the transformer has 3"):
        stack().before_last(torch.randn(1, 3, 16).double(), prompts=torch.randn(4, 1, 16).double())
