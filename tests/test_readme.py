"""The README's and the interface page's Python runs as it stands, on a small encoder in place of the published one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resight.clip.tokenizer import count_tokens
from resight.data.check_captions import check_captions
from resight.data.index import read
from resight.embed import embed
from resight.encoder import Encoder
from resight.types import Embeddings, Record

ROOT = Path(__file__).parent.parent


def blocks_of(name: str, language: str) -> str:
    """Every block of a page in one language, one after the other."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL))


def python_of(name: str) -> str:
    return blocks_of(name, "python")


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


def test_the_page_on_words_runs(
    coloured_people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Encoder.load("random:64x2/8", size=(32, 16), device="cpu").save("runs/words/encoder")
    paths = sorted(str(path) for path in coloured_people.parent.glob("*/*.png"))
    exec(python_of("docs/text.md"), {"paths": paths})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert {line.split()[1] for line in lines} <= set(paths)
    scores = [float(line.split()[0]) for line in lines]
    assert scores == sorted(scores, reverse=True)


def test_the_table_of_the_page_on_words_is_read(tmp_path: Path) -> None:
    table = tmp_path / "crops.csv"
    table.write_text(blocks_of("docs/text.md", "csv"))
    splits = read(table)
    assert [len(record.captions) for record in splits.train] == [2, 2]
    assert [len(record.captions) for record in splits.query] == [1, 1]
    assert splits.train[1].captions[1] == "She walks to the left."
    assert list(check_captions(splits, count_tokens=lambda text: count_tokens(text) - 2)) == []
