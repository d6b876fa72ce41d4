"""The commands as a user types them: what they print, what they leave, and their exit status."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resight import __version__
from resight.cli import COMMANDS, main
from resight.encoder import Encoder
from resight.gallery.store import open_gallery

TINY = ("random:64x2/8", "--size", "32", "16", "--device", "cpu")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {' '.join(command.words)} " in shown for command in COMMANDS)
    assert main([]) == 0
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.endswith(f"resight {__version__}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evalute"], "resight evalute: there is no such command. Did you mean `resight evaluate`?"),
        (["zzz"], "`resight --help` lists the commands"),
        (["data"], "say which of: data make-sample, data check"),
        (["data", "chek"], "say which of: data make-sample"),
        (["embed", *TINY, "--data", "nowhere", "--out", "x.npz"], "nowhere: no such file or folder"),
        (["evaluate", "random:64by2", "--data", "DATA"], "random:64by2"),
        (["evaluate", *TINY, "--data", ".", "--column", "camera"], "write it as OUR_NAME=COLUMN"),
        (["embed", *TINY, "--data", ".", "--out", "x.npz", "--batch-size", "0"], "--batch-size 0: at least 1"),
        (["embed", *TINY, "--data", ".", "--out", "x.npz", "--workers", "-1"], "--workers -1: at least 1"),
        (["embed", "--nonsense"], "`resight embed --help` explains"),
        (["evaluate", *TINY], "--data"),
        (["evaluate", *TINY, "--data", ".", "--protocol", "moon"], "invalid choice 'moon'"),
        (["evaluate", *TINY, "--data", "DATA", "--k1", "30"], "Add --rerank"),
        (["evaluate", *TINY, "--data", "DATA", "--rerank", "--k1", "-7"], "k1 -7"),
        (["evaluate", *TINY, "--data", "DATA", "--seed", "-1"], "seed -1"),
        (["evaluate", *TINY, "--data", "DATA", "--device", "meta"], "--device meta: not usable here"),
        (["evaluate", *TINY, "--data", "DATA", "--protocol", "text", "--rerank"], "Leave out --rerank"),
        (["evaluate", *TINY, "--data", "DATA", "--out", "/dev/null/x"], "/dev/null/x: cannot be written"),
        (["evaluate", *TINY, "--data", "two\nlines"], "two\\nlines: no such file"),
    ],
)
def test_what_cannot_run_is_one_line_and_status_2(
    words: list[str], message: str, coloured_people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(coloured_people) if word == "DATA" else word for word in words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("resight: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_what_the_parser_says_comes_without_its_frame(capsys: pytest.CaptureFixture[str]) -> None:
    named = ["--data", "x", "--init", "x", "--out", "x"]
    assert main(["train", "finetune", *named, "--size", "64"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("resight: Error parsing --size: no type matching")
    assert said.endswith("expected argument count 2 of `INT INT`. `resight train finetune --help` explains.\n")
    assert main(["train", "finetune", "--size", "64", "32"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("resight: Missing from resight train finetune: --init STR")
    assert "---" not in said


def test_a_process_of_a_group_says_which_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, begins in (("0", "resight: "), ("1", "process 1: ")):
        monkeypatch.setenv("RANK", number)
        assert main(["evalute"]) == 2
        assert capsys.readouterr().err.startswith(f"{begins}resight evalute: there is no such command.")


def test_a_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "--help"]) == 0
    assert "resight data split: " in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_output_that_cannot_show_a_character_goes_on(coloured_people: Path, encoding: str) -> None:
    table = coloured_people.read_text().replace("red,", "röd→,")
    coloured_people.with_name("named.csv").write_text(table)
    words = [sys.executable, "-m", "resight", "evaluate", *TINY, "--data", str(coloured_people.with_name("named.csv"))]
    done = subprocess.run(
        words, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert b"\\u2192" in done.stdout


def test_output_that_breaks_is_one_line_or_silence() -> None:
    program = f"{sys.executable} -m resight data list"
    piped = subprocess.run(f"{program} | true", shell=True, capture_output=True, text=True, check=False)
    assert piped.stderr == ""
    full = subprocess.run(f"{program} > /dev/full", shell=True, capture_output=True, text=True, check=False)
    assert full.returncode == 2
    assert full.stderr.startswith("resight: cannot go on (")
    assert full.stderr.count("\n") == 1


def test_captions_that_are_not_there_are_told(coloured_people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "embed",
        *TINY,
        "--data",
        str(coloured_people.parent / "red"),
        "--out",
        str(coloured_people.parent / "v.npz"),
    ]
    assert main([*words, "--texts"]) == 2
    assert "has no captions to embed" in capsys.readouterr().err


def test_embed_writes_what_python_reads(
    coloured_people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "vectors.npz"
    assert main(["embed", *TINY, "--data", str(coloured_people), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 16 rows of 64 numbers, 0 pictures left out\n"
    with np.load(out) as stored:
        assert stored["embedding"].shape == (16, 64)
        assert set(stored["identities"]) == {"red", "green", "blue", "grey"}
    assert main(["embed", *TINY, "--data", str(coloured_people), "--out", str(out), "--texts", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["embedding"] == [16, 64]
    with np.load(out) as stored:
        assert "a red person" in stored["captions"]


def test_embed_goes_on_past_a_broken_picture_and_tells(
    coloured_people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = next(coloured_people.parent.glob("red/*.png"))
    broken.write_text("no picture")
    words = ["embed", *TINY, "--data", str(coloured_people), "--out", str(tmp_path / "vectors.npz")]
    assert main(words) == 1
    captured = capsys.readouterr()
    assert f"left out: {broken}" in captured.err
    assert "15 rows of 64 numbers, 1 pictures left out" in captured.out
    assert main(["evaluate", *TINY, "--data", str(coloured_people)]) == 2
    assert str(broken) in capsys.readouterr().err


def test_evaluate_shows_and_saves_the_same_figures(
    coloured_people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIGHT_CACHE", str(tmp_path / "cache"))
    words = ["evaluate", *TINY, "--data", str(coloured_people), "--rerank", "--k1", "3", "--k2", "2", "--camera-pairs"]
    assert main([*words, "--out", str(tmp_path / "run"), "--json", "--cache"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert [task["name"] for task in report["tasks"]] == ["image → image", "text → image", "image → text"]
    assert report["rules"]["rerank"] == {"k1": 3, "k2": 2, "weight": 0.3}
    assert any((tmp_path / "cache").iterdir())
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert f"{100 * report['tasks'][0]['scores']['mAP']:.1f}" in shown
    assert "with re-ranking (k1 3, k2 2, weight 0.3)" in shown
    assert "by query camera and gallery camera" in shown


def test_evaluate_draws_what_captions_find(coloured_people: Path, tmp_path: Path) -> None:
    words = ["evaluate", *TINY, "--data", str(coloured_people), "--out"]
    assert main([*words, str(tmp_path / "words"), "--protocol", "text"]) == 0
    with Image.open(tmp_path / "words" / "answers.jpg") as image:
        assert image.height > 4 * 200  # a row for each identity
    coloured_people.write_text(re.sub(",[^,]*$", "", coloured_people.read_text(), flags=re.MULTILINE))
    assert main([*words, str(tmp_path / "pictures")]) == 0
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["report.json"]


def test_evaluate_without_a_match_names_the_way_out(coloured_people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one_camera = coloured_people.with_name("one.csv")
    lines = coloured_people.read_text().splitlines()
    one_camera.write_text("\n".join(line.replace(",b,gallery", ",a,gallery") for line in lines) + "\n")
    assert main(["evaluate", *TINY, "--data", str(one_camera)]) == 2
    assert "--protocol any-camera" in capsys.readouterr().err
    assert main(["evaluate", *TINY, "--data", str(one_camera), "--protocol", "any-camera"]) == 0


def test_a_column_can_be_named(coloured_people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    renamed = coloured_people.with_name("renamed.csv")
    renamed.write_text(coloured_people.read_text().replace("camera", "session_date", 1))
    words = ["evaluate", *TINY, "--data", str(renamed), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["tasks"][0]["protocol"] == "any-camera"
    assert main([*words, "--column", "camera=session_date"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"][0]["protocol"] == "cross-camera"


def test_check_tells_faults_by_its_status(coloured_people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "--data", str(coloured_people)]) == 0
    assert "no faults" in capsys.readouterr().out
    broken = next(coloured_people.parent.glob("red/*.png"))
    broken.write_text("no picture")
    assert main(["data", "check", "--data", str(coloured_people)]) == 1
    shown = capsys.readouterr().out
    assert broken.name in shown
    assert "1 kinds of faults" in shown
    assert main(["data", "check", "--data", str(coloured_people), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [finding["severity"] for finding in told["findings"]].count("fault") == 1
    assert told["counts"]["query"]["pictures"] == 8


def test_split_writes_a_table_that_every_command_reads(
    coloured_people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cut.csv"
    words = ["data", "split", "--data", str(coloured_people), "--out", str(out), "--test", "0.5", "--json"]
    assert main(words) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["train"]["identities"] == 2
    assert counts["query"]["identities"] == counts["gallery"]["identities"] == 2
    assert main(["evaluate", *TINY, "--data", str(out)]) == 0


def test_list_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    for title in ("Market-1501", "DukeMTMC-reID", "Occluded-Duke", "MSMT17", "VeRi-776", "VehicleID", "CUHK-PEDES"):
        assert title in shown
    assert main(["data", "list", "--json"]) == 0
    names = [benchmark["name"] for benchmark in json.loads(capsys.readouterr().out)]
    assert {"market1501", "icfg-pedes", "rstpreid"} <= set(names)


def test_the_sample_set_is_made_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "people"
    assert main(["data", "make-sample", str(out), "--identities", "8", "--seed", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    assert main(["data", "check", "--data", str(out)]) == 0
    assert main(["data", "make-sample", str(out), "--identities", "8"]) == 2
    assert str(out) in capsys.readouterr().err


TOUR = ("--identities", "12", "--epochs", "2", "--init", "random:64x2/16", "--device", "cpu")


def test_demo_trains_and_runs_to_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tour"
    assert main(["demo", "--out", str(out), *TOUR]) == 0
    told = capsys.readouterr().out
    assert "image → image" in told
    assert str(out / "report.html") in told
    assert f"serve {out / 'gallery'}" in told
    kept = open_gallery(str(out / "gallery"))
    assert f"a gallery of {kept.count()} pictures" in told
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert [task["name"] for task in report["tasks"]] == ["image → image", "text → image", "image → text"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "fine-tuned by CLIP-ReID for 2 epochs" in page
    assert f"resight demo --out {out} --init random:64x2/16 --identities 12 --epochs 2 --seed 0" in page
    stages = [json.loads(line)["stage"] for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
    assert set(stages) == {"words", "train"}
    before = Encoder.load(out / "run" / "encoder").fingerprint()
    assert main(["demo", "--out", str(out), *TOUR]) == 0  # again: nothing is lost, and nothing trained twice
    assert Encoder.load(out / "run" / "encoder").fingerprint() == before == kept.about.encoder
    assert f"a gallery of {kept.count()} pictures" in capsys.readouterr().out


def test_an_interrupted_demo_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "tour"

    def interrupt(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("resight.recipes.clip_reid._fine_tune", interrupt)
        assert main(["demo", "--out", str(out), *TOUR]) == 130
    assert (out / "run" / "stage1" / "prompts.json").is_file()
    assert main(["demo", "--out", str(out), *TOUR]) == 0
    assert (out / "report.html").is_file()


def test_demo_refuses_what_it_cannot_do_before_it_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tour"
    assert main(["demo", "--out", str(out), "--init", "random:nonsense"]) == 2
    assert not out.exists()
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    assert main(["demo", "--out", str(out), *TOUR]) == 2
    assert "is not empty" in capsys.readouterr().err
    (out / "thesis.txt").unlink()
    (out / "demo.json").write_text("{}")
    assert main(["demo", "--out", str(out), *TOUR]) == 2
    assert "a tour with other arguments" in capsys.readouterr().err
    for few, message in (("--identities", "--identities 0: at least 4."), ("--epochs", "--epochs 0: at least 1.")):
        assert main(["demo", "--out", str(tmp_path / "few"), *TOUR, few, "0"]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "few").exists()


def test_doctor_describes_the_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "libraries: torch " in capsys.readouterr().out
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["resight"] == __version__
    assert told["picture_cache"]
