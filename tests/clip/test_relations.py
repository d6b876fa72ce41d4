"""Masked words: which are chosen and what becomes of them; the module against a plain loop; how it starts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from resight.clip.relations import MASK, RelationReasoning, mask_tokens
from resight.clip.tokenizer import END, START, encode, tokenize


def rows(n: int, length: int = 77) -> Tensor:
    """n rows of random words that fill the context."""
    words = torch.randint(1, MASK, (n, length - 2), generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.full((n, 1), START), words, torch.full((n, 1), END)], dim=1)


def test_shares_over_a_million_words() -> None:
    """15 % asked for; of these 80 % masked, 10 % another word, 10 % as they were: within 4 deviations."""
    given = rows(13_400)
    masked, answers = mask_tokens(given, (1, 2, 3))
    asked = answers > 0
    n_words, n_asked = given.numel() - 2 * len(given), int(asked.sum())
    assert n_words > 1e6
    assert abs(n_asked / n_words - 0.15) < 4 * math.sqrt(0.15 * 0.85 / n_words)
    assert torch.equal(answers[asked], given[asked])
    assert torch.equal(masked[~asked], given[~asked])
    as_mask, as_before = masked[asked] == MASK, masked[asked] == given[asked]
    for found, share in ((as_mask, 0.8), (as_before, 0.1), (~as_mask & ~as_before, 0.1)):
        assert abs(found.float().mean().item() - share) < 4 * math.sqrt(share * (1 - share) / n_asked)
    others = masked[asked][~as_mask & ~as_before]
    assert 1 <= others.min() < 100
    assert MASK - 100 < others.max() < MASK
    assert abs(others.double().mean().item() / MASK - 0.5) < 4 / math.sqrt(12 * len(others))
    for place in (0, 76):
        assert not asked[:, place].any()


def test_start_end_padding_and_the_mask_itself_are_no_words() -> None:
    given = tokenize(["hyde and jekyll", "a person in a very long coat", "a"]).repeat(400, 1)
    (jekyll,) = encode("jekyll")
    assert jekyll == MASK
    masked, answers = mask_tokens(given, (0, 1, 0))
    asked = answers > 0
    assert set(given[asked].tolist()) == set(given[(given > 0) & (given < MASK)].tolist())
    assert torch.equal(masked[given == END], given[given == END])
    assert torch.equal(masked[given == 0], given[given == 0])
    assert asked.any(dim=1).all()


def test_a_row_of_which_nothing_was_drawn_has_its_first_word_masked() -> None:
    """Always as the mask, and the end where it has no word at all."""
    given = tokenize(["", "word"]).repeat(300, 1)
    masked, answers = mask_tokens(given, (5,))
    assert answers[::2, 1].tolist() == [END] * 300
    assert answers[1::2, 1].tolist() == encode("word") * 300
    assert masked[::2, 1].tolist() == [MASK] * 300
    assert (masked[1::2, 1] == MASK).float().mean() > 0.9  # 15 % were drawn, of which a fifth is not MASK
    assert (answers > 0).sum(dim=1).tolist() == [1] * 600


def test_the_same_seed_masks_the_same_words() -> None:
    given = rows(8)
    for found, again in zip(mask_tokens(given, (1, 2, 3)), mask_tokens(given.clone(), (1, 2, 3)), strict=True):
        assert torch.equal(found, again)
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert not torch.equal(mask_tokens(given, (1, 2, 3))[1], mask_tokens(given, other)[1])


def test_published_sizes() -> None:
    found = RelationReasoning(512, 49408, seed=0)
    counts = {True: 0, False: 0}
    for name, parameter in found.named_parameters():
        counts[name.startswith("mlm_head")] += parameter.numel()
    assert (counts[False], counts[True]) == (13_663_232, 25_609_984)
    assert found.cross_attention.heads == 8


def test_how_it_starts() -> None:
    """Deviations of IRRA's code; the same from one seed, and the global generator is as it was."""
    before = torch.random.get_rng_state()
    found = RelationReasoning(128, 500, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    into_stream = (128 * 8) ** -0.5
    expected = {
        "cross_attention.in_proj_weight": 128**-0.5,
        "cross_attention.out_proj.weight": into_stream,
        "mlm_head.0.weight": 256**-0.5,
        "mlm_head.3.weight": into_stream,
    }
    for block in range(4):
        name = f"cross_blocks.resblocks.{block}."
        expected |= {name + "attn.in_proj_weight": 128**-0.5, name + "attn.out_proj.weight": into_stream}
        expected |= {name + "mlp.c_fc.weight": 256**-0.5, name + "mlp.c_proj.weight": into_stream}
    named = dict(found.named_parameters())
    for name, deviation in expected.items():
        assert named[name].std().item() == pytest.approx(deviation, rel=0.03), name
    for name in ("in_proj_bias", "out_proj.bias"):
        assert not named[f"cross_attention.{name}"].any()
    again = dict(RelationReasoning(128, 500, seed=3).named_parameters())
    assert all(torch.equal(parameter, again[name]) for name, parameter in named.items())
    other = dict(RelationReasoning(128, 500, seed=4).named_parameters())
    assert not torch.equal(named["mlm_head.3.weight"], other["mlm_head.3.weight"])


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * norm.weight + norm.bias


def attention(query: list[Tensor], context: list[Tensor], weights: nn.Module, heads: int) -> list[Tensor]:
    """Head by head and row by row."""
    width, size = len(query[0]), len(query[0]) // heads
    weight, bias = weights.in_proj_weight, weights.in_proj_bias
    rows = [
        [weight[part * width : (part + 1) * width] @ x + bias[part * width : (part + 1) * width] for x in rows]
        for part, rows in enumerate((query, context, context))
    ]
    found = []
    for q in rows[0]:
        gathered = []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            scores = [math.exp(float(q[own] @ k[own]) / math.sqrt(size)) for k in rows[1]]
            gathered.append(sum(s / sum(scores) * v[own] for s, v in zip(scores, rows[2], strict=True)))
        found.append(weights.out_proj.weight @ torch.cat(gathered) + weights.out_proj.bias)
    return found


def quick_gelu(x: Tensor) -> Tensor:
    return x / (1 + (-1.702 * x).exp())


def roughened(width: int, vocabulary: int) -> RelationReasoning:
    found = RelationReasoning(width, vocabulary, seed=1).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return found


@pytest.mark.parametrize(("width", "heads"), [(128, 2), (12, 1)])
def test_the_losses_against_a_plain_loop(width: int, heads: int) -> None:
    """No residual around the cross-attention; every word, padding too, looks at every other."""
    found = roughened(width, 30)
    generator = torch.Generator().manual_seed(3)
    words = torch.randn(2, 5, width, generator=generator, dtype=torch.float64)
    image = torch.randn(2, 3, width, generator=generator, dtype=torch.float64)
    answers = torch.tensor([[0, 7, 0, 29, 0], [0, 0, 0, 0, 1]])
    losses = found.losses(words, image, answers)
    with torch.no_grad():
        for row in range(2):
            context = [layer_norm(x, found.ln_pre_image) for x in image[row]]
            x = attention([layer_norm(x, found.ln_pre_text) for x in words[row]], context, found.cross_attention, heads)
            for block in found.cross_blocks.resblocks:
                normed = [layer_norm(one, block.ln_1) for one in x]
                x = [a + b for a, b in zip(x, attention(normed, normed, block.attn, heads), strict=True)]
                x = [one + block.mlp.c_proj(quick_gelu(block.mlp.c_fc(layer_norm(one, block.ln_2)))) for one in x]
            total = 0.0
            for place, answer in enumerate(answers[row].tolist()):
                told = layer_norm(x[place], found.ln_post)
                torch.testing.assert_close(found(words, image)[row, place], told, rtol=1e-9, atol=1e-9)
                if answer:
                    hidden = layer_norm(quick_gelu(found.mlm_head[0](told)), found.mlm_head[2])
                    logits = found.mlm_head[3](hidden)
                    total += float(logits.exp().sum().log() - logits[answer])
            assert losses[row].item() == pytest.approx(total, rel=1e-9)


def test_what_is_not_asked_for_does_not_count() -> None:
    found = roughened(12, 30)
    words, image = torch.randn(2, 5, 12, dtype=torch.float64), torch.randn(2, 3, 12, dtype=torch.float64)
    assert found.losses(words, image, torch.zeros(2, 5, dtype=torch.int64)).tolist() == [0, 0]
    answers = torch.tensor([[0, 7, 0, 0, 0], [3, 4, 0, 0, 0]])
    one = found.losses(words, image, answers)
    parts = [found.losses(words, image, torch.where(answers == asked, answers, 0)) for asked in (7, 3, 4)]
    torch.testing.assert_close(one, torch.stack(parts).sum(dim=0))


def test_losses_are_float32_and_reach_both_towers() -> None:
    found = RelationReasoning(12, 30, seed=0)
    words, image = torch.randn(2, 5, 12, requires_grad=True), torch.randn(2, 3, 12, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = found.losses(words, image, torch.tensor([[0, 7, 0, 29, 0], [0, 0, 0, 0, 1]]))
    assert losses.dtype == torch.float32
    losses.sum().backward()
    for side in (words, image):
        assert side.grad is not None
        assert side.grad.abs().sum() > 0
    assert [name for name, parameter in found.named_parameters() if parameter.grad is None] == []
