"""The towers of resight-mini: drawn from one seed, packed in half precision, small, and told in OpenCLIP's words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import weights

from resight.clip.image import ResNetConfig, ViTConfig
from resight.clip.model import Clip, ClipConfig
from resight.clip.weights import load

TEXT = replace(weights.TEXT, width=32, depth=1, heads=1, output=8, context_length=6, vocabulary=20)
IMAGE: dict[str, ViTConfig | ResNetConfig] = {
    "vit": ViTConfig((128, 64), patch=16, stride=16, width=32, depth=1, heads=2, output=8, activation="quick_gelu"),
    "resnet": ResNetConfig((128, 64), blocks=(1, 1, 1, 1), width=4, heads=2, output=8),
}


@pytest.fixture(autouse=True)
def tiny_towers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "TEXT", TEXT)
    monkeypatch.setattr(weights, "IMAGE", IMAGE)
    monkeypatch.setattr(weights, "OUTPUT", 8)


def started(kind: str, folder: Path) -> Path:
    weights.main(["start", kind, str(folder)])
    return folder / "open_clip_model.safetensors"


@pytest.mark.parametrize("kind", IMAGE)
def test_the_start_is_the_towers_drawn_from_seed_0(kind: str, tmp_path: Path) -> None:
    drawn = Clip(ClipConfig(IMAGE[kind], TEXT))
    drawn.initialise(0)
    found = load(str(started(kind, tmp_path / "start"))).clip
    assert found.config == drawn.config
    for name, tensor in drawn.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


@pytest.mark.parametrize("kind", IMAGE)
def test_a_second_start_is_the_same_file(kind: str, tmp_path: Path) -> None:
    assert started(kind, tmp_path / "one").read_bytes() == started(kind, tmp_path / "two").read_bytes()


@pytest.mark.parametrize("kind", IMAGE)
def test_a_pack_is_the_start_in_half_precision(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start, folder = started(kind, tmp_path / "start"), tmp_path / "packed"
    weights.main(["pack", kind, str(start), str(folder)])
    before, after = load(str(start)).clip, load(str(folder / start.name)).clip
    assert after.config == before.config
    for name, tensor in before.state_dict().items():
        rounded = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(after.state_dict()[name], rounded), name
    size = (folder / start.name).stat().st_size
    assert size < 0.6 * start.stat().st_size
    assert capsys.readouterr().out == f"{folder}: {size / 2**20:.2f} MiB\n"


@pytest.mark.parametrize("kind", IMAGE)
def test_pictures_are_prepared_as_in_training(kind: str, tmp_path: Path) -> None:
    info = load(str(started(kind, tmp_path))).info
    assert (info.image_size, info.mean, info.std, info.interpolation) == (
        (128, 64),
        (0.5, 0.5, 0.5),
        (0.5, 0.5, 0.5),
        "bicubic",
    )
    assert json.loads((tmp_path / "open_clip_config.json").read_text())["model_cfg"]["embed_dim"] == 8


def test_what_is_too_large_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, kept = started("vit", tmp_path / "start"), started("resnet", tmp_path / "kept")
    before = kept.read_bytes()
    monkeypatch.setattr(weights, "LARGEST", 0.01)
    with pytest.raises(SystemExit, match=r"start.*: 0\.\d\d MiB, more than 0\.01\. Make the towers smaller\.$"):
        weights.main(["pack", "vit", str(start), str(kept.parent)])
    assert kept.read_bytes() == before


@pytest.mark.parametrize(
    "words", [[], ["start"], ["start", "vit"], ["start", "swin", "a"], ["pack", "vit", "a"], ["draw", "vit", "a"]]
)
def test_other_words_get_the_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"mini/weights\.py pack KIND ENCODER FOLDER"):
        weights.main(words)
