from __future__ import annotations

import dataclasses
import math
import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats
from torch import Tensor

from resight.data.augment import Augment, Draws, Erasing
from resight.data.transforms import Preprocess
from resight.errors import ConfigError

NOTHING = Augment(flip=0, pad=0, erase=0)
EVERYTHING = Augment(flip=0.5, pad=4, erase=0.7, colour=0.4)
SEED = (3, 1, 7)


def preprocess(size: tuple[int, int]) -> Preprocess:
    return Preprocess(*size, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28), "bicubic")


def pictures(n: int, size: tuple[int, int], low: int = 0, high: int = 256) -> Tensor:
    values = np.random.default_rng(0).integers(low, high, (n, 3, *size), dtype=np.uint8)
    return torch.from_numpy(values)


def pixels(augment: Augment, images: Tensor, draws: Draws) -> NDArray[np.uint8]:
    """[B, H, W, 3], what apply gives before it normalises."""
    plain = Preprocess(*draws.size, (0, 0, 0), (1, 1, 1), "bicubic")
    values = augment.apply(images, draws, plain).mul(255).round()
    return values.to(torch.uint8).permute(0, 2, 3, 1).numpy()


def same(left: Draws, right: Draws) -> bool:
    fields = [field.name for field in dataclasses.fields(Draws)]
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in fields)


def test_without_changes_pictures_are_normalised() -> None:
    images = pictures(3, (20, 10))
    got = NOTHING.apply(images, NOTHING.draw(3, (20, 10), SEED), preprocess((20, 10)))
    assert torch.equal(got, preprocess((20, 10)).normalise(images))


@pytest.mark.parametrize("pad", [0, 3, 10])
def test_geometry_is_pillows(pad: int) -> None:
    """Mirrored, expanded by black and cropped by Pillow, pixel for pixel."""
    augment = Augment(pad=pad, erase=0)
    images, draws = pictures(40, (32, 16)), augment.draw(40, (32, 16), SEED)
    for image, got, flipped, (top, left) in zip(
        images, pixels(augment, images, draws), draws.flips, draws.corners.tolist(), strict=True
    ):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        if flipped:
            picture = ImageOps.mirror(picture)
        picture = ImageOps.expand(picture, border=pad, fill=0).crop((left, top, left + 16, top + 32))
        assert np.array_equal(got, np.asarray(picture))


def test_flips_and_corners_are_drawn_evenly() -> None:
    draws = Augment(flip=0.3, pad=10).draw(20_000, (256, 128), SEED)
    assert stats.binomtest(int(draws.flips.sum()), 20_000, 0.3).pvalue > 0.01
    for side in draws.corners.T:
        counts = np.bincount(side)
        assert len(counts) == 21
        assert stats.chisquare(counts).pvalue > 0.01
    assert not Augment(flip=0).draw(1000, (8, 8), SEED).flips.any()
    assert Augment(flip=1).draw(1000, (8, 8), SEED).flips.all()


def boxes_by_a_plain_loop(n: int, height: int, width: int, erasing: Erasing) -> NDArray[np.float64]:
    """Area, height / width, top and left of n boxes, one attempt after the other; -1 where no attempt fits."""
    rng = random.Random(5)
    found = np.full((n, 4), -1.0)
    for i in range(n):
        for _ in range(10 if erasing == "pixel" else 100):
            area = rng.uniform(0.02, 1 / 3 if erasing == "pixel" else 0.4) * height * width
            if erasing == "pixel":
                aspect = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
            else:
                aspect = rng.uniform(0.3, 1 / 0.3)
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < height and w < width:
                top, left = rng.randint(0, height - h), rng.randint(0, width - w)
                found[i] = h * w / (height * width), h / w, top / (height - h), left / (width - w)
                break
    return found


@pytest.mark.parametrize("size", [(256, 128), (128, 64), (64, 192)])
@pytest.mark.parametrize("erasing", ["pixel", "constant"])
def test_boxes_are_distributed_as_those_of_a_plain_loop(erasing: Erasing, size: tuple[int, int]) -> None:
    height, width = size
    expected = boxes_by_a_plain_loop(3000, height, width, erasing)
    top, left, h, w = Augment(erase=1, erasing=erasing).draw(3000, size, SEED).boxes.T
    found = h > 0
    assert abs(found.mean() - (expected[:, 0] > 0).mean()) < 0.01
    top, left, h, w = (values[found] for values in (top, left, h, w))
    got = (h * w / (height * width), h / w, top / (height - h), left / (width - w))
    for values, plain in zip(got, expected[expected[:, 0] > 0].T, strict=True):
        assert stats.ks_2samp(values, plain).pvalue > 0.01
    largest = 0.334 if erasing == "pixel" else 0.4
    assert 0.018 < got[0].min() < 0.025 < 0.9 * largest < got[0].max() < 1.02 * largest


