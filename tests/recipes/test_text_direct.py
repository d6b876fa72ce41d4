"""Training on captions: every term against the formula, curves, pairs of a batch, resumption, what is refused."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import resight
from resight.clip.relations import mask_tokens
from resight.clip.tokenizer import tokenize
from resight.commands.settings import override
from resight.data.augment import Augment
from resight.encoder import Encoder
from resight.errors import ConfigError, DataError
from resight.optim import TextDescent
from resight.pairs import Sampling
from resight.pictures import PictureBatch
from resight.progress import Progress
from resight.recipes import text_direct
from resight.recipes.text_direct import PRESETS, Config, PairBatch
from resight.runs import flat
from resight.training import Stage
from resight.trainset import TrainSet, train_set

from .conftest import Workshop, roughen

ALL = {"itc": 0.5, "sdm": 2.0, "id": 0.7, "cmpm": 0.3, "tal": 0.1}
JOINED = {"join_identity": True, "sampler": "identity", "batch_size": 8, "n_images": 2}


@pytest.fixture
def data(people: Path) -> TrainSet:
    return with_captions(train_set(resight.read_data(people), learns_from="captions"))


def with_captions(data: TrainSet) -> TrainSet:
    """Two captions for every second picture, of different lengths."""
    records = [
        replace(
            record, captions=(*record.captions, f"somebody in {record.identity} who is on picture {row}, and alone")
        )
        if row % 2
        else record
        for row, record in enumerate(data.records)
    ]
    return replace(data, records=tuple(records))


def quick(workshop: Workshop, **changes: Any) -> Config:
    """Two epochs, at a rate at which a small tower learns; a change may be of a field of a nested part."""
    parts: dict[str, Any] = {
        "descent": {"epochs": 2, "rate": 1e-3, "warmup_epochs": 1, "epsilon": 1e-8},
        "sampling": {"batch_size": 8},
    }
    for part, kind in (("descent", TextDescent), ("sampling", Sampling)):
        names = {field.name for field in dataclasses.fields(kind)}
        given = {name: changes.pop(name) for name in list(changes) if name in names}
        parts[part] = kind(**parts[part] | given)
    start = replace(workshop.start, normalisation="init")
    return Config(**parts | {"start": start, "engine": workshop.engine} | changes)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[Stage[Any]]:
    """The stages that the recipe hands to `fit`, in place of being trained."""
    caught: list[Stage[Any]] = []
    monkeypatch.setattr(text_direct, "fit", lambda stage, *rest: caught.append(stage))
    return caught


@pytest.fixture
def doubled(monkeypatch: pytest.MonkeyPatch, stages: list[Stage[Any]]) -> list[Stage[Any]]:
    """The same in float64, every parameter roughened."""

    def opened(*arguments: Any, **named: Any) -> Encoder:
        return real(*arguments, **named).double()

    real = text_direct.open_start
    monkeypatch.setattr(text_direct, "open_start", opened)
    monkeypatch.setattr(
        text_direct, "fit", lambda stage, *rest: (roughen(learned(stage).double()), stages.append(stage))
    )
    return stages


def learned(stage: Stage[Any]) -> Any:
    return stage.modules["learned"]


def batch(rows: list[int], *, dtype: torch.dtype = torch.float32) -> PairBatch:
    images = torch.randn(len(rows), 3, 64, 32, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return PairBatch(PictureBatch(images, torch.tensor(rows), slice(0, len(rows))), torch.tensor(rows), (1, 2, 3))


ROWS = [0, 1, 2, 7, 8, 13, 22, 23]


@pytest.mark.parametrize("kind", ["itc", "irra", "joined"])
def test_training_follows_its_golden_curve(data: TrainSet, workshop: Workshop, kind: str) -> None:
    """float32 on a processor. To make the numbers anew, print `losses` and explain the change in the commit."""
    changes, golden = GOLDEN[kind]
    run = workshop.run()
    encoder = workshop.train(text_direct, data, quick(workshop, **changes), run=run)
    losses = [entry["terms"] for entry in run.entries() if "terms" in entry]
    assert set(losses[0]) == set(golden)
    for name, values in golden.items():
        assert [terms[name] for terms in losses] == pytest.approx(values, rel=1e-3, abs=1e-5), name
    assert encoder.feature == ("before-neck" if kind == "joined" else "projected")
    assert encoder.can_read
    assert not encoder.training


def test_from_nothing_it_trains_as_the_minis_were(people: Path, workshop: Workshop) -> None:
    """The flags of the Makefile, on one caption a picture: the curve that was recorded before there were other ways."""
    data = train_set(resight.read_data(people), learns_from="captions")
    named: dict[str, Any] = {"sampler": "distinct", "batch_size": 4, "temperature": None}
    named |= {"optimizer": "adamw", "epsilon": 1e-6, "bias_rate_factor": 1.0, "augment": Augment(erasing="pixel")}
    start = replace(workshop.start, normalisation="init", train_interpolation="bicubic")
    run = workshop.run()
    workshop.train(text_direct, data, quick(workshop, start=start, **named), run=run)
    losses = [entry["terms"]["itc"] for entry in run.entries() if "terms" in entry]
    golden = [1.584148, 1.588387, 1.531746, 1.377701, 1.409978, 1.382557, 1.450861, 1.385309]
    assert losses == pytest.approx(golden, rel=1e-3)


GOLDEN: dict[str, tuple[dict[str, Any], dict[str, list[float]]]] = {
    "itc": ({}, {"itc": [3.947472, 3.160663, 3.092305, 2.359544, 4.939045, 2.687494]}),
    "irra": (
        PRESETS["irra"],
        {
            "sdm": [29.719994, 25.292793, 26.03351, 21.239546, 26.411644, 25.344366],
            "id": [1.384469, 1.389697, 1.383998, 1.373509, 1.349498, 1.417482],
            "mlm": [10.84134, 10.663878, 10.639165, 10.126702, 9.97775, 9.971198],
        },
    ),
    "joined": (
        JOINED,
        {
            "itc": [3.710642, 2.753359, 4.445882, 2.698417, 2.998355, 2.795711],
            "identity": [2.771342, 2.729879, 2.699435, 2.664155, 2.472501, 2.303807],
            "triplet": [0.044188, 0.157249, 0.240672, 0.156636, 0.216143, 0.66626],
        },
    ),
}


def features_of(stage: Stage[Any], given: PairBatch) -> tuple[Any, Tensor, list[int]]:
    """The image tower's taps, text features and identities of a batch, computed anew."""
    tower = learned(stage)["pairs"]
    clip, rows = tower.encoder.clip, given.rows.tolist()
    with torch.no_grad():
        taps = clip.image(given.pictures.images)
        texts = clip.text(tokenize([tower.pairs.records[row].captions[0] for row in rows]))
    return taps, texts, [int(tower.pairs.labels[row]) for row in rows]


