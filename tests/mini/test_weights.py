"""The towers of resight-mini: drawn from one seed, packed in half precision, small, and told in OpenCLIP's words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import weights
from torch import nn
from torch.nn.functional import normalize

import resight
from resight.clip.image import ResNetConfig, ViTConfig
from resight.clip.model import Clip, ClipConfig
from resight.clip.tokenizer import tokenize
from resight.clip.weights import load
from resight.data.loader import load as load_pictures
from resight.encoder import Encoder

TEXT = replace(weights.TEXT, width=8, depth=1, heads=1, output=8, context_length=6)
WORDS = ("red", "blue", "long", "torn")
IMAGE: dict[str, ViTConfig | ResNetConfig] = {
    "vit": ViTConfig((128, 64), patch=16, stride=16, width=32, depth=1, heads=2, output=8, activation="quick_gelu"),
    "resnet": ResNetConfig((128, 64), blocks=(1, 1, 1, 1), width=4, heads=2, output=8),
}


@pytest.fixture(autouse=True)
def tiny_towers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "TEXT", TEXT)
    monkeypatch.setattr(weights, "IMAGE", IMAGE)
    monkeypatch.setattr(weights, "OUTPUT", 8)


@pytest.fixture
def people(picture: Callable[..., Path], tmp_path: Path) -> Path:
    """An index of four pictures with captions."""
    rows = [f"{picture(f'{i}.png')},{i},train,a {word} coat" for i, word in enumerate(WORDS)]
    index = tmp_path / "index.csv"
    index.write_text("path,identity,split,caption\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return index


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
def test_a_pack_is_small_and_says_the_same(
    kind: str, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, folder = started(kind, tmp_path / "start"), tmp_path / "packed"
    weights.main(["pack", kind, str(start), str(people), str(folder)])
    before, after = load(str(start)).clip, load(str(folder / start.name)).clip
    assert after.config == before.config
    images = torch.randn(2, 3, *weights.SIZE, generator=torch.Generator().manual_seed(0))
    for one, other in zip(before.eval().image(images), after.eval().image(images), strict=True):
        torch.testing.assert_close(normalize(one), normalize(other), rtol=0, atol=5e-3)
    size = (folder / start.name).stat().st_size
    assert size < 0.6 * start.stat().st_size
    assert capsys.readouterr().out == f"{folder}: {size / 2**20:.2f} MiB\n"


@pytest.mark.parametrize("kind", IMAGE)
def test_lengths_make_the_logit_scale_and_cosines_stay(kind: str, people: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(str(started(kind, tmp_path)), device="cpu")
    records = [record for record in resight.read_data(people).train if record.captions]
    preprocess, clip = encoder.preprocess, encoder.clip
    torch.manual_seed(0)
    for norm in (module for module in clip.modules() if isinstance(module, nn.BatchNorm2d | nn.LayerNorm)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    (batch,) = load_pictures(records, preprocess, batch_size=64, cache=None, workers=1)
    images = preprocess.normalise(torch.from_numpy(batch.images))
    ids = tokenize([r.captions[0] for r in records], context_length=6)
    with torch.no_grad():
        before, texts = clip.image(images), clip.text(ids)
        weights.set_lengths(encoder, records)
        after, rescaled = clip.image(images), clip.text(ids)
    torch.testing.assert_close(after.penultimate, before.penultimate)
    for one, other in ((before.last, after.last), (before.projected, after.projected), (texts, rescaled)):
        torch.testing.assert_close(normalize(one), normalize(other), rtol=0, atol=1e-5)
    last, projected, text = (tensor.norm(dim=1).mean().item() for tensor in (*after[1:], rescaled))
    assert projected * text == pytest.approx(1 / 0.07, rel=1e-4)  # the scale that CLIP starts from
    assert projected == pytest.approx(text, rel=1e-4)
    assert last == pytest.approx(0.4 * projected, rel=1e-4)


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


def test_what_is_too_large_replaces_nothing(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, kept = started("vit", tmp_path / "start"), started("resnet", tmp_path / "kept")
    before = kept.read_bytes()
    monkeypatch.setattr(weights, "LARGEST", 0.01)
    with pytest.raises(SystemExit, match=r"start.*: 0\.\d\d MiB, more than 0\.01\. Make the towers smaller\.$"):
        weights.main(["pack", "vit", str(start), str(people), str(kept.parent)])
    assert kept.read_bytes() == before


@pytest.mark.parametrize(
    "words", [[], ["start"], ["start", "vit"], ["start", "swin", "a"], ["pack", "vit", "a", "b"], ["draw", "vit", "a"]]
)
def test_other_words_get_the_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"mini/weights\.py pack KIND ENCODER DATA FOLDER"):
        weights.main(words)
