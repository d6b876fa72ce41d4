"""`resight calibrate` and `resight compare`: what they store, print and refuse."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resight.calibration import read
from resight.cli import main
from resight.encoder import Encoder
from resight.gallery.rows import About, Entry, Row
from resight.gallery.store import create, open_gallery

RATES = ("--rates", "0.1", "0.05")


@pytest.fixture
def herd(picture: Callable[..., Path], tmp_path: Path) -> Path:
    """A table of twelve identities of one colour each, four pictures by two cameras."""
    lines = ["path,identity,camera"]
    for k in range(12):
        red, green, blue = (round(255 * channel) for channel in colorsys.hsv_to_rgb(k / 12, 0.9, 0.8))
        for n in range(4):
            path = picture(f"{k}/{n}.png", colour=(red, green, blue))
            lines.append(f"{path.relative_to(tmp_path)},cow {k},{'ab'[n % 2]}")
    (tmp_path / "herd.csv").write_text("\n".join(lines))
    return tmp_path / "herd.csv"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An encoder on disk."""
    Encoder.load("random:64x1/8", size=(32, 16), device="cpu").save(tmp_path / "encoder")
    return tmp_path / "encoder"


def make_gallery(place: Path, encoder: Encoder) -> str:
    """A gallery of this encoder with three rows."""
    about = About(encoder.fingerprint(), "encoder", {}, encoder.dimension, 64, encoder.preprocess.as_dict())
    made = create(str(place), about)
    vectors = np.eye(3, encoder.dimension, dtype=np.float32)
    aligned = np.eye(3, 64, dtype=np.float32)
    made.add([Row(Entry(str(k), str(k)), vectors[k], aligned[k]) for k in range(3)])
    made.close()
    return str(place)


