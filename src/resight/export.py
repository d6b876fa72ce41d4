"""An encoder → a folder of graphs that ONNX Runtime or OpenVINO computes, which gives the same answers.

The image graph takes `images`, float32 [B, 3, H, W] normalised as the folder's encoder.json says, or uint8 where it
normalises itself; and, of an encoder with side information, `side_weights`, float32 [B, rows]: what each picture takes
of each camera's (and view's) row, 1 of its own, or equal shares of those it may be. It gives `embedding` [B, D] and,
with a text tower, `aligned` [B, A]. The text graph takes `tokens`, int64 [B, L], and gives `aligned`. All of length 1.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from resight import calibration
from resight.clip.image import ViTConfig
from resight.data.loader import load as load_pictures
from resight.encoder import Encoder, sha256, swap
from resight.errors import CheckpointError, ConfigError, DataError
from resight.exported import ExportedEncoder, Form, Number, Runtime, need, normalise
from resight.parity import Parity, measure
from resight.types import Record, Splits

OPSET = 20
FILES = {
    "encoder.json",
    calibration.FILE,
    *(f"{name}{end}" for name in ("image", "text") for end in (".onnx", ".onnx.data", ".xml", ".bin")),
}
N_CALIBRATION = 300
"""Pictures that show int8 how large its numbers grow; more hardly change it."""


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """How to export. batch: the only number of pictures that the graphs take, None is any. opset: of ONNX.

    precision: float16 of ONNX stores and computes halves; of OpenVINO float16 and bf16 store halves and compute in this
    type. int8 concerns the image tower: the text tower stays float32. with_preprocess: pictures come as uint8.
    Raises ConfigError for what the runtime cannot do.
    """

    runtime: Runtime
    precision: Number = "float32"
    batch: int | None = None
    with_preprocess: bool = False
    opset: int = OPSET

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"--batch {self.batch}: at least 1; leave it out for any number.")
        if not 18 <= self.opset <= 23:
            raise ConfigError(f"--opset {self.opset}: from 18 to 23.")
        if self.runtime == "onnx" and self.precision == "bf16":
            raise ConfigError("--precision bf16: ONNX Runtime computes no bf16 on a processor. Use --to openvino.")


def export(
    encoder: Encoder,
    out: Path,
    config: ExportConfig,
    *,
    probe: Splits | None = None,
    samples: Sequence[Record] = (),
    calibration_file: Path | None = None,
) -> Parity | None:
    """Writes the folder, whole or not at all; how far it agrees with the encoder on the probe, None without one.

    Without agreement nothing is written. samples: pictures that int8 is fitted to. calibration_file: goes along when
    the export keeps the encoder's fingerprint. Raises ConfigError for a missing library, and for int8 without pictures;
    CheckpointError when the folder holds something else or cannot be written, or when a library cannot export.
    """
    if config.precision == "int8" and not samples:
        raise ConfigError("--precision int8: needs pictures to fit its range to. Name them with --data.")
    require_libraries(config)
    out = out.resolve()
    require_place(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as staging:
            new = Path(staging) / "new"
            new.mkdir()
            form = _write(encoder, new, config, samples)
            own = _own_fingerprint(form)
            _describe(encoder, new, form, own, None)
            parity = None if probe is None else measure(encoder, ExportedEncoder.load(new), probe)
            if parity is not None and not parity.passed:
                return parity
            if parity is not None and parity.same_vectors and config.precision != "int8":
                own = encoder.fingerprint()
                if calibration_file is not None:
                    shutil.copyfile(calibration_file, new / calibration.FILE)
            _describe(encoder, new, form, own, parity)
            swap(new, out, Path(staging) / "old")
    except OSError as error:
        raise CheckpointError(f"{out}: cannot be written ({error}). Free the disk or name another folder.") from error
    return parity


def require_libraries(config: ExportConfig) -> None:
    """Raises ConfigError for the first library that is not installed."""
    for library in ("onnx", "onnxscript", "onnxruntime" if config.runtime == "onnx" else "openvino"):
        need(library)
    if config.precision == "int8":
        need("nncf")


def require_place(out: Path) -> None:
    """Raises CheckpointError when the folder holds anything but an export."""
    if out.exists() and not out.is_dir():
        raise CheckpointError(f"{out}: is a file. Name a folder for the export.")
    if out.is_dir() and (others := {path.name for path in out.iterdir()} - FILES):
        raise CheckpointError(f"{out}: holds other files ({min(others)}). Name an empty or new folder.")


class ImageGraph(nn.Module):
    """Pictures [B, 3, H, W], and side weights [B, rows] → embedding and, with a text tower, aligned vector."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, dtype: torch.dtype, *, with_preprocess: bool) -> None:
        super().__init__()
        self.encoder, self.dtype, self.with_preprocess = encoder, dtype, with_preprocess
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(encoder.preprocess, name)).view(3, 1, 1))

    def forward(self, images: Tensor, side_weights: Tensor | None = None) -> tuple[Tensor, ...]:
        if self.with_preprocess:
            images = (images.float() / 255 - self.mean) / self.std
        side = None if side_weights is None else side_weights.to(self.dtype)
        embedding, projected = self.encoder(images.to(self.dtype), side)
        vectors = (embedding, projected) if self.encoder.can_read else (embedding,)
        return tuple(functional.normalize(vector.float()) for vector in vectors)


