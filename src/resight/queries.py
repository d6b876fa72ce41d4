"""What a person types → one vector to search pictures with, and what the person should be told of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from resight.clip.tokenizer import encode
from resight.data.records import printable
from resight.embedder import Embedder
from resight.errors import ConfigError

NOTHING = 1e-3
"""Length of a vector that is nothing but rounding; sums of unit vectors are compared with it."""
N_QUOTED = 200  # characters of what was left out


@dataclass(frozen=True, slots=True)
class Query:
    """Words as a vector. vector: float32 [O], of length 1, comparable with pictures' `aligned` vectors.

    notes: what the person who asked should be told, a line each.
    """

    vector: NDArray[np.float32]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wording:
    """Texts that a tower reads whole: `n_wanted` that describe, then those taken away. weight, notes: of the query."""

    texts: tuple[str, ...]
    n_wanted: int
    weight: float
    notes: tuple[str, ...] = ()

    def query(self, vectors: NDArray[np.float32]) -> Query:
        """vectors: [N, O], of length 1, of `texts` in their order. Raises ConfigError when they cancel out."""
        exact = vectors.astype(np.float64)
        wanted = _unit(exact[: self.n_wanted].mean(axis=0))
        if self.n_wanted < len(exact):
            wanted = _unit(wanted - self.weight * exact[self.n_wanted :].mean(axis=0))
        return Query(wanted.astype(np.float32), self.notes)


def text_query(encoder: Embedder, texts: Sequence[str], *, without: Sequence[str] = (), weight: float = 0.5) -> Query:
    """The mean direction of `texts`, less `weight` times the mean of `without`.

    texts: descriptions of one and the same individual, at least one. A text that is longer than the tower reads ends
    with the last clause or word that fits, and a note quotes the rest. Raises ConfigError for an empty text, for texts
    and `without` that cancel out, a weight below 0, and an encoder without a text tower; ValueError for one string in
    place of a list.
    """
    wording = word(encoder, texts, without=without, weight=weight)
    return wording.query(encoder.embed_texts(wording.texts).embedding)


def word(encoder: Embedder, texts: Sequence[str], *, without: Sequence[str] = (), weight: float = 0.5) -> Wording:
    """What `text_query` has the tower read, for who embeds several queries at once. Raises as `text_query` does."""
    if isinstance(texts, str) or isinstance(without, str):
        raise ValueError("text_query takes lists of texts: write text_query(encoder, [text]).")
    if not 0 <= weight < np.inf:
        raise ConfigError(f"weight {weight}: 0 or more; it is what `without` counts beside the texts.")
    if not texts or not all(encode(text) for text in (*texts, *without)):
        raise ConfigError("The text is empty. Write what the picture shows, as: a woman in a red coat.")
    encoder.embed_texts([])  # refuses an encoder without a text tower
    length = encoder.context_length
    read, left_out = zip(*(shorten(text, length - 2) for text in (*texts, *without)), strict=True)
    return Wording(read, len(texts), weight, tuple(_notes(left_out, length)))


def shorten(text: str, n_tokens: int) -> tuple[str, str]:
    """The beginning of a text that takes at most n_tokens without start and end, and the rest, "" when all fits.

    It ends behind the last whole word, or behind the last clause, where that keeps at least half; a text without white
    space ends anywhere.
    """
    if len(encode(text)) <= n_tokens:
        return text, ""

    def fitting(ends: Iterable[int]) -> list[int]:
        return list(takewhile(lambda end: len(encode(text[:end])) <= n_tokens, ends))

    ends = fitting(word.end() for word in re.finditer(r"\S+", text)) or fitting(range(1, len(text)))
    clauses = [end for end in ends if text[end - 1] in ".,;:!?" and 2 * end >= ends[-1]]
    end = (clauses or ends)[-1]
    return text[:end], text[end:]


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(vector)
    if not length > NOTHING:
        raise ConfigError("What is looked for and what is left out cancel out. Use other words, or a smaller weight.")
    unit: NDArray[np.float64] = vector / length
    return unit


def _notes(left_out: Iterable[str], length: int) -> Iterable[str]:
    for rest in filter(None, left_out):
        words = printable(" ".join(rest.split()))
        quoted = words if len(words) <= N_QUOTED else words[: N_QUOTED - 1] + "…"
        yield f'The text is longer than the {length} tokens that the encoder reads; left out: "{quoted}"'
