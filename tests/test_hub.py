"""Encoders to a hub and back: the same bytes, nothing half-made, nothing but what an encoder is made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import constants

from resight import calibration, hub
from resight.errors import CheckpointError, ConfigError, ResightError
from resight.reported import read_results

if TYPE_CHECKING:
    from .hub_server import Hub

# the hub's library sends large files by a name that its HTTP library would rather see no more
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def calibrate(folder: Path, *, of: str | None = None) -> None:
    about = json.loads((folder / "encoder.json").read_text())
    threshold = calibration.Threshold(1e-3, 0.7, 5e-4, 2e-3, 0.9, 0.85, 0.94)
    curve = calibration.Curve((threshold,), 9.0, -6.0, 40, 4000, 12, "cross-camera", ((0.1, 0.5), (0.7, 1e-3)))
    calibration.write(calibration.Calibration(of or about["fingerprint"], "d00d", curve), folder / calibration.FILE)


@pytest.fixture
def folder(small_encoder: Callable[..., Path]) -> Path:
    return small_encoder(data="f00d", data_licences=("own",))


def test_what_is_pushed_comes_back_byte_for_byte(model_hub: Hub, folder: Path, tmp_path: Path) -> None:
    calibrate(folder)
    parcel = hub.pack(folder, "me/cows")
    address = hub.push(parcel)
    repository = model_hub.repositories["me/cows"]
    assert repository.private
    assert address == f"{model_hub.url}/me/cows/commit/{repository.head}"
    assert repository.files.keys() == {".gitattributes", "README.md", *files(folder)}
    assert repository.files["README.md"].decode() == parcel.card
    about, commit = hub.pull("me/cows", tmp_path / "deep" / "out")
    assert commit == repository.head
    assert files(tmp_path / "deep" / "out") == files(folder)
    assert (about.fingerprint, about.card) == (parcel.about.fingerprint, parcel.about.card)
    assert about.calibrated
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_the_card_has_the_figures(folder: Path, write_report: Callable[..., Path]) -> None:
    fingerprint = hub.check(folder).fingerprint
    reports = [write_report(f"{name}.json", fingerprint=fingerprint, data_name=name) for name in ("farm", "barn")]
    results = [result for report in reports for result in read_results(report)]
    card = hub.pack(folder, "me/cows", results).card
    assert "| farm, test | image → image | cross-camera | 50.0<br>40–60" in card
    assert "| barn, test |" in card


def test_a_second_push_is_a_second_commit_and_takes_a_stale_calibration_away(
    model_hub: Hub, folder: Path, small_encoder: Callable[..., Path], tmp_path: Path
) -> None:
    calibrate(folder)
    hub.push(hub.pack(folder, "me/cows"))
    first = model_hub.repositories["me/cows"].head
    newer = small_encoder("newer", seed=1)
    hub.push(hub.pack(newer, "me/cows"))
    repository = model_hub.repositories["me/cows"]
    assert len(repository.commits) == 3
    assert "calibration.json" not in repository.files
    hub.pull("me/cows", tmp_path / "out")
    assert files(tmp_path / "out") == files(newer)
    hub.pull("me/cows", tmp_path / "out", revision=first, force=True)
    assert files(tmp_path / "out") == files(folder)


def test_public_only_when_asked(model_hub: Hub, folder: Path) -> None:
    parcel = hub.pack(folder, "me/cows")
    hub.push(parcel, public=True)
    assert not model_hub.repositories["me/cows"].private
    with pytest.raises(ConfigError, match=r"^hf-hub:me/cows: is public\. Change that on its page, or add --public\.$"):
        hub.push(parcel)
    model_hub.add("me/closed", {}, private=True)
    with pytest.raises(ConfigError, match=r"is private\. Change that on its page, or leave out --public\.$"):
        hub.push(hub.pack(folder, "me/closed"), public=True)


def test_a_repository_of_something_else_is_left_alone(model_hub: Hub, folder: Path) -> None:
    model_hub.add("me/work", {"README.md": b"#", "thesis.tex": b""}, private=True)
    with pytest.raises(CheckpointError, match=r"^hf-hub:me/work: holds other files \(thesis\.tex\)\. Name a"):
        hub.push(hub.pack(folder, "me/work"))
    model_hub.add("me/made", {"README.md": b"#", ".gitattributes": b"", "LICENSE": b""}, private=True)
    hub.push(hub.pack(folder, "me/made"))
    assert "encoder.json" in model_hub.repositories["me/made"].files


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("hf_reads", "the token may not do that. Make one that may, on the hub's page of tokens, and set HF_TOKEN."),
        ("hf_wrong", "the hub does not accept the token. Log in again with `hf auth login`, or correct HF_TOKEN."),
        ("", "the hub wants to know who asks. Log in with `hf auth login`, or set HF_TOKEN."),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_push_needs_a_token_that_may_write(
    token: str, message: str, exists: bool, model_hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if exists:
        model_hub.add("me/cows", {}, private=True)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(CheckpointError) as raised:
        hub.push(hub.pack(folder, "me/cows"))
    assert str(raised.value) == f"hf-hub:me/cows: {message}"
    assert not any(repository.files for repository in model_hub.repositories.values())


@pytest.mark.parametrize("place", ["/large/", "/commit/", "/objects/batch", "/preupload/", "/validate-yaml"])
def test_a_push_that_fails_on_the_way_commits_nothing(place: str, model_hub: Hub, folder: Path) -> None:
    model_hub.refuse[place] = 500
    with pytest.raises(CheckpointError, match=r"^hf-hub:me/cows: the hub cannot be reached") as raised:
        hub.push(hub.pack(folder, "me/cows"))
    assert "\n" not in str(raised.value)
    assert model_hub.repositories["me/cows"].files == {".gitattributes": b""}
    model_hub.refuse.clear()
    hub.push(hub.pack(folder, "me/cows"))
    assert "encoder.json" in model_hub.repositories["me/cows"].files


def test_a_push_without_a_network(model_hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match=r"the hub cannot be reached \(\[Errno 111\] Connection refused\)\."):
        hub.push(hub.pack(folder, "me/cows"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"HF_HUB_OFFLINE is set\. Unset it, where there is a network\.$"):
        hub.push(hub.pack(folder, "me/cows"))


# --- what is refused before anything is sent ---


def test_weights_that_are_not_those_described_are_not_pushed(folder: Path, small_encoder: Callable[..., Path]) -> None:
    (folder / "model.safetensors").write_bytes((small_encoder("b", seed=1) / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"model\.safetensors: is not the file that encoder\.json was written"):
        hub.pack(folder, "me/cows")


def test_a_changed_description_is_not_pushed(folder: Path) -> None:
    path = folder / "encoder.json"
    path.write_text(path.read_text().replace('"bilinear"', '"bicubic"'))
    with pytest.raises(CheckpointError, match=r"encoder\.json: was changed since it was written: its fingerprint is"):
        hub.pack(folder, "me/cows")


def test_a_calibration_of_another_encoder_is_not_pushed(folder: Path) -> None:
    calibrate(folder, of="0" * 16)
    with pytest.raises(
        ConfigError, match=r"calibration\.json: was learned for encoder 0{16}, and this one is \w{16}\."
    ):
        hub.pack(folder, "me/cows")
    (folder / "calibration.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"calibration\.json: The calibration is damaged"):
        hub.pack(folder, "me/cows")


def test_a_report_of_another_encoder_is_refused(folder: Path, write_report: Callable[..., Path]) -> None:
    results = read_results(write_report("report.json", fingerprint="0" * 16))
    with pytest.raises(
        ConfigError, match=r"^--report: measures encoder 0{16}, and .+ is \w{16}\. Evaluate this one\.$"
    ):
        hub.pack(folder, "me/cows", results)


@pytest.mark.parametrize("name", ["cows", "a/b/c", "a b/c", ""])
def test_a_name_that_is_none(name: str, folder: Path) -> None:
    with pytest.raises(CheckpointError, match="not of the form"):
        hub.pack(folder, name)
    with pytest.raises(CheckpointError, match="not of the form"):
        hub.pull(name, folder.parent / "out")


# --- what is refused of a repository ---


def refused(name: str, out: Path, *, force: bool = False) -> str:
    """The line with which a pull is refused; nothing may be left of it."""
    before = {path: path.read_bytes() for path in out.parent.rglob("*") if path.is_file() and "hub" not in path.parts}
    with pytest.raises(ResightError) as raised:
        hub.pull(name, out, force=force)
    after = {path: path.read_bytes() for path in out.parent.rglob("*") if path.is_file() and "hub" not in path.parts}
    assert after == before
    assert not list(out.parent.glob(f".{out.name}.*"))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_tampered_files_are_refused(model_hub: Hub, folder: Path, small_encoder: Callable[..., Path]) -> None:
    ours, other = files(folder), files(small_encoder("other", seed=1))
    out = folder.parent / "out"
    remedy = " Empty its cache with `hf cache rm model/me/cows` and try again; else whoever owns it must push it again."
    model_hub.add("me/cows", ours | {"model.safetensors": other["model.safetensors"]})
    assert refused("me/cows", out) == (
        "hf-hub:me/cows: is not as it was pushed: model.safetensors: is not the file that encoder.json was written "
        f"with.{remedy}"
    )
    changed = ours["encoder.json"].replace(b'"bilinear"', b'"bicubic"')
    model_hub.add("me/cows", ours | {"encoder.json": changed})
    assert "encoder.json: was changed since it was written" in refused("me/cows", out)
    model_hub.add("me/cows", ours | {"encoder.json": b"{}"})
    assert "encoder.json: is not a whole encoder description ('format')" in refused("me/cows", out)
    model_hub.add("me/cows", ours | {"model.safetensors": ours["model.safetensors"][:-8]})
    assert "model.safetensors: is not the file" in refused("me/cows", out)
    model_hub.add("me/cows", ours | {"calibration.json": b"[]"})
    assert "calibration.json: The calibration is damaged" in refused("me/cows", out)
    model_hub.add("me/cows", ours)
    hub.pull("me/cows", out)
    assert files(out) == ours


def test_a_pickle_with_a_matching_hash_is_no_encoder(model_hub: Hub, folder: Path, tmp_path: Path) -> None:
    """Weights are read as safetensors whatever they are: a pickle is not opened."""
    import hashlib
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(tmp_path / "exploded"),))  # type: ignore[return-value]

    content = pickle.dumps(Bomb())
    about = json.loads((folder / "encoder.json").read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
    model_hub.add("me/bomb", {"encoder.json": json.dumps(about).encode(), "model.safetensors": content})
    assert "is not a whole encoder description" in refused("me/bomb", tmp_path / "out")
    assert not (tmp_path / "exploded").exists()


def test_only_the_files_of_an_encoder_are_taken(model_hub: Hub, folder: Path, tmp_path: Path) -> None:
    extras = {"pytorch_model.bin": b"a pickle", "setup.py": b"import os", "README.md": b"#", "a/encoder.json": b"{}"}
    model_hub.add("me/cows", files(folder) | extras)
    hub.pull("me/cows", tmp_path / "out")
    assert files(tmp_path / "out") == files(folder)
    assert not [asked for asked in model_hub.asked if any(name in asked for name in extras)]


def test_a_repository_with_a_pickle_alone(model_hub: Hub, tmp_path: Path) -> None:
    model_hub.add("me/old", {"pytorch_model.bin": b"a pickle", "config.json": b"{}"})
    assert refused("me/old", tmp_path / "out") == (
        "hf-hub:me/old: holds no encoder.json, so it is no encoder that `resight push` sent. A CLIP need not be "
        "pulled: name it as hf-hub:me/old."
    )
    assert not [asked for asked in model_hub.asked if "resolve" in asked]


def test_no_repository_and_a_download_that_breaks_off(model_hub: Hub, folder: Path, tmp_path: Path) -> None:
    assert "the hub shows no repository me/nothing. Check the name" in refused("me/nothing", tmp_path / "out")
    model_hub.add("me/cows", files(folder))
    model_hub.cut = 1_000
    assert "the hub cannot be reached" in refused("me/cows", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- where an encoder may be written ---


def test_an_encoder_is_replaced_only_by_force(
    model_hub: Hub, folder: Path, small_encoder: Callable[..., Path], tmp_path: Path
) -> None:
    model_hub.add("me/cows", files(folder))
    old = small_encoder("old", seed=1)
    assert refused("me/cows", old) == (
        f"{old}: holds an encoder. Name another folder with --out, or replace it with --force."
    )
    assert model_hub.asked == []
    model_hub.add("me/broken", files(folder) | {"model.safetensors": b"?"})
    assert "is not the file" in refused("me/broken", old, force=True)
    hub.pull("me/cows", old, force=True)
    assert files(old) == files(folder)


def test_other_places_are_refused_by_force_too(model_hub: Hub, folder: Path, tmp_path: Path) -> None:
    model_hub.add("me/cows", files(folder))
    (tmp_path / "file").touch()
    assert "file: is a file. Name a folder with --out." in refused("me/cows", tmp_path / "file", force=True)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").touch()
    assert "work: holds other files. Name an empty or" in refused("me/cows", tmp_path / "work", force=True)
    assert "cannot be written" in refused("me/cows", tmp_path / "file" / "out")
    (tmp_path / "empty").mkdir()
    hub.pull("me/cows", tmp_path / "empty")
    assert files(tmp_path / "empty") == files(folder)
