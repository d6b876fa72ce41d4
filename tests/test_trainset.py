"""What is trained on, and what is kept apart; query and gallery are never looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resight.errors import DataError
from resight.trainset import train_set
from resight.types import Record, Splits


def record(identity: str | None, k: int, camera: str | None = None, **more: Any) -> Record:
    return Record(Path(f"/data/{identity}-{camera}-{k}.jpg"), identity, camera, **more)


def splits(**roles: Any) -> Splits:
    return Splits("shop", Path("/data"), roles.pop("protocol", "cross-camera"), **roles)


TWO_CAMERAS = tuple(record(str(i), k, camera) for i in (10, 9, 2, 1) for camera in "ab" for k in range(2))


def test_labels_follow_the_sorted_identities_not_the_order_of_the_file() -> None:
    found = train_set(splits(train=TWO_CAMERAS))
    assert found.identities == ("1", "2", "9", "10")  # by number, since all are
    assert found.labels.tolist() == [3] * 4 + [2] * 4 + [1] * 4 + [0] * 4
    assert found.cameras == ("a", "b")
    assert found.views == ()
    assert found.validation is None
    assert found.notes == ()


def test_without_a_split_every_picture_is_trained_on() -> None:
    assert train_set(splits(unassigned=TWO_CAMERAS)).records == TWO_CAMERAS


def test_query_and_gallery_are_not_looked_at() -> None:
    class Closed(Splits):
        @property
        def query(self) -> Any:
            raise AssertionError("query was looked at")

        @property
        def gallery(self) -> Any:
            raise AssertionError("gallery was looked at")

    closed = object.__new__(Closed)
    for name in ("name", "root", "protocol", "train", "validation", "unassigned"):
        object.__setattr__(closed, name, getattr(splits(train=TWO_CAMERAS), name))
    assert train_set(closed, validate=True, validation_share=0.5).validation is not None
    train_set(closed)


def test_pictures_without_identity_are_left_out_and_told() -> None:
    found = train_set(splits(train=(*TWO_CAMERAS, record(None, 0), record(None, 1))))
    assert found.records == TWO_CAMERAS
    assert found.notes == ("2 train pictures without an identity are left out.",)


def test_captions_are_learned_from_without_identities_each_its_own() -> None:
    captioned = (record(None, 0, captions=("a",)), record("7", 0, captions=("b",)), record("7", 1, captions=("c",)))
    found = train_set(
        splits(train=(*captioned, record(None, 1, captions=("d",)), record("8", 0))), learns_from="captions"
    )
    assert found.identities == ("7",)
    assert found.labels.tolist() == [1, 0, 0, 2]
    assert found.notes == ("1 train pictures without a caption are left out.",)


def test_identities_for_validation_are_drawn_from_those_with_something_to_find() -> None:
    """Under the cross-camera rule identities of one camera cannot be looked for."""
    one_camera = tuple(record(str(i), k, "a") for i in range(20, 24) for k in range(3))
    for seed in range(5):
        found = train_set(splits(train=(*TWO_CAMERAS, *one_camera)), validate=True, validation_share=0.25, seed=seed)
        assert found.validation is not None
        apart = {r.identity for r in found.validation.validation}
        assert len(apart) == 2
        assert apart <= {"1", "2", "9", "10"}
        assert not apart & set(found.identities)
        assert len(found.records) + len(found.validation.validation) == 28
        assert {r.split for r in found.validation.validation} == {"validation"}
        assert found.validation.query == found.validation.gallery == found.validation.train == ()
        assert found.notes == ("2 of the train identities are kept apart for validation.",)
        again = train_set(splits(train=(*TWO_CAMERAS, *one_camera)), validate=True, validation_share=0.25, seed=seed)
        assert again.validation == found.validation


def test_the_datas_own_validation_records_are_taken() -> None:
    own = tuple(record("30", 0, camera, split="validation") for camera in "ab")
    found = train_set(splits(train=TWO_CAMERAS, validation=own), validate=True)
    assert found.validation is not None
    assert found.validation.validation == own
    assert found.records == TWO_CAMERAS
    assert found.fingerprint != train_set(splits(train=TWO_CAMERAS, validation=own)).fingerprint
    assert train_set(splits(train=TWO_CAMERAS, validation=own)).validation is None


@pytest.mark.parametrize(
    ("protocol", "captions", "expected"),
    [("cross-camera", False, "cross-camera"), ("text", False, "any-camera"), ("cross-camera", True, "text")],
)
def test_validation_is_compared_by_what_is_learned(protocol: Any, captions: bool, expected: str) -> None:
    own = tuple(record("30", 0, camera, captions=("a",), split="validation") for camera in "ab")
    train = tuple(record("1", k, "a", captions=("b",)) for k in range(2))
    found = train_set(
        splits(train=train, validation=own, protocol=protocol),
        learns_from="captions" if captions else "identities",
        validate=True,
    )
    assert found.validation is not None
    assert found.validation.protocol == expected


def test_without_cameras_any_other_picture_is_a_match() -> None:
    blind = tuple(record(str(i), k) for i in range(4) for k in range(2))
    found = train_set(splits(train=blind), validate=True, validation_share=0.5)
    assert found.validation is not None
    assert found.validation.protocol == "any-camera"


@pytest.mark.parametrize(
    ("roles", "options", "message"),
    [
        ({}, {}, r"/data: no picture is marked train\. Mark some, or leave all without a split\."),
        ({"train": (record(None, 0),)}, {}, r"none of its 1 train pictures has an identity.*--column identity=…"),
        (
            {"train": TWO_CAMERAS},
            {"learns_from": "captions"},
            r"none of its 16 train pictures has a caption.*--column caption=…",
        ),
        (
            {"train": TWO_CAMERAS[:12]},
            {"validate": True},
            r"3 train identities, of which 3 have something to find \(cross-camera\), are too few to keep 2",
        ),
        (
            {"train": tuple(record(str(i), 0, "a") for i in range(9))},
            {"validate": True},
            r"9 train identities, of which 0 have something to find",
        ),
        (
            {"train": TWO_CAMERAS, "validation": (record("30", 0, "a"), record("30", 1, "a"))},
            {"validate": True},
            r"no validation picture has anything to find \(cross-camera\)",
        ),
    ],
)
def test_what_cannot_be_trained_or_validated_on_is_refused(
    roles: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        train_set(splits(**roles), **options)


class Secret(Record):
    """A record whose identity and captions must not be looked at."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("identity", "captions"):
            pytest.fail(f"{name} was read")
        return super().__getattribute__(name)


