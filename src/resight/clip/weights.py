"""Published and own weights → a `Clip`, whatever wrote them; a misfit is an error, never a partial load."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from resight.clip import formats, sources
from resight.clip.architecture import (
    heads_of,
    image_as_stored,
    image_as_wanted,
    positions_of,
    stride_of,
    text_as_stored,
)
from resight.clip.formats import Checkpoint, Format
from resight.clip.image import ResNetConfig, ViTConfig, resize_positions
from resight.clip.model import Clip, ClipConfig, from_openai, to_openai
from resight.clip.settings import CLIP_MEAN, CLIP_STD, Colour, Interpolation, Settings, read_settings
from resight.clip.sources import Found
from resight.clip.text import TextConfig
from resight.clip.transformer import Activation
from resight.errors import CheckpointError, ConfigError

# What CLIP-ReID prepares pictures with: its ViT models, and its ResNets
_HALF = (0.5, 0.5, 0.5)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """Where weights came from, and how pictures were prepared for them.

    image_size: height, width in pixels that the weights were made for. sha256: of the weights' file, "" for random
    ones. notes: what their user should know, a sentence each.
    """

    source: str
    format: Format
    licence: str
    mean: Colour
    std: Colour
    interpolation: Interpolation
    image_size: tuple[int, int]
    sha256: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """extras: what a released CLIP-ReID checkpoint holds beside its image tower, under its own names: necks
    (`bottleneck.*`, `bottleneck_proj.*`), classifiers, camera table (`cv_embed`), prompts."""

    clip: Clip
    info: WeightsInfo
    extras: dict[str, Tensor] = field(default_factory=dict)


def load(
    source: str,
    *,
    image_size: tuple[int, int] | None = None,
    stride: int | None = None,
    with_text: bool = True,
    activation: Activation | None = None,
    heads: int | None = None,
    text_heads: int | None = None,
    seed: int = 0,
) -> Loaded:
    """A CLIP in evaluation mode, float32 on the CPU, and what is known of its weights.

    source: an alias (`sources.aliases`), hf-hub:owner/name, a checkpoint file, or random:WIDTHxDEPTH[/PATCH], drawn
    from seed: a ViT for 224×224 pictures and a text tower, both WIDTH wide and DEPTH blocks deep. image_size: height,
    width in pixels. stride: pixels between patches; in a ResNet 16 or 32, from place to place of its last feature map
    (16 is CLIP-ReID's). None keeps what the weights were made for; else their position embeddings are resized.
    activation, heads (of the image tower) and text_heads (of the text tower) overrule what the source states; a bare
    state dict states none and gets QuickGELU and width / 64. In random:… both towers have heads, unless text_heads
    says otherwise. Raises CheckpointError for weights that cannot be had or read or do not fit, ConfigError for sizes
    that cannot be, and ValueError for an unknown activation.
    """
    if source.startswith("random:"):
        image = _random_image(source, image_size or (224, 224), stride, activation or "quick_gelu", heads)
        return _random(source, image, text_heads=text_heads, with_text=with_text, seed=seed)
    found = sources.find(source)
    settings = Settings() if found.settings is None else read_settings(found.settings, with_text=with_text)
    settings = replace(
        settings,
        activation=activation or found.activation or settings.activation,
        image_heads=settings.image_heads if heads is None else heads,
        text_heads=settings.text_heads if text_heads is None else text_heads,
    )
    checkpoint = formats.read(found.weights)
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if with_text or name.startswith("visual.")}
    resized = checkpoint.format == "clip-reid"
    stored, *others = image_as_stored(
        found.weights, tensors, settings, resized=resized, image_size=image_size, stride=stride
    )
    wanted = image_as_wanted(source, stored, image_size=image_size, stride=stride)
    if wanted.grid != stored.grid:
        table = positions_of(stored)
        tensors[table] = resize_positions(tensors[table], old_grid=stored.grid, new_grid=wanted.grid)
    text = text_as_stored(found.weights, tensors, settings, output=stored.output)
    if text is None:
        tensors.pop("logit_scale", None)
    clip = _filled(found.weights, ClipConfig(wanted, text), tensors)
    return Loaded(clip.eval(), _info(source, found, checkpoint, settings, stored, others), checkpoint.extras)


def _filled(path: Path, config: ClipConfig, tensors: Mapping[str, Tensor]) -> Clip:
    """A model whose every parameter is one of the tensors, in OpenAI's names. Raises CheckpointError for any misfit."""
    with torch.device("meta"):  # shapes alone: the weights need neither memory nor random numbers first
        clip = Clip(config)
    expected = to_openai(clip.state_dict())
    misshapen = [
        f"{name} {_form(tensors[name])} instead of {_form(tensor)}"
        for name, tensor in expected.items()
        if name in tensors and _form(tensors[name]) != _form(tensor)
    ]
    faults = [
        _listed("missing", [name for name in expected if name not in tensors]),
        _listed("not expected", [name for name in tensors if name not in expected]),
        _listed("of another form", misshapen),
    ]
    if any(faults):
        raise CheckpointError(
            f"{path}: does not fit a {_described(config)}. Of its names, {'; '.join(filter(None, faults))}. It is "
            f"another kind of model, or was changed: choose another checkpoint."
        )
    clip.load_state_dict(from_openai({name: _own(tensor) for name, tensor in tensors.items()}), assign=True)
    return clip


def _own(tensor: Tensor) -> Tensor:
    """A copy that shares no memory with a file, float32 where it was any floating-point type."""
    tensor = tensor.detach().clone(memory_format=torch.contiguous_format)
    return tensor.float() if tensor.is_floating_point() else tensor


def _form(tensor: Tensor) -> str:
    return f"{list(tensor.shape)}{'' if tensor.is_floating_point() else ' of whole numbers'}"


def _listed(kind: str, names: Sequence[str], *, most: int = 10) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} {kind} ({', '.join(names[:most])}{rest})"


