"""Files that are pictures of many kinds, and files that are none."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import Any

import numpy as np
import pytest
from fastapi import UploadFile
from PIL import Image

from resight.data.images import PictureError, open_bytes
from resight.encoder import Encoder
from resight.errors import ConfigError
from resight.service import uploads
from resight.service.uploads import Decoder, name_of


def stored(mode: str, kind: str, **options: Any) -> bytes:
    values = np.random.default_rng(0).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).convert(mode).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "JPEG", {}),
        ("CMYK", "JPEG", {}),
        ("L", "JPEG", {}),
        ("RGBA", "PNG", {}),
        ("P", "PNG", {}),
        ("I;16", "PNG", {}),
        ("RGB", "WEBP", {}),
        ("RGB", "BMP", {}),
        ("RGB", "TIFF", {}),
        ("RGB", "PPM", {}),
        ("P", "GIF", {"save_all": True, "append_images": [Image.new("P", (30, 40))] * 3}),
    ],
)
def test_an_upload_is_seen_as_a_file_is(mode: str, kind: str, options: Any, encoder: Encoder, tmp_path: Any) -> None:
    content = stored(mode, kind, **options)
    decoder = Decoder(encoder.preprocess, 10_000)
    pixels, thumbnail = asyncio.run(decoder.decode("picture", content, None))
    (tmp_path / "file").write_bytes(content)
    expected = encoder.preprocess.resize(encoder.open_picture(tmp_path / "file"))
    np.testing.assert_array_equal(pixels, expected)
    assert Image.open(io.BytesIO(thumbnail)).size == (30, 40)


def test_pixels_are_counted_by_the_header(encoder: Encoder) -> None:
    """The pixels themselves are damaged, which would be found by decoding them."""
    content = stored("RGB", "PNG")[:60]
    with pytest.raises(PictureError, match=r"who: has 30 × 40 pixels; at most 0\.001 million are read"):
        open_bytes(content, "who", max_pixels=1_000)
    with pytest.raises(PictureError, match="who: is cut short or damaged"):
        open_bytes(content, "who", max_pixels=1_200)


def test_a_few_pictures_are_decoded_at_a_time(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def slow(*arguments: Any, **options: Any) -> Image.Image:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.02)
        with lock:
            now -= 1
        return Image.new("RGB", (9, 9))

    monkeypatch.setattr(uploads, "open_bytes", slow)

    async def several() -> None:
        decoder = Decoder(encoder.preprocess, 100)
        await asyncio.gather(*(decoder.decode("picture", b"", None) for _ in range(20)))

    asyncio.run(several())
    assert most == uploads.N_DECODERS


def test_a_box_needs_one_picture(encoder: Encoder) -> None:
    decoder, file = Decoder(encoder.preprocess, 10_000), io.BytesIO(stored("RGB", "PNG"))
    with pytest.raises(ConfigError, match="A box belongs to one picture"):
        asyncio.run(decoder.pixels([], (0, 0, 1, 1)))
    (pixels,) = asyncio.run(decoder.pixels([UploadFile(file)], (0, 0, 16, 32)))
    assert pixels.shape == (3, 32, 16)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("who.jpg", "who.jpg"),
        ("/etc/passwd", "passwd"),
        ("C:\\pictures\\who.jpg", "who.jpg"),
        ("a\x00b\n\u202ec.jpg", "abc.jpg"),
        ("x" * 300, "x" * 80),
        ("..", "picture 3"),
        ("", "picture 3"),
        (None, "picture 3"),
    ],
)
def test_a_file_is_called_by_the_last_part_of_its_name(given: str | None, shown: str) -> None:
    assert name_of(given, 3) == shown
