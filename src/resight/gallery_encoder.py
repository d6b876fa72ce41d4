"""The encoder that a gallery's vectors are from: what the gallery says of it, and that it is the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resight.embedder import Embedder
from resight.errors import GalleryError
from resight.gallery.rows import About, Gallery


def describe(
    encoder: Embedder, source: str | Path, options: Mapping[str, Any], calibration: Mapping[str, Any] | None = None
) -> About:
    """What a new gallery says of itself. source, options: what opened the encoder; a path becomes absolute."""
    return About(
        encoder=encoder.fingerprint(),
        source=str(Path(source).absolute() if Path(source).exists() else source),
        options=options,
        dimension=encoder.dimension,
        aligned=encoder.aligned_dimension if encoder.can_read else None,
        preprocess=encoder.preprocess.as_dict(),
        calibration=calibration,
    )


def require_encoder(gallery: Gallery, encoder: Embedder) -> None:
    """Raises GalleryError when the gallery's vectors are from another encoder: they cannot be compared."""
    if gallery.about.encoder != encoder.fingerprint():
        raise GalleryError(
            f"The gallery's vectors are from encoder {gallery.about.encoder} ({gallery.about.source}), not from "
            f"{encoder.fingerprint()} ({encoder.card.source}); they cannot be compared. Name the same encoder."
        )
