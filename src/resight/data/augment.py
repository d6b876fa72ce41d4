"""Random changes of training pictures: decided for a whole batch from a seed alone, then applied to it or to a part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from resight.data.transforms import Preprocess
from resight.errors import ConfigError

Erasing = Literal["pixel", "constant"]

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey of a pixel (ITU-R BT.601)."""

_SHAPES = {"pixel": (0.02, 1 / 3, 10), "constant": (0.02, 0.4, 100)}
"""Least and largest part of the picture that a box covers, and how often one that does not fit is drawn anew."""

_FLATTEST = 0.3
"""Least height / width of a box; the largest is its inverse."""


@dataclass(frozen=True, slots=True)
class Draws:
    """What happens to each of n pictures; a slice of it is what happens to that part of them.

    size: height and width of the pictures. flips: bool [n]. corners: int64 [n, 2], top and left of the crop in the
    padded picture. factors: float64 [n, 3] of brightness, contrast and saturation. boxes: int64 [n, 4], top, left,
    height and width of what is erased, with height 0 where nothing is. noise_seeds: int64 [n].
    """

    size: tuple[int, int]
    flips: NDArray[np.bool_]
    corners: NDArray[np.int64]
    factors: NDArray[np.float64]
    boxes: NDArray[np.int64]
    noise_seeds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.flips)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Draws:
        return Draws(
            self.size,
            self.flips[rows],
            self.corners[rows],
            self.factors[rows],
            self.boxes[rows],
            self.noise_seeds[rows],
        )