def cosines(images: Tensor, texts: Tensor) -> list[list[float]]:
    return [[float(image @ text / image.norm() / text.norm()) for text in texts] for image in images]


def transposed(table: list[list[float]]) -> list[list[float]]:
    return [list(row) for row in zip(*table, strict=True)]


def shares(logits: list[float]) -> list[float]:
    total = sum(math.exp(logit) for logit in logits)
    return [math.exp(logit) / total for logit in logits]


def itc(table: list[list[float]], identities: list[int], scale: float, shared: bool) -> float:
    total = 0.0
    for side in (table, transposed(table)):
        for i, row in enumerate(side):
            mine = [j for j in range(len(row)) if (identities[j] == identities[i] if shared else j == i)]
            predicted = shares([scale * value for value in row])
            total -= sum(math.log(predicted[j]) for j in mine) / len(mine)
    return total / len(table) / 2


def sdm(table: list[list[float]], identities: list[int], scale: float) -> float:
    total = 0.0
    for side in (table, transposed(table)):
        for i, row in enumerate(side):
            same = [identity == identities[i] for identity in identities]
            predicted = shares([scale * value for value in row])
            total += sum(
                p * (math.log(p) - math.log(s / sum(same) + 1e-8)) for p, s in zip(predicted, same, strict=True)
            )
    return total / len(table)


