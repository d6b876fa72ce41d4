"""`fit`, the loop that every recipe shares: a recipe brings batches and a step, this all that is not the method."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from resight import environment
from resight.engine import Engine, Machine, summary_writer
from resight.errors import CheckpointError, ConfigError, ResightError
from resight.optim import set_rates
from resight.progress import Progress
from resight.runs import Run
from resight.types import Record
from resight.whole_batch import WholeBatch


class HasRows(Protocol):
    """A batch; rows: int64 [B] of the whole batch, positions in the records that are trained on."""

    @property
    def rows(self) -> Tensor: ...


B = TypeVar("B", bound=HasRows)


class Epoch(NamedTuple, Generic[B]):
    """The batches of one epoch from the one asked for on; n_steps counts all of them."""

    n_steps: int
    batches: Iterable[B]


@dataclass(slots=True)
class Stage(Generic[B]):
    """One stage of a recipe.

    batches(epoch, first): that epoch's batches from number `first` on, a function of these two numbers alone.
    step(batch): the weighted loss terms by name; their sum is minimised. rate(epoch): learning rate in the epoch,
    1-based. modules: everything that changes, by name; towers: what `Machine.spread` made of them. records: what
    `batch.rows` counts, to name pictures. validate: scores on validation identities, "mAP" among them.
    """

    name: str
    epochs: int
    batches: Callable[[int, int], Epoch[B]]
    step: Callable[[B], Mapping[str, Tensor]]
    rate: Callable[[int], float]
    optimizer: torch.optim.Optimizer
    modules: Mapping[str, nn.Module]
    records: Sequence[Record]
    towers: Sequence[WholeBatch] = ()
    validate: Callable[[], Mapping[str, float]] | None = None


class NonFiniteError(ResightError):
    """A loss or gradient that is no number."""


def fit(stage: Stage[B], run: Run, engine: Engine, machine: Machine, progress: Progress) -> None:
    """Trains the stage's modules in place, from its checkpoint where it has one, to the end of its last epoch.

    The same run gives the same parameters on one machine, however often it was stopped and went on. Ctrl-C stops it
    after the step that is being taken, with a checkpoint (of several processes, at once and without).
    Raises NonFiniteError (a ResightError) when the loss or its gradient is no number, ResightError when the GPU's
    memory is too small, CheckpointError when the run folder cannot be read or written.
    """
    _Loop(stage, run, engine, machine, progress).run_all()


class _Loop(Generic[B]):
    def __init__(self, stage: Stage[B], run: Run, engine: Engine, machine: Machine, progress: Progress) -> None:
        self.stage, self.run, self.engine, self.machine, self.progress = stage, run, engine, machine, progress
        self.scaler = torch.amp.GradScaler(machine.device.type, enabled=machine.precision == "fp16")
        self.parameters = [p for group in stage.optimizer.param_groups for p in group["params"]]
        self.epoch, self.step = 1, 0  # `step` steps of epoch `epoch`, which counts from 1, are taken
        self.n_seen, self.seconds, self.best = 0, 0.0, -math.inf
        self.window = _Window()
        self.interrupt = _Interrupt()
        self.board: Any = None

    def run_all(self) -> None:
        self._restore()
        if self.epoch <= self.stage.epochs:
            for note in dict.fromkeys(tower.note for tower in self.stage.towers if tower.note):
                self.progress.say(f"note: {note}")
            if self.engine.tensorboard and self.machine.processes.writes:
                folder = self.run.folder / "tensorboard" / self.stage.name
                self.board = summary_writer()(str(folder), purge_step=self.n_seen + 1)
            try:
                with self.progress.stage(self.stage.name, self.stage.epochs), self._interruptible():
                    self.saved = self.resumed = time.monotonic()
                    while self.epoch <= self.stage.epochs:
                        self._one_epoch()
            except torch.OutOfMemoryError as error:
                raise ResightError(
                    f"{self.stage.name}, epoch {self.epoch}, step {self.step + 1}: a batch needs more memory than the "
                    "GPU has. Go on with --resume --recompute; or begin a new run with --micro-batch 16 (the same "
                    "batch in parts), --precision bf16 or smaller pictures."
                ) from error
            finally:
                if self.board is not None:
                    self.board.close()
        self._take_best()

    def _interruptible(self) -> AbstractContextManager[None]:
        # of several processes each would stop after another step, and one wait for the other
        return self.interrupt.kept_back() if self.machine.processes.n == 1 else nullcontext()

    def _one_epoch(self) -> None:
        stage, epoch = self.stage, self.epoch
        rate = stage.rate(epoch)
        set_rates(stage.optimizer, rate)
        n_steps, batches = stage.batches(epoch, self.step)
        if not n_steps:
            raise ConfigError(f"{stage.name}: epoch {epoch} has no batch; the data has too few pictures for one.")
        self.window.begun = time.monotonic()
        for batch in batches:
            terms, norm = self._one_step(batch)
            self.step += 1
            self.n_seen += len(batch.rows)
            self.window.add(terms, norm, len(batch.rows))
            at_end = self.step == n_steps
            if at_end or self.step % self.engine.log_every == 0:
                self._log(rate, n_steps)
            due = time.monotonic() - self.saved > 60 * self.engine.checkpoint_minutes
            if not at_end and (due or self.interrupt.asked):
                self._save()
        assert self.step == n_steps
        self._validate(epoch, n_steps)
        self.epoch, self.step = epoch + 1, 0
        self._save()

    def _one_step(self, batch: B) -> tuple[dict[str, float], float]:
        """The terms and the norm of their gradient, before clipping."""
        self.stage.optimizer.zero_grad(set_to_none=True)
        with environment.exact(self.machine.device):
            terms = self.stage.step(batch)
            parts = torch.stack(list(terms.values()))
            values = dict(zip(terms, parts.tolist(), strict=True))
            if not math.isfinite(sum(values.values())):
                raise self._not_finite("loss", values, batch)
            self.scaler.scale(parts.sum()).backward()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        self.machine.processes.average(gradients)
        self.machine.processes.average(s for tower in self.stage.towers for s in tower.statistics())
        self.scaler.unscale_(self.stage.optimizer)
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.engine.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.engine.clip_norm, norm)
        length = norm.item()
        # a scaler skips such a step and halves its scale, which helps where float16 was exceeded
        if not math.isfinite(length) and not (self.scaler.is_enabled() and self.scaler.get_scale() > 1):
            raise self._not_finite("gradient", values, batch)
        self.scaler.step(self.stage.optimizer)
        self.scaler.update()
        return values, length

    def _not_finite(self, what: str, terms: Mapping[str, float], batch: B) -> NonFiniteError:
        named = ", ".join(f"{name} {value:g}" for name, value in terms.items())
        paths = [str(self.stage.records[row].path) for row in batch.rows.tolist()]
        entry = {"stage": self.stage.name, "epoch": self.epoch, "step": self.step + 1, "not_finite": what}
        self.run.log(entry | {"terms": {name: str(value) for name, value in terms.items()}, "pictures": paths})
        shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
        return NonFiniteError(
            f"{self.stage.name}, epoch {self.epoch}, step {self.step + 1}: the {what} is not a number ({named}). The "
            f"batch held {shown}; metrics.jsonl lists all. A new run with a smaller "
            "--rate, --clip-norm 1 or --precision float32 usually helps."
        )

    def _log(self, rate: float, n_steps: int) -> None:
        line: dict[str, Any] = {"stage": self.stage.name, "epoch": self.epoch, "step": self.step, "rate": rate}
        line |= self.window.means()
        line["memory_gib"] = environment.peak_memory_gib(self.machine.device)
        self.run.log(line | {"seen": self.n_seen, "seconds": round(self._elapsed(), 3)})
        self.progress.show(self.epoch, self.step, n_steps, line)
        terms = {f"terms/{name}": value for name, value in line["terms"].items()}
        self._draw({name: line[name] for name in ("loss", "rate", "gradient_norm")} | terms)
        self.window = _Window()

    def _draw(self, values: Mapping[str, float]) -> None:
        """Points of TensorBoard's curves, over the pictures seen."""
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, self.n_seen)

    def _validate(self, epoch: int, n_steps: int) -> None:
        every, validate = self.engine.validate_every, self.stage.validate
        if validate is None or not every or (epoch % every and epoch != self.stage.epochs):
            return
        scores = dict(validate())
        self.run.log({"stage": self.stage.name, "epoch": epoch, "step": n_steps, "validation": scores})
        self.progress.validated(epoch, scores)
        self._draw({f"validation/{name}": value for name, value in scores.items()})
        if self.engine.keep == "best" and scores["mAP"] > self.best:
            self.best = scores["mAP"]
            self.run.save(f"{self.stage.name}-best", {"epoch": epoch, "step": n_steps, "modules": self._modules()})

    def _take_best(self) -> None:
        """Puts the best epoch's parameters in place, where that was asked for."""
        if self.engine.keep != "best" or self.stage.validate is None:
            return
        self.machine.processes.wait()
        state = self.run.load(f"{self.stage.name}-best")
        if state is None:
            raise CheckpointError(f"{self.run.folder}: has lost the best epoch's checkpoint. Begin a new run.")
        with self._fitting():
            self._put(state["modules"])
        self.progress.say(f"{self.stage.name}: epoch {state['epoch']} is kept, the best on validation identities")

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.resumed

    def _modules(self) -> dict[str, dict[str, Tensor]]:
        """What training changes: parameters that are not frozen, and buffers."""
        changing: dict[str, dict[str, Tensor]] = {}
        for name, module in self.stage.modules.items():
            frozen = {key for key, parameter in module.named_parameters() if not parameter.requires_grad}
            changing[name] = {key: tensor for key, tensor in module.state_dict().items() if key not in frozen}
        return changing

    def _put(self, modules: Mapping[str, Mapping[str, Tensor]]) -> None:
        for name, wanted in self._modules().items():
            if modules[name].keys() != wanted.keys():
                raise KeyError(f"its {name} has other parameters")
            self.stage.modules[name].load_state_dict(modules[name], strict=False)

    def _save(self) -> None:
        generators = {"cpu": torch.get_rng_state()}
        if self.machine.device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(self.machine.device)
        state = {
            "epoch": self.epoch,
            "step": self.step,
            "n_seen": self.n_seen,
            "seconds": self._elapsed(),
            "best": self.best,
            "window": self.window.state(),
            "modules": self._modules(),
            "optimizer": self.stage.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generators": generators,
        }
        self.run.save(self.stage.name, state)
        self.run.log({"stage": self.stage.name, "epoch": self.epoch, "step": self.step, "checkpoint": True})
        self.saved = time.monotonic()
        if self.interrupt.asked:
            self.progress.say(f"{self.stage.name}: stopped after a whole step, and saved; --resume goes on from there")
            raise KeyboardInterrupt

    def _restore(self) -> None:
        state = self.run.load(self.stage.name)
        if state is None:
            return
        with self._fitting():
            self._put(state["modules"])
            self.stage.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            torch.set_rng_state(state["generators"]["cpu"])
            if self.machine.device.type == "cuda" and "cuda" in state["generators"]:
                torch.cuda.set_rng_state(state["generators"]["cuda"], self.machine.device)
            self.epoch, self.step, self.n_seen = state["epoch"], state["step"], state["n_seen"]
            self.seconds, self.best, self.window = state["seconds"], state["best"], _Window(**state["window"])
        done = self.epoch > self.stage.epochs
        where = "was done already" if done else f"goes on in epoch {self.epoch}, after {self.step} of its steps"
        self.progress.say(f"{self.stage.name}: {where}")

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        try:
            yield
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())
            raise CheckpointError(
                f"{self.run.folder}: its checkpoint of {self.stage.name} does not fit ({why}). Were the weights of "
                "--init replaced? Bring them back or begin a new run."
            ) from error


