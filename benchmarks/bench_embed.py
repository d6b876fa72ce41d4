"""How fast pictures become vectors: the loader's ways, bf16 against float32, the loader's share, adding to a gallery.

    python benchmarks/bench_embed.py [--quick] [--json]

Draws smooth random JPEGs into a temporary folder, so that everything lies in the system's file cache.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from resight.adding import add
from resight.data.loader import load
from resight.data.transforms import Preprocess
from resight.embed import EmbedConfig, embed
from resight.encoder import Encoder
from resight.environment import Precision, describe
from resight.gallery import store
from resight.gallery_encoder import describe as describe_gallery
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


@dataclass(frozen=True)
class PrecisionTiming:
    """ViT-B/16 at 256×128, random weights, in batches of 8 pictures; best of the repeats.

    cosine: the smallest, over the pictures, between the vectors of both precisions.
    """

    float32: float  # pictures a second
    bf16: float
    ratio: float
    cosine: float


def bench_precision(*, n_batches: int, repeats: int) -> PrecisionTiming:
    encoder = Encoder.load("random:768x12/16", size=(256, 128), with_text=False)
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (8, 8, 4, 3), dtype=np.uint8)
    images = [Image.fromarray(pixels).resize((128, 256), Image.Resampling.BICUBIC) for pixels in coarse]
    best: dict[str, float] = {}
    vectors = {}
    for _ in range(repeats):
        precision: Precision
        for precision in ("float32", "bf16"):
            start = time.perf_counter()
            for _ in range(n_batches):
                vectors[precision] = encoder.embed_images(images, batch_size=8, precision=precision).embedding
            best[precision] = min(time.perf_counter() - start, best.get(precision, float("inf")))
    rates = {precision: 8 * n_batches / seconds for precision, seconds in best.items()}
    cosine = float((vectors["float32"] * vectors["bf16"]).sum(1).min())
    return PrecisionTiming(rates["float32"], rates["bf16"], rates["bf16"] / rates["float32"], cosine)


@dataclass(frozen=True)
class Share:
    """Seconds of a whole pass with a model of 6 blocks × 192 at 128×64, and of its loader alone, from the cache."""

    whole: float
    loader: float
    share: float


def bench_share(*, n_pictures: int) -> Share:
    encoder = Encoder.load("random:192x6/16", size=(128, 64), with_text=False)
    with tempfile.TemporaryDirectory() as folder:
        records = draw(Path(folder), n_pictures, height=128, width=64)
        cache = Path(folder) / "cache"
        embed(encoder, records, EmbedConfig(cache=cache))
        start = time.perf_counter()
        embed(encoder, records, EmbedConfig(cache=cache))
        whole = time.perf_counter() - start
        loader = time_of(load(records, encoder.preprocess, batch_size=64, cache=cache))
    return Share(whole, loader, loader / whole)


@dataclass(frozen=True)
class Adding:
    """Pictures a second with resight-mini: embedded alone; added to a new gallery; added once more, when all are there.

    ratio: the best of the repeats of adding over embedding, which alternate.
    """

    precision: Precision
    embedded: float
    added: float
    added_again: float
    ratio: float


def bench_adding(precision: Precision, *, n_pictures: int, repeats: int) -> Adding:
    encoder = Encoder.load("resight-mini")
    config = EmbedConfig(precision=precision)
    about = describe_gallery(encoder, "resight-mini", {})
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        records = draw(Path(folder), n_pictures, height=128, width=64)
        embed(encoder, records[:64], config)
        for number in range(repeats):
            gallery = store.create(str(Path(folder) / f"gallery {number}"), about)
            for what in ("embedded", "added", "added again"):
                start = time.perf_counter()
                if what == "embedded":
                    embed(encoder, records, config)
                else:
                    add(gallery, encoder, records, config)
                best[what] = min(time.perf_counter() - start, best.get(what, float("inf")))
    rates = [n_pictures / best[what] for what in ("embedded", "added", "added again")]
    return Adding(precision, *rates, rates[1] / rates[0])


def show(timings: list[Timing], precision: PrecisionTiming, share: Share, adding: list[Adding]) -> None:
    console = Console()
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
    console.print(table)
    console.print(
        f"ViT-B/16 at 256×128: float32 {precision.float32:.1f} pictures/s, bf16 {precision.bf16:.1f}; "
        f"{precision.ratio:.2f} times float32, cosine at least {precision.cosine:.5f}"
    )
    console.print(
        f"6 × 192 at 128×64, from the cache: {share.whole:.2f} s in all, its loader alone {share.loader:.2f} s, "
        f"a share of {100 * share.share:.1f} %"
    )
    for found in adding:
        console.print(
            f"resight-mini, {found.precision}: {found.embedded:,.0f} pictures/s embedded, {found.added:,.0f} added, "
            f"{found.ratio:.2f} times that; {found.added_again:,.0f} where all were in the gallery already"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the pictures, once")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    n_pictures, repeats = (200, 1) if options.quick else (2000, 3)
    timings = bench_loader(n_pictures=n_pictures, repeats=repeats)
    precision = bench_precision(n_batches=1 if options.quick else 4, repeats=min(repeats, 2))
    share = bench_share(n_pictures=n_pictures)
    precisions: tuple[Precision, ...] = ("float32", "bf16")
    adding = [bench_adding(name, n_pictures=n_pictures, repeats=repeats) for name in precisions]
    if options.json:
        found = {
            "date": time.strftime("%Y-%m-%d"),
            "machine": describe(),
            "loader": [dataclasses.asdict(timing) for timing in timings],
            "precision": dataclasses.asdict(precision),
            "share": dataclasses.asdict(share),
            "adding": [dataclasses.asdict(found) for found in adding],
        }
        print(json.dumps(found, indent=2))
    else:
        show(timings, precision, share, adding)


if __name__ == "__main__":
    main()