def cmpm(images: Tensor, texts: Tensor, identities: list[int]) -> float:
    total = 0.0
    for projected, onto in ((images, texts), (texts, images)):
        for i, feature in enumerate(projected):
            same = [identity == identities[i] for identity in identities]
            predicted = shares([float(feature @ other / other.norm()) for other in onto])
            targets = [s / math.sqrt(sum(same)) for s in same]
            total += sum(p * (math.log(p) - math.log(t + 1e-8)) for p, t in zip(predicted, targets, strict=True))
    return total / len(images)


def tal(table: list[list[float]], identities: list[int], margin: float, temperature: float) -> float:
    total = 0.0
    for side in (table, transposed(table)):
        for i, row in enumerate(side):
            mine = [value for value, identity in zip(row, identities, strict=True) if identity == identities[i]]
            others = [value for value, identity in zip(row, identities, strict=True) if identity != identities[i]]
            weights = shares([value / temperature for value in mine])
            positive = sum(weight * value for weight, value in zip(weights, mine, strict=True))
            soft = temperature * math.log(sum(math.exp(value / temperature) for value in others))
            total += max(0.0, margin - positive + soft)
    return total


def cross_entropy(logits: Tensor, identities: list[int], smoothing: float = 0.0) -> float:
    total = 0.0
    for row, identity in zip(logits.tolist(), identities, strict=True):
        logs = [math.log(share) for share in shares(row)]
        total -= (1 - smoothing) * logs[identity] + smoothing * sum(logs) / len(logs)
    return total / len(identities)


def triplet(features: Tensor, identities: list[int], margin: float) -> float:
    total = 0.0
    for i, anchor in enumerate(features):
        far = [float((anchor - other).norm()) for other in features]
        positive = max(d for d, identity in zip(far, identities, strict=True) if identity == identities[i])
        negative = min(d for d, identity in zip(far, identities, strict=True) if identity != identities[i])
        total += max(0.0, margin + positive - negative)
    return total / len(features)


@pytest.mark.parametrize("identity_targets", [False, True])
@pytest.mark.parametrize("temperature", [0.05, None])
def test_every_text_term_is_the_formulas(
    doubled: list[Stage[Any]], data: TrainSet, workshop: Workshop, identity_targets: bool, temperature: float | None
) -> None:
    named: dict[str, Any] = {"identity_targets": identity_targets, "temperature": temperature}
    named |= {"tal_margin": 0.2, "tal_temperature": 0.03}
    encoder = workshop.train(text_direct, data, quick(workshop, **ALL, **named))
    given = batch(ROWS, dtype=torch.float64)
    found = doubled[0].step(given)
    taps, texts, identities = features_of(doubled[0], given)
    assert len(set(identities)) < len(identities)
    table = cosines(taps.projected, texts)
    assert encoder.clip.logit_scale is not None
    scale = encoder.clip.logit_scale.exp().item() if temperature is None else 1 / temperature
    classifier = learned(doubled[0])["pairs"].classifier
    with torch.no_grad():
        told = [cross_entropy(classifier(side), identities) for side in (taps.projected, texts)]
    expected = {
        "itc": 0.5 * itc(table, identities, scale, identity_targets),
        "sdm": 2.0 * sdm(table, identities, scale),
        "id": 0.7 * sum(told) / 2,
        "cmpm": 0.3 * cmpm(taps.projected, texts, identities),
        "tal": 0.1 * tal(table, identities, 0.2, 0.03),
    }
    assert {name: term.item() for name, term in found.items()} == pytest.approx(expected, rel=1e-9)