class _Interrupt:
    """Ctrl-C, kept back until a step is whole; the second one stops at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def kept_back(self) -> Iterator[None]:
        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if not usual or threading.current_thread() is not threading.main_thread():
            yield  # someone else's affair: a program around this one, or nohup
            return
        signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@dataclass(slots=True)
class _Window:
    """What happened since the last line of metrics.jsonl; saved with a checkpoint, so that the next line is the same.

    Norms that are not finite, of steps that the scaler skips, are left out.
    """

    n_steps: int = 0
    n_pictures: int = 0
    n_norms: int = 0
    norm: float = 0.0
    seconds: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def add(self, terms: Mapping[str, float], norm: float, n_pictures: int) -> None:
        self.n_steps += 1
        self.n_pictures += n_pictures
        if math.isfinite(norm):
            self.n_norms, self.norm = self.n_norms + 1, self.norm + norm
        for name, value in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + value

    def means(self) -> dict[str, Any]:
        means = {name: value / self.n_steps for name, value in self.terms.items()}
        return {
            "loss": sum(means.values()),
            "terms": means,
            "gradient_norm": self.norm / max(1, self.n_norms),
            "images_per_second": self.n_pictures / (self.seconds + time.monotonic() - self.begun),
        }

    def state(self) -> dict[str, Any]:
        state = asdict(self) | {"seconds": self.seconds + time.monotonic() - self.begun}
        del state["begun"]
        return state
