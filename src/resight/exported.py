"""An exported folder → the vectors of the encoder it was made from, by ONNX Runtime or OpenVINO, without PyTorch."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.clip.tokenizer import token_ids
from resight.data.images import as_picture
from resight.data.transforms import Preprocess
from resight.embedder import Card, Picture, Side, card_of, embed_pictures, of_texts, side_of, stack
from resight.errors import CheckpointError, ConfigError
from resight.types import Embeddings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from resight.environment import Precision

Runtime = Literal["onnx", "openvino"]
Number = Literal["float32", "float16", "bf16", "int8"]
Graph = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[np.float32]]]
"""Inputs by name → outputs by name."""

SUFFIX = {"onnx": ".onnx", "openvino": ".xml"}
HINTS = {"float32": "f32", "float16": "f16", "bf16": "bf16", "int8": "bf16"}
"""What OpenVINO computes in, beside int8; unasked it takes bf16 for float32 wherever the processor has it."""


@dataclass(frozen=True, slots=True)
class Form:
    """How an encoder was exported; `exported` in encoder.json.

    batch: the only number of pictures, or texts, that the graphs take; None is any. with_preprocess: the graph takes
    uint8 pictures and normalises them. dimension, aligned: D and A (None without a text tower). context_length: tokens
    of a text. original: fingerprint of the encoder it was made from. files: their SHA-256 by name.
    """

    runtime: Runtime
    precision: Number
    batch: int | None
    with_preprocess: bool
    dimension: int
    aligned: int | None
    context_length: int
    original: str
    files: dict[str, str]


class ExportedEncoder:
    """An `Embedder` on the processor. Vectors, errors and arguments are those of `Encoder`.

    precision is "float32" in every method: it was chosen when the encoder was exported.
    """

    def __init__(
        self,
        form: Form,
        preprocess: Preprocess,
        card: Card,
        fingerprint: str,
        *,
        side: Side | None,
        image: Graph,
        text: Graph | None,
    ) -> None:
        self.form, self.preprocess, self.card, self.side = form, preprocess, card, side
        self._fingerprint, self._image, self._text = fingerprint, image, text

    @staticmethod
    def load(folder: str | Path, *, device: str = "auto") -> ExportedEncoder:
        """The encoder that `resight export` wrote. Every file must be the one that encoder.json was written with.

        Raises CheckpointError for a folder that is damaged or no export, ConfigError for a missing library and for a
        device other than auto and cpu.
        """
        if device not in ("auto", "cpu"):
            raise ConfigError(f"--device {device}: an exported encoder computes on the processor. Use cpu or auto.")
        folder = Path(folder)
        remedy = "Copy the folder again, or export again."
        try:
            about = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
            if "exported" not in about:
                raise CheckpointError(f"{folder}: holds no exported encoder. `resight export` makes one.")
            form = Form(**about["exported"])
            for name, digest in form.files.items():
                with (folder / Path(name).name).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                        raise CheckpointError(f"{folder / name}: is not the file encoder.json speaks of. {remedy}")
            open_graph = {"onnx": _open_onnx, "openvino": _open_openvino}[form.runtime]
            names = ["image", "text"] if form.aligned is not None else ["image"]
            paths = [folder / f"{name}{SUFFIX[form.runtime]}" for name in names]
            if missing := {path.name for path in paths} - set(form.files):
                raise CheckpointError(f"{folder}: encoder.json names no {missing.pop()}. {remedy}")
            preprocess, card, side = Preprocess.from_dict(about["preprocess"]), card_of(about), side_of(about)
            fingerprint = str(about["fingerprint"])
        except OSError as error:
            raise CheckpointError(f"{folder}: cannot be read ({error}). {remedy}") from error
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            found = " ".join(str(error).split())
            raise CheckpointError(
                f"{folder / 'encoder.json'}: is no whole description of an exported encoder ({found}). {remedy}"
            ) from error
        hints = HINTS[form.precision], "f32" if form.precision == "int8" else HINTS[form.precision]
        image, *text = (open_graph(path, hint) for path, hint in zip(paths, hints, strict=False))
        return ExportedEncoder(
            form, preprocess, card, fingerprint, side=side, image=image, text=text[0] if text else None
        )

    @property
    def device(self) -> torch.device:
        import torch  # for who asks: vectors need it not

        return torch.device("cpu")

    @property
    def dimension(self) -> int:
        """D of the embedding."""
        return self.form.dimension

    @property
    def aligned_dimension(self) -> int:
        """A of aligned vectors; 0 without a text tower."""
        return self.form.aligned or 0

    @property
    def can_read(self) -> bool:
        """Whether there is a text tower."""
        return self._text is not None

    @property
    def context_length(self) -> int:
        """The most tokens of a text that the encoder reads; 0 without a text tower."""
        return self.form.context_length

    def fingerprint(self) -> str:
        """The original's when the export was verified to give its vectors to a cosine of 0.999, else one of its own.

        So a gallery, or a calibration, made with the original is served by its export, and the other way round; vectors
        of an int8 encoder, and of one that nobody verified, are not mixed with others.
        """
        return self._fingerprint

    def encode(
        self,
        images: Tensor | NDArray[np.uint8],
        *,
        cameras: Sequence[str | None] | None = None,
        views: Sequence[str | None] | None = None,
        precision: Precision = "float32",
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Embedding [B, D] and aligned vector [B, A] (None without a text tower), both L2-normalised float32.

        images: uint8 [B, 3, H, W] at the size of `preprocess`. Raises ValueError for another form, ConfigError for
        another precision.
        """
        self._require_precision(precision)
        pixels = np.asarray(images)
        size = (3, self.preprocess.height, self.preprocess.width)
        if pixels.dtype != np.uint8 or pixels.shape[1:] != size:
            raise ValueError(f"pictures are uint8 [B, {', '.join(map(str, size))}], not {pixels.dtype} {pixels.shape}")
        unknown: list[str | None] = [None] * len(pixels)
        shares = None if self.side is None else self.side.shares(cameras or unknown, views or unknown)
        inputs = {} if shares is None else {"side_weights": shares}
        found = [self._image(part) for part in self._parts({"images": pixels} | inputs)]
        embedding = self._joined(found, "embedding", len(pixels), self.dimension)
        return embedding, self._joined(found, "aligned", len(pixels), self.aligned_dimension) if self.can_read else None

    def embed_images(
        self,
        images: Sequence[Picture] | Tensor,
        *,
        cameras: Sequence[str | None] | None = None,
        views: Sequence[str | None] | None = None,
        batch_size: int = 64,
        precision: Precision = "float32",
    ) -> Embeddings:
        """One row a picture, as `Encoder.embed_images`."""
        return embed_pictures(self, images, cameras, views, batch_size, precision)

    def embed_texts(
        self, texts: Sequence[str], *, batch_size: int = 256, precision: Precision = "float32"
    ) -> Embeddings:
        """One row a text, as `Encoder.embed_texts`."""
        if isinstance(texts, str):
            raise ValueError("embed_texts takes a list of texts: write embed_texts([text]).")
        self._require_precision(precision)
        if self._text is None:
            raise ConfigError(
                f"This encoder ({self.card.source}) has no text tower, so it cannot be asked in words. "
                "Export one that kept its text tower."
            )
        vectors = []
        for start in range(0, len(texts), batch_size):
            tokens = token_ids(texts[start : start + batch_size], context_length=self.context_length)
            found = [self._text(part) for part in self._parts({"tokens": tokens})]
            vectors.append(self._joined(found, "aligned", len(tokens), self.aligned_dimension))
        return of_texts(stack(vectors, self.aligned_dimension), texts, self.fingerprint())

    def open_picture(self, image: Picture) -> Image.Image:
        """The RGB picture that `embed_images` makes of what it is given. Raises as `Encoder.open_picture`."""
        return as_picture(image, background=self.preprocess.background)

    def _require_precision(self, precision: Precision) -> None:
        if precision != "float32":
            raise ConfigError(
                f"--precision {precision}: this encoder was exported in {self.form.precision}, which stays. Leave it "
                f"out, or export with --precision {precision}."
            )

    def _parts(self, inputs: dict[str, NDArray[Any]]) -> list[dict[str, NDArray[Any]]]:
        """What the graph takes at a time: all of it, or parts of the fixed number, the last one filled up."""
        images = inputs.get("images")
        n = len(next(iter(inputs.values())))
        size = self.form.batch or max(n, 1)
        parts = []
        for start in range(0, n, size):
            part = {name: rows[start : start + size] for name, rows in inputs.items()}
            if images is not None and not self.form.with_preprocess:
                part["images"] = normalise(part["images"], self.preprocess)
            missing = size - len(next(iter(part.values())))
            parts.append({name: np.concatenate([rows, rows[:1].repeat(missing, 0)]) for name, rows in part.items()})
        return parts

    @staticmethod
    def _joined(
        found: Sequence[Mapping[str, NDArray[np.float32]]], name: str, n: int, width: int
    ) -> NDArray[np.float32]:
        vectors = stack([part[name] for part in found], width)[:n]
        # graphs of halves divide in halves, and their lengths are 1 to three digits
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
        return vectors


