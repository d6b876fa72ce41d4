"""A picture file → an upright RGB picture; what cannot be one is an error that names the file and the remedy."""

from __future__ import annotations

import hashlib
import io
import math
import os
import stat
import struct
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from resight.embedder import Picture
from resight.errors import DataError

MAX_PIXELS = 100_000_000
MAX_BYTES = 2**30
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What is read, in Pillow's names. Its other formats are left out: some start another program (EPS), few are tested."""

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]
Kind = Literal["missing", "unreadable", "empty", "not a picture", "damaged", "too large", "box"]
Trait = Literal["alpha", "palette", "grey", "16 bit", "CMYK", "rotated", "several frames"]

WHITE: Colour = (255, 255, 255)

# EXIF tag 0x0112 says where row 0 and column 0 of the stored picture lie; 1 is upright. CIPA DC-008, 4.6.5.1.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureError(DataError):
    """A picture file that cannot be used; kind says why, for counting."""

    def __init__(self, message: str, kind: Kind = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind


def open_image(path: Path, *, box: Box | None = None, background: Colour = WHITE) -> Image.Image:
    """The RGB picture of a file: fully decoded, upright by its EXIF orientation, cropped to `box`.

    box: left, top, right, bottom in pixels of the upright picture; what reaches beyond it is cut off, and a fraction of
    a pixel counts as a whole one. Otherwise as `to_rgb`; of several frames the first. The EXIF data are not kept.
    Raises PictureError, a DataError, for a file that is missing, unreadable, empty, not a picture, damaged, or of more
    than MAX_PIXELS by its header, for what is no file but a folder or a pipe, and for a box with nothing inside.
    """
    image, _ = decode(path, background=background)
    return image if box is None else crop(image, box, path)


def as_picture(image: Picture, *, background: Colour = WHITE) -> Image.Image:
    """The RGB picture of a path, a Pillow image, a uint8 array [H, W, 3] or a uint8 tensor [3, H, W].

    Raises PictureError as `open_image` does, ValueError for an array or tensor of another form.
    """
    if isinstance(image, str | Path):
        return open_image(Path(image), background=background)
    if isinstance(image, Image.Image):
        return to_rgb(image, background=background)
    # a tensor is told without PyTorch, which need not be loaded
    array = image if isinstance(image, np.ndarray) or image.ndim != 3 else image.permute(1, 2, 0).cpu().numpy()
    if not isinstance(array, np.ndarray) or array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError("An array must be uint8 [H, W, 3] and a tensor uint8 [3, H, W], RGB, 0 to 255.")
    return Image.fromarray(np.ascontiguousarray(array))


def decode(path: Path, *, background: Colour = WHITE) -> tuple[Image.Image, tuple[Trait, ...]]:
    """The whole picture as `open_image` gives it, and what was unusual about the file."""
    try:
        _require_regular(path)
        with path.open("rb") as file:
            image = _load(file, path, MAX_PIXELS)
            return to_rgb(image, background=background), traits(image)
    except (PictureError, MemoryError):
        raise
    except Exception as error:  # on damaged bytes Pillow's decoders raise nearly every built-in exception
        raise _complaint(path, error) from error


def read_bytes(path: Path) -> bytes:
    """The content of a picture's file. Raises PictureError as `open_image`, and for more than MAX_BYTES."""
    try:
        _require_regular(path)
        with path.open("rb") as file:
            if (size := os.fstat(file.fileno()).st_size) > MAX_BYTES:
                raise PictureError(
                    f"{path}: has {size:,} bytes; at most {MAX_BYTES:,} are read. Scale it down or cut it.", "too large"
                )
            return file.read()
    except OSError as error:
        raise _complaint(path, error) from error


def content_name(digest: bytes, box: Box | None) -> bytes:
    """16 bytes that name a picture by its file's blake2b digest, of 64 bytes, and its box."""
    about = digest, None if box is None else tuple(map(float, box))
    return hashlib.blake2b(repr(about).encode(), digest_size=16).digest()


def open_bytes(
    content: bytes, name: str, *, box: Box | None = None, background: Colour = WHITE, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """The RGB picture of a file's content, as `open_image` gives it; no file is touched. name: for the messages."""
    shown = Path(name)
    try:
        image = to_rgb(_load(io.BytesIO(content), shown, max_pixels), background=background)
    except (PictureError, MemoryError):
        raise
    except Exception as error:
        raise _damaged(shown, error) from error
    return image if box is None else crop(image, box, shown)


def to_rgb(image: Image.Image, *, background: Colour = WHITE) -> Image.Image:
    """A new RGB picture, upright by the EXIF orientation, if any, of `image`.

    Transparency, be it an alpha channel or a colour that counts as transparent, is laid on `background`. Grey of more
    than 8 bits is scaled to 8: values of 16 bits, and larger than 255, by 1/257; floats up to 1 by 255.
    """
    if image.mode[0] in "IF":
        rgb = Image.fromarray(_eight_bits(image)).convert("RGB")
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", rgba.size, background)
        rgb.paste(rgba, mask=rgba.getchannel("A"))
    else:
        rgb = image.convert("RGB")
    orientation = _orientation(image)
    if orientation in UPRIGHT:
        rgb = rgb.transpose(UPRIGHT[orientation])
    rgb.info = {}  # else whoever asks for the orientation next would turn the picture once more
    return rgb


def crop(image: Image.Image, box: Box, path: Path) -> Image.Image:
    """The part of an upright picture that lies in `box`, cut as `open_image` does; path: for the message."""
    width, height = image.size
    if all(map(math.isfinite, box)):
        left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
        right, bottom = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
        if left < right and top < bottom:
            # Image.crop warns of large pictures below our limit; resizing to the same size copies the same pixels
            return image.resize((right - left, bottom - top), Image.Resampling.NEAREST, box=(left, top, right, bottom))
    raise PictureError(
        f"{path}: nothing of the {width} × {height} picture lies in the box "
        f"{', '.join(f'{value:g}' for value in box)}. "
        "Correct it: left, top, right, bottom in pixels of the upright picture.",
        "box",
    )


def traits(image: Image.Image) -> tuple[Trait, ...]:
    """What had to be converted of a loaded picture. A TIFF is never "rotated": Pillow turns it as it loads."""
    mode = image.mode
    claims: dict[Trait, bool] = {
        "alpha": image.has_transparency_data,
        "palette": mode in ("P", "PA"),
        "grey": mode in ("1", "L", "LA", "La") or mode[0] in "IF",
        "16 bit": mode[0] in "IF",
        "CMYK": mode == "CMYK",
        "rotated": _orientation(image) in UPRIGHT,
        # a camera's MPO holds one picture and previews or depth maps of it
        "several frames": image.format != "MPO" and getattr(image, "is_animated", False),
    }
    return tuple(name for name, holds in claims.items() if holds)


def _require_regular(path: Path) -> None:
    if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):  # to open a pipe is to wait
        raise PictureError(f"{path}: is not a regular file. Put a picture there, or remove it.", "not a picture")


def _load(file: IO[bytes], path: Path, max_pixels: int) -> Image.Image:
    """The decoded picture of a file."""
    image = _header(file, path, max_pixels)
    image.load()  # first: asking a PNG for its EXIF data would load it, and a second load hides the damage
    return image


def _header(file: IO[bytes], path: Path, max_pixels: int) -> Image.Image:
    """The picture of a file, its pixels not yet decoded.

    Does what Image.open does but for its warning of large pictures, which cannot be silenced in one thread alone.
    """
    prefix = file.read(16)
    if not prefix:
        raise PictureError(f"{path}: is empty (0 bytes). Copy it again or remove it.", "empty")
    for name in FORMATS:
        if name not in Image.OPEN:
            Image.init()
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory and accept and accept(prefix) is True:
            file.seek(0)
            image = factory(file, "")
            width, height = image.size
            if width * height > max_pixels:
                raise _too_large(path, f"{width} × {height}", max_pixels)
            return image
    raise PictureError(
        f"{path}: is not a picture of a known kind ({', '.join(FORMATS)}). Save it as JPEG or PNG, or remove it.",
        "not a picture",
    )


def _too_large(path: Path, size: str, max_pixels: int = MAX_PIXELS) -> PictureError:
    limit = f"at most {max_pixels / 1_000_000:g} million are read"
    return PictureError(f"{path}: has {size} pixels; {limit}. Scale it down or cut it.", "too large")


def _damaged(path: Path, error: Exception) -> PictureError:
    said = " ".join(str(error).split()) or type(error).__name__
    return PictureError(f"{path}: is cut short or damaged ({said}). Copy it again or remove it.", "damaged")


def _complaint(path: Path, error: Exception) -> PictureError:
    """What to tell the user of something that went wrong between the file and its pixels."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            what = f"is a link to {path.readlink()}, which does not exist" if path.is_symlink() else "does not exist"
            return PictureError(f"{path}: {what}. Copy the picture there, or take it off the list.", "missing")
        case IsADirectoryError():
            return PictureError(f"{path}: is a folder. Name a picture file.", "not a picture")
        case Image.DecompressionBombError():
            return _too_large(path, "too many")
        case OSError(errno=int()):
            return PictureError(
                f"{path}: cannot be read ({error.strerror}). Check its permissions and the disk.", "unreadable"
            )
    return _damaged(path, error)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 when there is none, or none that can be read: the pixels may still be good."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, TypeError, LookupError, struct.error):
        return 1
    return found if isinstance(found, int) else 1


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Grey values 0 to 255, [H, W], of a picture of mode I;16, I or F."""
    values: NDArray[np.float32] = np.nan_to_num(np.asarray(image, dtype=np.float32))
    peak = values.max()
    white = 1 if image.mode == "F" and peak <= 1 else 255
    if image.mode.startswith("I;16") or peak > 255:
        white = 65535
    grey: NDArray[np.uint8] = np.clip(np.rint(values * (255 / white)), 0, 255).astype(np.uint8)
    return grey
