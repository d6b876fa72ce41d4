"""Every motif draws something that stays itself in every designer's hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import things
from PIL import Image
from words import sentence

MOTIFS = list(dict.fromkeys(things.MOTIFS))


def drawn(motif: Any, designer: int, *, seed: int = 1) -> tuple[Image.Image, str]:
    image, said = things._drawn(motif, seed, things.DESIGNERS[designer], 2, np.random.default_rng(3))
    return image, said


def test_there_are_enough_motifs() -> None:
    assert len(MOTIFS) >= 60


@pytest.mark.parametrize("motif", MOTIFS, ids=lambda motif: motif.__name__)
def test_a_motif_stays_in_the_picture_and_is_described(motif: Any) -> None:
    words = set()
    for seed in range(12):
        image, said = drawn(motif, 1, seed=seed)
        pixels = np.asarray(image)
        assert (pixels < 250).any(axis=2).mean() > 0.01
        border = np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3)])
        assert (border < 250).any(axis=1).mean() < 0.5
        assert "  " not in said.strip()
        words.add(said)
    assert len(words) > 1


@pytest.mark.parametrize("motif", MOTIFS[::9], ids=lambda motif: motif.__name__)
def test_designers_draw_the_same_thing_differently(motif: Any) -> None:
    shown = [drawn(motif, k) for k in range(len(things.DESIGNERS))]
    assert len({said for _, said in shown}) == 1
    assert len({image.tobytes() for image, _ in shown}) == len(things.DESIGNERS)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a orange cat", "An orange cat."),
        ("the cat  is grey , and has a ear", "The cat is grey, and has an ear."),
        ("a van on the road ,", "A van on the road."),
    ],
)
def test_sentences_are_mended(raw: str, text: str) -> None:
    assert sentence(raw) == text
