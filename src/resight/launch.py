"""One training from end to end: data and settings in, a run folder with an encoder in it out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from resight.data.dataset import require_pictures
from resight.encoder import Encoder
from resight.engine import FREE, Machine
from resight.environment import default_cache, keep_freed_memory, precision_note, tiny_as_zero
from resight.progress import Progress
from resight.runs import Request, Run
from resight.trainset import TrainSet, train_set
from resight.types import Splits

# Taken back by their authors: no licence that anybody states makes up for that. By their names in data/benchmarks.py.
WITHDRAWN = {
    "dukemtmc": "withdrawn by its authors in 2019, over consent (DukeMTMC-reID)",
    "occluded-duke": "cut from DukeMTMC-reID, withdrawn by its authors in 2019, over consent (Occluded-Duke)",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What to train. read: how the splits were read, as plain values; command: the words that asked for it.

    licence: of the pictures, as their makers state it; None where nobody said.
    """

    recipe: ModuleType
    settings: Any
    init: str
    out: Path
    read: Mapping[str, Any]
    command: Sequence[str]
    resume: bool = False
    licence: str | None = None


def launch(order: Order, splits: Splits) -> Encoder | None:
    """Trains by the recipe, from the run's last checkpoint when it is resumed; leaves `encoder/` in the run folder.

    Every process of a group calls this; the first one writes, and the others get None. Raises the errors of its parts.
    """
    recipe, engine = order.recipe, order.settings.engine
    data = train_set(
        splits,
        learns_from=recipe.LEARNS_FROM,
        validate=engine.validate_every > 0,
        validation_share=engine.validation_share,
        seed=engine.seed,
    )
    data = dataclasses.replace(data, licence=_licence(order.licence, splits.benchmark))
    validation = data.validation.validation if data.validation else ()
    require_pictures((*data.records, *validation), splits.root)
    machine = Machine.of(engine)
    if machine.device.type == "cpu":
        keep_freed_memory()
    with tiny_as_zero(machine.device):
        encoder = _train(order, splits, data, machine)
    return encoder if machine.processes.writes else None


def _train(order: Order, splits: Splits, data: TrainSet, machine: Machine) -> Encoder:
    recipe, engine = order.recipe, order.settings.engine
    about = {"fingerprint": data.fingerprint, "pictures": len(data.records), "identities": len(data.identities)}
    request = Request(
        recipe=recipe.NAME,
        init=order.init,
        data={**order.read, **about, "name": splits.data_name, "licence": order.licence},
        settings=dataclasses.asdict(order.settings),
        free=FREE,
        command=tuple(order.command),
    )
    run = Run.open(order.out, request, resume=order.resume, writes=machine.processes.writes)
    progress = Progress(quiet=not machine.processes.writes)
    slow = precision_note(machine.device, machine.precision)
    for note in (*splits.notes, *data.notes, *([slow] if slow else [])):
        progress.say(f"note: {note}")
    machine.processes.wait()
    torch.manual_seed(engine.seed)
    encoder: Encoder = recipe.train(order.init, data, order.settings, run, machine, default_cache(), progress)
    if machine.processes.writes:
        encoder.save(order.out / "encoder")
    machine.processes.wait()
    machine.processes.leave()
    return encoder


def _licence(stated: str | None, benchmark: str | None) -> str:
    return WITHDRAWN.get(benchmark or "") or (stated or "").strip() or "unknown"
