"""`resight data make-sample`, `check`, `split` and `list`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from resight.commands.arguments import DataArguments, print_json, progress_bar, say
from resight.errors import ConfigError

if TYPE_CHECKING:
    from resight.data.check import Count, Finding


@dataclass(frozen=True, slots=True)
class MakeSampleCommand:
    """Draw made-up pedestrians in Market-1501's layout, with captions in CUHK-PEDES form.

    The same seed and number of identities give the same files, byte for byte.
    """

    out: tyro.conf.Positional[Path]
    """Folder to make; must be new or empty."""
    identities: int = 200
    """How many people; half of them are for training."""
    seed: int = 0
    """Of everything that is counts."""
    json: bool = False
    """Print the counts as JSON."""


def make_sample(arguments: MakeSampleCommand) -> int:
    from resight.data import sample

    with progress_bar("draw") as progress:
        counts = sample.make_sample(
            arguments.out, n_identities=arguments.identities, seed=arguments.seed, progress=progress
        )
    if arguments.json:
        print_json(asdict(counts))
    else:
        print(
            f"{arguments.out}: {counts.identities:,} people; {counts.train:,} pictures to train on, "
            f"{counts.query:,} queries, {counts.gallery:,} in the gallery, {counts.distractors:,} distractors, "
            f"{counts.junk:,} junk pictures; {counts.captions:,} captions"
        )
    return 0


@dataclass(frozen=True, slots=True)
class CheckCommand:
    """Say what is wrong with a data set: one line a kind, with examples and advice.

    Every picture is opened once. The exit status is 1 when faults were found; notes alone leave it at 0.
    """

    data: DataArguments
    json: bool = False
    """Print every kind with its count, examples and advice as JSON."""


def check(arguments: CheckCommand) -> int:
    from resight.clip.tokenizer import count_tokens
    from resight.data import check as checks

    splits = arguments.data.read()
    with progress_bar("check") as progress:
        findings = checks.check(splits, count_tokens=lambda text: count_tokens(text) - 2, progress=progress)
    faults = sum(finding.severity == "fault" for finding in findings)
    if arguments.json:
        counts = {role: asdict(count) for role, count in checks.counts(splits).items()}
        print_json({"counts": counts, "notes": splits.notes, "findings": [asdict(finding) for finding in findings]})
    else:
        _show_counts(checks.counts(splits))
        for note in splits.notes:
            print(f"note: {note}")
        _show_findings(findings)
        print(f"{faults} kinds of faults" if faults else "no faults")
    return 1 if faults else 0


@dataclass(frozen=True, slots=True)
class SplitCommand:
    """Cut query, gallery, validation and training records, and write them as a CSV that every command reads.

    Identities are never shared between training, validation and test.
    """

    data: DataArguments
    out: Path
    """CSV to write, not the one of --data; its paths are relative to its folder where the pictures lie below it."""
    by: Literal["identity", "camera", "day"] = "identity"
    """identity: each test identity gives queries from each of its cameras. camera, day: half of the cameras or days
    give the queries, the others the gallery."""
    test: float = 0.5
    """Share of the identities that become query and gallery, 0 to 1."""
    validation: float = 0.0
    """Share of the other identities that become validation, 0 to 1."""
    queries: int = 1
    """Query pictures of a test identity from each camera, or day."""
    seed: int = 0
    """Of the draw; the order of the records does not matter."""
    json: bool = False
    """Print the counts and the notes as JSON."""


def split(arguments: SplitCommand) -> int:
    from resight.data import check, index
    from resight.data.cut import cut_notes
    from resight.data.dataset import all_records

    _refuse_out(arguments.out, arguments.data.data)
    splits = arguments.data.read()
    records = all_records(splits)
    cut = index.split(
        records,
        by=arguments.by,
        seed=arguments.seed,
        test=arguments.test,
        validation=arguments.validation,
        n_queries=arguments.queries,
    )
    notes = [*splits.notes, *cut_notes(records, cut, arguments.by)]
    if splits.benchmark:
        notes.append(f"{splits.name}'s published split is left: results do not compare with published ones")
    index.write_index(cut, arguments.out)
    for note in notes:
        say(f"note: {note}")
    counts = check.counts(index.read(arguments.out))
    if arguments.json:
        print_json({role: asdict(count) for role, count in counts.items()} | {"notes": notes})
    else:
        _show_counts(counts)
        print(f"written to {arguments.out}")
    return 0


def _refuse_out(out: Path, data: Path) -> None:
    """Raise ConfigError where the cut would not be read again, or would take the place of what it is cut from."""
    if out.suffix.lower() != ".csv":
        raise ConfigError(f"--out {out}: a CSV is written. Give a name that ends in .csv.")
    if out.exists() and data.exists() and out.samefile(data):
        raise ConfigError(f"--out {out}: is the table of --data. Give another name, so that it is kept.")


@dataclass(frozen=True, slots=True)
class ListCommand:
    """The known benchmarks: their layout, their published counts, and where they are described.

    resight downloads none of them: ask their authors.
    """

    json: bool = False
    """Print as JSON."""


def list_benchmarks(arguments: ListCommand) -> int:
    from resight.data.benchmarks import BENCHMARKS

    if arguments.json:
        shown = ("name", "title", "kind", "protocol", "layout", "described_at", "availability")
        print_json(
            [
                {name: getattr(benchmark, name) for name in shown}
                | {"published": {role: asdict(counts) for role, counts in benchmark.published.items()}}
                for benchmark in BENCHMARKS
            ]
        )
        return 0
    for benchmark in BENCHMARKS:
        print(f"{benchmark.name}: {benchmark.title} ({benchmark.kind}, protocol {benchmark.protocol})")
        for line in benchmark.layout:
            print(f"    {line}")
        published = (
            f"{role} {c.identities:,} identities, {c.pictures:,} pictures"
            + (f", {c.captions:,} captions" if c.captions else "")
            for role, c in benchmark.published.items()
        )
        print(f"    published: {'; '.join(published)}")
        print(f"    {benchmark.described_at}. {benchmark.availability}\n")
    return 0


def _show_counts(counts: dict[str, Count]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("records", box=None, pad_edge=False)
    names = ("identities", "pictures", "cameras", "captions")
    for name in names:
        table.add_column(name, justify="right")
    for role, count in counts.items():
        table.add_row(role, *(f"{getattr(count, name):,}" for name in names))
    Console().print(table)


def _show_findings(findings: list[Finding]) -> None:
    """One row a kind: how bad, how often, what with its advice, and examples."""
    from rich import box
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

    if not findings:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("what, and what to do", ratio=3)
    table.add_column("for example", ratio=2, overflow="fold")
    for finding in findings:
        what = Group(Text(finding.kind), Text(finding.advice, style="dim"))
        table.add_row(finding.severity, f"{finding.count:,}", what, Text("\n".join(finding.examples)))
    Console().print(table)
