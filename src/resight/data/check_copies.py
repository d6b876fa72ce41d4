"""Pictures that stand twice in a data set, equal or nearly, where they should not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resight.data.check_pictures import File
from resight.data.copies import Look, Mask, Rows, similar
from resight.data.findings import N_EXAMPLES, Finding, found, picture
from resight.types import Record, Splits


@dataclass(frozen=True, slots=True)
class _Shown:
    """A record whose picture could be read, and is not blank. side: train, validation, test, or "" for unassigned."""

    record: Record
    look: Look
    side: str


Pair = tuple[_Shown, _Shown]


def check_copies(files: Mapping[Path, File], splits: Splits) -> Iterator[Finding]:
    """Findings on copies, in a fixed order. Blank pictures are no copies of each other."""
    shown: dict[Record, _Shown] = {}
    test = (*splits.query, *splits.gallery)
    sides = {"train": splits.train, "validation": splits.validation, "test": test, "": splits.unassigned}
    for side, records in sides.items():
        for record in records:
            view = files[record.path].views.get(record.box)
            if view and not view.look.blank:
                shown.setdefault(record, _Shown(record, view.look, side))
    groups: dict[bytes, list[_Shown]] = defaultdict(list)
    for one in shown.values():
        groups[one.look.digest].append(one)
    copies = [group for group in groups.values() if len(group) > 1]
    yield from _equal(copies, splits)
    yield from _similar(list(shown.values()), splits)


def _equal(copies: Sequence[Sequence[_Shown]], splits: Splits) -> Iterator[Finding]:
    """Groups of records that show the same pixels."""

    def pairs(found_in: Callable[[Sequence[_Shown]], Iterable[Pair]]) -> list[str]:
        return [_named(a, b, "=", splits.root) for group in copies for a, b in found_in(group)]

    two = pairs(lambda group: _first_two(group, lambda one: one.record.identity))
    advice = "One of the identities is wrong. Look at the picture, and keep the right one."
    yield from found("equal pictures of two identities", "fault", two, advice)
    two = pairs(lambda group: _first_two(group, lambda one: one.side or None))
    advice = "What is learned from is measured on. Take the picture out of one of the splits."
    yield from found("equal pictures in two splits", "fault", two, advice)
    if splits.protocol != "text":  # words do not meet their picture by its pixels
        query, gallery = set(splits.query), set(splits.gallery)
        two = pairs(lambda group: _found_again(group, query, gallery, cross_camera=splits.protocol == "cross-camera"))
        advice = "The query finds itself under another name, first of all. Take one of the two out."
        yield from found("queries with a copy in the gallery", "fault", two, advice)
    advice = "It counts double. Take one of them out."
    yield from found("pictures that repeat an earlier one", "note", pairs(_repeated), advice)


def _first_two(group: Iterable[_Shown], key: Callable[[_Shown], str | None]) -> Iterator[Pair]:
    """The first two of the group that differ in a known key, if any: enough to name the picture."""
    first: dict[str, _Shown] = {}
    for one in group:
        value = key(one)
        if value is not None:
            first.setdefault(value, one)
    if len(first) > 1:
        a, b, *_ = first.values()
        yield a, b


def _found_again(
    group: Iterable[_Shown], query: Set[Record], gallery: Set[Record], *, cross_camera: bool
) -> Iterator[Pair]:
    """Each query of the group with a gallery record that evaluation compares: another file of its identity, or of none.

    Those of another identity are a fault already.
    """
    of_identity: dict[str | None, list[_Shown]] = defaultdict(list)
    for one in group:
        of_identity[one.record.identity].append(one)
    distractors = of_identity.pop(None, [])
    for same in of_identity.values():
        for a in same:
            camera = a.record.camera if cross_camera else None
            for b in (*same, *distractors):
                same_camera = (
                    camera is not None and a.record.identity == b.record.identity and camera == b.record.camera
                )
                left_out = a.record.path == b.record.path or same_camera
                if a.record in query and b.record in gallery and not left_out:
                    yield a, b
                    break


def _repeated(group: Sequence[_Shown]) -> Iterator[Pair]:
    """Each picture that a split other than the test has already, of the same identity."""
    first: dict[tuple[str, str | None], _Shown] = {}
    for one in group:
        earlier = first.setdefault((one.side, one.record.identity), one)
        if earlier is not one and one.side != "test":
            yield one, earlier


def _similar(shown: Sequence[_Shown], splits: Splits) -> Iterator[Finding]:
    """Records whose pictures are not equal but look the same, across identities, splits, and query and gallery."""
    identity = _numbers([one.record.identity for one in shown])
    side = _numbers([one.side or None for one in shown])
    digest = _numbers([one.look.digest for one in shown])
    crosses = {"identity": _differ(identity), "split": _differ(side), "half of the test": _meet(shown, splits)}
    flagged = {name: np.zeros(len(shown), dtype=bool) for name in crosses}
    examples: dict[str, list[str]] = {name: [] for name in crosses}

    def cases(a: Rows, b: Rows) -> dict[str, Mask]:
        """Which pairs cross a line, and are news for one of the two."""
        return {name: line(a, b) & ~(flagged[name][a] & flagged[name][b]) for name, line in crosses.items()}

    def wanted(a: Rows, b: Rows) -> Mask:
        is_news: Mask = (digest[a] != digest[b]) & np.logical_or.reduce(list(cases(a, b).values()))
        return is_news

    for a, b in similar([one.look for one in shown], wanted):
        for name, mask in cases(a, b).items():
            flagged[name][a[mask]] = flagged[name][b[mask]] = True
            room = N_EXAMPLES - len(examples[name])
            examples[name] += [
                _named(shown[i], shown[j], "~", splits.root)
                for i, j in zip(a[mask][:room], b[mask][:room], strict=True)
            ]
    advice = {
        "identity": "Look at them: one scene cut or saved twice under two names, or two that only look alike?",
        "split": "Look at them: frames of one moment, or one picture saved twice, make a test easier than it seems.",
        "half of the test": "A query meets nearly itself in the gallery: found first, right or wrong. Look at them, "
        "and take one of the two out where one picture was saved twice.",
    }
    for name, rows in flagged.items():
        if rows.any():
            kind = f"pictures much like one of another {name}"
            yield Finding(kind, "note", int(rows.sum()), tuple(examples[name]), advice[name])


def _differ(line: Rows) -> Callable[[Rows, Rows], Mask]:
    """Which pairs have two known values."""
    return lambda a, b: (line[a] != line[b]) & (line[a] >= 0) & (line[b] >= 0)


def _meet(shown: Sequence[_Shown], splits: Splits) -> Callable[[Rows, Rows], Mask]:
    """Which pairs are a query and a gallery picture that evaluation compares.

    Not two that are both query and gallery: there the halves are not cut apart, and the data are as they were taken.
    """
    queries, galleries = set(splits.query), set(splits.gallery)
    query = np.array([one.record in queries for one in shown], dtype=bool)
    gallery = np.array([one.record in galleries for one in shown], dtype=bool)
    path = _numbers([one.record.path for one in shown])
    identity = _numbers([one.record.identity for one in shown])
    camera = _numbers([one.record.camera if splits.protocol == "cross-camera" else None for one in shown])

    def meet(a: Rows, b: Rows) -> Mask:
        both = (query & gallery)[a] & (query & gallery)[b]
        same_camera = (identity[a] == identity[b]) & (camera[a] == camera[b]) & (camera[a] >= 0)
        found: Mask = (query[a] & gallery[b] | gallery[a] & query[b]) & ~both & (path[a] != path[b]) & ~same_camera
        return found if splits.protocol != "text" else np.zeros_like(found)  # words do not meet pictures by pixels

    return meet


def _numbers(names: Sequence[Hashable]) -> Rows:
    """The names as integers; None is −1."""
    number = {name: n for n, name in enumerate(dict.fromkeys(names))}
    return np.array([-1 if name is None else number[name] for name in names], dtype=np.int64)


def _named(a: _Shown, b: _Shown, relation: str, root: Path) -> str:
    first, second = (
        f"{picture(one.record, root)} ({one.record.identity or 'no identity'}{', ' * bool(one.side)}{one.side})"
        for one in (a, b)
    )
    return f"{first} {relation} {second}"
