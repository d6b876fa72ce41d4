"""A picture → a small JPEG for the eye, without metadata."""

from __future__ import annotations

import io
import re
from typing import Final

from PIL import Image

LONGEST: Final = 192  # pixels
QUALITY: Final = 85
MAX_KEPT: Final = 32_768  # bytes of a JPEG that is kept as it is

# ITU-T T.81, table B.1: tables and frames say how the pixels are stored; other segments may say where and by whom
START, END, SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
PLAIN = {0xC0, 0xC1, 0xC2, 0xC4, 0xDB, 0xDD, SCAN}
JFIF = 0xE0


def thumbnail(image: Image.Image, content: bytes = b"") -> bytes:
    """JPEG of an RGB picture as `to_rgb` gives it, its longest side at most LONGEST; a smaller one keeps its size.

    content: of the file that the picture is all of; it is kept where it is such a JPEG already, and as small.
    """
    if max(image.size) <= LONGEST and len(content) <= MAX_KEPT and is_plain(content):
        return content
    scale = min(1.0, LONGEST / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def is_plain(content: bytes) -> bool:
    """Whether a file is a JPEG of grey or Y, Cb and Cr in one scan that holds pixels and nothing else.

    So no EXIF, no comment, no colour profile, no second picture, nothing behind its end.
    """
    if not content.startswith(START):
        return False
    place, n_components = len(START), 0
    while content[place : place + 1] == b"\xff" and place + 4 <= len(content):
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4])
        segment = content[place + 4 : place + 2 + length]
        if marker == JFIF:
            if len(segment) != 14 or not segment.startswith(b"JFIF\0"):  # a longer one has a picture in it
                return False
        elif marker not in PLAIN:
            return False
        elif 0xC0 <= marker <= 0xC2 and len(segment) > 5:
            n_components = segment[5]
        place += 2 + length
        if marker == SCAN:
            # stuffed zeros and restart marks belong to the pixels
            stop = re.compile(rb"\xff[^\x00\xd0-\xd7]").search(content, place)
            return n_components in (1, 3) and stop is not None and content[stop.start() :] == END
    return False
