"""`fit`, the loop that every recipe shares: a recipe brings batches and a step, this all that is not the method."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from resight import environment
from resight.environment import Precision
from resight.errors import ConfigError, ResightError
from resight.optim import set_rates
from resight.processes import Processes, join
from resight.progress import Progress
from resight.runs import Run
from resight.types import Record
from resight.whole_batch import Outputs, WholeBatch


@dataclass(frozen=True, slots=True)
class Engine:
    """How to compute: these fields change speed, memory and what is written, hardly the result."""

    device: str = "auto"
    """auto (a GPU where there is one), cpu, or a PyTorch device such as cuda:1."""
    precision: Precision | Literal["auto"] = "auto"
    """Of the towers; losses are float32. auto: bf16 where the hardware multiplies in it, fp16 on older GPUs, else
    float32."""
    micro_batch: int = 0
    """Pictures computed at a time, with the gradients of the whole batch (a second forward pass); 0: all at once."""
    recompute: bool = False
    """Keep no activations inside a transformer's blocks but compute them again: less memory, a third more time."""
    compile: bool = False
    """Let torch.compile fuse the image tower: minutes at the start, faster steps; needs a C++ compiler on a CPU."""
    clip_norm: float = 0.0
    """Largest norm of the gradient of all parameters together; 0: not clipped, as published."""
    workers: int = 2
    """Threads that prepare pictures."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints inside an epoch; there is one at the end of every epoch in any case."""
    log_every: int = 20
    """Steps between lines of metrics.jsonl."""
    tensorboard: bool = False
    """Also write TensorBoard files into the run folder; needs pip install 'resight[track]'."""
    validate_every: int = 0
    """Epochs between evaluations on validation identities; 0: none, and train on all. They are the data's own, or cut
    from train."""
    validation_share: float = 0.1
    """Share of the train identities cut for validation, where the data has none."""
    keep: Literal["last", "best"] = "last"
    """The epoch that becomes the result: the last, as published, or the best mAP on validation identities."""
    seed: int = 1234
    """Of all randomness: batches, augmentation, fresh parameters (CLIP-ReID's code: 1234)."""

    def __post_init__(self) -> None:
        for name in ("micro_batch", "clip_norm", "checkpoint_minutes", "validate_every", "seed"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: 0 or more.")
        for name in ("workers", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 1.")
        if not 0 < self.validation_share < 1:
            raise ConfigError(f"--validation-share {self.validation_share}: between 0 and 1.")
        if self.keep == "best" and not self.validate_every:
            raise ConfigError("--keep best: the best is chosen on validation identities; add --validate-every N.")


FREE = ("device", "workers", "checkpoint_minutes", "log_every", "tensorboard")
"""Fields of Engine that may differ when a run goes on: its results stay the same, but for another device's rounding."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a run computes: this process's device and precision, and its place among the processes."""

    device: torch.device
    precision: Precision
    processes: Processes

    @classmethod
    def of(cls, engine: Engine) -> Machine:
        processes, device = join(environment.choose_device(engine.device))
        if device.type == "cpu":
            torch.set_flush_denormal(True)  # Adam's squares of small gradients fall below 1e-38, where a CPU crawls
        chosen = engine.precision if engine.precision != "auto" else environment.best_precision(device)
        return cls(device, chosen, processes)

    def autocast(self) -> AbstractContextManager[None]:
        """A context in which matrix products run in the run's precision."""
        return environment.autocast(self.device, self.precision)

    def spread(
        self, run: Callable[..., Outputs], engine: Engine, *, module: nn.Module, parameters: Iterable[nn.Parameter] = ()
    ) -> WholeBatch:
        """`run` as a function of the whole batch; it uses the parameters of module, and further ones."""
        return WholeBatch(
            run,
            parameters=[*module.parameters(), *parameters],
            module=module,
            processes=self.processes,
            device=self.device,
            precision=self.precision,
            micro_batch=engine.micro_batch,
            compiled=engine.compile,
        )


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
    1-based. modules: everything that changes, by name; towers: those that run through `Machine.spread`. records: what
    `batch.rows` counts, to name pictures. validate: scores on validation identities, "mAP" among them.
    begin_epoch(epoch): called before the epoch's first batch.
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
    begin_epoch: Callable[[int], None] = field(default=lambda epoch: None)


class NonFiniteError(ResightError):
    """A loss or gradient that is no number."""


def fit(stage: Stage[B], run: Run, engine: Engine, machine: Machine, progress: Progress) -> None:
    """Trains the stage's modules in place, from its checkpoint where it has one, to the end of its last epoch.

    Raises NonFiniteError (a ResightError) when the loss or its gradient is no number; CheckpointError when the run
    folder cannot be read or written.
    """
    _Loop(stage, run, engine, machine, progress).run_all()


class _Loop(Generic[B]):
    def __init__(self, stage: Stage[B], run: Run, engine: Engine, machine: Machine, progress: Progress) -> None:
        self.stage, self.run, self.engine, self.machine, self.progress = stage, run, engine, machine, progress
        self.scaler = torch.amp.GradScaler(machine.device.type, enabled=machine.precision == "fp16")
        self.parameters = [p for group in stage.optimizer.param_groups for p in group["params"]]
        in_towers = {id(p) for tower in stage.towers for p in tower.parameters}
        self.tower_parameters = [p for p in self.parameters if id(p) in in_towers]
        self.other_parameters = [p for p in self.parameters if id(p) not in in_towers]
        self.epoch, self.step = 1, 0  # the next step to take is number `step` of epoch `epoch`, which counts from 1
        self.n_seen, self.seconds, self.best = 0, 0.0, -math.inf

    def run_all(self) -> None:
        self._restore()
        if self.epoch > self.stage.epochs:
            self._take_best()
            return
        with self.progress.stage(self.stage.name, self.stage.epochs):
            self.saved = self.resumed = time.monotonic()
            while self.epoch <= self.stage.epochs:
                self._one_epoch()
        self._take_best()

    def _one_epoch(self) -> None:
        stage, epoch = self.stage, self.epoch
        if not self.step:
            stage.begin_epoch(epoch)
        rate = stage.rate(epoch)
        set_rates(stage.optimizer, rate)
        n_steps, batches = stage.batches(epoch, self.step)
        if not n_steps:
            raise ConfigError(f"{stage.name}: epoch {epoch} has no batch; the data has too few pictures for one.")
        window = _Window(self.machine)
        for batch in batches:
            terms, norm = self._one_step(batch)
            self.step += 1
            self.n_seen += len(batch.rows)
            window.add(terms, norm, len(batch.rows))
            at_end = self.step == n_steps
            if at_end or self.step % self.engine.log_every == 0:
                line = {"stage": stage.name, "epoch": epoch, "step": self.step, "rate": rate} | window.close()
                self.run.log(line | {"seen": self.n_seen, "seconds": round(self._elapsed(), 3)})
                self.progress.show(epoch, self.step, n_steps, line)
            if not at_end and time.monotonic() - self.saved > 60 * self.engine.checkpoint_minutes:
                self._save()
        self.epoch, self.step = epoch + 1, 0
        self._validate(epoch, n_steps)
        self._save()

    def _one_step(self, batch: B) -> tuple[dict[str, float], float]:
        self.stage.optimizer.zero_grad(set_to_none=True)
        with environment.exact(self.machine.device):
            terms = dict(self.stage.step(batch))
            loss = torch.stack([term.float() for term in terms.values()]).sum()
            values = dict(zip(terms, torch.stack(list(terms.values())).detach().tolist(), strict=True))
            if not math.isfinite(sum(values.values())):
                raise self._not_finite("loss", values, batch)
            self.scaler.scale(loss).backward()
        self.machine.processes.sum_gradients(self.tower_parameters)
        self.machine.processes.average(p.grad for p in self.other_parameters if p.grad is not None)
        self.scaler.unscale_(self.stage.optimizer)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.engine.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.engine.clip_norm, norm)
        length = norm.item()
        if not math.isfinite(length) and not self.scaler.is_enabled():  # a scaler skips the step and halves its scale
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
            f"batch held {shown}; metrics.jsonl lists all. The last checkpoint is kept; a smaller rate, "
            "--clip-norm 1 or --precision float32 usually helps."
        )

    def _validate(self, epoch: int, n_steps: int) -> None:
        every, validate = self.engine.validate_every, self.stage.validate
        if validate is None or not every or (epoch % every and epoch != self.stage.epochs):
            return
        scores = dict(validate())
        self.run.log({"stage": self.stage.name, "epoch": epoch, "step": n_steps, "validation": scores})
        self.progress.validated(epoch, scores)
        if self.engine.keep == "best" and scores["mAP"] > self.best:
            self.best = scores["mAP"]
            self.run.save(f"{self.stage.name}-best", {"epoch": epoch, "step": 0} | self._modules())

    def _take_best(self) -> None:
        """Puts the best epoch's parameters in place, where that was asked for."""
        if self.engine.keep != "best" or self.stage.validate is None:
            return
        self.machine.processes.wait()
        state = self.run.load(f"{self.stage.name}-best")
        assert state is not None
        self._put(state)

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.resumed

    def _modules(self) -> dict[str, Any]:
        """What training changes: parameters that are not frozen, and buffers."""
        modules: dict[str, dict[str, Tensor]] = {}
        for name, module in self.stage.modules.items():
            frozen = {key for key, parameter in module.named_parameters() if not parameter.requires_grad}
            modules[name] = {key: tensor for key, tensor in module.state_dict().items() if key not in frozen}
        return {"modules": modules}

    def _put(self, state: Mapping[str, Any]) -> None:
        for name, module in self.stage.modules.items():
            left = module.load_state_dict(state["modules"][name], strict=False)
            trained = {key for key, parameter in module.named_parameters() if parameter.requires_grad}
            assert not left.unexpected_keys
            assert not trained & set(left.missing_keys)

    def _save(self) -> None:
        state = {
            "epoch": self.epoch,
            "step": self.step,
            "n_seen": self.n_seen,
            "seconds": self._elapsed(),
            "best": self.best,
        }
        generators = {"cpu": torch.get_rng_state()}
        if self.machine.device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(self.machine.device)
        optimizer, scaler = self.stage.optimizer.state_dict(), self.scaler.state_dict()
        self.run.save(
            self.stage.name,
            state | self._modules() | {"optimizer": optimizer, "scaler": scaler, "generators": generators},
        )
        self.run.log({"stage": self.stage.name, "epoch": self.epoch, "step": self.step, "checkpoint": True})
        self.saved = time.monotonic()

    def _restore(self) -> None:
        state = self.run.load(self.stage.name)
        if state is None:
            return
        self._put(state)
        self.stage.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["generators"]["cpu"])
        if self.machine.device.type == "cuda" and "cuda" in state["generators"]:
            torch.cuda.set_rng_state(state["generators"]["cuda"], self.machine.device)
        self.epoch, self.step, self.n_seen = state["epoch"], state["step"], state["n_seen"]
        self.seconds, self.best = state["seconds"], state["best"]


class _Window:
    """Means over the steps since the last line of metrics.jsonl."""

    def __init__(self, machine: Machine) -> None:
        self.device = machine.device
        self._begin()

    def _begin(self) -> None:
        self.n_steps, self.n_pictures, self.norm = 0, 0, 0.0
        self.terms: dict[str, float] = {}
        self.begun = time.monotonic()

    def add(self, terms: Mapping[str, float], norm: float, n_pictures: int) -> None:
        self.n_steps += 1
        self.n_pictures += n_pictures
        self.norm += norm
        for name, value in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + value

    def close(self) -> dict[str, Any]:
        means = {name: value / self.n_steps for name, value in self.terms.items()}
        line = {
            "loss": sum(means.values()),
            "terms": means,
            "gradient_norm": self.norm / self.n_steps,
            "images_per_second": self.n_pictures / (time.monotonic() - self.begun),
            "memory_gib": environment.peak_memory_gib(self.device),
        }
        self._begin()
        return line
