"""`resight train RECIPE`: settings from default, preset, file and flags → a run folder with an encoder in it."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Self

import tyro

from resight.clip.sources import OWN
from resight.commands.arguments import DataArguments, print_json
from resight.commands.settings import override
from resight.errors import ConfigError
from resight.recipes import clip_reid, finetune, pcl, pcl_unsupervised, prompt_decoupling, text_direct
from resight.runs import read_config


@dataclass(frozen=True, slots=True)
class TrainCommand:
    """What every recipe's command takes; each adds its `recipe` and its `settings`."""

    recipe: ClassVar[ModuleType]
    data: DataArguments
    init: str
    """Weights to start from: an encoder folder, resight-mini, resight-mini-rn, an alias (openai:ViT-B-16),
    hf-hub:owner/name, a checkpoint file, or random:WIDTHxDEPTH[/PATCH]."""
    out: Path
    """Run folder to write: settings, figures, checkpoints and the encoder; new or empty."""
    preset: str | None = None
    """Published settings by name; --config and flags overrule them."""
    config: Path | None = None
    """A run folder, or its config.json, whose settings to take; flags overrule them."""
    data_licence: str | None = None
    """Terms of the pictures, as their makers state them (CC-BY-4.0; own: yours to use so), for the encoder's card."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with the run in --out, with its data, weights and settings."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the outcome as JSON."""

    @classmethod
    def before_flags(cls, words: Sequence[str]) -> Self:
        """The command as it is before its flags are read, which overrule it."""
        early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        for flag in ("--out", "--preset", "--config"):  # these decide what the others are without a flag
            early.add_argument(flag, nargs="?")
        early.add_argument("--resume", action="store_true")
        found, _ = early.parse_known_args(words)
        nothing: Any = tyro.MISSING
        return cls(
            data=DataArguments(nothing),
            init=nothing,
            out=Path(found.out) if found.out else nothing,
            preset=found.preset,
            config=Path(found.config) if found.config else None,
            resume=found.resume,
        )._with_settings()

    def _with_settings(self) -> Self:
        """Settings: default < preset < config file; a run that goes on has its own in place of the defaults."""
        known: dict[str, Any] = {"settings": self.recipe.Config()}
        if self.resume and isinstance(self.out, Path):
            known = self._of_the_run(self.out)
        if self.preset is not None:
            if self.preset not in self.recipe.PRESETS:
                there = ", ".join(self.recipe.PRESETS) or "none"
                raise ConfigError(
                    f"--preset {self.preset}: {self.recipe.NAME} has no such preset; choose from: {there}."
                )
            known["settings"] = override(known["settings"], self.recipe.PRESETS[self.preset], f"--preset {self.preset}")
        if self.config is not None:
            stored = read_config(self.config)["settings"]
            known["settings"] = override(known["settings"], stored, f"--config {self.config}")
        return dataclasses.replace(self, **known, resume=False)  # a flag that is on already would not be known

    def _of_the_run(self, folder: Path) -> dict[str, Any]:
        """Data, weights and settings that the run in the folder was begun with."""
        there = read_config(folder)
        if there["recipe"] != self.recipe.NAME:
            raise ConfigError(f"--resume: {folder} is a run of {there['recipe']}. Use resight train {there['recipe']}.")
        source = str(folder / "config.json")
        names = {field.name for field in dataclasses.fields(DataArguments)}  # a run begun from Python may lack some
        data = {"data": None} | {name: value for name, value in there["data"].items() if name in names}
        return {
            "data": override(DataArguments(Path()), data, source),
            "init": there["init"],
            "data_licence": there["data"].get("licence"),
            "settings": override(self.recipe.Config(), there["settings"], source),
        }


@dataclass(frozen=True, slots=True)
class FinetuneCommand(TrainCommand):
    """Fine-tune CLIP's image tower by identity and triplet loss: the baseline that CLIP-ReID is compared with.

    Presets: person (the defaults), veri, vehicleid, and each with -resnet.
    """

    recipe: ClassVar[ModuleType] = finetune
    settings: Annotated[finetune.Config, tyro.conf.arg(name="method")] = field(default_factory=finetune.Config)


def finetune_command(arguments: FinetuneCommand) -> int:
    return _train(arguments.recipe, arguments, arguments.settings)


