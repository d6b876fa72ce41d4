"""Where weights come from: names, files, and a hub that is a small server on this machine."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest

import resight
from resight.clip.sources import OWN, Found, aliases, find
from resight.errors import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Answers /OWNER/NAME/resolve/REVISION/FILE as the Hugging Face hub does."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), HubRequest)
        self.files = files
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class HubRequest(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.wfile.write(self.answer())

    def answer(self) -> bytes:
        """Send status and headers; the body is the caller's to send."""
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/([^?]+).*", self.path)
        assert match is not None
        self.server.asked.append(f"{self.command} {match[1]}/{match[2]}")
        body = self.server.files.get(f"{match[1]}/{match[2]}")
        repositories = {name.rpartition("/")[0] for name in self.server.files}
        if match[1] == "owner/broken":
            self.send_response(500)
        else:
            self.send_response(404 if body is None else 200)
        if body is None:
            self.send_header("X-Error-Code", "EntryNotFound" if match[1] in repositories else "RepoNotFound")
        else:
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        return body or b""

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


FILES = {
    "owner/open/open_clip_config.json": b"{}",
    "owner/open/open_clip_model.safetensors": b"weights",
    "owner/open/config.json": b"{}",
    "owner/open/model.safetensors": b"timm's",
    "owner/older/open_clip_config.json": b"{}",
    "owner/older/open_clip_pytorch_model.bin": b"pickled",
    "owner/transformers/config.json": b"{}",
    "owner/transformers/model.safetensors": b"transformers'",
    "owner/empty/README.md": b"#",
    "timm/vit_base_patch16_clip_224.openai/open_clip_config.json": b"{}",
    "timm/vit_base_patch16_clip_224.openai/open_clip_model.safetensors": b"OpenAI's",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running hub that the library asks in place of the real one, and an empty cache."""
    server = Hub(dict(FILES))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", functools.partial(huggingface_hub.hf_hub_download, endpoint=server.url)
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_alias_is_whole_and_unique() -> None:
    names = [alias.name for alias in aliases()]
    assert len(set(names)) == len(names)
    assert len({alias.repository for alias in aliases()}) == len(names)
    for alias in aliases():
        assert re.fullmatch(r"[a-z]+:(ViT|RN)[\w-]+", alias.name)
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", alias.repository)
        assert alias.licence
    known = {alias.name: alias for alias in aliases()}
    assert known["openai:ViT-B-16"].activation == "quick_gelu"
    assert known["laion:ViT-B-16"].activation == "gelu"
    assert "not for commercial use" in known["metaclip:ViT-B-16"].licence


@pytest.mark.parametrize("name", OWN)
def test_our_own_weights_are_in_the_package(hub: Hub, name: str) -> None:
    found = find(name)
    assert found.weights.is_file()
    assert found.settings == found.weights.with_name("open_clip_config.json")
    assert (found.licence, found.activation) == ("Apache-2.0", None)
    assert hub.asked == []


@pytest.mark.parametrize("name", OWN)
def test_our_own_weights_go_into_the_wheel(name: str) -> None:
    package = Path(resight.__file__).parent
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    patterns = pyproject["tool"]["setuptools"]["package-data"]["resight"]
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    found = find(name)
    assert {found.weights, found.settings} <= shipped


def test_an_alias_is_a_repository_with_a_known_activation_and_licence(hub: Hub) -> None:
    found = find("openai:ViT-B-16")
    assert found.weights.read_bytes() == b"OpenAI's"
    assert found.settings is not None
    assert found.settings.name == "open_clip_config.json"
    assert (found.licence, found.activation) == ("MIT", "quick_gelu")


@pytest.mark.parametrize(
    ("name", "settings", "weights"),
    [
        ("open", "open_clip_config.json", b"weights"),
        ("older", "open_clip_config.json", b"pickled"),
        ("transformers", "config.json", b"transformers'"),
    ],
)
def test_a_repository_is_read_in_either_layout(hub: Hub, name: str, settings: str, weights: bytes) -> None:
    found = find(f"hf-hub:owner/{name}")
    assert found.weights.read_bytes() == weights
    assert found.settings is not None
    assert found.settings.name == settings
    assert found.licence == f"see https://huggingface.co/owner/{name}"
    assert found.activation is None


def test_a_second_time_nothing_is_downloaded(hub: Hub) -> None:
    first = find("hf-hub:owner/older")
    hub.asked.clear()
    assert find("hf-hub:owner/older") == first
    assert not [asked for asked in hub.asked if asked.startswith("GET")]


@pytest.mark.parametrize("name", ["open", "older", "transformers"])
def test_without_network_the_cache_serves(hub: Hub, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = find(f"hf-hub:owner/{name}")
    hub.asked.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert find(f"hf-hub:owner/{name}") == first
    assert hub.asked == []


def test_without_network_and_cache_the_error_says_which_files_to_bring(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError) as caught:
        find("openai:ViT-B-16")
    url = "https://huggingface.co/timm/vit_base_patch16_clip_224.openai/resolve/main"
    assert re.fullmatch(
        r"openai:ViT-B-16: open_clip_config\.json is not in the cache and cannot be fetched \(.+\)\. Where there is a "
        rf"network, fetch {url}/open_clip_config\.json and {url}/open_clip_model\.safetensors; put both into one "
        r"folder here, and give the path of open_clip_model\.safetensors instead of openai:ViT-B-16\.",
        str(caught.value),
    )


def test_a_hub_that_cannot_be_reached(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the library's attempts
    nobody = functools.partial(huggingface_hub.hf_hub_download, endpoint="http://127.0.0.1:9", etag_timeout=2)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", nobody)
    with pytest.raises(CheckpointError, match=r"not in the cache and cannot be fetched \(.+\)") as caught:
        find("hf-hub:owner/open")
    assert "\n" not in str(caught.value)


def test_a_hub_that_answers_with_a_fault(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the library's attempts
    hub.files["owner/broken/open_clip_config.json"] = b"{}"
    with pytest.raises(CheckpointError, match=r"hf-hub:owner/broken: open_clip_config.json is not in the cache and"):
        find("hf-hub:owner/broken")


def test_a_repository_that_is_not_there(hub: Hub) -> None:
    with pytest.raises(
        CheckpointError, match=r"hf-hub:owner/nobody: the hub shows no repository owner/nobody\. Check the name"
    ):
        find("hf-hub:owner/nobody")


@pytest.mark.parametrize("name", ["owner", "owner/na me", "a/b/c", ""])
def test_a_name_that_no_repository_can_have(hub: Hub, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"^hf-hub:{name}: not of the form hf-hub:owner/name"):
        find(f"hf-hub:{name}")
    assert hub.asked == []


def test_a_repository_without_a_clip(hub: Hub) -> None:
    message = (
        "hf-hub:owner/empty: the repository holds neither OpenCLIP's files (open_clip_config.json, "
        "open_clip_model.safetensors) nor transformers' (config.json, model.safetensors), so it is not a CLIP that can "
        "be read. Choose another."
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        find("hf-hub:owner/empty")


def test_the_hubs_own_environment_variables_are_followed(hub: Hub, tmp_path: Path) -> None:
    program = "import sys; from resight.clip.sources import find; print(find(sys.argv[1]).weights)"
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    run = subprocess.run(
        [sys.executable, "-c", program, "hf-hub:owner/open"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = Path(run.stdout.strip())
    assert found.is_relative_to(tmp_path / "home")
    assert found.read_bytes() == b"weights"


# --- files ---


def test_a_file_without_settings(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    path.touch()
    (tmp_path / "open_clip_config.json").touch()
    assert find(str(path)) == Found(path, None, "unknown", None)


@pytest.mark.parametrize(
    ("weights", "settings"),
    [
        ("open_clip_model.safetensors", "open_clip_config.json"),
        ("open_clip_pytorch_model.bin", "open_clip_config.json"),
        ("model.safetensors", "config.json"),
        ("pytorch_model.bin", "config.json"),
    ],
)
def test_settings_beside_a_file_named_as_in_a_repository(weights: str, settings: str, tmp_path: Path) -> None:
    (tmp_path / weights).touch()
    assert find(str(tmp_path / weights)).settings is None
    (tmp_path / settings).write_text(json.dumps({}))
    assert find(str(tmp_path / weights)).settings == tmp_path / settings


def test_the_home_folder_may_be_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "clip.pt").touch()
    assert find("~/clip.pt").weights == tmp_path / "clip.pt"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    message = f"{tmp_path}: a folder, and no encoder's. Name the checkpoint file in it (.safetensors, .pt, .pth, .bin)."
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        find(str(tmp_path))
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "encoder.json").touch()
    message = f"{tmp_path}: the folder of a run. Name {tmp_path / 'encoder'}, what it trained."
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        find(str(tmp_path))


@pytest.mark.parametrize(
    ("typo", "name"),
    [
        *((typo, "openai:ViT-B-16") for typo in ("openai:vit-b-16", "openai:ViT-B/16", "ViT-B-16", "openai:ViTB16")),
        ("resight_mini", "resight-mini"),
        ("mini-rn", "resight-mini-rn"),
    ],
)
def test_a_mistyped_name_gets_the_closest(typo: str, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"^{typo}: neither a file nor a known name. Did you mean .*{name}"):
        find(typo)


def test_an_unknown_name_gets_the_list() -> None:
    with pytest.raises(CheckpointError) as caught:
        find("/no/such/file.pt")
    assert str(caught.value).startswith(
        "/no/such/file.pt: neither a file nor a known name. Give a checkpoint file, hf-hub:"
    )
    assert all(name in str(caught.value) for name in (*OWN, *(alias.name for alias in aliases())))
