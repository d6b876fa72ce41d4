from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from resight.clip.image import ResNetConfig, ViTConfig
from resight.clip.model import Clip, ClipConfig, from_openai, to_openai
from resight.clip.text import TextConfig

GOLDEN = Path(__file__).parents[1] / "golden"
# the two models whose parameters the recorded listings name
TEXT = TextConfig(width=128, depth=2, heads=2, output=64, activation="quick_gelu", vocabulary=100)
VIT = ClipConfig(ViTConfig((64, 64), 16, 16, 128, 12, 2, 64, "quick_gelu"), TEXT)
RESNET = ClipConfig(ResNetConfig((224, 224), (1, 1, 2, 1), 16, 8, 64, last_stride=2), TEXT)


@pytest.mark.parametrize(("config", "listing"), [(VIT, "clip_vit"), (RESNET, "clip_resnet")])
def test_parameters_have_openais_names_and_shapes(config: ClipConfig, listing: str) -> None:
    clip = Clip(config)
    published = to_openai(clip.state_dict())
    expected = json.loads((GOLDEN / f"{listing}.json").read_text())["shapes"]
    assert {name: list(tensor.shape) for name, tensor in published.items()} == expected
    restored = from_openai(published)
    assert list(restored) == list(clip.state_dict())
    clip.load_state_dict(restored)


def test_published_size() -> None:
    image = ViTConfig((384, 128), 16, 16, 768, 12, 12, 512, "quick_gelu")
    with torch.device("meta"):
        clip = Clip(ClipConfig(image, TextConfig(512, 12, 8, 512, "quick_gelu")))
    assert sum(parameter.numel() for parameter in clip.parameters()) == 149_617_664 + 1


def test_an_image_tower_alone() -> None:
    clip = Clip(replace(VIT, text=None))
    assert clip.text is None
    assert clip.logit_scale is None
    assert all(name.startswith("visual.") for name in to_openai(clip.state_dict()))


@pytest.mark.parametrize("config", [VIT, RESNET])
def test_initialising_twice_gives_the_same_weights_and_leaves_the_global_generator(config: ClipConfig) -> None:
    clip, other = Clip(config), Clip(config)
    state = torch.get_rng_state()
    clip.initialise(1)
    other.initialise(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in clip.state_dict().items())
    other.initialise(2)
    drawn = {name for name, tensor in clip.state_dict().items() if not torch.equal(tensor, other.state_dict()[name])}
    assert {name for name, parameter in clip.named_parameters() if parameter.dim() > 1} <= drawn


def test_first_weights_follow_the_published_rule() -> None:
    clip = Clip(VIT)
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.fill_(7)
    clip.initialise(0)
    state = to_openai(clip.state_dict())
    width, text_stream, image_stream = 128**-0.5, (128 * 2 * 2) ** -0.5, (128 * 2 * 12) ** -0.5
    for name, std in {
        "token_embedding.weight": 0.02,
        "positional_embedding": 0.01,
        "text_projection": width,
        "transformer.resblocks.1.attn.in_proj_weight": width,
        "transformer.resblocks.1.attn.out_proj.weight": text_stream,
        "transformer.resblocks.1.mlp.c_fc.weight": (2 * 128) ** -0.5,
        "transformer.resblocks.1.mlp.c_proj.weight": text_stream,
        "visual.transformer.resblocks.11.mlp.c_proj.weight": image_stream,
        "visual.positional_embedding": width,
        "visual.proj": width,
    }.items():
        assert state[name].std().item() == pytest.approx(std, rel=0.05), name
    assert state["logit_scale"].item() == pytest.approx(math.log(1 / 0.07))
    assert state["visual.ln_pre.weight"].eq(1).all()
    assert state["visual.transformer.resblocks.0.attn.in_proj_bias"].eq(0).all()


def test_a_fresh_resnet_starts_with_identity_blocks_and_fresh_statistics() -> None:
    clip = Clip(RESNET).train()
    images = torch.randn(2, 3, 224, 224)
    clip.image(images)
    clip.initialise(0)
    state = to_openai(clip.state_dict())
    assert state["visual.layer3.1.bn3.weight"].eq(0).all()
    assert state["visual.bn1.running_mean"].eq(0).all()
    assert state["visual.attnpool.q_proj.weight"].std().item() == pytest.approx(512**-0.5, rel=0.05)
    assert clip.image(images).projected.isfinite().all()


def test_towers_of_different_output_are_refused() -> None:
    with pytest.raises(ValueError, match="image features of 64 and text features of 32 numbers"):
        replace(VIT, text=replace(TEXT, output=32))
