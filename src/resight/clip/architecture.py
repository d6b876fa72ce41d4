"""The shapes of a checkpoint's tensors → the configuration of its towers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isqrt, prod
from pathlib import Path
from typing import Literal

from torch import Tensor

from resight.clip.image import ResNetConfig, ViTConfig
from resight.clip.settings import Settings
from resight.clip.text import TextConfig
from resight.errors import CheckpointError, ConfigError

Size = tuple[int, int]
Tensors = Mapping[str, Tensor]

# Height, width of the pictures that published re-identification models were trained on; a position table that is not
# square was most likely made for one of them. Their numbers of places all differ, so the number tells the size.
_USUAL_SIZES: tuple[Size, ...] = ((256, 128), (256, 256), (384, 128), (224, 224))
_TEXT_NAMES = ("token_embedding.", "transformer.", "positional_embedding", "ln_final.", "text_projection")


def image_as_stored(
    path: Path, tensors: Tensors, settings: Settings, *, resized: bool, image_size: Size | None, stride: int | None
) -> tuple[ViTConfig | ResNetConfig, ...]:
    """The image towers that the position table may be for, the likeliest first; their grids or strides differ.

    A table is square and at the patch's own stride, unless `settings` states a size. A table that is not square, or
    was resized (as in a released re-identification model), is for the usual size that gives as many places, else for
    image_size and stride if these do. Raises CheckpointError when sizes cannot be told.
    """
    read = _resnet if "visual.layer1.0.conv1.weight" in tensors else _vit
    tower = read(path, tensors, settings)
    n_places = len(tensors[positions_of(tower)]) - 1
    fitting: dict[tuple[Size, int], ViTConfig | ResNetConfig] = {}
    for size, step in _candidates(tower, n_places, settings.image_size, resized, image_size, stride):
        try:
            config = _at(tower, size, step)
        except ValueError:  # smaller than a patch
            continue
        if prod(config.grid) == n_places:
            fitting.setdefault((config.grid, step), config)
    if fitting:
        return tuple(fitting.values())
    if settings.image_size is None:
        raise CheckpointError(
            f"{path}: its {n_places} position embeddings fit no usual picture size. Say the size (height, width) "
            f"and stride they are for."
        )
    raise CheckpointError(
        f"{path}: its {n_places} position embeddings are not those of pictures of {settings.image_size} (height, "
        f"width), which the settings beside it state. Fetch both files from one place."
    )


def image_as_wanted(
    source: str, stored: ViTConfig | ResNetConfig, *, image_size: Size | None, stride: int | None
) -> ViTConfig | ResNetConfig:
    """The same tower at another picture size and stride; None keeps. Raises ConfigError when there is none."""
    try:
        return _at(stored, image_size or stored.image_size, stride_of(stored) if stride is None else stride)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}. Choose another size or stride.") from error


def text_as_stored(path: Path, tensors: Tensors, settings: Settings, *, output: int) -> TextConfig | None:
    """The text tower; None when there is none. output: dimensions of the image tower's projected feature."""
    if not any(name.startswith(_TEXT_NAMES) for name in tensors):
        return None
    _require(path, tensors, {"token_embedding.weight": 2, "positional_embedding": 2})
    vocabulary, width = tensors["token_embedding.weight"].shape
    return TextConfig(
        width=width,
        depth=_count(tensors, r"transformer\.resblocks\.(\d+)\."),
        heads=heads_of(path, "text", width, settings.text_heads),
        output=output,
        activation=settings.activation or "quick_gelu",
        context_length=len(tensors["positional_embedding"]),
        vocabulary=vocabulary,
    )


def positions_of(config: ViTConfig | ResNetConfig) -> str:
    """The name of the image tower's position table."""
    return "visual.positional_embedding" if isinstance(config, ViTConfig) else "visual.attnpool.positional_embedding"


def stride_of(config: ViTConfig | ResNetConfig) -> int:
    """Pixels from place to place of the grid."""
    return config.stride if isinstance(config, ViTConfig) else 16 * config.last_stride


