"""What a user names as ENCODER → what embeds: an encoder in PyTorch, or one that was exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from resight.embedder import Embedder
from resight.errors import ConfigError
from resight.exported import ExportedEncoder
from resight.gallery.rows import Gallery
from resight.gallery_encoder import require_encoder


def open_embedder(source: str | Path, *, device: str = "auto", seed: int = 0, **options: Any) -> Embedder:
    """An exported folder, without PyTorch being imported; or what `Encoder.load` opens with these options.

    Raises as `ExportedEncoder.load` and `Encoder.load`, and ConfigError for options beside an exported folder.
    """
    if not is_exported(Path(source)):
        from resight.encoder import Encoder

        return Encoder.load(source, device=device, seed=seed, **options)
    if options:
        raise ConfigError(f"{source}: an exported encoder fixes size, stride, heads and activation; leave them out.")
    return ExportedEncoder.load(source, device=device)


def open_encoder(gallery: Gallery, *, source: str | Path | None = None, device: str = "auto") -> Embedder:
    """The encoder of the gallery's vectors. source: where it is now, None is where it was when the gallery was made.

    Raises GalleryError when another one is there, CheckpointError when none is.
    """
    about = gallery.about
    place = about.source if source is None else source
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in about.options.items()
    }
    # an export of the gallery's CLIP holds what the options said
    encoder = open_embedder(place, device=device, **({} if is_exported(Path(place)) else options))
    require_encoder(gallery, encoder)
    return encoder


def is_exported(folder: Path) -> bool:
    """Whether the folder's encoder.json speaks of an export; a file that cannot be read is left to who opens it."""
    try:
        return "exported" in json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False
