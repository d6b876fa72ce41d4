"""How fast training is: our step against a plain one, stage 1 against all positions of every text, waiting for data.

    python benchmarks/bench_train.py [--quick] [--compile] [--json]

The plain step is written here as the reference codes do it: float32, PyTorch's own transformer layers and attention for
all tokens, pictures decoded and augmented one by one in worker processes. Both train ViT-B/16 at 256×128 from random
weights on the same drawn JPEGs, by identity and triplet loss with Adam. On a GPU the plain step runs there too, and the
share of the measured matrix-product peak and the memory are printed. --quick takes small towers: a trial of this file.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from resight.clip.prompts import IdentityPrompts
from resight.clip.text import TextConfig, TextTransformer
from resight.clip.tokenizer import PLACEHOLDER, tokenize
from resight.data.augment import Augment
from resight.engine import Engine, Machine
from resight.environment import describe, keep_freed_memory, peak_memory_gib
from resight.losses.contrastive import prompt_contrastive
from resight.losses.identity import identity_loss
from resight.losses.triplet import batch_hard_triplet
from resight.pictures import Pictures
from resight.starting import Start, open_start, training_preprocess
from resight.towers import IdentityTower
from resight.trainset import TrainSet, train_set
from resight.types import Record, Splits

SIZE = (256, 128)
N_IDENTITIES, N_IMAGES = 16, 4
BATCH = N_IDENTITIES * N_IMAGES


@dataclass(frozen=True, slots=True)
class Speed:
    """pictures_per_second: the best step's; waiting: share of the time of all steps but the first spent on data."""

    what: str
    pictures_per_second: float
    waiting: float


class PlainTower(nn.Module):
    """CLIP's image tower as a stack of PyTorch's own layers; all tokens go through all blocks and the projection."""

    def __init__(self, width: int, depth: int, n_places: int, output: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16, bias=False)
        self.token = nn.Parameter(torch.zeros(width))
        self.places = nn.Parameter(0.02 * torch.randn(1 + n_places, width))
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        layers = [
            nn.TransformerEncoderLayer(
                width,
                width // 64,
                4 * width,
                0.0,
                lambda x: x * torch.sigmoid(1.702 * x),
                batch_first=True,
                norm_first=True,
            )
            for _ in range(depth)
        ]
        self.layers = nn.ModuleList(layers)
        self.projection = nn.Parameter(width**-0.5 * torch.randn(width, output))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(images), 1, -1), tokens], 1) + self.places
        x = self.before(x)
        for layer in self.layers[:-1]:
            x = layer(x)
        last = self.after(self.layers[-1](x))
        return x[:, 0], last[:, 0], (last @ self.projection)[:, 0]


class PlainPictures(Dataset[tuple[Tensor, int]]):
    """One augmented float picture at a time, as a worker process makes it."""

    def __init__(self, records: Sequence[Record], labels: Sequence[int]) -> None:
        self.records, self.labels = records, labels

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        height, width = SIZE
        image = Image.open(self.records[row].path).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        left, top = random.randint(0, 20), random.randint(0, 20)
        image = ImageOps.expand(image, 10).crop((left, top, left + width, top + height))
        tensor = (torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255 - 0.5) / 0.5
        if random.random() < 0.5:
            high, wide = random.randint(40, 150), random.randint(20, 70)
            y, x = random.randint(0, height - high), random.randint(0, width - wide)
            tensor[:, y : y + high, x : x + wide] = torch.randn(3, high, wide)
        return tensor, self.labels[row]


