"""CLIP's byte-pair encoding: captions → token ids. Radford et al. 2021, arXiv 2103.00020, section 2.4."""

from __future__ import annotations

import functools
import gzip
import html
from collections.abc import Sequence
from importlib import resources
from itertools import islice
from typing import TYPE_CHECKING

import ftfy
import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as Steps

if TYPE_CHECKING:
    from torch import Tensor

START, END, VOCABULARY = 49406, 49407, 49408
CONTEXT_LENGTH = 77
PLACEHOLDER = 343
"""The id of a word X, which learned vectors stand in for."""

_MERGES = VOCABULARY - 2 - 2 * 256  # what two specials and two symbols a byte leave; the file lists five times as many
_END_OF_WORD = "</w>"
# contractions | letters | one digit | a run of anything else; the second s is U+017F, whose capital is S
_WORD = r"(?i:'[sſtmd]|'re|'ve|'ll)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


def tokenize(texts: Sequence[str], *, context_length: int = CONTEXT_LENGTH) -> Tensor:
    """`token_ids` as a tensor."""
    import torch  # not before: an exported encoder reads without it

    return torch.from_numpy(token_ids(texts, context_length=context_length))


def token_ids(texts: Sequence[str], *, context_length: int = CONTEXT_LENGTH) -> NDArray[np.int64]:
    """Start token, ids, end token, zeros: int64 [B, context_length].

    A longer text is cut, and its last id is END: `count_tokens` tells which texts were. A text tower reads its
    feature where END stands, so user text cannot produce START or END: "<|endoftext|>" is encoded as written.
    Zero is also the id of "!" inside a run, so padding is what follows END, not what is zero.
    """
    if isinstance(texts, str):
        raise ValueError("texts is a sequence of strings, not one string")
    if context_length < 2:
        raise ValueError(f"context_length is {context_length}; the start and the end token need 2")
    rows = np.zeros((len(texts), context_length), np.int64)
    for row, text in zip(rows, texts, strict=True):
        ids = [START, *encode(text)[: context_length - 2], END]
        row[: len(ids)] = ids
    return rows


def count_tokens(text: str) -> int:
    """Places that a text takes, start and end included; above the context length `tokenize` cuts it."""
    return len(encode(text)) + 2


def encode(text: str) -> list[int]:
    """Ids of a text, each 0 to START - 1, without start and end; empty for a text of white space only."""
    ids: list[int] = _tokenizer().encode(_normalise(text)).ids
    return ids


def _normalise(text: str) -> str:
    repaired = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(repaired.split()).lower()


@functools.cache
def _tokenizer() -> Tokenizer:
    listed = resources.files("resight.clip").joinpath("bpe_simple_vocab_16e6.txt.gz")
    with listed.open("rb") as packed, gzip.open(packed, "rt", encoding="utf-8") as lines:
        merges = [(left, right) for left, right in map(str.split, islice(lines, 1, _MERGES + 1))]
    symbols = _byte_symbols()
    words = [*symbols, *(symbol + _END_OF_WORD for symbol in symbols), *(left + right for left, right in merges)]
    vocabulary = {word: row for row, word in enumerate(words)}
    tokenizer = Tokenizer(BPE(vocabulary, merges, end_of_word_suffix=_END_OF_WORD))
    split = Split(Regex(_WORD), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = Steps([split, ByteLevel(add_prefix_space=False, use_regex=False)])
    return tokenizer


def _byte_symbols() -> list[str]:
    """One printable character for each byte, in the order of CLIP's ids: printable Latin-1 first, then the rest."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + k) for k in range(256 - len(printable))]
