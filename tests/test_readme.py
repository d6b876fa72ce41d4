"""The README's and the interface page's Python runs as it stands, on a small encoder in place of the published one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resight.embed import embed
from resight.encoder import Encoder
from resight.types import Embeddings, Record

ROOT = Path(__file__).parent.parent


def python_of(name: str) -> str:
    """Every block of a page, one after the other."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL))


def test_the_readme_runs(
    picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(picture("a.jpg").parent)
    picture("b.jpg")
    code = python_of("README.md")
    assert '"openai:ViT-B-16", size=(256, 128)' in code
    exec(code.replace('"openai:ViT-B-16", size=(256, 128)', '"random:64x2/8", size=(32, 16), device="cpu"'), {})
    similarities = np.array(capsys.readouterr().out.strip().strip("[]").split(), dtype=float)
    assert similarities.shape == (2,)
    assert np.abs(similarities).max() <= 1 + 1e-6


def test_the_interface_page_runs(coloured_people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = Encoder.load("random:64x2/8", size=(32, 16), device="cpu")

    def embeddings_of(records: list[Record]) -> Embeddings:
        return embed(encoder, records)

    code = "import resight\n" + python_of("docs/api.md")
    paths = sorted(str(path) for path in coloured_people.parent.glob("*/*.png"))
    exec(code, {"path": coloured_people, "embeddings_of": embeddings_of, "encoder": encoder, "paths": paths})
    shown = capsys.readouterr().out
    assert "my model" in shown
    assert len(set(shown.split()) & set(paths)) == 10
