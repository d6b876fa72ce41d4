"""Shared prompts as a file: what comes back, what it is tied to, damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from resight.clip import weights
from resight.clip.model import Clip
from resight.clip.prompts import PromptForm, SharedPrompts
from resight.encoder import fingerprint_of
from resight.errors import CheckpointError, ConfigError
from resight.shared_prompts import load_prompts, save_prompts

FORM = PromptForm(3, 2, 2, position=True)


def clip(seed: int = 0, size: tuple[int, int] = (64, 32)) -> Clip:
    return weights.load("random:64x2/16", image_size=size, seed=seed).clip


@pytest.fixture(scope="module")
def tower() -> Clip:
    return clip()


@pytest.fixture
def folder(tower: Clip, tmp_path: Path) -> Path:
    """Prompts of FORM, drawn from seed 7, as a run leaves them."""
    save_prompts(SharedPrompts(FORM, tower.config, seed=7), tmp_path / "stage1", tower)
    return tmp_path / "stage1"


@pytest.mark.parametrize("form", [FORM, PromptForm(3, 0), PromptForm(0, 2)])
def test_a_file_brings_the_prompts_back_to_the_bit(tower: Clip, tmp_path: Path, form: PromptForm) -> None:
    prompts, other = (SharedPrompts(form, tower.config, seed=seed) for seed in (7, 8))
    save_prompts(prompts, tmp_path / "stage1", tower)
    assert sorted(path.name for path in (tmp_path / "stage1").iterdir()) == ["prompts.json", "prompts.safetensors"]
    load_prompts(other, tmp_path / "stage1", tower)
    assert fingerprint_of(other) == fingerprint_of(prompts)
    save_prompts(prompts, tmp_path / "stage1", tower)  # again, as a run that goes on may


def test_the_file_says_what_it_holds(tower: Clip, folder: Path) -> None:
    described = {"text_length": 3, "image_length": 2, "depth": 2, "position": True}
    about = json.loads((folder / "prompts.json").read_text())
    assert about == {"format": 1, "clip": fingerprint_of(tower), **described}
    assert {name: list(t.shape) for name, t in safetensors.torch.load_file(folder / "prompts.safetensors").items()} == {
        "text": [2, 3, 64],
        "image": [2, 2, 64],
    }


def test_prompts_of_another_clip_are_refused(folder: Path) -> None:
    for other in (clip(seed=1), clip(size=(32, 32))):
        with pytest.raises(ConfigError, match=r"were learned on another CLIP.*Start from the one that they were"):
            load_prompts(SharedPrompts(FORM, other.config, seed=0), folder, other)
    moved = clip()
    assert moved.text is not None
    with torch.no_grad():
        moved.text.ln_final.bias[0] += 1e-6  # the text tower counts as well
    with pytest.raises(ConfigError, match="were learned on another CLIP"):
        load_prompts(SharedPrompts(FORM, moved.config, seed=0), folder, moved)


@pytest.mark.parametrize(
    "form", [PromptForm(4, 2, 2, True), PromptForm(3, 4, 2, True), PromptForm(3, 2, 1, True), PromptForm(3, 2, 2)]
)
def test_prompts_of_another_form_are_refused(tower: Clip, folder: Path, form: PromptForm) -> None:
    message = r"--text-length 3 --image-length 2 --prompt-depth 2, with --prompt-position\. Ask for the same"
    with pytest.raises(ConfigError, match=message):
        load_prompts(SharedPrompts(form, tower.config, seed=0), folder, tower)


@pytest.mark.parametrize("name", ["prompts.json", "prompts.safetensors"])
@pytest.mark.parametrize("damage", ["gone", "short", "garbage"])
def test_damage_is_one_line(tower: Clip, folder: Path, name: str, damage: str) -> None:
    path = folder / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:80] if damage == "short" else b"garbage")
    message = r"holds no shared prompts \([^\n]*\)\. Name the stage1 folder of a run of prompt-decoupling\."
    with pytest.raises(CheckpointError, match=message):
        load_prompts(SharedPrompts(FORM, tower.config, seed=0), folder, tower)


@pytest.mark.parametrize("change", [{"format": 2}, {"text_length": None}, {"identities": ["ann"]}, None])
def test_another_description_is_damage(tower: Clip, folder: Path, change: dict[str, Any] | None) -> None:
    """None in `change` takes the entry away: words of clip-reid have other entries, and a list has none."""
    about = json.loads((folder / "prompts.json").read_text())
    changed = [] if change is None else {n: v for n, v in (about | change).items() if v is not None}
    (folder / "prompts.json").write_text(json.dumps(changed))
    with pytest.raises(CheckpointError, match="holds no shared prompts"):
        load_prompts(SharedPrompts(FORM, tower.config, seed=0), folder, tower)


def test_tensors_of_another_shape_are_damage(tower: Clip, folder: Path) -> None:
    state = {"text": torch.zeros(2, 3, 32), "image": torch.zeros(2, 2, 64)}
    for tensors in (state, {"image": state["image"]}):
        safetensors.torch.save_file(tensors, folder / "prompts.safetensors")
        with pytest.raises(CheckpointError, match=r"holds no shared prompts \([^\n]*text[^\n]*\)"):
            load_prompts(SharedPrompts(FORM, tower.config, seed=0), folder, tower)


def test_a_folder_that_cannot_be_written_is_one_line(tower: Clip, tmp_path: Path) -> None:
    (tmp_path / "stage1").write_text("a file")
    with pytest.raises(CheckpointError, match="the prompts cannot be written"):
        save_prompts(SharedPrompts(FORM, tower.config, seed=0), tmp_path / "stage1", tower)
