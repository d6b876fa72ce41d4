"""Small change of English: choosing, lists, and what makes a row of phrases a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np

_T = TypeVar("_T")

SHORTEST: Final = 8
LONGEST: Final = 25
"""Words of a caption; those of people come from the sample set's code and reach 35."""

NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


def pick(rng: np.random.Generator, options: Sequence[_T]) -> _T:
    return options[int(rng.integers(len(options)))]


def listed(items: Sequence[str]) -> str:
    """One, two and three."""
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def sentence(text: str) -> str:
    """With a capital and a full stop, "an" before vowels, and one space between words."""
    words = " ".join(text.split()).replace(" ,", ",").rstrip(",")
    words = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", words)
    return f"{words[0].upper()}{words[1:]}."


def fitting(say: Callable[[], str]) -> str:
    """The first sentence of a fitting length."""
    while True:
        said = say()
        if SHORTEST <= len(said.split()) <= LONGEST:
            return said
