"""How long it takes to get pictures from disk: decoded every time, decoded into the cache, and out of the cache.

    python benchmarks/bench_embed.py [--quick] [--json]

Draws smooth random JPEGs into a temporary folder, so that everything lies in the system's file cache.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from resight.data.loader import load
from resight.data.transforms import Preprocess
from resight.types import Batch, Record

HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Timing:
    """microseconds: for one picture of height × width, the best of the repeats."""

    what: str
    height: int
    width: int
    microseconds: float


def bench_loader(*, n_pictures: int, repeats: int) -> list[Timing]:
    """Three timings for each of two sizes; the pictures on disk are that large, give or take a tenth."""
    timings = []
    for height, width in ((128, 64), (256, 128)):
        preprocess = Preprocess(height, width, HALF, HALF, "bilinear")
        with tempfile.TemporaryDirectory() as folder:
            records = draw(Path(folder), n_pictures, height=height, width=width)
            cache = Path(folder) / "cache"
            best: dict[str, float] = {}
            for _ in range(repeats):
                shutil.rmtree(cache, ignore_errors=True)
                for what, where in (("decode", None), ("fill the cache", cache), ("from the cache", cache)):
                    seconds = time_of(load(records, preprocess, batch_size=64, cache=where))
                    best[what] = min(seconds, best.get(what, seconds))
        timings += [Timing(what, height, width, 1e6 * seconds / n_pictures) for what, seconds in best.items()]
    return timings


def draw(folder: Path, n_pictures: int, *, height: int, width: int) -> list[Record]:
    """Records of new JPEGs, settled: older than the cache's distrust of files that changed just now."""
    generator = np.random.default_rng(0)
    paths = [folder / f"{i:06}.jpg" for i in range(n_pictures)]
    for path in paths:
        coarse = Image.fromarray(generator.integers(0, 256, (8, 4, 3), dtype=np.uint8))
        scale_x, scale_y = generator.uniform(0.9, 1.1, 2)
        coarse.resize((int(width * scale_x), int(height * scale_y)), Image.Resampling.BICUBIC).save(path, quality=90)
    time.sleep(2.5)
    return [Record(path) for path in paths]


def time_of(batches: Iterable[Batch]) -> float:
    """Seconds to go through all batches."""
    start = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - start


def show(timings: list[Timing]) -> None:
    table = Table("pictures", "size", "µs a picture", "pictures/s", "times as fast as decoding")
    decode = {timing.height: timing.microseconds for timing in timings if timing.what == "decode"}
    for timing in timings:
        table.add_row(
            timing.what,
            f"{timing.height}×{timing.width}",
            f"{timing.microseconds:.0f}",
            f"{1e6 / timing.microseconds:,.0f}",
            f"{decode[timing.height] / timing.microseconds:.1f}",
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the pictures, once")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    timings = bench_loader(n_pictures=200 if options.quick else 2000, repeats=1 if options.quick else 3)
    if options.json:
        versions = {"torch": torch.__version__, "pillow": PIL.__version__, "numpy": np.__version__}
        machine = {"processor": platform.processor() or platform.machine(), **versions}
        print(json.dumps({"machine": machine, "loader": [dataclasses.asdict(timing) for timing in timings]}, indent=2))
    else:
        show(timings)


if __name__ == "__main__":
    main()