def test_masked_words_are_a_term_of_their_own(doubled: list[Stage[Any]], data: TrainSet, workshop: Workshop) -> None:
    """Which words follows from (seed, epoch, step); captions are read with their padding."""
    workshop.train(text_direct, data, quick(workshop, mlm=True, mlm_weight=0.5))
    given = batch(ROWS, dtype=torch.float64)
    found = doubled[0].step(given)
    assert set(found) == {"mlm", "itc"}
    tower, relations = learned(doubled[0])["pairs"], learned(doubled[0])["masked"].relations
    masked, answers = mask_tokens(tower.pairs.tokens[given.rows], (1, 2, 3))
    with torch.no_grad():
        clip = tower.encoder.clip
        hidden = relations(clip.text.tokens(masked), clip.image.tokens(given.pictures.images))
        logits = relations.mlm_head(hidden[answers > 0])
    expected = 0.5 * cross_entropy(logits, answers[answers > 0].tolist())
    assert found["mlm"].item() == pytest.approx(expected, rel=1e-9)
    taps, texts, identities = features_of(doubled[0], given)
    plain = itc(cosines(taps.projected, texts), identities, 50, shared=False)
    assert found["itc"].item() == pytest.approx(plain, rel=1e-9)
    other = dataclasses.replace(given, seed=(1, 2, 4))
    assert doubled[0].step(other)["mlm"].item() != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("mlm", [False, True])
def test_joined_terms_are_those_of_finetune(
    doubled: list[Stage[Any]], data: TrainSet, workshop: Workshop, mlm: bool
) -> None:
    named = {"identity_weight": 0.25, "triplet_weight": 0.5, "margin": 0.4, "smoothing": 0.2, "mlm": mlm}
    encoder = workshop.train(text_direct, data, quick(workshop, **JOINED, **named))
    given = batch(ROWS, dtype=torch.float64)
    tower = learned(doubled[0]).train()["identity"]
    found = doubled[0].step(given)
    taps, texts, identities = features_of(doubled[0], given)

    def necked(feature: Tensor, neck: Any) -> Tensor:
        deviation = (feature.var(dim=0, unbiased=False) + 1e-5).sqrt()
        return (feature - feature.mean(dim=0)) / deviation * neck.weight + neck.bias

    with torch.no_grad():
        logits = (
            necked(taps.last, encoder.neck_last) @ tower.classifier_last.weight.T,
            necked(taps.projected, encoder.neck_projected) @ tower.classifier_projected.weight.T,
        )
    expected = {
        "identity": 0.25 * sum(cross_entropy(one, identities, 0.2) for one in logits),
        "triplet": 0.5 * sum(triplet(tap, identities, 0.4) for tap in taps),
        "itc": itc(cosines(taps.projected, texts), identities, 50, shared=False),
    }
    assert {name: found[name].item() for name in expected} == pytest.approx(expected, rel=1e-9)
    assert set(found) == {*expected, *(["mlm"] if mlm else [])}


@pytest.mark.parametrize("name", ["itc", "sdm", "id", "cmpm", "tal", "mlm_weight", "identity_weight", "triplet_weight"])
def test_doubling_a_weight_doubles_its_term(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop, name: str
) -> None:
    on: dict[str, Any] = dict.fromkeys(("itc", "sdm", "id", "cmpm", "tal"), 1.0) | {"mlm": True} | JOINED
    workshop.train(text_direct, data, quick(workshop, **on))
    workshop.train(text_direct, data, quick(workshop, **on | {name: 2.0}))
    plain, doubled = ({term: value.item() for term, value in stage.step(batch(ROWS)).items()} for stage in stages)
    own = name.removesuffix("_weight")
    assert doubled == pytest.approx({term: (2 if term == own else 1) * value for term, value in plain.items()})


