"""`resight data audit` and `resight data correct`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from resight.commands.arguments import (
    DataArguments,
    EmbedArguments,
    EncoderArguments,
    parse_columns,
    print_json,
    progress_bar,
    say_slow,
)
from resight.errors import ConfigError, DataError

if TYPE_CHECKING:
    from resight.audit.faults import Fault
    from resight.types import Record

N_PRINTED = 20


@dataclass(frozen=True, slots=True)
class AuditCommand:
    """Find likely label faults: pictures under wrong names, doubled or mixed identities, copies, wrong captions.

    They are ranked by how sure they are, for a person to decide. The exit status is 1 when there are any. An
    encoder that was trained on these labels may have learned their faults with them.
    """

    encoder: EncoderArguments
    data: DataArguments
    embed: EmbedArguments
    out: Path | None = None
    """Folder to write findings.csv to, and audit.html, a page to decide on."""
    top: int = 200
    """How many of the surest faults are written and listed."""
    cache: bool = False
    """Keep the decoded pictures (see `resight doctor` for the folder), so that the next run reads them at once."""
    json: bool = False
    """Print the outcome as JSON."""


def audit(arguments: AuditCommand) -> int:
    from resight.audit import audit as look_for
    from resight.audit import sides_of
    from resight.audit.faults import table_rows, write_rows
    from resight.audit.page import write_page
    from resight.data.dataset import all_records, require_pictures
    from resight.embed import embed, embed_captions, prepare_folder

    if arguments.top < 1:
        raise ConfigError(f"--top {arguments.top}: at least 1.")
    config = arguments.embed.config(cache=arguments.cache)
    if arguments.out is not None:
        _refuse_earlier(arguments.out)
    splits = arguments.data.read()
    records = all_records(splits)
    _require_labels(records, arguments.data.data)
    require_pictures(records, splits.root)
    encoder = arguments.encoder.open()
    if arguments.out is not None:
        prepare_folder(arguments.out)
    say_slow(encoder, config.precision)
    left_out: dict[Record, DataError] = {}
    with progress_bar("embed") as progress:
        pictures = embed(encoder, records, config, on_error=left_out.__setitem__, progress=progress)
    records = [record for record in records if record not in left_out]
    captions = embed_captions(encoder, records, precision=config.precision) if encoder.can_read else None
    sides = sides_of(splits)
    with progress_bar("compare") as progress:
        found = look_for(pictures, records, [sides[record] for record in records], captions, progress)
    shown = found.faults[: arguments.top]
    notes = [*found.notes, *(f"left out: {error}" for error in left_out.values())]
    if arguments.out is not None:
        write_rows(table_rows(shown, splits.root), arguments.out / "findings.csv")
        about = _about(found.faults, len(shown), arguments.encoder.encoder)
        write_page(shown, splits.root, arguments.out / "audit.html", name=splits.name, about=about, notes=notes)
    if arguments.json:
        rows = [
            dict(zip(table_rows([], splits.root)[0], row, strict=True)) for row in table_rows(shown, splits.root)[1:]
        ]
        counts = Counter(fault.kind for fault in found.faults)
        print_json({"encoder": pictures.encoder, "counts": counts, "notes": [*splits.notes, *notes], "findings": rows})
    else:
        for note in (*splits.notes, *notes):
            print(f"note: {note}")
        _list(shown, splits.root)
        print(_about(found.faults, len(shown), arguments.encoder.encoder))
        if arguments.out is not None:
            print(f"written to {arguments.out / 'findings.csv'} and {arguments.out / 'audit.html'}")
    return 1 if found.faults else 0


def _refuse_earlier(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise DataError(f"--out {out}: is a file. Name a folder.")
    for name in ("findings.csv", "audit.html"):
        if (out / name).exists():
            raise DataError(
                f"{out / name}: is there already, perhaps with decisions. Name another --out, or delete it."
            )


def _require_labels(records: Sequence[Record], data: Path) -> None:
    """Raises DataError, before anything is embedded, where there is nothing to hold against each other."""
    sizes = Counter(record.identity for record in records if record.identity is not None)
    if not sizes:
        raise DataError(f"{data}: names no identity. Name the column: --column identity=NAME.")
    if len(sizes) == 1:
        raise DataError(f"{data}: has one identity alone ({next(iter(sizes))}); a fault is told by others. Add some.")


def _about(faults: Sequence[Fault], n_shown: int, encoder: str) -> str:
    if not faults:
        return "no likely faults"
    counts = ", ".join(f"{kind} {n:,}" for kind, n in Counter(fault.kind for fault in faults).most_common())
    shown = "" if n_shown == len(faults) else f"; the {n_shown:,} surest are shown (--top)"
    return f"{len(faults):,} likely faults by {encoder}: {counts}{shown}."


def _list(faults: Sequence[Fault], root: Path) -> None:
    from resight.audit.faults import sureness
    from resight.data.findings import picture
    from resight.data.records import printable

    for rank, fault in enumerate(faults[:N_PRINTED], 1):
        where = " and ".join(fault.identities[:2]) if len(fault.pictures) > 1 else picture(fault.pictures[0], root)
        if fault.kind == "wrong caption":
            where = picture(fault.pictures[0], root)
        print(printable(f"{rank:>3}. {fault.kind}, {sureness(fault.score)}: {where}: {fault.why}"))
    if len(faults) > N_PRINTED:
        print(f"     … {len(faults) - N_PRINTED:,} more; --out FOLDER writes all of them")


@dataclass(frozen=True, slots=True)
class CorrectCommand:
    """Write a corrected table from what was decided about likely label faults.

    The pictures, the table of --data and the decisions stay as they are.
    """

    decisions: tyro.conf.Positional[Path]
    """What the page of `resight data audit` downloads, or its findings.csv with the column decision filled in."""
    data: DataArguments
    out: Path
    """CSV to write, not the one of --data: every row and column of a table, or an index of a folder or benchmark."""
    json: bool = False
    """Print what changed as JSON."""


def correct(arguments: CorrectCommand) -> int:
    from resight.audit.corrections import write_corrected
    from resight.audit.faults import read_decisions

    out = arguments.out
    if out.suffix.lower() != ".csv":
        raise ConfigError(f"--out {out}: a CSV is written. Give a name that ends in .csv.")
    for name, path in (("the table of --data", arguments.data.data), ("the decisions", arguments.decisions)):
        if out.exists() and path.exists() and out.samefile(path):
            raise ConfigError(f"--out {out}: is {name}. Give another name, so that it is kept.")
    data = arguments.data
    decisions = read_decisions(arguments.decisions)
    changes = write_corrected(decisions, data.data, out, benchmark=data.benchmark, columns=parse_columns(data.column))
    if arguments.json:
        print_json(asdict(changes))
    else:
        print(changes)
        print(f"written to {out}")
    return 0
