"""A gallery's place → the gallery: a folder is LanceDB, milvus: is Milvus."""

from __future__ import annotations

import os
from pathlib import Path

from resight.gallery.rows import About, Gallery

MILVUS = "milvus:"


def create(place: str, about: About) -> Gallery:
    """A new, empty gallery. Raises GalleryError when something is there already, or nothing can be written there."""
    if place.startswith(MILVUS):
        from resight.gallery import milvus

        return milvus.create(place, about)
    _quieten_lancedb()
    from resight.gallery import lance

    return lance.create(Path(place), about)


def open_gallery(place: str) -> Gallery:
    """The gallery that `create` made. Raises NoGalleryError when there is none, GalleryError when it cannot be read."""
    if place.startswith(MILVUS):
        from resight.gallery import milvus

        return milvus.open_gallery(place)
    _quieten_lancedb()
    from resight.gallery import lance

    return lance.open_gallery(Path(place))


def _quieten_lancedb() -> None:
    """Leaves out its warnings, which say nothing to a user. It looks at this when it is imported."""
    os.environ.setdefault("LANCEDB_LOG", "error")