@pytest.mark.parametrize("temperature", [0.02, None])
def test_all_that_learns_gets_a_gradient(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop, temperature: float | None
) -> None:
    """The text tower too, where the losses of `finetune` join in; the logit scale if it is CLIP's own."""
    on: dict[str, Any] = {"id": 1.0, "mlm": True, "temperature": temperature} | JOINED
    encoder = workshop.train(text_direct, data, quick(workshop, **on))
    torch.stack(list(stages[0].step(batch(ROWS)).values())).sum().backward()
    without = {name for name, parameter in learned(stages[0]).named_parameters() if parameter.grad is None}
    frozen = {name for name, parameter in learned(stages[0]).named_parameters() if not parameter.requires_grad}
    assert without == frozen
    necks = {f"pairs.encoder.neck_{name}.bias" for name in ("last", "projected")}
    assert frozen == necks | ({"pairs.encoder.clip.logit_scale"} if temperature else set())
    trained = {id(p) for group in stages[0].optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in learned(stages[0]).parameters() if p.requires_grad}
    assert encoder.clip.text is not None
    assert {id(p) for p in encoder.clip.text.parameters()} <= trained


def test_what_starts_from_nothing_learns_faster(stages: list[Stage[Any]], data: TrainSet, workshop: Workshop) -> None:
    workshop.train(text_direct, data, quick(workshop, id=1.0, mlm=True, rate=1e-5, weight_decay=4e-5))
    names = {id(parameter): name for name, parameter in learned(stages[0]).named_parameters()}
    rules = {
        names[id(parameter)]: (group["rate_factor"], group["weight_decay"])
        for group in stages[0].optimizer.param_groups
        for parameter in group["params"]
    }
    relations = "masked.relations."
    assert rules["pairs.encoder.clip.text.text_projection"] == (1, 4e-5)
    assert rules["pairs.encoder.clip.image.ln_pre.bias"] == (2, 0)
    assert rules["pairs.classifier.weight"] == rules[relations + "mlm_head.3.weight"] == (5, 4e-5)
    assert rules["pairs.classifier.bias"] == rules[relations + "mlm_head.3.bias"] == (5, 0)
    assert rules[relations + "cross_attention.in_proj_weight"] == (5, 4e-5)
    assert rules[relations + "cross_blocks.resblocks.3.mlp.c_fc.weight"] == (5, 4e-5)
    assert rules[relations + "cross_blocks.resblocks.3.mlp.c_fc.bias"] == (2, 0)
    assert rules[relations + "ln_pre_text.weight"] == rules[relations + "ln_post.weight"] == (1, 4e-5)
    rates = [stages[0].rate(epoch) for epoch in (1, 2)]
    assert rates == pytest.approx([1e-6, 1e-5])


def test_the_temperature_does_not_fall_below_a_hundredth(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop
) -> None:
    for temperature, expected in ((None, math.log(100)), (0.02, 9.0)):
        scale = workshop.train(text_direct, data, quick(workshop, temperature=temperature)).clip.logit_scale
        assert scale is not None
        with torch.no_grad():
            scale.fill_(9.0)
        stages[-1].step(batch(ROWS))
        assert scale.item() == pytest.approx(expected)


def test_an_epoch_is_the_samplers(stages: list[Stage[Any]], data: TrainSet, workshop: Workshop) -> None:
    """Every caption once, and no batch of a single identity where triplets are aligned; the seed tells the step."""
    workshop.train(text_direct, data, quick(workshop, batch_size=23))
    n_steps, batches = stages[0].batches(1, 0)
    found = list(batches)
    assert (n_steps, [len(each.rows) for each in found]) == (2, [23, 1])
    assert sorted(torch.cat([each.rows for each in found]).tolist()) == list(range(24))
    assert [each.seed for each in found] == [(1234, 1, 0), (1234, 1, 1)]
    assert [(each.rows.tolist(), each.seed) for each in stages[0].batches(1, 1).batches] == [
        (found[1].rows.tolist(), (1234, 1, 1))
    ]
    assert [terms["itc"].item() for terms in [stages[0].step(found[1])]] == [0]
    workshop.train(text_direct, data, quick(workshop, batch_size=23, tal=1.0))
    assert stages[1].batches(1, 0).n_steps == 1


