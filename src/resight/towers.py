"""An encoder in training: alone, for contrast with centroids, or with one classifier on each neck."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from resight.clip.image import Taps
from resight.data.loader import load
from resight.data.samplers import identity_batches
from resight.encoder import Encoder
from resight.engine import Engine, Machine
from resight.pictures import PictureBatch, Pictures
from resight.training import Epoch
from resight.trainset import TrainSet
from resight.types import Record


class PictureTower(nn.Module):
    """The image tower of an encoder and its necks, on batches of records, whose cameras' vectors it adds.

    A text tower that the encoder has is frozen.
    """

    def __init__(self, encoder: Encoder, records: Sequence[Record], *, machine: Machine, engine: Engine) -> None:
        super().__init__()
        self.encoder = encoder
        self.records, self.machine, self.engine = records, machine, engine
        cameras, views = ([getattr(r, name) for r in records] for name in ("camera", "view"))
        self.side_weights = None if encoder.side is None else encoder.side.weights(cameras, views).to(machine.device)
        if encoder.clip.text is not None:  # kept for words, and not trained here
            encoder.clip.text.requires_grad_(False)
        if encoder.clip.logit_scale is not None:
            encoder.clip.logit_scale.requires_grad_(False)
        self.to(machine.device)
        self.whole = machine.spread(encoder.taps, engine, module=encoder.clip.image)

    def taps(self, batch: PictureBatch) -> Taps:
        """Three features of the whole batch, not normalised; each process computes its share."""
        return Taps(*self.whole(len(batch.rows), batch.images, self._side(batch.rows[batch.share])))

    def necked(self, taps: Taps) -> tuple[Tensor, Tensor]:
        """`last` and `projected` after their batch norms, which see the whole batch."""
        return self.encoder.neck_last(taps.last), self.encoder.neck_projected(taps.projected)

    @torch.no_grad()
    def embeddings(self, cache: Path) -> Tensor:
        """The embedding [N, D] of every record, float32, L2-normalised, as the encoder would give it now.

        Computed without augmentation, in the run's precision, by all processes together; training goes on as before.
        """
        was_training = self.encoder.training
        self.encoder.eval()
        found = features_of(
            lambda images, rows: self.encoder(images, self._side(rows))[0],
            self.encoder,
            self.records,
            machine=self.machine,
            engine=self.engine,
            cache=cache,
        )
        self.encoder.train(was_training)
        return nn.functional.normalize(found)

    def _side(self, rows: Tensor) -> Tensor | None:
        return None if self.side_weights is None else self.side_weights[rows.to(self.side_weights.device)]


@torch.no_grad()
def features_of(
    compute: Callable[[Tensor, Tensor], Tensor],
    encoder: Encoder,
    records: Sequence[Record],
    *,
    machine: Machine,
    engine: Engine,
    cache: Path,
) -> Tensor:
    """compute(images, rows) of every record [N, …] in order, float32; each process computes its share.

    images: [b, 3, H, W] without augmentation, normalised as the encoder does; rows: [b], positions in the records.
    """
    own = machine.processes.share(len(records))
    found = []
    for batch in load(records[own], encoder.preprocess, batch_size=64, cache=cache, workers=engine.workers):
        images = encoder.preprocess.normalise(torch.from_numpy(batch.images).to(machine.device))
        with machine.autocast():
            features = compute(images, torch.from_numpy(batch.rows) + own.start)
        found.append(features.to(torch.promote_types(features.dtype, torch.float32)))
    return machine.processes.gather(torch.cat(found), len(records))


@dataclass(frozen=True, slots=True)
class Seen:
    """What the tower makes of a whole batch: three features, not normalised; identities [B]; both after their necks
    [B, …]; and the logits of both classifiers [B, N]."""

    taps: Taps
    identities: Tensor
    necked_last: Tensor
    necked_projected: Tensor
    logits_last: Tensor
    logits_projected: Tensor


class IdentityTower(nn.Module):
    """The trainable side of CLIP-ReID's second stage and of its baseline (arXiv 2211.13977 §3.3).

    Both classifiers are linear, without bias, over the N identities of data, and drawn from the engine's seed.
    """

    def __init__(self, encoder: Encoder, data: TrainSet, *, machine: Machine, engine: Engine) -> None:
        super().__init__()
        self.pictures = PictureTower(encoder, data.records, machine=machine, engine=engine)
        self.data, self.engine = data, engine
        _, last, projected = encoder.clip.config.image.tap_widths
        self.classifier_last = _classifier(last, len(data.identities), seed=engine.seed + 1)
        self.classifier_projected = _classifier(projected, len(data.identities), seed=engine.seed + 2)
        self.labels = torch.from_numpy(data.labels).to(machine.device)
        self.to(machine.device)

    def see(self, batch: PictureBatch) -> Seen:
        """The whole batch, of which each process computes its share; necks and classifiers see all of it."""
        taps = self.pictures.taps(batch)
        last, projected = self.pictures.necked(taps)
        identities = self.labels[batch.rows.to(self.labels.device)]
        return Seen(taps, identities, last, projected, self.classifier_last(last), self.classifier_projected(projected))

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
