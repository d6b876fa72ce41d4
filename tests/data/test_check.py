"""Every defect of a picture is counted and named, and none of them ends the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resight.data import images
from resight.data.check import Count, Finding, check, counts
from resight.types import Record, Splits


def scene(seed: int, size: tuple[int, int] = (32, 48), mode: str = "RGB") -> Image.Image:
    rough = np.random.default_rng(seed).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC).convert(mode)


def train_on(root: Path, records: Sequence[Record]) -> Splits:
    return Splits(name="mine", root=root, protocol="any-camera", train=tuple(records))


def labelled(root: Path, names: Sequence[str]) -> Splits:
    """Records that the labels find nothing to say of: two of each identity, and cameras."""
    return train_on(
        root, [Record(root / name, identity=str(i), camera=camera) for i, name in enumerate(names) for camera in "ab"]
    )


def by_kind(splits: Splits) -> Mapping[str, Finding]:
    """Findings on files and pictures; repeated records, which `labelled` makes, are left out."""
    found = {finding.kind: finding for finding in check(splits, workers=2)}
    found.pop("pictures that repeat an earlier one", None)
    return found


@pytest.fixture
def good(tmp_path: Path) -> list[str]:
    names = [f"good/{i} – żółć.png" for i in range(3)]
    (tmp_path / "good").mkdir()
    for i, name in enumerate(names):
        scene(i).save(tmp_path / name)
    return names


def test_nothing_is_found_in_a_good_data_set(tmp_path: Path, good: list[str]) -> None:
    assert by_kind(labelled(tmp_path, good)) == {}


def test_an_empty_data_set() -> None:
    assert check(Splits(name="", root=Path("/"), protocol="any-camera")) == []


def test_files_that_give_no_picture(tmp_path: Path, good: list[str]) -> None:
    scene(7).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:400])
    scene(8).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:400])
    (tmp_path / "none.jpg").touch()
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "nothing.jpg").symlink_to(tmp_path / "gone.jpg")
    names = ["cut.jpg", "cut.png", "none.jpg", "page.jpg", "folder.jpg", "loop.jpg", "nothing.jpg", *good]
    found = by_kind(labelled(tmp_path, names))
    assert {kind: (finding.severity, finding.count, finding.examples) for kind, finding in found.items()} == {
        "missing files": ("fault", 1, (".: 1 of 7 missing",)),
        "files that cannot be read": ("fault", 1, ("loop.jpg",)),
        "empty files": ("fault", 1, ("none.jpg",)),
        "files that are no picture": ("fault", 2, ("page.jpg", "folder.jpg")),
        "damaged pictures": ("fault", 2, ("cut.jpg", "cut.png")),
    }
    assert found["missing files"].advice.startswith("The first is nothing.jpg. ")


def test_missing_files_are_counted_by_folder(tmp_path: Path, good: list[str]) -> None:
    names = [f"cam_a/{i}.jpg" for i in range(3)] + [f"cam_b/deep/{i}.jpg" for i in range(20)] + good
    (finding,) = by_kind(labelled(tmp_path, [*names, "good/gone.jpg"])).values()
    assert finding == Finding(
        kind="missing files",
        severity="fault",
        count=24,
        examples=("cam_b/deep: 20 of 20 missing", "cam_a: 3 of 3 missing", "good: 1 of 4 missing"),
        advice="The first is cam_a/0.jpg. Copy the pictures there, or take them off the list.",
    )


def test_too_large_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 32 * 48 - 1)
    scene(0).save(tmp_path / "large.png")
    (finding,) = by_kind(labelled(tmp_path, ["large.png"])).values()
    assert (finding.kind, finding.severity, finding.count) == ("pictures that are too large", "fault", 1)
    assert finding.advice == "At most 100,000,000 pixels are read. Scale them down, or cut them."


def test_what_is_converted_is_noted(tmp_path: Path, good: list[str]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    scene(3).save(tmp_path / "phone.jpg", exif=exif)
    scene(4, mode="RGBA").save(tmp_path / "alpha.png")
    scene(5, mode="P").save(tmp_path / "palette.gif")
    scene(6, mode="L").save(tmp_path / "grey.jpg")
    deep = np.asarray(scene(7, mode="L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    scene(8, mode="CMYK").save(tmp_path / "print.jpg")
    scene(9).save(tmp_path / "film.png", save_all=True, append_images=[scene(10)])
    names = ["phone.jpg", "alpha.png", "palette.gif", "grey.jpg", "deep.png", "print.jpg", "film.png", *good]
    found = by_kind(labelled(tmp_path, names))
    assert {finding.severity for finding in found.values()} == {"note"}
    assert {kind: finding.examples for kind, finding in found.items()} == {
        "pictures with transparency": ("alpha.png",),
        "pictures with a palette": ("palette.gif",),
        "grey pictures": ("grey.jpg", "deep.png"),
        "pictures of 16 bits or more": ("deep.png",),
        "CMYK pictures": ("print.jpg",),
        "pictures that EXIF says to turn": ("phone.jpg",),
        "pictures of several frames": ("film.png",),
    }
    assert found["pictures with transparency"].advice == "They are laid on white."


def test_boxes_and_sizes(tmp_path: Path) -> None:
    for i in range(2):
        scene(i).save(tmp_path / f"{i}.png")
    boxes = {
        "inside": (0.0, 0.0, 32.0, 48.0),
        "beside": (32.0, 0.0, 60.0, 20.0),
        "empty": (5.0, 5.0, 5.0, 9.0),
        "beyond": (-1.0, 4.0, 20.0, 40.0),
        "rounding": (8.4, -0.6, 32.9, 40.0),
        "narrow": (0.0, 0.0, 15.0, 48.0),
    }
    records = [Record(tmp_path / "0.png", name, "a", box=box) for name, box in boxes.items()]
    records += [replace(record, path=tmp_path / "1.png", camera="b") for record in records[:1]]
    found = by_kind(train_on(tmp_path, records))
    assert {kind: (f.severity, f.count, f.examples) for kind, f in found.items() if "identit" not in kind} == {
        "boxes outside their picture": ("fault", 2, ("0.png [32 0 60 20]", "0.png [5 5 5 9]")),
        "boxes beyond the edge": ("note", 1, ("0.png [-1 4 20 40]",)),
        "very small pictures": ("note", 1, ("0.png [0 0 15 48]",)),
    }


def test_very_small_and_blank_pictures(tmp_path: Path) -> None:
    scene(0, (15, 40)).save(tmp_path / "narrow.png")
    scene(1, (16, 16)).save(tmp_path / "patch.png")
    for i, colour in enumerate(["black", "black", "#102030"]):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"blank{i}.png")
    found = by_kind(labelled(tmp_path, ["narrow.png", "patch.png", "blank0.png", "blank1.png", "blank2.png"]))
    assert {kind: (finding.severity, finding.examples) for kind, finding in found.items()} == {
        "very small pictures": ("note", ("narrow.png",)),
        "blank pictures": ("note", ("blank0.png", "blank1.png", "blank2.png")),
    }


def test_the_first_five_are_named_and_all_counted(tmp_path: Path) -> None:
    for i in range(9):
        (tmp_path / f"{i}.jpg").touch()
    (finding,) = by_kind(labelled(tmp_path, [f"{i}.jpg" for i in range(9)])).values()
    assert (finding.count, finding.examples) == (9, ("0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"))


def test_pictures_elsewhere_are_named_by_their_whole_path(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "data").mkdir()
    (finding,) = by_kind(labelled(tmp_path / "data", ["../a.jpg"])).values()
    assert finding.examples == ("../a.jpg",)
    (finding,) = by_kind(replace(labelled(tmp_path, ["a.jpg"]), root=tmp_path / "data")).values()
    assert finding.examples == (str(tmp_path / "a.jpg"),)


def test_a_name_that_is_no_unicode_can_be_printed(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.jpg"
    path.touch()
    (finding,) = by_kind(labelled(tmp_path, [path.name])).values()
    assert finding.examples == ("caf\\udce9.jpg",)
    assert json.dumps(asdict(finding), ensure_ascii=False).encode()


def test_faults_come_first_and_everything_is_looked_at(tmp_path: Path) -> None:
    scene(0).save(tmp_path / "a.png")
    (tmp_path / "b.png").touch()
    train = (Record(tmp_path / "a.png", "1", captions=("def f():",)),)
    query = (Record(tmp_path / "b.png", "1", captions=("",)),)
    found = check(Splits("mine", tmp_path, "cross-camera", train=train, query=query, gallery=query))
    assert [(finding.severity, finding.count, finding.kind) for finding in found] == [
        ("fault", 1, "empty files"),
        ("fault", 1, "identities in both train and test"),
        ("fault", 1, "queries with nothing to find"),
        ("fault", 1, "empty captions"),
        ("note", 2, "pictures without camera"),
        ("note", 1, "captions that hold code"),
    ]


def test_progress_counts_files_not_boxes(tmp_path: Path) -> None:
    records = [Record(tmp_path / f"{i}.jpg", box=(0, 0, side, 9)) for i in range(70) for side in (5, 6)]
    said: list[tuple[int, int]] = []
    check(train_on(tmp_path, records), workers=3, progress=lambda done, total: said.append((done, total)))
    assert said == [(32, 70), (64, 70), (70, 70)]


def test_the_answer_does_not_depend_on_the_threads(tmp_path: Path) -> None:
    for i in range(100):
        scene(i % 40).save(tmp_path / f"{i}.png")
    splits = train_on(tmp_path, [Record(tmp_path / f"{i}.png", str(i % 30)) for i in range(100)])
    assert check(splits, workers=1) == check(splits, workers=8) == check(splits)


def test_counts() -> None:
    train = tuple(Record(Path(f"/{i}.jpg"), identity=str(i // 2), camera="a", captions=("x", "y")) for i in range(6))
    test = (Record(Path("/q.jpg"), None, "b", split="test"), Record(Path("/r.jpg"), "9", None, split="test"))
    splits = Splits("mine", Path("/"), "cross-camera", train=train, query=test, gallery=(*test, train[0]))
    assert counts(splits) == {
        "train": Count(identities=3, pictures=6, cameras=1, captions=12),
        "query": Count(identities=1, pictures=2, cameras=1, captions=0),
        "gallery": Count(identities=2, pictures=3, cameras=2, captions=2),
    }
    assert counts(Splits("", Path("/"), "text", unassigned=train[:1])) == {"unassigned": Count(1, 1, 1, 2)}


def test_names_reach_no_terminal_raw(tmp_path: Path) -> None:
    names = ["a\n\x1b[2J.jpg", "b\u202egpj.jpg", "\udcff.jpg", "می\u200cخواهم.jpg"]
    found = check(labelled(tmp_path, names), workers=1)
    assert next(finding for finding in found if finding.kind == "missing files").advice.startswith(
        r"The first is a\n\x1b[2J.jpg. "
    )
    records = [Record(tmp_path / name, identity="x\ry", camera="1") for name in names]
    found = check(Splits("", tmp_path, "any-camera", train=tuple(records), unassigned=tuple(records)), workers=1)
    examples = {finding.kind: finding.examples for finding in found}
    assert examples["pictures without split"] == (
        r"a\n\x1b[2J.jpg",
        r"b\u202egpj.jpg",
        r"\udcff.jpg",
        "می\u200cخواهم.jpg",
    )
    assert examples["identities seen by one camera only"] == (r"x\ry",)
