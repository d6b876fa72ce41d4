"""Uploaded files → pictures at the encoder's size: few, not too large by their header, and safely decoded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from anyio import CapacityLimiter, to_thread
from fastapi import UploadFile
from numpy.typing import NDArray

from resight.data.images import Box, open_bytes
from resight.data.records import CONTROLS
from resight.data.thumbnails import thumbnail
from resight.data.transforms import Preprocess
from resight.errors import ConfigError
from resight.service.forms import require_few

MAX_PICTURES = 8
N_DECODERS = 4
"""Pictures that are decoded at a time: one of 25 million pixels takes up to 300 MB."""


class Decoder:
    """Decodes for one encoder. max_pixels: of one picture, by its header."""

    def __init__(self, preprocess: Preprocess, max_pixels: int) -> None:
        self.preprocess, self.max_pixels = preprocess, max_pixels
        self._limiter = CapacityLimiter(N_DECODERS)

    async def pixels(self, files: Sequence[UploadFile], box: Box | None) -> list[NDArray[np.uint8]]:
        """uint8 [3, H, W] of each, at the encoder's size.

        Raises ConfigError for too many, or a box that belongs to none; PictureError as `open_bytes` does.
        """
        require_few(files, "picture", MAX_PICTURES)
        if box is not None and len(files) != 1:
            raise ConfigError("A box belongs to one picture. Send one picture, or no box.")
        found = []
        for number, file in enumerate(files, 1):
            name = name_of(file.filename, number)
            found.append((await self.decode(name, await file.read(), box))[0])
        return found

    async def decode(self, name: str, content: bytes, box: Box | None) -> tuple[NDArray[np.uint8], bytes]:
        """uint8 [3, H, W] at the encoder's size, and the thumbnail; the whole picture is not kept. Raises as above."""
        return await to_thread.run_sync(self._decode, name, content, box, limiter=self._limiter)

    def _decode(self, name: str, content: bytes, box: Box | None) -> tuple[NDArray[np.uint8], bytes]:
        background = self.preprocess.background
        image = open_bytes(content, name, box=box, background=background, max_pixels=self.max_pixels)
        return self.preprocess.resize(image), thumbnail(image, content if box is None else b"")


def name_of(given: str | None, number: int = 1) -> str:
    """The last part of the name that the client gave the file, short and printable, else "picture 1"."""
    last = CONTROLS.sub("", (given or "").replace("\\", "/").rsplit("/", 1)[-1])[:80].strip(". ")
    return last or f"picture {number}"
