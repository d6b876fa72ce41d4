"""Our numbers against those of the public reference implementations, and against the values the methods' notes give.

The folder comes from RESIGHT_GOLDEN (default: the copy beside this file). Every file in it is known by name: the part
that uses it, or the part that will. A file that no test reads fails as soon as the module of its part exists.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

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
    source = Path(__file__).read_text().split("# --- the tests")[1]
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

# --- tokenizer (clip/tokenizer.py) ---

# --- neighbours, metrics, re-ranking ---
