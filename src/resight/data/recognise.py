"""A folder as one of the public benchmarks: found by its looks or its name, read, and its counts compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from resight.data.benchmarks import BENCHMARKS, JSON_BY_SPLIT, MARKET_MARKS, OWN_FORMS, Benchmark, Counts, Form, find
from resight.data.folders import list_pictures, sub_folders
from resight.data.records import Reading, assemble, clean, some
from resight.errors import DataError
from resight.types import Record, Role, Splits

OLD_RSTPREID: Final = {"train": 3_901, "validation": 100, "test": 100}
N_FOLDERS: Final = 100
"""A folder with more sub-folders than this holds identities, not data sets: they are not searched."""


def read_benchmark(path: Path, name: str | None) -> Splits | None:
    """The splits of the benchmark that lies at `path`, or in a folder in it; None where none does and none is named.

    A benchmark is recognised by its files, and where several share a layout by its counts or its folder's name; what
    only has such a layout is read as the user's own data, with benchmark None. Records keep the identities' text, but
    where a benchmark numbers its test persons from 0 again they get the prefix "test-". Notes name every split whose
    counts differ from the published ones. Raises DataError for a part that is missing or cannot be read, and when
    several data sets lie in `path`. A note names the folders beside the root that are not read.
    """
    splits = _read_benchmark(path, name)
    return splits and replace(splits, notes=(*splits.notes, *_beside(path, splits.root)))


def _beside(path: Path, root: Path) -> list[str]:
    """A note of the folders in `path` that hold nothing of the root in it."""
    if root == path:
        return []
    others = [
        (parent / name).relative_to(path).as_posix()
        for child in (root, *root.parents)
        if (parent := child.parent).is_relative_to(path)
        for name in sub_folders(parent)
        if name != child.name
    ]
    return [f"{root.relative_to(path)} alone is read; folders beside it left out: {some(others)}"] if others else []


def _read_benchmark(path: Path, name: str | None) -> Splits | None:
    if name is not None:
        benchmark = find(name)
        root, form = _place_of(path, benchmark)
        return _splits(root, clean(form.read(root)), benchmark)
    places = {root: found for root in _folders(path, depth=1) if (found := _candidates(root))}
    if not places:
        return None
    if path not in places and len(places) > 1:
        raise DataError(f"{path}: holds several data sets: {_below(path, places)}. Give the folder of one.")
    root = path if path in places else next(iter(places))
    form = places[root][0][1]
    known = [benchmark for benchmark, _ in places[root] if benchmark is not None]
    reading = clean(form.read(root))
    claimed = _claimed(known, root, reading) if form.shared else known[0]
    if claimed is None:
        return _own(root, reading, form, known)
    others = [] if form.shared else [benchmark.name for benchmark in known if benchmark is not claimed]
    return _splits(root, reading, claimed, others)


def _below(path: Path, roots: Iterable[Path]) -> str:
    return ", ".join(root.relative_to(path).as_posix() for root in roots)


def _candidates(root: Path) -> list[tuple[Benchmark | None, Form]]:
    """Every benchmark that lies in the root by its looks, and how; None for what only a user's own data fits.

    A file of captions beside Market-1501's folders describes their pictures, and makes no text benchmark of them.
    """
    name = _a_name(root)
    is_market = any((root / mark).exists() for mark in MARKET_MARKS)
    every = [(known, form) for known in BENCHMARKS for form in known.forms if not (is_market and known.kind == "text")]
    own = [(None, form) for form in OWN_FORMS]
    fitting = [(known, form) for known, form in every if _has_marks(root, form) and re.match(form.names, name)]
    sure = [(known, form) for known, form in fitting if not form.shared]
    return [*(sure or fitting or ((known, form) for known, form in own if _has_marks(root, form)))]


def _has_marks(root: Path, form: Form) -> bool:
    return any((root / mark).exists() for mark in form.marks)


def _a_name(root: Path) -> str:
    """The name of a training picture in Market-1501's layout, "" where there is none."""
    folder = root / MARKET_MARKS[0]
    pictures = list_pictures(folder).pictures if folder.is_dir() else ()
    return next((name for name in pictures if re.match("-?[0-9]+_c[0-9]", name)), "")


def _folders(path: Path, *, depth: int) -> list[Path]:
    """The path itself, and the folders in it down to a depth, unless they are too many to be data sets."""
    if depth == 0:
        return [path]
    names = sub_folders(path)
    below = [root for name in names for root in _folders(path / name, depth=depth - 1)]
    return [path, *(below if len(names) <= N_FOLDERS else [])]


