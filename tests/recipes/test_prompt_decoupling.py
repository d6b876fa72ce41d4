"""Prompt decoupling: both steps against their formulas, written out; who learns when; going on; what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import resight
from resight.clip.tokenizer import tokenize
from resight.commands.settings import override
from resight.encoder import Encoder, fingerprint_of
from resight.engine import Engine
from resight.errors import ConfigError, DataError
from resight.optim import TextDescent, set_rates
from resight.pictures import PictureBatch
from resight.processes import Processes
from resight.progress import Progress
from resight.recipes import prompt_decoupling
from resight.recipes.prompt_decoupling import Config
from resight.training import Stage
from resight.trainset import TrainSet, train_set

from .conftest import TINY, Workshop, roughen

ROWS = [0, 2, 4, 7, 8, 13]  # of identities red, red, green, green, blue, grey
METHODS = ("decoupled", "joint", "prompt-only", "prompt-fresh")


@pytest.fixture
def data(people: Path) -> TrainSet:
    """Four identities, of which the second picture's caption is another."""
    lines = [
        line.replace(" person", " person with a bag") if n % 2 else line
        for n, line in enumerate(people.read_text().splitlines())
    ]
    people.write_text("\n".join(lines) + "\n")
    return train_set(resight.read_data(people), learns_from="captions")


def quick(workshop: Workshop, **changes: Any) -> Config:
    """Two epochs of each stage, at rates at which a small tower learns."""
    known: dict[str, Any] = {
        "text_length": 3,
        "image_length": 2,
        "prompt_epochs": 2,
        "prompt_batch": 8,
        "prompt_rate": 0.02,
        "batch_size": 8,
        "descent": TextDescent(epochs=2, rate=1e-3, warmup_epochs=1, epsilon=1e-8),
        "start": replace(workshop.start, normalisation="init"),
        "engine": workshop.engine,
    }
    return Config(**known | changes)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[Stage[Any]]:
    """The stages that the recipe hands to `fit`, in place of being trained; towers are float64 and roughened."""
    caught: list[Stage[Any]] = []

    def opened(*arguments: Any, **named: Any) -> Encoder:
        encoder = real(*arguments, **named).double()
        roughen(encoder)
        return encoder

    real = prompt_decoupling.open_start
    monkeypatch.setattr(prompt_decoupling, "fit", lambda stage, *rest: caught.append(stage))
    monkeypatch.setattr(prompt_decoupling, "open_start", opened)
    return caught


def exactly(encoder: Encoder, tower: Any) -> None:
    """What the recipe adds to the towers in float64 too, and off its start."""
    assert encoder.prompts is not None
    encoder.prompts.double()
    roughen(tower.classifier.double())


