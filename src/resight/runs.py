"""A run folder: what was asked for, on which data and machine, what happened, and where it stands.

`config.json` (what was asked for, and the command), `environment.json`, `metrics.jsonl` (a line every few steps),
`checkpoints/STAGE.pt` (all that is needed to go on), and what the recipe leaves: `stage1/`, `encoder/`.
"""

from __future__ import annotations

import json
import os
import pickle
import shlex
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from resight import environment
from resight.errors import CheckpointError, ConfigError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Request:
    """What a run was asked to do, as plain JSON values.

    data: what was read, with its fingerprint. settings: the recipe's fields; those in `free` may differ when the run
    goes on, since they change where and how it is computed, and not what.
    """

    recipe: str
    init: str
    data: Mapping[str, Any]
    settings: Mapping[str, Any]
    free: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        values = {
            "format": FORMAT,
            "recipe": self.recipe,
            "init": self.init,
            "data": dict(self.data),
            "settings": dict(self.settings),
            "command": shlex.join(self.command),
        }
        plain: dict[str, Any] = json.loads(json.dumps(values, default=str))  # tuples and paths as JSON has them
        return plain


class Run:
    """One run folder; only the process that writes changes it."""

    def __init__(self, folder: Path, *, writes: bool = True) -> None:
        self.folder = folder
        self._writes = writes

    @classmethod
    def open(cls, folder: Path, request: Request, *, resume: bool, writes: bool = True) -> Run:
        """A new run in an empty or new folder, or the one that is there.

        Raises ConfigError when a new one would mix with other files, and when the one to go on with was asked for
        something else; CheckpointError when its folder is damaged or cannot be written.
        """
        run = cls(folder, writes=writes)
        if resume:
            run._compare(request)
            run._drop_rubbish()
        elif writes:  # the others may come when this one has already begun to fill it
            if folder.exists() and not run._is_untouched():
                known = (folder / "config.json").is_file()
                hint = " To go on with the run in it, add --resume." if known else ""
                what = "is not empty" if folder.is_dir() else "is no folder"
                raise ConfigError(f"--out {folder}: {what}. Name a new folder.{hint}")
            run._create(request)
        return run

    def _is_untouched(self) -> bool:
        """Whether the folder is empty, or holds a run that failed before its first step."""
        if not self.folder.is_dir():
            return False
        files = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if not path.is_dir()}
        return not files or ("config.json" in files and files <= {"config.json", "environment.json", "source.json"})

    def _create(self, request: Request) -> None:
        try:
            (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{self.folder}: cannot be written ({error}). Name another --out.") from error
        write_json(self.folder / "environment.json", environment.describe())
        write_json(self.folder / "config.json", request.as_dict())

    def _compare(self, request: Request) -> None:
        there, wanted = read_config(self.folder), request.as_dict()
        if there["recipe"] != wanted["recipe"]:
            raise ConfigError(f"{self.folder}: is a run of {there['recipe']}, not of {wanted['recipe']}.")
        if there["data"].get("fingerprint") != wanted["data"].get("fingerprint"):
            raise ConfigError(
                f"{self.folder}: was begun with data {there['data'].get('fingerprint')}, and what --data reads now is "
                f"{wanted['data'].get('fingerprint')}. Bring back the pictures and labels it had, or begin a new run."
            )
        old, new = (flat({"init": c["init"], **c["settings"]}) for c in (there, wanted))
        differing = [n for n in sorted(old.keys() | new.keys()) if n not in request.free and old.get(n) != new.get(n)]
        if differing:
            shown = "; ".join(f"{name} was {old.get(name)!r}, is {new.get(name)!r}" for name in differing)
            raise ConfigError(f"{self.folder}: cannot go on with other settings ({shown}). Begin a new run for them.")

    def _drop_rubbish(self) -> None:
        """Removes what an interrupted write left."""
        if self._writes:
            for path in (*self.folder.glob("*.part"), *(self.folder / "checkpoints").glob("*.part")):
                path.unlink(missing_ok=True)

    def log(self, entry: Mapping[str, Any]) -> None:
        """Appends one line to metrics.jsonl."""
        if not self._writes:
            return
        try:
            with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, allow_nan=False) + "\n")
        except OSError as error:
            raise CheckpointError(
                f"{self.folder / 'metrics.jsonl'}: cannot be written ({error}). Free the disk, then use --resume."
            ) from error

    def entries(self) -> list[dict[str, Any]]:
        """Every whole line of metrics.jsonl; one that was cut short, as a stopped process leaves it, is left out."""
        path = self.folder / "metrics.jsonl"
        try:
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error}).") from error
        found = [_parsed(line) for line in text.splitlines()]
        return [entry for entry in found if entry is not None]

    def save(self, stage: str, state: Mapping[str, Any]) -> None:
        """Replaces the stage's checkpoint, whole or not at all. Raises CheckpointError when the disk refuses.

        state holds tensors and plain values, with "epoch" and "step", the place to go on from.
        """
        if self._writes:
            hint = "The checkpoint before it is kept: free the disk, then go on with --resume."
            _replace(self._checkpoint(stage), lambda file: torch.save(state, file), hint)

    def load(self, stage: str) -> dict[str, Any] | None:
        """The stage's checkpoint; None when it has none yet, and metrics.jsonl is cut back to where it stands.

        Raises CheckpointError when it is damaged, or is gone though one was written.
        """
        path, entries = self._checkpoint(stage), self.entries()
        if not path.is_file():
            if any(entry["stage"] == stage and entry.get("checkpoint") for entry in entries):
                raise CheckpointError(f"{path}: is gone, and the run needs it to go on. Bring it back or begin anew.")
            self._rewrite([entry for entry in entries if entry["stage"] != stage])
            return None
        state = _read_checkpoint(path)
        reached = state["epoch"], state["step"]
        self._rewrite([e for e in entries if e["stage"] != stage or (e["epoch"], e["step"]) <= reached])
        return state

    def _rewrite(self, entries: Sequence[Mapping[str, Any]]) -> None:
        if self._writes and (self.folder / "metrics.jsonl").exists():
            text = "".join(json.dumps(entry) + "\n" for entry in entries)
            _write_text(self.folder / "metrics.jsonl", text)

    def _checkpoint(self, stage: str) -> Path:
        return self.folder / "checkpoints" / f"{stage}.pt"


