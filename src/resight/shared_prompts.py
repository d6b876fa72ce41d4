"""Prompt decoupling's first stage as a file: the prompts of both towers, tied to the CLIP that they were learned on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from resight.clip.model import Clip
from resight.clip.prompts import PromptForm, SharedPrompts
from resight.encoder import fingerprint_of
from resight.errors import CheckpointError, ConfigError
from resight.runs import write_json

FORMAT = 1


def save_prompts(prompts: SharedPrompts, folder: Path, clip: Clip) -> None:
    """Writes `prompts.safetensors` and `prompts.json`; clip: what they were learned on, as it was then.

    Raises CheckpointError when the disk refuses.
    """
    part = folder / "prompts.safetensors.part"
    try:
        folder.mkdir(exist_ok=True)
        safetensors.torch.save_file({n: t.detach().cpu().contiguous() for n, t in prompts.state_dict().items()}, part)
        part.replace(folder / "prompts.safetensors")
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{folder}: the prompts cannot be written ({error}).") from error
    about = {"format": FORMAT, **dataclasses.asdict(prompts.form), "clip": fingerprint_of(clip)}
    write_json(folder / "prompts.json", about)


def load_prompts(prompts: SharedPrompts, folder: Path, clip: Clip) -> None:
    """Puts those in a run's `stage1` folder in the place of prompts.

    Raises CheckpointError when the files are damaged, and ConfigError when theirs were learned on another CLIP or have
    another form.
    """
    remedy = "Name the stage1 folder of a run of prompt-decoupling."
    about, state = _read(folder, remedy)
    learned_on, found = about.pop("clip"), PromptForm(**about)
    if learned_on != fingerprint_of(clip):
        raise ConfigError(
            f"--stage1 {folder}: its prompts were learned on another CLIP ({learned_on}), or at another size. Start "
            "from the one that they were learned on."
        )
    if found != prompts.form:
        flags = f"--text-length {found.text_length} --image-length {found.image_length} --prompt-depth {found.depth}"
        position = "with" if found.position else "without"
        raise ConfigError(
            f"--stage1 {folder}: its prompts are {flags}, {position} --prompt-position. Ask for the same."
        )
    try:
        prompts.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"--stage1 {folder}: {_damage(error)} {remedy}") from error


def _read(folder: Path, remedy: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What prompts.json says, but for its format, and the tensors beside it."""
    fields = {field.name for field in dataclasses.fields(PromptForm)} | {"clip"}
    try:
        about = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))
        state = safetensors.torch.load_file(folder / "prompts.safetensors")
        if about.pop("format") != FORMAT or about.keys() != fields:
            raise ValueError(f"prompts.json does not describe prompts of format {FORMAT}")
    except (OSError, KeyError, TypeError, ValueError, AttributeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"--stage1 {folder}: {_damage(error)} {remedy}") from error
    return about, state


def _damage(error: Exception) -> str:
    return f"holds no shared prompts ({' '.join(str(error).split())})."