def batch(rows: list[int] = ROWS, share: slice | None = None, dtype: torch.dtype = torch.float64) -> PictureBatch:
    share = share or slice(0, len(rows))
    images = torch.randn(len(rows), 3, 64, 32, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return PictureBatch(images[share], torch.tensor(rows), share)


def features(encoder: Encoder, data: TrainSet) -> tuple[Tensor, Tensor]:
    """Of the batch, with the encoder's prompts, over all 77 places of the captions."""
    clip, prompts = encoder.clip, encoder.prompts
    assert clip.text is not None
    assert prompts is not None
    texts = tokenize([data.records[row].captions[0] for row in ROWS])
    return clip.image(batch().images, prompts=prompts.image).projected, clip.text(texts, prompts=prompts.text)


def contrast(images: Tensor, texts: Tensor, identities: list[int], kind: str, scale: Tensor) -> Tensor:
    """Pair by pair, in both directions."""
    n, directions = len(images), []
    for rows, columns in ((images, texts), (texts, images)):
        losses = []
        for i in range(n):
            logits = [scale * (rows[i] @ columns[j]) / rows[i].norm() / columns[j].norm() for j in range(n)]
            whole = torch.stack(logits).exp().sum().log()
            own = [j for j in range(n) if identities[j] == identities[i]] if kind != "pairs" else [i]
            if kind == "sdm":
                terms = []
                for j in range(n):
                    target = 1 / len(own) if j in own else 0.0
                    terms.append((logits[j] - whole).exp() * (logits[j] - whole - math.log(target + 1e-8)))
                losses.append(torch.stack(terms).sum())
            else:
                losses.append(-sum((logits[j] - whole for j in own), torch.zeros(())) / len(own))
        directions.append(torch.stack(losses).mean())
    return sum(directions, torch.zeros(())) / (1 if kind == "sdm" else 2)


def identity(images: Tensor, texts: Tensor, identities: list[int], classifier: Any) -> Tensor:
    """Mean of the cross-entropies of both sides."""
    losses = []
    for side in (images, texts):
        for row, own in zip(side, identities, strict=True):
            logits = classifier.weight @ row + classifier.bias
            losses.append(logits.exp().sum().log() - logits[own])
    return torch.stack(losses).mean()


@pytest.mark.parametrize(
    ("kind", "temperature", "depth"), [("identity", 0.5, 1), ("identity", None, 2), ("pairs", 0.5, 2), ("sdm", 0.5, 1)]
)
def test_steps_of_both_stages_are_the_formulas(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop, kind: Any, temperature: float | None, depth: int
) -> None:
    """Terms and gradients of everything that learns, in float64."""
    settings: Any = {"contrast": kind, "temperature": temperature, "prompt_depth": depth, "identity_weight": 0.3}
    encoder = workshop.train(prompt_decoupling, data, quick(workshop, **settings))
    assert [stage.name for stage in stages] == ["prompts", "train"]
    tower: Any = stages[1].modules["tower"]
    exactly(encoder, tower)
    identities = data.labels[ROWS].tolist()
    assert encoder.clip.logit_scale is not None
    assert encoder.clip.logit_scale.requires_grad == (temperature is None)

    for stage, learning in ((stages[0], "prompts"), (stages[1], "clip")):
        encoder.requires_grad_(False)
        modules = [encoder.prompts] if learning == "prompts" else [encoder.clip, tower.classifier]
        named = [p for module in modules if module is not None for p in module.parameters()]
        for parameter in named:
            parameter.requires_grad_(parameter is not encoder.clip.logit_scale or temperature is None)
        images, texts = features(encoder, data)
        scale = encoder.clip.logit_scale.exp() if temperature is None else torch.tensor(1 / temperature)
        expected = {"contrast": contrast(images, texts, identities, kind, scale)}
        if learning == "clip":
            expected["identity"] = 0.3 * identity(images, texts, identities, tower.classifier)
        found = stage.step(batch())
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-10)
        trained = [parameter for parameter in named if parameter.requires_grad]
        both = (torch.stack(list(terms.values())).sum() for terms in (found, expected))
        mine, theirs = (torch.autograd.grad(total, trained, allow_unused=True) for total in both)
        for one, other in zip(mine, theirs, strict=True):
            assert one is not None
            assert other is not None
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def optimised(stage: Stage[Any]) -> set[int]:
    return {id(parameter) for group in stage.optimizer.param_groups for parameter in group["params"]}


