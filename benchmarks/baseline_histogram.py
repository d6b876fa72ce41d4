"""The floor: colour histograms of horizontal stripes, evaluated like any encoder.

python benchmarks/baseline_histogram.py --data PATH [--column camera=day] [--json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from resight.commands.arguments import parse_columns
from resight.data.images import open_image
from resight.data.index import read
from resight.evaluate import Rules, compare, sides
from resight.report import as_json, show
from resight.types import Embeddings, Record

STRIPES = 6
BINS = (8, 4, 4)  # hue, saturation, value


def histogram(record: Record) -> NDArray[np.float32]:
    """Square roots of the bins' shares in each stripe, so that an inner product is the Bhattacharyya coefficient."""
    image = open_image(record.path, box=record.box).resize((64, 128)).convert("HSV")
    stripes = np.array_split(np.asarray(image), STRIPES)
    levels = [np.histogramdd(stripe.reshape(-1, 3), bins=BINS, range=[(0, 256)] * 3)[0].ravel() for stripe in stripes]
    counts = np.concatenate(levels)
    return np.sqrt(counts / counts.sum()).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--column", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    splits = read(arguments.data, columns=parse_columns(tuple(arguments.column)))
    query, gallery = sides(splits)
    records = list(dict.fromkeys((*query, *gallery)))
    pictures = Embeddings(
        embedding=np.stack([histogram(record) for record in records]),
        aligned=None,
        paths=tuple(str(record.path) for record in records),
        identities=tuple(record.identity for record in records),
        cameras=tuple(record.camera for record in records),
        captions=("",) * len(records),
        encoder=f"histogram-{STRIPES}x{'x'.join(map(str, BINS))}",
    )
    report = compare(splits, pictures, records, None, rules=Rules(), source="colour histogram")
    if arguments.json:
        print(json.dumps(as_json(report), indent=2))
    else:
        show(report, Console())


if __name__ == "__main__":
    main()
