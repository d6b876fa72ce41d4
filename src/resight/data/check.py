"""What is wrong with a data set: every picture is opened once; then files, copies, labels and captions are checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from resight.data.check_captions import check_captions
from resight.data.check_copies import check_copies
from resight.data.check_labels import check_labels
from resight.data.check_pictures import check_files, check_pictures, open_all
from resight.data.dataset import all_records
from resight.data.findings import Finding
from resight.data.records import printable
from resight.types import Splits

__all__ = ["Count", "Finding", "check", "counts"]


@dataclass(frozen=True, slots=True)
class Count:
    """Of one role. identities: known ones; cameras: known ones; captions: all, of all pictures."""

    identities: int
    pictures: int
    cameras: int
    captions: int


def counts(splits: Splits) -> dict[str, Count]:
    """How much there is of every role that has records: train, validation, query, gallery, unassigned."""
    roles = {
        "train": splits.train,
        "validation": splits.validation,
        "query": splits.query,
        "gallery": splits.gallery,
        "unassigned": splits.unassigned,
    }
    return {
        role: Count(
            identities=len({record.identity for record in records} - {None}),
            pictures=len(records),
            cameras=len({record.camera for record in records} - {None}),
            captions=sum(len(record.captions) for record in records),
        )
        for role, records in roles.items()
        if records
    }


def check(
    splits: Splits,
    *,
    workers: int | None = None,
    count_tokens: Callable[[str], int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Everything found, faults before notes; a picture that cannot be read is a fault among others and ends nothing.

    workers: threads that open pictures; None is one a processor. count_tokens: of a caption, without start and end;
    None counts words instead. progress: called with the files done and all files.
    """
    records = all_records(splits)
    files = open_all(records, workers, progress)
    findings = [
        *check_files(files, splits.root),
        *check_pictures(files, records, splits.root),
        *check_copies(files, splits),
        *check_labels(splits),
        *check_captions(splits, count_tokens),
    ]
    findings = [
        replace(finding, examples=tuple(map(printable, finding.examples)), advice=printable(finding.advice))
        for finding in findings
    ]
    return sorted(findings, key=lambda finding: finding.severity)  # "fault" comes before "note"
