"""Encoders on a hub, which is a small server on this machine: what is fetched, from where, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import constants, hf_hub_download

from resight.clip.pushed import find_encoder
from resight.encoder import Encoder
from resight.errors import CheckpointError, ConfigError
from resight.starting import Start, open_start

if TYPE_CHECKING:
    from ..hub_server import Hub

NOBODY = "http://127.0.0.1:9"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def there(model_hub: Hub, small_encoder: Callable[..., Path]) -> dict[str, bytes]:
    """The files of me/people, beside some that are none of ours."""
    ours = files(small_encoder())
    model_hub.add("me/people", ours | {"README.md": b"#", "model.bin": b"a pickle", "setup.py": b"import os"})
    return ours


def reach_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", NOBODY)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", NOBODY + "/{repo_id}/resolve/{revision}/{filename}")


def test_a_folder_is_itself_and_other_sources_are_none(model_hub: Hub, small_encoder: Callable[..., Path]) -> None:
    folder = small_encoder()
    assert find_encoder(folder) == find_encoder(str(folder)) == folder
    for source in ("openai:ViT-B-16", "resight-mini", "random:64x2/8", "weights.pt", str(folder / "model.safetensors")):
        assert find_encoder(source) is None
    assert model_hub.asked == []


def test_an_encoder_is_fetched_without_what_lies_beside_it(model_hub: Hub, there: dict[str, bytes]) -> None:
    folder = find_encoder("hf-hub:me/people")
    assert folder is not None
    assert files(folder) == there
    got = [asked for asked in model_hub.asked if asked.startswith("GET /me/people/resolve")]
    assert sorted(one.rpartition("/")[2] for one in got) == ["encoder.json", "model.safetensors"]


def test_a_hub_repository_opens_as_an_encoder_folder_does(there: dict[str, bytes], tmp_path: Path) -> None:
    opened = Encoder.load("hf-hub:me/people", device="cpu")
    assert opened.fingerprint() == Encoder.load(tmp_path / "encoder", device="cpu").fingerprint()
    with pytest.raises(ConfigError, match=r"^hf-hub:me/people: an encoder folder fixes size"):
        Encoder.load("hf-hub:me/people", size=(64, 64))


def test_a_training_starts_from_one(there: dict[str, bytes]) -> None:
    from resight.engine import Engine
    from resight.trainset import train_set
    from resight.types import Record, Splits

    records = tuple(Record(Path(f"{k}.png"), str(k // 2), split="train") for k in range(4))
    train = train_set(Splits("a", Path(), "any-camera", train=records))
    start = Start(size=(48, 24), normalisation="init")
    made = open_start(
        "hf-hub:me/people",
        start,
        train,
        recipe="test",
        feature="projected",
        engine=Engine(device="cpu"),
        with_text=False,
    )
    assert made.clip.config.image.image_size == (48, 24)


def test_all_files_come_from_one_commit_and_a_revision_can_be_named(
    model_hub: Hub, there: dict[str, bytes], small_encoder: Callable[..., Path]
) -> None:
    repository = model_hub.repositories["me/people"]
    first = repository.head
    second = repository.commit(files(small_encoder("newer", seed=1)))
    newest, older = find_encoder("hf-hub:me/people"), find_encoder("hf-hub:me/people", revision=first)
    assert newest is not None
    assert older is not None
    assert (newest.name, older.name) == (second, first)
    assert files(older) == there
    assert f"GET /me/people/resolve/{second}/model.safetensors" in model_hub.asked
    with pytest.raises(CheckpointError, match=r"^hf-hub:me/people: has no such revision. Name a branch, a tag"):
        find_encoder("hf-hub:me/people", revision="v9")


def test_a_download_that_breaks_off_goes_on_where_it_was(model_hub: Hub, there: dict[str, bytes]) -> None:
    model_hub.cut = 2
    folder = find_encoder("hf-hub:me/people")
    assert folder is not None
    assert files(folder) == there
    assert len([asked for asked in model_hub.asked if asked.endswith("model.safetensors")]) > 3


def test_a_download_that_always_breaks_off_leaves_no_file_of_that_name(
    model_hub: Hub, there: dict[str, bytes], tmp_path: Path
) -> None:
    model_hub.cut = 1_000
    with pytest.raises(CheckpointError, match=r"^hf-hub:me/people: the hub cannot be reached \(.+\)\. Check") as raised:
        find_encoder("hf-hub:me/people")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("hub/cache/**/model.safetensors"))
    model_hub.cut = 0
    assert find_encoder("hf-hub:me/people") is not None


def test_without_a_network_the_cache_serves(
    model_hub: Hub, there: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = find_encoder("hf-hub:me/people")
    model_hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_encoder("hf-hub:me/people") == folder
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    reach_nobody(monkeypatch)
    assert find_encoder("hf-hub:me/people") == folder
    assert model_hub.asked == []


def test_without_a_network_and_cache_one_line_comes_at_once(model_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    reach_nobody(monkeypatch)
    begun = time.perf_counter()
    with pytest.raises(CheckpointError) as raised:
        find_encoder("hf-hub:me/people")
    assert time.perf_counter() - begun < 5
    assert str(raised.value) == (
        "hf-hub:me/people: the hub cannot be reached ([Errno 111] Connection refused). Check the network, HF_ENDPOINT "
        "and proxies. The hub's cache here does not hold it either."
    )


def test_offline_by_choice(model_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"HF_HUB_OFFLINE is set. Unset it, where there is a network. The hub's"):
        find_encoder("hf-hub:me/people")


def test_a_clip_is_no_encoder_with_a_network_or_without(model_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    model_hub.add("owner/clip", {"open_clip_config.json": b"{}", "open_clip_model.safetensors": b"weights"})
    assert find_encoder("hf-hub:owner/clip") is None
    hf_hub_download("owner/clip", "open_clip_config.json")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_encoder("hf-hub:owner/clip") is None


def test_a_description_without_weights(model_hub: Hub, there: dict[str, bytes]) -> None:
    model_hub.add("me/half", {"encoder.json": there["encoder.json"], "model.bin": b"a pickle"})
    with pytest.raises(CheckpointError, match=r"^hf-hub:me/half: holds encoder.json and no model.safetensors. Whoever"):
        find_encoder("hf-hub:me/half")


@pytest.mark.parametrize("name", ["people", "a/b/c", "", "a b/c", "me/people@main"])
def test_a_name_that_no_repository_can_have(name: str, model_hub: Hub) -> None:
    with pytest.raises(CheckpointError, match="not of the form hf-hub:owner/name"):
        find_encoder(f"hf-hub:{name}")
    assert model_hub.asked == []


def test_names_that_the_hub_does_not_take(model_hub: Hub) -> None:
    with pytest.raises(CheckpointError, match=r"^hf-hub:me/a--b: is no name for a repository \(.+\)\.$"):
        find_encoder("hf-hub:me/a--b")


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("hf_wrong", "the hub does not accept the token. Log in again with `hf auth login`, or correct HF_TOKEN."),
        ("hf_\x01writes", "the hub does not accept the token. Log in again with `hf auth login`, or correct HF_TOKEN."),
        ("hf_é", "the token holds characters that no token has. Correct HF_TOKEN."),
        (
            "",
            "the hub shows no repository me/secret. Check the name; one that is private, or has terms to accept, needs "
            "`hf auth login` or HF_TOKEN.",
        ),
    ],
)
def test_tokens_are_refused_in_one_line_and_never_shown(
    token: str, message: str, model_hub: Hub, there: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    model_hub.add("me/secret", there, private=True)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(CheckpointError) as raised:
        find_encoder("hf-hub:me/secret")
    assert str(raised.value) == f"hf-hub:me/secret: {message}"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "the token may not do that. Make one that may, on the hub's page of tokens, and set HF_TOKEN."),
        (404, "the hub refused (Client error '404 Not Found' for url "),
        (503, "the hub cannot be reached (Server error '503 Service Unavailable' for url "),
    ],
)
def test_other_refusals(status: int, message: str, model_hub: Hub, there: dict[str, bytes]) -> None:
    model_hub.refuse["/api/models/"] = status
    with pytest.raises(CheckpointError) as raised:
        find_encoder("hf-hub:me/people")
    assert str(raised.value).startswith(f"hf-hub:me/people: {message}")
    assert "\n" not in str(raised.value)


def test_terms_to_accept(model_hub: Hub, there: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    model_hub.gated.add("me/people")
    with pytest.raises(CheckpointError, match=r"^hf-hub:me/people: its owner asks to accept terms first. Do so on its"):
        find_encoder("hf-hub:me/people")


def test_a_cache_that_cannot_be_written(
    model_hub: Hub, there: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CheckpointError, match=r"the hub's cache cannot be written \(.+\)\. Free the disk, or name"):
        find_encoder("hf-hub:me/people")


def test_the_hubs_own_environment_variables_are_followed(
    model_hub: Hub, there: dict[str, bytes], tmp_path: Path
) -> None:
    program = "import sys; from resight.clip.pushed import find_encoder; print(find_encoder(sys.argv[1]))"
    own = {"HF_ENDPOINT": model_hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    run = subprocess.run(
        [sys.executable, "-c", program, "hf-hub:me/people"],
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    folder = Path(run.stdout.strip())
    assert folder.is_relative_to(tmp_path / "home")
    assert files(folder) == there
