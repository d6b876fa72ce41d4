"""Arguments that several commands share, and how they become what the parts take."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from resight.environment import Precision
from resight.errors import ConfigError

if TYPE_CHECKING:
    from resight.embed import EmbedConfig, Progress
    from resight.encoder import Encoder
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

    def read(self) -> Splits:
        from resight.data.index import read

        return read(self.data, benchmark=self.benchmark, columns=parse_columns(self.column))


@dataclass(frozen=True, slots=True)
class EncoderArguments:
    """What turns pictures into vectors."""

    encoder: tyro.conf.Positional[str]
    """An encoder folder, an alias (openai:ViT-B-16), hf-hub:owner/name, a checkpoint, or random:WIDTHxDEPTH[/PATCH]."""
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
    device: str = "auto"
    """auto (a GPU where there is one), cpu, or a PyTorch device such as cuda:1."""
    seed: int = 0
    """Of the weights of random:…, and of the draws for intervals."""

    def open(self) -> Encoder:
        from resight.encoder import Encoder

        return Encoder.load(
            self.encoder,
            size=self.size,
            stride=self.stride,
            heads=self.heads,
            text_heads=self.text_heads,
            activation=self.activation,
            device=self.device,
            seed=self.seed,
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


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def say(line: str) -> None:
    """A remark for people: to the error stream, so that results can be piped."""
    print(line, file=sys.stderr)


def say_slow(encoder: Encoder, precision: Precision) -> None:
    from resight.environment import precision_note

    note = precision_note(encoder.device, precision)
    if note is not None:
        say(f"note: {note}")


@contextmanager
def progress_bar(what: str) -> Iterator[Progress | None]:
    """A bar on a terminal, None in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
