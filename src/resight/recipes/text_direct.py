"""CLIP trained directly on pictures and captions: the symmetric contrast of Radford et al. 2021, arXiv 2103.00020 §2.3.

A batch holds each identity at most once, so that no other picture's caption is also true of a picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from resight.clip.text import cut_to_longest
from resight.clip.tokenizer import tokenize
from resight.data.augment import Augment
from resight.data.samplers import one_per_identity_batches
from resight.encoder import Encoder
from resight.engine import Engine, Machine
from resight.errors import ConfigError
from resight.losses.contrastive import image_text_contrastive
from resight.optim import parameter_groups, warmup_then_cosine
from resight.pictures import PictureBatch, Pictures
from resight.progress import Progress
from resight.runs import Run
from resight.starting import Start, open_start, training_preprocess
from resight.training import Epoch, Stage, fit
from resight.trainset import TrainSet
from resight.types import Record
from resight.validation import validation_scores

NAME = "text-direct"
LEARNS_FROM = "captions"
LARGEST_SCALE = math.log(100)
"""CLIP's bound on its logit scale (§2.5), so that training stays stable."""


@dataclass(frozen=True, slots=True)
class Config:
    """Fine-tune, or train from nothing, both towers of CLIP on pictures with captions."""

    epochs: int = 30
    """Passes over the pictures."""
    batch_size: int = 128
    """Pictures a step, each with one of its captions."""
    rate: float = 1e-5
    """Highest learning rate, of Adam with decoupled weight decay (IRRA: 1e-5; from nothing about 1e-3)."""
    warmup_epochs: int = 2
    """Epochs in which the rate rises to it."""
    weight_decay: float = 4e-5
    """Decoupled, on everything (IRRA's code: 4e-5, coupled)."""
    start: Start = field(default_factory=lambda: Start(size=(384, 128), normalisation="init"))
    augment: Augment = field(default_factory=Augment)
    engine: Engine = field(default_factory=Engine)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "warmup_epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 1.")
        if self.warmup_epochs >= self.epochs:
            raise ConfigError(f"--warmup-epochs {self.warmup_epochs}: fewer than the {self.epochs} epochs.")
        if self.start.side_camera or self.start.side_view or self.start.without_text:
            raise ConfigError("--side-camera, --side-view, --without-text: text-direct compares plain CLIP features.")
        for name in ("rate", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: 0 or more.")


PRESETS: dict[str, dict[str, object]] = {}


def train(
    init: str, data: TrainSet, config: Config, run: Run, machine: Machine, cache: Path, progress: Progress
) -> Encoder:
    """The encoder after the last epoch, or the best on validation identities, found by their captions.

    Its embedding is the projected feature that texts are compared with.
    """
    engine = config.engine
    records = data.records
    encoder = open_start(init, config.start, data, recipe=NAME, feature="projected", engine=engine, with_text=True)
    encoder.to(machine.device).train()
    clip = encoder.clip
    assert clip.text is not None
    assert clip.logit_scale is not None
    text, scale = clip.text, clip.logit_scale
    pictures = Pictures(records, training_preprocess(encoder, config.start), config.augment, cache, engine, machine)
    see = machine.spread(lambda images: (clip.image(images).projected,), engine, module=clip.image)
    read = machine.spread(lambda tokens: (text(tokens),), engine, module=text)

    def batches(epoch: int, first: int) -> Epoch[PictureBatch]:
        plan = one_per_identity_batches(data.labels, batch_size=config.batch_size, seed=engine.seed, epoch=epoch)
        return pictures.epoch(plan, epoch, first)

    def step(batch: PictureBatch) -> dict[str, Tensor]:
        n = len(batch.rows)
        tokens = cut_to_longest(tokenize(_captions(records, batch.rows), context_length=text.config.context_length))
        (seen,) = see(n, batch.images)
        (read_texts,) = read(n, tokens[batch.share].to(machine.device))
        with torch.no_grad():
            scale.clamp_(max=LARGEST_SCALE)
        return {"contrast": image_text_contrastive(seen, read_texts, logit_scale=scale.exp())}

    groups = parameter_groups(clip.named_parameters(), weight_decay=config.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.98), eps=1e-6, fused=True)
    fit(
        Stage(
            name="train",
            epochs=config.epochs,
            batches=batches,
            step=step,
            rate=lambda epoch: warmup_then_cosine(
                epoch, epochs=config.epochs, rate=config.rate, warmup=config.warmup_epochs, factor=0.1
            ),
            optimizer=optimizer,
            modules={"clip": clip},
            records=records,
            towers=(see, read),
            validate=partial(validation_scores, encoder, data.validation, cache),
        ),
        run,
        engine,
        machine,
        progress,
    )
    return encoder.eval()


def _captions(records: Sequence[Record], rows: Tensor) -> list[str]:
    """One caption of each picture: its place in the batch, which changes from epoch to epoch, decides which."""
    return [records[row].captions[place % len(records[row].captions)] for place, row in enumerate(rows.tolist())]
