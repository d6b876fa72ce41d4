"""The encoder that a training starts from: pre-trained towers with the recipe's necks and preprocessing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch

from resight.clip.architecture import image_as_wanted, positions_of
from resight.clip.image import ModifiedResNet, ResNetConfig, VisionTransformer, ViTConfig, resize_positions
from resight.clip.model import Clip, ClipConfig
from resight.clip.pushed import find_encoder
from resight.data.transforms import Preprocess
from resight.embedder import Card, Side
from resight.encoder import Encoder, Feature
from resight.engine import Engine
from resight.errors import ConfigError
from resight.trainset import TrainSet

Interpolation = Literal["bilinear", "bicubic"]

_NORMALISATION = {
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@dataclass(frozen=True, slots=True)
class Start:
    """How pictures reach the image tower, and what is added to it before training."""

    size: tuple[int, int] | None = (256, 128)
    """Height and width of the pictures in pixels; persons 256 128, vehicles 256 256 (CLIP-ReID §4.1).
    None: the weights' own."""
    stride: int | None = None
    """Pixels between patches; 12 with patches of 16 makes them overlap (CLIP-ReID §4.3). In a ResNet 16 keeps the
    resolution of its last stage (CLIP-ReID's code), 32 halves it. None: the weights' own."""
    normalisation: Literal["half", "imagenet", "init"] = "half"
    """Mean and standard deviation of the pictures: 0.5 and 0.5 (CLIP-ReID's ViT), ImageNet's (its ResNet), or what the
    starting weights were trained with."""
    train_interpolation: Interpolation = "bicubic"
    """Resizing of training pictures (CLIP-ReID's code: bicubic)."""
    test_interpolation: Interpolation = "bilinear"
    """Resizing of all other pictures, also stored in the encoder (CLIP-ReID's code: bilinear)."""
    side_camera: bool = False
    """Learn a vector for each camera and add it to the class token (SIE); ViT only."""
    side_view: bool = False
    """Learn a vector for each view, or each camera and view, likewise; ViT only."""
    side_coefficient: float = 1.0
    """Factor on these vectors (CLIP-ReID's README: 1.0)."""
    without_text: bool = False
    """Leave the text tower out of the encoder, which is then smaller and answers pictures alone."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.side_coefficient):
            raise ConfigError(f"--side-coefficient {self.side_coefficient}: a finite number.")


def open_start(
    init: str, start: Start, train: TrainSet, *, recipe: str, feature: Feature, engine: Engine, with_text: bool
) -> Encoder:
    """An encoder on the processor, in evaluation mode, with fresh necks and camera table drawn from the engine's seed.

    with_text: the method itself needs the text tower. Of an encoder folder the towers alone are taken. Raises
    ConfigError when the weights have no text tower then, or when side information or recomputation is asked for that
    the tower or the data lack; CheckpointError when the weights cannot be had.
    """
    is_folder = find_encoder(init) is not None
    opened = Encoder.load(
        init,
        size=None if is_folder else start.size,
        stride=None if is_folder else start.stride,
        with_text=with_text or not start.without_text,
        device="cpu",
        seed=engine.seed,
    )
    if with_text and not opened.can_read:
        raise ConfigError(f"--init {init}: has no text tower, which this recipe needs. Start from a CLIP that has one.")
    clip = _at_size(init, opened.clip, start) if is_folder else opened.clip
    side = _side(start, train, clip.config.image)
    former = opened.card
    before = former.data_licences or (("unknown",) if former.data else ())
    notes = (f"Trained by resight train {recipe}.", *(f"Of its first weights: {note}" for note in former.notes))
    if former.data:
        notes += (f"Its first weights were trained on data {former.data}.",)
    if is_folder and (opened.feature != "projected" or opened.side is not None):
        notes += ("The necks and side vectors of the encoder that it started from were replaced by fresh ones.",)
    if opened.prompts is not None:
        notes += ("The prompts of the encoder that it started from were left out.",)
    card = Card(former.source, former.licence, train.fingerprint, notes, (*before, train.licence))
    encoder = Encoder(clip, _preprocess(opened.preprocess, clip, start), card, feature=feature, side=side)
    if side is not None:
        generator = torch.Generator().manual_seed(engine.seed)
        with torch.no_grad():  # CLIP-ReID's code cuts at ±2, a hundred deviations away
            encoder.side_table.normal_(0, 0.02, generator=generator)
    _recompute(clip, engine.recompute)
    return encoder.eval()


def training_preprocess(encoder: Encoder, start: Start) -> Preprocess:
    """The encoder's preprocessing with the interpolation of training pictures."""
    return replace(encoder.preprocess, interpolation=start.train_interpolation)


def _at_size(init: str, clip: Clip, start: Start) -> Clip:
    """A trained encoder's towers for pictures of another size or stride: its position embeddings are resized."""
    stored = clip.config.image
    wanted = image_as_wanted(init, stored, image_size=start.size, stride=start.stride)
    tensors = clip.state_dict()
    if wanted.grid != stored.grid:
        table = positions_of(stored).replace("visual.", "image.")
        tensors[table] = resize_positions(tensors[table], old_grid=stored.grid, new_grid=wanted.grid)
    with torch.device("meta"):
        resized = Clip(ClipConfig(wanted, clip.config.text))
    resized.load_state_dict(tensors, assign=True)
    return resized


def _preprocess(opened: Preprocess, clip: Clip, start: Start) -> Preprocess:
    height, width = clip.config.image.image_size
    mean, std = _NORMALISATION.get(start.normalisation, (opened.mean, opened.std))
    return replace(opened, height=height, width=width, mean=mean, std=std, interpolation=start.test_interpolation)


def _recompute(clip: Clip, wanted: bool) -> None:
    if wanted and not isinstance(clip.image, VisionTransformer):
        raise ConfigError("--recompute: is for vision transformers; use --micro-batch with a ResNet.")
    for tower in (clip.image, clip.text):
        if tower is not None and not isinstance(tower, ModifiedResNet):
            tower.transformer.recompute = wanted


def _side(start: Start, train: TrainSet, image: ViTConfig | ResNetConfig) -> Side | None:
    cameras = train.cameras if start.side_camera else ()
    views = train.views if start.side_view else ()
    if not start.side_camera and not start.side_view:
        return None
    if isinstance(image, ResNetConfig):
        raise ConfigError(
            "--side-camera, --side-view: vectors are added to a class token, and a ResNet has none. Leave them out."
        )
    for flag, asked, names in (("--side-camera", start.side_camera, cameras), ("--side-view", start.side_view, views)):
        if asked and not names:
            raise ConfigError(
                f"{flag}: the train pictures name no {flag.removeprefix('--side-')}. Leave it out, or name the column."
            )
    return Side(start.side_coefficient, cameras, views)
