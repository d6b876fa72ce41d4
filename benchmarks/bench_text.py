"""How much work captions cost: all 77 columns, cut to the longest of the batch, and read by length.

    python benchmarks/bench_text.py [--quick] [--json]

The text tower is that of CLIP's ViT-B/16 (512 wide, 12 blocks, random weights); the captions are random words in
batches of 64, of as many tokens as CUHK-PEDES has by its words: 30 on average, few of 77. Every batch is computed in
each way in turn, forward and forward with backward, and the features must agree to 1e-5. One more line is what
batches of captions of like length would cost, cut to their longest: less padding cannot be had without other batches.
--quick takes a small tower: a trial of this file.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from resight.clip.text import TextConfig, TextTransformer, cut_to_longest
from resight.clip.tokenizer import CONTEXT_LENGTH, END, START
from resight.environment import choose_device, describe, keep_freed_memory

BATCH = 64
MEAN_WORDS = 28  # tokens of a caption without start and end; CUHK-PEDES has 23.5 words on average and 96 at most
SPREAD = 1 / 3  # of the logarithm, with which the longest of 80,000 has about four times the mean


@dataclass(frozen=True)
class Cost:
    """Seconds of all batches together, and how many times those of all columns are of these.

    processor: seconds of all cores together, which other programs hardly change; on a processor the ratio is of these.
    """

    seconds: float
    processor: float
    ratio: float


@dataclass(frozen=True)
class Measurement:
    """both: forward and backward, with the gradients of all parameters."""

    way: str
    forward: Cost
    both: Cost


def draw(n: int) -> list[Tensor]:
    """Seeded captions as token ids [77], of which the mean length is 30 with a tail to 77."""
    generator = np.random.default_rng(0)
    lengths = MEAN_WORDS * np.exp(SPREAD * generator.standard_normal(n) - SPREAD**2 / 2)
    captions = []
    for length in np.clip(np.round(lengths), 1, CONTEXT_LENGTH - 2).astype(int):
        row = torch.zeros(CONTEXT_LENGTH, dtype=torch.int64)
        words = generator.integers(1, START, length)
        row[: length + 2] = torch.tensor([START, *words.tolist(), END])
        captions.append(row)
    return captions


def batches(captions: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    return [torch.stack(list(captions[start : start + BATCH])).to(device) for start in range(0, len(captions), BATCH)]


def timed(compute: Callable[[], Tensor], device: torch.device) -> tuple[NDArray[np.float64], Tensor]:
    """Seconds and processor seconds, and what came out."""

    def now() -> NDArray[np.float64]:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return np.array([time.perf_counter(), time.process_time()])

    start = now()
    found = compute()
    return now() - start, found


def compare_ways(text: TextTransformer, captions: list[Tensor], device: torch.device) -> list[Measurement]:
    def cut(tokens: Tensor) -> Tensor:
        features: Tensor = text(cut_to_longest(tokens))
        return features

    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "all 77 columns": text,
        "cut to the longest": cut,
        "by length (ours)": lambda tokens: text.by_length(cut_to_longest(tokens)),
    }
    alike = "batches of like length, cut"
    spent = {(way, what): np.zeros(2) for way in (*ways, alike) for what in ("forward", "both")}

    def measure(way: str, compute: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        def learn() -> Tensor:
            text.zero_grad()
            loss = compute(tokens).square().sum()
            loss.backward()
            return loss

        with torch.no_grad():
            forward, features = timed(lambda: compute(tokens), device)
        spent[way, "forward"] += forward
        spent[way, "both"] += timed(learn, device)[0]
        return features

    for compute in ways.values():  # what libraries set up at their first call is no cost of any way
        compute(captions[0][None].to(device)).sum().backward()
    for tokens in batches(captions, device):
        whole, *others = (measure(way, compute, tokens) for way, compute in ways.items())
        for features in others:
            torch.testing.assert_close(features, whole, atol=1e-5, rtol=0)
    for tokens in batches(sorted(captions, key=lambda row: int(row.argmax())), device):
        measure(alike, cut, tokens)

    def cost(way: str, what: str) -> Cost:
        counted = int(device.type == "cpu")
        seconds, processor = spent[way, what].tolist()
        return Cost(seconds, processor, spent["all 77 columns", what][counted] / spent[way, what][counted])

    return [Measurement(way, cost(way, "forward"), cost(way, "both")) for way in (*ways, alike)]


def show(measurements: list[Measurement]) -> None:
    table = Table("way", "pass", "seconds", "processor\nseconds", "times less\nthan all")
    for m in measurements:
        for name, cost in (("forward", m.forward), ("and backward", m.both)):
            table.add_row(m.way, name, f"{cost.seconds:.2f}", f"{cost.processor:.2f}", f"{cost.ratio:.2f}")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small tower")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    load = os.getloadavg()
    device = choose_device("auto")
    if device.type == "cpu":
        keep_freed_memory()  # as a training does
    torch.manual_seed(0)
    width, depth, n_batches = (64, 2, 2) if options.quick else (512, 12, 4 if device.type == "cpu" else 40)
    text = TextTransformer(TextConfig(width, depth, width // 64, width, "quick_gelu")).to(device)
    captions = draw(n_batches * BATCH)
    measurements = compare_ways(text, captions, device)
    if options.json:
        lengths = [int(row.argmax()) + 1 for row in captions]
        about = {
            "date": time.strftime("%Y-%m-%d"),
            "machine": describe(),
            "load of the machine before": load,
            "captions": {"batches": n_batches, "mean tokens": float(np.mean(lengths)), "longest": max(lengths)},
        }
        print(json.dumps({**about, "results": [asdict(m) for m in measurements]}, indent=2))
    else:
        show(measurements)


if __name__ == "__main__":
    main()
