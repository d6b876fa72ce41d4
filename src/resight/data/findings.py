"""What the checks of a data set hand back, and how they name a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resight.types import Record

Severity = Literal["fault", "note"]
N_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of thing that is wrong (a fault) or worth knowing (a note).

    kind: what was counted, in the plural. examples: the first few; pictures by their path below the data's root.
    advice: what it means, and what to do.
    """

    kind: str
    severity: Severity
    count: int
    examples: tuple[str, ...]
    advice: str


def found(kind: str, severity: Severity, cases: Sequence[str], advice: str) -> Iterator[Finding]:
    """The finding of these cases, or none where there is no case."""
    if cases:
        yield Finding(kind, severity, len(cases), tuple(cases[:N_EXAMPLES]), advice)


def place(path: Path, root: Path) -> str:
    """The path from `root`, or the whole one when it lies elsewhere."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def picture(record: Record, root: Path) -> str:
    """The picture's place, with its box where it has one."""
    box = "" if record.box is None else f" [{' '.join(f'{value:g}' for value in record.box)}]"
    return place(record.path, root) + box


def missing_by_folder(missing: Sequence[Path], every: Iterable[Path], root: Path) -> tuple[str, ...]:
    """Of the folders that lack most files: how many of those that should be there are missing."""
    of_folder = Counter(path.parent for path in every)
    return tuple(
        f"{place(folder, root)}: {n:,} of {of_folder[folder]:,} missing"
        for folder, n in Counter(path.parent for path in missing).most_common(N_EXAMPLES)
    )
