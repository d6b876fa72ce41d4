"""Captions that are empty, long, shared, foreign or code are counted; plain English is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from resight.data.check_captions import check_captions
from resight.data.findings import Finding
from resight.types import Protocol, Record, Splits

ROOT = Path("/data")


def record(name: str, identity: str | None, *captions: str) -> Record:
    return Record(ROOT / name, identity, captions=captions)


def found(*train: Record, protocol: Protocol = "text", **more: tuple[Record, ...]) -> dict[str, Finding]:
    splits = Splits("mine", ROOT, protocol, train=train, **more)  # type: ignore[arg-type]
    return {finding.kind: finding for finding in check_captions(splits)}


def test_no_captions_at_all() -> None:
    assert found(record("a", "1"), protocol="cross-camera") == {}
    assert found() == {}
    (finding,) = found(record("a", "1"), record("b", "2")).values()
    assert (finding.kind, finding.severity, finding.count) == ("pictures without caption", "fault", 2)
    assert finding.advice.startswith("The protocol compares words with pictures, and there are no words.")


def test_pictures_without_caption_where_others_have_one() -> None:
    train, query = (record("a", "1", "a man"), record("b", "1")), (record("q", "2"), record("r", "2"))
    (finding,) = found(*train, query=query, gallery=query).values()
    assert (finding.severity, finding.count, finding.examples) == ("note", 1, ("b",))


def test_empty_captions() -> None:
    finding = found(record("a", "1", "", "a man"), record("b", "1", " \n"), record("c", "2", "a dog"))["empty captions"]
    assert (finding.severity, finding.count, finding.examples) == ("fault", 2, ("a", "b"))


def test_long_captions_by_words_or_by_tokens() -> None:
    train = (record("a", "1", "word " * 60), record("b", "2", "longer " * 61))
    (finding,) = found(*train).values()
    assert (finding.kind, finding.severity, finding.count) == ("captions that are too long", "note", 1)
    assert finding.examples == ('b: "longer longer longer longer longer longer longer longer lon…"',)
    splits = Splits("mine", ROOT, "text", train=(record("a", "1", "x" * 75), record("b", "2", "y" * 76)))
    (finding,) = check_captions(splits, count_tokens=len)
    assert finding.examples[0].startswith('b: "yyy')


@pytest.mark.parametrize("text", ["一个男人", "a man 男", "мужчина", "ένας άνδρας", "رجل", "man with a 帽子 on"])
def test_other_scripts(text: str) -> None:
    (finding,) = found(record("a", "1", text)).values()
    assert (finding.kind, finding.severity) == ("captions with other than Latin letters", "note")
    assert finding.examples == (f'a: "{text}"',)


CODE = [
    'print("a man")',
    "self.caption = caption.strip()",
    "def load(path):",
    "import numpy",
    "from resight import check",
    "for i in range(len(captions)): x += 1",
    "captions[idx]['file_path']",
    "a man <br> with a bag",
    "{'caption': 'a man'}",
    "if a == b",
    "lambda x: x",
    "a\\nb",
    "x -> y",
]


@pytest.mark.parametrize("text", CODE)
def test_code(text: str) -> None:
    assert list(found(record("a", "1", text))) == ["captions that hold code"]


ENGLISH = [
    "A woman is wearing a gray shirt, a pair of brown pants and a pair of shoes.",
    "She's carrying 2 bags; it's 10:30 !",
    "café & bar, naïve; Ærø, ½ of ª, 20 °C – “quoted”… 50% T-shirt/jeans (white) *",
    "a man with a floral print(ed) dress, a class photo, a self-made bag, an import car, return ticket",
    "He wears black shoes(white soles), about 1.75m. His bag is by e.g. Nike; see no.5",
    "white: no, yes = maybe, <3, > 20 years, #1 at home",
    "ｆｕｌｌ width",
    "👍 a man",
]


@pytest.mark.parametrize("text", ENGLISH)
def test_plain_english_is_left_alone(text: str) -> None:
    assert found(record("a", "1", text)) == {}


def test_captions_of_several_identities() -> None:
    train = (
        record("a", "1", "A man in black."),
        record("b", "2", "a man  in BLACK."),
        record("c", "2", "a man in black.", "a dog"),
        record("d", "3", "a dog"),
        record("e", "3", "a cat"),
        record("f", "3", "a cat"),
        record("g", None, "a cat"),
        *(record(f"h{i}", f"h{i}", "same") for i in range(5)),
    )
    (finding,) = found(*train).values()
    assert (finding.kind, finding.severity, finding.count) == ("captions of several identities", "note", 3)
    assert finding.examples == (
        '"a man in black." (identities 1, 2)',
        '"a dog" (identities 2, 3)',
        '"same" (identities h0, h1, h2, …)',
    )


def test_a_test_record_counts_once() -> None:
    both = (record("a", "1", ""),)
    assert found(query=both, gallery=both)["empty captions"].count == 1


def test_text_that_cannot_be_printed() -> None:
    (finding,) = found(record("a", "1", "a man \ud800 ==")).values()
    assert finding.examples == ('a: "a man \\ud800 =="',)