def test_captions_are_left_out_and_moved(stages: list[Stage[Any]], data: TrainSet, workshop: Workshop) -> None:
    workshop.train(text_direct, data, quick(workshop, caption_drop=0.5, noise=0.5, batch_size=1))
    n = [stages[0].batches(epoch, 0).n_steps for epoch in range(1, 41)]
    assert abs(sum(n) / 40 - 12) < 4 * math.sqrt(24 / 4 / 40)
    plain = [caption for record in data.records for caption in record.captions]
    noisy = [record.captions[0] for record in stages[0].records]
    assert sorted(plain) == sorted(noisy)
    assert 0 < sum(a != b for a, b in zip(plain, noisy, strict=True)) <= 12  # captions of an identity may be alike


def test_pictures_without_identity_are_learned_from(people: Path, workshop: Workshop) -> None:
    """By themselves in itc; the identity loss leaves them out."""
    lines = people.read_text().splitlines()
    people.write_text("\n".join([lines[0], *(line.replace(",red,", ",,") for line in lines[1:])]) + "\n")
    data = train_set(resight.read_data(people), learns_from="captions")
    assert sorted(data.labels.tolist())[-4:] == [3, 4, 5, 6]
    run = workshop.run()
    workshop.train(text_direct, data, quick(workshop, id=1.0, identity_targets=True, batch_size=16), run=run)
    assert [entry["seen"] for entry in run.entries() if "terms" in entry] == [16, 32]
    with pytest.raises(DataError, match=r"--join-identity: 4 of 16 train pictures have no identity\. Name them, take"):
        workshop.train(text_direct, data, quick(workshop, **JOINED), run=workshop.run("other"))


def test_an_identity_loss_needs_identities(data: TrainSet, workshop: Workshop) -> None:
    records = tuple(replace(record, identity=None) for record in data.records)
    unnamed = replace(data, records=records, identities=(), labels=torch.arange(len(records)).numpy())
    with pytest.raises(
        DataError, match="--id: the train pictures have 0 identities; telling them apart needs at least 2"
    ):
        workshop.train(text_direct, unnamed, quick(workshop, id=1.0))


def test_triplets_of_a_single_identity_are_refused(data: TrainSet, workshop: Workshop) -> None:
    one = replace(data, identities=data.identities[:1], labels=data.labels * 0)
    with pytest.raises(DataError, match="--tal: all train pictures are of one identity; aligning triplets needs at"):
        workshop.train(text_direct, one, quick(workshop, tal=1.0))


def test_a_batch_larger_than_the_identities_is_refused(data: TrainSet, workshop: Workshop) -> None:
    with pytest.raises(DataError, match=r"4 identities, but a batch takes 5\. Choose at most --batch-size 4"):
        workshop.train(text_direct, data, quick(workshop, sampler="distinct", batch_size=5))


def test_a_resnet_learns_from_captions_but_not_by_masked_words(data: TrainSet, workshop: Workshop, resnet: str) -> None:
    start = replace(workshop.resnet_start(), normalisation="init")
    run = workshop.run()
    workshop.train(text_direct, data, quick(workshop, start=start), init=resnet, run=run)
    assert run.entries()
    with pytest.raises(ConfigError, match="--mlm: looks at the tokens of a vision transformer"):
        workshop.train(
            text_direct, data, quick(workshop, start=start, mlm=True), init=resnet, run=workshop.run("other")
        )