def read_config(path: Path) -> dict[str, Any]:
    """What a run folder, or a copy of its config.json, says was asked for.

    Raises ConfigError when there is none, or it is not one of ours.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: holds no run to read the settings of (no config.json). Check the path.") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read as a run's settings ({error}).") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT or not _is_request(config):
        raise ConfigError(f"{file}: is not a config.json of this version's runs (format {FORMAT}).")
    return config


def _is_request(config: Mapping[str, Any]) -> bool:
    kinds = {"recipe": str, "init": str, "data": dict, "settings": dict}
    return all(isinstance(config.get(name), kind) for name, kind in kinds.items())


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """What `Run.save` was given. Raises CheckpointError when the file is not one of those, down to the last bit."""
    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch writes checksums, and does not look at them
            if spoiled := archive.testzip():
                raise ValueError(f"the checksum of {spoiled} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not state.keys() >= {"epoch", "step"}:
            raise ValueError("it is no checkpoint of a run")
    except (OSError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: is damaged ({why}). Bring back a copy or begin anew.") from error
    return state


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by their last names, which are unique, as on the command line."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value) if isinstance(value, Mapping) else {name: value}
    return found


def write_json(path: Path, value: Any) -> None:
    """Replaces a file, whole or not at all. Raises CheckpointError when the disk refuses."""
    _write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    _replace(path, lambda file: file.write(text.encode()), "Free the disk or name another --out.")


def _replace(path: Path, fill: Callable[[BinaryIO], object], hint: str) -> None:
    """Puts what `fill` writes in place of the file, whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:  # PyTorch reports a full disk as RuntimeError
        part.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: cannot be written ({' '.join(str(error).split())}). {hint}") from error


def _parsed(line: str) -> dict[str, Any] | None:
    """A line of metrics.jsonl; None when it is not one of ours."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and entry.keys() >= {"stage", "epoch", "step"} else None