def plain(data: TrainSet, width: int, depth: int, device: torch.device, plan: Sequence[Sequence[int]]) -> Speed:
    tower = PlainTower(width, depth, 128, 512)
    necks = nn.ModuleList([nn.BatchNorm1d(width), nn.BatchNorm1d(512)])
    classifiers = nn.ModuleList([nn.Linear(w, len(data.identities), bias=False) for w in (width, 512)])
    model = nn.ModuleList([tower, necks, classifiers]).to(device)
    optimizer = torch.optim.Adam([{"params": [p]} for p in model.parameters()], lr=5e-6, weight_decay=1e-4)
    loader = DataLoader(PlainPictures(data.records, data.labels.tolist()), batch_sampler=list(plan), num_workers=2)

    def step(batch: tuple[Tensor, Tensor]) -> None:
        images, identities = batch[0].to(device), batch[1].to(device)
        taps = tower(images)
        logits = [classify(neck(x)) for classify, neck, x in zip(classifiers, necks, taps[1:], strict=True)]
        loss = sum(
            (functional.cross_entropy(each, identities, label_smoothing=0.1) for each in logits),
            torch.zeros((), device=device),
        )
        for x in taps:
            distances = torch.cdist(x, x)
            same = identities[:, None] == identities
            far, near = distances.masked_fill(~same, 0).amax(1), distances.masked_fill(same, 1e9).amin(1)
            loss = loss + (far - near + 0.3).relu().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return timed("plain", iter(loader), step, device)