def heads_of(source: Path | str, tower: Literal["image", "text"], width: int, stated: int | None) -> int:
    """The stated number, else width / 64 as in OpenAI's models, and one below that.

    Raises ConfigError when the number does not divide the width, or is not stated and 64 does not.
    """
    if stated is None and width > 64 and width % 64:
        raise ConfigError(
            f"{source}: the {tower} tower's width of {width} is not a multiple of 64, so its number of heads "
            f"must be given ({'heads' if tower == 'image' else 'text_heads'})."
        )
    heads = max(1, width // 64) if stated is None else stated
    if heads < 1 or width % heads:
        raise ConfigError(
            f"{source}: {heads} heads do not divide the {tower} tower's width of {width}. Give another number."
        )
    return heads


def _vit(path: Path, tensors: Tensors, settings: Settings) -> ViTConfig:
    _require(path, tensors, {"visual.conv1.weight": 4, "visual.positional_embedding": 2, "visual.proj": 2})
    width, _, patch, _ = tensors["visual.conv1.weight"].shape
    return ViTConfig(
        image_size=(patch, patch),
        patch=patch,
        stride=patch,
        width=width,
        depth=_count(tensors, r"visual\.transformer\.resblocks\.(\d+)\."),
        heads=heads_of(path, "image", width, settings.image_heads),
        output=tensors["visual.proj"].shape[1],
        activation=settings.activation or "quick_gelu",
    )


def _resnet(path: Path, tensors: Tensors, settings: Settings) -> ResNetConfig:
    first, last = "visual.layer1.0.conv1.weight", "visual.attnpool.c_proj.weight"
    _require(path, tensors, {first: 4, last: 2, "visual.attnpool.positional_embedding": 2})
    width = len(tensors[first])
    one, two, three, four = (_count(tensors, rf"visual\.layer{layer}\.(\d+)\.") for layer in (1, 2, 3, 4))
    return ResNetConfig(
        image_size=(32, 32),
        blocks=(one, two, three, four),
        width=width,
        heads=heads_of(path, "image", 32 * width, settings.image_heads),
        output=len(tensors[last]),
        last_stride=2,
    )


def _at(config: ViTConfig | ResNetConfig, size: Size, stride: int) -> ViTConfig | ResNetConfig:
    if isinstance(config, ViTConfig):
        return replace(config, image_size=size, stride=stride)
    if stride not in (16, 32):
        raise ValueError(f"a ResNet's stride is 16 or 32, not {stride}")
    return replace(config, image_size=size, last_stride=1 if stride == 16 else 2)


def _strides(tower: ViTConfig | ResNetConfig, resized: bool) -> tuple[int, ...]:
    """Strides that published towers have, the likeliest first."""
    if isinstance(tower, ViTConfig):
        return (16, 12) if tower.patch == 16 else (tower.patch,)
    return (16, 32) if resized else (32, 16)


def _candidates(
    tower: ViTConfig | ResNetConfig,
    n_places: int,
    stated: Size | None,
    resized: bool,
    image_size: Size | None,
    stride: int | None,
) -> Iterator[tuple[Size, int]]:
    """Sizes and strides that the table may be for, in the order of trust."""
    strides = _strides(tower, resized)
    if stated is not None:
        yield from ((stated, step) for step in strides)
        return
    side = isqrt(n_places)
    if not resized and side * side == n_places:
        yield (side * strides[0], side * strides[0]), strides[0]
        return
    for size in _USUAL_SIZES:
        for step in strides:
            yield size, step
    # Last: the wanted size may have as many places by chance, and the table would keep its grid unseen.
    if image_size is not None:
        for step in strides if stride is None else (stride,):
            yield image_size, step


def _count(tensors: Tensors, pattern: str) -> int:
    """Different numbers in the names, at least 1, so that an absent block shows up as missing."""
    return max(1, len({match[1] for name in tensors if (match := re.match(pattern, name))}))


def _require(path: Path, tensors: Tensors, dimensions: Mapping[str, int]) -> None:
    """Raise CheckpointError unless the tensors that tell the sizes are there, with so many dimensions, none empty."""
    shapes = {name: tensors[name].shape for name in dimensions if name in tensors}
    wrong = [name for name, n in dimensions.items() if len(shapes.get(name, ())) != n or 0 in shapes[name]]
    if wrong:
        raise CheckpointError(
            f"{path}: {', '.join(wrong)} missing or of another shape: it is no whole CLIP. Choose another checkpoint."
        )
