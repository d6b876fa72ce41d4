"""Words become one vector by a stated formula; what is too long, empty or contradictory is told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from resight.clip.text import cut_to_longest
from resight.clip.tokenizer import END, count_tokens, tokenize
from resight.encoder import Encoder
from resight.errors import ConfigError
from resight.queries import shorten, text_query

RED, BLUE, BAG = "a woman in a red coat", "blue trousers", "a black bag"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load("random:64x2/8", size=(32, 16), device="cpu")


def vectors(encoder: Encoder, *texts: str) -> NDArray[np.float64]:
    """One row a text, each embedded alone."""
    return np.concatenate([encoder.embed_texts([text]).embedding for text in texts]).astype(np.float64)


def test_one_text_is_its_vector(encoder: Encoder) -> None:
    query = text_query(encoder, [RED])
    assert query.vector.dtype == np.float32
    assert query.notes == ()
    np.testing.assert_allclose(query.vector, vectors(encoder, RED)[0], atol=1e-6)


def test_several_texts_and_what_is_left_out(encoder: Encoder) -> None:
    red, blue, bag, coat = vectors(encoder, RED, BLUE, BAG, "a coat")
    mean = (red + blue) / 2
    mean /= np.sqrt((mean**2).sum())
    for weight in (0.0, 0.5, 1.7):
        expected = mean - weight * (bag + coat) / 2
        expected /= np.sqrt((expected**2).sum())
        found = text_query(encoder, [RED, BLUE], without=[BAG, "a coat"], weight=weight).vector
        np.testing.assert_allclose(found, expected, atol=2e-6)
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    plain = text_query(encoder, [RED, BLUE]).vector
    assert plain @ bag > text_query(encoder, [RED, BLUE], without=[BAG]).vector @ bag
    np.testing.assert_allclose(text_query(encoder, [BLUE, RED]).vector, plain, atol=1e-6)


def test_texts_that_cancel_out(encoder: Encoder) -> None:
    with pytest.raises(ConfigError, match=r"cancel out\. Use other words, or a smaller weight"):
        text_query(encoder, [RED], without=[RED], weight=1)
    with pytest.raises(ConfigError, match="cancel out"):
        text_query(encoder, [RED, BLUE], without=[BLUE, RED.upper()], weight=_length_of_mean(encoder, [RED, BLUE]))


def _length_of_mean(encoder: Encoder, texts: Sequence[str]) -> float:
    """The weight at which texts are no more than their mean: one over its length."""
    return 1 / float(np.linalg.norm(vectors(encoder, *texts).mean(axis=0)))


@pytest.mark.parametrize("texts", [[], [""], [RED, " \n\t"], ["\x00\x1b"]])
def test_an_empty_text_is_refused(encoder: Encoder, texts: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"The text is empty\. Write what the picture shows"):
        text_query(encoder, texts)
    if texts:
        with pytest.raises(ConfigError, match="The text is empty"):
            text_query(encoder, [BLUE], without=texts)


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_a_weight_that_is_none(encoder: Encoder, weight: float) -> None:
    with pytest.raises(ConfigError, match=r"weight .*: 0 or more"):
        text_query(encoder, [RED], without=[BAG], weight=weight)


def test_one_string_is_no_list(encoder: Encoder) -> None:
    for wrong in ({"texts": RED}, {"texts": [RED], "without": BAG}):
        with pytest.raises(ValueError, match="takes lists of texts"):
            text_query(encoder, **wrong)  # type: ignore[arg-type]


def test_an_encoder_that_cannot_read() -> None:
    blind = Encoder.load("random:64x2/8", size=(32, 16), device="cpu", with_text=False)
    with pytest.raises(ConfigError, match="has no text tower"):
        text_query(blind, [RED])


@pytest.mark.parametrize("special", ["<|endoftext|>", "<|startoftext|>", "<|ENDOFTEXT|>", "&lt;|endoftext|&gt;"])
def test_a_special_token_in_the_text_does_not_move_the_pooling(encoder: Encoder, special: str) -> None:
    """The feature is read behind the last word: it follows what stands after the special token's name."""
    text = f"a man {special} in red"
    row = tokenize([text])[0]
    assert (row == END).nonzero().flatten().tolist() == [count_tokens(text) - 1] == [int(row.argmax())]
    query = text_query(encoder, [text]).vector
    before = text_query(encoder, ["a man"]).vector
    other = text_query(encoder, [f"a man {special} in blue"]).vector
    assert query @ before < 0.999
    assert query @ other < 0.9999
    with torch.inference_mode():
        assert encoder.clip.text is not None
        feature = encoder.clip.text(cut_to_longest(tokenize([text])))[0]
    np.testing.assert_allclose(query, feature / feature.norm(), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "room", "kept"),
    [
        ("a man in red", 4, "a man in red"),
        ("a man in red shoes", 4, "a man in red"),
        ("a man in red, and in black shoes", 9, "a man in red, and in black shoes"),
        ("a man in red, and in black shoes", 8, "a man in red,"),  # half of what fits
        ("a man. He is wearing a long black coat", 8, "a man. He is wearing a long"),  # a sentence, but less than half
        ("a man in red!  He has a bag: it is green", 11, "a man in red!  He has a bag:"),
        ("  a man   in red", 3, "  a man   in"),
        ("", 4, ""),
    ],
)
def test_a_text_ends_at_a_clause_or_a_word(text: str, room: int, kept: str) -> None:
    assert shorten(text, room) == (kept, text[len(kept) :])
    assert count_tokens(kept) - 2 <= room


def test_a_text_without_spaces_ends_anywhere() -> None:
    text = "一个穿红色外套的女人" * 20
    kept, rest = shorten(text, 75)
    assert kept + rest == text
    assert 60 < count_tokens(kept) - 2 <= 75


def test_the_person_reads_what_was_left_out(encoder: Encoder) -> None:
    kept, rest = ("a man " * 35).strip() + ".", " he has a bag" * 10
    query = text_query(encoder, [RED, kept + rest], without=["a man " * 37 + "a dog \x1b[31m\n too"])
    begin = "The text is longer than the 77 tokens that the encoder reads; left out: "
    assert query.notes == (f'{begin}"{rest.strip()}"', f'{begin}"dog \\x1b[31m too"')
    np.testing.assert_allclose(text_query(encoder, [kept + rest]).vector, text_query(encoder, [kept]).vector, atol=1e-6)
    (note,) = text_query(encoder, ["a man " * 2000]).notes
    assert len(note) == len(begin) + 200 + 2
    assert note.endswith('a m…"')
