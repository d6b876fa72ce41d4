"""A method of one's own: supervised contrast behind a head that is thrown away. Khosla et al. 2020, arXiv 2004.11362.

A small network, the head, turns the projected feature into the numbers that are contrasted; it takes upon itself what
is good for the contrast alone, and the encoder goes without it. One file is the method: its settings, the refusals
that come before the hours, the step, and what is left.

    resight data make-sample people --identities 24
    python examples/add_method.py people runs/contrast
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import resight
from resight.data.augment import Augment
from resight.data.samplers import identity_batches
from resight.encoder import Encoder
from resight.engine import Engine, Machine
from resight.errors import ConfigError
from resight.launch import Order, launch
from resight.optim import Descent
from resight.pictures import PictureBatch, Pictures
from resight.progress import Progress
from resight.runs import Run
from resight.starting import Start, open_start, training_preprocess
from resight.towers import PictureTower
from resight.training import Epoch, Stage, fit
from resight.trainset import TrainSet
from resight.validation import validation_scores

# --8<-- [start:settings]
NAME = "contrast"
LEARNS_FROM = "identities"  # or "captions", or "pictures": what a train record must have, and what is left of it


@dataclass(frozen=True, slots=True)
class Config:
    """Supervised contrast of pictures, behind a head."""

    temperature: float = 0.1
    """What cosines are divided by (the paper's §4: 0.1)."""
    head_width: int = 128
    """Numbers that the head gives for a picture (the paper's §3: 128)."""
    n_identities: int = 8
    """P, identities in a batch."""
    n_images: int = 4
    """K, pictures of each identity in a batch."""
    descent: Descent = field(default_factory=lambda: Descent(epochs=2, rate=1e-4, warmup_epochs=1, milestones=()))
    start: Start = field(default_factory=lambda: Start(size=(128, 64), normalisation="init"))
    augment: Augment = field(default_factory=lambda: Augment(pad=4, colour=0.2))
    engine: Engine = field(default_factory=Engine)

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"--temperature {self.temperature}: more than 0.")
        for name in ("head_width", "n_identities", "n_images"):
            if getattr(self, name) < 2:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 2.")


# --8<-- [end:settings]


# --8<-- [start:loss]
def supervised_contrast(features: Tensor, identities: Tensor, *, temperature: float) -> Tensor:
    """Mean over pictures of -log of the share that the softmax of a row gives to its positives, averaged: a scalar.

    features [B, D], any norm; identities [B], each at least twice. A picture is not compared with itself.
    Khosla et al. 2020, equation 2.
    """
    directions = functional.normalize(features.to(torch.promote_types(features.dtype, torch.float32)))
    with torch.autocast(features.device.type, enabled=False):
        logits = directions @ directions.T / temperature
    itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    log_shares = logits.masked_fill(itself, float("-inf")).log_softmax(dim=1)
    positives = (identities[:, None] == identities) & ~itself
    return -(log_shares.masked_fill(~positives, 0).sum(dim=1) / positives.sum(dim=1)).mean()


# --8<-- [end:loss]


# --8<-- [start:train]
def train(
    init: str, data: TrainSet, config: Config, run: Run, machine: Machine, cache: Path, progress: Progress
) -> Encoder:
    """The encoder after the last epoch, or the best on validation identities."""
    engine = config.engine
    encoder = open_start(init, config.start, data, recipe=NAME, feature="projected", engine=engine, with_text=False)
    tower = PictureTower(encoder, data.records, machine=machine, engine=engine).train()
    with torch.random.fork_rng():
        torch.manual_seed(engine.seed + 1)  # of the head alone, so that nothing else is drawn differently by it
        width = encoder.clip.config.image.output
        head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.head_width))
    head.to(machine.device)
    labels = torch.from_numpy(data.labels).to(machine.device)
    pictures = Pictures(
        data.records, training_preprocess(encoder, config.start), config.augment, cache, engine, machine
    )

    def batches(epoch: int, first: int) -> Epoch[PictureBatch]:
        p, k = config.n_identities, config.n_images
        plan = identity_batches(data.labels, n_identities=p, n_images=k, seed=engine.seed, epoch=epoch)
        return pictures.epoch(plan, epoch, first)

    def step(batch: PictureBatch) -> dict[str, Tensor]:
        seen = head(tower.taps(batch).projected)
        identities = labels[batch.rows.to(labels.device)]
        return {"contrast": supervised_contrast(seen, identities, temperature=config.temperature)}

    # "classifier" in a name: what starts from nothing, and has a factor of its own on the rate
    learned = [*encoder.clip.image.named_parameters(), *head.named_parameters(prefix="classifier")]
    stage = Stage(
        name="train",
        epochs=config.descent.epochs,
        batches=batches,
        step=step,
        rate=config.descent.rate_in,
        optimizer=config.descent.optimizer_of(learned),
        modules={"tower": tower, "head": head},
        records=data.records,
        towers=(tower.whole,),
        validate=partial(validation_scores, encoder, data.validation, cache),
    )
    fit(stage, run, engine, machine, progress)
    return encoder.eval()


# --8<-- [end:train]


# --8<-- [start:main]
def main(words: list[str]) -> int:
    data, out = words
    order = Order(
        recipe=sys.modules[__name__],
        settings=Config(),
        init="resight-mini",
        out=Path(out),
        read={"data": data},
        command=("python", "examples/add_method.py", *words),
        resume=(Path(out) / "config.json").is_file(),
    )
    launch(order, resight.read_data(Path(data)))
    print(f"{out}/encoder: trained. Next: resight evaluate {out}/encoder --data {data}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
# --8<-- [end:main]
