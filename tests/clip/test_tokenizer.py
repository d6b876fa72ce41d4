"""CLIP's byte-pair encoding against known ids, and against a slow one written from its published description."""

from __future__ import annotations

import gzip
import html
import itertools
import random
import subprocess
import sys
import time
import unicodedata
from importlib import resources

import ftfy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resight.clip import tokenizer
from resight.clip.tokenizer import END, START, VOCABULARY, count_tokens, encode, tokenize

KNOWN = {
    "A woman is wearing a gray shirt, a pair of brown pants and a pair of shoes.": (
        "320 2308 533 3309 320 7048 2523 267 320 4038 539 2866 5003 537 320 4038 539 4079 269"
    ),
    "She's carrying 2 bags; it's 10:30 !": "1043 568 9920 273 6136 282 585 568 272 271 281 274 271 256",
    "café &amp; bar": "15304 261 2411",
    "a photo of a person or a pedestrian": "320 1125 539 320 2533 541 320 18256",
    "A photo of a X X X X person.": "320 1125 539 320 343 343 343 343 2533 269",
    "A photo of a X X X X vehicle.": "320 1125 539 320 343 343 343 343 5299 269",
    "jekyll": "49405",
    "!": "256",
    "": "",
    " \t\n ": "",
}

SPECIMENS = [
    "don't",
    "WE'VE",
    "'ſ",
    "&amp;lt;",
    "<|endoftext|>",
    "Straße",
    "ﬁne",
    "İstanbul",
    "“quoted”",
    "12a34",
    "¡¿…",
    "😀❤️",
]
ALPHABETS = [
    "abcdefghij",
    "ABC XYZ",
    "0123456789 .,;:!?-_/'\"()",
    "éüßøñçÅ",
    "привет",
    "漢字かな",
    "עברית",
    "हिन्दी",
    "😀🚗👩‍🦰\u200d",
    " \t\n\u00a0",
]


@pytest.mark.parametrize("text", KNOWN)
def test_known_ids(text: str) -> None:
    assert encode(text) == [int(number) for number in KNOWN[text].split()]


def test_equals_a_slow_encoder_on_random_text() -> None:
    slow = SlowEncoder()
    draw = random.Random(0)
    for _ in range(400):
        text = "".join(_piece(draw) for _ in range(draw.randint(1, 8)))
        assert encode(text) == slow.encode(text), repr(text)


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_encodes_without_special_tokens(text: str) -> None:
    ids = encode(text)
    assert all(0 <= number < START for number in ids)
    assert count_tokens(text) == len(ids) + 2


def test_start_ids_end_then_zeros() -> None:
    rows = tokenize(["a photo of a person", "", "jekyll"], context_length=8)
    assert rows.dtype == torch.int64
    assert rows.tolist() == [
        [START, 320, 1125, 539, 320, 2533, END, 0],
        [START, END, 0, 0, 0, 0, 0, 0],
        [START, 49405, END, 0, 0, 0, 0, 0],
    ]
    assert tokenize([]).shape == (0, 77)


@pytest.mark.parametrize(("n_words", "last"), [(74, 0), (75, END), (76, END), (300, END)])
def test_a_long_text_is_cut_and_still_ends(n_words: int, last: int) -> None:
    text = "word " * n_words
    row = tokenize([text])[0]
    assert row[-1] == last
    assert int(row.argmax()) == min(n_words + 1, 76)
    assert row[1:76].eq(encode("word")[0]).sum() == min(n_words, 75)
    assert (count_tokens(text) > 77) == (n_words > 75)


def test_special_tokens_in_user_text_are_text() -> None:
    row = tokenize(["before <|endoftext|> after <|startoftext|>"])[0]
    assert (row == END).sum() == 1
    assert (row == START).sum() == 1
    assert encode("<|endoftext|>") == encode("<|") + encode("endoftext") + encode("|>")


