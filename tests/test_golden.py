"""Our numbers against those of the public reference implementations, and against the values the methods' notes give.

The folder comes from RESIGHT_GOLDEN (default: the copy beside this file). Every file in it is known by name: the part
that uses it, or the part that will. A file that no test reads fails as soon as the module of its part exists.
"""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from resight import metrics
from resight.clip.image import ModifiedResNet, ResNetConfig, VisionTransformer, ViTConfig, resize_positions
from resight.clip.model import Clip, ClipConfig, from_openai
from resight.clip.prompts import IdentityPrompts
from resight.clip.text import TextConfig

GOLDEN = Path(os.environ.get("RESIGHT_GOLDEN", Path(__file__).parent / "golden"))

# file: the module that must match it; a test in this file reads it as soon as that module exists
FILES = {
    "camera_proxies.npz": "resight.losses.memory",
    "clip_reid_stage2_loss.npz": "resight.recipes.clip_reid",
    "clip_resnet.json": "resight.clip.image",
    "clip_vit.json": "resight.clip.image",
    "cluster_memory_every_instance.npz": "resight.losses.memory",
    "cluster_memory_hardest_instance.npz": "resight.losses.memory",
    "image_encoder_resnet_stride16.npz": "resight.clip.image",
    "image_encoder_vit_stride12.npz": "resight.clip.image",
    "image_encoder_vit_stride16.npz": "resight.clip.image",
    "image_retrieval.npz": "resight.metrics",
    "jaccard_dbscan.npz": "resight.neighbours",
    "label_smoothing.npz": "resight.losses.identity",
    "prompt_contrastive.npz": "resight.losses.contrastive",
    "schedules.npz": "resight.optim",
    "text_cmpm.npz": "resight.losses.contrastive",
    "text_encoder.npz": "resight.clip.text",
    "text_itc.npz": "resight.losses.contrastive",
    "text_retrieval.npz": "resight.metrics",
    "text_sdm.npz": "resight.losses.contrastive",
    "tokenizer.json": "resight.clip.tokenizer",
    "triplet_margin.npz": "resight.losses.triplet",
    "triplet_soft.npz": "resight.losses.triplet",
}


def golden(name: str) -> dict[str, NDArray[Any]]:
    """Arrays of one recorded file; `__meta__` holds its settings as a JSON string."""
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return {key: stored[key] for key in stored.files}


def pseudo_random(shape: tuple[int, ...], *, rank: int, scale: float, base: float) -> NDArray[np.float32]:
    """The fill rule of the recorded weights and pictures, as the folder's README states it."""
    k = np.arange(1, int(np.prod(shape)) + 1, dtype=np.float64)
    h = 43758.5453 * np.sin(12.9898 * k + 78.233 * rank)
    return (base + scale * (2 * (h - np.floor(h)) - 1)).astype(np.float32).reshape(shape)


def sine(shape: tuple[int, ...], rank: int, scale: float = 1.0, base: float = 0.0) -> NDArray[np.float32]:
    """The fill rule D of the image methods' appendix."""
    k = np.arange(1, int(np.prod(shape)) + 1, dtype=np.float64)
    return (base + scale * np.sin(12.9898 * k + 78.233 * rank)).astype(np.float32).reshape(shape)


def golden_weights(name: str) -> dict[str, torch.Tensor]:
    """A state dict in OpenAI's names, filled by the rule; `name` is clip_vit or clip_resnet."""
    listing = json.loads((GOLDEN / f"{name}.json").read_text())
    weights: dict[str, torch.Tensor] = {}
    for rank, (key, shape) in enumerate(sorted(listing["shapes"].items()), start=1 + listing["offset"]):
        if key == "logit_scale":
            weights[key] = torch.tensor(np.log(1 / 0.07), dtype=torch.float32)
            continue
        if key.endswith("num_batches_tracked"):
            weights[key] = torch.zeros(shape, dtype=torch.int64)
            continue
        if len(shape) > 1:
            scale, base = 1.7 / float(np.sqrt(np.prod(shape[1:]))), 0.0
        elif key.endswith(("weight", "running_var")):
            scale, base = 0.2, 1.0
        else:
            scale, base = 0.1, 0.0
        weights[key] = torch.from_numpy(pseudo_random(tuple(shape), rank=rank, scale=scale, base=base))
    return weights


