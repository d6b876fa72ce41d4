"""Prompt decoupling: learn prompts on a frozen CLIP, then fine-tune CLIP in their presence. arXiv 2401.02173.

Both towers see a few learned rows beside what they are given. Stage 1 learns these rows alone, by the contrast of
pictures and captions: they carry CLIP to the domain. Stage 2 leaves them as they are and fine-tunes both towers, by
the same contrast and by telling identities: that is the task. The encoder runs with the prompts.

What is not public of the paper follows its neighbours: rows behind the first token that start small, as in CoOp (arXiv
2109.01134) and MaPLe (arXiv 2210.03117), and a stage 2 that trains as IRRA does (arXiv 2303.12501).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from resight.clip.model import Clip
from resight.clip.prompts import PromptForm, SharedPrompts
from resight.clip.tokenizer import encode
from resight.data.augment import Augment
from resight.data.samplers import random_batches
from resight.encoder import Encoder
from resight.engine import Engine, Machine
from resight.errors import ConfigError, DataError
from resight.losses.contrastive import image_text_contrastive, similarity_distribution_matching
from resight.optim import TextDescent, warmup_then_cosine
from resight.pairs import Pairs, PairTower, SeenPair
from resight.pictures import PictureBatch, Pictures
from resight.progress import Progress
from resight.runs import Run
from resight.shared_prompts import load_prompts, save_prompts
from resight.starting import Start, open_start, training_preprocess
from resight.training import Epoch, Stage, fit
from resight.trainset import TrainSet
from resight.validation import validation_scores

NAME = "prompt-decoupling"
LEARNS_FROM = "captions"


@dataclass(frozen=True, slots=True)
class Config:
    """Prompt decoupling in two stages: prompts for both towers, then both towers."""

    method: Literal["decoupled", "joint", "prompt-only", "prompt-fresh"] = "decoupled"
    """decoupled: both stages. For comparison, joint: prompts and CLIP together, in one stage that is stage 2 otherwise;
    prompt-only: stage 1; prompt-fresh: stage 2 with prompts that stay random."""
    text_length: int = 4
    """Prompts of the text tower; 0: none (CLIP-ReID's code: 4; the paper is reported to find equal lengths best)."""
    image_length: int = 4
    """Prompts of the image tower; 0: none, as a ResNet needs."""
    prompt_depth: int = 1
    """Blocks with prompts of their own, from the first on (reported of the paper: 1, the input; VPT-deep: all)."""
    prompt_position: bool = False
    """Add the first position embeddings of each tower to its prompts (the paper is reported to find it worse)."""
    prompt_start: Literal["normal", "words"] = "normal"
    """normal: from N(0, 0.02²), as CoOp and MaPLe; words: the text side from "a photo of a person"."""
    contrast: Literal["identity", "pairs", "sdm"] = "identity"
    """Which captions a picture is held against as its own: those of its identity, its pair's, or of its identity as
    IRRA's similarity distribution matching."""
    temperature: float | None = 0.02
    """What cosines are divided by (IRRA's code: 0.02); None: CLIP's own, which stage 2 learns."""
    prompt_epochs: int = 20
    """Epochs of stage 1."""
    prompt_batch: int = 128
    """Captions a step of stage 1 (CSKT's code: 128)."""
    prompt_rate: float = 1e-3
    """Highest learning rate of the prompts, by Adam without weight decay; in joint it rises and falls with CLIP's."""
    prompt_floor_rate: float = 1e-6
    """Rate that the cosine of stage 1 falls towards."""
    prompt_warmup_epochs: int = 1
    """Epochs of stage 1 in which the rate rises, from a tenth of it."""
    stage1: Path | None = None
    """The stage1 folder of another run: start with stage 2, with its prompts."""
    batch_size: int = 64
    """Captions a step of stage 2, each with its picture (IRRA's code: 64)."""
    identity_weight: float = 1.0
    """Weight of the identity loss in stage 2, the mean of pictures' and captions' (IRRA's code: 1); 0: none."""
    descent: TextDescent = field(default_factory=TextDescent)
    start: Start = field(
        default_factory=lambda: Start((384, 128), normalisation="init", train_interpolation="bilinear")
    )
    augment: Augment = field(default_factory=lambda: Augment(erasing="constant"))
    engine: Engine = field(default_factory=Engine)

    def __post_init__(self) -> None:
        least = {"text_length": 0, "image_length": 0, "prompt_warmup_epochs": 0, "prompt_batch": 2, "batch_size": 2}
        for name, smallest in (least | {"prompt_depth": 1, "prompt_epochs": 1}).items():
            if getattr(self, name) < smallest:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least {smallest}.")
        if self.prompt_warmup_epochs >= self.prompt_epochs:
            raise ConfigError(f"--prompt-warmup-epochs {self.prompt_warmup_epochs}: fewer than --prompt-epochs.")
        if not self.text_length + self.image_length:
            raise ConfigError("--text-length 0 --image-length 0: no prompts are left. Use resight train text-direct.")
        if self.prompt_start == "words" and not self.text_length:
            raise ConfigError("--prompt-start words: is for the text side, and --text-length is 0.")
        for name in ("prompt_rate", "prompt_floor_rate", "identity_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: 0 or more.")
        if self.method == "joint" and not self.descent.rate:
            raise ConfigError("--rate 0: in --method joint CLIP learns too. Learn prompts alone by prompt-only.")
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ConfigError(f"--temperature {self.temperature}: more than 0, or None.")
        if self.stage1 is not None and self.method != "decoupled":
            raise ConfigError(f"--stage1: its prompts are for --method decoupled; {self.method} has its own.")
        if self.start.side_camera or self.start.side_view or self.start.without_text:
            raise ConfigError(f"--side-camera, --side-view, --without-text: {NAME} compares plain CLIP features.")

    def prompt_rate_in(self, epoch: int) -> float:
        """The rate of stage 1 in an epoch, which counts from 1."""
        floor, warmup = self.prompt_floor_rate, self.prompt_warmup_epochs
        rise = self.prompt_rate - floor
        return floor + warmup_then_cosine(epoch, epochs=self.prompt_epochs, rate=rise, warmup=warmup, factor=0.1)


PRESETS: dict[str, dict[str, object]] = {"decoupled": {"method": "decoupled"}, "joint": {"method": "joint"}}
"""The method, whose settings are the defaults, and the training in one stage that it is compared with."""


def train(
    init: str, data: TrainSet, config: Config, run: Run, machine: Machine, cache: Path, progress: Progress
) -> Encoder:
    """The encoder after the last epoch, or the best on validation identities, found by their captions."""
    engine = config.engine
    encoder = open_start(init, config.start, data, recipe=NAME, feature="projected", engine=engine, with_text=True)
    clip = encoder.clip
    prompts = encoder.prompts = _fresh_prompts(clip, config)
    assert clip.text is not None
    pairs = Pairs.of(data, clip.text.config.context_length)
    for note in pairs.notes:
        progress.say(f"note: {note}")
    # what stage 2 would refuse, before stage 1 takes hours
    machine.processes.share(len(pairs.labels) % config.batch_size or config.batch_size)
    tells = config.identity_weight > 0 and config.method != "prompt-only"
    if tells and len(data.identities) < 2:
        n, advice = len(data.identities), "Add --identity-weight 0, or name the column: --column identity=…"
        raise DataError(f"The train pictures have {n} identities; telling them apart needs 2. {advice}")
    n_identities = len(data.identities) if tells else 0
    tower = PairTower(encoder, pairs, n_identities=n_identities, machine=machine, engine=engine)
    preprocess = training_preprocess(encoder, config.start)
    pictures = Pictures(pairs.records, preprocess, config.augment, cache, engine, machine)
    work = _Work(tower, pictures, config, run, progress, partial(validation_scores, encoder, data.validation, cache))
    if config.method in ("decoupled", "prompt-only"):
        learned = config.stage1 or run.folder / "stage1"
        if config.stage1 is not None or (learned / "prompts.json").is_file():  # the second when the run goes on
            load_prompts(prompts, learned, clip)
            progress.say(f"prompts: of {learned}")
        else:
            _learn_prompts(work, prompts)
    if config.method != "prompt-only":
        _fine_tune(work)
    return encoder.eval()


def _fresh_prompts(clip: Clip, config: Config) -> SharedPrompts:
    """Prompts that have learned nothing. Raises ConfigError when the towers cannot take them."""
    form = PromptForm(config.text_length, config.image_length, config.prompt_depth, config.prompt_position)
    prompts = SharedPrompts(form, clip.config, seed=config.engine.seed + 4)
    if config.prompt_start == "words" and prompts.text is not None and clip.text is not None:
        words = islice(cycle(encode("a photo of a person")), config.text_length)
        with torch.no_grad():
            prompts.text[0] = clip.text.embed(torch.tensor(list(words)))
    return prompts


@dataclass(frozen=True, slots=True)
class _Work:
    """What both stages train with."""

    tower: PairTower
    pictures: Pictures
    config: Config
    run: Run
    progress: Progress
    validate: Callable[[], Mapping[str, float]]

    def batches(self, batch_size: int) -> Callable[[int, int], Epoch[PictureBatch]]:
        """Random pairs, each once an epoch."""

        def epoch(number: int, first: int) -> Epoch[PictureBatch]:
            n, seed = len(self.pictures.records), self.config.engine.seed
            plan = random_batches(n, batch_size=batch_size, seed=seed, epoch=number)
            return self.pictures.epoch(plan, number, first)

        return epoch

    def contrast(self, seen: SeenPair) -> Tensor:
        scale = self.tower.scale(self.config.temperature)
        if self.config.contrast == "sdm":
            return similarity_distribution_matching(seen.images, seen.texts, seen.identities, logit_scale=scale)
        identities = seen.identities if self.config.contrast == "identity" else None
        return image_text_contrastive(seen.images, seen.texts, identities, logit_scale=scale)


def _learn_prompts(work: _Work, prompts: SharedPrompts) -> None:
    """Stage 1: the prompts alone, also left in the run's `stage1` folder. CLIP stays as it is, its batch norms too."""
    tower, config, machine = work.tower.eval(), work.config, work.pictures.machine
    clip = tower.encoder.clip.requires_grad_(False)

    def step(batch: PictureBatch) -> dict[str, Tensor]:
        return {"contrast": work.contrast(tower.see(batch))}

    learned = {"params": [*prompts.parameters()], "rate_factor": 1.0}
    stage = Stage(
        name="prompts",
        epochs=config.prompt_epochs,
        batches=work.batches(config.prompt_batch),
        step=step,
        rate=config.prompt_rate_in,
        optimizer=torch.optim.Adam([learned], lr=config.prompt_rate, fused=True),
        modules={"prompts": prompts},
        records=work.pictures.records,
        towers=tower.whole,
        validate=work.validate,
    )
    fit(stage, work.run, config.engine, machine, work.progress)
    if machine.processes.writes:
        save_prompts(prompts, work.run.folder / "stage1", clip)
    clip.requires_grad_(True)


def _fine_tune(work: _Work) -> None:
    """Stage 2: both towers and the classifier, and the prompts where they are not frozen."""
    tower, config, descent = work.tower.train(), work.config, work.config.descent
    scale, prompts = tower.encoder.clip.logit_scale, tower.encoder.prompts
    assert scale is not None
    assert prompts is not None
    scale.requires_grad_(config.temperature is None)
    prompts.requires_grad_(False)
    optimizer = descent.optimizer_of(tower.named_parameters())
    if config.method == "joint":  # at CLIP's own rate and epsilon they would hardly move
        prompts.requires_grad_(True)
        own = {"rate_factor": config.prompt_rate / descent.rate, "weight_decay": 0.0, "eps": 1e-8}
        optimizer.add_param_group({"params": [*prompts.parameters()], **own})

    def step(batch: PictureBatch) -> dict[str, Tensor]:
        seen = tower.see(batch)
        terms = {"contrast": work.contrast(seen)}
        if tower.n_identities:
            terms["identity"] = config.identity_weight * tower.identity_loss(seen)
        return terms

    stage = Stage(
        name="train",
        epochs=descent.epochs,
        batches=work.batches(config.batch_size),
        step=step,
        rate=descent.rate_in,
        optimizer=optimizer,
        modules={"tower": tower},
        records=work.pictures.records,
        towers=tower.whole,
        validate=work.validate,
    )
    fit(stage, work.run, config.engine, work.pictures.machine, work.progress)
