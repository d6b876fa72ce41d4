"""One HTML file that needs nothing else: its pictures are in it, and it may ask nobody for anything."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.data.images import open_image
from resight.embed import prepare_folder
from resight.markup import data, element, write_page
from resight.types import Record

LARGEST = 3_400_000  # bytes of pictures in the page
SIZES = ((128, 80), (112, 74), (96, 70), (80, 64), (64, 58), (48, 50))
"""Pixels of the longer side and JPEG quality, tried in turn until all fit into LARGEST."""
DARKEST = 0.75  # of the shade over the places that do not count
BRIGHT = 0.95  # of the places are darker than clear


class Pictures:
    """The small pictures of a page, each once; elements name them by number, and the page's script puts them in."""

    def __init__(self, records: Iterable[Record]) -> None:
        """Raises DataError when a picture cannot be read."""
        every = list(dict.fromkeys(records))
        self._numbers = {record: number for number, record in enumerate(every)}
        small = [_small(open_image(record.path, box=record.box), SIZES[0][0]) for record in every]
        for side, quality in SIZES:
            drawn = [_small(image, side) for image in small]
            self.sources = [_data(image, "JPEG", quality) for image in drawn]
            if sum(map(len, self.sources)) <= LARGEST:
                break
        self._sizes = [image.size for image in drawn]

    def number(self, record: Record) -> int:
        return self._numbers[record]

    def draw(self, record: Record, alt: str) -> Element:
        number = self._numbers[record]
        width, height = self._sizes[number]
        return element("img", data_picture=number, alt=alt, width=width, height=height)


def _small(image: Image.Image, side: int) -> Image.Image:
    made = image.copy()
    made.thumbnail((side, side))
    return made


def _data(image: Image.Image, form: str, quality: int = 0) -> str:
    file = io.BytesIO()
    image.save(file, form, **({"quality": quality} if quality else {"optimize": True}))
    return f"data:image/{form.lower()};base64," + base64.b64encode(file.getvalue()).decode()


def shade(shares: NDArray[np.float32]) -> str:
    """The data address of a picture [rows, columns] of black that is clear where the shares are largest."""
    bright = max(float(np.quantile(shares, BRIGHT)), float(shares.max()) / 2, 1e-12)
    lit = np.sqrt((shares / bright).clip(0, 1))  # in proportion, the eye would see the largest few alone
    alpha = np.round(255 * DARKEST * (1 - lit)).astype(np.uint8)
    return _data(Image.fromarray(np.stack([np.zeros_like(alpha), alpha], axis=2)), "PNG")


def scrolling(inside: Element, name: str) -> Element:
    """What is too wide for the window scrolls by itself; it takes the focus, so that the arrow keys move it."""
    return element("div", inside, class_="scroll", tabindex=0, role="region", aria_label=name)


def write_document(title: str, body: Sequence[Element], pictures: Pictures, path: Path) -> None:
    """Writes the page, whole or not at all. Raises DataError when it cannot be written."""
    prepare_folder(path.parent)
    write_page(path, title, "resight.page", [element("main", *body), data("pictures", pictures.sources)])
