"""The encoder: CLIP's towers, necks, preprocessing and a card, in one folder on disk; what is trained and served."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from resight.clip import weights
from resight.clip.image import ResNetConfig, Taps, ViTConfig
from resight.clip.model import Clip, ClipConfig
from resight.clip.prompts import PromptForm, SharedPrompts
from resight.clip.pushed import find_encoder
from resight.clip.text import TextConfig, TextTransformer, cut_to_longest
from resight.clip.tokenizer import tokenize
from resight.data.images import as_picture
from resight.data.transforms import Preprocess
from resight.embedder import Card, Picture, Side, card_of, embed_pictures, of_texts, side_of, stack
from resight.environment import Precision, autocast, choose_device
from resight.errors import CheckpointError, ConfigError
from resight.types import Embeddings

FORMAT = 1
FILES = {"model.safetensors", "encoder.json", "calibration.json"}  # the last one stands there once it was learned

Feature = Literal["projected", "before-neck", "after-neck"]
"""Which vector is the embedding: CLIP's projected one; the last class token beside it (CLIP-ReID, arXiv 2211.13977: 768
and 512 numbers for ViT-B/16); or the same two after their batch norms (PCL-CLIP, arXiv 2310.17218)."""


class Encoder(nn.Module):
    """Pictures and texts → L2-normalised vectors.

    `embed_images` and `embed_texts` take what a user has; `encode` takes one prepared batch. prompts: rows that both
    towers see beside what they are given (arXiv 2401.02173), or None.
    """

    prompts: SharedPrompts | None

    def __init__(
        self,
        clip: Clip,
        preprocess: Preprocess,
        card: Card,
        *,
        feature: Feature = "projected",
        side: Side | None = None,
        prompts: SharedPrompts | None = None,
    ) -> None:
        super().__init__()
        if feature not in get_args(Feature):
            raise ConfigError(f"feature {feature!r}: there are {', '.join(get_args(Feature))}.")
        self.clip = clip
        self.preprocess = preprocess
        self.card = card
        self.feature: Feature = feature
        self.side = side
        self.prompts = prompts
        self._fingerprinted: tuple[tuple[object, ...], str] | None = None
        _, last, projected = clip.config.image.tap_widths
        if feature != "projected":
            self.neck_last = _neck(last)
            self.neck_projected = _neck(projected)
        if side is not None:
            if not isinstance(clip.config.image, ViTConfig):
                raise ConfigError("Side information is added to a vision transformer's class token; a ResNet has none.")
            self.side_table = nn.Parameter(torch.zeros(side.n_rows, clip.config.image.width))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dimension(self) -> int:
        """D of the embedding."""
        return dimension_of(self.clip.config.image, self.feature)

    @property
    def aligned_dimension(self) -> int:
        """A of aligned vectors."""
        return self.clip.config.image.output

    @property
    def context_length(self) -> int:
        """The most tokens of a text that the encoder reads; 0 without a text tower."""
        return 0 if self.clip.config.text is None else self.clip.config.text.context_length

    @property
    def can_read(self) -> bool:
        """Whether the encoder has a text tower."""
        return self.clip.text is not None

    def forward(self, images: Tensor, side_weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Embedding [B, D] and projected feature [B, O], not normalised.

        images: float [B, 3, H, W], normalised as `preprocess` says. side_weights: [B, rows], from `Side.weights`.
        """
        taps = self.taps(images, side_weights)
        if self.feature == "projected":
            return taps.projected, taps.projected
        if self.feature == "before-neck":
            return torch.cat([taps.last, taps.projected], dim=1), taps.projected
        return torch.cat([self.neck_last(taps.last), self.neck_projected(taps.projected)], dim=1), taps.projected

    def taps(self, images: Tensor, side_weights: Tensor | None = None) -> Taps:
        """The tower's three features. images as in `forward`; side_weights [B, rows] as `Side.weights` gives them."""
        side = None
        if self.side is not None and side_weights is not None:
            side = self.side.coefficient * (side_weights @ self.side_table)
        prompts = None if self.prompts is None else self.prompts.for_image(self.clip.image)
        taps: Taps = self.clip.image(images, side=side, prompts=prompts)
        return taps

    def read(self, token_ids: Tensor) -> Tensor:
        """Text features [B, O], comparable with projected ones of pictures, not normalised.

        token_ids: int64 [B, L], as `tokenize` gives them, also when `cut_to_longest` has shortened them. Raises
        ConfigError when the encoder has no text tower.
        """
        tower = self._text_tower()
        prompts = None if self.prompts is None else self.prompts.for_text(tower)
        return tower.by_length(token_ids, prompts=prompts)

    def _text_tower(self) -> TextTransformer:
        if self.clip.text is None:
            raise ConfigError(
                f"This encoder ({self.card.source}) has no text tower, so it cannot be asked in words. "
                "Use one that kept its text tower (a CLIP, or one trained without --without-text)."
            )
        return self.clip.text

    @torch.inference_mode()
    def encode(
        self,
        images: Tensor | NDArray[np.uint8],
        *,
        cameras: Sequence[str | None] | None = None,
        views: Sequence[str | None] | None = None,
        precision: Precision = "float32",
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Embedding [B, D] and aligned vector [B, O] (None without a text tower), both L2-normalised float32.

        images: uint8 [B, 3, H, W] at the size of `preprocess`, on any device. Raises ValueError in training mode, in
        which batch norms would follow the pictures that are embedded.
        """
        if self.training:
            raise ValueError("the encoder is in training mode; call eval() before it embeds")
        images = torch.as_tensor(images)
        unknown: list[str | None] = [None] * len(images)
        side = None if self.side is None else self.side.weights(cameras or unknown, views or unknown).to(self.device)
        with autocast(self.device, precision):
            embedding, projected = self(self.preprocess.normalise(images.to(self.device)), side)
        embedding = functional.normalize(embedding.float())
        aligned = functional.normalize(projected.float()).cpu().numpy() if self.can_read else None
        return embedding.cpu().numpy(), aligned

    def embed_images(
        self,
        images: Sequence[Picture] | Tensor,
        *,
        cameras: Sequence[str | None] | None = None,
        views: Sequence[str | None] | None = None,
        batch_size: int = 64,
        precision: Precision = "float32",
    ) -> Embeddings:
        """One row a picture. Each is a path, a Pillow image, a uint8 array [H, W, 3], or a uint8 tensor [3, H, W].

        Raises DataError for a file that is no picture, ValueError for an array or tensor of another form, for one path
        in place of a list, and in training mode.
        """
        return embed_pictures(self, images, cameras, views, batch_size, precision)

    @torch.inference_mode()
    def embed_texts(
        self, texts: Sequence[str], *, batch_size: int = 256, precision: Precision = "float32"
    ) -> Embeddings:
        """One row a text, comparable with the `aligned` vectors of pictures.

        Raises ConfigError when the encoder has no text tower, ValueError when one string is passed for a list.
        """
        if isinstance(texts, str):
            raise ValueError("embed_texts takes a list of texts: write embed_texts([text]).")
        config = self._text_tower().config
        vectors: list[NDArray[np.float32]] = []
        for start in range(0, len(texts), batch_size):
            tokens = tokenize(texts[start : start + batch_size], context_length=config.context_length)
            with autocast(self.device, precision):
                features = self.read(cut_to_longest(tokens).to(self.device))
            vectors.append(functional.normalize(features.float()).cpu().numpy())
        return of_texts(stack(vectors, config.output), texts, self.fingerprint())

    def open_picture(self, image: Picture) -> Image.Image:
        """The RGB picture that `embed_images` makes of what it is given. Raises as it does."""
        return as_picture(image, background=self.preprocess.background)

    def fingerprint(self) -> str:
        """16 hexadecimal digits that name these weights and this preprocessing; galleries and caches are tied to it."""
        description = json.dumps(self.description(), sort_keys=True)
        # a tensor's version counts every change in place, so the hundreds of megabytes are read when something changed
        seen = description, *((tensor.data_ptr(), _version(tensor)) for tensor in self.state_dict().values())
        if self._fingerprinted is None or self._fingerprinted[0] != seen:
            self._fingerprinted = seen, fingerprint_of(self, description)
        return self._fingerprinted[1]

    def description(self) -> dict[str, Any]:
        """What must be known, besides the tensors, to compute the same vectors."""
        image, text = self.clip.config.image, self.clip.config.text
        # said of prompts that there are alone, so that encoders without them keep the fingerprint they had
        prompts = {} if self.prompts is None else {"prompts": dataclasses.asdict(self.prompts.form)}
        about: dict[str, Any] = {
            "format": FORMAT,
            "image_tower": {"kind": "vit" if isinstance(image, ViTConfig) else "resnet", **dataclasses.asdict(image)},
            "text_tower": None if text is None else dataclasses.asdict(text),
            "feature": self.feature,
            "side": None if self.side is None else dataclasses.asdict(self.side),
            "preprocess": dataclasses.asdict(self.preprocess),
        }
        return about | prompts

    def save(self, folder: str | Path) -> None:
        """Writes `model.safetensors` and `encoder.json`, in place of an encoder that the folder may hold.

        A calibration goes with the encoder that it was learned for. The new one is written whole beside the folder
        before the old one moves away, and the old one comes back when that fails. Raises CheckpointError when the
        folder holds anything but an encoder, or cannot be written.
        """
        folder = Path(folder).resolve()
        if folder.exists() and not folder.is_dir():
            raise CheckpointError(f"{folder}: is a file. Name a folder for the encoder.")
        if folder.is_dir() and {path.name for path in folder.iterdir()} - FILES:
            raise CheckpointError(f"{folder}: holds other files. Name an empty or new folder for the encoder.")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as staging:
                self._write(Path(staging) / "new")
                swap(Path(staging) / "new", folder, Path(staging) / "old")
        except (OSError, safetensors.SafetensorError) as error:
            raise CheckpointError(
                f"{folder}: the encoder could not be written ({error}). Free the disk or name another."
            ) from error

    def _write(self, folder: Path) -> None:
        folder.mkdir()
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        safetensors.torch.save_file(state, folder / "model.safetensors")
        about = self.description() | {
            "card": dataclasses.asdict(self.card),
            "fingerprint": self.fingerprint(),
            "sha256": sha256(folder / "model.safetensors"),
        }
        (folder / "encoder.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def load(
        source: str | Path,
        *,
        size: tuple[int, int] | None = None,
        stride: int | None = None,
        heads: int | None = None,
        text_heads: int | None = None,
        activation: Literal["quick_gelu", "gelu"] | None = None,
        with_text: bool = True,
        device: str = "auto",
        seed: int = 0,
    ) -> Encoder:
        """An encoder folder, here or on the hub, or what `clip.weights.load` knows (an alias, a file, random:…).

        size (height, width in pixels), stride, heads of either tower and activation are for a CLIP; an encoder
        folder has its own and refuses them with ConfigError. Comes in evaluation mode. Raises CheckpointError
        when the weights do not fit.
        """
        if not 0 <= seed < 2**63:
            raise ConfigError(f"seed {seed}: from 0 to 2^63 - 1.")
        folder = find_encoder(source)
        if folder is not None:
            if any(setting is not None for setting in (size, stride, heads, text_heads, activation)):
                raise ConfigError(
                    f"{source}: an encoder folder fixes size, stride, heads and activation; leave them out."
                )
            encoder = _open_folder(folder, with_text=with_text)
        else:
            encoder = _from_clip(
                weights.load(
                    str(source),
                    image_size=size,
                    stride=stride,
                    heads=heads,
                    text_heads=text_heads,
                    activation=activation,
                    with_text=with_text,
                    seed=seed,
                )
            )
        return encoder.eval().to(choose_device(device))


def fingerprint_of(module: nn.Module, about: str = "") -> str:
    """16 hexadecimal digits that name a module's parameters and buffers, and what is said about it."""
    digest = hashlib.blake2b(about.encode(), digest_size=8)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _neck(width: int) -> nn.BatchNorm1d:
    """Batch norm whose bias stays 0 and is never trained (CLIP-ReID §1.4)."""
    neck = nn.BatchNorm1d(width)
    neck.bias.requires_grad_(False)
    return neck


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def swap(new: Path, folder: Path, old: Path) -> None:
    """Moves `new` to `folder`, whose former content goes to `old`, or comes back when the second move fails."""
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_folder(folder: Path, *, with_text: bool) -> Encoder:
    """The encoder saved in `folder`.

    Raises CheckpointError when a file is damaged, of another version, or does not fit.
    """
    remedy = "Copy the folder again from where it was made."
    try:
        about = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise CheckpointError(
                f"{folder}: is of format {about['format']}, this version reads {FORMAT}. Upgrade resight."
            )
        if "exported" in about:
            raise CheckpointError(
                f"{folder}: was exported for {about['exported']['runtime']} and holds no weights to train or to export "
                "again. Name the encoder folder it was made from; `resight.open_embedder` opens it to embed."
            )
        if sha256(folder / "model.safetensors") != about["sha256"]:
            raise CheckpointError(
                f"{folder / 'model.safetensors'}: is not the file encoder.json was written with. {remedy}"
            )
        image = image_tower_of(about)
        text = TextConfig(**about["text_tower"]) if with_text and about["text_tower"] is not None else None
        side, card = side_of(about), card_of(about)
        preprocess = Preprocess.from_dict(about["preprocess"])
        config = ClipConfig(image, text)
        prompts = _prompts(about.get("prompts"), config, with_text=with_text)
        with torch.device("meta"):  # shapes alone: nothing is drawn, and no memory is taken twice
            encoder = Encoder(Clip(config), preprocess, card, feature=about["feature"], side=side, prompts=prompts)
        state = safetensors.torch.load_file(folder / "model.safetensors")
        if not with_text:
            of_texts = ("clip.text.", "clip.logit_scale", "prompts.text")
            state = {name: tensor for name, tensor in state.items() if not name.startswith(of_texts)}
        encoder.load_state_dict(state, assign=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read ({error}). {remedy}") from error
    except (KeyError, TypeError, ValueError, RuntimeError, ConfigError, safetensors.SafetensorError) as error:
        found = " ".join(str(error).split())
        raise CheckpointError(
            f"{folder / 'encoder.json'}: is not a whole encoder description ({found}). {remedy}"
        ) from error
    return encoder


def image_tower_of(about: dict[str, Any]) -> ViTConfig | ResNetConfig:
    """The image tower that an encoder.json describes. Raises KeyError, TypeError or ValueError for another form."""
    tower = dict(about["image_tower"])
    kind = {"vit": ViTConfig, "resnet": ResNetConfig}[tower.pop("kind")]
    config: ViTConfig | ResNetConfig = kind(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in tower.items()}
    )
    return config


def dimension_of(image: ViTConfig | ResNetConfig, feature: Feature) -> int:
    """D of the embedding."""
    _, last, projected = image.tap_widths
    return projected if feature == "projected" else last + projected


def _prompts(about: dict[str, Any] | None, config: ClipConfig, *, with_text: bool) -> SharedPrompts | None:
    """Prompts of the described form; None when none are described, or all are left behind with the text tower."""
    form = None if about is None else PromptForm(**about)
    if form is not None and not with_text:
        form = dataclasses.replace(form, text_length=0)
    if form is None or not (form.text_length or form.image_length):
        return None
    return SharedPrompts(form, config, seed=0)


def _from_clip(loaded: weights.Loaded) -> Encoder:
    """A CLIP as it is, or a released CLIP-ReID model with its necks and camera vectors."""
    info, extras = loaded.info, loaded.extras
    height, width = loaded.clip.config.image.image_size
    preprocess = Preprocess(height, width, info.mean, info.std, info.interpolation)
    card = Card(source=info.source, licence=info.licence, notes=info.notes)
    if info.format != "clip-reid":
        return Encoder(loaded.clip, preprocess, card)
    if "cv_embed" in extras and isinstance(loaded.clip.config.image, ResNetConfig):
        extras = {name: tensor for name, tensor in extras.items() if name != "cv_embed"}
        card = dataclasses.replace(
            card, notes=(*card.notes, "Its table of camera vectors was left out: a ResNet ignores it.")
        )
    encoder = Encoder(loaded.clip, preprocess, card, feature="before-neck", side=_released_side(extras))
    renamed = {"bottleneck.": "neck_last.", "bottleneck_proj.": "neck_projected.", "cv_embed": "side_table"}
    state = {name: tensor for name, tensor in encoder.state_dict().items() if name.startswith("clip.")}
    for name, tensor in extras.items():
        start = next((theirs for theirs in renamed if name.startswith(theirs)), None)
        if start is not None:
            state[name.replace(start, renamed[start], 1)] = tensor
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        found = " ".join(str(error).split())
        raise CheckpointError(
            f"{info.source}: a CLIP-ReID model whose necks or camera vectors are missing or do not fit ({found}). "
            "Fetch the released file again."
        ) from error
    return encoder


def _released_side(extras: dict[str, Tensor]) -> Side | None:
    """Cameras and views of a released table, which stores neither: cameras count from 1, VeRi's 160 rows are 20 × 8."""
    if "cv_embed" not in extras:
        return None
    rows = len(extras["cv_embed"])
    n_views = 8 if rows == 160 else 1
    cameras = tuple(str(camera + 1) for camera in range(rows // n_views))
    return Side(1.0, cameras, tuple(str(view) for view in range(n_views)) if n_views > 1 else ())
