"""The fine-tuned baseline of CLIP-ReID: identity and triplet loss on CLIP's image tower. arXiv 2211.13977 §3.1, §4.2.

Three features of a picture are used: the class token before the last block (`penultimate`, triplet only), after it
(`last`), and projected into the space shared with texts (`projected`). The last two have a batch-norm neck and a
classifier each. The embedding is `last` beside `projected`, before the necks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from resight.data.augment import Augment
from resight.encoder import Encoder
from resight.engine import Engine, Machine
from resight.errors import ConfigError
from resight.losses.identity import identity_loss
from resight.losses.triplet import batch_hard_triplet
from resight.optim import Descent
from resight.pictures import PictureBatch, Pictures
from resight.progress import Progress
from resight.recipes.published import PERSON, RESNET, VEHICLE, VIT
from resight.runs import Run
from resight.starting import Start, open_start, training_preprocess
from resight.towers import IdentityTower
from resight.training import Stage, fit
from resight.trainset import TrainSet
from resight.validation import validation_scores

NAME = "finetune"
LEARNS_FROM = "identities"


@dataclass(frozen=True, slots=True)
class Config:
    """Fine-tune CLIP's image tower by identity and triplet loss: the baseline of CLIP-ReID."""

    identity_weight: float = 1.0
    """Weight of the identity loss, a sum over both classifiers (CLIP-ReID's baseline settings: 1.0)."""
    triplet_weight: float = 1.0
    """Weight of the triplet loss, a sum over the three features (CLIP-ReID's code: 1.0)."""
    margin: float | None = 0.3
    """Margin of the triplet loss in Euclidean distance; None: the soft margin (CLIP-ReID's code: 0.3)."""
    smoothing: float = 0.1
    """Share of the identity target spread over all identities (CLIP-ReID's code: 0.1)."""
    n_identities: int = 16
    """P, identities in a batch (CLIP-ReID §4.2: 16)."""
    n_images: int = 4
    """K, pictures of each identity in a batch (CLIP-ReID §4.2: 4)."""
    descent: Descent = field(default_factory=Descent)
    start: Start = field(default_factory=Start)
    augment: Augment = field(default_factory=Augment)
    engine: Engine = field(default_factory=Engine)

    def __post_init__(self) -> None:
        for name in ("identity_weight", "triplet_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: 0 or more.")
        if self.margin is not None and not 0 <= self.margin < math.inf:
            raise ConfigError(f"--margin {self.margin}: 0 or more, or None.")
        if not 0 <= self.smoothing <= 1:
            raise ConfigError(f"--smoothing {self.smoothing}: from 0 to 1.")
        for name in ("n_identities", "n_images"):
            if getattr(self, name) < 2:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 2.")


PRESETS: dict[str, dict[str, object]] = {
    "person": VIT | PERSON,
    "veri": VIT | VEHICLE,
    "vehicleid": VIT | VEHICLE | {"rate": 5e-5, "smoothing": 0.0},
    "person-resnet": RESNET | PERSON,
    "veri-resnet": RESNET | VEHICLE,
    "vehicleid-resnet": RESNET | VEHICLE | {"smoothing": 0.0},
}
"""The settings of CLIP-ReID's code for its baseline: persons or vehicles, ViT-B/16 or ResNet-50."""


def train(
    init: str, data: TrainSet, config: Config, run: Run, machine: Machine, cache: Path, progress: Progress
) -> Encoder:
    """The encoder after the last epoch, or the best on validation identities."""
    engine = config.engine
    encoder = open_start(init, config.start, data, recipe=NAME, feature="before-neck", engine=engine, with_text=False)
    tower = IdentityTower(encoder, data, machine=machine, engine=engine).train()
    pictures = Pictures(
        data.records, training_preprocess(encoder, config.start), config.augment, cache, engine, machine
    )

    identity_of = partial(identity_loss, smoothing=config.smoothing)
    triplet_of = partial(batch_hard_triplet, margin=config.margin)

    def step(batch: PictureBatch) -> dict[str, Tensor]:
        seen = tower.see(batch)
        identity = identity_of(seen.logits_last, seen.identities) + identity_of(seen.logits_projected, seen.identities)
        triplet = torch.stack([triplet_of(feature, seen.identities) for feature in seen.taps]).sum()
        return {"identity": config.identity_weight * identity, "triplet": config.triplet_weight * triplet}

    stage = Stage(
        name="train",
        epochs=config.descent.epochs,
        batches=tower.batches(pictures, n_identities=config.n_identities, n_images=config.n_images),
        step=step,
        rate=config.descent.rate_in,
        optimizer=config.descent.optimizer_of(tower.named_parameters()),
        modules={"tower": tower},
        records=data.records,
        towers=(tower.pictures.whole,),
        validate=partial(validation_scores, encoder, data.validation, cache),
    )
    fit(stage, run, engine, machine, progress)
    return encoder.eval()
