"""Learned words: the sentence, the whole tower's features, the file and its misfits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from resight.clip import weights
from resight.clip.model import Clip
from resight.clip.tokenizer import tokenize
from resight.encoder import fingerprint_of
from resight.engine import Machine
from resight.errors import CheckpointError, ConfigError
from resight.learned_words import LearnedWords
from resight.processes import Processes

MACHINE = Machine(torch.device("cpu"), "float32", Processes())
NAMES = ("ann", "bob", "cid")


def clip(seed: int = 0, source: str = "random:64x2/16") -> Clip:
    return weights.load(source, image_size=(64, 32), seed=seed).clip


@pytest.fixture(scope="module")
def tower() -> Clip:
    return clip()


def fresh(tower: Clip, **changes: Any) -> LearnedWords:
    return LearnedWords.fresh(tower, **{"identities": NAMES, "noun": "cow", "n_words": 4, "seed": 3} | changes)


@torch.no_grad()
def test_features_are_those_of_the_whole_tower(tower: Clip) -> None:
    """All 77 positions, with each identity's vectors in the places of X, against the cut sentence."""
    words = fresh(tower)
    assert tower.text is not None
    assert words.template == "A photo of a X X X X cow."
    ids = tokenize([words.template])
    places = (ids[0] == 343).nonzero().flatten()
    embedded = tower.text.embed(ids).repeat(3, 1, 1)
    embedded[:, places] = words.prompts.vectors
    whole = tower.text.encode(embedded, ids.argmax(1).repeat(3))
    torch.testing.assert_close(words.features(tower, MACHINE), whole, rtol=1e-5, atol=1e-6)


def test_the_persons_sentence_has_the_published_tokens(tower: Clip) -> None:
    for noun, token in (("person", 2533), (" vehicle ", 5299)):
        expected = [49406, 320, 1125, 539, 320, 343, 343, 343, 343, token, 269, 49407]
        assert fresh(tower, noun=noun).prompts.template.tolist() == expected


def test_words_start_from_the_published_spread(tower: Clip) -> None:
    vectors = fresh(tower, identities=[str(n) for n in range(300)]).prompts.vectors
    assert vectors.shape == (300, 4, 64)
    assert vectors.std().item() == pytest.approx(0.02, rel=0.02)
    assert torch.equal(vectors, fresh(tower, identities=[str(n) for n in range(300)]).prompts.vectors)


def test_a_file_brings_the_words_back_by_identity(tower: Clip, tmp_path: Path) -> None:
    """In another order, and fewer of them; vectors to the bit."""
    words = fresh(tower)
    words.save(tmp_path / "stage1", tower)
    assert sorted(path.name for path in (tmp_path / "stage1").iterdir()) == ["prompts.json", "prompts.safetensors"]
    back = LearnedWords.load(tmp_path / "stage1", tower, ["cid", "ann"])
    assert torch.equal(back.prompts.vectors, words.prompts.vectors[[2, 0]])
    assert (back.identities, back.template) == (("cid", "ann"), words.template)
    about = json.loads((tmp_path / "stage1" / "prompts.json").read_text())
    assert about["identities"] == list(NAMES)
    assert about["clip"] == fingerprint_of(tower.text)
    words.save(tmp_path / "stage1", tower)  # again, as a run that goes on may


def test_the_image_tower_may_have_another_size(tower: Clip, tmp_path: Path) -> None:
    fresh(tower).save(tmp_path / "stage1", tower)
    other = weights.load("random:64x2/16", image_size=(32, 32), stride=8).clip
    LearnedWords.load(tmp_path / "stage1", other, NAMES)


def test_a_misfit_is_one_line(tower: Clip, tmp_path: Path) -> None:
    folder = tmp_path / "stage1"
    fresh(tower).save(folder, tower)
    for other in (clip(seed=1), clip(source="random:128x2/16")):
        with pytest.raises(ConfigError, match=r"learned with another text tower.*Start from the CLIP that they were"):
            LearnedWords.load(folder, other, NAMES)
    with pytest.raises(ConfigError, match=r"has no words for 2 of the identities \(dan, eva …\)"):
        LearnedWords.load(folder, tower, ["ann", "dan", "eva"])


@pytest.mark.parametrize("name", ["prompts.json", "prompts.safetensors"])
@pytest.mark.parametrize("damage", ["gone", "short", "garbage"])
def test_damage_is_one_line(tower: Clip, tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "stage1"
    fresh(tower).save(folder, tower)
    path = folder / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "short" else b"garbage")
    with pytest.raises(CheckpointError, match=r"holds no learned words \([^\n]*\)\. Name the stage1 folder of a run"):
        LearnedWords.load(folder, tower, NAMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2, this version reads 1"),
        ({"identities": ["ann"]}, r"vectors \[3, 4, 64\] in place of \[1, 4, 64\]"),
        ({"template": "A photo of a X X cow."}, r"vectors \[3, 4, 64\] in place of \[3, 2, 64\]"),
        ({"template": "A photo of a cow."}, "no placeholder"),
        ({"identities": 3}, "not iterable"),
    ],
)
def test_a_description_that_does_not_fit_its_vectors_is_damage(
    tower: Clip, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "stage1"
    fresh(tower).save(folder, tower)
    about = json.loads((folder / "prompts.json").read_text())
    (folder / "prompts.json").write_text(json.dumps(about | change))
    with pytest.raises(CheckpointError, match=message):
        LearnedWords.load(folder, tower, NAMES)


def test_vectors_of_another_width_are_damage(tower: Clip, tmp_path: Path) -> None:
    folder = tmp_path / "stage1"
    fresh(tower).save(folder, tower)
    safetensors.torch.save_file({"vectors": torch.zeros(3, 4, 32)}, folder / "prompts.safetensors")
    with pytest.raises(CheckpointError, match=r"vectors \[3, 4, 32\] in place of \[3, 4, 64\]"):
        LearnedWords.load(folder, tower, NAMES)


def test_a_sentence_that_cannot_be_is_refused(tower: Clip) -> None:
    for noun in ("X", "X-ray", "small x"):
        with pytest.raises(ConfigError, match="holds the word X"):
            fresh(tower, noun=noun)
    fresh(tower, noun="fox")
    with pytest.raises(ConfigError, match="takes 78 tokens, this CLIP reads 77"):
        fresh(tower, n_words=70)
    fresh(tower, n_words=69)


def test_a_folder_that_cannot_be_written_is_one_line(tower: Clip, tmp_path: Path) -> None:
    (tmp_path / "stage1").write_text("a file")
    with pytest.raises(CheckpointError, match="the words cannot be written"):
        fresh(tower).save(tmp_path / "stage1", tower)
