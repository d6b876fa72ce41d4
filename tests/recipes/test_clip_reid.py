"""CLIP-ReID's two stages against its formulas, written out here; their golden curves; what is refused."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import resight
from resight import towers
from resight.clip.tokenizer import tokenize
from resight.encoder import Encoder
from resight.engine import Machine
from resight.errors import ConfigError, DataError
from resight.learned_words import LearnedWords
from resight.optim import Descent
from resight.pictures import PictureBatch
from resight.progress import Progress
from resight.recipes import clip_reid, finetune
from resight.recipes.clip_reid import Config
from resight.training import Stage
from resight.trainset import TrainSet, train_set

from .conftest import TINY, Workshop, roughen

TERMS = ("identity", "triplet", "prompt")


def cross_entropy(logits: Tensor, identities: Tensor, smoothing: float) -> Tensor:
    """Mean over pictures of -sum over identities of target · log softmax; row by row."""
    n = logits.shape[1]
    losses = []
    for row, own in zip(logits, identities.tolist(), strict=True):
        log_share = row - row.exp().sum().log()
        losses.append(-(1 - smoothing) * log_share[own] - smoothing / n * log_share.sum())
    return torch.stack(losses).mean()


def triplet(features: Tensor, identities: Tensor) -> Tensor:
    """Mean over anchors of relu(farthest of the own - nearest of the others + 0.3); pair by pair."""
    losses = []
    for a, own in zip(features, identities.tolist(), strict=True):
        distances = [((a - b) ** 2).sum().clamp(min=1e-12).sqrt() for b in features]
        same = [d for d, other in zip(distances, identities.tolist(), strict=True) if other == own]
        others = [d for d, other in zip(distances, identities.tolist(), strict=True) if other != own]
        losses.append((torch.stack(same).max() - torch.stack(others).min() + 0.3).relu())
    return torch.stack(losses).mean()


def neck(features: Tensor, weight: Tensor) -> Tensor:
    """Batch norm with the batch's own mean and variance, without a bias."""
    return (features - features.mean(0)) / (features.var(0, unbiased=False) + 1e-5).sqrt() * weight


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[Stage[Any]]:
    """The stages that a recipe hands to `fit`, in place of being trained; towers are float64 and roughened."""
    caught: list[Stage[Any]] = []

    def opened(*arguments: Any, **named: Any) -> Encoder:
        encoder = real(*arguments, **named).double()
        encoder.clip.image.register_forward_pre_hook(lambda tower, given: (given[0].double(), *given[1:]))
        roughen(encoder)
        return encoder

    real = clip_reid.open_start
    for recipe in (clip_reid, finetune):
        monkeypatch.setattr(recipe, "fit", lambda stage, *rest: caught.append(stage))
        monkeypatch.setattr(recipe, "open_start", opened)
    return caught


