"""PCL-CLIP with labels: its step against the formulas, written out here; its memory; its curve; going on; what is
refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resight.data.images import open_image
from resight.encoder import Encoder
from resight.errors import ConfigError, DataError
from resight.optim import Descent
from resight.pictures import PictureBatch
from resight.recipes import pcl
from resight.recipes.pcl import Config
from resight.runs import Run
from resight.training import Stage
from resight.trainset import TrainSet

from .conftest import Workshop, roughen


def quick(workshop: Workshop, **changes: Any) -> Config:
    """Two epochs of three batches, at a rate at which a small tower learns."""
    known: dict[str, Any] = {
        "n_identities": 4,
        "n_images": 2,
        "n_batches": 3,
        "descent": replace(pcl.PCL_DESCENT, epochs=2, rate=1e-2, warmup_epochs=1, milestones=()),
        "start": replace(workshop.start, test_interpolation="bicubic", without_text=True),
        "engine": workshop.engine,
    }
    return Config(**known | changes)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[Stage[Any]]:
    """The stages that the recipe hands to `fit`, in place of being trained; towers are float64 and roughened."""
    caught: list[Stage[Any]] = []
    real = pcl.open_start

    def opened(*arguments: Any, **named: Any) -> Encoder:
        encoder = real(*arguments, **named).double()
        encoder.clip.image.register_forward_pre_hook(lambda tower, given: (given[0].double(), *given[1:]))
        roughen(encoder)
        return encoder

    def caught_fit(stage: Stage[Any], *rest: Any) -> None:
        tower: Any = stage.modules["tower"]
        for classifier in (tower.classifier_last, tower.classifier_projected):
            roughen(classifier.double())
        if tower.pictures.side_weights is not None:
            tower.pictures.side_weights = tower.pictures.side_weights.double()
        caught.append(copy.copy(stage))

    monkeypatch.setattr(pcl, "open_start", opened)
    monkeypatch.setattr(pcl, "fit", caught_fit)
    return caught


def neck(features: Tensor, weight: Tensor) -> Tensor:
    """Batch norm with the batch's own mean and variance, without a bias."""
    return (features - features.mean(0)) / (features.var(0, unbiased=False) + 1e-5).sqrt() * weight


def cross_entropy(logits: Tensor, identities: Tensor, smoothing: float) -> Tensor:
    """Mean over pictures of -sum over identities of target · log softmax; row by row."""
    losses = []
    for row, own in zip(logits, identities.tolist(), strict=True):
        log_share = row - row.exp().sum().log()
        losses.append(-(1 - smoothing) * log_share[own] - smoothing / len(row) * log_share.sum())
    return torch.stack(losses).mean()


def side_of(encoder: Any, data: TrainSet, rows: list[int]) -> Tensor | None:
    if encoder.side is None:
        return None
    cameras = [data.cameras.index(data.records[row].camera or "") for row in rows]
    table: Tensor = encoder.side_table[cameras]
    return table


def expected_centroids(encoder: Any, data: TrainSet) -> Tensor:
    """Mean of each identity's normalised features, normalised: picture by picture, with running statistics."""
    means: list[list[Tensor]] = [[] for _ in data.identities]
    for row, record in enumerate(data.records):
        pixels = torch.from_numpy(encoder.preprocess.resize(open_image(record.path)).copy())[None]
        _, b, c = encoder.clip.image(encoder.preprocess.normalise(pixels), side=side_of(encoder, data, [row]))
        parts = []
        for feature, one in ((b, encoder.neck_last), (c, encoder.neck_projected)):
            parts.append((feature - one.running_mean) / (one.running_var + 1e-5).sqrt() * one.weight)
        feature = torch.cat(parts, dim=1)[0]
        means[data.labels[row]].append(feature / feature.norm())
    found = [torch.stack(features).mean(0) for features in means]
    return torch.stack([mean / mean.norm() for mean in found]).detach()


