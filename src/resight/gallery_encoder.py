"""The encoder that a gallery's vectors are from: what the gallery says of it, and how it is opened again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resight.encoder import Encoder
from resight.errors import GalleryError
from resight.gallery.rows import About, Gallery


def describe(
    encoder: Encoder, source: str | Path, options: Mapping[str, Any], calibration: Mapping[str, Any] | None = None
) -> About:
    """What a new gallery says of itself. source, options: what `Encoder.load` was given; a path becomes absolute."""
    return About(
        encoder=encoder.fingerprint(),
        source=str(Path(source).absolute() if Path(source).exists() else source),
        options=options,
        dimension=encoder.dimension,
        aligned=encoder.clip.config.image.output if encoder.can_read else None,
        preprocess=encoder.preprocess.as_dict(),
        calibration=calibration,
    )


def open_encoder(gallery: Gallery, *, source: str | Path | None = None, device: str = "auto") -> Encoder:
    """The encoder of the gallery's vectors. source: where it is now, None is where it was when the gallery was made.

    Raises GalleryError when another one is there, CheckpointError when none is.
    """
    about = gallery.about
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in about.options.items()
    }
    encoder = Encoder.load(about.source if source is None else source, device=device, **options)
    require_encoder(gallery, encoder)
    return encoder


def require_encoder(gallery: Gallery, encoder: Encoder) -> None:
    """Raises GalleryError when the gallery's vectors are from another encoder: they cannot be compared."""
    if gallery.about.encoder != encoder.fingerprint():
        raise GalleryError(
            f"The gallery's vectors are from encoder {gallery.about.encoder} ({gallery.about.source}), not from "
            f"{encoder.fingerprint()} ({encoder.card.source}); they cannot be compared. Name the same encoder."
        )
