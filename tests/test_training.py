"""`fit` on a model of a few numbers: what it logs, saves, refuses, and how exactly it goes on."""

from __future__ import annotations

import copy
import json
import math
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resight.engine import FREE, Engine, Machine
from resight.environment import Precision
from resight.errors import CheckpointError, ConfigError, ResightError
from resight.processes import Processes
from resight.progress import Progress
from resight.runs import Request, Run
from resight.training import Epoch, NonFiniteError, Stage, fit
from resight.types import Record

CPU = torch.device("cpu")
N_STEPS, EPOCHS, BATCH = 4, 3, 5
RECORDS = [Record(Path(f"/pictures/{row}.png"), str(row)) for row in range(50)]
ENGINE = Engine(device="cpu", precision="float32", log_every=3)
REQUEST = Request("toy", "nothing", {"fingerprint": "f"}, {})


class StoppedError(Exception):
    """Stands for whatever ends a process."""


@dataclass(frozen=True)
class Rows:
    rows: Tensor


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.first, self.second, self.frozen = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(3, 3)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.dropout(torch.relu(self.first(self.norm(x))), 0.2)  # draws from the global generator
        out: Tensor = self.frozen(self.second(hidden))
        return out


class Toy:
    """A stage over drawn numbers, which can be told to break at its n-th step."""

    def __init__(self, *, scale: float = 1.0, precision: Precision = "float32") -> None:
        torch.manual_seed(0)
        self.model = Model()
        self.machine = Machine(CPU, precision, Processes())
        self.data = torch.randn(len(RECORDS), 4, generator=torch.Generator().manual_seed(1))
        self.scale, self.n_taken = scale, 0
        self.before_step: Callable[[int], None] = lambda n: None
        self.spoil: Callable[[int, Tensor], Tensor] = lambda n, term: term

    def rows(self, epoch: int, number: int) -> Tensor:
        return torch.randint(0, len(RECORDS), (BATCH,), generator=torch.Generator().manual_seed(100 * epoch + number))

    def batches(self, epoch: int, first: int) -> Epoch[Rows]:
        return Epoch(N_STEPS, (Rows(self.rows(epoch, number)) for number in range(first, N_STEPS)))

    def step(self, batch: Rows) -> Mapping[str, Tensor]:
        self.n_taken += 1
        self.before_step(self.n_taken)
        with self.machine.autocast():
            out = self.model(self.data[batch.rows]).float()
        return {"square": self.spoil(self.n_taken, out.square().mean()), "size": self.scale * out.abs().mean()}

    def stage(self, **changes: Any) -> Stage[Rows]:
        trained = [p for p in self.model.parameters() if p.requires_grad]
        stage: Stage[Rows] = Stage(
            name="toy",
            epochs=EPOCHS,
            batches=self.batches,
            step=self.step,
            rate=lambda epoch: 0.01 * epoch,
            optimizer=torch.optim.Adam([{"params": trained, "rate_factor": 1.0}]),
            modules={"model": self.model},
            records=RECORDS,
        )
        return replace(stage, **changes)


def run_of(folder: Path, *, resume: bool = False) -> Run:
    return Run.open(folder / "run", REQUEST, resume=resume)


def train(
    toy: Toy, run: Run, *, engine: Engine = ENGINE, progress: Progress | None = None, **changes: Any
) -> Stage[Rows]:
    stage = toy.stage(**changes)
    fit(stage, run, engine, toy.machine, progress or Progress(quiet=True))
    return stage