@pytest.mark.parametrize("context_length", [1, 0, -3])
def test_a_context_without_room_is_refused(context_length: int) -> None:
    with pytest.raises(ValueError, match=f"context_length is {context_length}; the start and the end token need 2"):
        tokenize(["a"], context_length=context_length)


def test_one_string_is_refused() -> None:
    with pytest.raises(ValueError, match="texts is a sequence of strings, not one string"):
        tokenize("a photo")


def test_the_vocabulary_is_built_when_first_needed_and_once() -> None:
    program = (
        "import resight.clip.tokenizer as t; assert t._tokenizer.cache_info().currsize == 0; "
        "t.encode('a'); t.encode('b'); assert t._tokenizer.cache_info().misses == 1; "
        "assert t._tokenizer().get_vocab_size() == t.VOCABULARY - 2"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_building_takes_less_than_half_a_second() -> None:
    times = []
    for _ in range(3):
        start = time.process_time()
        tokenizer._tokenizer.__wrapped__()
        times.append(time.process_time() - start)
    assert min(times) < 0.5


def test_the_merge_list_carries_its_licence() -> None:
    notice = resources.files("resight.clip").joinpath("bpe_simple_vocab_16e6.LICENSE.txt").read_text()
    assert "MIT License" in notice
    assert "Copyright (c) 2021 OpenAI" in notice


def _piece(draw: random.Random) -> str:
    if draw.random() < 0.3:
        return draw.choice(SPECIMENS)
    return "".join(draw.choices(draw.choice(ALPHABETS), k=draw.randint(1, 12)))


class SlowEncoder:
    """Sennrich's byte-pair encoding, merge by merge, over GPT-2's byte symbols with an end-of-word mark."""

    def __init__(self) -> None:
        packed = resources.files("resight.clip").joinpath("bpe_simple_vocab_16e6.txt.gz").read_bytes()
        lines = gzip.decompress(packed).decode().split("\n")[1:48895]
        pairs = [tuple(line.split(" ")) for line in lines]
        self.rank = {pair: rank for rank, pair in enumerate(pairs)}
        self.symbol: dict[int, str] = {}
        own = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
        for byte in own + [b for b in range(256) if b not in own]:
            self.symbol[byte] = chr(byte) if byte in own else chr(256 + len(self.symbol) - len(own))
        single = list(self.symbol.values())
        words = single + [s + "</w>" for s in single] + ["".join(pair) for pair in pairs]
        self.id = {word: number for number, word in enumerate(words)}
        assert len(self.id) == VOCABULARY - 2

    def encode(self, text: str) -> list[int]:
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
        return [number for word in " ".join(text.split()).lower().split(" ") for number in self._word(word)]

    def _word(self, text: str) -> list[int]:
        ids = []
        for part in _split(text):
            symbols = [self.symbol[byte] for byte in part.encode()]
            symbols[-1] += "</w>"
            while len(symbols) > 1:
                ranks = [self.rank.get(pair, len(self.rank)) for pair in itertools.pairwise(symbols)]
                best = min(range(len(ranks)), key=ranks.__getitem__)
                if ranks[best] == len(self.rank):
                    break
                symbols[best : best + 2] = ["".join(symbols[best : best + 2])]
            ids += [self.id[symbol] for symbol in symbols]
        return ids


def _split(word: str) -> list[str]:
    """Contractions, runs of letters, single digits, runs of the rest; `word` holds no white space."""
    parts: list[str] = []
    while word:
        contractions = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
        length = next((len(end) for end in contractions if word.replace("ſ", "s").startswith(end)), 1)
        if length == 1 and _kind(word[0]) != "N":
            while length < len(word) and _kind(word[length]) == _kind(word[0]):
                length += 1
        parts.append(word[:length])
        word = word[length:]
    return parts


def _kind(character: str) -> str:
    kind = unicodedata.category(character)[0]
    return kind if kind in "LN" else "other"