def test_every_recorded_file_is_known_and_used() -> None:
    found = {path.name for path in GOLDEN.iterdir()} - {"README.md"}
    assert found == set(FILES), "a recorded file appeared or vanished: name its part in FILES and test it"
    source = Path(__file__).read_text().split("# --- the tests")[-1]
    for name, module in FILES.items():
        stem = name.split(".")[0]
        exists = all(
            importlib.util.find_spec(".".join(module.split(".")[:depth])) is not None
            for depth in range(2, module.count(".") + 2)
        )
        if exists:
            assert f'"{stem}' in source, f"{module} exists, yet no test here reads {name}"


def test_fill_rule_check_values() -> None:
    expected = [-0.791340, -0.464200, -0.687419, 0.020130]
    np.testing.assert_allclose(pseudo_random((4,), rank=15, scale=1.0, base=0.0), expected, atol=1e-6)


# --- the tests -------------------------------------------------------------------------------------------------------

# --- towers (clip/image.py, clip/text.py) ---

VIT = ViTConfig((128, 64), patch=16, stride=16, width=128, depth=12, heads=2, output=64, activation="quick_gelu")
TEXT = TextConfig(width=128, depth=2, heads=2, output=64, activation="quick_gelu", vocabulary=100)


def clip_with(
    weights: dict[str, torch.Tensor], config: ClipConfig, *, positions: str, old_grid: tuple[int, int]
) -> Clip:
    """A model in eval mode with weights in OpenAI's names, whose position embedding `positions` is made to fit."""
    clip = Clip(config)
    resized = resize_positions(weights[positions], old_grid=old_grid, new_grid=config.image.grid)
    clip.load_state_dict(from_openai({**weights, positions: resized}))
    return clip.eval().requires_grad_(False)


@pytest.mark.parametrize(("name", "stride"), [("image_encoder_vit_stride16", 16), ("image_encoder_vit_stride12", 12)])
def test_vision_transformer(name: str, stride: int) -> None:
    recorded = golden(name)
    config = ClipConfig(replace(VIT, stride=stride), TEXT)
    clip = clip_with(golden_weights("clip_vit"), config, positions="visual.positional_embedding", old_grid=(4, 4))
    images = torch.from_numpy(pseudo_random((3, 3, 128, 64), rank=5000, scale=1.0, base=0.0))
    side = torch.from_numpy(recorded["cls_side_embedding"])
    assert isinstance(clip.image, VisionTransformer)
    found = {
        **dict(zip(("cls_layer11", "cls_layer12_ln_post", "cls_projected"), clip.image(images), strict=True)),
        "patch_projected": clip.image.tokens(images)[:, 1:],
        "resized_positional_embedding": clip.image.positional_embedding,
    }
    for key, tap in zip(("layer11", "layer12_ln_post", "projected"), clip.image(images, side=side), strict=True):
        found[f"side_cls_{key}"] = tap
    assert set(found) == set(recorded) - {"__meta__", "cls_side_embedding"}
    for key, array in found.items():
        np.testing.assert_allclose(array, recorded[key], atol=1e-4, rtol=0, err_msg=key)


def test_resnet() -> None:
    recorded = golden("image_encoder_resnet_stride16")
    config = ClipConfig(ResNetConfig((128, 64), (1, 1, 2, 1), width=16, heads=8, output=64), TEXT)
    positions = "visual.attnpool.positional_embedding"
    clip = clip_with(golden_weights("clip_resnet"), config, positions=positions, old_grid=(7, 7))
    taps = clip.image(torch.from_numpy(pseudo_random((3, 3, 128, 64), rank=5000, scale=1.0, base=0.0)))
    for key, array in zip(("layer3_avg", "layer4_avg", "attnpool_global"), taps, strict=True):
        np.testing.assert_allclose(array, recorded[key], atol=1e-4, rtol=0, err_msg=key)
    assert isinstance(clip.image, ModifiedResNet)
    resized = clip.image.attnpool.positional_embedding
    np.testing.assert_allclose(resized, recorded["resized_positional_embedding"], atol=1e-4, rtol=0)


def test_text_transformer_and_identity_prompts() -> None:
    recorded = golden("text_encoder")
    weights = golden_weights("clip_vit")
    clip = clip_with(weights, ClipConfig(VIT, TEXT), positions="visual.positional_embedding", old_grid=(4, 4))
    assert clip.text is not None
    assert clip.logit_scale is not None
    features = clip.text(torch.from_numpy(recorded["tokens"]))
    np.testing.assert_allclose(features, recorded["text_features"], atol=1e-4, rtol=0)

    images = torch.from_numpy(pseudo_random((3, 3, 128, 64), rank=5000, scale=1.0, base=0.0))
    pictures, texts = F.normalize(clip.image(images).projected), F.normalize(features)
    logits = clip.logit_scale.exp() * pictures @ texts.T
    np.testing.assert_allclose(logits, recorded["logits_per_image"], atol=1e-4, rtol=0)

    prompts = IdentityPrompts(
        len(recorded["context"]), recorded["prompt_tokens"][0].tolist(), placeholder=50, width=128, seed=0
    )
    prompts.load_state_dict({"vectors": torch.from_numpy(recorded["context"])})
    found = prompts(torch.arange(len(recorded["context"])), clip.text).detach()
    np.testing.assert_allclose(found, recorded["prompt_features"], atol=1e-4, rtol=0)


