"""Likely label faults as one HTML file that needs nothing else: look, decide by a key, download the decisions."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from PIL import Image

from resight import markup
from resight.audit.faults import OFFERED, Decision, Fault, sureness, table_rows
from resight.contact_sheet import thumbnail
from resight.data.findings import picture
from resight.data.images import open_image
from resight.markup import data, element
from resight.types import Record

LARGEST = 4_500_000  # bytes of pictures in the page
SIZES = (
    (160, 78),
    (128, 72),
    (96, 68),
    (72, 60),
    (48, 50),
)  # pixels of the longer side, and JPEG quality; tried in turn
KEYS = {"keep": "K", "move": "V", "merge": "M", "drop": "X", "": "S"}


def write_page(faults: Sequence[Fault], root: Path, path: Path, *, name: str, about: str, notes: Sequence[str]) -> None:
    """Writes the page, whole or not at all; of less than 5 MB as long as SIZES allow.

    root: pictures are named by their path below it, as in the table of faults. about: a sentence under the title.
    Raises DataError when it cannot be written, or a picture cannot be read.
    """
    records = list(dict.fromkeys(record for fault in faults for record in _shown(fault)))
    thumbnails = {record: number for number, record in enumerate(records)}
    sizes, sources = _draw(records)
    cards = [_card(rank, fault, thumbnails, sizes, root) for rank, fault in enumerate(faults, 1)]
    rows = table_rows(faults, root)
    body = [
        element("main", *_head(faults, name, about, notes), *cards),
        _bar(len(faults)),
        data("rows", rows),
        data("pictures", sources),
    ]
    store = f"resight-audit-{hashlib.blake2b(json.dumps(rows).encode(), digest_size=8).hexdigest()}"
    markup.write_page(path, f"Label faults of {name}", "resight.audit", body, data_store=store)


def _shown(fault: Fault) -> list[Record]:
    return [*_suspect(fault), *(record for _, records in fault.beside for record in records)]


def _suspect(fault: Fault) -> tuple[Record, ...]:
    """The one picture that is in question; of whole identities there is none."""
    one = fault.kind in ("wrong identity", "copy across splits", "wrong caption")
    return fault.pictures[:1] if one else ()


def _draw(records: Sequence[Record]) -> tuple[list[tuple[int, int]], list[str]]:
    """Width and height, and data address, of every picture: as large as all fit into LARGEST."""
    side = SIZES[0][0]
    small = [thumbnail(open_image(record.path, box=record.box), (side, side)) for record in records]
    for side, quality in SIZES:
        drawn = [image if side == SIZES[0][0] else thumbnail(image, (side, side)) for image in small]
        sources, size = [], 0
        for image in drawn:
            sources.append(_jpeg(image, quality))
            size += len(sources[-1])
            if size > LARGEST and side != SIZES[-1][0]:
                break
        else:
            break
    return [image.size for image in drawn], sources


def _jpeg(image: Image.Image, quality: int) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _head(faults: Sequence[Fault], name: str, about: str, notes: Sequence[str]) -> Iterable[Element]:
    yield element("h1", f"Label faults of {name}")
    yield element("p", about)
    said = " Nothing is changed by this page. Decide, download decisions.csv, and run "
    command = "resight data correct decisions.csv --data … --out corrected.csv"
    yield element("p", said, element("code", command), " for a corrected table. Decisions are kept in this browser.")
    if notes:
        yield element("ul", *(element("li", note) for note in notes), class_="note")
    counts = Counter(fault.kind for fault in faults)
    every = [("", f"all {len(faults):,}"), *((kind, f"{kind} {n:,}") for kind, n in counts.items())]
    buttons = [element("button", text, data_kind=kind, aria_pressed=_is(not kind)) for kind, text in every]
    yield element("div", *buttons, class_="kinds", role="group", aria_label="Show one kind alone")
    yield element("noscript", element("p", "Deciding needs JavaScript; findings.csv says the same as a table."))


def _is(claim: bool) -> str:
    return "true" if claim else "false"


def _card(
    rank: int, fault: Fault, thumbnails: dict[Record, int], sizes: Sequence[tuple[int, int]], root: Path
) -> Element:
    def images(records: Iterable[Record]) -> Element:
        drawn = []
        for record in records:
            number = thumbnails[record]
            width, height = sizes[number]
            seen = picture(record, root) + ("" if record.camera is None else f", camera {record.camera}")
            drawn.append(element("img", data_picture=number, alt=seen, title=seen, width=width, height=height))
        return element("div", *drawn, class_="pictures")

    groups = []
    for record in _suspect(fault):
        title = f"this picture: {fault.identities[0]}"
        groups.append(element("figure", element("figcaption", title), images([record]), class_="suspect"))
    groups += [element("figure", element("figcaption", title), images(records)) for title, records in fault.beside]
    choices = [_choice(decision, fault) for decision in (*OFFERED[fault.kind], "keep", "")]
    return element(
        "article",
        element(
            "div",
            element("span", f"{rank}.", class_="rank"),
            element("h2", fault.kind),
            element("span", sureness(fault.score), class_="score"),
            element("span", class_="said"),
            class_="head",
        ),
        element("p", fault.why),
        *([element("p", f"“{fault.caption}”", class_="caption")] if fault.caption else []),
        element("div", *groups, class_="groups"),
        element("div", *choices, class_="choices"),
        data_kind=fault.kind,
        tabindex=-1,
        aria_label=f"{rank}: {fault.kind}",
    )


def _choice(decision: Decision | str, fault: Fault) -> Element:
    said = {"keep": "kept", "move": "moved", "merge": "merged", "drop": "left out", "": "skipped"}[decision]
    return element(
        "button",
        element("kbd", KEYS[decision]),
        _asked(decision, fault),
        data_decision=decision,
        data_said=said,
        aria_pressed="false",
    )


def _asked(decision: Decision | str, fault: Fault) -> str:
    """What a button says."""
    if decision in ("keep", ""):
        return {"keep": "Keep as it is", "": "Skip"}[decision]
    match fault.kind, decision:
        case "wrong identity", "drop":
            return "Leave the picture out"
        case _, "merge":
            return f"Merge {fault.identities[1]} into {fault.identities[0]}"
        case "two individuals", _:
            return f"Move {len(fault.pictures):,} pictures to {fault.identities[1]}"
        case "copy across splits", _:
            return "Leave this picture out"
        case "wrong caption", "move":
            return "Move the caption to the other picture"
        case "wrong caption", _:
            return "Leave the caption out"
        case "shared caption", _:
            return f"Leave it out at all {len(fault.pictures):,} pictures"
    return f"Move to {fault.identities[1]}"


def _keys() -> list[Element | str]:
    names = {"↓": "next", "↑": "previous", "U": "undo"}
    return [part for key, name in names.items() for part in (element("kbd", key), f"{name}   ")]


def _bar(n: int) -> Element:
    inside = element(
        "div",
        element("b", f"0 of {n:,} decided", id="count", aria_live="polite"),
        element("progress", max=n, value=0, aria_label="Decided"),
        element("span", *_keys(), class_="keys"),
        element("button", element("kbd", "D"), "Download decisions.csv", id="download", class_="primary"),
    )
    return element("div", inside, class_="bar", role="region", aria_label="Decisions")