def lines(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def steps(run: Run) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl on steps, without what a clock or the system measured."""
    unstable = {"images_per_second", "memory_gib", "seconds"}
    return [{k: v for k, v in line.items() if k not in unstable} for line in lines(run) if "rate" in line]


def assert_same(stage: Stage[Rows], wanted: Stage[Rows]) -> None:
    """Parameters, buffers and the optimizer's state, bit for bit."""
    for found, other in (
        (stage.modules["model"].state_dict(), wanted.modules["model"].state_dict()),
        (flat(stage.optimizer.state_dict()), flat(wanted.optimizer.state_dict())),
    ):
        assert found.keys() == other.keys()
        for name, tensor in other.items():
            assert torch.equal(found[name], tensor), name


def flat(state: Mapping[str, Any]) -> dict[str, Tensor]:
    return {f"{number} {name}": tensor for number, of in state["state"].items() for name, tensor in of.items()}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """For the run that nothing disturbed, too: a product may be rounded otherwise with two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stage[Rows], Run]:
    """A run that nothing disturbed."""
    run = run_of(tmp_path_factory.mktemp("whole"))
    return train(Toy(), run), run


# what a run does


def test_training_is_the_plain_loop(whole: tuple[Stage[Rows], Run]) -> None:
    toy = Toy()
    stage = toy.stage()
    for epoch in range(1, EPOCHS + 1):
        for group in stage.optimizer.param_groups:
            group["lr"] = 0.01 * epoch
        for number in range(N_STEPS):
            stage.optimizer.zero_grad()
            sum(toy.step(Rows(toy.rows(epoch, number))).values(), torch.zeros(())).backward()
            stage.optimizer.step()
    for name, tensor in toy.model.state_dict().items():
        torch.testing.assert_close(whole[0].modules["model"].state_dict()[name], tensor, msg=name)


def test_metrics_lines(whole: tuple[Stage[Rows], Run]) -> None:
    """A line every three steps and at the end of each epoch, with the means of the steps since the line before."""
    found = lines(whole[1])
    assert [(line["epoch"], line["step"]) for line in found if "rate" in line] == [
        (epoch, step) for epoch in (1, 2, 3) for step in (3, 4)
    ]
    assert [(line["epoch"], line["step"]) for line in found if "checkpoint" in line] == [(2, 0), (3, 0), (4, 0)]
    for line in (line for line in found if "rate" in line):
        assert line["stage"] == "toy"
        assert line["rate"] == 0.01 * line["epoch"]
        assert list(line["terms"]) == ["square", "size"]
        assert line["loss"] == pytest.approx(sum(line["terms"].values()))
        assert line["seen"] == BATCH * (N_STEPS * (line["epoch"] - 1) + line["step"])
        assert line["images_per_second"] > 0
        assert line["memory_gib"] > 0
        assert line["gradient_norm"] > 0
    seconds = [line["seconds"] for line in found if "rate" in line]
    assert seconds == sorted(seconds)


def test_a_line_holds_means_over_its_steps(tmp_path: Path) -> None:
    single, triple = run_of(tmp_path / "a"), run_of(tmp_path / "b")
    train(Toy(), single, engine=replace(ENGINE, log_every=1))
    train(Toy(), triple)
    each, mean = steps(single), steps(triple)
    for name in ("square", "size"):
        values = [line["terms"][name] for line in each]
        assert mean[0]["terms"][name] == pytest.approx(sum(values[:3]) / 3)
        assert mean[1]["terms"][name] == values[3]
    assert mean[0]["gradient_norm"] == pytest.approx(sum(line["gradient_norm"] for line in each[:3]) / 3)


def test_a_doubled_weight_doubles_its_term(tmp_path: Path) -> None:
    found = []
    for scale in (1.0, 2.0):
        run = run_of(tmp_path / str(scale))
        train(Toy(scale=scale), run, engine=replace(ENGINE, log_every=1))
        found.append(steps(run)[0]["terms"])
    assert found[1] == {"square": found[0]["square"], "size": pytest.approx(2 * found[0]["size"])}


def test_clipping_bounds_the_gradient(tmp_path: Path) -> None:
    """With plain descent a step is the rate times the gradient; the norm that is logged is the one before clipping."""
    toy, run = Toy(), run_of(tmp_path)
    trained = [p for p in toy.model.parameters() if p.requires_grad]
    before = torch.cat([p.detach().clone().flatten() for p in trained])
    moved = []
    toy.before_step = lambda n: moved.append(torch.cat([p.detach().clone().flatten() for p in trained]) - before)
    optimizer = torch.optim.SGD([{"params": trained, "rate_factor": 1.0}])
    train(toy, run, engine=replace(ENGINE, clip_norm=0.01, log_every=1), optimizer=optimizer)
    assert float(moved[1].norm()) == pytest.approx(0.01 * 0.01, rel=1e-3)
    assert steps(run)[0]["gradient_norm"] > 0.01


def test_an_epoch_without_a_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="toy: epoch 1 has no batch; the data has too few pictures for one"):
        train(Toy(), run_of(tmp_path), batches=lambda epoch, first: Epoch(0, ()))


# validation and the best epoch


def test_validation_and_the_best_epoch(tmp_path: Path) -> None:
    """The second epoch scores best, so its parameters are the result; a finished run gives the same again."""
    toy, run = Toy(), run_of(tmp_path)
    scores, states = iter([0.3, 0.5, 0.4]), []

    def validate() -> dict[str, float]:
        states.append(copy.deepcopy(toy.model.state_dict()))
        return {"mAP": next(scores), "R1": 0.25}

    engine = replace(ENGINE, validate_every=1, keep="best")
    train(toy, run, engine=engine, validate=validate)
    for again in (toy, Toy()):
        if again is not toy:
            train(again, run_of(tmp_path, resume=True), engine=engine, validate=validate)
        for name, tensor in again.model.state_dict().items():
            assert torch.equal(tensor, states[1][name]), name
    assert [line["validation"]["mAP"] for line in lines(run) if "validation" in line] == [0.3, 0.5, 0.4]
    assert [(line["epoch"], line["step"]) for line in lines(run) if "validation" in line] == [(1, 4), (2, 4), (3, 4)]


def test_without_keep_the_last_epoch_is_the_result(tmp_path: Path, whole: tuple[Stage[Rows], Run]) -> None:
    run = run_of(tmp_path)
    stage = train(Toy(), run, engine=replace(ENGINE, validate_every=2), validate=lambda: {"mAP": 0.5})
    assert_same(stage, whole[0])
    assert [line["epoch"] for line in lines(run) if "validation" in line] == [2, 3]  # the last one always
    assert not (run.folder / "checkpoints" / "toy-best.pt").exists()


def test_the_best_epoch_survives_a_stop(tmp_path: Path) -> None:
    """Stopped in the third epoch, and gone on: the second is still known to be the best."""
    scores = {1: 0.3, 2: 0.5, 3: 0.4}
    engine = replace(ENGINE, validate_every=1, keep="best")
    results = []
    for folder, stop in ((tmp_path / "whole", None), (tmp_path / "stopped", 10)):
        for resume in (False, True):
            toy, run = Toy(), run_of(folder, resume=resume)
            if stop is not None and not resume:
                toy.before_step = stopping_at(stop)
            epochs = iter(range(1 if not resume or stop is None else 3, 4))
            try:
                train(toy, run, engine=engine, validate=lambda epochs=epochs: {"mAP": scores[next(epochs)]})
            except StoppedError:
                continue
        results.append(toy.model.state_dict())
    for name, tensor in results[0].items():
        assert torch.equal(results[1][name], tensor)


def test_what_goes_on_or_is_chosen_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine, scores = replace(ENGINE, validate_every=1, keep="best", checkpoint_minutes=0), iter((0.3, 0.5, 0.4))
    toy = Toy()
    toy.before_step = stopping_at(7)
    with pytest.raises(StoppedError):
        train(toy, run_of(tmp_path), engine=engine, progress=Progress(), validate=lambda: {"mAP": next(scores)})
    assert "goes on" not in capsys.readouterr().err
    for said in ("toy: goes on in epoch 2, after 2 of its steps", "toy: was done already"):
        run = run_of(tmp_path, resume=True)
        train(Toy(), run, engine=engine, progress=Progress(), validate=lambda: {"mAP": next(scores)})
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == said
        assert lines[-1] == "toy: epoch 2 is kept, the best on validation identities"


def test_a_lost_best_checkpoint_is_one_line(tmp_path: Path) -> None:
    engine = replace(ENGINE, validate_every=1, keep="best")
    run = run_of(tmp_path)
    train(Toy(), run, engine=engine, validate=lambda: {"mAP": 0.5})
    (run.folder / "checkpoints" / "toy-best.pt").unlink()
    with pytest.raises(CheckpointError, match="has lost the best epoch's checkpoint"):
        train(Toy(), run_of(tmp_path, resume=True), engine=engine, validate=lambda: {"mAP": 0.5})


# going on


def stopping_at(step: int) -> Callable[[int], None]:
    def before_step(n: int) -> None:
        if n == step:
            raise StoppedError

    return before_step


@pytest.mark.parametrize("often", [True, False])
@pytest.mark.parametrize("stop", range(1, N_STEPS * EPOCHS + 1))
def test_a_run_that_was_stopped_is_the_same_bit_for_bit(
    tmp_path: Path, whole: tuple[Stage[Rows], Run], stop: int, often: bool
) -> None:
    """In any step, with a checkpoint after every step or every epoch: parameters, optimizer, and every line."""
    engine = replace(ENGINE, checkpoint_minutes=0.0 if often else 10.0)
    toy = Toy()
    toy.before_step = stopping_at(stop)
    with pytest.raises(StoppedError):
        train(toy, run_of(tmp_path), engine=engine)
    torch.manual_seed(99)  # another process's generator stands elsewhere
    again, run = Toy(), run_of(tmp_path, resume=True)
    stage = train(again, run, engine=engine)
    assert_same(stage, whole[0])
    assert steps(run) == steps(whole[1])
    assert again.n_taken == N_STEPS * EPOCHS - (stop - 1 if often else (stop - 1) // N_STEPS * N_STEPS)


def test_a_fused_optimizer_goes_on_too(tmp_path: Path) -> None:
    stages = []
    for name, stop in (("whole", 99), ("stopped", 7)):
        for resume in (False, True):
            toy = Toy()
            toy.before_step = stopping_at(99 if resume else stop)
            trained = [p for p in toy.model.parameters() if p.requires_grad]
            optimizer = torch.optim.Adam([{"params": trained, "rate_factor": 1.0}], fused=True)
            try:
                stage = train(toy, run_of(tmp_path / name, resume=resume), optimizer=optimizer)
            except StoppedError:
                continue
        stages.append(stage)
    assert_same(stages[1], stages[0])


def test_a_run_that_is_stopped_again_and_again(tmp_path: Path, whole: tuple[Stage[Rows], Run]) -> None:
    engine = replace(ENGINE, checkpoint_minutes=0.0)
    for attempt in range(6):
        toy, run = Toy(), run_of(tmp_path, resume=attempt > 0)
        toy.before_step = stopping_at(3)
        try:
            stage = train(toy, run, engine=engine)
        except StoppedError:
            continue
    assert_same(stage, whole[0])
    assert steps(run) == steps(whole[1])


def test_a_finished_run_takes_no_step(tmp_path: Path, whole: tuple[Stage[Rows], Run]) -> None:
    train(Toy(), run_of(tmp_path))
    toy = Toy()
    stage = train(toy, run_of(tmp_path, resume=True))
    assert toy.n_taken == 0
    assert_same(stage, whole[0])


def test_a_checkpoint_holds_what_changes_and_no_more(whole: tuple[Stage[Rows], Run]) -> None:
    state = torch.load(whole[1].folder / "checkpoints" / "toy.pt", weights_only=True)
    kept = set(state["modules"]["model"])
    assert {"norm.running_mean", "first.weight", "second.bias"} <= kept
    assert not [name for name in kept if name.startswith("frozen")]
    assert state.keys() >= {"epoch", "step", "optimizer", "scaler", "generators", "window"}


def test_a_checkpoint_of_another_model_is_one_line(tmp_path: Path) -> None:
    train(Toy(), run_of(tmp_path))
    for change, why in (
        (lambda toy: setattr(toy.model, "second", nn.Linear(8, 3, bias=False)), "other parameters"),
        (lambda toy: setattr(toy.model, "first", nn.Linear(4, 9)), "size mismatch"),
    ):
        toy = Toy()
        change(toy)
        with pytest.raises(CheckpointError, match=f"its checkpoint of toy does not fit .*{why}") as raised:
            train(toy, run_of(tmp_path, resume=True))
        assert "\n" not in str(raised.value)


def test_a_full_disk_keeps_the_checkpoint_before(
    tmp_path: Path, whole: tuple[Stage[Rows], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = torch.save

    def full_from_the_second_on(state: Mapping[str, Any], file: Any) -> None:
        if (state["epoch"], state["step"]) >= (2, 2):
            file.write(b"some of it")
            raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos\nmore")
        written(state, file)

    engine = replace(ENGINE, checkpoint_minutes=0.0)
    with monkeypatch.context() as full:
        full.setattr(torch, "save", full_from_the_second_on)
        with pytest.raises(CheckpointError, match=r"toy\.pt: cannot be written .* The checkpoint before it is kept"):
            train(Toy(), run_of(tmp_path), engine=engine)
    run = run_of(tmp_path, resume=True)
    assert [path.name for path in (run.folder / "checkpoints").iterdir()] == ["toy.pt"]
    assert_same(train(Toy(), run), whole[0])
    assert steps(run) == steps(whole[1])


# Ctrl-C


def test_interrupts_in_a_process_of_their_own() -> None:
    """A signal that comes late would end a process that runs other tests too."""
    here = Path(__file__).parent
    files = [str(here / "test_training.py"), str(here / "data" / "test_loader.py")]
    command = [sys.executable, "-m", "pytest", "-m", "interrupts", "-p", "no:cacheprovider", *files]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "5 passed" in ran.stdout


@pytest.mark.interrupts
@pytest.mark.parametrize("step", [2, N_STEPS, N_STEPS * EPOCHS])
def test_ctrl_c_waits_for_the_step_and_saves(tmp_path: Path, whole: tuple[Stage[Rows], Run], step: int) -> None:
    toy = Toy()
    toy.before_step = lambda n: signal.raise_signal(signal.SIGINT) if n == step else None
    with pytest.raises(KeyboardInterrupt):
        train(toy, run_of(tmp_path))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    again, run = Toy(), run_of(tmp_path, resume=True)
    assert_same(train(again, run), whole[0])
    assert again.n_taken == N_STEPS * EPOCHS - step
    assert steps(run) == steps(whole[1])


@pytest.mark.interrupts
def test_the_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    toy = Toy()

    def twice(n: int) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    toy.before_step = twice
    with pytest.raises(KeyboardInterrupt):
        train(toy, run_of(tmp_path))
    assert not (tmp_path / "run" / "checkpoints" / "toy.pt").exists()


def test_others_handlers_are_left_alone(tmp_path: Path, whole: tuple[Stage[Rows], Run]) -> None:
    """A program around fit may have its own; and a thread cannot have one."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        train(Toy(), run_of(tmp_path / "ignored"))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    found: list[Stage[Rows]] = []
    thread = threading.Thread(target=lambda: found.append(train(Toy(), run_of(tmp_path / "thread"))))
    thread.start()
    thread.join()
    assert_same(found[0], whole[0])


# what is no number


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops(tmp_path: Path, whole: tuple[Stage[Rows], Run], value: float) -> None:
    toy, run = Toy(), run_of(tmp_path)
    toy.spoil = lambda n, term: term + value if n == 7 else term
    with pytest.raises(NonFiniteError) as raised:
        train(toy, run)
    message = str(raised.value)
    assert message.startswith("toy, epoch 2, step 3: the loss is not a number (square ")
    assert "--clip-norm 1" in message
    assert "\n" not in message
    paths = [f"/pictures/{row}.png" for row in toy.rows(2, 2).tolist()]
    assert f"{', '.join(paths[:3])} and 2 more" in message
    last = lines(run)[-1]
    assert last["pictures"] == paths
    assert (last["epoch"], last["step"], last["not_finite"], last["terms"]["square"]) == (2, 3, "loss", str(value))
    run = run_of(tmp_path, resume=True)  # and what spoiled it is gone
    assert_same(train(Toy(), run), whole[0])
    assert not [line for line in lines(run) if "not_finite" in line]
    assert steps(run) == steps(whole[1])


class Spoiled(torch.autograd.Function):
    """A finite value whose gradient is not."""

    @staticmethod
    def forward(ctx: Any, term: Tensor) -> Tensor:
        return term.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * math.inf


def test_a_gradient_that_is_no_number_stops(tmp_path: Path, whole: tuple[Stage[Rows], Run]) -> None:
    toy, run = Toy(), run_of(tmp_path)
    toy.spoil = lambda n, term: Spoiled.apply(term) if n == 7 else term
    with pytest.raises(NonFiniteError, match=r"^toy, epoch 2, step 3: the gradient is not a number \(square [\d.e-]+"):
        train(toy, run)
    assert lines(run)[-1]["not_finite"] == "gradient"
    assert len(lines(run)[-1]["pictures"]) == BATCH
    assert_same(train(Toy(), run_of(tmp_path, resume=True)), whole[0])


def test_a_gpu_without_memory_is_one_line(tmp_path: Path) -> None:
    toy = Toy()

    def too_large(n: int) -> None:
        if n == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    toy.before_step = too_large
    with pytest.raises(
        ResightError, match=r"^toy, epoch 1, step 2: a batch needs more memory than the GPU has\. Go on"
    ):
        train(toy, run_of(tmp_path))


# precision


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_as_float32_does(
    tmp_path: Path, whole: tuple[Stage[Rows], Run], precision: Precision
) -> None:
    run = run_of(tmp_path)
    train(Toy(precision=precision), run, engine=replace(ENGINE, precision=precision))
    found = [line["loss"] for line in steps(run)]
    assert found == pytest.approx([line["loss"] for line in steps(whole[1])], rel=0.05)
    assert found != [line["loss"] for line in steps(whole[1])]


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
@pytest.mark.parametrize("fused", [True, False])
def test_fp16_skips_a_step_whose_gradient_is_too_large(tmp_path: Path, fused: bool, clip_norm: float) -> None:
    toy, run = Toy(precision="fp16"), run_of(tmp_path)
    trained = [p for p in toy.model.parameters() if p.requires_grad]
    weights: list[Tensor] = []
    toy.spoil = lambda n, term: Spoiled.apply(term) if n == 2 else term
    toy.before_step = lambda n: weights.append(toy.model.first.weight.detach().clone())
    optimizer = torch.optim.Adam([{"params": trained, "rate_factor": 1.0}], fused=fused)
    train(toy, run, engine=replace(ENGINE, clip_norm=clip_norm), optimizer=optimizer)
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[2], weights[3])
    assert all(tensor.isfinite().all() for tensor in toy.model.state_dict().values())
    assert toy.n_taken == N_STEPS * EPOCHS
    assert torch.load(run.folder / "checkpoints" / "toy.pt")["scaler"]["scale"] == 2**15
    assert all(math.isfinite(line["gradient_norm"]) for line in steps(run))


