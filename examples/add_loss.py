"""A loss of one's own: the circle loss (Sun et al. 2020, arXiv 2002.10857), a pure function, in a recipe that uses it.

resight data make-sample people --identities 24
python examples/add_loss.py people runs/circle
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

import resight
from resight.data.augment import Augment
from resight.encoder import Encoder
from resight.engine import Engine, Machine
from resight.launch import Order, launch
from resight.optim import Descent
from resight.pictures import PictureBatch, Pictures
from resight.progress import Progress
from resight.runs import Run
from resight.starting import Start, open_start, training_preprocess
from resight.towers import IdentityTower
from resight.training import Stage, fit
from resight.trainset import TrainSet

NAME = "circle"
LEARNS_FROM = "identities"


# --8<-- [start:loss]
def circle_loss(features: Tensor, identities: Tensor, *, margin: float, scale: float) -> Tensor:
    """Mean over anchors of softplus(log Σ exp of their positives' costs + log Σ exp of their negatives'): a scalar.

    features [B, D], any norm, of which the cosine counts; identities [B]. A pair costs more the farther its cosine s
    is from where it should be: scale · [1 + margin - s]₊ · (1 - margin - s) for a positive, scale · [s + margin]₊ ·
    (s - margin) for a negative; the brackets get no gradient. An anchor is not its own positive, and one without a
    positive or a negative does not count. Raises ValueError when none is left. Sun et al. 2020, equation 6.
    """
    directions = functional.normalize(features.to(torch.promote_types(features.dtype, torch.float32)))
    with torch.autocast(features.device.type, enabled=False):
        cosines = directions @ directions.T
    same = identities[:, None] == identities
    positives = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    anchors = positives.any(dim=1) & ~same.all(dim=1)
    if not bool(anchors.any()):
        raise ValueError("no picture of the batch has a positive and a negative; draw two identities, of two pictures")
    pull = scale * (1 + margin - cosines).relu().detach() * (1 - margin - cosines)
    push = scale * (cosines + margin).relu().detach() * (cosines - margin)
    near = pull.masked_fill(~positives, float("-inf"))[anchors].logsumexp(dim=1)
    far = push.masked_fill(same, float("-inf"))[anchors].logsumexp(dim=1)
    return functional.softplus(near + far).mean()


# --8<-- [end:loss]


# --8<-- [start:recipe]
@dataclass(frozen=True, slots=True)
class Config:
    """The image tower by the circle loss alone."""

    margin: float = 0.25
    """How far from 1 and 0 a cosine may stay (the paper's, on persons: 0.25)."""
    scale: float = 128.0
    """How much the worst pair counts (the paper's, on persons: 128)."""
    n_identities: int = 8
    """P, identities in a batch."""
    n_images: int = 4
    """K, pictures of each identity in a batch."""
    descent: Descent = field(default_factory=lambda: Descent(epochs=2, rate=1e-4, warmup_epochs=1, milestones=()))
    start: Start = field(default_factory=lambda: Start(size=(128, 64), normalisation="init"))
    augment: Augment = field(default_factory=lambda: Augment(pad=4))
    engine: Engine = field(default_factory=Engine)


def train(
    init: str, data: TrainSet, config: Config, run: Run, machine: Machine, cache: Path, progress: Progress
) -> Encoder:
    """The encoder after the last epoch."""
    engine = config.engine
    encoder = open_start(init, config.start, data, recipe=NAME, feature="before-neck", engine=engine, with_text=False)
    tower = IdentityTower(encoder, data, machine=machine, engine=engine).train()
    pictures = Pictures(
        data.records, training_preprocess(encoder, config.start), config.augment, cache, engine, machine
    )

    def step(batch: PictureBatch) -> dict[str, Tensor]:
        seen = tower.see(batch)
        features = torch.cat([seen.taps.last, seen.taps.projected], dim=1)
        return {"circle": circle_loss(features, seen.identities, margin=config.margin, scale=config.scale)}

    stage = Stage(
        name="train",
        epochs=config.descent.epochs,
        batches=tower.batches(pictures, n_identities=config.n_identities, n_images=config.n_images),
        step=step,
        rate=config.descent.rate_in,
        optimizer=config.descent.optimizer_of(encoder.clip.image.named_parameters()),
        modules={"tower": tower},
        records=data.records,
        towers=(tower.pictures.whole,),
    )
    fit(stage, run, engine, machine, progress)
    return encoder.eval()


# --8<-- [end:recipe]


# --8<-- [start:main]
def main(words: list[str]) -> int:
    data, out = words
    order = Order(
        recipe=sys.modules[__name__],
        settings=Config(),
        init="resight-mini",
        out=Path(out),
        read={"data": data},
        command=("python", "examples/add_loss.py", *words),
    )
    launch(order, resight.read_data(Path(data)))
    print(f"{out}/encoder: trained. Next: resight evaluate {out}/encoder --data {data}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
# --8<-- [end:main]
