"""Likely faults of captions: one that fits another identity's picture better than its own, one that several share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from resight.audit.confidence import fit_temperature, preferred
from resight.audit.faults import Fault
from resight.audit.space import BLOCK, Floats, Rows
from resight.types import Record

N_OTHERS, N_BESIDE = 10, 4
SURE_CAPTION = 0.95
SHARED = 0.5  # that a caption is shared is certain; that it is a fault is not
N_NAMED = 20  # identities that a shared caption names


def caption_faults(captions: Floats, owners: Rows, pictures: Floats, records: Sequence[Record]) -> list[Fault]:
    """Likely faults of both kinds, unordered.

    captions [C, A], in the order of the records' captions; owners [C], rows of the pictures that they stand with;
    pictures [N, A]; records [N]. A caption is held against identities, by its mean cosine with an identity's pictures;
    to be wrong it must fit neither its own identity nor its own picture. A picture of unknown identity is no other to
    any caption: it may show anybody. Identities that share a caption are no others to it.
    """
    if not len(owners):
        return []
    texts = [caption for record in records for caption in record.captions]
    number: dict[str, int] = {}
    groups = np.array(
        [-1 if record.identity is None else number.setdefault(record.identity, len(number)) for record in records]
    )
    unknown = np.flatnonzero(groups < 0)
    groups[unknown] = len(number) + np.arange(len(unknown))
    sharing = _sharing(texts, owners, records)
    found = list(_shared(sharing, records))
    if len(number) > 1:
        alike = {text: np.unique(groups[rows]) for text, rows in sharing.items()}
        skipped = [alike.get(_plain(text)) for text in texts]
        found += _wrong(captions, owners, pictures, groups, len(number), skipped, texts, records)
    return found


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _sharing(texts: Sequence[str], owners: Rows, records: Sequence[Record]) -> dict[str, list[int]]:
    """Captions, spelled alike but for case and spaces, of several known identities: the rows of their pictures."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for text, row in zip(texts, owners.tolist(), strict=True):
        if text.strip() and records[row].identity is not None:
            rows[_plain(text)].append(row)
    return {text: found for text, found in rows.items() if len({records[row].identity for row in found}) > 1}


def _shared(sharing: dict[str, list[int]], records: Sequence[Record]) -> Iterator[Fault]:
    for text, rows in sharing.items():
        first: dict[str, Record] = {}
        for row in rows:
            first.setdefault(records[row].identity or "", records[row])
        caption = next(one for one in records[rows[0]].captions if _plain(one) == text)
        beside = tuple((f"identity {name}", (record,)) for name, record in list(first.items())[: 2 * N_BESIDE])
        why = f"stands with {len(rows):,} pictures of {len(first):,} identities: as a query it cannot find one"
        pictures = tuple(dict.fromkeys(records[row] for row in rows))
        yield Fault("shared caption", SHARED, pictures, tuple(first)[:N_NAMED], why, caption, beside)


@dataclass(frozen=True, slots=True)
class _Fit:
    """How captions fit, [C] each: to their own identity or picture, whichever fits better; to their own picture, and at
    which rank it stands among all; to the other identities that fit best [C, K], −inf where there are fewer; and to
    which picture of the best of these."""

    own: Floats
    picture: Floats
    rank: Rows
    others: Floats
    nearest: Rows


def _wrong(
    captions: Floats,
    owners: Rows,
    pictures: Floats,
    groups: Rows,
    n_known: int,
    skipped: Sequence[Rows | None],
    texts: Sequence[str],
    records: Sequence[Record],
) -> list[Fault]:
    fit = _fit(captions, owners, pictures, groups, n_known, skipped)
    scores = preferred(fit.others[:, 0] - fit.own, fit_temperature(fit.own, fit.others))
    found = []
    for k in np.flatnonzero(scores >= SURE_CAPTION).tolist():
        own, other = records[int(owners[k])], records[int(fit.nearest[k])]
        names = tuple(record.identity or "unknown" for record in (own, other))
        why = (
            f"cosine {fit.picture[k]:.2f} with its own picture, which stands at rank {fit.rank[k]:,} of "
            f"{len(records):,}; {fit.others[k, 0]:.2f} on average with those of {names[1]}"
        )
        rows = np.flatnonzero(groups == groups[owners[k]]).tolist()
        beside = tuple(records[row] for row in rows if row != owners[k])[:N_BESIDE]
        shown = ((f"others of {names[0]}", beside), (f"fits better: identity {names[1]}", (other,)))
        found.append(
            Fault("wrong caption", float(scores[k]), (own, other), names, why, texts[k], shown[0 if beside else 1 :])
        )
    return found


def _fit(
    captions: Floats, owners: Rows, pictures: Floats, groups: Rows, n_known: int, skipped: Sequence[Rows | None]
) -> _Fit:
    """Goes through all captions and pictures once, in blocks of captions."""
    order = np.argsort(groups, kind="stable")
    place = np.argsort(order)
    starts = np.searchsorted(groups[order], np.arange(groups.max() + 1))
    ends = np.append(starts[1:], len(order))
    columns = pictures[order].T
    n, width = len(owners), min(N_OTHERS, len(starts) - 1)
    fit = _Fit(
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty(n, np.int64),
        np.empty((n, width), np.float32),
        np.empty(n, np.int64),
    )
    step = max(1, BLOCK // len(order))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        line, ours = np.arange(rows.stop - start), groups[owners[rows]]
        cosines = captions[rows] @ columns
        means = np.add.reduceat(cosines, starts, axis=1) / (ends - starts).astype(np.float32)
        fit.picture[rows] = cosines[line, place[owners[rows]]]
        fit.rank[rows] = 1 + (cosines > fit.picture[rows, None]).sum(axis=1)
        fit.own[rows] = np.maximum(means[line, ours], fit.picture[rows])
        means[line, ours] = -np.inf
        means[:, n_known:] = -np.inf
        for k in line.tolist():
            if (others := skipped[start + k]) is not None:
                means[k, others] = -np.inf
        top = np.argsort(-means, axis=1, kind="stable")[:, :width]
        fit.others[rows] = np.take_along_axis(means, top, axis=1)
        for k, best in enumerate(top[:, 0].tolist()):
            fit.nearest[start + k] = order[starts[best] + int(cosines[k, starts[best] : ends[best]].argmax())]
    return fit
