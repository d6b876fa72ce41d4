"""CLIP trained directly on pictures and captions, each caption with its picture: fine-tuning, IRRA, and from nothing.

The losses are added up by weight: the contrast of Radford et al. 2021 (arXiv 2103.00020 §2.3), and beside it or in its
place those of IRRA (Jiang and Ye 2023, arXiv 2303.12501), CMPM and TAL. With `mlm`, masked words are told from their
sentence and its picture. With `join_identity`, the losses of `finetune` join in, so that one encoder serves pictures
and words as queries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from resight.data.augment import Augment
from resight.encoder import Encoder, Feature
from resight.engine import Engine, Machine
from resight.errors import ConfigError, DataError
from resight.losses.contrastive import (
    cross_modal_projection_matching,
    image_text_contrastive,
    similarity_distribution_matching,
    triplet_alignment,
)
from resight.losses.identity import identity_loss
from resight.losses.triplet import batch_hard_triplet
from resight.optim import TextDescent
from resight.pairs import MaskedReader, Pairs, PairTower, Sampling
from resight.pictures import PictureBatch, Pictures
from resight.progress import Progress
from resight.runs import Run
from resight.starting import Start, open_start, training_preprocess
from resight.towers import IdentityTower
from resight.training import Epoch, Stage, fit
from resight.trainset import TrainSet
from resight.validation import validation_scores

NAME = "text-direct"
LEARNS_FROM = "captions"


@dataclass(frozen=True, slots=True)
class Config:
    """Fine-tune, or train from nothing, both towers of CLIP on pictures with captions."""

    itc: float = 1.0
    """Weight of the symmetric contrast of pictures and captions, InfoNCE (CLIP; direct fine-tuning: 1)."""
    sdm: float = 0.0
    """Weight of similarity distribution matching (IRRA: 1)."""
    id: float = 0.0
    """Weight of the identity loss, by one classifier for pictures and texts of known identity (IRRA: 1)."""
    cmpm: float = 0.0
    """Weight of cross-modal projection matching (Zhang and Lu 2018, ECCV)."""
    tal: float = 0.0
    """Weight of triplet alignment, a sum over the batch (RDE, arXiv 2308.09911: 1)."""
    identity_targets: bool = False
    """Whether all pairs of an identity share the targets of itc; else a picture's own caption is its only target."""
    temperature: float | None = 0.02
    """What the cosines of itc and sdm are divided by (IRRA: 0.02); None: CLIP's own, which then learns too."""
    tal_margin: float = 0.1
    """Margin of triplet alignment, in units of the cosine (RDE: 0.1)."""
    tal_temperature: float = 0.015
    """What the cosines of triplet alignment are divided by (RDE: 0.015)."""
    mlm: bool = False
    """Whether masked words are told from sentence and picture, IRRA's implicit relation reasoning; ViT only."""
    mlm_weight: float = 1.0
    """Weight of their loss (IRRA: 1)."""
    join_identity: bool = False
    """Whether the losses of `finetune` join in; the embedding is then that of `finetune`."""
    identity_weight: float = 1.0
    """With join_identity, weight of the identity loss, a sum over both classifiers (CLIP-ReID's baseline: 1)."""
    triplet_weight: float = 1.0
    """With join_identity, weight of the triplet loss, a sum over the three features (CLIP-ReID's code: 1)."""
    margin: float | None = 0.3
    """With join_identity, margin of the triplet loss in Euclidean distance; None: soft (CLIP-ReID's code: 0.3)."""
    smoothing: float = 0.1
    """With join_identity, share of the identity target spread over all identities (CLIP-ReID's code: 0.1)."""
    noise: float = 0.0
    """Share of the captions that change places among themselves, for experiments on wrong captions (RDE: 0 to 0.8)."""
    sampling: Sampling = field(default_factory=Sampling)
    descent: TextDescent = field(default_factory=TextDescent)
    start: Start = field(
        default_factory=lambda: Start(size=(384, 128), normalisation="init", train_interpolation="bilinear")
    )
    augment: Augment = field(default_factory=lambda: Augment(erasing="constant"))
    engine: Engine = field(default_factory=Engine)

    def __post_init__(self) -> None:
        weights = ("itc", "sdm", "id", "cmpm", "tal", "mlm_weight", "identity_weight", "triplet_weight")
        for name in (*weights, "tal_margin"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: 0 or more.")
        if not any((self.itc, self.sdm, self.id, self.cmpm, self.tal)):
            raise ConfigError("--itc, --sdm, --id, --cmpm, --tal: all are 0. Give one of them a weight.")
        if self.identity_targets and not self.itc:
            raise ConfigError("--identity-targets: are those of itc, whose weight is 0. Leave it out, or add --itc 1.")
        for name in ("temperature", "tal_temperature"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: more than 0.")
        if self.margin is not None and not 0 <= self.margin < math.inf:
            raise ConfigError(f"--margin {self.margin}: 0 or more, or None.")
        for name in ("smoothing", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"--{name} {getattr(self, name)}: from 0 to 1.")
        if self.join_identity and self.sampling.sampler != "identity":
            raise ConfigError("--join-identity: compares pictures of an identity in a batch. Add --sampler identity.")
        if self.start.side_camera or self.start.side_view or self.start.without_text:
            raise ConfigError("--side-camera, --side-view, --without-text: text-direct compares plain CLIP features.")


PRESETS: dict[str, dict[str, object]] = {
    "itc": {"itc": 1.0, "sdm": 0.0, "id": 0.0, "identity_targets": False, "mlm": False},
    "irra": {"itc": 0.0, "sdm": 1.0, "id": 1.0, "identity_targets": False, "mlm": True},
    "decoupling-baseline": {"itc": 1.0, "sdm": 0.0, "id": 1.0, "identity_targets": True, "mlm": False},
}
"""Direct fine-tuning as IRRA's authors do it, which the defaults are; IRRA; what prompt decoupling is compared with.

IRRA's code fills erased boxes with 0.48, 0.46 and 0.41 after normalisation, and draws the logarithm of height / width;
the nearest here is 0.5, and height / width itself.
"""


@dataclass(frozen=True, slots=True)
class PairBatch:
    """pictures: as augmented; rows: int64 [B], positions in the pairs; seed: (seed, epoch, step)."""

    pictures: PictureBatch
    rows: Tensor
    seed: tuple[int, int, int]


def train(
    init: str, data: TrainSet, config: Config, run: Run, machine: Machine, cache: Path, progress: Progress
) -> Encoder:
    """The encoder after the last epoch, or the best on validation identities, found by their captions.

    Its embedding is the projected feature that texts are compared with; with join_identity, that of `finetune`.
    """
    engine = config.engine
    feature: Feature = "before-neck" if config.join_identity else "projected"
    encoder = open_start(init, config.start, data, recipe=NAME, feature=feature, engine=engine, with_text=True)
    text, own_scale = encoder.clip.text, encoder.clip.logit_scale
    assert text is not None
    assert own_scale is not None
    pairs = Pairs.of(data, text.config.context_length, noise=config.noise, seed=engine.seed)
    _check(config, data, pairs)
    for note in pairs.notes:
        progress.say(f"note: {note}")
    n_identities = len(data.identities) if config.id else 0
    tower = PairTower(encoder, pairs, n_identities=n_identities, machine=machine, engine=engine)
    learned, towers = nn.ModuleDict({"pairs": tower}), [*tower.whole]
    reader = joined = None
    if config.mlm:
        learned["masked"] = reader = MaskedReader(encoder, pairs, machine=machine, engine=engine)
        towers.append(reader.whole)
    if config.join_identity:
        people = replace(data, records=pairs.records, labels=pairs.labels)
        learned["identity"] = joined = IdentityTower(encoder, people, machine=machine, engine=engine)
        towers.append(joined.pictures.whole)
    text.requires_grad_(True)  # which an IdentityTower freezes
    own_scale.requires_grad_(config.temperature is None)
    learned.train()
    pictures = Pictures(
        pairs.records, training_preprocess(encoder, config.start), config.augment, cache, engine, machine
    )

    identity_of = partial(identity_loss, smoothing=config.smoothing)
    triplet_of = partial(batch_hard_triplet, margin=config.margin)
    align = partial(triplet_alignment, margin=config.tal_margin, temperature=config.tal_temperature)

    def batches(epoch: int, first: int) -> Epoch[PairBatch]:
        plan = config.sampling.plan(pairs, seed=engine.seed, epoch=epoch)
        if config.tal:  # which needs two identities, and a last batch may be a single pair
            plan = [rows for rows in plan if len(set(pairs.labels[rows].tolist())) > 1]
        n_steps, found = pictures.epoch(plan, epoch, first)
        seeds = ((engine.seed, epoch, number) for number in range(first, n_steps))
        return Epoch(n_steps, (PairBatch(each, each.rows, seed) for each, seed in zip(found, seeds, strict=True)))

    def step(batch: PairBatch) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        projected = None
        if reader is not None:
            projected, masked = reader.see(batch.pictures, batch.seed)
            terms["mlm"] = config.mlm_weight * masked
        if joined is not None:
            known = joined.see(batch.pictures)
            projected, own = known.taps.projected, known.identities
            identity = identity_of(known.logits_last, own) + identity_of(known.logits_projected, own)
            terms["identity"] = config.identity_weight * identity
            triplet = torch.stack([triplet_of(feature, own) for feature in known.taps]).sum()
            terms["triplet"] = config.triplet_weight * triplet
        seen = tower.see(batch.pictures, projected)
        images, texts, identities = seen.images, seen.texts, seen.identities
        scale = tower.scale(config.temperature)
        if config.itc:
            shared = identities if config.identity_targets else None
            terms["itc"] = config.itc * image_text_contrastive(images, texts, shared, logit_scale=scale)
        if config.sdm:
            terms["sdm"] = config.sdm * similarity_distribution_matching(images, texts, identities, logit_scale=scale)
        if config.cmpm:
            terms["cmpm"] = config.cmpm * cross_modal_projection_matching(images, texts, identities)
        if config.tal:
            terms["tal"] = config.tal * align(images, texts, identities)
        if config.id:
            terms["id"] = config.id * tower.identity_loss(seen)
        return terms

    stage = Stage(
        name="train",
        epochs=config.descent.epochs,
        batches=batches,
        step=step,
        rate=config.descent.rate_in,
        optimizer=config.descent.optimizer_of(learned.named_parameters()),
        modules={"learned": learned},
        records=pairs.records,
        towers=towers,
        validate=partial(validation_scores, encoder, data.validation, cache),
    )
    fit(stage, run, engine, machine, progress)
    return encoder.eval()


def _check(config: Config, data: TrainSet, pairs: Pairs) -> None:
    """Raises DataError where the data lack what the settings ask for, before hours are spent."""
    n_identities, n_unknown = len(data.identities), sum(record.identity is None for record in data.records)
    if config.id and n_identities < 2:
        raise DataError(
            f"--id: the train pictures have {n_identities} identities; telling them apart needs at least 2. Leave it "
            "out, or name the column: --column identity=…"
        )
    if config.join_identity and n_unknown:
        raise DataError(
            f"--join-identity: {n_unknown:,} of {len(data.records):,} train pictures have no identity. Name them, take "
            "them out, or train without it."
        )
    if config.tal and len(set(pairs.labels.tolist())) < 2:
        raise DataError(
            "--tal: all train pictures are of one identity; aligning triplets needs at least 2. Leave it out."
        )
    config.sampling.check(pairs, seed=config.engine.seed, epochs=config.descent.epochs)
