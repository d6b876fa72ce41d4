"""What embeds, whatever computes it: the vectors' interface, and what is known of an encoder besides its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.types import Embeddings

if TYPE_CHECKING:  # PyTorch is not needed to embed with an exported encoder
    import torch
    from torch import Tensor

    from resight.data.transforms import Preprocess
    from resight.environment import Precision

Picture: TypeAlias = "str | Path | Image.Image | NDArray[np.uint8] | Tensor"


@dataclass(frozen=True, slots=True)
class Card:
    """What an encoder says about itself.

    source: where its weights came from. licence: of those weights. data: fingerprint of the pictures it was trained
    on, "" when it was not trained here. notes: what its user must know, a sentence each. data_licences: of the pictures
    of each training since those weights, the first one first.
    """

    source: str
    licence: str = "unknown"
    data: str = ""
    notes: tuple[str, ...] = ()
    data_licences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Side:
    """Side information (SIE): a learned vector for each camera, or camera and view, times `coefficient`.

    Row camera · n_views + view of the table belongs to cameras[camera] and views[view]; an empty list means that this
    one is not used. A picture whose camera or view is unknown, or was not in training, gets the mean of the rows it
    may belong to. CLIP-ReID, arXiv 2211.13977; TransReID adds it to every token, this to the class token alone.
    """

    coefficient: float
    cameras: tuple[str, ...]
    views: tuple[str, ...] = ()

    @property
    def n_rows(self) -> int:
        return max(1, len(self.cameras)) * max(1, len(self.views))

    def shares(self, cameras: Sequence[str | None], views: Sequence[str | None]) -> NDArray[np.float32]:
        """What each picture takes of each row of the table [B, n_rows]: 1 of its own, or shares of those it may be."""
        shares = np.zeros((len(cameras), self.n_rows), np.float32)
        for row, camera, view in zip(shares, cameras, views, strict=True):
            own = self._rows_of(camera, view)
            row[own] = 1 / len(own)
        return shares

    def weights(self, cameras: Sequence[str | None], views: Sequence[str | None]) -> Tensor:
        """`shares` as a tensor."""
        import torch

        return torch.from_numpy(self.shares(cameras, views))

    def _rows_of(self, camera: str | None, view: str | None) -> list[int]:
        """Every row of the table that the picture may belong to."""
        n_views = max(1, len(self.views))
        one_camera, one_view = camera in self.cameras, view in self.views
        cameras = [self.cameras.index(camera or "")] if one_camera else range(max(1, len(self.cameras)))
        of_camera = [self.views.index(view or "")] if one_view else range(n_views)
        return [c * n_views + v for c in cameras for v in of_camera]


def card_of(about: Mapping[str, Any]) -> Card:
    """The card in an encoder.json. Raises KeyError or TypeError where it is not whole."""
    card = about["card"]  # older encoders say nothing of the data's licences
    return Card(**card | {name: tuple(card.get(name, ())) for name in ("notes", "data_licences")})


def side_of(about: Mapping[str, Any]) -> Side | None:
    """The side information in an encoder.json. Raises KeyError or TypeError where it is not whole."""
    side = about["side"]
    return side and Side(side["coefficient"], tuple(side["cameras"]), tuple(side["views"]))


class Embedder(Protocol):
    """Pictures and texts → L2-normalised vectors: an `Encoder`, or one that was exported.

    preprocess, card: as in `Encoder`. device: where it computes. dimension: D of the embedding. aligned_dimension: A of
    aligned vectors. context_length: the most tokens of a text that it reads, 0 without a text tower.
    """

    @property
    def preprocess(self) -> Preprocess: ...
    @property
    def card(self) -> Card: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dimension(self) -> int: ...
    @property
    def aligned_dimension(self) -> int: ...
    @property
    def can_read(self) -> bool: ...
    @property
    def context_length(self) -> int: ...

    def fingerprint(self) -> str:
        """16 hexadecimal digits that name what made the vectors; vectors of one name may be compared."""
        ...

    def encode(
        self,
        images: Tensor | NDArray[np.uint8],
        *,
        cameras: Sequence[str | None] | None = None,
        views: Sequence[str | None] | None = None,
        precision: Precision = "float32",
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Embedding [B, D] and aligned vector [B, A] (None without a text tower) of uint8 [B, 3, H, W]."""
        ...

    def embed_images(
        self,
        images: Sequence[Picture] | Tensor,
        *,
        cameras: Sequence[str | None] | None = None,
        views: Sequence[str | None] | None = None,
        batch_size: int = 64,
        precision: Precision = "float32",
    ) -> Embeddings:
        """One row a picture."""
        ...

    def embed_texts(
        self, texts: Sequence[str], *, batch_size: int = 256, precision: Precision = "float32"
    ) -> Embeddings:
        """One row a text, comparable with the `aligned` vectors of pictures."""
        ...

    def open_picture(self, image: Picture) -> Image.Image:
        """The RGB picture that `embed_images` makes of what it is given."""
        ...


def embed_pictures(
    encoder: Embedder,
    images: Sequence[Picture] | Tensor,
    cameras: Sequence[str | None] | None,
    views: Sequence[str | None] | None,
    batch_size: int,
    precision: Precision,
) -> Embeddings:
    """What `Encoder.embed_images` returns, of any encoder. Raises as it does."""
    if isinstance(images, str | Path | Image.Image):
        raise ValueError("embed_images takes a list of pictures: write embed_images([picture]).")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; at least 1")
    n = len(images)
    cameras, views = list(cameras or [None] * n), list(views or [None] * n)
    if len(cameras) != n or len(views) != n:
        raise ValueError(
            f"{n} pictures, {len(cameras)} cameras and {len(views)} views: one of each a picture, or None."
        )
    embeddings, aligned = [], []
    for start in range(0, n, batch_size):
        rows = slice(start, start + batch_size)
        batch = np.stack([encoder.preprocess.resize(encoder.open_picture(image)) for image in images[rows]])
        vectors, shared = encoder.encode(batch, cameras=cameras[rows], views=views[rows], precision=precision)
        embeddings.append(vectors)
        aligned += [] if shared is None else [shared]
    return Embeddings(
        embedding=stack(embeddings, encoder.dimension),
        aligned=stack(aligned, encoder.aligned_dimension) if encoder.can_read else None,
        paths=tuple(str(image) if isinstance(image, str | Path) else "" for image in images),
        identities=(None,) * n,
        cameras=tuple(cameras),
        captions=("",) * n,
        encoder=encoder.fingerprint(),
    )


def of_texts(vectors: NDArray[np.float32], texts: Sequence[str], fingerprint: str) -> Embeddings:
    """Embeddings of texts: both vectors are the aligned one."""
    nothing = (None,) * len(texts)
    return Embeddings(vectors, vectors, ("",) * len(texts), nothing, nothing, tuple(texts), fingerprint)


def stack(parts: Sequence[NDArray[np.float32]], width: int) -> NDArray[np.float32]:
    """The parts' rows, [0, width] where there are none."""
    return np.concatenate(parts) if len(parts) else np.zeros((0, width), dtype=np.float32)
