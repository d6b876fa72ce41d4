from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resight.clip.text import TextConfig, TextTransformer, cut_to_longest

TEXT = TextConfig(width=16, depth=3, heads=4, output=6, activation="quick_gelu", context_length=12, vocabulary=20)
# 18 starts, 19 ends; what follows the end is padding
IDS = torch.tensor([[18, 3, 7, 5, 19, 0, 0, 0, 0, 0, 0, 0], [18, 19] + 10 * [0], [18, *range(1, 8), 19, 0, 0, 0]])


def tower(config: TextConfig = TEXT) -> TextTransformer:
    torch.manual_seed(0)
    text = TextTransformer(config).double()
    for parameter in text.parameters():
        nn.init.normal_(parameter, mean=0.05, std=0.3)
    return text


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


def test_published_size() -> None:
    config = TextConfig(width=512, depth=12, heads=8, output=512, activation="quick_gelu")
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in TextTransformer(config).parameters()) == 63_428_096


@pytest.mark.parametrize("changes", [{}, {"activation": "gelu"}, {"depth": 1}, {"heads": 1}])
def test_the_end_token_alone_equals_its_row_of_all_tokens(changes: dict[str, object]) -> None:
    text = tower(replace(TEXT, **changes))
    x = text.embed(IDS) + text.positional_embedding
    visible = torch.ones(12, 12, dtype=torch.bool).tril()
    for block in text.transformer.resblocks:
        x = block(x, visible=visible)
    tokens = text.ln_final(x) @ text.text_projection
    same(text.tokens(IDS), tokens)
    same(text(IDS), tokens[torch.arange(3), torch.tensor([4, 1, 8])])


def test_tokens_of_a_shorter_row_are_the_first_of_it() -> None:
    text = tower()
    same(text.tokens(IDS[:, :7]), text.tokens(IDS)[:, :7])


def test_cut_to_the_longest_text_gives_the_same_features() -> None:
    cut = cut_to_longest(IDS)
    assert cut.shape == (3, 9)
    same(tower()(cut), tower()(IDS))
    assert torch.equal(cut_to_longest(cut), cut)
    assert cut_to_longest(IDS[1:2]).tolist() == [[18, 19]]


@pytest.mark.parametrize("n", [1, 16, 17, 40])
@pytest.mark.parametrize("prompts", [None, (2, 16), (3, 2, 16)])
def test_texts_of_like_length_together_give_the_same_features_and_gradients(n: int, prompts: Any) -> None:
    text = tower()
    rng = torch.Generator().manual_seed(n)
    tokens = torch.zeros(n, 12, dtype=torch.int64)
    for row, length in zip(tokens, torch.randint(0, 11, (n,), generator=rng).tolist(), strict=True):
        words = torch.randint(0, 18, (length,), generator=rng)
        row[: length + 2] = torch.tensor([18, *words.tolist(), 19])
    learned = None if prompts is None else torch.randn(prompts, generator=rng, dtype=torch.float64)
    found, expected = text.by_length(tokens, prompts=learned), text(tokens, prompts=learned)
    same(found, expected)
    weights = torch.randn(n, 6, generator=rng, dtype=torch.float64)
    parameters = list(text.parameters())
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), parameters),
        torch.autograd.grad((expected * weights).sum(), parameters),
        strict=True,
    ):
        same(one, other)


def test_parts_are_cut_to_their_own_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    text, seen = tower(), []
    encode = text.encode

    def spy(embedded: Tensor, end: Tensor, **more: Any) -> Tensor:
        seen.append((len(embedded), embedded.shape[1], end.tolist() == sorted(end.tolist())))
        return encode(embedded, end, **more)

    monkeypatch.setattr(text, "encode", spy)
    text.by_length(IDS.repeat(6, 1))  # six of 5, of 2 and of 9 tokens
    assert seen == [(16, 9, True), (2, 9, True)]
    seen.clear()
    text.by_length(IDS[:2].repeat(16, 1))
    assert seen == [(16, 2, True), (16, 5, True)]


def test_nothing_after_the_end_matters() -> None:
    text, other = tower(), IDS.clone()
    other[0, 5:] = torch.tensor([4, 4, 9, 1, 0, 2, 19])
    same(text(other), text(IDS))
    embedded = text.embed(IDS).detach().requires_grad_()
    text.encode(embedded, IDS.argmax(1)).square().sum().backward()
    assert embedded.grad is not None
    for gradient, end in zip(embedded.grad, (4, 1, 8), strict=True):
        assert gradient[: end + 1].abs().amax(1).min() > 0
        assert gradient[end + 1 :].abs().max() == 0


def test_prompts_follow_the_start_token_and_words_keep_their_positions() -> None:
    text, prompts = tower(), torch.randn(2, 16, dtype=torch.float64)
    prompted = text(IDS, prompts=prompts)
    assert torch.equal(text(IDS, prompts=prompts[:0]), text(IDS))
    assert torch.equal(text(IDS, prompts=prompts[None]), prompted)
    same(text(cut_to_longest(IDS), prompts=prompts), prompted)
    # A text of full length loses no word: the sequence grows to 12 + 2.
    full = torch.tensor([[18, *range(1, 11), 19]])
    assert text(full, prompts=prompts).shape == (1, 6)
    # The same rows, written by hand: start, two prompts without positions, words at positions 1, 2, ...
    longer = tower(replace(TEXT, context_length=14))
    longer.load_state_dict({**text.state_dict(), "positional_embedding": torch.zeros(14, 16)})
    x = text.embed(full) + text.positional_embedding
    by_hand = longer.encode(torch.cat([x[:, :1], prompts[None], x[:, 1:]], 1), torch.tensor([13]))
    same(text(full, prompts=prompts), by_hand)


def test_prompts_that_are_words_give_what_the_words_give() -> None:
    text = tower()
    words, rest = torch.tensor([3, 7]), torch.tensor([[18, 5, 19]])
    prompts = text.embed(words) + text.positional_embedding[1:3]
    whole = text(IDS[:1])
    moved = text.positional_embedding[[0, 3, 4]].detach()
    text.positional_embedding.data[:3] = moved
    same(text(rest, prompts=prompts.detach()), whole)


def test_deep_prompts_act_in_every_block_they_are_given_for() -> None:
    text = tower().requires_grad_(False)
    gradients = []
    for text.transformer.recompute in (False, True):
        prompts = torch.ones(3, 2, 16, dtype=torch.float64).cumsum(0).requires_grad_()
        text(IDS, prompts=prompts).square().sum().backward()
        assert prompts.grad is not None
        gradients.append(prompts.grad)
    assert (gradients[0].abs().amax((1, 2)) > 1e-6).all()
    same(gradients[0], gradients[1])


def test_autocast_is_near_float32_and_the_tower_compiles_to_one_graph() -> None:
    text = tower().float()
    expected = text(IDS)
    with torch.autocast("cpu", torch.bfloat16):
        assert (text(IDS).float() - expected).norm() < 0.05 * expected.norm()
    compiled = torch.compile(text, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(IDS), expected)


def test_an_exported_tower_takes_any_number_of_texts() -> None:
    batch = {"token_ids": {0: torch.export.Dim("batch", min=1, max=64)}}
    exported = torch.export.export(tower().eval(), (IDS,), dynamic_shapes=batch).module()
    torch.testing.assert_close(exported(IDS[[0, 1, 2, 1]]), tower()(IDS)[[0, 1, 2, 1]])
