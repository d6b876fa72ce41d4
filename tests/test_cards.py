"""What is read of an encoder folder and its run, what is found below folders, and which licences allow commerce."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from resight.cards import Training, find_encoders, objections, read_about, source_of, terms
from resight.encoder import Card, Encoder
from resight.errors import CheckpointError, DataError
from resight.reported import read_results


def write_run(folder: Path, data: dict[str, object]) -> None:
    values = {"format": 1, "recipe": "finetune", "init": "tiny", "data": data, "settings": {}}
    (folder / "config.json").write_text(json.dumps(values))


def as_exported(folder: Path, **form: object) -> None:
    """The folder as an export leaves it, as far as it is read without opening the graph."""
    about = json.loads((folder / "encoder.json").read_text())
    about.pop("sha256", None)
    (folder / "model.safetensors").unlink(missing_ok=True)
    (folder / "image.onnx").write_bytes(b"abc")
    said = {"runtime": "onnx", "precision": "float16", "files": {"image.onnx": "00"}}
    (folder / "encoder.json").write_text(json.dumps(about | {"exported": said | form}))


def test_an_encoder_is_described_as_it_loads(small_encoder: Callable[..., Path]) -> None:
    folder = small_encoder(data="f00d", data_licences=("CC-BY-4.0",), notes=("One.",))
    about, encoder = read_about(folder), Encoder.load(folder, device="cpu")
    assert about.card == encoder.card == Card("tiny", "Apache-2.0", "f00d", ("One.",), ("CC-BY-4.0",))
    assert (about.fingerprint, about.dimension) == (encoder.fingerprint(), encoder.dimension)
    assert (about.size, about.can_read, about.calibrated) == ((32, 16), False, False)
    assert about.n_bytes == (folder / "model.safetensors").stat().st_size
    assert about.tower == "ViT, 1 blocks × 64, patches of 8"
    assert about.training is None
    (folder / "calibration.json").touch()
    assert read_about(folder).calibrated


def test_the_run_around_it_says_what_it_was_trained_on(small_encoder: Callable[..., Path], tmp_path: Path) -> None:
    folder = small_encoder(data="f00d")
    write_run(
        tmp_path,
        {"data": "/some/where/Market", "name": "market", "fingerprint": "f00d", "pictures": 9, "identities": 3},
    )
    assert read_about(folder).training == Training("market", 9, 3)
    write_run(tmp_path, {"data": "/some/where/Market", "fingerprint": "f00d", "pictures": 9, "identities": 3})
    assert read_about(folder).training == Training("Market", 9, 3)
    for other in ({"fingerprint": "beef", "pictures": 9, "identities": 3}, {"fingerprint": "f00d"}, {}):
        write_run(tmp_path, other)
        assert read_about(folder).training is None
    (tmp_path / "config.json").write_text("{")
    assert read_about(folder).training is None


def test_a_strangers_card_cannot_drive_a_terminal(small_encoder: Callable[..., Path]) -> None:
    about = read_about(small_encoder(source="a\x1b[2J", notes=("b\nc",), licence="\u202ed", data_licences=("e\x07",)))
    assert about.card.source == "a\\x1b[2J"
    assert about.card.notes == ("b\\nc",)
    assert (about.card.licence, about.card.data_licences) == ("\\u202ed", ("e\\x07",))


def test_a_folder_without_an_encoder(small_encoder: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no encoder, for want of encoder\.json\. Name an encoder folder"):
        read_about(tmp_path)
    folder = small_encoder()
    with pytest.raises(CheckpointError, match=r"the folder of a run\. Name .+/encoder, what it trained\.$"):
        read_about(tmp_path)
    with pytest.raises(CheckpointError, match=r"encoder\.json: is no folder\. Name an encoder folder\.$"):
        read_about(folder / "encoder.json")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"encoder: holds no encoder, for want of model\.safetensors"):
        read_about(folder)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("{", "Expecting property name"),
        ("[]", "list indices must be"),
        ('{"format": 1}', "'image_tower'"),
        ('{"format": 1, "image_tower": {"kind": "cnn"}}', "'cnn'"),
        ('{"format": 1, "image_tower": 3}', "'int' object is not iterable"),
        ("[" * 100_000, "maximum recursion depth exceeded"),
    ],
)
def test_a_damaged_description(content: str, found: str, small_encoder: Callable[..., Path]) -> None:
    path = small_encoder() / "encoder.json"
    path.write_text(content)
    with pytest.raises(CheckpointError) as raised:
        read_about(path.parent)
    assert str(raised.value).startswith(f"{path}: is not a whole encoder description ({found}")


def test_another_format(small_encoder: Callable[..., Path]) -> None:
    path = small_encoder() / "encoder.json"
    path.write_text('{"format": 2}')
    with pytest.raises(CheckpointError, match=r"encoder\.json: is of format 2, this version reads 1\. Upgrade resight"):
        read_about(path.parent)


def test_encoders_and_their_figures_are_found(
    small_encoder: Callable[..., Path], write_report: Callable[..., Path], tmp_path: Path
) -> None:
    one, two = small_encoder("runs/one/encoder"), small_encoder("runs/two/encoder", seed=2)
    small_encoder("runs/.hidden/encoder")
    write_report("runs/report.json", fingerprint=read_about(one).fingerprint)
    write_report("elsewhere/report.json", fingerprint=read_about(two).fingerprint)
    (tmp_path / "runs" / "two" / "report.json").write_text("[]")
    shelf = find_encoders([tmp_path / "runs", tmp_path / "elsewhere" / ".." / "runs" / "one"])
    assert [about.name for about in shelf.encoders] == ["resight-mini", "resight-mini-rn", str(one), str(two)]
    assert shelf.left_out == ()
    assert shelf.encoders[2].results == read_results(tmp_path / "runs")
    assert shelf.encoders[3].results == ()
    assert not any(objections(about.card) for about in shelf.encoders)


def test_an_export_is_listed_with_what_it_was_made_for(small_encoder: Callable[..., Path]) -> None:
    folder = small_encoder(data="f00d", data_licences=("CC-BY-NC-4.0",))
    before = read_about(folder)
    as_exported(folder, precision="bf16\x1b")
    about = read_about(folder)
    assert (about.runtime, about.precision, about.sha256, about.n_bytes) == ("onnx", "bf16\\x1b", "", 3)
    same = replace(before, runtime=about.runtime, precision=about.precision, sha256="", n_bytes=3)
    assert about == same
    assert objections(about.card) == ["pictures: CC-BY-NC-4.0"]
    (folder / "image.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"holds no encoder, for want of image\.onnx"):
        read_about(folder)
    as_exported(folder, files=3)
    with pytest.raises(CheckpointError, match="is not a whole encoder description"):
        read_about(folder)


def test_a_broken_one_is_left_out_with_its_reason(small_encoder: Callable[..., Path], tmp_path: Path) -> None:
    (small_encoder("a") / "encoder.json").write_text("{")
    kept = small_encoder("b")
    shelf = find_encoders([tmp_path])
    assert [about.name for about in shelf.encoders[2:]] == [str(kept)]
    (error,) = shelf.left_out
    assert "a/encoder.json: is not a whole encoder description" in str(error)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: is no folder\. Name one to look for encoders in\."):
        find_encoders([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("card", "found"),
    [
        (Card("x", "MIT"), []),
        (Card("x", "Apache 2.0", "f00d", (), ("cc-by-4.0", "own")), []),
        (Card("x", "none", "f00d", (), ("CC0-1.0",)), []),
        (Card("x"), ["weights: unknown"]),
        (Card("x", "MIT", "f00d"), ["pictures: unknown"]),
        (Card("x", "CC-BY-NC-4.0 (not for commercial use)"), ["weights: CC-BY-NC-4.0 (not for commercial use)"]),
        (
            Card("x", "see https://huggingface.co/a/b", "f00d", (), ("MIT", "withdrawn by its authors")),
            ["weights: see https://huggingface.co/a/b", "pictures: withdrawn by its authors"],
        ),
        (Card("x", "MIT or something"), ["weights: MIT or something"]),
    ],
)
def test_only_what_is_known_to_allow_commerce_does(card: Card, found: list[str]) -> None:
    assert objections(card) == found


def test_terms_and_sources() -> None:
    trained = Card("/some/where/vit.pt", "MIT", "f00d")
    assert terms(trained) == ("unknown",)
    assert terms(replace(trained, data="")) == ()
    assert terms(replace(trained, data_licences=("a", "b"))) == ("a", "b")
    assert source_of(trained) == "vit.pt"
    assert source_of(Card("random:64x2/8")) == "random:64x2/8"
    assert source_of(Card("hf-hub:a/b")) == "hf-hub:a/b"
