"""`resight report`."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from resight.commands.arguments import (
    DataArguments,
    EmbedArguments,
    EncoderArguments,
    print_json,
    progress_bar,
    say,
    say_slow,
)
from resight.errors import ConfigError, DataError
from resight.types import Protocol


@dataclass(frozen=True, slots=True)
class ReportCommand:
    """Explain a run, or an encoder on data: one HTML page and one JSON file, with lists, reasons and relevance maps.

    ENCODER may be a run folder: its encoder is taken, and its data where --data is left out.
    """

    encoder: EncoderArguments
    embed: EmbedArguments
    data: Path | None = None
    """A folder, table or benchmark's root with query and gallery (default: the run's)."""
    benchmark: str | None = None
    """Name of the benchmark, where its layout does not tell; `resight data list` shows them."""
    column: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A table's column under another name, as camera=session_date; may be repeated."""
    subset: Literal["test", "validation", "train"] = "test"
    """Records to compare."""
    protocol: Protocol | None = None
    """As in `resight evaluate` (default: the data set's own)."""
    rerank: bool = False
    """Also report k-reciprocal re-ranking, in a table of its own."""
    queries: int = 40
    """How many queries to show, shared by pictures and captions: failed ones first, then a sample of right ones."""
    cache: bool = False
    """Keep the decoded pictures for the next run."""
    out: Path | None = None
    """Folder for report.html and report.json (default: `report` in the run folder; else report-output)."""
    json: bool = False
    """Print report.json in place of the tables."""


def report(arguments: ReportCommand) -> int:
    from rich.console import Console

    import resight.report as reports
    from resight.curves import read_curves
    from resight.embed import prepare_folder
    from resight.evaluate import Rerank, Rules
    from resight.explaining import explain
    from resight.page import Page, write_page
    from resight.reproduction import reproduce

    if arguments.queries < 1:
        raise ConfigError(f"--queries {arguments.queries}: at least 1.")
    config = arguments.embed.config(cache=arguments.cache)
    run = _run_folder(arguments)
    data = _data(arguments, run)
    out = arguments.out or (Path("report-output") if run is None else run / "report")
    splits = data.read()
    source = arguments.encoder if run is None else replace(arguments.encoder, encoder=str(run / "encoder"))
    encoder = source.open()
    prepare_folder(out)
    say_slow(encoder, config.precision)
    rules = Rules(
        protocol=arguments.protocol,
        rerank=Rerank() if arguments.rerank else None,
        seed=source.seed,
        device=str(encoder.device),
    )
    curves = read_curves(run / "metrics.jsonl") if run is not None and (run / "metrics.jsonl").exists() else ()
    begun = time.perf_counter()
    with progress_bar("embed") as progress:
        found = explain(
            encoder,
            splits,
            rules=rules,
            subset=arguments.subset,
            config=config,
            n_queries=arguments.queries,
            progress=progress,
        )
    reproduction = reproduce(
        found.report,
        splits,
        command=shlex.join(("resight", *sys.argv[1:])),
        seconds=time.perf_counter() - begun,
        run=run,
        device=str(encoder.device),
    )
    values = reports.explained_json(found, reproduction)
    reports.write_json(values, out)
    name = source.encoder if run is None else run.name
    about = f"{name} was measured on {found.report.data_name}, {found.report.subset}."
    write_page(
        Page(f"{name} on {found.report.data_name}", about, found, None, curves, reproduction), out / "report.html"
    )
    if arguments.json:
        print_json(values)
    else:
        tasks = tuple(replace(task, camera_pairs=()) for task in found.report.tasks)  # on the page, and too many here
        reports.show(replace(found.report, tasks=tasks), Console())
        for lists in found.lists:
            for why, queries in lists.unanswered.items():
                print(f"{lists.task}: {len(queries):,} with {why}, in no figure")
            counts = ", ".join(
                f"{one.kind} {one.n_failed:,}" for one in sorted(lists.reasons, key=lambda o: -o.n_failed)
            )
            print(
                f"{lists.task}: {lists.n_failed:,} failed, {lists.n_right:,} right; reasons: {counts or 'none found'}"
            )
        print(f"written to {out / 'report.html'} and {out / 'report.json'}")
    for note in found.notes:
        say(f"note: {note}")
    return 0


def _run_folder(arguments: ReportCommand) -> Path | None:
    """The run that ENCODER names, None where it names an encoder. Raises ConfigError for a run without an encoder."""
    folder = Path(arguments.encoder.encoder)
    if not (folder / "config.json").is_file() or (folder / "encoder.json").is_file():
        return None
    if not (folder / "encoder" / "encoder.json").is_file():
        raise ConfigError(f"{folder}: has no encoder yet. Let its training end, with --resume where it was stopped.")
    return folder


def _data(arguments: ReportCommand, run: Path | None) -> DataArguments:
    from resight.reproduction import data_of
    from resight.runs import read_config

    if arguments.data is not None:
        return DataArguments(arguments.data, arguments.benchmark, arguments.column)
    if run is None:
        given = Path(arguments.encoder.encoder)
        hint = f" {given} is no run folder: it has no config.json." if given.is_dir() else ""
        if len(given.parts) > 1 and not given.exists():
            hint = f" There is no run folder {given}."
        raise DataError(f"--data is missing: an encoder alone does not say what to measure it on.{hint}")
    if arguments.benchmark or arguments.column:
        raise ConfigError("--benchmark and --column say how to read --data. Name it.")
    return DataArguments(*data_of(run, read_config(run)))
