"""Small encoders and picture folders that several tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


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
