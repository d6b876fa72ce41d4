"""The baseline: its golden curve, its weights, what comes out. Its step is compared in test_clip_reid.py."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from resight.encoder import Encoder
from resight.errors import ConfigError
from resight.optim import Descent
from resight.recipes import finetune
from resight.recipes.finetune import Config
from resight.starting import Start
from resight.trainset import TrainSet

from .conftest import Workshop


def quick(workshop: Workshop, **changes: Any) -> Config:
    """Two epochs, at a rate at which a small tower learns."""
    known: dict[str, Any] = {
        "n_identities": 4,
        "n_images": 2,
        "descent": Descent(epochs=2, rate=1e-3, warmup_epochs=1, milestones=()),
        "start": workshop.start,
        "engine": workshop.engine,
    }
    return Config(**known | changes)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_training_follows_its_golden_curve(data: TrainSet, workshop: Workshop, resnet: str, kind: str) -> None:
    """float32 on a processor. To make the numbers anew, print `losses` and explain the change in the commit."""
    golden = {
        "vit": {
            "identity": [2.769624, 2.706533, 2.639087, 2.559554],
            "triplet": [0.0692375, 0.0, 0.172268, 0.0221525],
        },
        "resnet": {
            "identity": [2.766222, 2.637612, 2.586289, 2.442955],
            "triplet": [2.203956, 0.612965, 0.451389, 0.0],
        },
    }
    run = workshop.run()
    if kind == "vit":
        workshop.train(finetune, data, quick(workshop), run=run)
    else:
        workshop.train(finetune, data, quick(workshop, start=workshop.resnet_start()), run=run, init=resnet)
    losses = [entry["terms"] for entry in run.entries() if "terms" in entry]
    for name, values in golden[kind].items():
        assert [terms[name] for terms in losses] == pytest.approx(values, rel=1e-3, abs=1e-4), name


@pytest.mark.parametrize("name", ["identity", "triplet"])
def test_doubling_a_weight_doubles_its_term_in_the_log(data: TrainSet, workshop: Workshop, name: str) -> None:
    first = []
    for n, config in enumerate((quick(workshop), quick(workshop, **{f"{name}_weight": 2.0}))):
        run = workshop.run(f"run{n}")
        workshop.train(finetune, data, config, run=run)
        first.append(next(entry["terms"] for entry in run.entries() if "terms" in entry))
    for other in ("identity", "triplet"):
        assert first[1][other] == pytest.approx((2 if other == name else 1) * first[0][other], rel=1e-6)


def test_necks_follow_the_pictures_and_their_biases_stay(data: TrainSet, workshop: Workshop) -> None:
    encoder = workshop.train(finetune, data, quick(workshop))
    assert not encoder.training
    for neck in (encoder.neck_last, encoder.neck_projected):
        assert neck.num_batches_tracked.item() == 4  # type: ignore[operator]
        assert not neck.bias.any()
        assert not torch.equal(neck.weight, torch.ones_like(neck.weight))
    assert (encoder.card.notes[0], encoder.dimension) == ("Trained by resight train finetune.", 128)


def test_the_text_tower_comes_through_unchanged(data: TrainSet, workshop: Workshop) -> None:
    text = Encoder.load("random:64x2/16", device="cpu", seed=workshop.engine.seed).clip.text
    found = workshop.train(finetune, data, quick(workshop)).clip.text
    assert text is not None
    assert found is not None
    assert all(torch.equal(a, b) for a, b in zip(text.parameters(), found.parameters(), strict=True))


def test_micro_batches_give_the_same_losses(data: TrainSet, workshop: Workshop) -> None:
    logs = []
    for n, size in enumerate((0, 3)):
        run = workshop.run(f"run{n}")
        workshop.train(finetune, data, quick(workshop, engine=replace(workshop.engine, micro_batch=size)), run=run)
        logs.append([entry["loss"] for entry in run.entries() if "terms" in entry])
    assert logs[0] == pytest.approx(logs[1], rel=1e-4)


def test_the_python_of_the_training_page_runs(people: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESIGHT_CACHE", str(tmp_path / "cache"))
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    small = "n_identities=4, start=Start(size=(64, 32)), descent=Descent(epochs=1)"
    assert code.count("n_identities=8") == 1
    code = code.replace("n_identities=8", small).replace("openai:ViT-B-16", "random:64x2/16")
    exec(code, {"path": people, "Start": Start, "Descent": Descent})
    assert Encoder.load(tmp_path / "runs" / "mine" / "encoder", device="cpu").dimension == 128


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_identities": 1}, "--n-identities 1: at least 2"),
        ({"n_images": 1}, "--n-images 1: at least 2"),
        ({"identity_weight": -1.0}, r"--identity-weight -1\.0: 0 or more"),
        ({"triplet_weight": float("inf")}, "--triplet-weight inf: 0 or more"),
        ({"smoothing": -0.1}, r"--smoothing -0\.1: from 0 to 1"),
        ({"margin": float("nan")}, "--margin nan: 0 or more, or None"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config(**changes)
