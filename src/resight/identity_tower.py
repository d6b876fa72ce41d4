"""An encoder with one classifier on each neck, trained on batches of P identities × K images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resight.clip.image import Taps
from resight.data.samplers import identity_batches
from resight.encoder import Encoder
from resight.engine import Engine, Machine
from resight.pictures import PictureBatch, Pictures
from resight.training import Epoch
from resight.trainset import TrainSet


@dataclass(frozen=True, slots=True)
class Seen:
    """What the tower makes of a whole batch: three features, not normalised; identities [B]; and the logits of both
    classifiers [B, N], of `last` and of `projected` after their necks."""

    taps: Taps
    identities: Tensor
    logits_last: Tensor
    logits_projected: Tensor


class IdentityTower(nn.Module):
    """The trainable side of CLIP-ReID's second stage and of its baseline (arXiv 2211.13977 §3.3).

    A text tower that the encoder has is frozen. Both classifiers are linear, without bias, over the N identities of
    data, and drawn from the engine's seed.
    """

    def __init__(self, encoder: Encoder, data: TrainSet, *, machine: Machine, engine: Engine) -> None:
        super().__init__()
        self.encoder = encoder
        self.data, self.machine, self.engine = data, machine, engine
        _, last, projected = encoder.clip.config.image.tap_widths
        self.classifier_last = _classifier(last, len(data.identities), seed=engine.seed + 1)
        self.classifier_projected = _classifier(projected, len(data.identities), seed=engine.seed + 2)
        self.labels = torch.from_numpy(data.labels).to(machine.device)
        cameras, views = ([getattr(r, name) for r in data.records] for name in ("camera", "view"))
        self.side_weights = None if encoder.side is None else encoder.side.weights(cameras, views).to(machine.device)
        if encoder.clip.text is not None:  # kept for words, and not trained here
            encoder.clip.text.requires_grad_(False)
        if encoder.clip.logit_scale is not None:
            encoder.clip.logit_scale.requires_grad_(False)
        self.to(machine.device)
        self.tower = machine.spread(encoder.taps, engine, module=encoder.clip.image)

    def see(self, batch: PictureBatch) -> Seen:
        """The whole batch, of which each process computes its share; necks and classifiers see all of it."""
        rows = batch.rows.to(self.labels.device)
        side = None if self.side_weights is None else self.side_weights[rows[batch.share]]
        taps = Taps(*self.tower(len(rows), batch.images, side))
        logits_last = self.classifier_last(self.encoder.neck_last(taps.last))
        logits_projected = self.classifier_projected(self.encoder.neck_projected(taps.projected))
        return Seen(taps, self.labels[rows], logits_last, logits_projected)

    def batches(
        self, pictures: Pictures, *, n_identities: int, n_images: int
    ) -> Callable[[int, int], Epoch[PictureBatch]]:
        """P×K batches for `fit`."""

        def epoch(number: int, first: int) -> Epoch[PictureBatch]:
            plan = identity_batches(
                self.data.labels, n_identities=n_identities, n_images=n_images, seed=self.engine.seed, epoch=number
            )
            return pictures.epoch(plan, number, first)

        return epoch


def _classifier(width: int, n_identities: int, *, seed: int) -> nn.Linear:
    """Linear, without bias, from N(0, 0.001²), as CLIP-ReID's code starts it."""
    classifier = nn.Linear(width, n_identities, bias=False)
    with torch.no_grad():
        classifier.weight.normal_(0, 0.001, generator=torch.Generator().manual_seed(seed))
    return classifier
