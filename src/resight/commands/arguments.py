"""Arguments that several commands share, and how they become what the parts take."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from resight.environment import Precision
from resight.errors import ConfigError

if TYPE_CHECKING:
    from resight.embed import EmbedConfig
    from resight.embedder import Embedder
    from resight.gallery.rows import Where
    from resight.types import Splits


@dataclass(frozen=True, slots=True)
class DataArguments:
    """Where the pictures are."""

    data: Path
    """A folder (one sub-folder an identity), a CSV, TSV or Parquet table, or a benchmark's root."""
    benchmark: str | None = None
    """Name of the benchmark, where its layout does not tell; `resight data list` shows them."""
    column: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A table's column under another name, as camera=session_date; may be repeated."""

    def read(self, *, fields: bool = False) -> Splits:
        from resight.data.index import read

        return read(self.data, benchmark=self.benchmark, columns=parse_columns(self.column), fields=fields)


@dataclass(frozen=True, slots=True)
class ClipArguments:
    """What the weights of a CLIP do not say, and an encoder folder does."""

    size: tuple[int, int] | None = None
    """Height and width of the pictures in pixels, for a CLIP (default: the one it was trained at); persons: 256 128."""
    stride: int | None = None
    """Pixels between patches, for a CLIP's vision transformer (default: the patch; overlapping patches: 12)."""
    heads: int | None = None
    """Attention heads of a bare state dict's image tower, or of random:… (default: width / 64, as CLIP has)."""
    text_heads: int | None = None
    """Attention heads of a bare state dict's text tower (default: width / 64)."""
    activation: Literal["quick_gelu", "gelu"] | None = None
    """Activation of a bare state dict (default: quick_gelu, as OpenAI's CLIP has; most OpenCLIP weights have gelu)."""

    def options(self) -> dict[str, Any]:
        """The keywords of `Encoder.load` that were given."""
        given = {
            "size": self.size,
            "stride": self.stride,
            "heads": self.heads,
            "text_heads": self.text_heads,
            "activation": self.activation,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class EncoderArguments:
    """What turns pictures into vectors."""

    encoder: tyro.conf.Positional[str]
    """An encoder folder or an exported one, an alias (openai:ViT-B-16), hf-hub:owner/name, a checkpoint, or
    random:WIDTHxDEPTH[/PATCH]."""
    clip: ClipArguments = field(default_factory=ClipArguments)
    device: str = "auto"
    """auto (a GPU where there is one), cpu, or a PyTorch device such as cuda:1."""
    seed: int = 0
    """Of the weights of random:…, and of the draws for intervals."""

    def open(self) -> Embedder:
        from resight.opening import open_embedder

        return open_embedder(self.encoder, device=self.device, seed=self.seed, **self.clip.options())


@dataclass(frozen=True, slots=True)
class WhereArguments:
    """Which rows of the gallery; all that is said must hold."""

    identity: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Rows of this identity; may be repeated, one of them must hold; "" stands for unknown."""
    camera: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Rows of this camera; may be repeated, one of them must hold; "" stands for unknown."""
    since: str | None = None
    """Rows of this time or later: 2024-05-31, 2024-05-31T12:00:00+02:00, or UTC seconds; rows without time drop out."""
    until: str | None = None
    """Rows before this time; written like --since."""
    field: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Rows whose further field has this value, as colour=red; may be repeated, all must hold."""

    def where(self) -> Where:
        from resight.gallery.rows import Where

        return Where(
            identities=self.identity,
            cameras=self.camera,
            since=parse_time("--since", self.since),
            until=parse_time("--until", self.until),
            fields=parse_fields(self.field),
        )


@dataclass(frozen=True, slots=True)
class EmbedArguments:
    """How to go through the pictures."""

    batch_size: int = 64
    """Pictures computed at a time."""
    precision: Precision = "float32"
    """float32; bf16 is several times faster on processors and GPUs that multiply in it, at a cosine above 0.999."""
    workers: int = 4
    """Threads that decode pictures."""

    def config(self, *, cache: bool = False) -> EmbedConfig:
        from resight.embed import EmbedConfig
        from resight.environment import default_cache

        for name, value in (("batch-size", self.batch_size), ("workers", self.workers)):
            if value < 1:
                raise ConfigError(f"--{name} {value}: at least 1.")
        return EmbedConfig(self.batch_size, self.precision, self.workers, default_cache() if cache else None)


def parse_columns(pairs: tuple[str, ...]) -> Mapping[str, str]:
    """{our name: the file's column}. Raises ConfigError for a pair without an equals sign."""
    for pair in pairs:
        if "=" not in pair:
            raise ConfigError(f"--column {pair}: write it as OUR_NAME=COLUMN, for example camera=session_date.")
    return dict(pair.split("=", 1) for pair in pairs)


def parse_fields(pairs: tuple[str, ...]) -> Mapping[str, str]:
    """{name: value}. Raises ConfigError for a pair without an equals sign, and a name that stands twice."""
    fields: dict[str, str] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise ConfigError(f"--field {pair}: write it as NAME=VALUE, for example colour=red.")
        if name in fields:
            raise ConfigError(f"--field {name}: is given twice. A row has one value of it.")
        fields[name] = value
    return fields


def parse_time(flag: str, text: str | None) -> float | None:
    """UTC seconds since 1970. Raises ConfigError for what is no time."""
    from resight.data.tables import utc_seconds

    try:
        return utc_seconds(text)
    except ValueError as error:
        raise ConfigError(f"{flag} {str(error).removeprefix('time ')}") from error


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def say(line: str) -> None:
    """A remark for people: to the error stream, so that results can be piped."""
    print(line, file=sys.stderr)


def say_slow(encoder: Embedder, precision: Precision) -> None:
    from resight.environment import precision_note

    # to ask for the device of an exported encoder imports PyTorch
    note = None if precision == "float32" else precision_note(encoder.device, precision)
    if note is not None:
        say(f"note: {note}")


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int | None], None] | None]:
    """A bar on a terminal, which is told how many are done and of how many; None in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
