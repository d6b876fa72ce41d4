from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from resight.data.transforms import Preprocess
from resight.errors import ConfigError

PERSON = Preprocess(256, 128, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")
IMAGENET = Preprocess(64, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", (0, 10, 255))


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("preprocess", [PERSON, IMAGENET])
def test_survives_json(preprocess: Preprocess) -> None:
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.as_dict()))) == preprocess


def test_background_may_be_left_out() -> None:
    values = {name: value for name, value in PERSON.as_dict().items() if name != "background"}
    assert Preprocess.from_dict(values) == PERSON


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("height", 0, "height must be a whole number of at least 1, got 0"),
        ("height", 256.0, "height must be a whole number of at least 1, got 256.0"),
        ("width", True, "width must be a whole number of at least 1, got True"),
        ("width", "128", "width must be a whole number of at least 1, got '128'"),
        ("mean", 0.5, "mean must be three numbers, got 0.5"),
        ("mean", [0.5, 0.5], "mean must be three numbers, got [0.5, 0.5]"),
        ("mean", [0.5, 0.5, float("nan")], "mean must be three finite numbers, got (0.5, 0.5, nan)"),
        ("std", [0.5, 0.5, 0], "std must be three numbers above 0, got (0.5, 0.5, 0)"),
        ("std", [0.5, 0.5, "1"], "std must be three numbers above 0, got (0.5, 0.5, '1')"),
        ("interpolation", "nearest", "interpolation must be bilinear or bicubic, got 'nearest'"),
        ("interpolation", [], "interpolation must be bilinear or bicubic, got []"),
        ("background", "white", "background must be three numbers, got 'white'"),
        ("background", [0, 0, 256], "background must be three whole numbers from 0 to 255, got (0, 0, 256)"),
        ("background", [0, 0, 0.5], "background must be three whole numbers from 0 to 255, got (0, 0, 0.5)"),
    ],
)
def test_wrong_values_are_refused(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Preprocess.from_dict(PERSON.as_dict() | {name: value})
    assert str(caught.value) == f"preprocessing: {expected}."


def test_unknown_and_missing_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown name hight; there are background, height, interpolation"):
        Preprocess.from_dict(PERSON.as_dict() | {"hight": 256})
    with pytest.raises(ConfigError, match="preprocessing: mean, std is missing"):
        Preprocess.from_dict({"height": 256, "width": 128, "interpolation": "bilinear"})


@pytest.mark.parametrize("size", [(128, 256), (50, 90), (300, 700), (1, 1)])
@pytest.mark.parametrize("preprocess", [PERSON, IMAGENET])
def test_resize_is_pillows(preprocess: Preprocess, size: tuple[int, int]) -> None:
    image = picture(*size)
    resample = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[preprocess.interpolation]
    expected = np.asarray(image.resize((preprocess.width, preprocess.height), resample))
    got = preprocess.resize(image)
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert got.shape == (3, preprocess.height, preprocess.width)
    assert np.array_equal(got.transpose(1, 2, 0), expected)


def test_resize_refuses_other_modes() -> None:
    with pytest.raises(ValueError, match="resize takes RGB pictures, got mode L; convert it with"):
        PERSON.resize(picture(8, 8, "L"))


@pytest.mark.parametrize("preprocess", [PERSON, IMAGENET])
def test_normalise_follows_the_formula(preprocess: Preprocess) -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(2 * 3).view(2, 3, 16, 16)
    before = images.clone()
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (preprocess.mean, preprocess.std))
    got = preprocess.normalise(images)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), (images.double() / 255 - mean) / std, rtol=0, atol=1e-6)
    assert torch.equal(images, before)


def test_normalise_maps_black_and_white_to_minus_one_and_one() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).repeat(3).view(1, 3, 1, 2)
    assert PERSON.normalise(images).unique().tolist() == [-1.0, 1.0]


def test_normalise_refuses_floats() -> None:
    with pytest.raises(ValueError, match=r"normalise takes uint8 pictures from 0 to 255, got torch\.float32"):
        PERSON.normalise(torch.zeros(1, 3, 4, 4))
