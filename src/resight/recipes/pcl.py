"""PCL-CLIP with labels: pictures are held against the centroids of their identities, without prompts. arXiv 2310.17218.

Every epoch begins with a memory: the mean feature of each identity's pictures. A step tells by it which identity a
picture is (§3.2), optionally beside an identity loss, and moves the rows of the memory that the batch had (Cluster
Contrast, arXiv 2103.11568). The feature, in training and after it, is `last` beside `projected` behind their necks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from resight.data.augment import Augment
from resight.data.samplers import identity_batches
from resight.encoder import Encoder
from resight.engine import Engine, Machine
from resight.errors import ConfigError
from resight.losses.identity import identity_loss
from resight.losses.memory import memory_contrast, update_memory
from resight.optim import Descent
from resight.partition import Partition
from resight.pictures import PictureBatch, Pictures
from resight.progress import Progress
from resight.recipes.published import PERSON, VEHICLE
from resight.runs import Run
from resight.starting import Start, open_start, training_preprocess
from resight.towers import IdentityTower
from resight.training import Epoch, Stage, fit
from resight.trainset import TrainSet
from resight.validation import validation_scores

NAME = "pcl"
LEARNS_FROM = "identities"


PCL_DESCENT = Descent(
    optimizer="sgd", rate=3.5e-4, weight_decay=5e-4, bias_rate_factor=1.0, warmup_factor=0.1, stepped="after"
)
"""How PCL-CLIP's code trains: 60 epochs, the rate a tenth from epochs 31 and 51 on."""


@dataclass(frozen=True, slots=True)
class Config:
    """PCL-CLIP: fine-tune the image tower by contrast with the centroids of identities."""

    loss: Literal["pcl", "pcl+id"] = "pcl+id"
    """Contrast with centroids alone, or beside an identity loss (PCL-CLIP §4.3, its ablation)."""
    identity_weight: float = 0.25
    """Weight of the identity loss (PCL-CLIP's code: 0.25)."""
    smoothing: float = 0.1
    """Share of an identity target spread over all identities (PCL-CLIP's code: 0.1)."""
    temperature: float = 0.05
    """What cosines with centroids are divided by (PCL-CLIP's code: 0.05)."""
    memory_momentum: float = 0.2
    """Share of a centroid that an update keeps (PCL-CLIP's code: 0.2)."""
    memory_update: Literal["hardest", "every"] = "hardest"
    """What moves a centroid: its picture in the batch that is least like it, or each (PCL-CLIP's code: hardest)."""
    n_identities: int = 32
    """P, identities in a batch (PCL-CLIP's code: 32)."""
    n_images: int = 8
    """K, pictures of each identity in a batch (PCL-CLIP's code: 8)."""
    n_batches: int | None = 200
    """Batches an epoch; None: one pass of the P×K sampler (PCL-CLIP's code: 200)."""
    freeze_patches: bool = True
    """Leave the first convolution as it is, the patch projection of a ViT (PCL-CLIP's code; Chen et al. 2021, arXiv
    2104.02057)."""
    descent: Descent = field(default_factory=lambda: PCL_DESCENT)
    start: Start = field(default_factory=lambda: Start(test_interpolation="bicubic"))
    augment: Augment = field(default_factory=lambda: Augment(erasing="constant"))
    engine: Engine = field(default_factory=Engine)

    def __post_init__(self) -> None:
        if not 0 <= self.identity_weight < math.inf:
            raise ConfigError(f"--identity-weight {self.identity_weight}: 0 or more.")
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"--temperature {self.temperature}: more than 0.")
        for name in ("smoothing", "memory_momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: from 0 to 1.")
        for name, least in (("n_identities", 2), ("n_images", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least {least}.")
        if self.n_batches is not None and self.n_batches < 1:
            raise ConfigError(f"--n-batches {self.n_batches}: at least 1, or None for one pass.")


PRESETS: dict[str, dict[str, object]] = {
    "market1501": PERSON,
    "msmt17": PERSON,
    "veri776": VEHICLE,  # named by the code, which says no more than the size
}
"""The settings of PCL-CLIP's code, which are the defaults, and each data set's size."""


def train(
    init: str, data: TrainSet, config: Config, run: Run, machine: Machine, cache: Path, progress: Progress
) -> Encoder:
    """The encoder after the last epoch, or the best on validation identities."""
    engine = config.engine
    encoder = open_start(init, config.start, data, recipe=NAME, feature="after-neck", engine=engine, with_text=False)
    encoder.clip.image.conv1.requires_grad_(not config.freeze_patches)
    tower = IdentityTower(encoder, data, machine=machine, engine=engine).train()
    partition = Partition(machine.device)
    pictures = Pictures(
        data.records, training_preprocess(encoder, config.start), config.augment, cache, engine, machine
    )

    def batches(epoch: int, first: int) -> Epoch[PictureBatch]:
        if not first:  # an epoch that goes on has the memory of its checkpoint
            partition.rebuild(epoch, tower.pictures.embeddings(cache), tower.labels)
        p, k, n = config.n_identities, config.n_images, config.n_batches
        plan = identity_batches(data.labels, n_identities=p, n_images=k, n_batches=n, seed=engine.seed, epoch=epoch)
        return pictures.epoch(plan, epoch, first)

    def step(batch: PictureBatch) -> dict[str, Tensor]:
        seen, memory = tower.see(batch), partition.memory
        features = torch.cat([seen.necked_last, seen.necked_projected], dim=1)
        terms = {"pcl": memory_contrast(features, seen.identities, memory, temperature=config.temperature)}
        if config.loss == "pcl+id":  # one classifier of both parts, which is the sum of one on each
            logits = seen.logits_last + seen.logits_projected
            identity = identity_loss(logits, seen.identities, smoothing=config.smoothing)
            terms["identity"] = config.identity_weight * identity
        hardest = config.memory_update == "hardest"
        update_memory(memory, features, seen.identities, momentum=config.memory_momentum, hardest=hardest)
        return terms

    named = [item for item in tower.named_parameters() if config.loss == "pcl+id" or "classifier" not in item[0]]
    stage = Stage(
        name="train",
        epochs=config.descent.epochs,
        batches=batches,
        step=step,
        rate=config.descent.rate_in,
        optimizer=config.descent.optimizer_of(named),
        modules={"tower": tower, "partition": partition},
        records=data.records,
        towers=(tower.pictures.whole,),
        validate=partial(validation_scores, encoder, data.validation, cache),
    )
    fit(stage, run, engine, machine, progress)
    return encoder.eval()