def _place_of(path: Path, benchmark: Benchmark) -> tuple[Path, Form]:
    """Where a named benchmark lies: at the path, whatever its pictures' names, or in a folder that looks like it."""
    for form in benchmark.forms:
        if _has_marks(path, form):
            return path, form
    places = {
        root: form
        for root in _folders(path, depth=2)[1:]
        for known, form in _candidates(root)
        if known is benchmark and not _is_another(root, benchmark)
    }
    if not places:
        raise DataError(f"{path}: holds no {benchmark.title}. Expected: {'; '.join(benchmark.layout)}")
    named = [root for root in places if re.search(benchmark.folder, root.name, re.IGNORECASE)] or list(places)
    if len(named) > 1:
        raise DataError(f"{path}: {benchmark.title} may be any of {_below(path, named)}. Give the folder of one.")
    return named[0], places[named[0]]


def _is_another(root: Path, benchmark: Benchmark) -> bool:
    """Whether the folder's name says that it holds another benchmark."""
    says = [known for known in BENCHMARKS if re.search(known.folder, root.name, re.IGNORECASE)]
    return bool(says) and benchmark not in says


def _claimed(known: Sequence[Benchmark], root: Path, reading: Reading) -> Benchmark | None:
    """The one of several benchmarks of the same looks that this is: by its counts, else by its folder's name."""
    found = count(reading.records)
    same = [benchmark for benchmark in known if not _differences(benchmark, found)]
    named = [benchmark for benchmark in known if re.search(benchmark.folder, root.name, re.IGNORECASE)]
    return next(iter(same), named[0] if len(named) == 1 else None)


def _own(root: Path, reading: Reading, form: Form, known: Sequence[Benchmark]) -> Splits:
    """The user's own data, laid out like the known benchmarks."""
    if known:
        titles = " or ".join(benchmark.title for benchmark in known)
        names = " or ".join(benchmark.name for benchmark in known)
        note = (
            f"laid out as {titles}, but neither its counts nor its folder's name say so: read as your own data; "
            f"--benchmark {names} says otherwise"
        )
        reading = Reading(reading.records, (*reading.notes, note))
    return assemble(reading, name=root.name, root=root, protocol="text" if form is JSON_BY_SPLIT else None)


def _splits(root: Path, reading: Reading, benchmark: Benchmark, others: Sequence[str] = ()) -> Splits:
    if benchmark.renumbered:
        reading = _renumber(reading)
    notes = [*reading.notes, *_differences(benchmark, count(reading.records))]
    if benchmark.same_people:
        titles = " and ".join(benchmark.same_people)
        notes.append(f"shares people with {titles}: what is trained on one is not to be tested on another")
    if others:
        notes.append(f"read as {benchmark.name}; --benchmark reads it as {' or '.join(others)}")
    return assemble(
        Reading(reading.records, tuple(notes)),
        name=benchmark.title,
        root=root,
        protocol=benchmark.protocol,
        benchmark=benchmark.name,
    )


def _renumber(reading: Reading) -> Reading:
    """The reading with the prefix "test-" on identities of the test half, where any of them is a training one's too."""
    train = {record.identity for record in reading.records if record.split == "train"}
    test = {record for record in reading.records if record.identity and record.split in ("query", "gallery", "test")}
    if not any(record.identity in train for record in test):
        return reading
    records = (
        replace(record, identity=f"test-{record.identity}") if record in test else record for record in reading.records
    )
    return Reading(tuple(records), (*reading.notes, "test persons are numbered from 0 again: named test-NUMBER"))


def count(records: Sequence[Record]) -> dict[Role, Counts]:
    """What the records hold, by the split they name."""
    of: dict[Role, list[Record]] = {}
    for record in records:
        of.setdefault(record.split, []).append(record)
    return {
        role: Counts(
            len({record.identity for record in members}),
            len(members),
            sum(len(record.captions) for record in members),
        )
        for role, members in of.items()
    }


def _differences(benchmark: Benchmark, found: Mapping[Role, Counts]) -> list[str]:
    """A line for every split whose counts are not the published ones; captions count where they were published."""
    notes = []
    for role, published in benchmark.published.items():
        here = found.get(role, Counts(0, 0))
        if published.captions == 0:
            here = replace(here, captions=0)
        if here != published:
            notes.append(f"{role}: {_said(here, published)}; published: {_said(published, published)}")
    if benchmark.name == "rstpreid" and {role: counts.identities for role, counts in found.items()} == OLD_RSTPREID:
        notes.append("this is RSTPReid's older release (3,901/100/100 persons): results do not compare; get the newer")
    return notes


def _said(counts: Counts, published: Counts) -> str:
    captions = f", {counts.captions:,} captions" if published.captions else ""
    return f"{counts.pictures:,} pictures of {counts.identities:,} identities{captions}"
