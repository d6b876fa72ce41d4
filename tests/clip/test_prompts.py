from __future__ import annotations

import pytest
import torch
from torch import nn

from resight.clip.image import VisionTransformer, ViTConfig
from resight.clip.prompts import IdentityPrompts, SharedPrompts
from resight.clip.text import TextConfig, TextTransformer

TEXT = TextConfig(width=16, depth=2, heads=4, output=6, activation="quick_gelu", context_length=12, vocabulary=20)
TEMPLATE = [18, 3, 9, 9, 7, 9, 5, 19, 0, 0, 0, 0]  # 18 starts, 19 ends, 9 is the placeholder


def tower() -> TextTransformer:
    torch.manual_seed(0)
    text = TextTransformer(TEXT).requires_grad_(False)
    for parameter in text.parameters():
        nn.init.normal_(parameter, mean=0.05, std=0.3)
    return text


def learned(seed: int = 0, template: list[int] = TEMPLATE) -> IdentityPrompts:
    return IdentityPrompts(4, template, placeholder=9, width=16, seed=seed)


def test_an_identitys_vectors_stand_in_for_the_placeholders() -> None:
    prompts, text = learned(), tower()
    identities = torch.tensor([2, 0, 2])
    words = text.embed(torch.tensor(TEMPLATE)).repeat(3, 1, 1)
    for row, identity in enumerate(identities):
        for vector, slot in enumerate((2, 3, 5)):
            words[row, slot] = prompts.vectors[identity, vector].detach()
    expected = text.encode(words, torch.full((3,), 7))
    torch.testing.assert_close(prompts(identities, text), expected, atol=1e-6, rtol=1e-5)


def test_vectors_that_are_words_give_the_feature_of_the_text() -> None:
    prompts, text = learned(), tower()
    prompts.vectors.data[1] = text.embed(torch.tensor([1, 2, 4]))
    written = torch.tensor([[18, 3, 1, 2, 7, 4, 5, 19, 0, 0, 0, 0]])
    torch.testing.assert_close(prompts(torch.tensor([1]), text), text(written), atol=1e-6, rtol=1e-5)


def test_an_identity_that_comes_twice_has_one_feature_and_both_gradients() -> None:
    text, identities = tower(), torch.tensor([0, 1, 6, 6])
    prompts = IdentityPrompts(7, TEMPLATE, placeholder=9, width=16, seed=0)
    features, (zero, one, six) = prompts(identities, text), prompts(torch.tensor([0, 1, 6]), text)
    torch.testing.assert_close(features, torch.stack([zero, one, six, six]), atol=1e-6, rtol=1e-5)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((weights * features).sum(), prompts.vectors)
    once = torch.stack([weights[0], weights[1], weights[2] + weights[3]])
    (expected,) = torch.autograd.grad((once * torch.stack([zero, one, six])).sum(), prompts.vectors)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)
    assert gradient.abs().amax((1, 2)).bool().tolist() == [True, True, False, False, False, False, True]
    assert [
        name for name, parameter in (*text.named_parameters(), *prompts.named_parameters()) if parameter.requires_grad
    ] == ["vectors"]


def test_only_the_vectors_of_the_given_identities_learn() -> None:
    prompts, text = learned(), tower()
    prompts(torch.tensor([0, 2, 2]), text).square().sum().backward()
    assert prompts.vectors.grad is not None
    assert (prompts.vectors.grad.abs().amax((1, 2)) > 0).tolist() == [True, False, True, False]
    assert all(parameter.grad is None for parameter in text.parameters())


def test_what_is_stored_and_how_it_starts() -> None:
    assert list(learned().state_dict()) == ["vectors"]
    assert torch.equal(learned(1).vectors, learned(1).vectors)
    assert not torch.equal(learned(1).vectors, learned(2).vectors)
    many = IdentityPrompts(500, TEMPLATE, placeholder=9, width=16, seed=0)
    assert many.vectors.std().item() == pytest.approx(0.02, rel=0.02)


def test_a_template_without_placeholders_is_refused() -> None:
    with pytest.raises(ValueError, match="the template holds no placeholder 9 before its end"):
        learned(template=[18, 3, 19, 9])


def shared(text_length: int = 4, image_length: int = 4, depth: int = 1) -> SharedPrompts:
    return SharedPrompts(
        text_length=text_length, text_width=16, image_length=image_length, image_width=8, depth=depth, seed=0
    )


def test_sizes_of_shared_prompts_for_vit_b16() -> None:
    for depth, expected in ((1, 5_120), (12, 61_440)):
        prompts = SharedPrompts(text_length=4, text_width=512, image_length=4, image_width=768, depth=depth, seed=0)
        assert sum(parameter.numel() for parameter in prompts.parameters()) == expected
        assert prompts.image.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("depth", [1, 2])
def test_shared_prompts_learn_through_frozen_towers(depth: int) -> None:
    torch.manual_seed(0)
    image = VisionTransformer(ViTConfig((8, 8), 4, 4, 8, 2, 2, 6, "quick_gelu")).requires_grad_(False)
    text, prompts = tower(), shared(depth=depth)
    images, ids = torch.randn(2, 3, 8, 8), torch.tensor([TEMPLATE, TEMPLATE])
    similarity = image(images, prompts=prompts.image).projected @ text(ids, prompts=prompts.text).T
    similarity.square().sum().backward()
    for parameter in prompts.parameters():
        assert parameter.grad is not None
        assert (parameter.grad.abs().amax((1, 2)) > 0).all()


def test_a_length_of_zero_leaves_its_side_as_it_was() -> None:
    prompts, text, ids = shared(text_length=0, depth=2), tower(), torch.tensor([TEMPLATE])
    assert torch.equal(text(ids, prompts=prompts.text), text(ids))
    assert prompts.image.shape == (2, 4, 8)
