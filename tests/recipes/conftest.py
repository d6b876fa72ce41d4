"""A few drawn people, and what a recipe needs beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import resight
from resight.clip.image import ResNetConfig
from resight.clip.model import Clip, ClipConfig
from resight.clip.text import TextConfig
from resight.data.transforms import Preprocess
from resight.encoder import Card, Encoder
from resight.engine import Engine, Machine
from resight.progress import Progress
from resight.runs import Request, Run
from resight.starting import Start
from resight.trainset import TrainSet, train_set

TINY = "random:64x2/16"
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "grey": (120, 120, 120)}


@pytest.fixture
def people(picture: Callable[..., Path], tmp_path: Path) -> Path:
    """A table of 4 identities of one colour each, twice by cameras a and b, to train on; the files of query and
    gallery do not exist."""
    lines = ["path,identity,camera,split,caption"]
    for name, colour in COLOURS.items():
        for camera in "ab":
            for k in range(2):
                picture(f"{name}/{camera}{k}.png", colour=colour)
                lines.append(f"{name}/{camera}{k}.png,{name},{camera},train,a {name} person")
        lines += [f"missing/{name}q.png,q{name},a,query,", f"missing/{name}g.png,q{name},b,gallery,"]
    (tmp_path / "index.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "index.csv"


@pytest.fixture
def data(people: Path) -> TrainSet:
    return train_set(resight.read_data(people))


@pytest.fixture
def resnet(tmp_path: Path) -> str:
    """The folder of a small CLIP with a ResNet, whose residual branches are not zero."""
    text = TextConfig(width=32, depth=2, heads=2, output=24, activation="quick_gelu")
    clip = Clip(ClipConfig(ResNetConfig((64, 64), (1, 1, 1, 1), 8, 4, 24, last_stride=2), text))
    clip.initialise(5)
    roughen(clip)
    encoder = Encoder(clip, Preprocess(64, 64, (0.5,) * 3, (0.5,) * 3, "bilinear"), Card("a test"))
    encoder.save(tmp_path / "resnet")
    return str(tmp_path / "resnet")


def roughen(module: torch.nn.Module) -> None:
    """Moves every parameter that is not frozen a little, so that none starts where its gradient is 0."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


class Workshop:
    """What `train` of a recipe takes beside weights, data and settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = Engine(device="cpu", precision="float32", workers=1, log_every=1)
        self.start = Start(size=(64, 32))
        self.machine = Machine.of(self.engine)

    def run(self, name: str = "run") -> Run:
        return Run.open(self.folder / name, Request("test", TINY, {}, {}), resume=False)

    def train(self, recipe: Any, data: TrainSet, config: Any, *, init: str = TINY, run: Run | None = None) -> Encoder:
        found = recipe.train(
            init, data, config, run or self.run(), self.machine, self.folder / "cache", Progress(quiet=True)
        )
        assert isinstance(found, Encoder)
        return found

    def resnet_start(self) -> Start:
        return replace(self.start, stride=16)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "runs")
