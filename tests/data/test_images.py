"""Pictures of every kind come out upright, RGB and 8 bit; what is no picture is refused with a line that helps."""

from __future__ import annotations

import contextlib
import io
import math
import os
import pickle
import struct
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from resight.data import images
from resight.data.images import (
    FORMATS,
    MAX_PIXELS,
    UPRIGHT,
    PictureError,
    content_name,
    crop,
    decode,
    open_bytes,
    open_image,
    read_bytes,
    to_rgb,
)
from resight.errors import DataError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
CORNERS = np.array([[RED, GREEN, GREEN], [BLUE, WHITE, WHITE]], dtype=np.uint8)  # 3 wide, 2 high, no symmetry


def noise(width: int = 40, height: int = 30, channels: int = 3) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8))


def pixels(image: Image.Image) -> list[list[tuple[int, ...]]]:
    return [[tuple(int(value) for value in pixel) for pixel in row] for row in np.asarray(image)]


def png(width: int, height: int, body: bytes = b"nothing that inflates") -> bytes:
    """A PNG with a true header of any size, 1 bit grey."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


# ---- what comes out


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF"])
def test_every_stated_format_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    assert name in FORMATS
    path = tmp_path / "picture.dat"
    Image.new("RGB", (20, 10), RED).save(path, name)
    image = open_image(path)
    assert (image.mode, image.size, type(image)) == ("RGB", (20, 10), Image.Image)
    assert np.abs(np.asarray(image).astype(int) - RED).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["png", "tiff", "webp", "jpg"])
def test_all_eight_orientations_come_out_upright(tmp_path: Path, orientation: int, name: str) -> None:
    """The stored pixels are the upright ones turned the other way; 5 to 8 swap width and height."""
    block = np.kron(CORNERS, np.ones((16, 16, 1), np.uint8))
    inverse = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    upright = Image.fromarray(block)
    stored = upright if orientation == 1 else upright.transpose(inverse.get(orientation, UPRIGHT.get(orientation)))  # type: ignore[arg-type]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{name}"
    stored.save(path, exif=exif.tobytes(), quality=100)
    image, found = decode(path)
    assert image.size == upright.size
    assert np.abs(np.asarray(image).astype(int) - block).mean() < 12
    assert ("rotated" in found) == (orientation != 1 and name != "tiff")
    assert pixels(to_rgb(image)) == pixels(image), "turned a second time"


def test_orientation_6_is_turned_clockwise(tmp_path: Path) -> None:
    """A phone held upright: row 0 of the file is the right-hand side of the scene."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(CORNERS).save(tmp_path / "phone.png", exif=exif.tobytes())
    assert pixels(open_image(tmp_path / "phone.png")) == [[BLUE, RED], [WHITE, GREEN], [WHITE, GREEN]]


