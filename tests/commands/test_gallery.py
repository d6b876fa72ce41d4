"""`resight gallery`: from a folder of pictures to corrected, removed and forgotten rows, by the program itself."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resight import adding as parts
from resight.calibration import FILE, Calibration, Curve, Threshold, write
from resight.cli import main
from resight.commands import filling
from resight.data.images import open_image
from resight.encoder import Encoder
from resight.errors import GalleryError
from resight.gallery import store
from resight.gallery.lance import LanceGallery
from resight.gallery.rows import Entry

ENCODER = ("--encoder", "random:64x1/8", "--size", "32", "16", "--device", "cpu")


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "gallery")


@pytest.fixture
def filled(place: str, coloured_people: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Sixteen rows of red, green, blue and grey by cameras a and b."""
    assert main(["gallery", "create", place, *ENCODER, "--data", str(coloured_people)]) == 0
    assert capsys.readouterr().out == f"{place}: 16 pictures added, 0 left out; 16 rows\n"
    return place


def entries(place: str) -> list[Entry]:
    gallery = store.open_gallery(place)
    found = [*gallery.entries()]
    gallery.close()
    return found


def told(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main([*words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    return shown.err


def test_one_command_makes_a_gallery_of_a_folder(filled: str, coloured_people: Path) -> None:
    rows = entries(filled)
    assert {(row.identity, row.camera) for row in rows} == {
        (identity, camera) for identity in ("red", "green", "blue", "grey") for camera in "ab"
    }
    assert {row.path for row in rows} == {str(path) for path in coloured_people.parent.glob("*/*.png")}


def test_an_empty_gallery_is_made_and_filled_later(
    place: str, coloured_people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gallery", "create", place, *ENCODER]) == 0
    assert f"`resight gallery add {place} --data PATH` fills it" in capsys.readouterr().out
    added = told(capsys, "gallery", "add", place, "--data", str(coloured_people), "--device", "cpu")
    assert (added["n_stored"], added["n_there"], added["n_rows"], added["left_out"]) == (16, 0, 16, [])
    assert main(["gallery", "add", place, "--data", str(coloured_people)]) == 0
    assert capsys.readouterr().out == f"{place}: 0 pictures added, 16 were there, 0 left out; 16 rows\n"


def test_a_gallery_remembers_its_encoder(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    about = told(capsys, "gallery", "info", filled)
    expected = Encoder.load("random:64x1/8", size=(32, 16), device="cpu")
    assert about["encoder"] == expected.fingerprint()
    assert about["options"] == {"size": [32, 16]}
    assert (about["n_rows"], about["n_identities"], about["n_cameras"]) == (16, 4, 2)
    assert about["words"]
    assert not about["calibrated"]
    assert main(["gallery", "info", filled]) == 0
    shown = capsys.readouterr().out
    assert "16 rows of 4 identities and 2 cameras" in shown
    assert "can be asked in words" in shown
    assert "not calibrated" in shown


def test_a_calibration_beside_the_encoder_comes_along(
    place: str, tmp_path: Path, coloured_people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = Encoder.load("random:64x1/8", size=(32, 16), device="cpu")
    encoder.save(tmp_path / "encoder")
    curve = Curve(
        (Threshold(0.01, 0.9, 0.0, 0.1, 0.5, 0.4, 0.6),),
        10.0,
        -5.0,
        40,
        400,
        10,
        "any-camera",
        ((0.0, 0.5), (0.9, 0.01)),
    )
    learned = Calibration(encoder.fingerprint(), "data", curve)
    write(learned, tmp_path / "encoder" / FILE)
    words = ("gallery", "create", place, "--encoder", str(tmp_path / "encoder"), "--data", str(coloured_people))
    assert main([*words]) == 0
    capsys.readouterr()
    assert told(capsys, "gallery", "info", place)["calibrated"]
    gallery = store.open_gallery(place)
    assert gallery.about.calibration is not None
    assert Calibration.from_dict(gallery.about.calibration) == learned
    gallery.close()
    write(dataclasses.replace(learned, encoder="another"), tmp_path / "encoder" / FILE)
    assert "the calibration belongs to encoder another" in refused(capsys, *words[:2], place + "2", *words[3:])


def test_tables_give_ids_times_and_fields(
    place: str, picture: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        picture(f"{name}.png")
    (tmp_path / "t.csv").write_text(
        "path,identity,id,time,weather\na.png,Anna,frame 1,2024-05-31T12:00:00+02:00,rain\nb.png,,,,\n"
    )
    assert main(["gallery", "create", place, *ENCODER, "--data", str(tmp_path / "t.csv")]) == 0
    row = next(row for row in entries(place) if row.identity)
    assert (row.id, row.time, row.fields) == ("frame 1", 1717149600.0, {"weather": "rain"})
    assert main(["gallery", "list", place, "--field", "weather=rain"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-2].split() == ["id", "identity", "time", "path", "fields"]
    assert shown[-1].split() == ["frame", "1", "Anna", "2024-05-31T10:00:00Z", row.path, "weather=rain"]


def test_labels_for_all_and_a_file_of_paths(
    filled: str, picture: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [picture("new/one.png"), picture("new/two.png")]
    (tmp_path / "paths.txt").write_text("\n".join(map(str, paths)) + "\n\n" + str(tmp_path / "none.png"))
    words = ["--paths", str(tmp_path / "paths.txt"), "--identity", "Anna", "--camera", "gate", "--time", "12.5"]
    added = told(capsys, "gallery", "add", filled, *words, status=1)
    assert added["n_stored"] == 2
    assert added["left_out"] == [
        f"{tmp_path / 'none.png'}: does not exist. Copy the picture there, or take it off the list."
    ]
    for row in (row for row in entries(filled) if row.identity == "Anna"):
        assert (row.camera, row.time) == ("gate", 12.5)
    assert main(["gallery", "add", filled, *words]) == 1
    shown = capsys.readouterr()
    assert "left out: " in shown.err
    assert "2 were there, 1 left out; 18 rows" in shown.out


def test_a_pipe_is_stored_where_it_falls_silent(
    place: str, picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came is in the gallery while the pipe is still open."""
    assert main(["gallery", "create", place, *ENCODER]) == 0
    monkeypatch.setattr(filling, "SILENCE", 0.1)
    reading, writing = os.pipe()
    stdin = os.fdopen(reading, "rb")
    monkeypatch.setattr(sys, "stdin", stdin)
    gallery, seen = store.open_gallery(place), []

    def feed() -> None:
        for k in range(3):
            os.write(writing, f"{picture(f'{k}.png')}\n".encode())
            deadline = time.monotonic() + 60
            while gallery.count() == k and time.monotonic() < deadline:
                time.sleep(0.02)
            seen.append(gallery.count())
        os.close(writing)

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert main(["gallery", "add", place, "--paths", "-", "--device", "cpu"]) == 0
    feeder.join()
    stdin.close()
    assert seen == [1, 2, 3]


def test_a_slow_pipe_pauses_though_it_is_never_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "SLOWNESS", 0.2)
    reading, writing = os.pipe()

    def feed() -> None:
        for k in range(12):
            os.write(writing, f"{k}\r\n".encode())
            time.sleep(0.05)
        os.close(writing)

    feeder = threading.Thread(target=feed)
    feeder.start()
    lines = [*filling.as_they_come(reading)]
    os.close(reading)
    feeder.join()
    assert [line for line in lines if line] == [str(k) for k in range(12)]
    assert 1 <= lines.count(None) <= 6


def test_interrupted_it_says_what_is_stored_and_goes_on(
    filled: str, picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parts, "N_STORED", 4)
    folder = [picture(f"new/x/{k}.png") for k in range(20)][-1].parent.parent
    real = LanceGallery.add

    def interrupted(gallery: LanceGallery, rows: Any) -> None:
        if gallery.count() >= 24:
            raise KeyboardInterrupt
        real(gallery, rows)

    with monkeypatch.context() as patch:
        patch.setattr(LanceGallery, "add", interrupted)
        assert main(["gallery", "add", filled, "--data", str(folder), "--batch-size", "4"]) == 130
    shown = capsys.readouterr()
    assert shown.err == "stopped: 8 pictures added, 0 left out. What is stored stays; the same command goes on.\n"
    assert main(["gallery", "add", filled, "--data", str(folder)]) == 0
    assert capsys.readouterr().out == f"{filled}: 12 pictures added, 8 were there, 0 left out; 36 rows\n"


def test_a_failing_store_says_what_is_stored(
    filled: str, picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(gallery: LanceGallery, rows: Any) -> None:
        raise GalleryError("the disk is full. Free some.")

    monkeypatch.setattr(LanceGallery, "add", full)
    assert main(["gallery", "add", filled, "--data", str(picture("new/x/1.png").parent.parent)]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert shown[0].endswith("0 pictures added, 0 left out. What is stored stays; the same command goes on.")
    assert shown[1] == "resight: the disk is full. Free some."


def test_after_many_rows_the_gallery_is_compacted(
    filled: str, picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(filling, "MANY", 3)
    calls: list[object] = []
    monkeypatch.setattr(LanceGallery, "compact", lambda gallery: calls.append(gallery))
    folder = [picture(f"new/x/{k}.png") for k in range(3)][-1].parent.parent
    assert main(["gallery", "add", filled, "--data", str(folder)]) == 0
    assert "bringing 3 new rows into the index" in capsys.readouterr().err
    assert len(calls) == 1
    assert main(["gallery", "add", filled, "--data", str(folder)]) == 0
    assert len(calls) == 1


def test_compact_says_what_is_in_the_index(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "compact", filled]) == 0
    assert "of 16 rows in the index" in capsys.readouterr().out


def test_rows_are_corrected_by_their_ids(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [row.id for row in entries(filled)][:2]
    words = ["gallery", "update", filled, *(word for id_ in ids for word in ("--id", id_))]
    changes = ["--identity", "Anna", "--camera", "", "--time", "2024-05-31", "--field", "hat=red"]
    assert told(capsys, *words, *changes) == {"gallery": filled, "n_rows": 2, "n_changed": 2}
    for row in entries(filled)[:2]:
        assert (row.identity, row.camera, row.time, row.fields) == ("Anna", None, 1717113600.0, {"hat": "red"})
    assert main([*words, "--identity", "Anna", "--field", "hat="]) == 0
    assert capsys.readouterr().out == f"{filled}: 2 rows changed, 0 were so already\n"
    assert [row.fields for row in entries(filled)[:2]] == [{}, {}]
    assert main([*words, "--identity", ""]) == 0
    assert [row.identity for row in entries(filled)[:2]] == [None, None]


def test_the_listed_table_is_corrected_and_taken_back(
    filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [row.id for row in entries(filled)]
    assert main(["gallery", "update", filled, "--id", ids[0], "--field", 'note=say "hi",\nthen go']) == 0
    capsys.readouterr()
    assert main(["gallery", "list", filled, "--csv"]) == 0
    listed = capsys.readouterr().out
    table = tmp_path / "listed.csv"
    table.write_text(listed)
    assert main(["gallery", "update", filled, "--table", str(table)]) == 0
    assert capsys.readouterr().out == f"{filled}: 0 rows changed, 16 were so already\n"
    lines = [*csv.DictReader(io.StringIO(listed))]
    assert [line["id"] for line in lines] == ids
    for line in lines:
        line["identity"] = "" if line["identity"] == "grey" else line["identity"].upper()
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    assert main(["gallery", "update", filled, "--table", str(table)]) == 0
    assert {row.identity for row in entries(filled)} == {"RED", "GREEN", "BLUE", None}
    assert entries(filled)[0].fields == {"note": 'say "hi",\nthen go'}
    capsys.readouterr()
    assert main(["gallery", "add", filled, "--data", str(table)]) == 0
    assert capsys.readouterr().out == f"{filled}: 0 pictures added, 16 were there, 0 left out; 16 rows\n"


def test_a_table_with_a_row_that_is_not_there_changes_nothing(
    filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = entries(filled)[0]
    (tmp_path / "t.csv").write_text(f"id,identity\n{row.id},Anna\nnobody,x\nnothing,x\n")
    assert "row nobody: and 1 more are not in the gallery, so nothing was changed" in refused(
        capsys, "gallery", "update", filled, "--table", str(tmp_path / "t.csv")
    )
    assert entries(filled)[0] == row


def test_rows_are_removed_by_id_or_by_what_is_known(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = entries(filled)[0].id
    assert main(["gallery", "remove", filled, "--id", first, "--id", "nothing"]) == 0
    assert capsys.readouterr().out == f"{filled}: 1 rows removed, 1 were not there; 15 rows\n"
    left = [row for row in entries(filled) if not (row.camera == "a" and row.identity in ("red", "blue"))]
    words = ["--camera", "a", "--identity", "red", "--identity", "blue", "--yes"]
    assert told(capsys, "gallery", "remove", filled, *words)["n_rows"] == len(left)
    assert entries(filled) == left
    assert main(["gallery", "remove", filled, "--camera", "nowhere"]) == 0  # nothing to ask about


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_person_is_asked_before_much_goes(
    filled: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, question in (
        (("remove", filled, "--camera", "a"), f"Take 8 of 16 rows out of {filled}? [y/N]"),
        (("forget", filled, "red"), f"Erase red from {filled} for good? [y/N]"),
    ):
        assert "nobody can be asked whether" in refused(capsys, "gallery", *words)
        for answer in ("", "n\n", "no\n", "yesterday\n"):
            monkeypatch.setattr(sys, "stdin", Terminal(answer))
            assert main(["gallery", *words]) == 2
            assert capsys.readouterr().err.splitlines() == [
                question,
                "resight: not confirmed, so nothing was changed.",
            ]
        assert len(entries(filled)) == 16
        monkeypatch.undo()
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert main(["gallery", "forget", filled, "red"]) == 0
    assert len(entries(filled)) == 12


def test_who_is_forgotten_is_in_no_file(
    filled: str,
    coloured_people: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither thumbnails nor vectors in the gallery, nor pixels in the cache that evaluating filled."""
    monkeypatch.setenv("RESIGHT_CACHE", str(tmp_path / "cache"))
    evaluate = ["evaluate", *ENCODER[1:], "--data", str(coloured_people), "--cache"]
    assert main(evaluate) == 0
    gallery = store.open_gallery(filled)
    rows = gallery.get([row.id for row in gallery.entries()])
    gallery.close()
    preprocess = Encoder.load("random:64x1/8", size=(32, 16), device="cpu").preprocess
    pixels = {row.entry.id: preprocess.resize(open_image(Path(row.entry.path))).tobytes() for row in rows}
    assert all(pixel in everything(tmp_path / "cache") for pixel in pixels.values())
    outcome = told(capsys, "gallery", "forget", filled, "red", "--yes")
    assert outcome == {"gallery": filled, "rows": 4, "cached_pictures": 4}
    kept, cached = everything(Path(filled)), everything(tmp_path / "cache")
    for row in rows:
        red = row.entry.identity == "red"
        assert (pixels[row.entry.id] in cached) != red
        assert row.aligned is not None
        if red:
            for trace in (row.embedding.tobytes(), row.aligned.tobytes(), row.thumbnail, row.entry.id.encode()):
                assert trace not in kept
    assert all(Path(row.entry.path).is_file() for row in rows)
    assert main(evaluate) == 0
    assert main(["gallery", "forget", filled, "red"]) == 0
    assert capsys.readouterr().out.endswith(f"{filled}: 0 rows and 0 cached pictures of red erased\n")


def everything(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_lists_say_how_much_they_show(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = entries(filled)
    assert main(["gallery", "list", filled, "--top", "3", "--start", "2"]) == 0
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines()] == ["id", *(row.id for row in rows[2:5])]
    assert shown.err == "3 of 16 rows\n"
    assert main(["gallery", "list", filled, "--camera", "a", "--identity", "red"]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 3
    assert shown.err == ""
    assert main(["gallery", "list", filled, "--camera", "z"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "0 of 0 rows (the gallery has 16)\n")
    listed = told(capsys, "gallery", "list", filled, "--top", "2")
    assert [row["id"] for row in listed] == [row.id for row in rows[:2]]
    assert listed[0]["identity"] == rows[0].identity


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("create", "GALLERY", *ENCODER), "is a gallery already. `resight gallery add"),
    (("create", "HERE", *ENCODER), "is not empty. Name a new folder"),
    (("create", "NEW"), "--encoder"),
    (("create", "NEW", "--encoder", "nonsense"), "nonsense: neither a file nor a known name"),
    (("create", "NEW", *ENCODER, "--data", "nowhere"), "nowhere: no such file or folder"),
    (("create", "NEW", *ENCODER, "--data", "HERE", "--workers", "0"), "--workers 0: at least 1"),
    (("add", "GALLERY"), "no pictures are named. Give --data PATH, or --paths FILE"),
    (
        ("add", "GALLERY", "--data", "HERE", "--paths", "-"),
        "--data and --paths: the pictures come from one of them",
    ),
    (("add", "GALLERY", "--paths", "nowhere.txt"), "nowhere.txt: cannot be read (No such file or directory)"),
    (("add", "GALLERY", "--paths", "-", "--column", "a=b"), "--benchmark and --column belong to --data"),
    (("add", "GALLERY", "--data", "HERE", "--time", "noon"), "--time 'noon' is neither UTC seconds nor a date"),
    (("add", "GALLERY", "--data", "HERE", "--camera", ""), '--camera "": leave it out where it is unknown'),
    (("add", "GALLERY", "--data", "TABLE", "--encoder", "random:64x2/8"), "they cannot be compared"),
    (("add", "NEW", "--data", "HERE"), "is no gallery. Make one with `resight gallery create`"),
    (("update", "GALLERY"), "say which rows: --id ID"),
    (("update", "GALLERY", "--id", "x"), "nothing to correct is said"),
    (("update", "GALLERY", "--id", "x", "--identity", "y"), "row x: is not in the gallery"),
    (("update", "GALLERY", "--id", "x", "--table", "t.csv"), "say which rows"),
    (("update", "GALLERY", "--table", "t.csv", "--camera", "x"), "go with --id; a table has columns for them"),
    (("update", "GALLERY", "--id", "x", "--field", "hat"), "--field hat: write it as NAME=VALUE"),
    (("update", "GALLERY", "--id", "x", "--field", "a=1", "--field", "a=2"), "--field a: is given twice"),
    (("update", "GALLERY", "--table", "nowhere.csv"), "nowhere.csv"),
    (("remove", "GALLERY"), "say which rows: --id ID, or conditions"),
    (("remove", "GALLERY", "--id", "x", "--camera", "a"), "not both"),
    (("forget", "GALLERY", ""), "no identity is named"),
    (("list", "GALLERY", "--json", "--csv"), "--json and --csv: one of them"),
    (("list", "GALLERY", "--top", "0"), "--start is at least 0, and --top at least 1"),
    (("list", "GALLERY", "--since", "2024-13-01"), "--since '2024-13-01' is neither"),
    (("info", "HERE"), "is no gallery"),
    (("compact", "NEW"), "is no gallery"),
]


def test_what_cannot_run_is_one_line(filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One gallery for all, since each must leave it as it is."""
    places = {
        "GALLERY": filled,
        "HERE": str(tmp_path),
        "TABLE": str(tmp_path / "index.csv"),
        "NEW": str(tmp_path / "new"),
    }
    for words, message in WRONG:
        said = refused(capsys, "gallery", *(places.get(word, word) for word in words))
        assert message in said, f"gallery {' '.join(words)}"
        assert not (tmp_path / "new").exists()
    assert len(entries(filled)) == 16
