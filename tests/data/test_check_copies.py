"""Copies across identities and splits are faults; where the protocol leaves them out, they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resight.data.check import Finding, check
from resight.types import Record, Role, Splits


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """a to f: six scenes; a2: the pixels of a in another format; a3: nearly a; e2: nearly e."""
    for seed, name in enumerate("abcdef"):
        scene(seed).save(tmp_path / f"{name}.png")
    scene(0).save(tmp_path / "a2.bmp")
    for seed, name in ((0, "a3"), (4, "e2")):
        scene(seed).save(tmp_path / f"{name}.jpg", quality=60)
    return tmp_path


def scene(seed: int) -> Image.Image:
    rough = np.random.default_rng(seed).integers(0, 256, (9, 6, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((60, 90), Image.Resampling.BICUBIC)


def record(root: Path, name: str, identity: str | None = "1", camera: str | None = None, **more: Any) -> Record:
    return Record(root / name, identity, camera, **more)


def found(root: Path, protocol: Any = "any-camera", **roles: tuple[Record, ...]) -> dict[str, Finding]:
    """The findings on copies alone."""
    findings = check(Splits("mine", root, protocol, **roles), workers=1)  # type: ignore[arg-type]
    kinds = ("equal pictures", "queries with a copy", "pictures that repeat", "pictures much like")
    return {finding.kind: finding for finding in findings if finding.kind.startswith(kinds)}


def test_equal_pictures_of_two_identities(root: Path) -> None:
    train = tuple(record(root, name, identity) for name, identity in (("a.png", "1"), ("a2.bmp", "2"), ("b.png", "2")))
    assert found(root, train=train) == {
        "equal pictures of two identities": Finding(
            "equal pictures of two identities",
            "fault",
            1,
            ("a.png (1, train) = a2.bmp (2, train)",),
            "One of the identities is wrong. Look at the picture, and keep the right one.",
        )
    }


def test_one_file_with_two_identities(root: Path) -> None:
    train = tuple(record(root, "a.png", identity) for identity in ("1", "2", "3", None))
    (finding,) = found(root, train=train).values()
    assert (finding.count, finding.examples) == (1, ("a.png (1, train) = a.png (2, train)",))


def test_two_boxes_of_one_file_are_two_pictures(root: Path) -> None:
    left, right = (0.0, 0.0, 30.0, 90.0), (30.0, 0.0, 60.0, 90.0)
    train = (record(root, "a.png", "1", box=left), record(root, "a.png", "2", box=right))
    assert found(root, train=train) == {}
    (finding,) = found(root, train=(*train, record(root, "a2.bmp", "3", box=right))).values()
    assert finding.examples == ("a.png [30 0 60 90] (2, train) = a2.bmp [30 0 60 90] (3, train)",)


@pytest.mark.parametrize(
    ("first", "second", "examples"),
    [
        ("train", "query", ("a.png (1, train) = a2.bmp (1, test)",)),
        ("train", "gallery", ("a.png (1, train) = a2.bmp (1, test)",)),
        ("train", "validation", ("a.png (1, train) = a2.bmp (1, validation)",)),
        ("validation", "gallery", ("a.png (1, validation) = a2.bmp (1, test)",)),
    ],
)
def test_equal_pictures_in_two_splits(root: Path, first: Role, second: Role, examples: tuple[str, ...]) -> None:
    found_here = found(root, **{first: (record(root, "a.png"),), second: (record(root, "a2.bmp"),)})
    assert {kind: (f.severity, f.examples) for kind, f in found_here.items()} == {
        "equal pictures in two splits": ("fault", examples)
    }


def test_unassigned_records_are_on_no_side(root: Path) -> None:
    assert found(root, train=(record(root, "a.png"),), unassigned=(record(root, "a2.bmp"),)) == {}


@pytest.mark.parametrize(
    ("protocol", "query", "gallery", "is_found"),
    [
        ("any-camera", None, None, True),
        ("any-camera", "x", "x", True),
        ("cross-camera", "x", "x", False),  # as in VeRi-776, whose queries stand in the gallery too
        ("cross-camera", "x", "y", True),
        ("cross-camera", None, None, True),
        ("cross-camera", "x", None, True),
        ("vehicleid", "x", "x", True),
        ("text", "x", "x", False),
    ],
)
def test_a_query_and_its_copy(root: Path, protocol: str, query: str, gallery: str, is_found: bool) -> None:
    sides = {"query": (record(root, "a.png", "1", query),), "gallery": (record(root, "a2.bmp", "1", gallery),)}
    kinds = {kind: f.examples for kind, f in found(root, protocol, **sides).items()}
    examples = ("a.png (1, test) = a2.bmp (1, test)",)
    assert kinds == ({"queries with a copy in the gallery": examples} if is_found else {})


def test_a_test_record_is_no_copy_of_itself(root: Path) -> None:
    both = tuple(record(root, name, split="test") for name in ("a.png", "b.png"))
    assert found(root, query=both, gallery=both) == {}
    both = (*both, record(root, "a2.bmp", split="test"))
    (finding,) = found(root, query=both, gallery=both).values()
    assert (finding.kind, finding.count) == ("queries with a copy in the gallery", 2)
    assert finding.examples == ("a.png (1, test) = a2.bmp (1, test)", "a2.bmp (1, test) = a.png (1, test)")


def test_the_query_s_own_file_in_the_gallery_is_left_out_by_every_protocol(root: Path) -> None:
    assert (
        found(root, query=(record(root, "a.png", split="query"),), gallery=(record(root, "a.png", split="gallery"),))
        == {}
    )


def test_a_distractor_matches_nobody(root: Path) -> None:
    assert found(root, query=(record(root, "a.png", None),), gallery=(record(root, "a2.bmp", None),)) == {}


@pytest.mark.parametrize("protocol", ["any-camera", "cross-camera"])
def test_a_distractor_that_is_a_copy_of_a_query_is_found_first(root: Path, protocol: str) -> None:
    sides = {"query": (record(root, "a.png", "1", "x"),), "gallery": (record(root, "a2.bmp", None, "x"),)}
    (finding,) = found(root, protocol, **sides).values()
    assert (finding.kind, finding.severity) == ("queries with a copy in the gallery", "fault")
    assert finding.examples == ("a.png (1, test) = a2.bmp (no identity, test)",)


def test_a_picture_that_repeats(root: Path) -> None:
    train = (record(root, "a.png"), record(root, "b.png"), record(root, "a2.bmp"), record(root, "a.png", camera="z"))
    (finding,) = found(root, train=train).values()
    assert (finding.kind, finding.severity, finding.count) == ("pictures that repeat an earlier one", "note", 2)
    assert finding.examples == ("a2.bmp (1, train) = a.png (1, train)", "a.png (1, train) = a.png (1, train)")


def test_blank_pictures_are_no_copies(tmp_path: Path) -> None:
    for i in range(4):
        Image.new("RGB", (40, 40), "black").save(tmp_path / f"{i}.png")
    train = tuple(record(tmp_path, f"{i}.png", str(i)) for i in range(3))
    assert found(tmp_path, train=train, query=(record(tmp_path, "3.png"),)) == {}


def test_pictures_much_alike_across_identities_and_splits(root: Path) -> None:
    train = (record(root, "a.png", "1"), record(root, "b.png", "2"), record(root, "e.png", "5"))
    gallery = (record(root, "a3.jpg", "3"), record(root, "c.png", "4"), record(root, "e2.jpg", "5"))
    found_here = found(root, train=train, gallery=gallery)
    assert {kind: (f.severity, f.count, f.examples) for kind, f in found_here.items()} == {
        "pictures much like one of another identity": ("note", 2, ("a.png (1, train) ~ a3.jpg (3, test)",)),
        "pictures much like one of another split": (
            "note",
            4,
            ("a.png (1, train) ~ a3.jpg (3, test)", "e.png (5, train) ~ e2.jpg (5, test)"),
        ),
    }


def test_pictures_much_alike_within_an_identity_are_as_they_should_be(root: Path) -> None:
    assert found(root, train=(record(root, "a.png"), record(root, "a3.jpg"))) == {}
    test = tuple(record(root, name, split="test") for name in ("a.png", "a3.jpg"))
    assert found(root, query=test, gallery=test) == {}
    assert found(root, train=(record(root, "a.png"), record(root, "a3.jpg", None))) == {}


@pytest.mark.parametrize(
    ("protocol", "query", "gallery", "is_found"),
    [
        ("any-camera", ("1", "x"), ("1", "x"), True),
        ("any-camera", ("1", "x"), ("2", "x"), True),
        ("cross-camera", ("1", "x"), ("1", "x"), False),
        ("cross-camera", ("1", "x"), ("2", "x"), True),
        ("cross-camera", ("1", "x"), ("1", "y"), True),
        ("cross-camera", ("1", None), ("1", None), True),
        ("cross-camera", ("1", "x"), (None, "x"), True),  # a distractor
        ("text", ("1", None), ("1", None), False),
    ],
)
def test_a_query_and_its_near_copy(
    root: Path,
    protocol: str,
    query: tuple[str | None, str | None],
    gallery: tuple[str | None, str | None],
    is_found: bool,
) -> None:
    sides = {"query": (record(root, "a.png", *query),), "gallery": (record(root, "a3.jpg", *gallery),)}
    finding = found(root, protocol, **sides).get("pictures much like one of another half of the test")
    assert (finding is not None) == is_found
    if finding:
        told = f"a.png ({query[0]}, test) ~ a3.jpg ({gallery[0] or 'no identity'}, test)"
        assert (finding.severity, finding.count, finding.examples) == ("note", 2, (told,))
        assert finding.advice.startswith("A query meets nearly itself in the gallery")


def test_two_boxes_of_one_file_in_query_and_gallery(root: Path) -> None:
    """The query's own file is left out by every protocol, whichever of its boxes."""
    sides = {"query": (record(root, "a.png"),), "gallery": (record(root, "a.png", box=(0.0, 0.0, 60.0, 89.0)),)}
    assert found(root, **sides) == {}


def test_many_alike_are_counted_once_each_and_five_pairs_named(root: Path) -> None:
    for quality in range(50, 62):
        scene(0).save(root / f"q{quality}.jpg", quality=quality)
    train = tuple(record(root, f"q{quality}.jpg", str(quality)) for quality in range(50, 62))
    (finding,) = found(root, train=train).values()
    assert (finding.count, len(finding.examples)) == (12, 5)


def test_an_unreadable_copy_is_no_copy(root: Path) -> None:
    train = (record(root, "gone.png", "1"), record(root, "gone.png", "2"))
    assert found(root, train=train) == {}
