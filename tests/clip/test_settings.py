"""Settings files beside published weights, the ones that can be followed and the ones that cannot."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from resight.clip.settings import CLIP_MEAN, CLIP_STD, Settings, read_settings
from resight.errors import CheckpointError

VISION = {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}


def written(folder: Path, stated: Any) -> Path:
    path = folder / "open_clip_config.json"
    path.write_text(json.dumps(stated))
    return path


def open_clip(vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **model: Any) -> dict[str, Any]:
    return {
        "model_cfg": {"embed_dim": 512, "vision_cfg": VISION | (vision or {}), "text_cfg": TEXT | (text or {})} | model
    }


def test_a_plain_open_clip(tmp_path: Path) -> None:
    expected = Settings("gelu", 12, 8, (224, 224), CLIP_MEAN, CLIP_STD, "bicubic")
    assert read_settings(written(tmp_path, open_clip()), with_text=True) == expected


def test_what_open_clip_may_state(tmp_path: Path) -> None:
    stated = open_clip(
        {"image_size": [256, 128], "width": 1280, "head_width": 80, "patch_dropout": 0.5, "timm_model_name": None},
        {"heads": 16, "pool_type": "argmax", "embed_cls": False},
        quick_gelu=True,
        custom_text=True,
    )
    stated["preprocess_cfg"] = {
        "mean": [0, 0.5, 1],
        "std": [1, 1, 1],
        "interpolation": "bilinear",
        "resize_mode": "squash",
    }
    expected = Settings("quick_gelu", 16, 16, (256, 128), (0.0, 0.5, 1.0), (1.0, 1.0, 1.0), "bilinear")
    assert read_settings(written(tmp_path, stated), with_text=True) == expected


def test_heads_of_a_resnet_are_those_of_its_attention_pool(tmp_path: Path) -> None:
    vision = {"layers": [3, 4, 6, 3], "width": 64, "patch_size": None}
    assert read_settings(written(tmp_path, open_clip(vision)), with_text=True).image_heads == 32


@pytest.mark.parametrize(
    ("stated", "named"),
    [
        (open_clip({"timm_model_name": "convnext_base"}), "vision_cfg.timm_model_name = convnext_base"),
        (open_clip({"pool_type": "avg"}), "vision_cfg.pool_type = avg"),
        (open_clip({"act_kwargs": {"approximate": "tanh"}}), "vision_cfg.act_kwargs = {'approximate': 'tanh'}"),
        (open_clip(init_logit_bias=-10), "model_cfg.init_logit_bias = -10"),
        (open_clip(multimodal_cfg={"layers": 12}), "model_cfg.multimodal_cfg = {'layers': 12}"),
    ],
)
def test_other_towers_are_refused(stated: dict[str, Any], named: str, tmp_path: Path) -> None:
    path = written(tmp_path, stated)
    message = f"{path}: not a CLIP ViT or ResNet as OpenAI made them: {named}. Choose another checkpoint."
    for with_text in (True, False):
        with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
            read_settings(path, with_text=with_text)


def test_another_text_tower_is_refused_where_texts_are_wanted(tmp_path: Path) -> None:
    path = written(tmp_path, open_clip(text={"hf_model_name": "roberta-base", "hf_tokenizer_name": "roberta-base"}))
    with pytest.raises(CheckpointError) as caught:
        read_settings(path, with_text=True)
    assert "text_cfg.hf_model_name = roberta-base, text_cfg.hf_tokenizer_name = roberta-base" in str(caught.value)
    assert str(caught.value).endswith("Its image tower alone can be read: leave the text tower out.")
    assert read_settings(path, with_text=False).image_heads == 12


def test_transformers_leaves_out_what_stands_at_its_default(tmp_path: Path) -> None:
    expected = Settings("quick_gelu", 12, 8, (224, 224))
    assert read_settings(written(tmp_path, {"model_type": "clip"}), with_text=True) == expected


def test_transformers_with_another_activation_is_refused(tmp_path: Path) -> None:
    for vision, text in (({"hidden_act": "silu"}, {}), ({"hidden_act": "gelu"}, {})):
        path = written(tmp_path, {"model_type": "clip", "vision_config": vision, "text_config": text})
        with pytest.raises(
            CheckpointError, match=f"not a CLIP as OpenAI made them: hidden_act = {vision['hidden_act']}"
        ):
            read_settings(path, with_text=True)


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ({"model_type": "siglip"}, "siglip"),
        ({"architecture": "vit_base_patch16_clip_224"}, "vit_base_patch16_clip_224"),
        ({}, "unnamed"),
    ],
)
def test_settings_of_another_model_are_refused(stated: dict[str, Any], name: str, tmp_path: Path) -> None:
    path = written(tmp_path, stated)
    message = f"{path}: not a CLIP ViT or ResNet but {name}. Choose another checkpoint."
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        read_settings(path, with_text=True)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"model_cfg": {}}', '{"model_cfg": {"vision_cfg": 3, "text_cfg": {}}}']
)
def test_a_damaged_settings_file_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "open_clip_config.json"
    path.write_text(content)
    with pytest.raises(
        CheckpointError, match=r"cannot be read as the settings of a CLIP \(.+\)\. Fetch it again"
    ) as caught:
        read_settings(path, with_text=True)
    assert "\n" not in str(caught.value)