def test_erasing_happens_as_often_as_asked() -> None:
    erased = Augment(erase=0.2).draw(20_000, (128, 64), SEED).boxes[:, 2] > 0
    assert stats.binomtest(int(erased.sum()), 20_000, 0.2).pvalue > 0.01
    assert not Augment(erase=0).draw(1000, (128, 64), SEED).boxes[:, 2].any()


@pytest.mark.parametrize("erasing", ["pixel", "constant"])
def test_only_the_box_is_erased(erasing: Erasing) -> None:
    augment = Augment(flip=0, pad=0, erase=0.6, erasing=erasing)
    images, draws = pictures(50, (64, 32)), augment.draw(50, (64, 32), SEED)
    got = augment.apply(images, draws, preprocess((64, 32)))
    inside = torch.zeros(50, 3, 64, 32, dtype=torch.bool)
    for covered, (top, left, height, width) in zip(inside, draws.boxes.tolist(), strict=True):
        covered[:, top : top + height, left : left + width] = height > 0
    assert torch.equal(got[~inside], preprocess((64, 32)).normalise(images)[~inside])
    if erasing == "constant":
        assert got[inside].unique().tolist() == [0.5]
    else:
        assert stats.kstest(got[inside].numpy(), "norm").pvalue > 0.01
        assert len(got[inside].unique()) > 0.99 * inside.sum()
        assert augment.apply(images, draws, preprocess((64, 32))).equal(got)


def recoloured_by_steps(image: NDArray[np.uint8], factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """[H, W, 3], brightness, contrast and saturation one after the other, without rounding between them."""
    luma = np.array([0.299, 0.587, 0.114])
    brightness, contrast, saturation = factors
    bright = image * brightness
    contrasted = contrast * bright + (1 - contrast) * (bright @ luma).mean()
    return saturation * contrasted + (1 - saturation) * (contrasted @ luma)[:, :, None]


def test_colour_is_three_steps() -> None:
    augment = Augment(flip=0, pad=0, erase=0, colour=0.3)
    images, draws = pictures(20, (24, 12), low=20, high=220), augment.draw(20, (24, 12), SEED)
    assert 0.7 <= draws.factors.min() < 0.75
    assert 1.25 < draws.factors.max() <= 1.3
    limited = 0
    for image, got, factors in zip(images, pixels(augment, images, draws), draws.factors, strict=True):
        expected = recoloured_by_steps(image.permute(1, 2, 0).numpy(), factors)
        limited += int((expected > 255).sum())
        np.testing.assert_allclose(got, expected.clip(0, 255), rtol=0, atol=0.501)
    assert limited > 100


@pytest.mark.parametrize(
    ("column", "enhance"),
    [(0, ImageEnhance.Brightness), (1, ImageEnhance.Contrast), (2, ImageEnhance.Color)],
)
@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
def test_each_colour_factor_is_pillows(column: int, enhance: Any, factor: float) -> None:
    augment = Augment(flip=0, pad=0, erase=0, colour=1)
    images, draws = pictures(1, (24, 12)), augment.draw(1, (24, 12), SEED)
    draws.factors[:] = 1
    draws.factors[0, column] = factor
    expected = enhance(Image.fromarray(images[0].permute(1, 2, 0).numpy())).enhance(factor)
    got = pixels(augment, images, draws)[0]
    assert np.abs(got.astype(int) - np.asarray(expected)).max() <= 1


def test_factors_are_one_without_colour() -> None:
    assert (Augment().draw(100, (8, 8), SEED).factors == 1).all()


@pytest.mark.parametrize("erasing", ["pixel", "constant"])
def test_a_part_of_the_batch_gets_what_it_gets_in_the_whole(erasing: Erasing) -> None:
    augment = dataclasses.replace(EVERYTHING, erasing=erasing)
    images, draws = pictures(23, (40, 20)), augment.draw(23, (40, 20), SEED)
    whole = augment.apply(images, draws, preprocess((40, 20)))
    for bounds in ([0, 8, 16, 23], [0, 1, 2, 23], list(range(24))):
        for start, end in pairwise(bounds):
            part = augment.apply(images[start:end], draws[start:end], preprocess((40, 20)))
            assert torch.equal(part, whole[start:end])
    chosen = np.array([5, 20, 5])
    part = augment.apply(images[chosen], draws[chosen], preprocess((40, 20)))
    assert torch.equal(part, whole[chosen])


def test_the_seed_decides() -> None:
    draws = EVERYTHING.draw(64, (40, 20), SEED)
    assert same(draws, EVERYTHING.draw(64, (40, 20), list(SEED)))
    for other in ((3, 1, 8), (3, 2, 7), (4, 1, 7)):
        assert not np.array_equal(draws.flips, EVERYTHING.draw(64, (40, 20), other).flips)
    assert len(np.unique(draws.noise_seeds)) == 64


def test_step_0_does_not_repeat_what_samplers_draw() -> None:
    """NumPy takes (seed, epoch) and (seed, epoch, 0) for the same seed."""
    sampled = np.random.default_rng((3, 1)).random(64)
    assert np.array_equal(sampled, np.random.default_rng((3, 1, 0)).random(64))
    assert not np.array_equal(sampled < 0.5, Augment().draw(64, (8, 8), (3, 1, 0)).flips)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    pad=st.integers(0, 12),
    erasing=st.sampled_from(["pixel", "constant"]),
    seed=st.integers(0, 2**40),
)
def test_any_size_keeps_its_shape_and_boxes_lie_inside(
    height: int, width: int, pad: int, erasing: Erasing, seed: int
) -> None:
    augment = Augment(pad=pad, erase=1, erasing=erasing, colour=0.2)
    draws = augment.draw(6, (height, width), (seed,))
    top, left, h, w = draws.boxes.T
    assert min(top.min(), left.min(), h.min(), w.min()) >= 0
    assert (top + h <= height).all()
    assert (left + w <= width).all()
    assert (h < height).all()
    assert (w < width).all()
    got = augment.apply(pictures(6, (height, width)), draws, preprocess((height, width)))
    assert got.shape == (6, 3, height, width)
    assert got.isfinite().all()