@pytest.mark.parametrize("joined", [False, True])
def test_micro_batches_are_the_whole_batch(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop, joined: bool
) -> None:
    """All losses, masked words among them, and every gradient."""
    on: dict[str, Any] = dict.fromkeys(("itc", "sdm", "id", "cmpm", "tal"), 1.0) | {"mlm": True}
    found = []
    for size in (0, 3):
        engine = replace(workshop.engine, micro_batch=size)
        workshop.train(text_direct, data, quick(workshop, engine=engine, **on | (JOINED if joined else {})))
        terms = stages[-1].step(batch(ROWS))
        torch.stack(list(terms.values())).sum().backward()
        named = learned(stages[-1]).named_parameters()
        found.append(({name: t.item() for name, t in terms.items()}, {n: p.grad for n, p in named if p.requires_grad}))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5, abs=1e-6)
    for name, gradient in found[0][1].items():
        assert gradient is not None, name
        tolerance = 1e-4 * float(gradient.abs().max()) + 1e-7
        torch.testing.assert_close(found[1][1][name], gradient, rtol=1e-3, atol=tolerance, msg=name)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums are added up in one order."""
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


@pytest.mark.usefixtures("one_thread")
def test_a_run_goes_on_bit_for_bit(data: TrainSet, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped inside the second epoch, with everything on that draws: words, captions, noise, augmentation."""
    config = quick(workshop, **PRESETS["irra"], caption_drop=0.2, noise=0.2)
    undisturbed = workshop.run("undisturbed")
    whole = workshop.train(text_direct, data, config, run=undisturbed)
    saving = replace(config, engine=replace(workshop.engine, checkpoint_minutes=0.0))
    run, real, taken = workshop.run("stopped"), text_direct.fit, 0

    def stopping(stage: Stage[Any], *rest: Any) -> None:
        def step(given: PairBatch) -> Any:
            nonlocal taken
            taken += 1
            if taken == n_steps + 2:
                raise KeyboardInterrupt
            return stage.step(given)

        n_steps = stage.batches(1, 0).n_steps
        real(replace(stage, step=step), *rest)

    monkeypatch.setattr(text_direct, "fit", stopping)
    with pytest.raises(KeyboardInterrupt):
        workshop.train(text_direct, data, saving, run=run)
    monkeypatch.setattr(text_direct, "fit", real)
    again = workshop.train(text_direct, data, config, run=run)
    assert again.fingerprint() == whole.fingerprint()
    terms = [[entry["terms"] for entry in one.entries() if "terms" in entry] for one in (run, undisturbed)]
    assert terms[0] == terms[1]


def test_validation_is_by_captions(people: Path, workshop: Workshop) -> None:
    data = train_set(resight.read_data(people), learns_from="captions", validate=True, validation_share=0.5)
    engine = replace(workshop.engine, validate_every=1, keep="best")
    for joined in (False, True):
        run = workshop.run(f"run{joined}")
        config = quick(workshop, engine=engine, **(JOINED | {"batch_size": 4} if joined else {}))
        encoder = workshop.train(text_direct, data, config, run=run)
        scores = [entry["validation"] for entry in run.entries() if "validation" in entry]
        assert [set(entry) for entry in scores] == [{"mAP", "R1"}] * 2
        assert all(0 < entry["mAP"] <= 1 for entry in scores)
        assert encoder.dimension == (128 if joined else 64)


