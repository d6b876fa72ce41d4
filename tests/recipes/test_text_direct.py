"""Training on captions: the step against the formula, two epochs, which captions, what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import resight
from resight.clip.tokenizer import tokenize
from resight.errors import ConfigError, DataError
from resight.pictures import PictureBatch
from resight.processes import Processes
from resight.recipes import text_direct
from resight.recipes.text_direct import Config
from resight.training import Stage
from resight.trainset import TrainSet, train_set

from .conftest import Workshop


@pytest.fixture
def data(people: Path) -> TrainSet:
    return train_set(resight.read_data(people), learns_from="captions")


def quick(workshop: Workshop, **changes: Any) -> Config:
    start = replace(workshop.start, normalisation="init")
    known: dict[str, Any] = {"epochs": 2, "batch_size": 4, "rate": 1e-3, "warmup_epochs": 1, "start": start}
    return Config(**known | {"engine": workshop.engine} | changes)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[Stage[Any]]:
    caught: list[Stage[Any]] = []
    monkeypatch.setattr(text_direct, "fit", lambda stage, *rest: caught.append(stage))
    return caught


def test_training_follows_its_golden_curve(data: TrainSet, workshop: Workshop) -> None:
    """float32 on a processor. To make the numbers anew, print `losses` and explain the change in the commit."""
    run = workshop.run()
    encoder = workshop.train(text_direct, data, quick(workshop), run=run)
    losses = [entry["terms"]["contrast"] for entry in run.entries() if "terms" in entry]
    golden = [1.584148, 1.588387, 1.531746, 1.377701, 1.409978, 1.382557, 1.450861, 1.385309]
    assert losses == pytest.approx(golden, rel=1e-3)
    assert encoder.feature == "projected"
    assert encoder.can_read


def test_a_step_is_the_symmetric_contrast_of_pictures_and_their_captions(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop
) -> None:
    encoder = workshop.train(text_direct, data, quick(workshop))
    rows = [0, 5, 9, 14]
    images = torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    found = stages[0].step(PictureBatch(images, torch.tensor(rows), slice(0, 4)))["contrast"]
    found.backward()
    assert encoder.clip.text is not None
    assert encoder.clip.logit_scale is not None
    with torch.no_grad():
        pictures = encoder.clip.image(images).projected
        texts = encoder.clip.text(tokenize([data.records[row].captions[0] for row in rows]))
    similar = torch.empty(4, 4, dtype=torch.float64)
    for i in range(4):
        for j in range(4):
            similar[i, j] = pictures[i].double() @ texts[j].double() / pictures[i].norm() / texts[j].norm() / 0.07
    by_picture = [-similar[i, i] + similar[i].exp().sum().log() for i in range(4)]
    by_text = [-similar[i, i] + similar[:, i].exp().sum().log() for i in range(4)]
    assert found.item() == pytest.approx((sum(by_picture) / 4 + sum(by_text) / 4).item() / 2, rel=1e-5)
    without = [name for name, parameter in encoder.clip.named_parameters() if parameter.grad is None]
    assert without == []


def test_the_temperature_does_not_fall_below_a_hundredth(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop
) -> None:
    scale = workshop.train(text_direct, data, quick(workshop)).clip.logit_scale
    assert scale is not None
    with torch.no_grad():
        scale.fill_(9.0)
    stages[0].step(PictureBatch(torch.randn(4, 3, 64, 32), torch.tensor([0, 5, 9, 14]), slice(0, 4)))
    assert scale.item() == pytest.approx(math.log(100))


def test_no_identity_comes_twice_in_a_batch(stages: list[Stage[Any]], data: TrainSet, workshop: Workshop) -> None:
    workshop.train(text_direct, data, quick(workshop))
    n_steps, batches = stages[0].batches(1, 0)
    plan = [batch.rows for batch in batches]
    assert len(plan) == n_steps == 4
    assert all(sorted(data.labels[rows]) == [0, 1, 2, 3] for rows in plan)
    assert [batch.rows.tolist() for batch in stages[0].batches(1, 3).batches] == [plan[3].tolist()]


def test_a_picture_with_several_captions_shows_each(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the epochs, since its place in the batch changes; the others keep their only one."""
    many = tuple(
        replace(record, captions=("first", "second", "third")) if row == 3 else record
        for row, record in enumerate(data.records)
    )
    read: list[str] = []
    real = text_direct.tokenize
    monkeypatch.setattr(text_direct, "tokenize", lambda texts, **more: read.extend(texts) or real(texts, **more))
    workshop.train(text_direct, replace(data, records=many), quick(workshop))
    for epoch in range(1, 13):
        for batch in stages[0].batches(epoch, 0).batches:
            stages[0].step(batch)
    assert {"first", "second", "third"} <= set(read)
    assert set(read) <= {"first", "second", "third"} | {record.captions[0] for record in data.records}


