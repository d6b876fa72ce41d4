"""CLIP-ReID: learn a few words for each identity, then fine-tune the image tower towards them. arXiv 2211.13977.

Stage 1 (§3.2) leaves CLIP as it is and learns, for each identity, the vectors of the words X in "A photo of a X X X X
person.", from the features of the pictures, computed once. Stage 2 (§3.3) computes each identity's text feature once,
and fine-tunes the image tower by identity and triplet loss, as the baseline does, and by telling which text is whose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from resight.data.augment import Augment
from resight.data.samplers import identity_batches, random_batches
from resight.encoder import Encoder
from resight.engine import Engine, Machine
from resight.errors import ConfigError
from resight.learned_words import LearnedWords
from resight.losses.contrastive import prompt_contrastive
from resight.losses.identity import identity_loss
from resight.losses.triplet import batch_hard_triplet
from resight.optim import Descent, parameter_groups, warmup_cosine
from resight.pictures import PictureBatch, Pictures
from resight.progress import Progress
from resight.recipes.published import PERSON, RESNET, VEHICLE, VIT
from resight.runs import Run
from resight.starting import Start, open_start, training_preprocess
from resight.towers import IdentityTower, features_of
from resight.training import Epoch, Stage, fit
from resight.trainset import TrainSet
from resight.validation import validation_scores

NAME = "clip-reid"
LEARNS_FROM = "identities"


@dataclass(frozen=True, slots=True)
class Config:
    """CLIP-ReID in two stages: words for each identity, then the image tower."""

    noun: str = "person"
    """What the pictures show, in "A photo of a X X X X NOUN."; vehicle for cars, or any other word."""
    n_words: int = 4
    """Learned words of each identity (CLIP-ReID §4.2: 4)."""
    prompt_epochs: int = 120
    """Epochs of stage 1 (CLIP-ReID's code: 120 for persons with a ViT, else 60)."""
    prompt_batch: int = 64
    """Pictures a step of stage 1 (CLIP-ReID's code: 64; VehicleID 256)."""
    prompt_rate: float = 3.5e-4
    """Highest learning rate of stage 1, of Adam (CLIP-ReID's code: 3.5e-4)."""
    prompt_start_rate: float = 1e-5
    """Rate that the 5 warm-up epochs of stage 1 rise from (CLIP-ReID's code: 1e-5)."""
    prompt_floor_rate: float = 1e-6
    """Rate at the end of stage 1 (CLIP-ReID's code: 1e-6)."""
    prompt_weight_decay: float = 1e-4
    """Weight decay of stage 1, coupled (CLIP-ReID's code: 1e-4)."""
    stage1: Path | None = None
    """The stage1 folder of another run: start with stage 2, from its words."""
    identity_weight: float = 0.25
    """Weight of the identity loss in stage 2, a sum over both classifiers (CLIP-ReID's code: 0.25 ViT, 1.0 ResNet)."""
    triplet_weight: float = 1.0
    """Weight of the triplet loss, a sum over the three features (CLIP-ReID's code: 1.0)."""
    prompt_weight: float = 1.0
    """Weight of the loss that tells pictures which identity's text is theirs (CLIP-ReID's code: 1.0)."""
    margin: float | None = 0.3
    """Margin of the triplet loss in Euclidean distance; None: the soft margin (CLIP-ReID's code: 0.3)."""
    smoothing: float = 0.1
    """Share of an identity target spread over all identities (CLIP-ReID's code: 0.1)."""
    n_identities: int = 16
    """P, identities in a batch of stage 2 (CLIP-ReID §4.2: 16)."""
    n_images: int = 4
    """K, pictures of each identity in a batch of stage 2 (CLIP-ReID §4.2: 4)."""
    descent: Descent = field(default_factory=Descent)
    start: Start = field(default_factory=Start)
    augment: Augment = field(default_factory=Augment)
    engine: Engine = field(default_factory=Engine)

    def __post_init__(self) -> None:
        weights = ("identity_weight", "triplet_weight", "prompt_weight", "prompt_weight_decay")
        for name in (*weights, "prompt_rate", "prompt_start_rate", "prompt_floor_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: 0 or more.")
        if self.margin is not None and not 0 <= self.margin < math.inf:
            raise ConfigError(f"--margin {self.margin}: 0 or more, or None.")
        if not 0 <= self.smoothing <= 1:
            raise ConfigError(f"--smoothing {self.smoothing}: from 0 to 1.")
        for name in ("n_identities", "n_images", "prompt_batch"):
            if getattr(self, name) < 2:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 2.")
        for name in ("prompt_epochs", "n_words"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 1.")
        if not self.noun.strip():
            raise ConfigError("--noun: is empty. Say what the pictures show, such as person, vehicle or cow.")


_PERSON = PERSON | {"noun": "person", "prompt_batch": 64}
_VEHICLE = VEHICLE | {"noun": "vehicle", "prompt_epochs": 60, "prompt_batch": 64}
PRESETS: dict[str, dict[str, object]] = {
    "person": VIT | _PERSON | {"identity_weight": 0.25, "prompt_epochs": 120},
    "veri": VIT | _VEHICLE | {"identity_weight": 0.25},
    "vehicleid": VIT | _VEHICLE | {"identity_weight": 0.25, "rate": 5e-5, "prompt_batch": 256},
    "person-resnet": RESNET | _PERSON | {"identity_weight": 1.0, "prompt_epochs": 60},
    "veri-resnet": RESNET | _VEHICLE | {"identity_weight": 1.0},
    "vehicleid-resnet": RESNET | _VEHICLE | {"identity_weight": 1.0, "smoothing": 0.0, "prompt_batch": 256},
}
"""The settings of CLIP-ReID's code: persons or vehicles, ViT-B/16 or ResNet-50."""


def train(
    init: str, data: TrainSet, config: Config, run: Run, machine: Machine, cache: Path, progress: Progress
) -> Encoder:
    """The encoder after the last epoch of stage 2, or the best on validation identities."""
    engine = config.engine
    # what stage 2 would refuse, before stage 1 takes hours
    identity_batches(data.labels, n_identities=config.n_identities, n_images=config.n_images, seed=0, epoch=0)
    encoder = open_start(init, config.start, data, recipe=NAME, feature="before-neck", engine=engine, with_text=True)
    learned = config.stage1 or run.folder / "stage1"
    if config.stage1 is not None or (learned / "prompts.json").is_file():  # the second when the run goes on
        words = LearnedWords.load(learned, encoder.clip, data.identities)
        progress.say(f"words: of {learned}, for {words.template!r}")
    else:
        words = _learn_words(encoder, data, config, run, machine, cache, progress)
    texts = words.features(encoder.clip, machine)
    if config.start.without_text:
        encoder.clip.drop_text()
    _fine_tune(encoder, texts, data, config, run, machine, cache, progress)
    return encoder.eval()


def _learn_words(
    encoder: Encoder, data: TrainSet, config: Config, run: Run, machine: Machine, cache: Path, progress: Progress
) -> LearnedWords:
    """Stage 1: the words of each identity, also left in the run's `stage1` folder."""
    engine, clip = config.engine, encoder.clip.requires_grad_(False).to(machine.device)
    words = LearnedWords.fresh(clip, data.identities, noun=config.noun, n_words=config.n_words, seed=engine.seed + 3)
    words.prompts.to(machine.device)
    labels = torch.from_numpy(data.labels).to(machine.device)
    pictures = features_of(  # without camera vectors; CLIP-ReID's code keeps them as float16
        lambda images, rows: clip.image(images).projected,
        encoder.eval(),
        data.records,
        machine=machine,
        engine=engine,
        cache=cache,
    )

    def step(batch: _Rows) -> dict[str, Tensor]:
        distinct, places = labels[batch.rows.to(labels.device)].unique(return_inverse=True)
        texts = words.texts_of(distinct, clip, machine)
        image_to_text, text_to_image = prompt_contrastive(pictures[batch.rows.to(pictures.device)], texts, places)
        return {"image to text": image_to_text, "text to image": text_to_image}

    def batches(epoch: int, first: int) -> Epoch[_Rows]:
        plan = random_batches(len(labels), batch_size=config.prompt_batch, seed=engine.seed, epoch=epoch)
        return Epoch(len(plan), (_Rows(torch.from_numpy(rows)) for rows in plan[first:]))

    groups = parameter_groups(words.prompts.named_parameters(), weight_decay=config.prompt_weight_decay)
    stage = Stage(
        name="words",
        epochs=config.prompt_epochs,
        batches=batches,
        step=step,
        rate=lambda epoch: warmup_cosine(
            epoch,
            epochs=config.prompt_epochs,
            rate=config.prompt_rate,
            start=config.prompt_start_rate,
            floor=config.prompt_floor_rate,
            warmup=5,
        ),
        optimizer=torch.optim.Adam(groups, lr=config.prompt_rate, fused=True),
        modules={"prompts": words.prompts},
        records=data.records,
    )
    fit(stage, run, engine, machine, progress)
    if machine.processes.writes:
        words.save(run.folder / "stage1", clip)
    clip.image.requires_grad_(True)
    return words


def _fine_tune(
    encoder: Encoder,
    texts: Tensor,
    data: TrainSet,
    config: Config,
    run: Run,
    machine: Machine,
    cache: Path,
    progress: Progress,
) -> None:
    """Stage 2: the image tower, towards the texts [N, O] of the identities."""
    engine = config.engine
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
        prompt = identity_of(seen.taps.projected @ texts.T, seen.identities)
        return {
            "identity": config.identity_weight * identity,
            "triplet": config.triplet_weight * triplet,
            "prompt": config.prompt_weight * prompt,
        }

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


@dataclass(frozen=True, slots=True)
class _Rows:
    rows: Tensor
