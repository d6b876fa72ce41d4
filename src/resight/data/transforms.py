"""From a picture to what a tower sees: size, interpolation and normalisation, stored beside the weights."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from resight.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preprocess:
    """How pictures are made ready for one encoder.

    height, width: pixels; the aspect ratio is not kept, as is the custom in re-identification. mean and std: of red,
    green and blue in 0 … 1. background: what lies behind transparent pixels, 0 … 255.
    Raises ConfigError where a value has the wrong type or lies out of range; lists, as JSON gives them, become tuples.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"]
    background: tuple[int, int, int] = (255, 255, 255)

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            _expect(_is_whole(getattr(self, name), at_least=1), self, name, "a whole number of at least 1")
        for name in ("mean", "std", "background"):
            value = getattr(self, name)
            _expect(isinstance(value, list | tuple) and len(value) == 3, self, name, "three numbers")
            object.__setattr__(self, name, tuple(value))
        _expect(all(map(_is_number, self.mean)), self, "mean", "three finite numbers")
        _expect(all(_is_number(value) and value > 0 for value in self.std), self, "std", "three numbers above 0")
        _expect(
            all(_is_whole(value, at_least=0) and value <= 255 for value in self.background),
            self,
            "background",
            "three whole numbers from 0 to 255",
        )
        _expect(self.interpolation in tuple(_FILTERS), self, "interpolation", " or ".join(_FILTERS))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """The Preprocess that as_dict described; ConfigError where a name is unknown or missing."""
        fields = dataclasses.fields(cls)
        known = {field.name for field in fields}
        unknown = sorted(set(values) - known)
        missing = sorted({field.name for field in fields if field.default is dataclasses.MISSING} - set(values))
        if unknown:
            raise ConfigError(
                f"preprocessing: unknown name {', '.join(unknown)}; there are {', '.join(sorted(known))}."
            )
        if missing:
            raise ConfigError(f"preprocessing: {', '.join(missing)} is missing. Add it.")
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON can hold them."""
        return dataclasses.asdict(self)

    def resize(self, image: Image.Image) -> NDArray[np.uint8]:
        """uint8 [3, height, width] of an RGB picture."""
        if image.mode != "RGB":
            raise ValueError(f"resize takes RGB pictures, got mode {image.mode}; convert it with data.images.to_rgb")
        resized = image.resize((self.width, self.height), _FILTERS[self.interpolation])
        return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))

    def normalise(self, images: Tensor) -> Tensor:
        """float32 [B, 3, H, W], (images / 255 - mean) / std, on the device of images: uint8 [B, 3, H, W]."""
        if images.is_floating_point():
            raise ValueError(f"normalise takes uint8 pictures from 0 to 255, got {images.dtype}")
        scaled = images.float().div_(255)
        mean, std = (scaled.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return scaled.sub_(mean).div_(std)


def _is_whole(value: object, *, at_least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _expect(holds: bool, preprocess: Preprocess, name: str, expected: str) -> None:
    if not holds:
        raise ConfigError(f"preprocessing: {name} must be {expected}, got {getattr(preprocess, name)!r}.")
