"""Pictures and captions of a data set → embeddings, and their form as a file."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from resight.data.loader import load as load_pictures
from resight.embedder import Embedder
from resight.environment import Precision
from resight.errors import DataError
from resight.types import Embeddings, Record

Progress = Callable[[int, int], None]
"""Called with (done, total) after every batch."""


@dataclass(frozen=True, slots=True)
class EmbedConfig:
    """How to go through pictures.

    batch_size: pictures computed at a time. workers: threads that decode. cache: folder of decoded pictures, worth it
    when the same pictures are read again; None decodes every time.
    """

    batch_size: int = 64
    precision: Precision = "float32"
    workers: int = 4
    cache: Path | None = None


PLAINLY = EmbedConfig()


def embed(
    encoder: Embedder,
    records: Sequence[Record],
    config: EmbedConfig = PLAINLY,
    *,
    on_error: Callable[[Record, DataError], None] | None = None,
    progress: Progress | None = None,
) -> Embeddings:
    """One row a record, in their order; a picture that `on_error` was told of has none.

    Without `on_error` the first unreadable picture raises DataError. Raises ConfigError for a batch size or a number of
    workers below 1, and ValueError for an encoder in training mode.
    """
    vectors: list[np.ndarray] = []
    shared: list[np.ndarray] = []
    rows: list[int] = []
    for batch in load_pictures(
        records,
        encoder.preprocess,
        batch_size=config.batch_size,
        cache=config.cache,
        workers=config.workers,
        on_error=on_error,
    ):
        here = batch.rows.tolist()
        rows += here
        embedding, aligned = encoder.encode(
            batch.images,
            cameras=[records[row].camera for row in here],
            views=[records[row].view for row in here],
            precision=config.precision,
        )
        vectors.append(embedding)
        if aligned is not None:
            shared.append(aligned)
        if progress is not None:
            progress(len(rows), len(records))
    kept = [records[row] for row in rows]
    nothing = encoder.embed_images([])
    return Embeddings(
        embedding=np.concatenate([nothing.embedding, *vectors]),
        aligned=None if nothing.aligned is None else np.concatenate([nothing.aligned, *shared]),
        paths=tuple(str(record.path) for record in kept),
        identities=tuple(record.identity for record in kept),
        cameras=tuple(record.camera for record in kept),
        captions=("",) * len(kept),
        encoder=nothing.encoder,
    )


def embed_captions(encoder: Embedder, records: Sequence[Record], *, precision: Precision = "float32") -> Embeddings:
    """One row a caption, each with its picture's path, identity and camera; records without captions have none."""
    pairs = [(record, caption) for record in records for caption in record.captions]
    texts = encoder.embed_texts([caption for _, caption in pairs], precision=precision)
    return replace(
        texts,
        paths=tuple(str(record.path) for record, _ in pairs),
        identities=tuple(record.identity for record, _ in pairs),
        cameras=tuple(record.camera for record, _ in pairs),
    )


def require_unit_length(pictures: Embeddings) -> None:
    """Raises DataError unless every picture's vector has length 1: inner products are taken for cosines."""
    lengths = np.linalg.norm(pictures.embedding, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < 1e-3))
    if len(wrong):
        raise DataError(
            f"{pictures.paths[wrong[0]]}: its vector has length {lengths[wrong[0]]:.4g}, not 1; so have "
            f"{len(wrong) - 1:,} others. Normalise your vectors; a zero or infinite one means broken weights."
        )


def prepare(path: Path) -> None:
    """Makes sure that `save` can write to path, before hours of embedding; makes its folder.

    Raises DataError when the name does not end in .npz or the folder cannot be written.
    """
    if path.suffix != ".npz":
        raise DataError(f"{path}: embeddings are written as .npz. Name the file {path.stem}.npz.")
    prepare_folder(path.parent)


def prepare_folder(folder: Path) -> None:
    """Makes the folder and tries to write in it. Raises DataError when that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def save(embeddings: Embeddings, path: Path) -> None:
    """Writes an .npz with one array a field of Embeddings; what is unknown is the empty text.

    The file appears whole or not at all. Raises DataError when it cannot be written, as `prepare` finds beforehand.
    """
    prepare(path)
    arrays = {"embedding": embeddings.embedding, "encoder": np.array(embeddings.encoder)}
    if embeddings.aligned is not None:
        arrays["aligned"] = embeddings.aligned
    for field in ("paths", "identities", "cameras", "captions"):
        arrays[field] = np.array([value or "" for value in getattr(embeddings, field)], dtype=np.str_)
    written = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with written.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        written.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        written.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be written ({error}). Free the disk or name another place.")


def load(path: Path) -> Embeddings:
    """The embeddings that `save` wrote. Raises DataError when the file is missing, damaged, or of another kind."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            text = {
                field: tuple(str(v) or None for v in stored[field])
                for field in ("paths", "identities", "cameras", "captions")
            }
            return Embeddings(
                embedding=stored["embedding"],
                aligned=stored["aligned"] if "aligned" in stored.files else None,
                paths=tuple(v or "" for v in text["paths"]),
                identities=text["identities"],
                cameras=text["cameras"],
                captions=tuple(v or "" for v in text["captions"]),
                encoder=str(stored["encoder"]),
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: is not a file of embeddings ({error}). Write it with `resight embed … --out FILE.npz`."
        ) from error