@pytest.mark.parametrize("exif", [b"Exif\0\0not tiff", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12", b"Exif\0\0"])
def test_broken_exif_leaves_the_picture_as_stored(tmp_path: Path, exif: bytes) -> None:
    Image.fromarray(CORNERS).save(tmp_path / "a.png", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of the EXIF data
        assert pixels(open_image(tmp_path / "a.png")) == pixels(Image.fromarray(CORNERS))


def test_an_orientation_that_does_not_exist_is_ignored() -> None:
    image = Image.fromarray(CORNERS)
    for value in (0, 9, "6"):
        image.getexif()[0x0112] = value
        assert pixels(to_rgb(image)) == pixels(image)


@pytest.mark.parametrize("background", [WHITE, (10, 20, 30)])
def test_alpha_is_laid_on_the_background(background: tuple[int, int, int]) -> None:
    rgba = Image.new("RGBA", (2, 1), (*RED, 0))
    rgba.putpixel((1, 0), (*RED, 255))
    assert pixels(to_rgb(rgba, background=background)) == [[background, RED]]
    rgba.putpixel((1, 0), (200, 100, 0, 128))
    halfway = [round((128 * new + 127 * old) / 255) for new, old in zip((200, 100, 0), background, strict=True)]
    assert np.abs(np.asarray(to_rgb(rgba, background=background))[0, 1].astype(int) - halfway).max() <= 1


@pytest.mark.parametrize("mode", ["LA", "PA", "RGBa"])
def test_other_modes_with_alpha(mode: str) -> None:
    grey = Image.new("LA", (1, 1), (80, 0)) if mode != "PA" else Image.new("P", (1, 1), 3)
    if mode == "PA":
        grey.putpalette([0] * 9 + [80, 80, 80])
        image = grey.convert("PA")
        image.putalpha(0)
    else:
        image = {"LA": grey, "RGBa": grey.convert("RGBA").convert("RGBa")}[mode]
    assert image.mode == mode
    assert pixels(to_rgb(image, background=(1, 2, 3))) == [[(1, 2, 3)]]


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "one.png", transparency=1)
    image.save(tmp_path / "each.png", transparency=bytes([255, 0, 128]))
    image.save(tmp_path / "none.png")
    assert pixels(open_image(tmp_path / "one.png")) == [[RED, WHITE, BLUE]]
    assert pixels(open_image(tmp_path / "each.png", background=(0, 0, 0))) == [[RED, (0, 0, 0), (0, 0, 128)]]
    assert pixels(open_image(tmp_path / "none.png")) == [[RED, GREEN, BLUE]]
    assert decode(tmp_path / "one.png")[1] == ("alpha", "palette")
    assert decode(tmp_path / "none.png")[1] == ("palette",)


def test_a_transparent_colour_in_a_true_colour_or_grey_png(tmp_path: Path) -> None:
    Image.fromarray(CORNERS).save(tmp_path / "rgb.png", transparency=RED)
    assert pixels(open_image(tmp_path / "rgb.png", background=(7, 7, 7)))[0][:2] == [(7, 7, 7), GREEN]
    Image.new("L", (1, 1), 5).save(tmp_path / "grey.png", transparency=5)
    assert pixels(open_image(tmp_path / "grey.png")) == [[WHITE]]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_is_scaled_by_257(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 128, 129, 257, 300 * 100, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"deep.{suffix}")
    image, found = decode(tmp_path / f"deep.{suffix}")
    assert [pixel[0] for pixel in pixels(image)[0]] == [0, 0, 1, 1, 117, 255]
    assert found == ("grey", "16 bit")


def test_16_bit_grey_that_is_nearly_black_stays_so(tmp_path: Path) -> None:
    Image.fromarray(np.full((1, 1), 200, dtype=np.uint16)).save(tmp_path / "dark.png")
    assert pixels(open_image(tmp_path / "dark.png")) == [[(1, 1, 1)]]


@pytest.mark.parametrize(
    ("values", "mode", "expected"),
    [
        ([0, 100, 255], "I", [0, 100, 255]),
        ([0, 256, 65535, 70000, -5], "I", [0, 1, 255, 255, 0]),
        ([0.0, 0.5, 1.0], "F", [0, 128, 255]),
        ([0.0, 2.0, 255.0, -3.0, float("nan")], "F", [0, 2, 255, 0, 0]),
        ([0.0, 65535.0, float("inf")], "F", [0, 255, 255]),
    ],
)
def test_grey_of_32_bits(values: list[float], mode: str, expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.int32 if mode == "I" else np.float32))
    assert image.mode == mode
    assert [pixel[0] for pixel in pixels(to_rgb(image))[0]] == expected


def test_big_endian_16_bit() -> None:
    image = Image.frombytes("I;16B", (2, 1), b"\x01\x01\xff\xff")
    assert pixels(to_rgb(image)) == [[(1, 1, 1), (255, 255, 255)]]


@pytest.mark.parametrize(
    ("mode", "name"), [("CMYK", "jpg"), ("YCbCr", "jpg"), ("L", "jpg"), ("1", "png"), ("HSV", None)]
)
def test_other_colour_spaces(tmp_path: Path, mode: str, name: str | None) -> None:
    image = Image.new("RGB", (16, 16), WHITE).convert(mode)
    if name:
        image.save(tmp_path / f"a.{name}")
        image = open_image(tmp_path / f"a.{name}")
    assert np.asarray(to_rgb(image)).min() >= 254
    assert to_rgb(image).mode == "RGB"


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    for name in ("a.gif", "a.png", "a.webp", "a.tiff"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        image, found = decode(tmp_path / name)
        assert pixels(image)[0][0] == RED
        assert "several frames" in found


def test_to_rgb_gives_a_new_picture_and_leaves_the_old_one() -> None:
    image = noise()
    image.info["exif"] = b"kept"
    out = to_rgb(image)
    out.putpixel((0, 0), (1, 2, 3))
    assert image.getpixel((0, 0)) != (1, 2, 3)
    assert image.info == {"exif": b"kept"}
    assert out.info == {}


# ---- boxes


def test_a_box_is_cut_from_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(CORNERS).save(tmp_path / "phone.png", exif=exif.tobytes())
    assert pixels(open_image(tmp_path / "phone.png", box=(0, 1, 2, 3))) == [[WHITE, GREEN], [WHITE, GREEN]]


@pytest.mark.parametrize(
    ("box", "region"),
    [
        ((2, 3, 10, 20), (2, 3, 10, 20)),
        ((-5, -5, 10, 10), (0, 0, 10, 10)),
        ((30, 20, 99, 99), (30, 20, 40, 30)),
        ((2.9, 3.1, 9.2, 19.9), (2, 3, 10, 20)),
        ((39.5, 29.5, 39.9, 29.9), (39, 29, 40, 30)),
        ((0, 0, 40, 30), (0, 0, 40, 30)),
        ((-1e30, -1e30, 1e30, 1e30), (0, 0, 40, 30)),
    ],
)
def test_a_box_is_clipped_and_its_fractions_count_as_whole_pixels(
    tmp_path: Path, box: tuple[float, float, float, float], region: tuple[int, int, int, int]
) -> None:
    noise().save(tmp_path / "a.png")
    assert pixels(open_image(tmp_path / "a.png", box=box)) == pixels(noise().crop(region))


@pytest.mark.parametrize(
    "box",
    [(40, 0, 50, 10), (0, 30, 10, 40), (-9, -9, 0, 0), (10, 10, 10, 20), (20, 20, 10, 25), (0, float("nan"), 5, 5)],
)
def test_a_box_with_nothing_inside_is_an_error(tmp_path: Path, box: tuple[float, float, float, float]) -> None:
    noise().save(tmp_path / "a.png")
    with pytest.raises(
        PictureError, match=r"a\.png: nothing of the 40 × 30 picture lies in the box .*Correct it: left"
    ) as raised:
        open_image(tmp_path / "a.png", box=box)
    assert raised.value.kind == "box"


# ---- what is refused


def refuse(path: Path, kind: str) -> str:
    """The message, which is one line and starts with the path."""
    with pytest.raises(PictureError) as raised:
        open_image(path)
    assert raised.value.kind == kind
    assert isinstance(raised.value, DataError)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_missing(tmp_path: Path) -> None:
    expected = "does not exist. Copy the picture there, or take it off the list."
    assert refuse(tmp_path / "nö där.jpg", "missing") == expected
    (tmp_path / "file").write_bytes(b"x")
    assert refuse(tmp_path / "file" / "below.jpg", "missing") == expected


def test_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    expected = (
        f"is a link to {tmp_path / 'gone.jpg'}, which does not exist. Copy the picture there, or take it off the list."
    )
    assert refuse(tmp_path / "link.jpg", "missing") == expected


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert "cannot be read (Too many levels of symbolic links)" in refuse(tmp_path / "loop.jpg", "unreadable")


def test_a_folder(tmp_path: Path) -> None:
    assert refuse(tmp_path, "not a picture") == "is a folder. Name a picture file."


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    said = "is not a regular file. Put a picture there, or remove it."
    assert refuse(tmp_path / "pipe.jpg", "not a picture") == said


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert refuse(tmp_path / "a.jpg", "empty") == "is empty (0 bytes). Copy it again or remove it."


def test_text_named_as_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<html>404 Not Found</html>")
    expected = "is not a picture of a known kind (JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM, JPEG2000, AVIF). "
    assert refuse(tmp_path / "a.jpg", "not a picture") == expected + "Save it as JPEG or PNG, or remove it."


def test_postscript_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    assert refuse(tmp_path / "a.jpg", "not a picture").startswith("is not a picture of a known kind")


def test_no_right_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the refusal is played."""

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    (tmp_path / "a.jpg").touch()
    expected = "cannot be read (Permission denied). Check its permissions and the disk."
    assert refuse(tmp_path / "a.jpg", "unreadable") == expected


def test_a_path_that_no_file_can_have(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="embedded null byte"):
        open_image(tmp_path / "a\0.jpg")


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "AVIF", "PPM"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_file_cut_short(tmp_path: Path, name: str, share: float) -> None:
    whole = io.BytesIO()
    noise(64, 64).save(whole, name)
    path = tmp_path / "cut.jpg"
    path.write_bytes(whole.getvalue()[: int(share * len(whole.getvalue()))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of TIFF tags that it misses
        message = refuse(path, "damaged")
    assert message.startswith("is cut short or damaged (")
    assert message.endswith("). Copy it again or remove it.")


def test_damage_within_a_file(tmp_path: Path) -> None:
    whole = io.BytesIO()
    noise().save(whole, "PNG")
    data = bytearray(whole.getvalue())
    data[20] ^= 0xFF  # in the header, which has a checksum
    (tmp_path / "a.png").write_bytes(data)
    assert "bad header checksum" in refuse(tmp_path / "a.png", "damaged")


def test_a_decompression_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    """The body is rubbish: had it been decoded, the file would be called damaged. No warning of Pillow's leaks."""
    (tmp_path / "bomb.png").write_bytes(png(20_000, 20_000))
    start = time.perf_counter()
    expected = "has 20000 × 20000 pixels; at most 100 million are read. Scale it down or cut it."
    assert refuse(tmp_path / "bomb.png", "too large") == expected
    assert time.perf_counter() - start < 1


def test_pillow_s_own_limit_is_not_in_the_way(tmp_path: Path) -> None:
    """From 89 million pixels Pillow warns when it opens and when it crops, which would be an error here."""
    side = math.isqrt(MAX_PIXELS)
    (tmp_path / "largest.png").write_bytes(png(side, side))
    refuse(tmp_path / "largest.png", "damaged")
    (tmp_path / "larger.png").write_bytes(png(side, side + 1))
    assert "at most 100 million" in refuse(tmp_path / "larger.png", "too large")
    assert crop(Image.new("L", (side, side)), (0, 0, side, side - 1), tmp_path).size == (side, side - 1)


def test_pillow_s_own_refusal_becomes_ours(tmp_path: Path) -> None:
    """An animated WebP whose canvas Pillow itself finds too large, before its size can be asked."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN)]
    whole = io.BytesIO()
    frames[0].save(whole, "WEBP", save_all=True, append_images=frames[1:])
    data = bytearray(whole.getvalue())
    at = data.index(b"VP8X") + 12  # canvas width − 1 and height − 1, 24 bits each
    data[at : at + 6] = (16383).to_bytes(3, "little") * 2
    (tmp_path / "a.webp").write_bytes(data)
    assert refuse(tmp_path / "a.webp", "too large").startswith("has ")


def test_the_error_survives_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(PictureError("a.jpg: is empty.", "empty")))
    assert (str(error), error.kind) == ("a.jpg: is empty.", "empty")


def test_memory_that_runs_out_is_not_blamed_on_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise().save(tmp_path / "a.png")

    def exhausted(self: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", exhausted)
    with pytest.raises(MemoryError):
        open_image(tmp_path / "a.png")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"]),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6),
    keep=st.floats(0.01, 1),
)
def test_damaged_bytes_give_a_picture_or_our_error(
    tmp_path: Path, name: str, changes: list[tuple[float, int]], keep: float
) -> None:
    whole = io.BytesIO()
    noise().save(whole, name)
    data = bytearray(whole.getvalue())
    for place, value in changes:
        data[int(place**3 * len(data))] = value  # mostly in the header
    (tmp_path / "a").write_bytes(data[: max(1, int(keep * len(data)))])
    with warnings.catch_warnings(), contextlib.suppress(PictureError):
        warnings.simplefilter("ignore")
        assert open_image(tmp_path / "a").mode == "RGB"


def test_many_threads_read_the_same_pixels(tmp_path: Path) -> None:
    for i in range(16):
        noise(20 + i).save(tmp_path / f"{i}.png")
    paths = [tmp_path / f"{i % 16}.png" for i in range(200)]
    with ThreadPoolExecutor(8) as pool:
        sizes = [image.size for image in pool.map(open_image, paths)]
    assert sizes == [(20 + i % 16, 30) for i in range(200)]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.tif"])
def test_bytes_are_opened_as_their_file(tmp_path: Path, name: str) -> None:
    noise().save(tmp_path / name)
    content = read_bytes(tmp_path / name)
    assert content == (tmp_path / name).read_bytes()
    for box in (None, (1.5, 2, 30, 20)):
        assert pixels(open_bytes(content, "x", box=box)) == pixels(open_image(tmp_path / name, box=box))


def test_bytes_that_are_no_picture_are_told_by_their_name(tmp_path: Path) -> None:
    for content, said in ((b"", "upload: is empty"), (b"words, and more of them", "upload: is not a picture")):
        with pytest.raises(PictureError, match=said):
            open_bytes(content, "upload")
    noise().save(tmp_path / "a.png")
    with pytest.raises(PictureError, match="upload: is cut short or damaged"):
        open_bytes((tmp_path / "a.png").read_bytes()[:300], "upload")
    with pytest.raises(PictureError, match="upload: nothing of the 40 × 30 picture lies in the box"):
        open_bytes((tmp_path / "a.png").read_bytes(), "upload", box=(50, 50, 60, 60))


def test_files_whose_bytes_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "pipe", "is not a regular file"),
        (tmp_path, "is a folder"),
        (tmp_path / "none.png", "does not exist"),
    ):
        with pytest.raises(PictureError, match=said):
            read_bytes(path)
    (tmp_path / "large.png").write_bytes(bytes(1001))
    monkeypatch.setattr(images, "MAX_BYTES", 1000)
    with pytest.raises(PictureError, match=r"large\.png: has 1,001 bytes; at most 1,000 are read"):
        read_bytes(tmp_path / "large.png")


def test_a_content_s_name_tells_boxes_apart_but_not_kinds_of_numbers() -> None:
    digest = bytes(64)
    names = [content_name(digest, box) for box in (None, (0, 0, 1, 1), (0, 0, 1, 1.5))]
    assert len({*names, content_name(bytes(63) + b"1", None)}) == 4
    assert all(len(name) == 16 for name in names)
    assert content_name(digest, (0.0, 0.0, 1.0, 1.0)) == names[1]
