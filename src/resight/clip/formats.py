"""Checkpoint files → tensors in OpenAI's names, whoever wrote them."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from resight.errors import CheckpointError

Format = Literal["torchscript", "openai", "open_clip", "transformers", "clip-reid", "random"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """tensors: a CLIP's, in OpenAI's names. extras: what a CLIP-ReID checkpoint holds beside its image tower.
    sha256: of the file."""

    format: Format
    tensors: dict[str, Tensor]
    sha256: str
    extras: dict[str, Tensor] = field(default_factory=dict)


# sha256 of the archives that OpenAI published, as their own download addresses state it. An archive is a program that
# runs while it is loaded and may write any file, so no other is.
OPENAI_ARCHIVES = {
    "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762": "RN50.pt",
    "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599": "RN101.pt",
    "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd": "RN50x4.pt",
    "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa": "RN50x16.pt",
    "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c": "RN50x64.pt",
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af": "ViT-B-32.pt",
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f": "ViT-B-16.pt",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "ViT-L-14.pt",
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02": "ViT-L-14-336px.pt",
}

# What older writers put beside the weights: three numbers of OpenAI's archives, and tables that follow from the sizes.
_NOT_WEIGHTS = re.compile(r"input_resolution|context_length|vocab_size|(text\.)?attn_mask|.+\.position_ids")

# What an image encoder can use of a CLIP-ReID checkpoint; its text tower lacks the token table and is dropped.
_NECKS = ("bottleneck.", "bottleneck_proj.", "classifier.", "classifier_proj.", "cv_embed", "prompt_learner.")

# transformers' names → OpenAI's, replaced in this order; its projections are stored the other way round
_TRANSFORMERS = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.": "visual.conv1.",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.": "visual.ln_pre.",
    "vision_model.post_layernorm.": "visual.ln_post.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
    "visual_projection.weight": "visual.proj",
    "text_model.embeddings.token_embedding.": "token_embedding.",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.": "ln_final.",
    "text_model.encoder.layers.": "transformer.resblocks.",
    "text_projection.weight": "text_projection",
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
    ".self_attn.out_proj.": ".attn.out_proj.",
}
_TRANSPOSED = ("visual.proj", "text_projection")


def read(path: Path) -> Checkpoint:
    """The CLIP in a checkpoint file: tensors as stored, on the CPU.

    Reads the TorchScript archives that OpenAI published, and state dicts (.safetensors, or pickled by torch.save, plain
    or below state_dict or model, with or without module. before each name) in the names of OpenAI, OpenCLIP,
    transformers or CLIP-ReID. Of a pickle only tensors are read, nothing in it is run. Raises CheckpointError when the
    file is damaged, holds other objects or another program, or is no CLIP.
    """
    sha256 = _sha256(path)
    archive = _is_torchscript(path)
    if archive and sha256 not in OPENAI_ARCHIVES:
        raise CheckpointError(
            f"{path}: a TorchScript program, and not one of OpenAI's: loading it could do anything. If it should be "
            f"OpenAI's, fetch it again; else, only if you trust its origin, save its weights alone: "
            f"torch.save(torch.jit.load(FILE).state_dict(), …)."
        )
    stored = _torchscript(path) if archive else _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    plain = {name.removeprefix("module."): tensor for name, tensor in stored.items()}
    tensors = {name: tensor for name, tensor in plain.items() if not _NOT_WEIGHTS.fullmatch(name)}
    _require_values(path, tensors)
    if any(name.startswith("image_encoder.") for name in tensors):
        return _clip_reid(tensors, sha256)
    if any(name.startswith("vision_model.") for name in tensors):
        return Checkpoint("transformers", _from_transformers(tensors), sha256)
    if "visual.conv1.weight" not in tensors:
        shown = ", ".join(list(tensors)[:3]) or "no tensors"
        raise CheckpointError(
            f"{path}: not a CLIP ViT or ResNet: it holds {shown} …, not visual.conv1.weight. Towers of timm, SigLIP or "
            f"ConvNeXt cannot be read; choose another checkpoint."
        )
    if any(name.startswith("text.") for name in tensors):
        tensors = {name.removeprefix("text."): tensor for name, tensor in tensors.items()}
        return Checkpoint("open_clip", tensors, sha256)
    return Checkpoint("torchscript" if archive else "openai", tensors, sha256)


def _require_values(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError for tensors without a number at every place: sparse, quantised, nested, or shapes alone."""
    wrong = [
        name
        for name, tensor in tensors.items()
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_nested
    ]
    if wrong:
        raise CheckpointError(
            f"{path}: {len(wrong)} of its tensors, {wrong[0]} the first, are sparse, quantised, nested or without "
            f"values. Save them as dense floating-point tensors."
        )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _damaged(path, error) from error