def test_pictures_without_identity_are_learned_from(people: Path, workshop: Workshop) -> None:
    lines = people.read_text().splitlines()
    people.write_text("\n".join([lines[0], *(line.replace(",red,", ",,") for line in lines[1:])]) + "\n")
    data = train_set(resight.read_data(people), learns_from="captions")
    assert sorted(data.labels.tolist())[-4:] == [3, 4, 5, 6]
    run = workshop.run()
    workshop.train(text_direct, data, quick(workshop, batch_size=7), run=run)
    assert [entry["seen"] for entry in run.entries() if "terms" in entry] == [7, 14]


def test_parts_of_a_batch_read_their_own_captions(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In micro-batches, and as the second of two processes: tokens as long as the batch's longest."""
    whole = []
    for n, size in enumerate((0, 3)):
        engine = replace(workshop.engine, micro_batch=size)
        encoder = workshop.train(text_direct, data, quick(workshop, engine=engine), run=workshop.run(f"run{n}"))
        images = torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(1))
        loss = stages[-1].step(PictureBatch(images, torch.tensor([0, 5, 9, 14]), slice(0, 4)))["contrast"]
        loss.backward()
        gradients = {name: parameter.grad for name, parameter in encoder.clip.named_parameters()}
        whole.append((loss.item(), gradients))
    assert whole[0][0] == pytest.approx(whole[1][0], rel=1e-6)
    for name, gradient in whole[0][1].items():
        other = whole[1][1][name]
        assert gradient is not None
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=float(1e-4 * gradient.abs().max()) + 1e-8, msg=name)

    monkeypatch.setattr(Processes, "gather", lambda self, share, n_rows: torch.cat([share, share]))
    workshop.machine = replace(workshop.machine, processes=Processes(1, 2))
    encoder = workshop.train(text_direct, data, quick(workshop), run=workshop.run("second"))
    read: list[torch.Tensor] = []
    assert encoder.clip.text is not None
    encoder.clip.text.register_forward_pre_hook(lambda tower, given: read.append(given[0]))
    stages[-1].step(PictureBatch(images[2:], torch.tensor([0, 5, 9, 14]), slice(2, 4)))
    expected = tokenize([data.records[row].captions[0] for row in (9, 14)])
    assert torch.equal(torch.cat(read), expected[:, : read[0].shape[1]])


def test_validation_is_by_captions(people: Path, workshop: Workshop) -> None:
    data = train_set(resight.read_data(people), learns_from="captions", validate=True, validation_share=0.5)
    engine = replace(workshop.engine, validate_every=1, keep="best")
    run = workshop.run()
    workshop.train(text_direct, data, quick(workshop, batch_size=2, engine=engine), run=run)
    scores = [entry["validation"] for entry in run.entries() if "validation" in entry]
    assert [set(entry) for entry in scores] == [{"mAP", "R1"}] * 2
    assert all(0 < entry["mAP"] <= 1 for entry in scores)


def test_a_batch_larger_than_the_identities_is_refused(data: TrainSet, workshop: Workshop) -> None:
    with pytest.raises(DataError, match=r"4 identities, but a batch takes 5\. Choose at most --batch-size 4"):
        workshop.train(text_direct, data, quick(workshop, batch_size=5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "--epochs 0: at least 1"),
        ({"batch_size": 0}, "--batch-size 0: at least 1"),
        ({"warmup_epochs": 2}, "--warmup-epochs 2: fewer than the 2 epochs"),
        ({"rate": -1.0}, r"--rate -1\.0: 0 or more"),
        ({"weight_decay": math.nan}, "--weight-decay nan: 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config(**{"epochs": 2, "warmup_epochs": 1} | changes)


@pytest.mark.parametrize("flag", ["side_camera", "side_view", "without_text"])
def test_what_it_would_ignore_is_refused(workshop: Workshop, flag: str) -> None:
    with pytest.raises(ConfigError, match="text-direct compares plain CLIP features"):
        Config(start=replace(workshop.start, **{flag: True}))
