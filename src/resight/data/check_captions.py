"""What is wrong with captions: the faults that are known of the public sets, and a few more."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from resight.data.dataset import all_records
from resight.data.findings import Finding, found, picture
from resight.types import Record, Splits

MAX_TOKENS = 75  # CLIP reads 77, with one for the start and one for the end
MAX_WORDS = 60  # where nothing counts tokens

# What is left of programs and markup in captions, and stands in no English sentence.
CODE = re.compile(
    r"\w\(\)|\w\.\w+\(|\w\[|[{}\\]|==|!=|[+-]=|->|=>|&&|\|\||\w_\w"
    r"|\bprint\([\"']|\bdef \w+\(|\blambda \w+:|^\s*import [\w.]+(?: as \w+)?\s*$|\bfrom [\w.]+ import\b"
    r"|</?[A-Za-z]\w*(?: [^<>]*)?/?>"
)


def check_captions(splits: Splits, count_tokens: Callable[[str], int] | None = None) -> Iterator[Finding]:
    """Findings on captions, in a fixed order; none where no record has a caption, unless the protocol is text.

    count_tokens: of one caption, without start and end; by default more than 60 words count as too long.
    """
    records = all_records(splits)
    captioned = [record for record in records if record.captions]
    if not captioned:
        if splits.protocol == "text" and records:
            names = [picture(record, splits.root) for record in records]
            advice = "The protocol compares words with pictures, and there are no words. Name the caption column."
            yield from found("pictures without caption", "fault", names, advice)
        return
    yield from _without(splits)

    def cases(holds: Callable[[str], bool]) -> list[str]:
        return [
            f"{picture(record, splits.root)}: {_quoted(caption)}" if caption.strip() else picture(record, splits.root)
            for record in captioned
            for caption in record.captions
            if holds(caption)
        ]

    def too_long(caption: str) -> bool:
        return len(caption.split()) > MAX_WORDS if count_tokens is None else count_tokens(caption) > MAX_TOKENS

    advice = "They teach and find nothing. Write them, or take them out."
    yield from found("empty captions", "fault", cases(lambda caption: not caption.strip()), advice)
    advice = f"CLIP reads {MAX_TOKENS} tokens, about {MAX_WORDS} words; the rest is cut off. Shorten them."
    yield from found("captions that are too long", "note", cases(too_long), advice)
    advice = "CLIP learned from English; a script that it hardly met becomes single bytes. Translate them."
    yield from found("captions with other than Latin letters", "note", cases(_not_latin), advice)
    advice = "They look like pieces of a program or markup. Read them, and write them again where they are."
    yield from found("captions that hold code", "note", cases(lambda caption: bool(CODE.search(caption))), advice)
    yield from _shared(captioned)


def _without(splits: Splits) -> Iterator[Finding]:
    """Pictures without a caption in a split where others have one."""
    roles = (splits.train, splits.validation, splits.query, splits.gallery, splits.unassigned)
    lacking = {
        record: None
        for role in roles
        if any(record.captions for record in role)
        for record in role
        if not record.captions
    }
    names = [picture(record, splits.root) for record in lacking]
    advice = "Training with words leaves them out; in a gallery they can be found all the same."
    yield from found("pictures without caption", "note", names, advice)


def _shared(captioned: list[Record]) -> Iterator[Finding]:
    """Captions, spelled alike but for case and spaces, of several identities."""
    identities: Mapping[str, dict[str, None]] = defaultdict(dict)
    for record in captioned:
        for caption in record.captions:
            if record.identity is not None and caption.strip():
                identities[" ".join(caption.casefold().split())][record.identity] = None
    cases = [
        f"{_quoted(caption)} (identities {', '.join(list(names)[:3])}{', …' if len(names) > 3 else ''})"
        for caption, names in identities.items()
        if len(names) > 1
    ]
    advice = (
        "Either they say too little, or they were given to the wrong picture. As queries they cannot find one identity."
    )
    yield from found("captions of several identities", "note", cases, advice)


def _not_latin(caption: str) -> bool:
    """True when a letter is of another script; the blocks up to U+02FF are Latin, whatever their names say."""
    return not caption.isascii() and any(
        character > "\u02ff" and character.isalpha() and "LATIN" not in unicodedata.name(character, "")
        for character in caption
    )


def _quoted(caption: str) -> str:
    """The caption's beginning, as one line in quotation marks."""
    text = " ".join(caption.split())
    return f'"{text if len(text) <= 60 else text[:59] + "…"}"'.encode("utf-8", "backslashreplace").decode()