def last_stage(stages: list[Stage[Any]], data: TrainSet) -> tuple[Stage[Any], PictureBatch]:
    """Stage 2, and a batch of it: two pictures of each identity."""
    stage = stages[-1]
    tower: Any = stage.modules["tower"].train()
    roughen(tower.classifier_last.double())
    roughen(tower.classifier_projected.double())
    if tower.pictures.side_weights is not None:
        tower.pictures.side_weights = tower.pictures.side_weights.double()
    rows = torch.tensor([0, 2, 4, 7, 8, 9, 13, 14])
    size = tower.pictures.encoder.clip.config.image.image_size
    images = torch.randn(8, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return stage, PictureBatch(images, rows, slice(0, 8))


def expected_terms(tower: Any, batch: PictureBatch, texts: Tensor | None, data: TrainSet, config: Any) -> Any:
    """Every weighted term of the spec's loss, by name."""
    encoder, identities = tower.pictures.encoder, torch.from_numpy(data.labels)[batch.rows]
    side = None
    if encoder.side is not None:
        cameras = [data.cameras.index(data.records[row].camera or "") for row in batch.rows.tolist()]
        side = config.start.side_coefficient * encoder.side_table[cameras]
    a, b, c = encoder.clip.image(batch.images, side=side)
    logits = [
        neck(b, encoder.neck_last.weight) @ tower.classifier_last.weight.T,
        neck(c, encoder.neck_projected.weight) @ tower.classifier_projected.weight.T,
    ]
    losses = {
        "identity": config.identity_weight * sum(cross_entropy(one, identities, config.smoothing) for one in logits),
        "triplet": config.triplet_weight * (triplet(a, identities) + triplet(b, identities) + triplet(c, identities)),
    }
    if texts is not None:
        losses["prompt"] = config.prompt_weight * cross_entropy(c @ texts.T, identities, config.smoothing)
    return losses


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


@pytest.fixture(params=["vit", "resnet"])
def tower(request: pytest.FixtureRequest, resnet: str, workshop: Workshop) -> tuple[str, Any]:
    """Weights, and how to start from them; the vision transformer with camera vectors."""
    if request.param == "vit":
        return TINY, replace(workshop.start, side_camera=True)
    return resnet, workshop.resnet_start()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("identity_weight", [0.25, 1.0])
def test_a_step_of_stage_2_has_the_published_terms_and_gradients(
    stages: list[Stage[Any]],
    data: TrainSet,
    workshop: Workshop,
    tower: tuple[str, Any],
    identity_weight: float,
    smoothing: float,
) -> None:
    """Check 8: six losses, both weight settings, smoothing on and off, the gradient of every parameter, float64."""
    init, start = tower
    config = Config(
        identity_weight=identity_weight,
        smoothing=smoothing,
        n_identities=4,
        n_images=2,
        start=start,
        engine=workshop.engine,
    )
    workshop.train(clip_reid, data, config, init=init)
    stage, batch = last_stage(stages, data)
    words = stages[0].modules["prompts"]
    module: Any = stage.modules["tower"]
    reference = copy.deepcopy(module).train()
    with torch.no_grad():
        texts = words(torch.arange(4), reference.pictures.encoder.clip.text)
    expected = expected_terms(reference, batch, texts, data, config)
    sum(expected.values()).backward()
    found = stage.step(batch)
    torch.stack(list(found.values())).sum().backward()

    assert tuple(found) == TERMS
    for name in TERMS:
        assert found[name].dtype == torch.float64
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=0)
        assert found[name] > 0
    mine, theirs = gradients(module), gradients(reference)
    assert mine.keys() == theirs.keys()
    for name in mine:
        scale = theirs[name].abs().max()
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-5, atol=float(1e-5 * scale) + 1e-12, msg=name)

    without = {name for name, _ in module.named_parameters()} - mine.keys()
    frozen = {f"pictures.encoder.{name}" for name in ("neck_last.bias", "neck_projected.bias", "clip.logit_scale")}
    assert without == frozen | {name for name in dict(module.named_parameters()) if ".clip.text." in name}
    assert all(parameter.grad is None for parameter in words.parameters())
    in_optimizer = {id(p) for group in stage.optimizer.param_groups for p in group["params"]}
    assert in_optimizer == {id(p) for name, p in module.named_parameters() if name in mine}


def test_without_the_prompt_term_it_is_the_baselines_step(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop, tower: tuple[str, Any]
) -> None:
    init, start = tower
    shared: Any = {"n_identities": 4, "n_images": 2, "start": start, "engine": workshop.engine}
    terms = []
    for recipe, config in ((clip_reid, Config(identity_weight=1.0, **shared)), (finetune, finetune.Config(**shared))):
        workshop.train(recipe, data, config, init=init, run=workshop.run(recipe.NAME))
        stage, batch = last_stage(stages, data)
        terms.append(stage.step(batch))
        module: Any = stage.modules["tower"]
        reference = expected_terms(copy.deepcopy(module).train(), batch, None, data, config)
        for name, value in reference.items():
            torch.testing.assert_close(terms[-1][name], value, rtol=1e-5, atol=0)
    assert set(terms[1]) == {"identity", "triplet"}
    for name, value in terms[1].items():
        assert torch.equal(terms[0][name], value), name