def expected_step(tower: Any, batch: PictureBatch, memory: Tensor, data: TrainSet, config: Config) -> Any:
    """Both weighted terms by name, and the memory after the batch, which is moved here."""
    encoder, identities = tower.pictures.encoder, torch.from_numpy(data.labels)[batch.rows]
    _, b, c = encoder.clip.image(batch.images, side=side_of(encoder, data, batch.rows.tolist()))
    features = torch.cat([neck(b, encoder.neck_last.weight), neck(c, encoder.neck_projected.weight)], dim=1)
    z = features / features.norm(dim=1, keepdim=True)
    one_classifier = torch.cat([tower.classifier_last.weight, tower.classifier_projected.weight], dim=1)
    terms = {
        "pcl": cross_entropy(z @ memory.clone().T / config.temperature, identities, 0.0),
        "identity": config.identity_weight * cross_entropy(features @ one_classifier.T, identities, config.smoothing),
    }
    if config.loss == "pcl":
        del terms["identity"]
    own, mu = z.detach(), config.memory_momentum
    if config.memory_update == "hardest":
        for identity in identities.unique().tolist():
            mine = [row for row in range(len(own)) if identities[row] == identity]
            hardest = min(mine, key=lambda row: float(own[row] @ memory[identity]))
            moved = mu * memory[identity] + (1 - mu) * own[hardest]
            memory[identity] = moved / moved.norm()
    else:
        for row, identity in enumerate(identities.tolist()):
            moved = mu * memory[identity] + (1 - mu) * own[row]
            memory[identity] = moved / moved.norm()
    return terms


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("loss", "update", "side"), [("pcl+id", "hardest", True), ("pcl+id", "every", False), ("pcl", "hardest", False)]
)
def test_three_steps_have_the_published_terms_gradients_and_memory(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop, loss: Any, update: Any, side: bool
) -> None:
    """In float64, with the parameters moved between the batches."""
    start = replace(workshop.start, test_interpolation="bicubic", side_camera=side, without_text=not side)
    config = quick(workshop, loss=loss, memory_update=update, start=start)
    workshop.train(pcl, data, config)
    (stage,) = stages
    module: Any = stage.modules["tower"].train()
    partition: Any = stage.modules["partition"]
    n_steps, batches = stage.batches(1, 0)
    memory = expected_centroids(module.pictures.encoder, data)
    torch.testing.assert_close(partition.memory, memory, rtol=0, atol=1e-9)
    assert n_steps == 3
    for number, batch in enumerate(batches):
        reference = copy.deepcopy(module)
        expected = expected_step(reference, batch, memory, data, config)
        sum(expected.values()).backward()
        stage.optimizer.zero_grad()
        found = stage.step(batch)
        torch.stack(list(found.values())).sum().backward()

        assert found.keys() == expected.keys()
        for name, term in found.items():
            assert term.dtype == torch.float64
            torch.testing.assert_close(term, expected[name], rtol=1e-9, atol=0)
            assert term > 0
        torch.testing.assert_close(partition.memory, memory, rtol=0, atol=1e-9)
        mine, theirs = gradients(module), gradients(reference)
        assert mine.keys() == theirs.keys()
        for name in mine:
            scale = float(theirs[name].abs().max())
            torch.testing.assert_close(mine[name], theirs[name], rtol=1e-6, atol=1e-7 * scale + 1e-13, msg=name)
        stage.optimizer.step()
        assert number < 3

    named = dict(module.named_parameters())
    without = named.keys() - mine.keys()
    frozen = {f"pictures.encoder.{name}" for name in ("neck_last.bias", "neck_projected.bias", "clip.logit_scale")}
    frozen |= {"pictures.encoder.clip.image.conv1.weight"} | {name for name in named if ".clip.text." in name}
    if loss == "pcl":
        frozen |= {"classifier_last.weight", "classifier_projected.weight"}
    assert without == frozen & named.keys()
    in_optimizer = {id(p) for group in stage.optimizer.param_groups for p in group["params"]}
    assert in_optimizer == {id(named[name]) for name in mine}


def test_the_memory_is_built_anew_every_epoch_and_training_goes_on_as_before(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop
) -> None:
    workshop.train(pcl, data, quick(workshop))
    (stage,) = stages
    tower: Any = stage.modules["tower"].train()
    partition: Any = stage.modules["partition"]
    encoder = tower.pictures.encoder
    stage.batches(1, 0)
    first = partition.memory.clone()
    encoder.neck_last.running_mean.uniform_(-1, 1)
    encoder.neck_projected.running_var.uniform_(0.5, 2)
    roughen(encoder)
    buffers = {name: buffer.clone() for name, buffer in tower.named_buffers()}
    stage.batches(2, 1)
    assert torch.equal(partition.memory, first), "an epoch that goes on has the memory of its checkpoint"
    stage.batches(2, 0)
    torch.testing.assert_close(partition.memory, expected_centroids(encoder, data), rtol=0, atol=1e-9)
    assert (partition.memory - first).abs().max() > 1e-2
    assert all(module.training for module in tower.modules())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in tower.named_buffers())


