"""Small encoders and picture folders that several tests share."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from .hub_server import Hub


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Draws a picture of one colour with noise of its own, below tmp_path: picture("a/1.png", colour=(200, 0, 0))."""

    def draw(name: str, *, colour: tuple[int, int, int] = (128, 128, 128), size: tuple[int, int] = (20, 30)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(list(name.encode())).integers(-20, 20, (size[1], size[0], 3))
        Image.fromarray(np.clip(noise + np.array(colour), 0, 255).astype(np.uint8)).save(path)
        return path

    return draw


@pytest.fixture
def coloured_people(picture: Callable[..., Path], tmp_path: Path) -> Path:
    """A table of 4 identities of one colour each, seen twice by cameras a and b; captions name the colour."""
    colours = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "grey": (120, 120, 120)}
    lines = ["path,identity,camera,split,caption"]
    for name, colour in colours.items():
        for camera, split in (("a", "query"), ("b", "gallery")):
            for k in range(2):
                path = picture(f"{name}/{camera}{k}.png", colour=colour)
                lines.append(f"{path.relative_to(tmp_path)},{name},{camera},{split},a {name} person")
    (tmp_path / "index.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "index.csv"


@pytest.fixture
def small_encoder(tmp_path: Path) -> Callable[..., Path]:
    """Saves an encoder of one block without a text tower: small_encoder("a", source="tiny")."""
    from resight.clip.image import ViTConfig
    from resight.clip.model import Clip, ClipConfig
    from resight.data.transforms import Preprocess
    from resight.encoder import Card, Encoder

    def save(name: str = "encoder", *, seed: int = 0, **card: object) -> Path:
        clip = Clip(ClipConfig(ViTConfig((32, 16), 8, 8, 64, 1, 1, 32, "quick_gelu"), None))
        clip.initialise(seed)
        about = Card(**{"source": "tiny", "licence": "Apache-2.0", **card})
        Encoder(clip, Preprocess(32, 16, (0.5,) * 3, (0.5,) * 3, "bilinear"), about).save(tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture
def model_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running hub that the library asks in place of the real one, with a token that may write and an empty cache."""
    from .hub_server import running_hub

    with running_hub(tmp_path / "hub", monkeypatch) as server:
        yield server


@pytest.fixture
def write_report(tmp_path: Path) -> Callable[..., Path]:
    """Writes a report.json with one comparison, below tmp_path: write_report("a/report.json", fingerprint=…)."""

    def write(
        name: str, *, fingerprint: str, data_name: str = "farm", subset: str = "test", reranked: bool = False
    ) -> Path:
        scores = {"mAP": 0.5, "R1": 0.625, "R5": 0.75, "R10": 1.0, "R20": 1.0, "mINP": 0.25}
        task = {
            "name": "image → image",
            "protocol": "cross-camera",
            "n_queries": 1200,
            "n_valid": 1100,
            "n_gallery": 34000,
            "scores": scores,
            "intervals": {score: [value - 0.1, min(1, value + 0.1)] for score, value in scores.items()},
            "reranked": dict.fromkeys(scores, 0.875) if reranked else None,
        }
        rules = {"rerank": {"k1": 20, "k2": 6, "weight": 0.3} if reranked else None}
        about = {"fingerprint": fingerprint, "data_name": data_name, "data": "d00d", "subset": subset}
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(about | {"encoder": "x", "rules": rules, "tasks": [task]}))
        return path

    return write


BROWSER_ARGUMENTS = [  # nothing is asked of anyone but the page that is looked at
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window. Without it the test is skipped, or fails where RESIGHT_REQUIRE_ALL is set."""
    lacks = pytest.fail if os.environ.get("RESIGHT_REQUIRE_ALL") else pytest.skip
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        lacks("playwright is missing: pip install playwright")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        lacks("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=BROWSER_ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def contrast() -> str:
    """JavaScript that defines contrast(colour, element)."""
    return (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