@pytest.mark.parametrize("name", TERMS)
def test_doubling_a_weight_doubles_its_term_and_no_other(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop, name: str
) -> None:
    once = Config(n_identities=4, n_images=2, start=workshop.start, engine=workshop.engine)
    twice = replace(once, **{f"{name}_weight": 2 * getattr(once, f"{name}_weight")})
    terms = []
    for n, config in enumerate((once, twice)):
        workshop.train(clip_reid, data, config, run=workshop.run(f"run{n}"))
        stage, batch = last_stage(stages, data)
        terms.append(stage.step(batch))
    for other in TERMS:
        torch.testing.assert_close(terms[1][other], (2 if other == name else 1) * terms[0][other], rtol=1e-12, atol=0)


def test_a_step_of_stage_1_has_the_published_losses_and_moves_the_words_alone(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop
) -> None:
    """The losses with a text for every picture, as the code has them; features cached in evaluation mode, without
    camera vectors, from pictures resized as in tests."""
    start = replace(workshop.start, side_camera=True)
    config = Config(n_identities=4, n_images=2, prompt_batch=7, start=start, engine=workshop.engine)
    encoder = workshop.train(clip_reid, data, config)
    stage = stages[0]
    words: Any = stage.modules["prompts"]
    before = encoder.fingerprint()

    n_steps, batches = stage.batches(3, 0)
    plan = list(batches)
    assert (n_steps, [len(batch.rows) for batch in plan]) == (3, [7, 7, 2])
    assert sorted(torch.cat([batch.rows for batch in plan]).tolist()) == list(range(16))
    assert [batch.rows.tolist() for batch in stage.batches(3, 2).batches] == [plan[2].rows.tolist()]

    batch = plan[0]
    found = stage.step(batch)
    torch.stack(list(found.values())).sum().backward()
    for parameter in encoder.parameters():
        assert parameter.grad is None
    assert encoder.fingerprint() == before

    identities = torch.from_numpy(data.labels)[batch.rows]
    loaded = [encoder.preprocess.resize(_opened(data.records[row].path)) for row in batch.rows.tolist()]
    assert encoder.preprocess.interpolation == "bilinear"
    pixels = encoder.preprocess.normalise(torch.stack([torch.from_numpy(picture.copy()) for picture in loaded]))
    with torch.no_grad():
        pictures = encoder.clip.image(pixels.double()).projected
    vectors = words.vectors.detach().clone().requires_grad_()
    sentence = tokenize(["A photo of a X X X X person."])
    embedded = encoder.clip.text.embed(sentence).expand(7, -1, -1).clone()
    embedded[:, 5:9] = vectors[identities].double()
    texts = encoder.clip.text.encode(embedded, torch.full((7,), 11))
    logits = pictures @ texts.T
    expected = {"image to text": [], "text to image": []}  # type: ignore[var-annotated]
    for i in range(7):
        same = [p for p in range(7) if identities[p] == identities[i]]
        row, column = logits[i], logits[:, i]
        expected["image to text"].append(-sum(row[p] - row.logsumexp(0) for p in same) / len(same))
        expected["text to image"].append(-sum(column[p] - column.logsumexp(0) for p in same) / len(same))
    total = torch.zeros((), dtype=torch.float64)
    for name, losses in expected.items():
        torch.testing.assert_close(found[name].double(), torch.stack(losses).mean(), rtol=1e-5, atol=1e-6)
        total = total + torch.stack(losses).mean()
    total.backward()
    torch.testing.assert_close(words.vectors.grad.double(), vectors.grad.double(), rtol=1e-4, atol=1e-6)


def _opened(path: Path) -> Any:
    from resight.data.images import open_image

    return open_image(path)