def test_an_epoch_has_the_number_of_batches_asked_for_or_one_pass(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop
) -> None:
    found = {}
    for n_batches in (1, 7, None):
        workshop.train(pcl, data, quick(workshop, n_batches=n_batches), run=workshop.run(str(n_batches)))
        n_steps, batches = stages[-1].batches(1, 0)
        rows = [batch.rows for batch in batches]
        assert len(rows) == n_steps
        found[n_batches] = n_steps
        for taken in rows:
            assert torch.from_numpy(data.labels)[taken].bincount().tolist() == [2, 2, 2, 2]
        if n_batches is None:
            assert sorted(torch.cat(rows).tolist()) == list(range(16))
    assert found == {1: 1, 7: 7, None: 2}


def test_the_rates_are_the_published_ones() -> None:
    """PCL-CLIP's code steps its schedule after an epoch."""
    known = {
        1: 3.5e-5,
        2: 6.65e-5,
        10: 3.185e-4,
        11: 3.5e-4,
        30: 3.5e-4,
        31: 3.5e-5,
        50: 3.5e-5,
        51: 3.5e-6,
        60: 3.5e-6,
    }
    for epoch, rate in known.items():
        assert Config().descent.rate_in(epoch) == pytest.approx(rate, rel=1e-12)


def test_training_follows_its_golden_curve(data: TrainSet, workshop: Workshop) -> None:
    """float32 on a processor. To make the numbers anew, print `losses` and explain the change in the commit."""
    golden = {"pcl": [0.383589, 0.936637, 0.00191725, 0.0859403, 0.208157, 0.000226561]}
    run = workshop.run()
    workshop.train(pcl, data, quick(workshop), run=run)
    for name, values in golden.items():
        assert [terms[name] for _, _, terms in losses(run)] == pytest.approx(values, rel=1e-3, abs=1e-4), name


def test_doubling_the_weight_doubles_the_identity_term_alone(data: TrainSet, workshop: Workshop) -> None:
    first = []
    for weight in (0.25, 0.5):
        run = workshop.run(str(weight))
        workshop.train(pcl, data, quick(workshop, identity_weight=weight, n_batches=1), run=run)
        first.append(next(entry["terms"] for entry in run.entries() if "terms" in entry))
    assert first[1]["identity"] == pytest.approx(2 * first[0]["identity"], rel=1e-6)
    assert first[1]["pcl"] == pytest.approx(first[0]["pcl"], rel=1e-6)


def test_what_is_frozen_stays_and_the_rest_moves(data: TrainSet, workshop: Workshop) -> None:
    start = Encoder.load("random:64x2/16", size=(64, 32), device="cpu", seed=workshop.engine.seed)
    known = dict(start.clip.named_parameters())
    for freeze in (True, False):
        config = quick(workshop, freeze_patches=freeze, start=workshop.start)
        encoder = workshop.train(pcl, data, config, run=workshop.run(str(freeze)))
        same = {name for name, p in encoder.clip.named_parameters() if torch.equal(p, known[name])}
        frozen = {name for name in known if name.startswith("text.")} | {"logit_scale"}
        assert same == frozen | ({"image.conv1.weight"} if freeze else set())
        assert not encoder.neck_last.bias.any()
        assert not encoder.neck_projected.bias.any()
        assert not encoder.training