def test_no_pictures_no_work() -> None:
    draws = EVERYTHING.draw(0, (40, 20), SEED)
    assert len(draws) == 0
    assert EVERYTHING.apply(pictures(0, (40, 20)), draws, preprocess((40, 20))).shape == (0, 3, 40, 20)


def test_the_pictures_that_are_given_stay_as_they_are() -> None:
    for augment in (NOTHING, EVERYTHING, Augment(flip=0, pad=0, erase=1)):
        images = pictures(8, (40, 20))
        augment.apply(images, augment.draw(8, (40, 20), SEED), preprocess((40, 20)))
        assert torch.equal(images, pictures(8, (40, 20)))


def test_wrong_calls_are_refused() -> None:
    draws = NOTHING.draw(4, (40, 20), SEED)
    for images in (pictures(3, (40, 20)), pictures(4, (20, 40))):
        with pytest.raises(ValueError, match=r"draws for 4 pictures of \(40, 20\) do not fit images \([34], 3, "):
            NOTHING.apply(images, draws, preprocess((40, 20)))
    with pytest.raises(ValueError, match="normalise takes uint8 pictures"):
        NOTHING.apply(pictures(4, (40, 20)).float(), draws, preprocess((40, 20)))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("flip", 1.5, "flip must be a number from 0 to 1, got 1.5"),
        ("flip", True, "flip must be a number from 0 to 1, got True"),
        ("erase", -0.1, "erase must be a number from 0 to 1, got -0.1"),
        ("erase", float("nan"), "erase must be a number from 0 to 1, got nan"),
        ("colour", "0.2", "colour must be a number from 0 to 1, got '0.2'"),
        ("pad", -1, "pad must be a whole number of at least 0, got -1"),
        ("pad", 2.0, "pad must be a whole number of at least 0, got 2.0"),
        ("pad", True, "pad must be a whole number of at least 0, got True"),
        ("erasing", "noise", "erasing must be pixel or constant, got 'noise'"),
        ("erasing", [], "erasing must be pixel or constant, got []"),
    ],
)
def test_wrong_values_are_refused(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(NOTHING, **{name: value})
    assert str(caught.value) == f"augmentation: {expected}."


@pytest.mark.gpu
def test_on_cuda_the_same_is_drawn_and_parts_are_as_in_the_whole() -> None:
    images, draws = pictures(23, (40, 20)), EVERYTHING.draw(23, (40, 20), SEED)
    here = EVERYTHING.apply(images, draws, preprocess((40, 20)))
    there = EVERYTHING.apply(images.cuda(), draws, preprocess((40, 20)))
    kept = torch.ones(23, 40, 20, dtype=torch.bool)
    for covered, (top, left, height, width) in zip(kept, draws.boxes.tolist(), strict=True):
        covered[top : top + height, left : left + width] = False
    one_level = 1.01 / 255 / 0.26  # a colour that is rounded may come out one level apart
    difference = (here - there.cpu()).abs().amax(1)
    assert difference[kept].max() <= one_level
    parts = [
        EVERYTHING.apply(images[i : i + 5].cuda(), draws[i : i + 5], preprocess((40, 20))) for i in range(0, 23, 5)
    ]
    assert torch.equal(torch.cat(parts), there)
