"""The programs of examples/: they run, and do what their pages say."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import resight
from resight.data.index import read
from resight.data.sample import make_sample
from resight.errors import ConfigError, DataError

from .test_blocks import program

pytestmark = pytest.mark.docs


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people") / "people"
    make_sample(folder, n_identities=16, seed=0)
    return folder


def slow_circle(features: Tensor, identities: list[int], margin: float, scale: float) -> float:
    """The formula, written as loops."""
    unit = [row / row.norm() for row in features]
    losses = []
    for a, one in enumerate(unit):
        near = far = 0.0
        n_near = n_far = 0
        for b, other in enumerate(unit):
            s = float(one @ other)
            if a == b:
                continue
            if identities[a] == identities[b]:
                near += math.exp(-scale * max(0.0, 1 + margin - s) * (s - (1 - margin)))
                n_near += 1
            else:
                far += math.exp(scale * max(0.0, s + margin) * (s - margin))
                n_far += 1
        if n_near and n_far:
            losses.append(math.log1p(near * far))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("n", "width", "n_identities"), [(4, 3, 2), (12, 8, 3), (15, 5, 7)])
def test_the_loss_is_its_formula(n: int, width: int, n_identities: int) -> None:
    example = program("examples/add_loss.py")
    generator = torch.Generator().manual_seed(n)
    features = torch.randn(n, width, generator=generator, dtype=torch.float64)
    identities = torch.arange(n) % n_identities
    found = example.circle_loss(features, identities, margin=0.25, scale=8.0)
    assert found.item() == pytest.approx(slow_circle(features, identities.tolist(), 0.25, 8.0), rel=1e-10)
    order = torch.randperm(n, generator=generator)
    longer = features[order] * (1 + torch.arange(n)[:, None])
    assert example.circle_loss(longer, identities[order], margin=0.25, scale=8.0).item() == pytest.approx(found.item())


def test_the_loss_of_a_case_by_hand() -> None:
    """Two right-angled pairs: each positive lies at cosine 1, each negative at 0; m 0.25, scale 1."""
    example = program("examples/add_loss.py")
    features = torch.tensor([[1.0, 0], [2, 0], [0, 1], [0, 3]], dtype=torch.float64)
    near, far = math.exp(0.25 * -0.25), 2 * math.exp(0.25 * -0.25)
    found = example.circle_loss(features, torch.tensor([0, 0, 1, 1]), margin=0.25, scale=1.0)
    assert found.item() == pytest.approx(math.log1p(near * far), rel=1e-12)
    with pytest.raises(ValueError, match="no picture of the batch has a positive and a negative"):
        example.circle_loss(features, torch.arange(4), margin=0.25, scale=1.0)


def test_training_by_the_loss_lowers_it(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIGHT_CACHE", str(tmp_path / "cache"))
    example = program("examples/add_loss.py")
    assert example.main([str(people), str(tmp_path / "run")]) == 0
    encoder = resight.Encoder.load(tmp_path / "run" / "encoder", device="cpu")
    assert encoder.card.notes[0] == "Trained by resight train circle."


def test_the_method_goes_on(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs; and a run that is stopped in the second one, and goes on: the same losses and the same encoder."""
    monkeypatch.setenv("RESIGHT_CACHE", str(tmp_path / "cache"))
    example = program("examples/add_method.py")
    steps = []

    def counted(features: Tensor, identities: Tensor, *, temperature: float) -> Tensor:
        steps.append(len(features))
        if len(steps) == stop_at:
            raise KeyboardInterrupt
        return contrast(features, identities, temperature=temperature)

    contrast, stop_at = example.supervised_contrast, -1
    monkeypatch.setattr(example, "supervised_contrast", counted)
    assert example.main([str(people), str(tmp_path / "whole")]) == 0
    n_steps = len(steps)
    assert example.main([str(people), str(tmp_path / "whole")]) == 0
    assert len(steps) == n_steps, "a finished run takes no step"
    steps.clear()
    stop_at = n_steps
    with pytest.raises(KeyboardInterrupt):
        example.main([str(people), str(tmp_path / "stopped")])
    assert example.main([str(people), str(tmp_path / "stopped")]) == 0
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")
    whole, stopped = (resight.Encoder.load(tmp_path / run / "encoder", device="cpu") for run in ("whole", "stopped"))
    assert stopped.fingerprint() == whole.fingerprint()
    assert whole.dimension == 128, "the head is not in it"


def test_settings_of_the_method_that_are_refused() -> None:
    example = program("examples/add_method.py")
    with pytest.raises(ConfigError, match=r"^--temperature 0: more than 0\.$"):
        example.Config(temperature=0)
    with pytest.raises(ConfigError, match=r"^--head-width 1: at least 2\.$"):
        example.Config(head_width=1)


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["terms"]["contrast"] for line in lines if "terms" in line]


def test_the_contrast_is_its_formula() -> None:
    example = program("examples/add_method.py")
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    identities = torch.tensor([0, 0, 1, 1, 1, 2, 2, 0])
    unit = torch.nn.functional.normalize(features)
    total = 0.0
    for a in range(8):
        others = [b for b in range(8) if b != a]
        below = sum(math.exp(float(unit[a] @ unit[b]) / 0.1) for b in others)
        positives = [b for b in others if identities[b] == identities[a]]
        total -= sum(math.log(math.exp(float(unit[a] @ unit[p]) / 0.1) / below) for p in positives) / len(positives)
    found = example.supervised_contrast(features, identities, temperature=0.1)
    assert found.item() == pytest.approx(total / 8, rel=1e-10)


def test_the_layout_is_read(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = program("examples/add_benchmark.py")
    known: list[Any] = [r for r in read(people).gallery if r.identity not in (None, "0")][:12]
    for n, record in enumerate(known):
        for role in ("query", "gallery"):
            camera = "north" if role == "query" else "ford"
            target = tmp_path / role / f"z{record.identity}_{camera}_{1767225600 + n}.jpg"
            target.parent.mkdir(exist_ok=True)
            shutil.copy(record.path, target)
    shutil.copy(known[0].path, tmp_path / "gallery" / "x_ford_1767225600.jpg")
    splits = example.read_zebras(tmp_path)
    assert (len(splits.query), len(splits.gallery), splits.protocol) == (12, 13, "cross-camera")
    assert [record.identity for record in splits.gallery].count(None) == 1
    assert splits.query[0].time == pytest.approx(1767225600, abs=20)
    assert example.main([str(tmp_path), "random:64x2/8"]) == 0
    assert "mAP" in capsys.readouterr().out
    again = read(tmp_path / "index.csv")
    assert {replace(r, time=None) for r in again.query} == {replace(r, time=None) for r in splits.query}
    shutil.copy(known[0].path, tmp_path / "query" / "nobody.jpg")
    with pytest.raises(DataError, match=r"nobody\.jpg: is not named IDENTITY_CAMERA_SECONDS\.jpg\. Rename it"):
        example.read_zebras(tmp_path)
