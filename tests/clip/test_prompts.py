from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from resight.clip.image import ResNetConfig, VisionTransformer, ViTConfig
from resight.clip.model import ClipConfig
from resight.clip.prompts import IdentityPrompts, PromptForm, SharedPrompts
from resight.clip.text import TextConfig, TextTransformer
from resight.errors import ConfigError

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


CLIP = ClipConfig(ViTConfig((8, 8), 4, 4, 8, 2, 2, 6, "quick_gelu"), TEXT)
RESNET = ResNetConfig((32, 32), (1, 1, 1, 1), 8, 4, 6)


def shared(text_length: int = 4, image_length: int = 4, depth: int = 1, position: bool = False) -> SharedPrompts:
    return SharedPrompts(PromptForm(text_length, image_length, depth, position), CLIP, seed=0)


def image_tower() -> VisionTransformer:
    torch.manual_seed(0)
    assert isinstance(CLIP.image, ViTConfig)
    return VisionTransformer(CLIP.image).requires_grad_(False)


def test_sizes_of_shared_prompts_for_vit_b16() -> None:
    image = ViTConfig((384, 128), 16, 16, 768, 12, 12, 512, "quick_gelu")
    text = TextConfig(width=512, depth=12, heads=8, output=512, activation="quick_gelu")
    for depth, expected in ((1, 5_120), (12, 61_440)):
        prompts = SharedPrompts(PromptForm(4, 4, depth), ClipConfig(image, text), seed=0)
        assert sum(parameter.numel() for parameter in prompts.parameters()) == expected
        assert prompts.image is not None
        assert prompts.image.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("position", [False, True])
@pytest.mark.parametrize("depth", [1, 2])
def test_shared_prompts_learn_through_frozen_towers(depth: int, position: bool) -> None:
    image, text, prompts = image_tower(), tower(), shared(depth=depth, position=position)
    images, ids = torch.randn(2, 3, 8, 8), torch.tensor([TEMPLATE, TEMPLATE])
    seen = image(images, prompts=prompts.for_image(image)).projected
    (seen @ text(ids, prompts=prompts.for_text(text)).T).square().sum().backward()
    for parameter in prompts.parameters():
        assert parameter.grad is not None
        assert (parameter.grad.abs().amax((1, 2)) > 0).all()


def test_a_length_of_zero_leaves_its_side_as_it_was() -> None:
    one, other, text, image = shared(text_length=0, depth=2), shared(image_length=0), tower(), image_tower()
    assert (one.for_text(text), other.for_image(image)) == (None, None)
    assert list(one.state_dict()) == ["image"]
    assert list(other.state_dict()) == ["text"]
    assert one.image is not None
    assert one.image.shape == (2, 4, 8)
    assert shared(text_length=0, image_length=0, position=True).for_text(text) is None


def test_positions_are_those_of_the_first_words_and_patches_and_enter_with_the_first_level() -> None:
    prompts, text, image = shared(text_length=3, image_length=2, depth=2, position=True), tower(), image_tower()
    assert prompts.text is not None
    assert prompts.image is not None
    for found, rows, positions in (
        (prompts.for_text(text), prompts.text, text.positional_embedding[1:4]),
        (prompts.for_image(image), prompts.image, image.positional_embedding[1:3]),
    ):
        assert found is not None
        assert torch.equal(found[0], rows[0] + positions)
        assert torch.equal(found[1], rows[1])
    plain = shared(text_length=3, image_length=2, depth=2)
    assert plain.for_text(text) is plain.text
    assert plain.for_image(image) is plain.image


def test_words_as_prompts_with_positions_give_the_feature_of_the_text() -> None:
    """The words after them are moved to the places that they have in the whole text."""
    text, prompts = tower(), shared(text_length=2, position=True)
    assert prompts.text is not None
    with torch.no_grad():
        prompts.text.copy_(text.embed(torch.tensor([[3, 7]])))
    whole = text(torch.tensor([[18, 3, 7, 5, 19]]))
    rest, end = torch.tensor([[18, 5, 19]]), torch.tensor([2])
    moved = text.positional_embedding[3:5] - text.positional_embedding[1:3]
    embedded = text.embed(rest) + torch.cat([torch.zeros(1, 16), moved])
    found = text.encode(embedded, end, prompts=prompts.for_text(text))
    torch.testing.assert_close(found, whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("form", "config", "message"),
    [
        (PromptForm(4, 4, 0), CLIP, "Prompts of depth 0: from 1 to 2, the blocks of the tower"),
        (PromptForm(4, 4, 3), CLIP, "Prompts of depth 3: from 1 to 2"),
        (PromptForm(12, 0, position=True), CLIP, "12 text prompts with positions: the tower has 11"),
        (PromptForm(0, 5, position=True), CLIP, r"5 image prompts with positions: the tower has 4\. Choose at most 4"),
        (PromptForm(0, 1), ClipConfig(RESNET, TEXT), r"a vision transformer; a ResNet has none: --image-length 0"),
        (PromptForm(1, 0), ClipConfig(CLIP.image, None), r"need a text tower, and this CLIP has none: --text-length 0"),
    ],
)
def test_prompts_that_the_towers_cannot_take_are_refused(form: PromptForm, config: ClipConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SharedPrompts(form, config, seed=0)


def test_limits_are_of_the_sides_that_have_prompts() -> None:
    assert isinstance(CLIP.image, ViTConfig)
    deep = ClipConfig(CLIP.image, replace(TEXT, depth=5))
    assert SharedPrompts(PromptForm(1, 0, 5), deep, seed=0).text is not None
    assert SharedPrompts(PromptForm(30, 0), ClipConfig(RESNET, TEXT), seed=0).text is not None
    with pytest.raises(ConfigError, match="from 1 to 2"):
        SharedPrompts(PromptForm(1, 1, 5), deep, seed=0)
