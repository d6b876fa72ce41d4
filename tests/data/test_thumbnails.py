"""Thumbnails are small, and say nothing but what can be seen."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resight.data.images import to_rgb
from resight.data.thumbnails import LONGEST, MAX_KEPT, is_plain, thumbnail


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def jpeg(image: Image.Image, **more: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **more)
    return file.getvalue()


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((10, 20), (10, 20)),
        ((192, 192), (192, 192)),
        ((800, 400), (192, 96)),
        ((300, 900), (64, 192)),
        ((1, 5000), (1, 192)),
        ((193, 100), (192, 99)),
        ((1, 1), (1, 1)),
    ],
)
def test_the_longest_side_is_limited(size: tuple[int, int], expected: tuple[int, int]) -> None:
    small = opened(thumbnail(noise(*size)))
    assert small.size == expected
    assert small.format == "JPEG"
    assert max(expected) <= LONGEST


def test_it_looks_like_the_picture() -> None:
    smooth = noise(4, 8).resize((400, 800), Image.Resampling.BICUBIC)
    expected = np.asarray(smooth.resize((96, 192), Image.Resampling.BICUBIC), dtype=float)
    assert abs(np.asarray(opened(thumbnail(smooth)), dtype=float) - expected).mean() < 4


def test_nothing_but_pixels_is_written() -> None:
    """A picture as the loader gives it has lost its metadata; what is written has none either."""
    exif = Image.Exif()
    exif[0x010E] = "who, where"
    given = jpeg(noise(300, 300), exif=exif, comment=b"secret", icc_profile=b"profile")
    made = thumbnail(to_rgb(opened(given)), given)
    assert is_plain(made)
    for words in (b"who, where", b"secret", b"profile", b"Exif"):
        assert words in given
        assert words not in made


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_small_plain_jpeg_is_kept(mode: str) -> None:
    for more in ({"quality": 30}, {"quality": 60, "optimize": True}, {"subsampling": 0}, {"restart_marker_blocks": 3}):
        content = jpeg(noise(60, 90).convert(mode), **more)
        assert is_plain(content)
        assert thumbnail(to_rgb(opened(content)), content) is content


def with_segment(content: bytes, marker: int, said: bytes) -> bytes:
    return content[:2] + bytes((0xFF, marker)) + (len(said) + 2).to_bytes(2) + said + content[2:]


def with_exif(content: bytes) -> bytes:
    return jpeg(opened(content), exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")


def without_adobe(content: bytes) -> bytes:
    place = content.index(b"\xff\xee")
    return content[:place] + content[place + 16 :]


JFIF_WITH_THUMBNAIL = b"JFIF\0\x01\x01\0\0\x01\0\x01\x01\x01" + b"\x10\x20\x30"


@pytest.mark.parametrize(
    "spoilt",
    [
        with_exif,
        lambda content: jpeg(opened(content), comment=b"secret"),
        lambda content: jpeg(opened(content), icc_profile=b"profile"),
        lambda content: jpeg(opened(content), progressive=True),
        lambda content: jpeg(opened(content).convert("CMYK")),
        lambda content: without_adobe(jpeg(opened(content).convert("CMYK"))),
        lambda content: content + b"more",
        lambda content: content + content,
        lambda content: content[:-2],
        lambda content: content[:-1],
        lambda content: content[:100],
        lambda content: content[:2],
        lambda content: content[:-2] + b"\xff\xfe\x00\x08secret" + content[-2:],
        lambda content: with_segment(content, 0xE0, b"JFXX\0secret"),
        lambda content: content[:2] + with_segment(content, 0xE0, JFIF_WITH_THUMBNAIL)[2:],
        lambda content: with_segment(content, 0xED, b"Photoshop 3.0"),
        lambda content: b"",
        lambda content: b"\x89PNG" + content,
    ],
)
def test_anything_else_is_not_plain(spoilt: Callable[[bytes], bytes]) -> None:
    image = noise(60, 90)
    content = spoilt(jpeg(image))
    assert not is_plain(content)
    made = thumbnail(image, content)
    assert made != content
    assert is_plain(made)


def test_what_is_large_is_not_kept() -> None:
    for image, quality in ((noise(200, 20), 50), (noise(192, 192), 100)):
        content = jpeg(image, quality=quality, subsampling=0)
        assert is_plain(content)
        assert len(content) > MAX_KEPT or max(image.size) > LONGEST
        assert thumbnail(image, content) != content


def test_a_kept_file_is_upright() -> None:
    """The orientation is EXIF data, so that a picture that is turned is written anew."""
    turned = jpeg(noise(60, 90), exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0")
    assert opened(thumbnail(to_rgb(opened(turned)), turned)).size == (90, 60)