def test_each_identitys_text_is_computed_once_and_only_up_to_its_end(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(n_identities=4, n_images=2, prompt_batch=16, start=workshop.start, engine=workshop.engine)
    encoder = workshop.train(clip_reid, data, config)
    seen = []
    assert encoder.clip.text is not None
    real = encoder.clip.text.encode
    monkeypatch.setattr(encoder.clip.text, "encode", lambda x, end: seen.append(tuple(x.shape)) or real(x, end))
    (batch,) = stages[0].batches(1, 0).batches
    stages[0].step(batch)
    assert seen == [(4, 12, 64)]  # 4 identities in 16 pictures; 12 of 77 positions


def test_the_schedule_of_stage_1_is_the_published_one(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop
) -> None:
    for epochs, known in (
        (120, {1: 7.8e-5, 4: 2.82e-4, 5: 3.485071e-4, 60: 1.755e-4, 119: 1.0598e-6, 120: 1e-6}),
        (60, {5: 3.440541e-4, 30: 1.755e-4, 59: 1.239146e-6, 60: 1e-6}),
    ):
        shared: Any = {"n_identities": 4, "n_images": 2, "start": workshop.start, "engine": workshop.engine}
        workshop.train(clip_reid, data, Config(prompt_epochs=epochs, **shared), run=workshop.run(str(epochs)))
        stage = stages[-2]
        assert stage.epochs == epochs
        for epoch, rate in known.items():
            assert stage.rate(epoch) == pytest.approx(rate, rel=1e-6, abs=1e-10)
        (group, _) = stage.optimizer.param_groups
        assert isinstance(stage.optimizer, torch.optim.Adam)
        assert (group["weight_decay"], group["betas"], group["eps"]) == (1e-4, (0.9, 0.999), 1e-8)
        assert [tuple(p.shape) for p in group["params"]] == [(4, 4, 64)]


def quick(workshop: Workshop, **changes: Any) -> Config:
    """Two epochs of each stage, at a rate at which a small tower learns."""
    known: dict[str, Any] = {
        "prompt_epochs": 2,
        "prompt_batch": 8,
        "n_identities": 4,
        "n_images": 2,
        "descent": Descent(epochs=2, rate=1e-3, warmup_epochs=1, milestones=()),
        "start": workshop.start,
        "engine": workshop.engine,
    }
    return Config(**known | changes)


def test_training_follows_its_golden_curve(data: TrainSet, workshop: Workshop) -> None:
    """float32 on a processor. To make the numbers anew, print `losses` and explain the change in the commit."""
    run = workshop.run()
    encoder = workshop.train(clip_reid, data, quick(workshop), run=run)
    losses = [entry["terms"] for entry in run.entries() if "terms" in entry]
    assert [entry["stage"] for entry in run.entries() if "terms" in entry] == ["words"] * 4 + ["train"] * 4
    for name, values in {
        "image to text": [4.05410, 3.71787, 4.02315, 3.07687],
        "text to image": [3.65738, 3.23856, 3.27750, 2.49924],
        "identity": [0.692406, 0.684230, 0.676627, 0.662504],
        "triplet": [0.0692375, 0.0, 0.0018967, 0.0024414],
        "prompt": [3.04541, 1.32587, 1.00011, 0.886285],
    }.items():
        assert [terms[name] for terms in losses if name in terms] == pytest.approx(values, rel=1e-3, abs=1e-4), name
    assert encoder.card.data == data.fingerprint
    assert encoder.card.notes[0] == "Trained by resight train clip-reid."
    assert encoder.can_read
    assert encoder.feature == "before-neck"
    assert encoder.dimension == 128


def test_half_precision_follows_the_curve_roughly(data: TrainSet, workshop: Workshop) -> None:
    """bfloat16 in both towers and both stages; the losses, and the cached features, stay float32."""
    curves = []
    for precision in ("float32", "bf16"):
        workshop.engine = replace(workshop.engine, precision=precision)
        workshop.machine = Machine.of(workshop.engine)
        run = workshop.run(precision)
        workshop.train(clip_reid, data, quick(workshop), run=run)
        curves.append([entry["loss"] for entry in run.entries() if "terms" in entry])
    assert curves[0] != curves[1]
    assert curves[1] == pytest.approx(curves[0], rel=0.05)


def test_stage_2_alone_gives_what_the_whole_run_gave(data: TrainSet, workshop: Workshop) -> None:
    torch.set_num_threads(1)
    whole = workshop.run("whole")
    first = workshop.train(clip_reid, data, quick(workshop), run=whole)
    again = workshop.run("again")
    second = workshop.train(clip_reid, data, quick(workshop, stage1=whole.folder / "stage1"), run=again)
    assert first.fingerprint() == second.fingerprint()
    assert {entry["stage"] for entry in again.entries()} == {"train"}

    about = json.loads((whole.folder / "stage1" / "prompts.json").read_text())
    assert about["identities"] == ["blue", "green", "grey", "red"]
    assert about["template"] == "A photo of a X X X X person."


def test_the_sentence_of_words_that_are_taken_is_told(
    data: TrainSet, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    """--noun does not count then."""
    words = workshop.run("whole").folder / "stage1"
    clip = Encoder.load(TINY, device="cpu", seed=workshop.engine.seed).clip
    LearnedWords.fresh(clip, data.identities, noun="cow", n_words=4, seed=0).save(words, clip)
    clip_reid.train(
        TINY,
        data,
        quick(workshop, stage1=words),
        workshop.run("again"),
        workshop.machine,
        workshop.folder / "cache",
        Progress(),
    )
    assert f"words: of {words}, for 'A photo of a X X X X cow.'" in capsys.readouterr().err


def test_a_run_that_goes_on_in_stage_2_does_not_open_the_pictures_of_stage_1_again(
    data: TrainSet, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = workshop.run()
    first = workshop.train(clip_reid, data, quick(workshop), run=run)
    monkeypatch.setattr(towers, "load", lambda *given, **named: pytest.fail("pictures were read"))
    assert workshop.train(clip_reid, data, quick(workshop), run=run).fingerprint() == first.fingerprint()


def test_identities_kept_apart_need_no_words(people: Path, workshop: Workshop) -> None:
    splits = resight.read_data(people)
    whole = workshop.run("whole")
    workshop.train(clip_reid, train_set(splits), quick(workshop), run=whole)
    fewer = train_set(splits, validate=True, validation_share=0.5)
    assert len(fewer.identities) == 2
    config = quick(workshop, stage1=whole.folder / "stage1", n_identities=2)
    encoder = workshop.train(clip_reid, fewer, config, run=workshop.run("fewer"))
    assert math.isfinite(sum(p.sum().item() for p in encoder.parameters()))


def test_too_few_identities_for_stage_2_are_refused_before_stage_1(
    data: TrainSet, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_reid, "open_start", lambda *given, **named: pytest.fail("weights were opened"))
    with pytest.raises(DataError, match=r"4 identities, but a batch takes 16\. Choose at most --n-identities 4"):
        workshop.train(clip_reid, data, quick(workshop, n_identities=16))


def test_weights_without_a_text_tower_are_refused(data: TrainSet, workshop: Workshop, tmp_path: Path) -> None:
    encoder = Encoder.load(TINY, size=(64, 32), with_text=False, device="cpu")
    encoder.save(tmp_path / "mute")
    with pytest.raises(ConfigError, match="has no text tower, which this recipe needs"):
        workshop.train(clip_reid, data, quick(workshop), init=str(tmp_path / "mute"))


def test_the_text_tower_can_be_left_out_of_the_result(data: TrainSet, workshop: Workshop) -> None:
    start = replace(workshop.start, without_text=True)
    encoder = workshop.train(clip_reid, data, quick(workshop, start=start))
    assert not encoder.can_read
    assert not any("text" in name for name in encoder.state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noun": " "}, "--noun: is empty"),
        ({"n_words": 0}, "--n-words 0: at least 1"),
        ({"prompt_epochs": 0}, "--prompt-epochs 0: at least 1"),
        ({"prompt_batch": 1}, "--prompt-batch 1: at least 2"),
        ({"n_identities": 1}, "--n-identities 1: at least 2"),
        ({"n_images": 1}, "--n-images 1: at least 2"),
        ({"identity_weight": -1.0}, "--identity-weight -1.0: 0 or more"),
        ({"prompt_rate": math.nan}, "--prompt-rate nan: 0 or more"),
        ({"smoothing": 1.5}, "--smoothing 1.5: from 0 to 1"),
        ({"margin": -0.1}, "--margin -0.1: 0 or more, or None"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        Config(**changes)