def test_the_saved_encoder_gives_both_parts_behind_their_necks(
    data: TrainSet, workshop: Workshop, tmp_path: Path
) -> None:
    workshop.train(pcl, data, quick(workshop)).save(tmp_path / "encoder")
    encoder = Encoder.load(tmp_path / "encoder", device="cpu")
    assert (encoder.feature, encoder.dimension) == ("after-neck", 128)
    assert encoder.preprocess.interpolation == "bicubic"
    assert encoder.card.notes[0] == "Trained by resight train pcl."
    assert encoder.neck_last.running_mean.abs().max() > 0.01  # type: ignore[operator,union-attr]
    images = torch.randn(3, 3, 64, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        _, b, c = encoder.clip.image(images)
        parts = []
        for feature, one in ((b, encoder.neck_last), (c, encoder.neck_projected)):
            spread = (one.running_var + 1e-5).sqrt()  # type: ignore[operator]
            parts.append((feature - one.running_mean) / spread * one.weight)
        whole = torch.cat(parts, dim=1)
        torch.testing.assert_close(
            nn.functional.normalize(encoder(images)[0]), whole / whole.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(("update", "stops"), [("hardest", (1, 3, 5)), ("every", (2,))])
def test_a_run_that_was_stopped_goes_on_to_the_same_parameters(
    data: TrainSet, workshop: Workshop, monkeypatch: pytest.MonkeyPatch, update: Any, stops: tuple[int, ...]
) -> None:
    """After so many of six steps: in the middle of an epoch and at its start; a checkpoint follows every step."""
    config = quick(workshop, memory_update=update, engine=replace(workshop.engine, checkpoint_minutes=0.0))
    whole, real = workshop.run("whole"), pcl.update_memory
    expected = workshop.train(pcl, data, config, run=whole).state_dict()
    for stop in stops:
        left = iter(range(stop))

        def stopping(*given: Any, left: Any = left, **named: Any) -> None:
            if next(left, None) is None:
                raise InterruptedError
            real(*given, **named)

        run = workshop.run(str(stop))
        monkeypatch.setattr(pcl, "update_memory", stopping)
        with pytest.raises(InterruptedError):
            workshop.train(pcl, data, config, run=run)
        monkeypatch.setattr(pcl, "update_memory", real)
        found = workshop.train(pcl, data, config, run=run).state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
        assert losses(run) == losses(whole)
        states: list[Any] = [one.load("train") for one in (run, whole)]
        memories = [state["modules"]["partition"]["_extra_state"]["memory"] for state in states]
        assert torch.equal(*memories)


def losses(run: Run) -> list[tuple[int, int, dict[str, float]]]:
    return [(entry["epoch"], entry["step"], entry["terms"]) for entry in run.entries() if "terms" in entry]


def test_a_resnet_trains_too(data: TrainSet, workshop: Workshop, resnet: str) -> None:
    run = workshop.run()
    start = replace(workshop.resnet_start(), test_interpolation="bicubic")
    before = Encoder.load(resnet, device="cpu").clip.image.conv1.weight
    encoder = workshop.train(pcl, data, quick(workshop, start=start), run=run, init=resnet)
    assert torch.equal(encoder.clip.image.conv1.weight, before)
    assert len(losses(run)) == 6


def test_micro_batches_give_the_same_losses(data: TrainSet, workshop: Workshop) -> None:
    logs = []
    for size in (0, 3):
        run = workshop.run(str(size))
        workshop.train(pcl, data, quick(workshop, engine=replace(workshop.engine, micro_batch=size)), run=run)
        logs.append([entry["loss"] for entry in run.entries() if "terms" in entry])
    assert logs[0] == pytest.approx(logs[1], rel=1e-4)


def test_too_few_identities_are_one_line(data: TrainSet, workshop: Workshop) -> None:
    with pytest.raises(DataError, match=r"has 4 identities, but a batch takes 32\. Choose at most --n-identities 4\.$"):
        workshop.train(pcl, data, quick(workshop, n_identities=32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identity_weight": -1.0}, "--identity-weight -1.0: 0 or more."),
        ({"temperature": 0.0}, "--temperature 0.0: more than 0."),
        ({"temperature": float("nan")}, "--temperature nan: more than 0."),
        ({"smoothing": 1.5}, "--smoothing 1.5: from 0 to 1."),
        ({"memory_momentum": -0.1}, "--memory-momentum -0.1: from 0 to 1."),
        ({"n_identities": 1}, "--n-identities 1: at least 2."),
        ({"n_images": 0}, "--n-images 0: at least 1."),
        ({"n_batches": 0}, "--n-batches 0: at least 1, or None for one pass."),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Config(**changes)
    assert str(raised.value) == message


def test_the_schedule_and_the_optimizer_are_those_of_the_settings(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop
) -> None:
    for descent, kind in ((pcl.PCL_DESCENT, torch.optim.SGD), (Descent(rate=1e-4), torch.optim.Adam)):
        workshop.train(pcl, data, quick(workshop, descent=descent), run=workshop.run(kind.__name__))
        stage = stages[-1]
        assert isinstance(stage.optimizer, kind)
        assert stage.epochs == 60
        assert stage.rate(2) == descent.rate_in(2)
        if kind is torch.optim.SGD:
            groups = stage.optimizer.param_groups
            assert {(g["momentum"], g["weight_decay"], g["rate_factor"], g["nesterov"]) for g in groups} == {
                (0.9, 5e-4, 1.0, False)
            }
