"""Identities that cross a line, queries that nothing answers, and what is unknown, each counted exactly."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from resight.data.check_labels import check_labels
from resight.data.findings import Finding
from resight.types import Protocol, Record, Splits

ROOT = Path("/data")


def record(name: str, identity: str | None, camera: str | None = "a", **more: Any) -> Record:
    return Record(ROOT / name, identity, camera, **more)


def pair(identity: str, *, cameras: str = "ab", prefix: str = "") -> tuple[Record, ...]:
    return tuple(record(f"{prefix}{identity}{camera}", identity, camera) for camera in cameras)


def found(protocol: Protocol = "cross-camera", **roles: tuple[Record, ...]) -> dict[str, Finding]:
    return {finding.kind: finding for finding in check_labels(Splits("mine", ROOT, protocol, **roles))}  # type: ignore[arg-type]


def test_nothing_to_say() -> None:
    test = pair("3")
    assert found(train=pair("1"), validation=pair("2"), query=test[:1], gallery=test) == {}


@pytest.mark.parametrize(
    ("roles", "kind"),
    [
        (
            {"train": pair("1"), "query": pair("1"), "gallery": pair("1", prefix="g")},
            "identities in both train and test",
        ),
        ({"train": pair("1"), "gallery": pair("1", prefix="g")}, "identities in both train and test"),
        ({"train": pair("1"), "validation": pair("1", prefix="v")}, "identities in both train and validation"),
        ({"validation": pair("1"), "gallery": pair("1", prefix="g")}, "identities in both validation and test"),
    ],
)
def test_identities_on_both_sides(roles: dict[str, tuple[Record, ...]], kind: str) -> None:
    (finding,) = found(**roles).values()
    assert (finding.kind, finding.severity, finding.count, finding.examples) == (kind, "fault", 1, ("1",))
    assert finding.advice.startswith("Give every identity to one split")


def test_unknown_identities_are_not_shared() -> None:
    kinds = found(train=(record("a", None), *pair("1")), gallery=(record("b", None),))
    assert "identities in both train and test" not in kinds


# ---- queries with nothing to find


def unanswered(protocol: Protocol, query: tuple[Record, ...], gallery: tuple[Record, ...]) -> tuple[str, int]:
    finding = found(protocol, query=query, gallery=gallery).get("queries with nothing to find")
    return (finding.severity, finding.count) if finding else ("", 0)


SPARE = (record("spare0", "9", "a"), record("spare1", "9", "b"))


@pytest.mark.parametrize(
    ("protocol", "camera", "answered"),
    [
        ("cross-camera", "a", False),
        ("cross-camera", "b", True),
        ("cross-camera", None, True),
        ("any-camera", "a", True),
        ("vehicleid", "a", True),
    ],
)
def test_the_camera_rule(protocol: Protocol, camera: str | None, answered: bool) -> None:
    query, gallery = (record("q", "1", "a"), SPARE[0]), (record("g", "1", camera), SPARE[1])
    assert unanswered(protocol, query, gallery) == (("", 0) if answered else ("note", 1))


def test_an_unknown_camera_of_the_query_equals_no_other() -> None:
    assert unanswered("cross-camera", (record("q", "1", None),), (record("g", "1", None),)) == ("", 0)


@pytest.mark.parametrize("protocol", ["cross-camera", "any-camera", "vehicleid"])
def test_a_query_never_finds_its_own_file(protocol: Protocol) -> None:
    both = (record("x", "1", "a", split="test"), *SPARE)
    assert unanswered(protocol, both, both) == ("note", 1)
    again = (record("x", "1", "b", split="gallery"), SPARE[1])
    assert unanswered(protocol, (both[0], SPARE[0]), again) == ("note", 1)


def test_identities_missing_from_the_gallery_and_unknown_ones() -> None:
    query = (record("q0", "1", "a"), record("q1", None, "a"), SPARE[0])
    finding = found(query=query, gallery=(SPARE[1], record("d", None, "b")))["queries with nothing to find"]
    assert (finding.count, finding.examples) == (2, ("q0", "q1"))
    assert finding.advice == "Evaluation counts the others only."


@pytest.mark.parametrize(
    ("protocol", "advice"),
    [
        (
            "cross-camera",
            "These are all queries. A match must come from another camera, and the gallery has none. --protocol",
        ),
        ("any-camera", "These are all queries. The gallery has no other picture of their identities."),
        ("vehicleid", "These are all queries. Every identity has a single picture."),
        ("text", "These are all queries. The gallery has no picture of their identities."),
    ],
)
def test_all_of_them_is_a_fault_that_says_what_to_do(protocol: Protocol, advice: str) -> None:
    query = tuple(record(f"q{i}", "1", "a", captions=("words",)) for i in range(3))
    gallery = (record("g", "2", "a"),)
    finding = found(protocol, query=query, gallery=gallery)["queries with nothing to find"]
    assert (finding.severity, finding.count) == ("fault", 3)
    assert finding.advice.startswith(advice)


def test_words_may_find_their_own_picture() -> None:
    both = (record("x", "1", None, captions=("a man",)), record("y", "2", None))
    assert unanswered("text", both, both) == ("", 0)
    assert unanswered("text", (*both, record("z", "3", captions=("a dog",))), both) == ("note", 1)


def test_a_gallery_without_queries_is_no_question() -> None:
    assert unanswered("any-camera", (), pair("1")) == ("", 0)
    assert unanswered("any-camera", pair("1"), ()) == ("", 0)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("protocol", ["cross-camera", "any-camera"])
def test_counting_agrees_with_a_plain_loop(protocol: Protocol, seed: int) -> None:
    draw = random.Random(seed)
    everything = [
        record(
            f"{draw.randrange(12)}", draw.choice([None, "1", "2", "3"]), draw.choice([None, "a", "b"]), time=float(i)
        )
        for i in range(24)
    ]
    query, gallery = tuple(draw.sample(everything, 10)), tuple(draw.sample(everything, 10))

    def may_match(q: Record, g: Record) -> bool:
        own_camera = protocol == "cross-camera" and q.camera is not None and q.camera == g.camera
        return q.identity is not None and q.identity == g.identity and q.path != g.path and not own_camera

    expected = sum(not any(may_match(q, g) for g in gallery) for q in query)
    assert unanswered(protocol, query, gallery)[1] == expected


# ---- thin identities


def test_identities_with_a_single_picture_or_camera() -> None:
    train = (*pair("1"), record("2", "2"), *pair("3", cameras="aa"), *pair("4", cameras="bb"))
    train = tuple(Record(r.path.with_name(f"{i}"), r.identity, r.camera) for i, r in enumerate(train))
    assert {kind: (f.severity, f.examples) for kind, f in found(train=train).items()} == {
        "identities with a single picture": ("note", ("2",)),
        "identities seen by one camera only": ("note", ("3", "4")),
    }


def test_unknown_cameras_are_not_one_camera() -> None:
    train = (record("0", "1", None), record("1", "1", None), *pair("2"))
    assert "identities seen by one camera only" not in found(train=train)
    train = (record("0", "1", None), record("1", "1", "a"), *pair("2"))
    assert "identities seen by one camera only" not in found(train=train)


def test_gallery_identities_that_nobody_asks_for_may_be_thin() -> None:
    query, *gallery = pair("1")
    assert found(query=(query,), gallery=(*gallery, record("d", "7"))) == {}


def test_query_and_gallery_count_together() -> None:
    test = (record("x", "1", split="test"),)
    assert found("vehicleid", query=test, gallery=test)["identities with a single picture"].examples == ("1",)


# ---- what is unknown


def test_nothing_is_known() -> None:
    records = (record("0", None, None), record("1", None, None))
    kinds = found("any-camera", unassigned=records)
    assert {kind: (f.severity, f.count) for kind, f in kinds.items()} == {
        "pictures without identity": ("note", 2),
        "pictures without camera": ("note", 2),
        "pictures without split": ("note", 2),
    }
    assert all(f.advice.startswith("None is known. ") for f in kinds.values())
    assert "nothing can be evaluated" in kinds["pictures without identity"].advice
    assert "any-camera" in kinds["pictures without camera"].advice
    assert "`resight data split`" in kinds["pictures without split"].advice


def test_some_are_unknown() -> None:
    kinds = found(train=(*pair("1"), record("x", None)), unassigned=(record("y", "1", None),))
    assert {kind: (f.count, f.examples) for kind, f in kinds.items()} == {
        "pictures without identity": (1, ("x",)),
        "pictures without camera": (1, ("y",)),
        "pictures without split": (1, ("y",)),
    }
    assert not any(f.advice.startswith("None is known") for f in kinds.values())


def test_distractors_have_no_identity_and_words_need_no_camera() -> None:
    query = (record("q", "1", None, captions=("x",)),)
    gallery = (record("g", "1", None), record("d", None, None))
    assert found("text", query=query, gallery=gallery) == {}
