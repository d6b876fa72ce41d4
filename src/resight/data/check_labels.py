"""What is wrong with identities, cameras and splits, as far as the records alone tell."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from resight.data.dataset import all_records
from resight.data.findings import Finding, found, picture
from resight.types import Protocol, Record, Splits


def check_labels(splits: Splits) -> Iterator[Finding]:
    """Findings on labels, in a fixed order."""
    yield from _shared_identities(splits)
    yield from _unanswered_queries(splits)
    yield from _thin_identities(splits)
    yield from _unknown(splits)


def _shared_identities(splits: Splits) -> Iterator[Finding]:
    """Identities on both sides of a line that none should cross."""
    train, validation = _identities(splits.train), _identities(splits.validation)
    test = _identities((*splits.query, *splits.gallery))
    advice = "Give every identity to one split: scores on identities already seen say nothing about new ones."
    for kind, shared in (
        ("identities in both train and test", train & test),
        ("identities in both train and validation", train & validation),
        ("identities in both validation and test", validation & test),
    ):
        yield from found(kind, "fault", sorted(shared), advice)


def _identities(records: Iterable[Record]) -> set[str]:
    return {record.identity for record in records if record.identity is not None}


def _unanswered_queries(splits: Splits) -> Iterator[Finding]:
    """Queries for which the gallery holds nothing that may be found: a fault when it is all of them."""
    query = [record for record in splits.query if record.captions or splits.protocol != "text"]
    if not query or not splits.gallery:
        return
    lost = [picture(record, splits.root) for record in unanswered(query, splits.gallery, splits.protocol)]
    if len(lost) < len(query):
        yield from found("queries with nothing to find", "note", lost, "Evaluation counts the others only.")
        return
    remedy = {
        "cross-camera": "A match must come from another camera, and the gallery has none. --protocol any-camera lets "
        "it come from the query's own.",
        "any-camera": "The gallery has no other picture of their identities. Check the identities and the splits.",
        "vehicleid": "Every identity has a single picture. Check the identities.",
        "text": "The gallery has no picture of their identities. Check the identities and the splits.",
    }
    yield from found("queries with nothing to find", "fault", lost, f"These are all queries. {remedy[splits.protocol]}")


def unanswered(query: Sequence[Record], gallery: Sequence[Record], protocol: Protocol) -> Iterator[Record]:
    """The queries that have nothing to find in the gallery.

    A match shows the query's identity. It is another file, unless words are compared with pictures; and under the
    cross-camera rule it is not from the query's camera, where that is known.
    """
    known = dict.fromkeys(record for record in gallery if record.identity is not None)
    of_identity = Counter(record.identity for record in known)
    of_file = Counter((record.identity, record.path) for record in known)
    of_camera = Counter((record.identity, record.camera) for record in known)
    of_both = Counter((record.identity, record.path, record.camera) for record in known)
    for record in query:
        matches = of_identity[record.identity]
        if protocol != "text":
            matches -= of_file[record.identity, record.path]
        if protocol == "cross-camera" and record.camera is not None:
            matches -= of_camera[record.identity, record.camera] - of_both[record.identity, record.path, record.camera]
        if not matches:
            yield record


def _thin_identities(splits: Splits) -> Iterator[Finding]:
    """Identities too poor to learn from or to be tested by. Those in the gallery alone are distractors, and may be."""
    pictures: dict[str, set[Record]] = defaultdict(set)
    for records in (splits.train, splits.validation, splits.unassigned):
        for record in records:
            if record.identity is not None:
                pictures[record.identity].add(record)
    queried = _identities(splits.query)
    for record in (*splits.query, *splits.gallery):
        if record.identity in queried:
            pictures[record.identity].add(record)
    single = sorted(identity for identity, shown in pictures.items() if len(shown) == 1)
    advice = (
        "In training they are never a positive pair; in a test they find nothing. More pictures of them would help."
    )
    yield from found("identities with a single picture", "note", single, advice)
    one_camera = sorted(
        identity
        for identity, shown in pictures.items()
        if len(shown) > 1 and len({record.camera for record in shown}) == 1 and next(iter(shown)).camera is not None
    )
    advice = "Nothing can be learned from them about the change of cameras, and the cross-camera rule leaves them out."
    yield from found("identities seen by one camera only", "note", one_camera, advice)


def _unknown(splits: Splits) -> Iterator[Finding]:
    """Identities, cameras and splits that are not said, and what follows where none is."""
    records = all_records(splits)

    def missing(kind: str, lacking: Sequence[Record], *, some: str, every: str) -> Iterator[Finding]:
        advice = f"None is known. {every}" if len(lacking) == len(records) else some
        yield from found(kind, "note", [picture(record, splits.root) for record in lacking], advice)

    distractors = set(splits.gallery) - set(splits.query)
    yield from missing(
        "pictures without identity",
        [record for record in records if record.identity is None and record not in distractors],
        some="Training with labels skips them, and as queries they find nothing.",
        every="Embedding, clustering and learning without labels are possible; nothing can be evaluated.",
    )
    yield from missing(
        "pictures without camera",
        [record for record in records if record.camera is None] if splits.protocol != "text" else [],
        some="An unknown camera equals no other, so a near copy from the same camera may count as a match.",
        every="A match may be any picture but the query itself (any-camera), which is easier than cross-camera; "
        "camera-aware sampling and vectors for cameras have nothing to work on.",
    )
    yield from missing(
        "pictures without split",
        splits.unassigned,
        some="Evaluation leaves them out where there are query and gallery; training takes them. Fill the column.",
        every="Training takes all, and evaluation takes all as query and gallery at once: scores then say nothing of "
        "new identities. `resight data split` cuts identities apart.",
    )