def test_fp16_stops_when_no_scale_helps(tmp_path: Path) -> None:
    toy = Toy(precision="fp16")
    toy.spoil = lambda n, term: Spoiled.apply(term)
    with pytest.raises(NonFiniteError, match="the gradient is not a number"):
        train(toy, run_of(tmp_path), epochs=10)


def test_fp16_goes_on_with_its_scale(tmp_path: Path) -> None:
    results = []
    for name, stop in (("whole", 99), ("stopped", 7)):
        for resume in (False, True):
            toy = Toy(precision="fp16")
            toy.spoil = lambda n, term, resume=resume: Spoiled.apply(term) if n == 2 and not resume else term
            toy.before_step = lambda n, stop=stop, resume=resume: None if resume else stopping_at(stop)(n)
            try:
                stage = train(toy, run_of(tmp_path / name, resume=resume), engine=replace(ENGINE, checkpoint_minutes=0))
            except StoppedError:
                continue
        results.append(stage)
        scaler = torch.load(tmp_path / name / "run" / "checkpoints" / "toy.pt")["scaler"]
        assert (scaler["scale"], scaler["_growth_tracker"]) == (2**15, N_STEPS * EPOCHS - 2)
    assert_same(results[1], results[0])


# TensorBoard


class Writer:
    """Stands in for torch.utils.tensorboard.SummaryWriter."""

    made: list[Writer]

    def __init__(self, log_dir: str, purge_step: int) -> None:
        self.log_dir, self.purge_step, self.closed = Path(log_dir), purge_step, False
        self.scalars: list[tuple[str, float, int]] = []
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def close(self) -> None:
        self.closed = True