def test_cut_and_moved_captions_are_told(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    long = replace(data.records[0], captions=("a very long caption " * 30,))
    more = replace(data, records=(long, *data.records[1:]))
    config = quick(workshop, noise=0.5)
    text_direct.train("random:64x2/16", more, config, workshop.run(), workshop.machine, workshop.folder, Progress())
    said = capsys.readouterr().err
    assert "note: --noise: 12 of 24 captions stand with another's picture." in said
    assert "note: 1 of 24 captions are longer than 77 tokens and are cut." in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"itc": 0.0}, r"--itc, --sdm, --id, --cmpm, --tal: all are 0\. Give one of them a weight\."),
        ({"itc": 0.0, "mlm": True}, "all are 0"),
        (
            {"itc": 0.0, "sdm": 1.0, "identity_targets": True},
            r"--identity-targets: are those of itc, whose weight is 0\.",
        ),
        ({"itc": -1.0}, r"--itc -1\.0: 0 or more\."),
        ({"sdm": math.nan}, r"--sdm nan: 0 or more\."),
        ({"id": math.inf}, r"--id inf: 0 or more\."),
        ({"cmpm": -1}, r"--cmpm -1: 0 or more\."),
        ({"tal": -1}, r"--tal -1: 0 or more\."),
        ({"mlm_weight": -1}, r"--mlm-weight -1: 0 or more\."),
        ({"identity_weight": -1}, r"--identity-weight -1: 0 or more\."),
        ({"triplet_weight": -1}, r"--triplet-weight -1: 0 or more\."),
        ({"tal_margin": -1}, r"--tal-margin -1: 0 or more\."),
        ({"temperature": 0.0}, r"--temperature 0\.0: more than 0\."),
        ({"tal_temperature": 0.0}, r"--tal-temperature 0\.0: more than 0\."),
        ({"margin": -1}, r"--margin -1: 0 or more, or None\."),
        ({"smoothing": 1.5}, r"--smoothing 1\.5: from 0 to 1\."),
        ({"noise": -0.5}, r"--noise -0\.5: from 0 to 1\."),
        (
            {"join_identity": True},
            r"--join-identity: compares pictures of an identity in a batch\. Add --sampler identity\.",
        ),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config(**changes)


@pytest.mark.parametrize("flag", ["side_camera", "side_view", "without_text"])
def test_what_it_would_ignore_is_refused(workshop: Workshop, flag: str) -> None:
    with pytest.raises(ConfigError, match="text-direct compares plain CLIP features"):
        Config(start=replace(workshop.start, **{flag: True}))


SHARED = {  # IRRA's code, arXiv 2303.12501
    "cmpm": 0.0,
    "tal": 0.0,
    "temperature": 0.02,
    "mlm_weight": 1.0,
    "join_identity": False,
    "sampler": "random",
    "batch_size": 64,
    "caption_drop": 0.0,
    "noise": 0.0,
    "epochs": 60,
    "optimizer": "adam",
    "rate": 1e-5,
    "weight_decay": 4e-5,
    "epsilon": 1e-3,
    "bias_rate_factor": 2.0,
    "fresh_rate_factor": 5.0,
    "warmup_epochs": 5,
    "warmup_factor": 0.1,
    "size": (384, 128),
    "stride": None,
    "normalisation": "init",
    "train_interpolation": "bilinear",
    "test_interpolation": "bilinear",
    "flip": 0.5,
    "pad": 10,
    "erase": 0.5,
    "erasing": "constant",
    "colour": 0.0,
    "clip_norm": 0.0,
    "keep": "last",
}
OWN = {
    "itc": {"itc": 1.0, "sdm": 0.0, "id": 0.0, "identity_targets": False, "mlm": False},
    "irra": {"itc": 0.0, "sdm": 1.0, "id": 1.0, "identity_targets": False, "mlm": True},
    "decoupling-baseline": {"itc": 1.0, "sdm": 0.0, "id": 1.0, "identity_targets": True, "mlm": False},
}


@pytest.mark.parametrize("name", OWN)
def test_a_preset_is_the_published_method(name: str) -> None:
    """Whatever was set before: a preset states every field in which presets differ."""
    assert set(PRESETS) == set(OWN)
    for before in (Config(), override(Config(), PRESETS["irra"], ""), override(Config(), PRESETS["itc"], "")):
        found = flat(dataclasses.asdict(override(before, PRESETS[name], "")))
        expected = SHARED | OWN[name]
        assert {field: found[field] for field in expected} == expected
    left = set(found) - set(expected) - set(flat(dataclasses.asdict(Config().engine)))
    with_joined = {"identity_weight", "triplet_weight", "margin", "smoothing"}
    with_others = {"tal_margin", "tal_temperature", "n_images", "side_camera", "side_view", "side_coefficient"}
    assert left == with_joined | with_others | {"without_text"}
    assert override(Config(), PRESETS["itc"], "") == Config()
