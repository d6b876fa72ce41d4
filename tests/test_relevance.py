"""Where encoders looked, where the answer is known: one patch alone tells, or the words do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from resight.clip.image import ResNetConfig, ViTConfig
from resight.clip.model import Clip, ClipConfig
from resight.clip.prompts import PromptForm, SharedPrompts
from resight.clip.text import TextConfig
from resight.data.transforms import Preprocess
from resight.encoder import Card, Encoder, Side
from resight.errors import ConfigError
from resight.relevance import n_together, picture_relevance, word_relevance

VIT = ViTConfig((32, 32), 8, 8, 32, 3, 2, 16, "quick_gelu")
RESNET = ResNetConfig((64, 64), (1, 1, 1, 1), 4, 2, 16)
TEXT = TextConfig(32, 2, 2, 16, "quick_gelu")
CELLS = 4  # of the grid, in height and width


def encoder_of(config: ViTConfig | ResNetConfig, *, text: bool = False, seed: int = 0, **more: object) -> Encoder:
    clip = Clip(ClipConfig(config, TEXT if text else None))
    clip.initialise(seed)
    return Encoder(
        clip, Preprocess(*config.image_size, (0.5,) * 3, (0.5,) * 3, "bilinear"), Card("tiny"), **more
    ).eval()


def planted(n: int, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures of grey noise with one striped cell, uint8 [n, 3, side, side]; which cell; whether across or down."""
    cell = side // CELLS
    images = torch.randint(100, 156, (n, 3, side, side), generator=generator)
    places = torch.randint(CELLS**2, (n,), generator=generator)
    kinds = torch.randint(2, (n,), generator=generator)
    stripes = (torch.arange(cell) // (cell // 4) % 2 * 255).expand(cell, cell)
    for image, place, kind in zip(images, places.tolist(), kinds.tolist(), strict=True):
        top, left = cell * (place // CELLS), cell * (place % CELLS)
        image[:, top : top + cell, left : left + cell] = stripes.T if kind else stripes
    return images.to(torch.uint8), places, kinds


def learn(encoder: Encoder, *, steps: int, rate: float) -> Tensor:
    """Teaches it to tell the stripes wherever they are; the vector of each kind [2, D]."""
    generator = torch.Generator().manual_seed(0)
    kinds_of = torch.randn(2, encoder.dimension, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([*encoder.parameters(), kinds_of], lr=rate)
    encoder.train()
    for _ in range(steps):
        images, _, kinds = planted(32, encoder.preprocess.height, generator)
        vectors, _ = encoder(encoder.preprocess.normalise(images))
        loss = functional.cross_entropy(8 * functional.normalize(vectors) @ functional.normalize(kinds_of).T, kinds)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    encoder.eval()
    return functional.normalize(kinds_of.detach())


@pytest.mark.parametrize(("config", "steps", "rate"), [(VIT, 120, 2e-3), (RESNET, 40, 2e-3)], ids=["vit", "resnet"])
def test_the_only_patch_that_tells_is_where_it_looked(
    config: ViTConfig | ResNetConfig, steps: int, rate: float
) -> None:
    encoder = encoder_of(config)
    kinds_of = learn(encoder, steps=steps, rate=rate)
    images, places, kinds = planted(40, config.image_size[0], torch.Generator().manual_seed(99))
    vectors = torch.from_numpy(encoder.encode(images)[0])
    assert (((vectors @ kinds_of.T).argmax(1) == kinds).float().mean()) > 0.9  # it has learned to tell them
    directions = (kinds_of[kinds] - kinds_of[1 - kinds]).numpy()
    maps = picture_relevance(encoder, images, directions)
    assert maps.shape == (40, *config.grid)
    assert maps.min() >= 0
    np.testing.assert_allclose(maps.sum((1, 2)), 1, rtol=1e-5)
    assert (maps.reshape(40, -1).argmax(1) == places.numpy()).mean() > 0.85


def test_a_map_of_averages_is_what_each_place_adds() -> None:
    """Of a ResNet whose feature is the map's average, by hand: relu of the place's inner product with the direction."""
    encoder = encoder_of(RESNET, feature="before-neck")
    images, _, _ = planted(3, 64, torch.Generator().manual_seed(1))
    width = RESNET.width * 32
    directions = np.zeros((3, encoder.dimension), np.float32)
    directions[:, :width] = np.random.default_rng(0).uniform(size=(3, width))  # of the average alone
    kept: list[Tensor] = []
    handle = encoder.clip.image.layer4.register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.no_grad():
        encoder(encoder.preprocess.normalise(images))
    handle.remove()
    added = torch.einsum("bchw,bc->bhw", kept[0], torch.from_numpy(directions[:, :width])).clamp(min=0).numpy()
    expected = added / added.sum((1, 2), keepdims=True)
    np.testing.assert_allclose(picture_relevance(encoder, images, directions), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_a_transformer_s_maps_follow_the_paper_s_equations(depth: int) -> None:
    """A plain loop over heads and blocks, with attention taken apart by hand, in float64; prompts at `depth` blocks.

    Rows that a block gets anew carry nothing of the patches.
    """
    n_prompts = 2 if depth else 0
    prompts = SharedPrompts(PromptForm(0, n_prompts, depth=max(depth, 1)), ClipConfig(VIT, TEXT), seed=0)
    encoder = encoder_of(VIT, text=True, prompts=prompts).double()
    with torch.no_grad():
        for block in encoder.clip.image.transformer.resblocks:
            block.attn.in_proj_weight *= 4  # so that what is gathered in two steps counts
    new = (
        torch.zeros(1, 0, 32)
        if prompts.image is None
        else torch.nn.init.normal_(prompts.image, generator=torch.Generator().manual_seed(1))
    )
    images, _, _ = planted(1, 32, torch.Generator().manual_seed(3))
    direction = np.random.default_rng(1).normal(size=(1, encoder.dimension))
    direction /= np.linalg.norm(direction)
    tower = encoder.clip.image
    given = ((images.double() / 255) - 0.5) / 0.5
    x = tower.conv1(given).flatten(2).transpose(1, 2)
    x = torch.cat([tower.class_embedding.expand(1, 1, -1), x], 1) + tower.positional_embedding
    x = tower.ln_pre(torch.cat([x[:, :1], new[:1], x[:, 1:]], 1))
    attentions = []
    for number, block in enumerate(tower.transformer.resblocks):
        if 0 < number < depth:
            x = torch.cat([x[:, :1], new[number : number + 1], x[:, 1 + n_prompts :]], 1)
        rows, attn = block.ln_1(x), block.attn
        query, key, value = (rows @ attn.in_proj_weight.T + attn.in_proj_bias).chunk(3, -1)
        heads = []
        for part in range(attn.heads):
            columns = slice(part * 16, (part + 1) * 16)
            weights = (query[..., columns] @ key[..., columns].mT / 4).softmax(-1)
            attentions.append(weights)
            heads.append(weights @ value[..., columns])
        x = x + attn.out_proj(torch.cat(heads, -1))
        x = x + block.mlp(block.ln_2(x))
    vector = (tower.ln_post(x)[:, 0] @ tower.proj)[0]
    gradients = torch.autograd.grad(vector @ torch.from_numpy(direction[0]) / vector.norm().detach(), attentions)
    relevance = torch.eye(17 + n_prompts, dtype=torch.float64)[:, 1 + n_prompts :]
    for first in range(0, len(attentions), 2):
        if 0 < first // 2 < depth:
            relevance = torch.cat([relevance[:1], torch.zeros(n_prompts, 16), relevance[1 + n_prompts :]])
        update = sum((attentions[k] * gradients[k]).clamp(min=0)[0] for k in (first, first + 1)) / 2
        relevance = relevance + update @ relevance
    expected = relevance[0].detach().numpy().reshape(4, 4)
    encoder.float()
    found = picture_relevance(encoder, images, direction.astype(np.float32))[0]
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "n"),
    [
        (VIT, 16),
        (RESNET, 16),
        (ViTConfig((256, 128), 16, 16, 768, 12, 12, 512, "quick_gelu"), 16),
        (ViTConfig((256, 128), 16, 8, 768, 12, 12, 512, "quick_gelu"), 4),  # 4 bytes × 12 blocks × 12 heads × 466²
        (ViTConfig((336, 336), 14, 14, 1024, 24, 16, 768, "quick_gelu"), 1),  # 511 MB for one picture
        (ViTConfig((672, 672), 14, 14, 1024, 24, 16, 768, "quick_gelu"), 1),
    ],
)
def test_as_many_pictures_at_a_time_as_their_attention_allows(config: ViTConfig | ResNetConfig, n: int) -> None:
    encoder = encoder_of(VIT if isinstance(config, ViTConfig) else RESNET)
    encoder.clip.image.config = config
    assert n_together(encoder) == n


def test_nothing_is_changed_by_looking() -> None:
    encoder = encoder_of(VIT, text=True)
    images, _, _ = planted(2, 32, torch.Generator().manual_seed(2))
    before = encoder.encode(images)[0]
    directions = np.ones((2, 16), np.float32)
    first = picture_relevance(encoder, images, directions, aligned=True)
    np.testing.assert_array_equal(picture_relevance(encoder, images, directions, aligned=True), first)
    np.testing.assert_allclose(picture_relevance(encoder, images[1:], 3 * directions[1:]), first[1:], atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(images)[0], before)
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert not [m for m in encoder.modules() if m._forward_hooks]


def test_cameras_and_prompts_are_there_when_it_looks() -> None:
    """The maps are the patches' alone, and change with the camera's vector and with the prompts."""
    images, _, _ = planted(2, 32, torch.Generator().manual_seed(2))
    directions = np.random.default_rng(2).normal(size=(2, 16)).astype(np.float32)
    encoder = encoder_of(VIT, side=Side(3.0, ("a", "b")))
    with torch.no_grad():
        encoder.side_table.normal_(generator=torch.Generator().manual_seed(0))
    a, b = (picture_relevance(encoder, images, directions, cameras=[camera] * 2) for camera in "ab")
    assert a.shape == (2, 4, 4)
    assert np.abs(a - b).max() > 1e-4
    clip = Clip(ClipConfig(VIT, TEXT))
    clip.initialise(0)
    prompts = SharedPrompts(PromptForm(text_length=2, image_length=3, depth=1), clip.config, seed=0)
    with torch.no_grad():
        for parameter in prompts.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    preprocess = Preprocess(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")
    plain, prompted = (Encoder(clip, preprocess, Card("x"), prompts=p).eval() for p in (None, prompts))
    maps = [picture_relevance(one, images, directions) for one in (plain, prompted)]
    assert maps[1].shape == (2, 4, 4)
    assert np.abs(maps[0] - maps[1]).max() > 1e-4
    words = [word_relevance(one, ["a red coat"], directions[:1])[0] for one in (plain, prompted)]
    assert words[0] != words[1]


def test_a_word_counts_what_is_lost_without_it() -> None:
    encoder = encoder_of(VIT, text=True)
    texts = ["a RED  jäcket", "one", ""]
    directions = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    found = word_relevance(encoder, texts, directions)
    assert [[word for word, _ in words] for words in found] == [["a", "RED", "jäcket"], ["one"], []]
    vectors = encoder.embed_texts(["a RED jäcket", "RED jäcket", "a jäcket", "a RED", "one", ""]).embedding
    scores = vectors[:4] @ directions[0], vectors[4:] @ directions[1]
    assert [fall for _, fall in found[0]] == pytest.approx((scores[0][0] - scores[0][1:]).tolist(), abs=1e-6)
    assert found[1][0][1] == pytest.approx(float(scores[1][0] - scores[1][1]), abs=1e-6)


def test_the_word_that_tells_is_named_by_a_trained_encoder() -> None:
    """Four sentences that differ in their colour alone."""
    encoder = Encoder.load("resight-mini", device="cpu")
    colours = ["red", "blue", "green", "yellow"]
    for sentence in ("a person in a {} coat", "a woman with {} shoes", "the bag is {}"):
        texts = [sentence.format(colour) for colour in colours]
        vectors = encoder.embed_texts(texts).embedding
        for colour, words in zip(colours, word_relevance(encoder, texts, vectors - vectors.mean(axis=0)), strict=True):
            assert max(words, key=lambda one: one[1])[0] == colour


def test_what_cannot_be_looked_into_is_refused() -> None:
    encoder = encoder_of(VIT)
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(ConfigError, match="has no text tower"):
        word_relevance(encoder, ["a"], np.ones((1, 16), np.float32))
    assert not picture_relevance(encoder, images, np.zeros((1, 16), np.float32)).any()
    encoder.train()
    with pytest.raises(ValueError, match=r"call eval\(\) first"):
        picture_relevance(encoder, images, np.ones((1, 16), np.float32))