def test_tensorboard_gets_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    Writer.made = []
    engine = replace(ENGINE, tensorboard=True, validate_every=3)
    toy = Toy()
    toy.before_step = stopping_at(6)
    with pytest.raises(StoppedError):
        train(toy, run_of(tmp_path), engine=engine)
    run = run_of(tmp_path, resume=True)
    train(Toy(), run, engine=engine, validate=lambda: {"mAP": 0.5, "R1": 0.25})
    first, second = Writer.made
    assert first.closed
    assert second.closed
    assert second.log_dir == run.folder / "tensorboard" / "toy"
    assert (first.purge_step, second.purge_step) == (1, BATCH * N_STEPS + 1)
    shown = [s for writer, until in ((first, second.purge_step), (second, 999)) for s in writer.scalars if s[2] < until]
    for line in steps(run):
        for name, value in (
            ("loss", line["loss"]),
            ("rate", line["rate"]),
            ("gradient_norm", line["gradient_norm"]),
            ("terms/square", line["terms"]["square"]),
        ):
            assert (name, value, line["seen"]) in shown
    assert shown[-2:] == [("validation/mAP", 0.5, 60), ("validation/R1", 0.25, 60)]
    assert len([s for s in shown if s[0] == "loss"]) == len(steps(run))


def test_tensorboard_that_is_missing_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"--tensorboard: is not installed here\. pip install 'resight\[track\]'"):
        Machine.of(replace(ENGINE, tensorboard=True))


# settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"micro_batch": -1}, "--micro-batch -1: 0 or more"),
        ({"clip_norm": math.nan}, "--clip-norm nan: 0 or more"),
        ({"checkpoint_minutes": -1}, "--checkpoint-minutes -1: 0 or more"),
        ({"validate_every": -2}, "--validate-every -2: 0 or more"),
        ({"seed": -3}, "--seed -3: 0 or more"),
        ({"seed": 2**62 + 1}, "--seed 4611686018427387905: at most 2\\^62"),
        ({"workers": 0}, "--workers 0: at least 1"),
        ({"log_every": 0}, "--log-every 0: at least 1"),
        ({"validation_share": 1.0}, "--validation-share 1.0: between 0 and 1"),
        ({"keep": "best"}, "--keep best: the best is chosen on validation identities; add --validate-every N"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        Engine(**changes)


def test_free_settings_exist() -> None:
    assert set(FREE) < set(Engine.__dataclass_fields__)


def test_the_machine_is_the_one_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    machine = Machine.of(replace(ENGINE, precision="bf16"))
    assert (machine.device, machine.precision, machine.processes) == (CPU, "bf16", Processes())


def test_what_batch_norms_see_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = Toy()
    tower = toy.machine.spread(lambda x: (toy.model(x),), replace(ENGINE, micro_batch=2), module=toy.model)
    train(toy, run_of(tmp_path), progress=Progress(), towers=(tower, tower))
    assert capsys.readouterr().err.count("note: the tower's batch norms see each micro-batch by itself") == 1