def test_what_each_stage_learns_and_how_fast(stages: list[Stage[Any]], data: TrainSet, workshop: Workshop) -> None:
    """The stages are caught one after the other, so the later one's freezing is in place; its optimizer is its own."""
    config = Config(start=workshop.start, engine=workshop.engine)
    encoder = workshop.train(prompt_decoupling, data, config)
    prompts, (first, second) = encoder.prompts, stages
    assert prompts is not None
    assert optimised(first) == {id(parameter) for parameter in prompts.parameters()}
    assert list(first.modules) == ["prompts"]
    assert isinstance(first.optimizer, torch.optim.Adam)
    group = first.optimizer.param_groups[0]
    assert (group["weight_decay"], group["betas"], group["eps"]) == (0, (0.9, 0.999), 1e-8)
    assert [tuple(p.shape) for p in group["params"]] == [(1, 4, 64), (1, 4, 64)]
    assert all(p.dtype == torch.float32 for p in group["params"])
    assert first.epochs == 20
    rates = [first.rate(epoch) for epoch in range(1, 21)]
    assert rates[:2] == pytest.approx([1e-6 + 0.1 * (1e-3 - 1e-6), 1e-3])
    assert rates[11] == pytest.approx(1e-6 + (1e-3 - 1e-6) * (1 + math.cos(math.pi * 10 / 19)) / 2)
    assert 1e-6 < rates[-1] < 1e-5
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert [len(rows.rows) for rows in first.batches(1, 0).batches] == [16]

    tower: Any = second.modules["tower"]
    named = dict(tower.named_parameters())
    frozen = {"encoder.prompts.text", "encoder.prompts.image", "encoder.clip.logit_scale"}
    assert optimised(second) == {id(parameter) for name, parameter in named.items() if name not in frozen}
    assert second.epochs == 60
    assert [second.rate(epoch) for epoch in (1, 6)] == pytest.approx([1e-6, 1e-5])
    assert isinstance(second.optimizer, torch.optim.Adam)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_joint_prompts_learn_as_in_stage_1_while_clip_learns_as_in_stage_2(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop, optimizer: Any
) -> None:
    """At CLIP's rate of 1e-5, with an epsilon far above their gradients, they would stay where they started."""
    descent = TextDescent(optimizer=optimizer)
    config = Config(method="joint", descent=descent, start=workshop.start, engine=workshop.engine)
    encoder = workshop.train(prompt_decoupling, data, config)
    (stage,) = stages
    set_rates(stage.optimizer, stage.rate(6))
    assert encoder.prompts is not None
    own = {id(parameter) for parameter in encoder.prompts.parameters()}
    seen = 0
    for group in stage.optimizer.param_groups:
        parameters = {id(parameter) for parameter in group["params"]}
        if parameters & own:
            assert parameters == own
            assert (group["lr"], group["weight_decay"], group["eps"]) == (pytest.approx(1e-3), 0, 1e-8)
            seen += 1
        else:
            assert group["lr"] <= 5e-5
            assert group["eps"] == 1e-3
    assert seen == 1
    tower: Any = stage.modules["tower"]
    assert own <= optimised(stage)
    assert optimised(stage) == {id(parameter) for parameter in tower.parameters() if parameter.requires_grad}


def test_joint_prompts_move_at_the_published_rate_of_clip(data: TrainSet, workshop: Workshop) -> None:
    """Four steps at up to 1e-3."""
    descent = TextDescent(epochs=2, warmup_epochs=0)
    config = quick(workshop, method="joint", descent=descent, prompt_rate=1e-3)
    moved = workshop.train(prompt_decoupling, data, config)
    still = workshop.train(prompt_decoupling, data, replace(config, method="prompt-fresh"), run=workshop.run("b"))
    for found, start in zip(moved.prompts.parameters(), still.prompts.parameters(), strict=True):  # type: ignore[union-attr]
        assert 1e-3 < (found - start).abs().max() < 4e-3


def test_batches_are_random_pairs(stages: list[Stage[Any]], data: TrainSet, workshop: Workshop) -> None:
    """A picture with two captions is two pairs."""
    twice = replace(data.records[3], captions=("one", "another"))
    more = replace(data, records=(*data.records[:3], twice, *data.records[4:]))
    workshop.train(prompt_decoupling, more, quick(workshop, prompt_batch=7, batch_size=5))
    for stage, sizes in zip(stages, ([7, 7, 3], [5, 5, 5, 2]), strict=True):
        assert [record.captions[0] for record in stage.records[3:5]] == ["one", "another"]
        n_steps, batches = stage.batches(2, 0)
        plan = [each.rows.tolist() for each in batches]
        assert n_steps == len(plan)
        assert [len(rows) for rows in plan] == sizes
        assert sorted(row for rows in plan for row in rows) == list(range(17))
        assert [each.rows.tolist() for each in stage.batches(2, 1).batches] == plan[1:]
        assert [each.rows.tolist() for each in stage.batches(1, 0).batches] != plan


