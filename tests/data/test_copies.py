"""Copies are found whatever was done to the file, and plain pictures raise no alarm."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy.fft import dctn

from resight.data import copies
from resight.data.copies import Look, Mask, Rows, look, similar


def scene(seed: int, width: int = 60, height: int = 90) -> Image.Image:
    """Coloured blobs: smooth and structured, as photographs are."""
    rough = np.random.default_rng(seed).integers(0, 256, (9, 6, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


def everything(a: Rows, b: Rows) -> Mask:
    return np.ones(len(a), dtype=bool)


def pairs(looks: list[Look]) -> set[tuple[int, int]]:
    return {(int(i), int(j)) for a, b in similar(looks, everything) for i, j in zip(a, b, strict=True)}


def test_the_digest_is_of_size_and_pixels() -> None:
    image = scene(0)
    assert look(image).digest == look(image.copy()).digest
    changed = image.copy()
    changed.putpixel((3, 3), (0, 0, 0))
    assert look(changed).digest != look(image).digest
    flat = Image.new("RGB", (4, 6), (1, 1, 1))
    assert look(flat).digest != look(flat.resize((6, 4))).digest


def test_the_hash_is_that_of_its_formula() -> None:
    """Against SciPy's transform and NumPy's median."""
    image = scene(1)
    grey = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR).convert("L"), dtype=float)
    low = dctn(grey, norm="ortho")[:8, :8].ravel()
    bits = "".join("1" if value > np.median(low[1:]) else "0" for value in low)
    assert look(image).bits == int(bits, 2)


def versions(image: Image.Image) -> dict[str, Image.Image]:
    width, height = image.size
    coded = io.BytesIO()
    image.save(coded, "JPEG", quality=50)
    return {
        "saved again": Image.open(coded).convert("RGB"),
        "half": image.resize((width // 2, height // 2)),
        "double": image.resize((width * 2, height * 2)),
        "brighter": ImageEnhance.Brightness(image).enhance(1.15),
        "cropped": image.crop((1, 1, width - 1, height - 1)),
    }


@pytest.mark.parametrize("name", ["saved again", "half", "double", "brighter", "cropped"])
def test_a_copy_is_found_whatever_was_done_to_it(name: str) -> None:
    assert pairs([look(scene(2)), look(scene(3)), look(versions(scene(2))[name])]) == {(0, 2)}


def test_different_scenes_are_not_alike() -> None:
    assert pairs([look(scene(seed)) for seed in range(300)]) == set()


def test_the_same_drawing_in_another_colour_or_shape_is_not_alike() -> None:
    red, blue = Image.new("RGB", (64, 64), "white"), Image.new("RGB", (64, 64), "white")
    disc = Image.new("L", (64, 64))
    disc.paste(255, (10, 20, 50, 60))
    red.paste((230, 30, 30), mask=disc)
    blue.paste((30, 30, 230), mask=disc)
    assert (look(red).bits ^ look(blue).bits).bit_count() <= copies.RADIUS  # type: ignore[operator]
    assert pairs([look(red), look(blue)]) == set()
    assert pairs([look(scene(4)), look(scene(4, 60, 80))]) == set()


def ramp(angle: float) -> NDArray[np.uint8]:
    y, x = np.indices((64, 64)) / 63
    return (np.clip(x * math.cos(angle) + y * math.sin(angle), 0, 1) * 255).astype(np.uint8)


def test_plain_pictures_have_no_hash() -> None:
    """A colour, faint noise, an even ramp, a vignette: any two of them look the same and prove nothing."""
    y, x = np.indices((64, 64)) - 31.5
    noise = np.random.default_rng(0).normal(128, 3, (64, 64))
    plain = [np.full((64, 64), 90), noise, ramp(0), ramp(0.5), 255 - np.hypot(x, y) * 2]
    looks = [look(Image.fromarray(values.astype(np.uint8)).convert("RGB")) for values in plain]
    assert [one.bits for one in looks] == [None] * 5
    assert [one.blank for one in looks] == [True, False, False, False, False]
    assert pairs(looks) == set()


def test_blank_allows_for_faint_noise_in_large_pictures() -> None:
    noisy = np.random.default_rng(0).normal(128, 3, (640, 640, 3)).astype(np.uint8)
    assert look(Image.fromarray(noisy)).blank
    noisy[:320] += 10
    assert not look(Image.fromarray(noisy)).blank


def test_blocks_find_what_a_plain_loop_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, so that pairs lie within one, across two, and in the last and shorter one."""
    monkeypatch.setattr(copies, "ROWS", 3)
    monkeypatch.setattr(copies, "COLUMNS", 5)
    monkeypatch.setattr(copies, "PAIRS", 2)
    images = [scene(seed) for seed in (0, 1, 2, 3)] * 4 + [Image.new("RGB", (9, 9))] + [*versions(scene(1)).values()]
    looks = [look(image) for image in images]

    def alike(a: Look, b: Look) -> bool:
        if a.bits is None or b.bits is None or abs(a.shape - b.shape) >= copies.MAX_SHAPE_DIFFERENCE:
            return False
        x, y = (np.frombuffer(one.colours, np.uint8).astype(float) for one in (a, b))
        return (a.bits ^ b.bits).bit_count() <= copies.RADIUS and np.corrcoef(x, y)[0, 1] > copies.MIN_CORRELATION

    expected = {(i, j) for i in range(len(looks)) for j in range(i + 1, len(looks)) if alike(looks[i], looks[j])}
    assert len(expected) > 30
    assert pairs(looks) == expected


def test_only_wanted_pairs_are_compared() -> None:
    looks = [look(scene(0))] * 4
    asked = []

    def across(a: Rows, b: Rows) -> Mask:
        asked.extend(zip(a.tolist(), b.tolist(), strict=True))
        return (a == 0) & (b == 3)

    assert [(a.tolist(), b.tolist()) for a, b in similar(looks, across)] == [([0], [3])]
    assert sorted(asked) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize("looks", [[], [look(scene(0))], [look(Image.new("RGB", (5, 5)))] * 3])
def test_too_few_to_compare(looks: list[Look]) -> None:
    assert pairs(looks) == set()
