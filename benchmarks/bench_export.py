"""How far what `resight export` writes agrees with PyTorch, and pictures a second of both.

    python benchmarks/bench_export.py [--quick] [--json]

Every way embeds the same drawn people, in batches of 32 that are decoded beforehand; the rounds go through all ways in
turn, and the best round counts, so that other programs disturb all alike. Cosine and first answers are those of PyTorch
in float32 (a random ViT-B/16 tells nobody apart, so its first answers say little). Before that every form is verified
as the command does, on drawn people, in batches of 1, 3, 8 and 64: a transformer and a ResNet, with their text towers,
and the transformer with camera vectors (drawn, as long as its class token). --quick: resight-mini alone, without these.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from resight.data.index import read
from resight.data.loader import load
from resight.embedder import Side
from resight.encoder import Encoder
from resight.environment import Precision, describe
from resight.export import ExportConfig, export
from resight.exported import ExportedEncoder
from resight.parity import Parity, choose_probe, drawn_probe

BATCH = 32
EXPORTS = (
    ExportConfig("onnx"),
    ExportConfig("openvino"),
    ExportConfig("openvino", "bf16"),
    ExportConfig("openvino", "int8"),
)
FORMS = (
    *(ExportConfig("onnx", precision) for precision in ("float32", "float16", "int8")),
    *(ExportConfig("openvino", precision) for precision in ("float32", "float16", "bf16", "int8")),
)
Way = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Measurement:
    """ratio: of the pictures a second to PyTorch's in float32. first: share of pictures whose nearest stays."""

    model: str
    way: str
    pictures_per_second: float
    ratio: float
    least_cosine: float
    mean_cosine: float
    first: float
    megabytes: float


@dataclass(frozen=True)
class Verified:
    """What `resight export` would say of a form: whether it keeps the folder, and by which figures."""

    model: str
    form: str
    kept: bool
    parity: Parity


def with_cameras() -> Encoder:
    """resight-mini with a vector for each camera of the drawn people."""
    mini = Encoder.load("resight-mini", device="cpu")
    side = Side(1.0, tuple(str(camera) for camera in range(1, 7)))
    encoder = Encoder(mini.clip, mini.preprocess, mini.card, side=side)
    token = mini.clip.image.class_embedding
    assert isinstance(token, torch.Tensor)
    with torch.no_grad():
        drawn = torch.randn(encoder.side_table.shape, generator=torch.Generator().manual_seed(0))
        encoder.side_table.copy_(drawn * token.norm() / drawn.norm(dim=1, keepdim=True))
    return encoder.eval()


def verify(folder: Path) -> list[Verified]:
    splits = read(folder / "drawn")
    probe = choose_probe(splits)
    assert probe is not None
    models = {name: Encoder.load(name, device="cpu") for name in ("resight-mini", "resight-mini-rn")}
    models["resight-mini, cameras"] = with_cameras()
    found = []
    for name, encoder in models.items():
        for form in FORMS:
            out = folder / f"verified-{len(found)}"
            parity = export(encoder, out, form, probe=probe, samples=splits.train)
            assert parity is not None
            found.append(Verified(name, f"{form.runtime} {form.precision}", parity.passed, parity))
    return found


def plainly(encoder: Encoder, precision: Precision) -> Way:
    return lambda images: encoder.encode(images, precision=precision)[0]