@dataclass(frozen=True, slots=True)
class ClipReidCommand(TrainCommand):
    """CLIP-ReID: learn a few words for each identity, then fine-tune the image tower towards them.

    Presets: person (the defaults), veri, vehicleid, and each with -resnet.
    """

    recipe: ClassVar[ModuleType] = clip_reid
    settings: Annotated[clip_reid.Config, tyro.conf.arg(name="method")] = field(default_factory=clip_reid.Config)


def clip_reid_command(arguments: ClipReidCommand) -> int:
    return _train(arguments.recipe, arguments, arguments.settings)


@dataclass(frozen=True, slots=True)
class PclCommand(TrainCommand):
    """PCL-CLIP: fine-tune the image tower by contrast with the centroids of identities, without prompts.

    Presets: market1501 (the defaults), msmt17, veri776.
    """

    recipe: ClassVar[ModuleType] = pcl
    settings: Annotated[pcl.Config, tyro.conf.arg(name="method")] = field(default_factory=pcl.Config)


def pcl_command(arguments: PclCommand) -> int:
    return _train(arguments.recipe, arguments, arguments.settings)


@dataclass(frozen=True, slots=True)
class PclUnsupervisedCommand(TrainCommand):
    """PCL-CLIP without labels: cluster the pictures, hold them against the clusters, and again. No identity is read.

    Presets: o2cap (the defaults), cap, cc-market1501, cc-msmt17.
    """

    recipe: ClassVar[ModuleType] = pcl_unsupervised
    settings: Annotated[pcl_unsupervised.Config, tyro.conf.arg(name="method")] = field(
        default_factory=pcl_unsupervised.Config
    )


def pcl_unsupervised_command(arguments: PclUnsupervisedCommand) -> int:
    return _train(arguments.recipe, arguments, arguments.settings)


@dataclass(frozen=True, slots=True)
class TextDirectCommand(TrainCommand):
    """Train both towers of CLIP on pictures and captions: directly, by IRRA, or from nothing.

    Presets: itc (the defaults), irra, decoupling-baseline.
    """

    recipe: ClassVar[ModuleType] = text_direct
    settings: Annotated[text_direct.Config, tyro.conf.arg(name="method")] = field(default_factory=text_direct.Config)


def text_direct_command(arguments: TextDirectCommand) -> int:
    return _train(arguments.recipe, arguments, arguments.settings)


@dataclass(frozen=True, slots=True)
class PromptDecouplingCommand(TrainCommand):
    """Prompt decoupling: learn prompts for both frozen towers from captions, then fine-tune both towers with them.

    Presets: decoupled (the defaults), joint, which learns all together.
    """

    recipe: ClassVar[ModuleType] = prompt_decoupling
    settings: Annotated[prompt_decoupling.Config, tyro.conf.arg(name="method")] = field(
        default_factory=prompt_decoupling.Config
    )


def prompt_decoupling_command(arguments: PromptDecouplingCommand) -> int:
    return _train(arguments.recipe, arguments, arguments.settings)


def _next_words(encoder: Path, data: DataArguments) -> list[str]:
    """The command that evaluates what was trained, on the same data."""
    benchmark = [] if data.benchmark is None else ["--benchmark", data.benchmark]
    columns = [word for column in data.column for word in ("--column", column)]
    return ["resight", "evaluate", str(encoder), "--data", str(data.data), *benchmark, *columns]


def _train(recipe: ModuleType, arguments: TrainCommand, settings: Any) -> int:
    from resight.launch import Order, launch

    read = dataclasses.asdict(arguments.data) | {"data": str(arguments.data.data.absolute())}
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    paths = {name: value.absolute() for name, value in values.items() if isinstance(value, Path)}
    is_path = arguments.init not in OWN and Path(arguments.init).exists()
    order = Order(
        recipe=recipe,
        settings=dataclasses.replace(settings, **paths),  # absolute, since a run may go on from another folder
        init=str(Path(arguments.init).absolute()) if is_path else arguments.init,
        out=arguments.out,
        read=read,
        command=("resight", *sys.argv[1:]),
        resume=arguments.resume,
        licence=arguments.data_licence,
    )
    trained = launch(order, arguments.data.read())
    if trained is None:  # another process of the group tells
        return 0
    folder = arguments.out / "encoder"
    if arguments.json:
        print_json({"encoder": str(folder), "fingerprint": trained.fingerprint(), "run": str(arguments.out)})
    else:
        print(f"{folder}: trained. Next: {shlex.join(_next_words(folder, arguments.data))}")
    return 0