def _is_torchscript(path: Path) -> bool:
    """Told from the archive's listing alone; torch.save writes zip archives too, without constants."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise _damaged(path, error) from error
    return any(name.endswith("/constants.pkl") for name in names)


def _torchscript(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            # PyTorch advises against the format, yet it is the one that OpenAI's files have.
            warnings.simplefilter("ignore", DeprecationWarning)
            state = torch.jit.load(str(path), map_location="cpu").state_dict()
    except (RuntimeError, ValueError, OSError) as error:
        raise _damaged(path, error) from error
    return dict(state)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _pickled(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            # What PyTorch cannot read of a newer protocol is an error anyway.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        beyond = re.search(r"GLOBAL (\S+) was not an allowed|whose module (\S+) is blocked", str(error))
        if beyond is None:
            raise _damaged(path, "not a file that torch.save wrote") from error
        raise CheckpointError(
            f"{path}: holds Python objects ({beyond[1] or beyond[2]}), and reading those could run any program. If you "
            f"trust its maker, load it yourself with torch.load(…, weights_only=False) and save its state dict alone."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise _damaged(path, error) from error
    return _state_dict(stored)


def _state_dict(stored: Any) -> dict[str, Tensor]:
    """The innermost mapping's tensors; counters and settings beside them are not weights."""
    outer: list[int] = []  # a mapping may hold itself
    while isinstance(stored, Mapping) and id(stored) not in outer:
        outer.append(id(stored))
        below = (stored[key] for key in ("state_dict", "model") if isinstance(stored.get(key), Mapping))
        stored = next(below, stored)
    if not isinstance(stored, Mapping):
        return {}
    return {str(name): value for name, value in stored.items() if isinstance(value, Tensor)}


def _damaged(path: Path, error: Exception | str) -> CheckpointError:
    reason = str(error).strip().partition("\n")[0].rstrip(".") or "it is empty"
    return CheckpointError(f"{path}: cannot be read as weights ({reason}). It may be cut short: fetch it again.")


def _clip_reid(tensors: dict[str, Tensor], sha256: str) -> Checkpoint:
    image: dict[str, Tensor] = {}
    extras: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(_NECKS):
            extras[name] = tensor
        elif not name.startswith("text_encoder."):
            image[name.replace("image_encoder.", "visual.", 1)] = tensor
    return Checkpoint("clip-reid", image, sha256, extras)


def _from_transformers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, tensor in _with_fused_attention(tensors).items():
        for theirs, ours in _TRANSFORMERS.items():
            name = name.replace(theirs, ours)
        renamed[name] = tensor.T if name in _TRANSPOSED and tensor.dim() == 2 else tensor
    return renamed


def _with_fused_attention(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value projections laid on each other, as OpenAI stores them; misfits stay apart."""
    fused = dict(tensors)
    for kind in ("weight", "bias"):
        for name in [name for name in tensors if name.endswith(f".self_attn.q_proj.{kind}")]:
            start = name.removesuffix(f"q_proj.{kind}")
            triple = [f"{start}{part}_proj.{kind}" for part in "qkv"]
            shapes = [tensors[part].shape for part in triple if part in tensors]
            if len(shapes) == 3 and shapes[0] and shapes[0] == shapes[1] == shapes[2]:
                whole = f"{start.removesuffix('self_attn.')}attn.in_proj_{kind}"
                fused[whole] = torch.cat([fused.pop(part) for part in triple])
    return fused