@dataclass(frozen=True)
class Augment:
    """Flip, pad and crop, colour, random erasing; the defaults are CLIP-ReID's (Li et al. 2023, arXiv 2211.13977).

    Raises ConfigError where a value has the wrong type or lies out of range.
    """

    flip: float = 0.5
    """Probability of the mirror image (CLIP-ReID's code: 0.5)."""
    pad: int = 10
    """Pixels of black on every side, of which a crop of the old size is taken; 0: no crop (CLIP-ReID's code: 10)."""
    erase: float = 0.5
    """Probability of random erasing (Zhong et al. 2017, arXiv 1708.04896; CLIP-ReID's code: 0.5)."""
    erasing: Erasing = "pixel"
    """What is erased: "pixel" fills a box of 2 to 33.3 % of the picture with N(0, 1) in normalised space, a number for
    each pixel and channel, the logarithm of its height / width uniform (CLIP-ReID's code); "constant" fills 2 to 40 %
    with 0.5 in normalised space, its height / width uniform (PCL-CLIP's code, arXiv 2310.17218)."""
    colour: float = 0.0
    """s, for factors of brightness, contrast and saturation that are uniform in 1-s … 1+s (the papers have none: 0)."""

    def __post_init__(self) -> None:
        for name in ("flip", "erase", "colour"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ConfigError(f"augmentation: {name} must be a number from 0 to 1, got {value!r}.")
        if isinstance(self.pad, bool) or not isinstance(self.pad, int) or self.pad < 0:
            raise ConfigError(f"augmentation: pad must be a whole number of at least 0, got {self.pad!r}.")
        if self.erasing not in get_args(Erasing):
            expected = " or ".join(get_args(Erasing))
            raise ConfigError(f"augmentation: erasing must be {expected}, got {self.erasing!r}.")

    def draw(self, n: int, size: tuple[int, int], seed: Sequence[int]) -> Draws:
        """What shall happen to n pictures of a size (height, width); the same for the same seed on every machine.

        seed: whole numbers from 0, such as (seed, epoch, step).
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))  # not what samplers draw from it
        return Draws(
            size,
            flips=rng.random(n) < self.flip,
            corners=rng.integers(2 * self.pad + 1, size=(n, 2)),
            factors=rng.uniform(1 - self.colour, 1 + self.colour, (n, 3)),
            boxes=_boxes(rng, n, size, self.erasing) * (rng.random((n, 1)) < self.erase),
            noise_seeds=rng.integers(2**32, size=n),
        )

    def apply(self, images: Tensor, draws: Draws, preprocess: Preprocess) -> Tensor:
        """float32 [B, 3, H, W], changed and normalised, on the device of images: uint8 [B, 3, H, W].

        A picture's result does not depend on the others of its batch. Noise is drawn on the device, so that its values
        differ between kinds of devices.
        """
        if (len(draws), *draws.size) != (len(images), *images.shape[2:]):
            raise ValueError(f"draws for {len(draws)} pictures of {draws.size} do not fit images {tuple(images.shape)}")
        images = _flip_and_crop(images, self.pad, draws)
        if self.colour > 0:
            images = _recolour(images, draws.factors)
        normalised = preprocess.normalise(images)
        _erase(normalised, draws, self.erasing)
        return normalised


def _boxes(rng: np.random.Generator, n: int, size: tuple[int, int], erasing: Erasing) -> NDArray[np.int64]:
    """int64 [n, 4]: top, left, height, width of the first box of each picture that is smaller than it both ways.

    Where no attempt gives one, height and width are 0. A box has a given area and height / width, rounded to pixels,
    and lies anywhere in the picture.
    """
    least, largest, attempts = _SHAPES[erasing]
    areas = rng.uniform(least, largest, (n, attempts)) * math.prod(size)
    if erasing == "pixel":
        aspects = np.exp(rng.uniform(math.log(_FLATTEST), -math.log(_FLATTEST), (n, attempts)))
    else:
        aspects = rng.uniform(_FLATTEST, 1 / _FLATTEST, (n, attempts))
    heights, widths = np.rint(np.sqrt(areas * aspects)), np.rint(np.sqrt(areas / aspects))
    fits = (heights < size[0]) & (widths < size[1])
    first = np.arange(n), fits.argmax(axis=1)
    chosen = (np.stack([heights[first], widths[first]], axis=1) * fits[first][:, None]).astype(np.int64)
    return np.hstack([rng.integers(np.array(size) - chosen + 1), chosen])


def _flip_and_crop(images: Tensor, pad: int, draws: Draws) -> Tensor:
    """uint8 [B, 3, H, W]: each picture flipped or not, with a black border, cut at its corner."""
    height, width = draws.size
    cut = torch.empty_like(images)
    padded = F.pad(images, (pad, pad, pad, pad))
    for i, (flipped, (top, left)) in enumerate(zip(draws.flips.tolist(), draws.corners.tolist(), strict=True)):
        band = padded[i, :, top : top + height]
        cut[i] = (band.flip(2) if flipped else band)[:, :, left : left + width]
    return cut


def _recolour(images: Tensor, factors: NDArray[np.float64]) -> Tensor:
    """uint8 [B, 3, H, W] after brightness, contrast and saturation, whose order does not matter, cut to 0 … 255.

    With b, c, s for the factors, g for the grey of a pixel and m for the mean grey of the picture, brightness is b x,
    contrast c x + (1-c) m, saturation s x + (1-s) g; together b (c s x + c (1-s) g + (1-c) m).
    """
    b, c, s = torch.from_numpy(factors.T.astype(np.float32)).to(images.device).view(3, -1, 1, 1, 1)
    sums = images.sum(dim=(2, 3), keepdim=True, dtype=torch.int32)  # exact, so that no order of adding changes them
    mean_grey = _grey(sums) / math.prod(images.shape[2:])
    pixels = images.float()
    shift = _grey(pixels) * (b * c * (1 - s)) + mean_grey * (b * (1 - c))
    return pixels.mul_(b * c * s).add_(shift.add_(0.5)).clamp_(0, 255).to(torch.uint8)  # which cuts off the fraction


def _grey(images: Tensor) -> Tensor:
    red, green, blue = (weight * images[:, i : i + 1] for i, weight in enumerate(_LUMA))
    return red + green + blue


def _erase(images: Tensor, draws: Draws, erasing: Erasing) -> None:
    """Fills the boxes of normalised pictures, in place."""
    generator = torch.Generator(images.device)
    for i in np.flatnonzero(draws.boxes[:, 2]).tolist():
        top, left, height, width = draws.boxes[i].tolist()
        box = images[i, :, top : top + height, left : left + width]
        if erasing == "constant":
            box.fill_(0.5)
        else:
            generator.manual_seed(int(draws.noise_seeds[i]))
            box.copy_(torch.randn(box.shape, generator=generator, device=images.device))
