"""The weights in the package: small, of the towers that are described, and of use on pictures never seen."""

from __future__ import annotations

import draw
import numpy as np
import pytest
import weights
from nuisance import Picture

from resight.clip import sources
from resight.clip.model import ClipConfig
from resight.clip.weights import load
from resight.encoder import Encoder

UNSEEN = 1000
"""A seed; the weights were trained on pictures of seed 1."""
N = 40
NAMES = pytest.mark.parametrize("name", sources.OWN)


@pytest.fixture(scope="module")
def pictures() -> list[tuple[Picture, Picture]]:
    """Two pictures each of N identities, every kind in its share."""
    found = []
    for kind, share in draw.SHARES.items():
        for number in range(1, 1 + round(share * N)):
            first, second, *_ = draw.pictures(UNSEEN, kind, number)
            found.append((first, second))
    return found


@NAMES
def test_the_towers_are_those_that_are_described(name: str) -> None:
    loaded = load(name)
    assert loaded.clip.config == ClipConfig(weights.IMAGE[sources.OWN[name]], weights.TEXT)
    assert (loaded.info.source, loaded.info.licence) == (name, "Apache-2.0")
    assert (loaded.info.mean, loaded.info.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@NAMES
def test_a_file_is_small_enough_for_the_package(name: str) -> None:
    assert sources.find(name).weights.stat().st_size <= weights.LARGEST * 2**20


@NAMES
@pytest.mark.parametrize("size", [None, (128, 64), (256, 128), (64, 64)])
def test_an_encoder_of_any_size_embeds_pictures_and_words(
    name: str, size: tuple[int, int] | None, pictures: list[tuple[Picture, Picture]]
) -> None:
    encoder = Encoder.load(name, size=size, device="cpu")
    seen, said = encoder.embed_images([pictures[0][0].image]), encoder.embed_texts([pictures[0][0].caption])
    for vectors in (seen.embedding, seen.aligned, said.aligned):
        assert vectors is not None
        assert vectors.shape == (1, weights.OUTPUT)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert encoder.card.licence == "Apache-2.0"


@NAMES
def test_words_find_pictures_of_identities_never_seen(name: str, pictures: list[tuple[Picture, Picture]]) -> None:
    encoder = Encoder.load(name, device="cpu")
    seen = encoder.embed_images([first.image for first, _ in pictures]).aligned
    said = encoder.embed_texts([first.caption for first, _ in pictures]).aligned
    assert seen is not None
    assert said is not None
    found = (said @ seen.T).argmax(axis=1) == np.arange(len(pictures))
    assert found.mean() > 0.5  # by chance 0.025


@NAMES
def test_a_picture_finds_another_of_its_identity(name: str, pictures: list[tuple[Picture, Picture]]) -> None:
    encoder = Encoder.load(name, device="cpu")
    queries, gallery = (encoder.embed_images([pair[k].image for pair in pictures]).embedding for k in (0, 1))
    found = (queries @ gallery.T).argmax(axis=1) == np.arange(len(pictures))
    assert found.mean() > 0.5  # by chance 0.025
