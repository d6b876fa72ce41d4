"""What a request's form holds → pictures at the encoder's size, and conditions of a search."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import UploadFile
from numpy.typing import NDArray
from PIL import Image

from resight.data.images import Box, open_bytes
from resight.data.records import CONTROLS
from resight.data.transforms import Preprocess
from resight.errors import ConfigError

MAX_LABEL = 200  # characters of an identity, a camera, a field's name or value


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """One picture of a request. image: upright RGB, cut to the box; pixels: uint8 [3, H, W] for the encoder."""

    content: bytes
    image: Image.Image
    pixels: NDArray[np.uint8]


async def read_bytes(files: Sequence[UploadFile]) -> list[tuple[str, bytes]]:
    """(name for messages, content) of each file; how large they may be was seen to while they came in."""
    return [(name_of(file.filename, n), await file.read()) for n, file in enumerate(files, 1)]


def decode(name: str, content: bytes, box: Box | None, preprocess: Preprocess, max_pixels: int) -> Upload:
    """Raises PictureError for what is no picture, has more pixels than `max_pixels`, or nothing inside the box."""
    image = open_bytes(content, name, box=box, background=preprocess.background, max_pixels=max_pixels)
    return Upload(content, image, preprocess.resize(image))


def name_of(given: str | None, number: int) -> str:
    """The last part of the name that the client gave the file, short and printable, else "picture 1"."""
    last = CONTROLS.sub("", (given or "").replace("\\", "/").rsplit("/", 1)[-1])[:80].strip(". ")
    return last or f"picture {number}"


def parse_box(text: str) -> Box:
    """left, top, right, bottom. Raises ConfigError for anything but four numbers."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise ConfigError(f"box {quoted(text)}: write left,top,right,bottom in pixels of the upright picture.")
    return values[0], values[1], values[2], values[3]


def parse_fields(pairs: Iterable[str]) -> Mapping[str, str]:
    """Raises ConfigError for a pair that is not name=value, and for two values of one name."""
    fields: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"field {quoted(pair)}: write it as name=value.")
        if name in fields:
            raise ConfigError(f"field {quoted(name)}: stands there twice.")
        fields[require_label(name, "field")] = require_label(value, "field")
    return fields


def require_label(text: str, what: str) -> str:
    """The text. Raises ConfigError when it is too long for a label, or holds control characters."""
    if len(text) > MAX_LABEL:
        raise ConfigError(f"{what} {quoted(text)}: has {len(text):,} characters; at most {MAX_LABEL}.")
    if CONTROLS.search(text):
        raise ConfigError(f"{what} {quoted(text)}: holds a control character. Leave it out.")
    return text


def quoted(text: str) -> str:
    """The text's beginning, in one printable line."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