def test_training_follows_its_golden_curve(data: TrainSet, workshop: Workshop) -> None:
    """float32 on a processor. To make the numbers anew, print `losses` and explain the change in the commit."""
    run = workshop.run()
    encoder = workshop.train(prompt_decoupling, data, quick(workshop), run=run)
    losses = [entry["terms"] for entry in run.entries() if "terms" in entry]
    assert [entry["stage"] for entry in run.entries() if "terms" in entry] == ["prompts"] * 4 + ["train"] * 4
    assert [sorted(terms) for terms in losses] == [["contrast"]] * 4 + [["contrast", "identity"]] * 4
    for name, values in {
        "contrast": [3.929631, 2.909101, 2.340818, 2.215418, 2.192346, 2.120560, 2.118985, 2.452516],
        "identity": [1.385298, 1.390447, 1.378002, 1.447109],
    }.items():
        assert [terms[name] for terms in losses if name in terms] == pytest.approx(values, rel=1e-3), name
    assert encoder.card.notes[0] == "Trained by resight train prompt-decoupling."
    assert (encoder.feature, encoder.can_read, encoder.training) == ("projected", True, False)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_trains_what_it_should_and_nothing_else(data: TrainSet, workshop: Workshop, method: str) -> None:
    """Every tensor of CLIP, and the prompts, before and after a real training."""
    run = workshop.run()
    config = quick(workshop, method=method)
    encoder = workshop.train(prompt_decoupling, data, config, run=run)
    start = prompt_decoupling.open_start(
        TINY, config.start, data, recipe="t", feature="projected", engine=config.engine, with_text=True
    )
    fresh = prompt_decoupling._fresh_prompts(start.clip, config)
    assert encoder.prompts is not None
    expected_stages = {"decoupled": ["prompts", "train"], "prompt-only": ["prompts"]}.get(method, ["train"])
    assert sorted({entry["stage"] for entry in run.entries()}) == expected_stages
    before = {f"clip.{n}": t for n, t in start.clip.state_dict().items()}
    before |= {f"prompts.{n}": t for n, t in fresh.state_dict().items()}
    after = encoder.state_dict()
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    clip = {name for name in before if name.startswith("clip.")} - {"clip.logit_scale"}
    prompts = {"prompts.text", "prompts.image"}
    assert (
        moved
        == {
            "decoupled": clip | prompts,
            "joint": clip | prompts,
            "prompt-only": prompts,
            "prompt-fresh": clip,
        }[method]
    )
    folder = run.folder / "stage1"
    assert folder.exists() == (method in ("decoupled", "prompt-only"))
    if folder.exists():  # stage 2 left the prompts as stage 1 had
        stored = safetensors.torch.load_file(folder / "prompts.safetensors")
        assert all(torch.equal(stored[name], after[f"prompts.{name}"]) for name in ("text", "image"))
        assert json.loads((folder / "prompts.json").read_text())["clip"] == fingerprint_of(start.clip)


def test_a_learned_temperature_moves_in_stage_2_alone_and_not_beyond_a_hundredth(
    data: TrainSet, workshop: Workshop, stages: list[Stage[Any]]
) -> None:
    encoder = workshop.train(prompt_decoupling, data, quick(workshop, temperature=None))
    exactly(encoder, stages[1].modules["tower"])
    scale = encoder.clip.logit_scale
    assert scale is not None
    with torch.no_grad():
        scale.fill_(9.0)
    scale.requires_grad_(False)  # as it is in stage 1
    stages[0].step(batch())
    assert scale.item() == 9.0
    scale.requires_grad_(True)
    stages[1].step(batch())
    assert scale.item() == pytest.approx(math.log(100))
    assert id(scale) in optimised(stages[1])


