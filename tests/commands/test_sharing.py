"""`resight push`, `pull` and `encoders`: what they print, and what they refuse in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resight.cards import read_about
from resight.cli import main

if TYPE_CHECKING:
    from ..hub_server import Hub

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def folder(small_encoder: Callable[..., Path]) -> Path:
    return small_encoder(data="f00d", data_licences=("own",))


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("resight: ")]
    return line


def test_push_then_pull(
    model_hub: Hub, folder: Path, tmp_path: Path, write_report: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    fingerprint = read_about(folder).fingerprint
    report = write_report("report.json", fingerprint=fingerprint)
    assert main(["push", str(folder), "me/cows", "--report", str(report)]) == 0
    told = capsys.readouterr()
    repository = model_hub.repositories["me/cows"]
    assert told.out.startswith("me/cows: private, ")
    assert told.out.endswith(f" bytes, {model_hub.url}/me/cows/commit/{repository.head}\n")
    assert told.err == ""
    assert "| farm, test |" in repository.files["README.md"].decode()
    assert main(["pull", "me/cows", "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{tmp_path / 'out'} [{fingerprint}]",
        "  weights     from tiny: Apache-2.0",
        "  pictures    trained on [f00d]: own",
        "  form        ViT, 1 blocks × 64, patches of 8; 32 × 16 pixels; 32 numbers; "
        f"{(folder / 'model.safetensors').stat().st_size / 2**20:.1f} MiB; not calibrated",
        "  commercial  its licences allow it",
        f"  commit      {repository.head}, for --revision",
    ]
    assert main(["pull", "hf-hub:me/cows", "--out", str(tmp_path / "out"), "--force", "--json"]) == 0
    told_as_json = json.loads(capsys.readouterr().out)
    assert (told_as_json["fingerprint"], told_as_json["commit"]) == (fingerprint, repository.head)


def test_a_dry_run_prints_all_and_sends_nothing(
    model_hub: Hub, small_encoder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_encoder(source="/some/where/vit.pt", data="f00d", licence="unknown")
    assert main(["push", str(folder), "me/cows", "--dry-run", "--public"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("---\nlibrary_name: resight\n")
    assert f"\n{folder}/encoder.json: " in told.out
    assert told.out.rstrip().endswith("bytes would be, public")
    assert told.err.splitlines() == [
        "note: encoder.json names a file of this machine as its source, and is sent as it is: /some/where/vit.pt",
        "note: not known to allow commercial use: weights: unknown",
        "note: not known to allow commercial use: pictures: unknown",
        "note: the card has no figures. Measure with `resight evaluate --out`, and give them with --report.",
    ]
    assert main(["push", str(folder), "me/cows", "--dry-run", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["commit"], values["visibility"]) == (None, "private")
    assert values["files"] == ["encoder.json", "model.safetensors"]
    assert model_hub.asked == []


def test_the_token_is_never_printed(
    model_hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for token in ("hf_secretsecret", "hf_secret\x01secret", "hf_sécret"):
        monkeypatch.setenv("HF_TOKEN", token)
        assert main(["push", str(folder), "me/cows"]) == 2
        assert main(["pull", "me/cows", "--out", str(tmp_path / "out")]) == 2
        told = capsys.readouterr()
        assert "hf_" not in told.out + told.err


def test_wrong_words_are_refused_in_one_line(
    model_hub: Hub, folder: Path, tmp_path: Path, write_report: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = str(write_report("report.json", fingerprint="0" * 16))
    (tmp_path / "run").mkdir()
    for words, message in {
        ("push", str(tmp_path / "none"), "me/cows"): "none: is no folder. Name an encoder folder.",
        ("push", str(tmp_path / "run"), "me/cows"): "holds no encoder, for want of encoder.json",
        ("push", str(folder / "encoder.json"), "me/cows"): "encoder.json: is no folder. Name an encoder folder.",
        ("push", str(tmp_path), "me/cows"): f"the folder of a run. Name {folder}, what it trained.",
        ("push", str(folder), "cows"): "cows: not of the form hf-hub:owner/name",
        ("push", str(folder), "me/cows", "--report", stranger): "--report: measures encoder 0000000000000000",
        ("push", str(folder), "me/cows", "--report", str(tmp_path / "x.json")): "x.json: cannot be read",
        ("push", str(folder)): "Missing from resight push: STR owner/name on the hub",
        ("pull", "me/nothing", "--out", str(tmp_path / "out")): "the hub shows no repository me/nothing",
        ("pull", "me/nothing"): "--out",
        ("pull", "", "--out", str(tmp_path / "out")): "not of the form hf-hub:owner/name",
        ("pull", "me/cows", "--out", str(folder)): "holds an encoder. Name another folder",
        ("pull", "me/cows", "--out", str(tmp_path)): "holds other files",
        ("encoders", str(tmp_path / "none")): "is no folder. Name one to look for encoders in.",
        ("encoders", str(folder / "encoder.json")): "is no folder. Name one to look for encoders in.",
    }.items():
        assert main(list(words)) == 2, words
        assert message in error_of(capsys), words


def test_encoders_are_listed_where_one_stands(
    small_encoder: Callable[..., Path],
    write_report: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = small_encoder("one", data="f00d")
    write_report("one-report/report.json", fingerprint=read_about(folder).fingerprint, reranked=True)
    monkeypatch.chdir(tmp_path)
    assert main(["encoders"]) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    assert [block.split(" [")[0] for block in blocks] == ["resight-mini", "resight-mini-rn", "one"]
    assert blocks[2].splitlines()[-3:] == [
        "  commercial  not known to be allowed: pictures: unknown",
        "  figures     mAP 50.0, R1 62.5: farm, test, image → image, cross-camera",
        "  re-ranked   mAP 87.5, R1 87.5: farm, test, image → image, cross-camera, k1 20, k2 6, weight 0.3",
    ]
    assert main(["encoders", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values[2]["card"]["data_licences"] == ["unknown"]
    assert values[2]["objections_to_commercial_use"] == ["pictures: unknown"]
    assert values[2]["results"][0]["scores"]["mAP"] == 0.5


def test_an_export_beside_its_encoder_is_no_fault(
    small_encoder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_encoder("exported", data="f00d", data_licences=("own",))
    about = json.loads((folder / "encoder.json").read_text())
    form = {"runtime": "openvino", "precision": "int8", "files": {"model.safetensors": "00"}}
    (folder / "encoder.json").write_text(json.dumps(about | {"exported": form}))
    assert main(["encoders", str(tmp_path), "--commercial-ok"]) == 0
    told = capsys.readouterr()
    assert f"\n{folder} [" in told.out
    assert " MiB; exported for openvino in int8; not calibrated\n  commercial  its licences allow it\n" in told.out
    assert told.err == ""
    assert main(["push", str(folder), "me/cows", "--dry-run"]) == 2
    assert error_of(capsys) == f"resight: {folder}: was exported. Name the encoder folder it was made from."


def test_commercial_ok_keeps_what_is_known_to_be(
    small_encoder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_encoder("own", data="f00d", data_licences=("own",))
    small_encoder("silent", data="f00d")
    small_encoder("duke", data="f00d", data_licences=("withdrawn by its authors in 2019",))
    small_encoder("apple", licence="Apple AMLR (research only)")
    assert main(["encoders", str(tmp_path), "--commercial-ok", "--json"]) == 0
    told = capsys.readouterr()
    assert [Path(one["name"]).name for one in json.loads(told.out)] == ["resight-mini", "resight-mini-rn", "own"]
    assert told.err.startswith("note: 3 more are not known to allow commercial use; without --commercial-ok they are")


def test_a_broken_encoder_is_told_and_the_status_is_one(
    small_encoder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small_encoder("broken") / "encoder.json").write_text("{")
    assert main(["encoders", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert told.out.count("[") == 2
    assert told.err.startswith(f"left out: {tmp_path}/broken/encoder.json: is not a whole encoder description")
