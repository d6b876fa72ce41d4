"""The settings file beside published weights → what the weights alone do not tell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from resight.clip.transformer import Activation
from resight.errors import CheckpointError

# Radford et al. 2021, as published with the weights
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Interpolation = Literal["bilinear", "bicubic"]
Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Settings:
    """None is not stated. image_size: height, width in pixels that the position embeddings are for."""

    activation: Activation | None = None
    image_heads: int | None = None
    text_heads: int | None = None
    image_size: tuple[int, int] | None = None
    mean: Colour = CLIP_MEAN
    std: Colour = CLIP_STD
    interpolation: Interpolation = "bicubic"


# OpenCLIP's settings that our towers follow, or that matter in training only; any other must stand at its default.
_FOLLOWED = {
    "model_cfg": {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg", "custom_text", "init_logit_scale"},
    "vision_cfg": {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio", "patch_dropout"},
    "text_cfg": {"context_length", "vocab_size", "layers", "width", "heads", "mlp_ratio"},
}
_DEFAULTS = {"pool_type": ("tok", "argmax"), "proj_type": ("linear",), "pos_embed_type": ("learnable",)}


def read_settings(path: Path, *, with_text: bool) -> Settings:
    """What OpenCLIP's open_clip_config.json or transformers' config.json says.

    Raises CheckpointError when the file is damaged, or describes towers that are not a CLIP ViT or ResNet.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if "model_cfg" in stored:
            return _open_clip(path, stored, with_text=with_text)
        if stored.get("model_type") == "clip":
            return _transformers(path, stored)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read as the settings of a CLIP ({error}). Fetch it again.") from error
    raise CheckpointError(
        f"{path}: not a CLIP ViT or ResNet but {stored.get('model_type') or stored.get('architecture') or 'unnamed'}. "
        f"Choose another checkpoint."
    )


def _open_clip(path: Path, stored: dict[str, Any], *, with_text: bool) -> Settings:
    model, preprocess = stored["model_cfg"], stored.get("preprocess_cfg", {})
    vision, text = model["vision_cfg"], model["text_cfg"]
    _refuse_others(path, "model_cfg", model)
    _refuse_others(path, "vision_cfg", vision)
    if with_text:
        _refuse_others(path, "text_cfg", text)
    width = vision["width"] * (32 if isinstance(vision["layers"], list) else 1)
    return Settings(
        activation="quick_gelu" if model.get("quick_gelu") else "gelu",
        image_heads=int(width // vision.get("head_width", 64)),
        text_heads=int(text.get("heads", 8)),
        image_size=_pair(vision["image_size"]),
        mean=_colour(preprocess.get("mean", CLIP_MEAN)),
        std=_colour(preprocess.get("std", CLIP_STD)),
        interpolation="bilinear" if preprocess.get("interpolation") == "bilinear" else "bicubic",
    )


def _refuse_others(path: Path, part: str, stated: dict[str, Any]) -> None:
    strange = {
        name: value
        for name, value in stated.items()
        if name not in _FOLLOWED[part] and value and value not in _DEFAULTS.get(name, ())
    }
    if strange:
        listed = ", ".join(f"{part}.{name} = {value}" for name, value in strange.items())
        advice = " Its image tower alone can be read: leave the text tower out." if part == "text_cfg" else ""
        raise CheckpointError(
            f"{path}: not a CLIP ViT or ResNet as OpenAI made them: {listed}. Choose another checkpoint.{advice}"
        )


def _transformers(path: Path, stored: dict[str, Any]) -> Settings:
    # transformers leaves out what stands at its default: the values of ViT-B.
    vision, text = stored.get("vision_config", {}), stored.get("text_config", {})
    activation = vision.get("hidden_act", "quick_gelu")
    if activation not in ("quick_gelu", "gelu") or text.get("hidden_act", "quick_gelu") != activation:
        raise CheckpointError(
            f"{path}: not a CLIP as OpenAI made them: hidden_act = {activation}. Choose another checkpoint."
        )
    return Settings(
        activation=activation,
        image_heads=int(vision.get("num_attention_heads", 12)),
        text_heads=int(text.get("num_attention_heads", 8)),
        image_size=_pair(vision.get("image_size", 224)),
    )


def _pair(size: Any) -> tuple[int, int]:
    height, width = size if isinstance(size, list) else (size, size)
    return int(height), int(width)


def _colour(values: Any) -> Colour:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