def ours(
    data: TrainSet, init: str, device: torch.device, plan: Sequence[Sequence[int]], cache: Path, engine: Engine
) -> Speed:
    machine = Machine.of(engine)
    encoder = open_start(
        init,
        Start(size=SIZE, without_text=True),
        data,
        recipe="finetune",
        feature="before-neck",
        engine=engine,
        with_text=False,
    )
    tower = IdentityTower(encoder, data, machine=machine, engine=engine).train()
    optimizer = torch.optim.Adam([p for p in tower.parameters() if p.requires_grad], lr=5e-6, weight_decay=1e-4)
    pictures = Pictures(data.records, training_preprocess(encoder, Start()), Augment(), cache, engine, machine)

    def step(batch: object) -> None:
        seen = tower.see(batch)  # type: ignore[arg-type]
        logits = seen.logits_last, seen.logits_projected
        loss = sum(
            (identity_loss(each, seen.identities, smoothing=0.1) for each in logits), torch.zeros((), device=device)
        )
        loss = loss + torch.stack([batch_hard_triplet(x, seen.identities, margin=0.3) for x in seen.taps]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    batches = iter(pictures.epoch([np.array(rows) for rows in plan], 1, 0).batches)
    name = f"ours, {machine.precision}{', compiled' if engine.compile else ''}"
    return timed(name, batches, step, machine.device)


def timed(what: str, batches: Iterator[object], step: Callable[..., None], device: torch.device) -> Speed:
    seconds, waits = [], []
    while True:
        begun = time.perf_counter()
        batch = next(batches, None)
        got = time.perf_counter()
        if batch is None:
            break
        step(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
        waits.append(got - begun)
    return Speed(what, BATCH / min(seconds[1:]), sum(waits[1:]) / sum(seconds[1:]))


def stage_one(width: int, depth: int, device: torch.device, repeats: int) -> list[Speed]:
    """Stage 1 of CLIP-ReID: our step, and all 77 positions of a text for every picture of the batch."""
    config = TextConfig(width, depth, width // 64, width, "quick_gelu")
    text = TextTransformer(config).to(device).requires_grad_(False)
    tokens = tokenize(["A photo of a X X X X person."])[0]
    prompts = IdentityPrompts(751, tokens.tolist(), placeholder=PLACEHOLDER, width=width, seed=0).to(device)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(751, (BATCH,), generator=generator).to(device)
    pictures = torch.randn(BATCH, width, generator=generator).to(device)
    whole = tokens.to(device)
    slots = (whole == PLACEHOLDER).nonzero().flatten()

    def short() -> Tensor:
        distinct, places = labels.unique(return_inverse=True)
        return torch.stack(prompt_contrastive(pictures, prompts(distinct, text), places)).sum()

    def long() -> Tensor:
        words = text.embed(whole).expand(BATCH, -1, -1).index_copy(1, slots, prompts.vectors[labels])
        x = words + text.positional_embedding
        places = torch.arange(77, device=device)
        for block in text.transformer.resblocks:
            x = block(x, None, places <= places[:, None])
        features = text.ln_final(x)[:, 11] @ text.text_projection
        logits, same = pictures @ features.T, (labels[:, None] == labels).float()
        both = sum(((each.log_softmax(1) * same).sum(1) / same.sum(1)).mean() for each in (logits, logits.T))
        return -both  # type: ignore[return-value]

    found, losses = [], {}
    for what, compute in (("stage 1, ours", short), ("stage 1, 77 positions a picture", long)):
        seconds = []
        for _ in range(repeats + 1):
            prompts.zero_grad()
            begun = time.perf_counter()
            loss = compute()
            loss.backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begun)
            losses[what] = loss.item()
        found.append(Speed(what, BATCH / min(seconds[1:]), 0.0))
    a, b = losses.values()
    assert abs(a - b) < 1e-3 * abs(b), "the two ways of stage 1 do not agree"
    return found


def peak(device: torch.device, dtype: torch.dtype) -> float:
    """Multiply-adds a second of large matrix products, in units of 1e12 floating-point operations."""
    a, b = (torch.randn(8192, 8192, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(20):
        a @ b
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - begun) / 1e12


def drawn(folder: Path, n_identities: int, n_images: int) -> TrainSet:
    """Smooth random JPEGs of the usual size of person crops."""
    rng = np.random.default_rng(0)
    records = []
    for identity in range(n_identities):
        for number in range(n_images):
            rough = Image.fromarray(rng.integers(0, 256, (16, 8, 3), dtype=np.uint8))
            path = folder / f"{identity:03d}_{number}.jpg"
            rough.resize((128, 256), Image.Resampling.BICUBIC).save(path, quality=90)
            records.append(Record(path, identity=str(identity)))
    return train_set(Splits("drawn", folder, "any-camera", train=tuple(records)), validate=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--compile", action="store_true", help="also time our step with torch.compile")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    width, depth, n_steps = (64, 2, 3) if arguments.quick else (768, 12, 4)
    engine = Engine(seed=0)
    machine = Machine.of(engine)
    device = machine.device
    n_steps = n_steps if device.type == "cpu" else 30
    init = f"random:{width}x{depth}/16"
    speeds: list[Speed] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = drawn(folder, 32, 8)
        rng = np.random.default_rng(1)
        plan = [
            [8 * i + k for i in rng.permutation(32)[:N_IDENTITIES].tolist() for k in range(N_IMAGES)]
            for _ in range(n_steps)
        ]
        speeds.append(plain(data, width, depth, device, plan))
        if device.type == "cpu":
            keep_freed_memory()  # as `launch` does
        speeds.append(ours(data, init, device, plan, folder / "cache", engine))
        if arguments.compile:
            speeds.append(ours(data, init, device, plan, folder / "cache", Engine(seed=0, compile=True)))
    text_width, text_depth = (64, 2) if arguments.quick else (512, 12)
    first, second = stage_one(text_width, text_depth, device, 2 if arguments.quick else 4)
    speeds += [first, second]
    found = {
        "machine": describe(),
        "speeds": [asdict(speed) for speed in speeds],
        "step": speeds[1].pictures_per_second / speeds[0].pictures_per_second,
        "stage 1": first.pictures_per_second / second.pictures_per_second,
    }
    if device.type == "cuda":
        n_tokens = 129
        per_picture = 3 * 2 * n_tokens * (12 * width**2 * depth + 3 * 256 * width) + 3 * 4 * n_tokens**2 * width * depth
        dtype = torch.bfloat16 if machine.precision == "bf16" else torch.float16
        found["share of the matrix-product peak"] = (
            speeds[1].pictures_per_second * per_picture / 1e12 / peak(device, dtype)
        )
        found["peak memory GiB"] = peak_memory_gib(device)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    table = Table("what", "pictures/s", "waiting for data", title=f"{init}, {SIZE[0]}×{SIZE[1]}, batches of {BATCH}")
    for speed in speeds:
        table.add_row(speed.what, f"{speed.pictures_per_second:.1f}", f"{100 * speed.waiting:.1f} %")
    console = Console()
    console.print(table)
    for name, value in found.items():
        if isinstance(value, float):
            console.print(f"{name}: {value:.2f}{'' if 'GiB' in name or 'share' in name else ' times'}", highlight=False)


if __name__ == "__main__":
    main()