def _described(config: ClipConfig) -> str:
    image = config.image
    if isinstance(image, ViTConfig):
        shape = f"CLIP ViT (patch {image.patch}, width {image.width}, {image.depth} blocks)"
    else:
        shape = f"CLIP ResNet (blocks {'-'.join(map(str, image.blocks))}, width {image.width})"
    if config.text is None:
        return shape + " without a text tower"
    return shape + f" with a text tower (width {config.text.width}, {config.text.depth} blocks)"


def _info(
    source: str,
    found: Found,
    checkpoint: Checkpoint,
    settings: Settings,
    stored: ViTConfig | ResNetConfig,
    others: Sequence[ViTConfig | ResNetConfig],
) -> WeightsInfo:
    mean, std, interpolation = settings.mean, settings.std, settings.interpolation
    notes: tuple[str, ...] = ()
    if checkpoint.format == "clip-reid":
        mean, std = (_HALF, _HALF) if isinstance(stored, ViTConfig) else (_IMAGENET_MEAN, _IMAGENET_STD)
        interpolation = "bilinear"
        notes = ("A released CLIP-ReID checkpoint: its text tower lacks the token table and is left out.",)
    elif settings.activation is None and checkpoint.format != "torchscript":
        notes = ("The file does not state its activation: QuickGELU is assumed, which OpenAI's weights have.",)
    notes += tuple(
        f"Its position embeddings are taken for pictures of {_pictures(stored)}, which is usual, and not of "
        f"{_pictures(other)}, where there are as many."
        for other in others
    )
    return WeightsInfo(
        source, checkpoint.format, found.licence, mean, std, interpolation, stored.image_size, checkpoint.sha256, notes
    )


def _pictures(config: ViTConfig | ResNetConfig) -> str:
    height, width = config.image_size
    return f"{height}×{width} pixels (height × width) at stride {stride_of(config)}"


def _random(source: str, image: ViTConfig, *, text_heads: int | None, with_text: bool, seed: int) -> Loaded:
    text_heads = image.heads if text_heads is None else heads_of(source, "text", image.width, text_heads)
    text = TextConfig(image.width, image.depth, text_heads, image.output, image.activation)
    with torch.device("meta"):  # so that the global generator stays as it was
        clip = Clip(ClipConfig(image, text if with_text else None))
    clip.to_empty(device="cpu")
    clip.initialise(seed)
    notes = (f"Random weights, drawn from seed {seed}: train them before use.",)
    info = WeightsInfo(source, "random", "none", CLIP_MEAN, CLIP_STD, "bicubic", image.image_size, "", notes)
    return Loaded(clip.eval(), info)


def _random_image(
    source: str, image_size: tuple[int, int], stride: int | None, activation: Activation, heads: int | None
) -> ViTConfig:
    match = re.fullmatch(r"random:([1-9]\d*)x([1-9]\d*)(?:/([1-9]\d*))?", source)
    if match is None:
        raise ConfigError(f"{source}: not of the form random:WIDTHxDEPTH[/PATCH], such as random:192x6/16.")
    width, depth, patch = (int(number) for number in match.groups(default="16"))
    heads = heads_of(source, "image", width, heads)
    try:
        return ViTConfig(image_size, patch, patch if stride is None else stride, width, depth, heads, width, activation)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}. Choose another size or stride.") from error