def compiled(encoder: Encoder) -> Way:
    """torch.compile of the image side, in float32."""
    forward = torch.compile(encoder.forward)

    @torch.inference_mode()
    def compute(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        vectors = forward(encoder.preprocess.normalise(torch.from_numpy(images)))[0]
        return torch.nn.functional.normalize(vectors).numpy()

    return compute


def nearest(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -2)
    return similar.argmax(1)


def measure(name: str, encoder: Encoder, folder: Path, rounds: int) -> list[Measurement]:
    splits = read(folder / "drawn")
    records = [*splits.query, *splits.gallery]
    images = np.concatenate([batch.images for batch in load(records, encoder.preprocess, batch_size=BATCH)])
    images = images[: len(images) // BATCH * BATCH]
    weights = sum(tensor.nbytes for tensor in encoder.clip.image.state_dict().values()) / 2**20
    ways: dict[str, tuple[Way, float]] = {
        "PyTorch float32": (plainly(encoder, "float32"), weights),
        "PyTorch bf16": (plainly(encoder, "bf16"), weights),
        "torch.compile float32": (compiled(encoder), weights),
    }
    for config in EXPORTS:
        out = folder / f"{name}-{config.runtime}-{config.precision}".replace("/", "-")
        export(encoder, out, config, samples=splits.train)
        size = sum(file.stat().st_size for file in out.glob("image.*")) / 2**20
        exported = ExportedEncoder.load(out)
        ways[f"{config.runtime} {config.precision}"] = (lambda images, e=exported: e.encode(images)[0], size)
    best: dict[str, float] = {}
    found: dict[str, NDArray[np.float32]] = {}
    for number in range(rounds + 1):  # the first is what libraries set up
        for way, (compute, _) in ways.items():
            start = time.perf_counter()
            found[way] = np.concatenate([compute(images[k : k + BATCH]) for k in range(0, len(images), BATCH)])
            if number:
                best[way] = max(best.get(way, 0.0), len(images) / (time.perf_counter() - start))
    reference = found["PyTorch float32"]
    measurements = []
    for way, speed in best.items():
        cosines = (found[way].astype(np.float64) * reference).sum(1)
        same = float((nearest(found[way]) == nearest(reference)).mean())
        ratio = speed / best["PyTorch float32"]
        agreement = (float(cosines.min()), float(cosines.mean()), same)
        measurements.append(Measurement(name, way, speed, ratio, *agreement, ways[way][1]))
    return measurements


def show(verified: list[Verified], measurements: list[Measurement]) -> None:
    if verified:
        table = Table("model", "form", "least\ncosine", "mean\ncosine", "of\ntexts", "mAP", "R1", "same\nfirst", "kept")
        for one in verified:
            p = one.parity
            cosines = (
                f"{p.cosine:.5f}",
                f"{p.mean_cosine:.5f}",
                "" if p.text_cosine is None else f"{p.text_cosine:.5f}",
            )
            moved = (f"{100 * before:.1f} → {100 * after:.1f}" for before, after in (p.mean_ap, p.rank_1))
            table.add_row(one.model, one.form, *cosines, *moved, f"{p.same_first:.1%}", "yes" if one.kept else "no")
        Console().print(table)
    table = Table("model", "way", "pictures/s", "times\nfloat32", "least\ncosine", "mean\ncosine", "same\nfirst", "MB")
    for m in measurements:
        agreement = (f"{m.least_cosine:.5f}", f"{m.mean_cosine:.5f}", f"{m.first:.1%}")
        table.add_row(
            m.model, m.way, f"{m.pictures_per_second:,.1f}", f"{m.ratio:.2f}", *agreement, f"{m.megabytes:.0f}"
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="resight-mini alone")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    load_before = os.getloadavg()
    verified: list[Verified] = []
    measurements: list[Measurement] = []
    with tempfile.TemporaryDirectory() as name:
        drawn_probe(Path(name) / "drawn")
        if not options.quick:
            verified = verify(Path(name))
        small = Encoder.load("resight-mini", with_text=False, device="cpu")
        measurements += measure("resight-mini", small, Path(name), rounds=5)
        if not options.quick:
            small = Encoder.load("resight-mini-rn", with_text=False, device="cpu")
            measurements += measure("resight-mini-rn", small, Path(name), rounds=5)
            large = Encoder.load("random:768x12/16", size=(256, 128), with_text=False, device="cpu")
            measurements += measure("ViT-B/16", large, Path(name), rounds=3)
    if options.json:
        about = {"date": time.strftime("%Y-%m-%d"), "machine": describe(), "load of the machine before": load_before}
        print(
            json.dumps(
                {**about, "verified": [asdict(v) for v in verified], "results": [asdict(m) for m in measurements]},
                indent=2,
            )
        )
    else:
        show(verified, measurements)


if __name__ == "__main__":
    main()
