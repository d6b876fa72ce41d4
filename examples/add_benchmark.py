"""A layout of one's own as a data set that every part takes: records by role, checked, as a table, and evaluated.

The layout that stands for yours: a folder for each role, and in the names who was seen where and when.

    zebras/
    ├── train/z012_north_1767225600.jpg
    ├── query/z031_north_1767312000.jpg
    └── gallery/z031_ford_1767398400.jpg     x_ford_….jpg: nobody knows who

    python examples/add_benchmark.py zebras resight-mini
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from rich.console import Console

from resight import DataError, Encoder, Record, Splits
from resight.data.check import check
from resight.data.index import write_index
from resight.data.records import Reading, assemble, clean
from resight.evaluate import Rules, evaluate
from resight.report import show
from resight.types import Role

# --8<-- [start:read]
NAME = re.compile(r"(?P<identity>[a-z0-9]+)_(?P<camera>[a-z]+)_(?P<seconds>[0-9]+)")
ROLES: tuple[Role, ...] = ("train", "query", "gallery")


def read_zebras(root: Path) -> Splits:
    """The records of the layout by role. Raises DataError for what does not follow it, in one line that says where."""
    root = root.absolute()
    records = [_record(path, role) for role in ROLES for path in sorted((root / role).glob("*.jpg"))]
    return assemble(clean(Reading(tuple(records))), name="zebras", root=root, protocol="cross-camera")


def _record(path: Path, role: Role) -> Record:
    said = NAME.fullmatch(path.stem)
    if said is None:
        raise DataError(f"{path}: is not named IDENTITY_CAMERA_SECONDS.jpg. Rename it, or take it away.")
    identity = None if said["identity"] == "x" else said["identity"]  # None matches nobody: a distractor
    return Record(path, identity, said["camera"], time=float(said["seconds"]), split=role)


# --8<-- [end:read]


# --8<-- [start:main]
def main(words: list[str]) -> int:
    root, source = words
    splits = read_zebras(Path(root))
    for finding in check(splits):
        print(f"{finding.severity}: {finding.count} {finding.kind}. {finding.advice}")
    write_index((*splits.train, *splits.query, *splits.gallery), splits.root / "index.csv")  # for every --data
    encoder = Encoder.load(source)
    show(evaluate(encoder, splits, rules=Rules(seed=0)), Console())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
# --8<-- [end:main]