def test_an_encoder_saved_after_stage_1_gives_the_same_features(
    data: TrainSet, workshop: Workshop, tmp_path: Path
) -> None:
    encoder = workshop.train(prompt_decoupling, data, quick(workshop, method="prompt-only", prompt_depth=2))
    encoder.save(tmp_path / "encoder")
    again = Encoder.load(tmp_path / "encoder", device="cpu")
    images, ids = batch(dtype=torch.float32).images, tokenize(["a red person", "a bag"])
    with torch.no_grad():
        assert torch.equal(again(images)[0], encoder(images)[0])
        assert torch.equal(again.read(ids), encoder.read(ids))
        plain = Encoder.load(TINY, size=(64, 32), device="cpu", seed=workshop.engine.seed)
        assert not torch.allclose(plain(images)[0], encoder(images)[0], atol=1e-4)
        assert not torch.allclose(plain.read(ids), encoder.read(ids), atol=1e-4)
    assert again.fingerprint() == encoder.fingerprint()


@pytest.mark.parametrize(("text", "image"), [(0, 3), (3, 0)])
def test_one_side_alone_can_have_prompts(data: TrainSet, workshop: Workshop, text: int, image: int) -> None:
    """In micro-batches too, where nothing of the other side learns in stage 1."""
    settings: Any = {"text_length": text, "image_length": image, "method": "prompt-only"}
    found = []
    for name, size in (("whole", 0), ("parts", 3)):
        engine = replace(workshop.engine, micro_batch=size)
        run = workshop.run(name)
        encoder = workshop.train(prompt_decoupling, data, quick(workshop, engine=engine, **settings), run=run)
        assert encoder.prompts is not None
        assert list(encoder.prompts.state_dict()) == (["text"] if text else ["image"])
        found.append([entry["loss"] for entry in run.entries() if "terms" in entry])
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert found[0][0] != found[0][2]


def test_the_text_side_can_start_from_words(stages: list[Stage[Any]], data: TrainSet, workshop: Workshop) -> None:
    """ "a photo of a person" is five tokens; a sixth prompt is the first again. Deeper levels start small."""
    settings: Any = {"prompt_start": "words", "text_length": 6, "prompt_depth": 2}
    encoder = workshop.train(prompt_decoupling, data, quick(workshop, **settings))
    assert encoder.clip.text is not None
    assert encoder.prompts is not None
    assert encoder.prompts.text is not None
    words = encoder.clip.text.token_embedding.weight[[320, 1125, 539, 320, 2533, 320]]
    assert torch.equal(encoder.prompts.text[0], words.float())
    assert encoder.prompts.text[1].std() < 0.03
    assert encoder.prompts.image is not None
    other = workshop.train(
        prompt_decoupling, data, quick(workshop, text_length=6, prompt_depth=2), run=workshop.run("b")
    )
    assert other.prompts is not None
    assert other.prompts.image is not None
    assert torch.equal(encoder.prompts.image, other.prompts.image)


def test_positions_are_kept_with_the_encoder(data: TrainSet, workshop: Workshop) -> None:
    encoder = workshop.train(prompt_decoupling, data, quick(workshop, prompt_position=True))
    assert encoder.prompts is not None
    assert encoder.prompts.form.position
    without = workshop.train(prompt_decoupling, data, quick(workshop), run=workshop.run("without"))
    assert encoder.fingerprint() != without.fingerprint()


def test_a_resnet_learns_prompts_for_texts_and_its_batch_norms_rest_in_stage_1(
    data: TrainSet, workshop: Workshop, resnet: str
) -> None:
    start = replace(workshop.resnet_start(), normalisation="init")
    settings: Any = {"start": start, "image_length": 0}
    run = workshop.run()
    encoder = workshop.train(prompt_decoupling, data, quick(workshop, **settings), init=resnet, run=run)
    known = json.loads((run.folder / "stage1" / "prompts.json").read_text())["clip"]
    config = quick(workshop, **settings)
    first = prompt_decoupling.open_start(
        resnet, config.start, data, recipe="t", feature="projected", engine=config.engine, with_text=True
    )
    assert known == fingerprint_of(first.clip)  # buffers too
    assert not torch.equal(encoder.clip.image.bn1.running_mean, first.clip.image.bn1.running_mean)  # type: ignore[union-attr,arg-type]
    with pytest.raises(ConfigError, match=r"a ResNet has none: --image-length 0"):
        workshop.train(prompt_decoupling, data, quick(workshop, start=start), init=resnet, run=workshop.run("refused"))