class TextGraph(nn.Module):
    """Tokens [B, L] → aligned vector, by `forward` of the tower: `Encoder.read` sorts texts by length."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        assert encoder.clip.text is not None
        self.tower, self.prompts = encoder.clip.text, encoder.prompts

    def forward(self, tokens: Tensor) -> Tensor:
        prompts = None if self.prompts is None else self.prompts.for_text(self.tower)
        features: Tensor = self.tower(tokens, prompts=prompts)
        return functional.normalize(features.float())


def _write(encoder: Encoder, folder: Path, config: ExportConfig, samples: Sequence[Record]) -> Form:
    """The graphs, and how they are."""
    halves = config.runtime == "onnx" and config.precision == "float16"
    dtype = torch.float16 if halves else torch.float32
    ours = copy.deepcopy(encoder).cpu().eval().requires_grad_(False).to(dtype)
    n = config.batch or 2  # two, since one is a number that exporters take for fixed
    height, width = encoder.preprocess.height, encoder.preprocess.width
    pictures = torch.zeros(n, 3, height, width, dtype=torch.uint8 if config.with_preprocess else torch.float32)
    inputs = {"images": pictures}
    if encoder.side is not None:
        inputs["side_weights"] = encoder.side.weights([None] * n, [None] * n)
    about = _metadata(encoder, config)
    names = ["embedding", "aligned"] if encoder.can_read else ["embedding"]
    graph = ImageGraph(ours, dtype, with_preprocess=config.with_preprocess)
    _save(graph, inputs, names, folder / "image.onnx", config, about)
    if config.precision == "int8":
        _quantise(encoder, folder / "image.onnx", config, samples, about)
    if encoder.can_read:
        tokens = {"tokens": torch.full((n, encoder.context_length), 1, dtype=torch.int64)}
        _save(TextGraph(ours), tokens, ["aligned"], folder / "text.onnx", config, about)
    if config.runtime == "openvino":
        for path in sorted(folder.glob("*.onnx")):
            _to_openvino(path, config, about)
    return Form(
        runtime=config.runtime,
        precision=config.precision,
        batch=config.batch,
        with_preprocess=config.with_preprocess,
        dimension=encoder.dimension,
        aligned=encoder.aligned_dimension if encoder.can_read else None,
        context_length=encoder.context_length,
        original=encoder.fingerprint(),
        files={path.name: sha256(path) for path in sorted(folder.iterdir())},
    )


def _save(
    graph: nn.Module,
    inputs: dict[str, Tensor],
    outputs: list[str],
    path: Path,
    config: ExportConfig,
    about: dict[str, str],
) -> None:
    batch = None if config.batch is not None else torch.export.Dim("batch")
    dynamic = {name: {0: batch} for name in inputs} if batch is not None else None
    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [log.level for log in logs]
    try:
        for log in logs:  # of libraries that are not installed, and of constants that are not folded
            log.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
            warnings.filterwarnings(
                "ignore", r".*The axis name: batch will not be used", UserWarning
            )  # both inputs' own
            program = torch.onnx.export(
                graph.eval(),
                kwargs=inputs,
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=list(inputs),
                output_names=outputs,
                opset_version=config.opset,
                verbose=False,
            )
        assert program is not None
        program.model.metadata_props.update(about)
        program.save(path, external_data=False)
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
        raise _refused(path, "PyTorch cannot export it", error, "Try another --opset.") from error
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


def _to_openvino(path: Path, config: ExportConfig, about: dict[str, str]) -> None:
    openvino = need("openvino")
    try:
        model = openvino.Core().read_model(path)  # convert_model begins a report to Google Analytics
        for name, value in about.items():
            model.set_rt_info(value, ["resight", name.removeprefix("resight.")])
        openvino.save_model(model, path.with_suffix(".xml"), compress_to_fp16=config.precision in ("float16", "bf16"))
    except Exception as error:  # of its own, one class for each kind of fault
        raise _refused(path, "OpenVINO cannot convert it", error, "Try another --opset, or --to onnx.") from error
    del model
    path.unlink()
    _weights_of(path).unlink(missing_ok=True)


def _weights_of(path: Path) -> Path:
    """Where PyTorch puts the weights of a graph that have more than 1.5 GB: a file of ONNX holds 2."""
    return path.with_name(f"{path.name}.data")


def _refused(path: Path, what: str, error: Exception, remedy: str) -> CheckpointError:
    found = " ".join(str(error).split())[:300]
    return CheckpointError(f"{path.name}: {what} ({found}). {remedy}")


def _quantise(
    encoder: Encoder, path: Path, config: ExportConfig, samples: Sequence[Record], about: dict[str, str]
) -> None:
    """The image graph with products of int8, its ranges from the samples."""
    nncf, onnx = need("nncf"), need("onnx")
    n = config.batch or 1
    chosen = samples[:: max(1, len(samples) // N_CALIBRATION)][:N_CALIBRATION]

    def inputs() -> Any:
        for batch in load_pictures(chosen, encoder.preprocess, batch_size=n):
            pixels = batch.images
            if len(pixels) < n:
                return
            given = {"images": pixels if config.with_preprocess else normalise(pixels, encoder.preprocess)}
            if encoder.side is not None:
                rows = [chosen[row] for row in batch.rows.tolist()]
                given["side_weights"] = encoder.side.shares([r.camera for r in rows], [r.view for r in rows])
            yield given

    listed = list(inputs())
    if not listed:
        raise DataError(f"--data: {len(samples)} pictures are less than --batch {n}. Name more.")
    nncf.set_log_level(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its progress bars know no pipe
            model = nncf.quantize(
                onnx.load(path),
                nncf.Dataset(listed),
                model_type=nncf.ModelType.TRANSFORMER if isinstance(encoder.clip.config.image, ViTConfig) else None,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(listed),
                # what makes vectors 1 long, and pixels normal, stays exact
                ignored_scope=nncf.IgnoredScope(types=["Div", "Sub", "ReduceL2", "Clip"], validate=False),
            )
        onnx.helper.set_model_props(model, about)
        onnx.save(model, path)
    except OSError:  # the disk's, not the library's
        raise
    except Exception as error:  # of its own, one class for each kind of fault
        raise _refused(path, "nncf cannot quantise it", error, "Export with another --precision.") from error
    _weights_of(path).unlink(missing_ok=True)


def _metadata(encoder: Encoder, config: ExportConfig) -> dict[str, str]:
    """What a file says of itself to who has no encoder.json."""
    side = None if encoder.side is None else asdict(encoder.side)
    said = {
        "fingerprint": encoder.fingerprint(),
        "source": encoder.card.source,
        "licence": encoder.card.licence,
        "precision": config.precision,
        "preprocess": json.dumps(asdict(encoder.preprocess) | {"inside": config.with_preprocess}),
        "side": json.dumps(side and side | {"rows": "camera * max(1, n_views) + view; equal shares where unknown"}),
        "inputs": __doc__.split("\n\n", 1)[1].strip() if __doc__ else "",
    }
    return {f"resight.{name}": value for name, value in said.items()}


def _own_fingerprint(form: Form) -> str:
    """Another name than the original's, of what these files compute."""
    listed = json.dumps([form.original, form.precision, form.files], sort_keys=True)
    return hashlib.blake2b(listed.encode(), digest_size=8).hexdigest()


def _describe(encoder: Encoder, folder: Path, form: Form, fingerprint: str, parity: Parity | None) -> None:
    about = encoder.description() | {
        "card": asdict(encoder.card),
        "fingerprint": fingerprint,
        "exported": asdict(form),
        "parity": None if parity is None else asdict(parity),
    }
    (folder / "encoder.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