def test_of_unlabelled_pictures_no_identity_and_no_caption_is_read() -> None:
    secret = tuple(Secret(Path(f"/data/{i}.jpg"), str(i), "a", captions=("x",)) for i in range(3))
    found = train_set(splits(train=secret), learns_from="pictures")
    assert [(r.path.name, r.identity, r.camera, r.captions) for r in found.records] == [
        (f"{i}.jpg", None, "a", ()) for i in range(3)
    ]
    assert found.labels.tolist() == [-1, -1, -1]
    assert found.identities == ()
    renamed = tuple(record.__class__(record.path, "z", "a") for record in secret)
    assert train_set(splits(train=renamed), learns_from="pictures").fingerprint == found.fingerprint


def test_unlabelled_pictures_are_validated_on_the_datas_own_records_alone() -> None:
    own = tuple(record("30", 0, camera, split="validation") for camera in "ab")
    found = train_set(splits(train=TWO_CAMERAS, validation=own), learns_from="pictures", validate=True)
    assert found.validation is not None
    assert found.validation.validation == own
    with pytest.raises(DataError, match=r"has no validation records, and identities are not read.*--validate-every"):
        train_set(splits(train=TWO_CAMERAS), learns_from="pictures", validate=True)
    lonely = (record("30", 0, "a"), record("30", 1, "a"))
    with pytest.raises(DataError, match=r"no validation picture has anything to find"):
        train_set(splits(train=TWO_CAMERAS, validation=lonely), learns_from="pictures", validate=True)
    with pytest.raises(DataError, match="no picture is marked train"):
        train_set(splits(), learns_from="pictures")