def test_stage_2_alone_gives_what_the_whole_run_gave(
    data: TrainSet, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    whole = workshop.run("whole")
    first = workshop.train(prompt_decoupling, data, quick(workshop), run=whole)
    again, folder = workshop.run("again"), whole.folder / "stage1"
    config = quick(workshop, stage1=folder)
    cache = workshop.folder / "cache"
    second = prompt_decoupling.train(TINY, data, config, again, workshop.machine, cache, Progress())
    assert first.fingerprint() == second.fingerprint()
    assert {entry["stage"] for entry in again.entries()} == {"train"}
    assert f"prompts: of {folder}" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"with.* --prompt-position\. Ask for the same"):
        workshop.train(prompt_decoupling, data, quick(workshop, stage1=folder, text_length=5), run=workshop.run("c"))
    config = quick(workshop, stage1=folder, engine=replace(workshop.engine, seed=9))
    with pytest.raises(ConfigError, match="were learned on another CLIP"):
        workshop.train(prompt_decoupling, data, config, run=workshop.run("d"))


class Stopped(Exception):  # noqa: N818
    """In place of a signal."""


def stopping_in(name: str, fit: Callable[..., None]) -> Callable[..., None]:
    """`fit`, which ends before the second batch of the second epoch of the named stage."""

    def stopped(stage: Any, *rest: Any) -> None:
        begin = stage.batches

        def batches(epoch: int, first: int) -> Any:
            n_steps, all_of_them = begin(epoch, first)
            return (n_steps, one_of(all_of_them)) if epoch == 2 else (n_steps, all_of_them)

        fit(replace(stage, batches=batches) if stage.name == name else stage, *rest)

    def one_of(batches: Any) -> Any:
        yield next(iter(batches))
        raise Stopped

    return stopped