def normalise(images: NDArray[np.uint8], preprocess: Preprocess) -> NDArray[np.float32]:
    """What `Preprocess.normalise` gives, without PyTorch: float32 [B, 3, H, W]."""
    scaled = images.astype(np.float32)
    scaled /= 255
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (preprocess.mean, preprocess.std))
    scaled -= mean
    scaled /= std
    return scaled


def need(library: str) -> Any:
    """The imported library. Raises ConfigError with what to install."""
    # OpenVINO and nncf report their import and their use to Google Analytics, unasked, where they find this package.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return import_module(library)
    except ImportError as error:
        raise ConfigError(f'{library.split(".")[0]}: not installed. Run: pip install "resight[export]"') from error


def _open_onnx(path: Path, precision: str) -> Graph:
    runtime = need("onnxruntime")
    runtime.disable_telemetry_events()  # nobody is told what is embedded where
    try:
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # of its own, one class for each kind of fault
        raise _unusable(path, error) from error
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _open_openvino(path: Path, precision: str) -> Graph:
    openvino = need("openvino")
    try:
        core = openvino.Core()
        hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        request = core.compile_model(core.read_model(path), "CPU", hints).create_infer_request()
    except RuntimeError as error:
        raise _unusable(path, error) from error
    lock = threading.Lock()  # a request computes one thing at a time

    def compute(inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[np.float32]]:
        with lock:
            found = request.infer(dict(inputs))
            return {output.any_name: np.array(values) for output, values in found.items()}

    return compute


def _unusable(path: Path, error: Exception) -> CheckpointError:
    found = " ".join(str(error).split())[:200]
    return CheckpointError(f"{path}: cannot be opened here ({found}). Export again, or upgrade the library.")