# --- tokenizer (clip/tokenizer.py) ---


def test_tokenizer_rows() -> None:
    from resight.clip.tokenizer import END, START, encode, tokenize

    recorded = json.loads((GOLDEN / "tokenizer.json").read_text())
    rows = tokenize(recorded["texts"], context_length=recorded["context_length"]).tolist()
    pairs = zip(recorded["tokens"], rows, strict=True)
    injected = [text for text, (row, ours) in zip(recorded["texts"], pairs, strict=True) if row != ours]
    assert injected == ["<|startoftext|> literal <|endoftext|>"]  # the reference lets a user's text hold special tokens
    assert not {START, END} & set(encode(injected[0]))


# --- neighbours, metrics, re-ranking ---


def unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows divided by their length."""
    unit_length: NDArray[np.float32] = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit_length


def image_retrieval_labels(stored: dict[str, NDArray[Any]]) -> tuple[metrics.Labels, metrics.Labels]:
    return (
        metrics.Labels(stored["query_ids"], stored["query_cameras"]),
        metrics.Labels(stored["gallery_ids"], stored["gallery_cameras"]),
    )


def test_image_retrieval() -> None:
    stored = golden("image_retrieval")
    blocks = metrics.similarity_blocks(unit(stored["query_features"]), unit(stored["gallery_features"]), block_rows=17)
    ranking = metrics.rank(blocks, *image_retrieval_labels(stored), cross_camera=True)
    np.testing.assert_allclose(metrics.cmc(ranking, 50), stored["cmc"], atol=1e-6)
    assert metrics.summary(ranking)["mAP"] == pytest.approx(float(stored["mAP"]), abs=1e-6)


def test_text_retrieval() -> None:
    stored = golden("text_retrieval")
    query, gallery = metrics.Labels(stored["query_ids"]), metrics.Labels(stored["gallery_ids"])
    ranking = metrics.rank([stored["similarity"]], query, gallery, cross_camera=False)
    np.testing.assert_allclose(100 * metrics.cmc(ranking, 10), stored["cmc"], atol=1e-3)
    assert 100 * metrics.summary(ranking)["mAP"] == pytest.approx(float(stored["mAP"]), abs=1e-3)
    assert 100 * metrics.summary(ranking)["mINP"] == pytest.approx(float(stored["mINP"]), abs=1e-3)


def test_text_toy_with_ties() -> None:
    similarities = np.array([[0.9, 0.8, 0.7, 0.6, 0.5], [0.1, 0.9, 0.3, 0.8, 0.2], [0.5] * 5], dtype=np.float32)
    query, gallery = metrics.Labels(np.array([1, 2, 3])), metrics.Labels(np.array([2, 1, 1, 3, 2]))
    ranking = metrics.rank([similarities], query, gallery, cross_camera=False)
    np.testing.assert_allclose(100 * metrics.cmc(ranking, 5), [0, 33.33, 33.33, 100, 100], atol=5e-3)
    assert 100 * metrics.summary(ranking)["mAP"] == pytest.approx(38.6111, abs=1e-4)
    assert 100 * metrics.summary(ranking)["mINP"] == pytest.approx(43.8889, abs=1e-4)


def test_evaluation_of_the_appendix() -> None:
    i, j = np.arange(6), np.arange(120)
    query = metrics.Labels(np.where(i == 5, 99, 7 * i % 5), i % 3)
    gallery = metrics.Labels((3 * j + 1) % 5, 5 * j % 3)
    distances = 2 + sine((6, 120), 13) + 0.15 * (query.identities[:, None] != gallery.identities)
    ranking = metrics.rank([-distances], query, gallery, cross_camera=True)
    assert ranking.valid.sum() == 5
    found = metrics.summary(ranking)
    assert found["mAP"] == pytest.approx(0.2665886, abs=1e-7)
    assert [found[name] for name in ("R1", "R5", "R10")] == pytest.approx([0.4, 0.4, 0.4])