@pytest.mark.parametrize("name", ["prompts", "train"])
def test_a_run_stopped_in_the_middle_of_a_stage_goes_on_bit_for_bit(
    data: TrainSet, workshop: Workshop, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    torch.set_num_threads(1)
    config = quick(workshop, prompt_batch=8, batch_size=8)
    saving = replace(config, engine=replace(workshop.engine, checkpoint_minutes=0))
    whole, run = workshop.run("whole"), workshop.run("stopped")
    expected = workshop.train(prompt_decoupling, data, config, run=whole)
    monkeypatch.setattr(prompt_decoupling, "fit", stopping_in(name, prompt_decoupling.fit))
    with pytest.raises(Stopped):
        workshop.train(prompt_decoupling, data, saving, run=run)
    monkeypatch.undo()
    checkpoint = torch.load(run.folder / "checkpoints" / f"{name}.pt", weights_only=True)
    assert (checkpoint["epoch"], checkpoint["step"]) == (2, 1)
    found = workshop.train(prompt_decoupling, data, config, run=run)
    assert found.fingerprint() == expected.fingerprint()
    curves = [
        [(e["stage"], e["epoch"], e["step"], e["loss"]) for e in r.entries() if "terms" in e] for r in (whole, run)
    ]
    assert curves[0] == curves[1]
    assert workshop.train(prompt_decoupling, data, config, run=run).fingerprint() == expected.fingerprint()


@pytest.mark.parametrize("which", [0, 1])
def test_micro_batches_and_two_processes_give_the_whole_batchs_gradients(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    """Two processes: each gives its share of a batch, and the mean over both is the whole's gradient."""

    def gradients(engine: Engine, share: slice, name: str) -> tuple[dict[str, Tensor], dict[str, float], Encoder]:
        encoder = workshop.train(prompt_decoupling, data, quick(workshop, engine=engine), run=workshop.run(name))
        stage = stages[-2:][which]
        tower: Any = stages[-1].modules["tower"]
        exactly(encoder, tower)
        if which == 0:
            encoder.requires_grad_(False)
            stage.modules["prompts"].requires_grad_(True)
        terms = stage.step(batch(share=share))
        torch.stack(list(terms.values())).sum().backward()
        found = {n: p.grad for n, p in tower.named_parameters() if p.grad is not None}
        return found, {n: value.item() for n, value in terms.items()}, encoder

    everything = slice(0, len(ROWS))
    expected, terms, encoder = gradients(workshop.engine, everything, "whole")
    assert len(expected) == (2 if which == 0 else len(list(encoder.clip.parameters())) - 1 + 2)
    parts, other_terms, _ = gradients(replace(workshop.engine, micro_batch=4), everything, "parts")

    shares = []
    with torch.no_grad():
        both = [feature.detach() for feature in features(encoder, data)]
    real = Processes._share_of

    def gather(self: Processes, share: Tensor, n_rows: int) -> Tensor:
        """As two processes would: the other's rows without a gradient, and the own share's twofold."""
        own = real(self, self.number, n_rows)
        (other,) = [rows for rows in both if torch.allclose(rows[own], share, atol=1e-8)]
        placed = other.clone()
        scaled = 2 * share - share.detach()
        return torch.cat([placed[: own.start], scaled, placed[own.stop :]])

    monkeypatch.setattr(Processes, "gather", gather)
    for number in (0, 1):
        workshop.machine = replace(workshop.machine, processes=Processes(number, 2))
        share = Processes(number, 2).share(len(ROWS))
        found, rank_terms, _ = gradients(workshop.engine, share, f"rank{number}")
        assert rank_terms == pytest.approx(terms, rel=1e-9)
        shares.append(found)
    mean = {n: (shares[0][n] + shares[1][n]) / 2 for n in expected}
    assert other_terms == pytest.approx(terms, rel=1e-9)
    for name, gradient in expected.items():
        for one in (parts, mean):
            torch.testing.assert_close(one[name], gradient, rtol=1e-7, atol=1e-9, msg=name)


def test_a_remainder_that_processes_cannot_share_is_refused_before_stage_1(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop
) -> None:
    workshop.machine = replace(workshop.machine, processes=Processes(0, 2))
    with pytest.raises(ConfigError, match="A batch of 1 cannot be shared by 2 processes"):
        workshop.train(prompt_decoupling, data, quick(workshop, batch_size=5))
    assert stages == []


def test_pictures_without_identity_are_learned_from_by_the_contrast(people: Path, workshop: Workshop) -> None:
    lines = people.read_text().splitlines()
    people.write_text("\n".join([lines[0], *(line.replace(",red,", ",,") for line in lines[1:])]) + "\n")
    data = train_set(resight.read_data(people), learns_from="captions")
    run = workshop.run()
    workshop.train(prompt_decoupling, data, quick(workshop, method="joint"), run=run)
    assert [entry["seen"] for entry in run.entries() if "terms" in entry] == [8, 16, 24, 32]
    none, run = replace(data, identities=(), labels=data.labels * 0 + range(16)), workshop.run("none")
    with pytest.raises(DataError, match=r"have 0 identities; telling them apart needs 2\. Add --identity-weight 0"):
        workshop.train(prompt_decoupling, none, quick(workshop), run=run)
    workshop.train(prompt_decoupling, none, quick(workshop, method="joint", identity_weight=0.0), run=run)
    workshop.train(prompt_decoupling, none, quick(workshop, method="prompt-only"), run=workshop.run("only"))
    assert all(set(entry["terms"]) == {"contrast"} for entry in run.entries() if "terms" in entry)


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_identity_weight_scales_its_term_alone(
    stages: list[Stage[Any]], data: TrainSet, workshop: Workshop, weight: float
) -> None:
    terms = []
    for n, each in enumerate((1.0, weight)):
        workshop.train(prompt_decoupling, data, quick(workshop, identity_weight=each), run=workshop.run(str(n)))
        tower: Any = stages[-1].modules["tower"]
        if tower.classifier is not None:
            tower.classifier.double()
        terms.append(stages[-1].step(batch()))
    assert torch.equal(terms[0]["contrast"], terms[1]["contrast"])
    if weight:
        torch.testing.assert_close(terms[1]["identity"], weight * terms[0]["identity"])
    else:
        assert set(terms[1]) == {"contrast"}


def test_validation_is_by_captions_in_both_stages(people: Path, workshop: Workshop) -> None:
    data = train_set(resight.read_data(people), learns_from="captions", validate=True, validation_share=0.5)
    engine = replace(workshop.engine, validate_every=1, keep="best")
    run = workshop.run()
    encoder = workshop.train(prompt_decoupling, data, quick(workshop, engine=engine, batch_size=4), run=run)
    scores = [(entry["stage"], set(entry["validation"])) for entry in run.entries() if "validation" in entry]
    assert scores == [(name, {"mAP", "R1"}) for name in ("prompts", "prompts", "train", "train")]
    stored = safetensors.torch.load_file(run.folder / "stage1" / "prompts.safetensors")
    assert encoder.prompts is not None
    assert torch.equal(stored["text"], encoder.prompts.state_dict()["text"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_length": -1}, "--text-length -1: at least 0"),
        ({"image_length": -1}, "--image-length -1: at least 0"),
        ({"text_length": 0, "image_length": 0}, "no prompts are left. Use resight train text-direct"),
        ({"prompt_depth": 0}, "--prompt-depth 0: at least 1"),
        ({"prompt_start": "words", "text_length": 0}, "--prompt-start words: is for the text side"),
        ({"prompt_epochs": 0, "prompt_warmup_epochs": 0}, "--prompt-epochs 0: at least 1"),
        ({"prompt_warmup_epochs": -1}, "--prompt-warmup-epochs -1: at least 0"),
        ({"prompt_warmup_epochs": 20}, "--prompt-warmup-epochs 20: fewer than --prompt-epochs"),
        ({"prompt_batch": 1}, "--prompt-batch 1: at least 2"),
        ({"batch_size": 1}, "--batch-size 1: at least 2"),
        ({"prompt_rate": -1.0}, "--prompt-rate -1.0: 0 or more"),
        ({"prompt_floor_rate": math.inf}, "--prompt-floor-rate inf: 0 or more"),
        ({"identity_weight": math.nan}, "--identity-weight nan: 0 or more"),
        ({"method": "joint", "descent": TextDescent(rate=0.0)}, "--rate 0: in --method joint CLIP learns too"),
        ({"temperature": 0.0}, "--temperature 0.0: more than 0, or None"),
        *(
            ({"stage1": Path("a"), "method": method}, f"--stage1: its prompts are for --method decoupled; {method}")
            for method in METHODS[1:]
        ),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        Config(**changes)


def test_presets_are_the_defaults_and_one_stage() -> None:
    presets = {name: override(Config(), values, name) for name, values in prompt_decoupling.PRESETS.items()}
    assert presets == {"decoupled": Config(), "joint": Config(method="joint")}


@pytest.mark.parametrize("flag", ["side_camera", "side_view", "without_text"])
def test_what_it_would_ignore_is_refused(workshop: Workshop, flag: str) -> None:
    with pytest.raises(ConfigError, match="prompt-decoupling compares plain CLIP features"):
        Config(start=replace(workshop.start, **{flag: True}))


def test_prompts_deeper_than_the_towers_are_refused_by_their_limit(data: TrainSet, workshop: Workshop) -> None:
    with pytest.raises(ConfigError, match="depth 3: from 1 to 2"):
        workshop.train(prompt_decoupling, data, quick(workshop, prompt_depth=3))
