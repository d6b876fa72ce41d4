"""`resight train RECIPE`: settings from default, preset, file and flags → a run folder with an encoder in it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import tyro

from resight.commands.arguments import DataArguments, print_json
from resight.errors import ConfigError
from resight.recipes import clip_reid, finetune, text_direct
from resight.runs import read_config


@dataclass(frozen=True, slots=True)
class TrainCommand:
    """What every recipe's command takes."""

    data: DataArguments
    init: str
    """Weights to start from: an encoder folder, resight-mini, resight-mini-rn, an alias (openai:ViT-B-16), hf-hub:…, a
    checkpoint file, or random:WIDTHxDEPTH[/PATCH]."""
    out: Path
    """Run folder to write: settings, figures, checkpoints, and the encoder; new or empty."""
    preset: str | None = None
    """Named settings, which flags overrule."""
    config: Path | None = None
    """A run folder, or its config.json, whose settings to take over; --preset and flags overrule them."""
    resume: bool = False
    """Go on with the run in --out, with its settings."""
    json: bool = False
    """Print the outcome as JSON."""

    @classmethod
    def before_flags(cls, words: Sequence[str]) -> Self:
        """What holds before flags are read: defaults, then the preset's, the file's, or the resumed run's settings."""
        recipe = _recipe(cls)
        settings, named = recipe.Config(), _named(words)
        data: dict[str, Any] = {"data": tyro.MISSING}
        init: Any = tyro.MISSING
        if "--resume" in words and "out" in named:
            there = read_config(Path(named["out"]))
            data, init = there["data"] | {"data": Path(there["data"]["data"])}, there["init"]
            data = {field.name: data[field.name] for field in dataclasses.fields(DataArguments)}
            data["column"] = tuple(data["column"])
            settings = override(settings, there["settings"])
        elif "config" in named:
            settings = override(settings, read_config(Path(named["config"]))["settings"])
        if "preset" in named:
            if named["preset"] not in recipe.PRESETS:
                known = ", ".join(recipe.PRESETS) or "none"
                raise ConfigError(f"--preset {named['preset']}: {recipe.NAME} has no such preset; there is {known}.")
            settings = override(settings, recipe.PRESETS[named["preset"]])
        return cls(data=DataArguments(**data), init=init, out=tyro.MISSING, settings=settings)  # type: ignore[call-arg]


@dataclass(frozen=True, slots=True)
class FinetuneCommand(TrainCommand):
    """Fine-tune CLIP's image tower by identity and triplet loss: the baseline that CLIP-ReID is compared with.

    Presets: person (the defaults), veri, vehicleid, and each with -resnet.
    """

    settings: finetune.Config = dataclasses.field(default_factory=finetune.Config)


def finetune_command(arguments: FinetuneCommand) -> int:
    return _train(arguments)


@dataclass(frozen=True, slots=True)
class ClipReidCommand(TrainCommand):
    """CLIP-ReID: learn a few words for each identity, then fine-tune the image tower towards them.

    Presets: person (the defaults), veri, vehicleid, and each with -resnet.
    """

    settings: clip_reid.Config = dataclasses.field(default_factory=clip_reid.Config)


def clip_reid_command(arguments: ClipReidCommand) -> int:
    return _train(arguments)


@dataclass(frozen=True, slots=True)
class TextDirectCommand(TrainCommand):
    """Train both towers of CLIP on pictures and captions by their contrast."""

    settings: text_direct.Config = dataclasses.field(default_factory=text_direct.Config)


def text_direct_command(arguments: TextDirectCommand) -> int:
    return _train(arguments)


def _recipe(command: type[TrainCommand]) -> Any:
    """The module whose Config the command's settings are."""
    config = next(f for f in dataclasses.fields(command) if f.name == "settings").default_factory
    return sys.modules[config.__module__]


def _train(arguments: FinetuneCommand | ClipReidCommand | TextDirectCommand) -> int:
    import torch

    from resight.environment import default_cache
    from resight.progress import Progress
    from resight.runs import Request, Run
    from resight.training import FREE, Machine
    from resight.trainset import train_set

    recipe, settings = _recipe(type(arguments)), arguments.settings
    engine = settings.engine
    splits = arguments.data.read()
    data = train_set(
        splits, validate=engine.validate_every > 0, validation_share=engine.validation_share, seed=engine.seed
    )
    machine = Machine.of(engine)
    read = dataclasses.asdict(arguments.data) | {"data": str(arguments.data.data.absolute())}
    request = Request(
        recipe=recipe.NAME,
        init=arguments.init,
        data=read
        | {"fingerprint": data.fingerprint, "pictures": len(data.records), "identities": len(data.identities)},
        settings=dataclasses.asdict(settings),
        free=FREE,
        command=("resight", *sys.argv[1:]),
    )
    run = Run.open(arguments.out, request, resume=arguments.resume, writes=machine.processes.writes)
    progress = Progress(quiet=not machine.processes.writes)
    for note in (*splits.notes, *data.notes):
        progress.say(f"note: {note}")
    machine.processes.wait()
    torch.manual_seed(engine.seed)
    encoder = recipe.train(arguments.init, data, settings, run, machine, default_cache(), progress)
    folder = arguments.out / "encoder"
    if machine.processes.writes:
        encoder.save(folder)
        if arguments.json:
            print_json({"encoder": str(folder), "fingerprint": encoder.fingerprint(), "run": str(arguments.out)})
        else:
            print(f"{folder}: trained. Next: resight evaluate {folder} --data {arguments.data.data}")
    machine.processes.wait()
    machine.processes.leave()
    return 0


def override(settings: Any, values: Mapping[str, Any]) -> Any:
    """The settings with some fields, of nested ones too, by their names; lists become tuples.

    Raises ConfigError for a name that there is not.
    """
    left = dict(values)
    changed = _override(settings, left)
    if left:
        raise ConfigError(
            f"unknown setting {', '.join(sorted(left))}: this version's {type(settings).__module__} has none."
        )
    return changed


def _override(settings: Any, left: dict[str, Any]) -> Any:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            inner = left.pop(field.name, None)
            if isinstance(inner, Mapping):
                value = override(value, inner)
            changes[field.name] = _override(value, left)
        elif field.name in left:
            given = left.pop(field.name)
            changes[field.name] = tuple(given) if isinstance(given, list) else given
    return dataclasses.replace(settings, **changes)


def _named(words: Sequence[str]) -> dict[str, str]:
    """The values of flags that decide what the others' defaults are, found before parsing."""
    found: dict[str, str] = {}
    for place, word in enumerate(words):
        flag, _, value = word.partition("=")
        if flag in ("--preset", "--config", "--out"):
            found[flag[2:]] = value or (words[place + 1] if place + 1 < len(words) else "")
    return found