def test_the_folder_keeps_it_and_compare_uses_it(herd: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [str(herd.parent / name) for name in ("3/0.png", "3/1.png")]
    assert main(["compare", str(folder), *pictures]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("similarity 0.9")
    assert "no calibration says what that means" in shown.err
    assert main(["calibrate", str(folder), "--data", str(herd), *RATES, "--device", "cpu"]) == 0
    shown = capsys.readouterr()
    kept = read(folder / "calibration.json")
    assert [one.rate for one in kept.pictures.thresholds] == [0.1, 0.05]
    for one in kept.pictures.thresholds:
        for part in (
            f"{one.rate:g}",
            f"{one.similarity:.4f}",
            f"{one.low:.4f}–{one.high:.4f}",
            f"{100 * one.found:.1f}",
        ):
            assert part in shown.out
    for part in ("48 pairs of the same individual (cross-camera)", "1,056 of different ones", "12 individuals"):
        assert part in shown.out
    assert "in a search among 1,000 of them" in shown.out
    assert f"stored in {folder / 'calibration.json'}" in shown.out
    assert max(map(len, shown.out.split("stored in")[0].splitlines())) <= 80
    assert main(["compare", str(folder), *pictures]) == 0
    similarity, verdict, probability, rarity = capsys.readouterr().out.splitlines()
    value = float(similarity.split()[1])
    assert verdict.startswith(kept.pictures.judge(value))
    assert f"{kept.pictures.probability(value):.3f}" in probability
    assert "pairs of different individuals is at least as alike" in rarity
    assert main(["compare", str(folder), *pictures, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["similarity"] == pytest.approx(value, abs=1e-4)
    assert told["verdict"] == kept.pictures.judge(told["similarity"])
    assert told["false_match_rate"] == pytest.approx(kept.pictures.false_match_rate(told["similarity"]))


def test_a_gallery_and_a_file_keep_it_too(
    herd: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = make_gallery(tmp_path / "gallery", Encoder.load(folder, device="cpu"))
    words = ["calibrate", str(folder), "--data", str(herd), *RATES, "--gallery", place]
    assert main([*words, "--out", str(tmp_path / "new" / "mine.json")]) == 0
    shown = capsys.readouterr().out
    assert "in a search among 3 of them" in shown
    assert f"stored in {tmp_path / 'new' / 'mine.json'} and {place}" in shown
    assert not (folder / "calibration.json").exists()
    kept = read(tmp_path / "new" / "mine.json")
    assert open_gallery(place).about.calibration is not None
    pictures = [str(herd.parent / name) for name in ("3/0.png", "5/1.png")]
    for named in (["--gallery", place], ["--calibration", str(tmp_path / "new" / "mine.json")]):
        assert main(["compare", str(folder), *pictures, *named, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["calibration"] == json.loads(json.dumps(kept.as_dict()))


def test_json_is_the_calibration(herd: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(folder), "--data", str(herd), *RATES, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((folder / "calibration.json").read_text())


def test_a_picture_and_itself(herd: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(folder), "--data", str(herd), "--rates", "0.05"]) == 0
    capsys.readouterr()
    assert main(["compare", str(folder), str(herd.parent / "3/0.png"), str(herd.parent / "3/0.png")]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "similarity 1.0000"
    assert shown[1].startswith("match (a match from 0.")
    assert shown[3].startswith("fewer than one in ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["calibrate", "random:64x1/8", "--size", "32", "16", "--data", "HERD"], "no encoder folder that could keep"),
        (["calibrate", "FOLDER", "--data", "HERD"], "Rate 0.01 is left out: 1,056 pairs of different individuals"),
        (["calibrate", "FOLDER", "--data", "HERD", "--rates", "0"], "rate 0: a share of false matches is above 0"),
        (["calibrate", "FOLDER", "--data", "HERD", "--rates", "2"], "rate 2: a share of false matches is above 0"),
        (["calibrate", "FOLDER", "--data", "HERD", "--rates", "one"], "--rates"),
        (["calibrate", "FOLDER", "--data", "nowhere"], "nowhere: no such file"),
        (["calibrate", "FOLDER", "--data", "HERD", "--subset", "train"], "has no train records"),
        (["calibrate", "FOLDER", "--data", "HERD", "--subset", "moon"], "invalid choice 'moon'"),
        (["calibrate", "FOLDER", "--data", "HERD", "--out", "FOLDER"], "is a folder. Name a file in it"),
        (["calibrate", "FOLDER", "--data", "HERD", "--out", "/dev/null/x"], "cannot be written"),
        (["calibrate", "FOLDER", "--data", "HERD", "--gallery", "nowhere"], "nowhere"),
        (["calibrate", "FOLDER", "--data", "HERD", "--gallery", "OTHERS"], "cannot be compared. Name the same encoder"),
        (["compare", "FOLDER", "HERD", "PICTURE"], "is not a picture"),
        (["compare", "FOLDER", "PICTURE", "nowhere.png"], "nowhere.png"),
        (["compare", "FOLDER", "PICTURE"], "PATH"),
        (["compare", "FOLDER", "PICTURE", "PICTURE", "--gallery", "OTHERS"], "cannot be compared"),
        (["compare", "FOLDER", "PICTURE", "PICTURE", "--gallery", "BARE"], "has no calibration"),
        (["compare", "FOLDER", "PICTURE", "PICTURE", "--calibration", "HERD"], "cannot be read"),
        (
            ["compare", "FOLDER", "PICTURE", "PICTURE", "--calibration", "HERD", "--gallery", "BARE"],
            "both name a calibration",
        ),
    ],
)
def test_wrong_words_are_one_line(
    words: list[str], message: str, herd: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = {"HERD": str(herd), "FOLDER": str(folder), "PICTURE": str(herd.parent / "3/0.png")}
    if "OTHERS" in words:
        other = Encoder.load("random:64x1/8", size=(32, 16), device="cpu", seed=1)
        named["OTHERS"] = make_gallery(tmp_path / "others", other)
    if "BARE" in words:
        named["BARE"] = make_gallery(tmp_path / "bare", Encoder.load(folder, device="cpu"))
    assert main([named.get(word, word) for word in words]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.startswith("resight: ")
    assert shown.err.count("\n") == 1
    assert not (folder / "calibration.json").exists()


def test_a_calibration_of_other_weights_is_refused(
    herd: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", str(folder), "--data", str(herd), *RATES]) == 0
    kept = (folder / "calibration.json").read_bytes()
    Encoder.load("random:64x1/8", size=(32, 16), device="cpu", seed=1).save(folder)
    (folder / "calibration.json").write_bytes(kept)
    capsys.readouterr()
    picture = str(herd.parent / "3/0.png")
    assert main(["compare", str(folder), picture, picture]) == 2
    assert "the calibration belongs to encoder" in capsys.readouterr().err
