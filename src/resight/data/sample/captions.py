"""Sentences about a picture of a made-up person, in the manner of CUHK-PEDES."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from typing import Final

import numpy as np

from resight.data.sample.people import Person

SHORTEST: Final = 8
LONGEST: Final = 35
"""Words of a caption."""

COLOUR_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "black": ("black",),
    "white": ("white",),
    "grey": ("grey", "gray"),
    "dark grey": ("dark grey", "charcoal"),
    "dark blue": ("dark blue", "navy blue", "navy"),
    "blue": ("blue",),
    "light blue": ("light blue", "pale blue"),
    "red": ("red", "bright red"),
    "dark red": ("dark red", "maroon"),
    "pink": ("pink",),
    "orange": ("orange",),
    "yellow": ("yellow",),
    "green": ("green",),
    "dark green": ("dark green",),
    "olive": ("olive", "olive green"),
    "purple": ("purple",),
    "brown": ("brown",),
    "beige": ("beige", "tan"),
    "blond": ("blond",),
    "auburn": ("auburn", "reddish brown"),
}
"""How each colour of `people` is called."""

_NOUNS: Final[Mapping[str, tuple[str, ...]]] = {
    "t-shirt": ("t-shirt", "tee shirt", "short sleeved t-shirt"),
    "top": ("tank top", "sleeveless top"),
    "shirt": ("shirt", "long sleeved shirt", "collared shirt"),
    "sweater": ("sweater", "pullover", "jumper"),
    "hoodie": ("hoodie", "hooded sweatshirt"),
    "jacket": ("jacket", "short jacket"),
    "coat": ("coat", "long coat", "overcoat"),
    "dress": ("dress", "knee length dress"),
    "trousers": ("trousers", "pants", "long pants"),
    "jeans": ("jeans", "denim jeans"),
    "leggings": ("leggings", "tight leggings"),
    "shorts": ("shorts", "knee length shorts"),
    "skirt": ("skirt", "knee length skirt"),
    "sneakers": ("sneakers", "trainers", "sports shoes"),
    "shoes": ("shoes", "flat shoes"),
    "boots": ("boots", "ankle boots"),
    "backpack": ("backpack", "rucksack"),
    "handbag": ("handbag", "purse"),
    "shoulder bag": ("shoulder bag", "crossbody bag"),
    "cap": ("cap", "baseball cap"),
    "beanie": ("beanie", "knit hat"),
    "glasses": ("sunglasses", "dark glasses"),
    "striped": ("striped",),
    "checked": ("checked", "checkered", "plaid"),
    "print": ("print", "logo", "design"),
    "walks": ("walking", "walking along", "taking a step"),
    "stands": ("standing", "standing still"),
}
_SUBJECTS: Final[Mapping[str, tuple[str, ...]]] = {
    "man": ("the man", "a man", "this man", "the male pedestrian"),
    "woman": ("the woman", "a woman", "this woman", "the lady", "a lady"),
    "person": ("the person", "a person", "this person", "the pedestrian"),
}
_PRONOUNS: Final = {"man": ("he", "his"), "woman": ("she", "her"), "person": ("they", "their")}
_SINGULAR: Final = {"have": "has", "carry": "carries", "are": "is", "wear": "wears"}
_WEAR: Final = ("wear", "are wearing", "are dressed in", "have on")
_SHARES: Final = {"lower": 0.9, "shoes": 0.55, "hair": 0.5, "bag": 0.8, "hat": 0.75, "glasses": 0.6}
"""How many captions name a part that the picture shows."""


def captions(someone: Person, seen: Set[str], *, walks: bool, n: int, rng: np.random.Generator) -> list[str]:
    """`n` different captions that name some of the parts in `seen`, as shots.seen gives them."""
    found: list[str] = []
    while len(found) < n:
        caption = _Caption(someone, seen, walks, rng).text()
        if caption not in found and SHORTEST <= len(tokens(caption)) <= LONGEST and not _repeats(caption):
            found.append(caption)
    return found


def tokens(caption: str) -> list[str]:
    """Its words in lower case, without punctuation."""
    return re.findall(r"[a-z0-9]+(?:[-'][a-z0-9]+)*", caption.lower())


def _repeats(caption: str) -> bool:
    """Whether three words in a row come twice."""
    words = tokens(caption)
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(triples)) < len(triples)


class _Caption:
    """One caption in the making: which parts it names, and with what words."""

    def __init__(self, someone: Person, seen: Set[str], walks: bool, rng: np.random.Generator) -> None:
        self.someone, self.seen, self.walks, self.rng = someone, seen, walks, rng
        self.sex = "person" if rng.random() < 0.1 else someone.sex
        self.named = {part for part, share in _SHARES.items() if part in seen and rng.random() < share}

    def text(self) -> str:
        """One sentence on the clothes, and one on what is left, if anything is."""
        worn = [self._upper(), *(self._part(part) for part in ("lower", "shoes", "hat") if self._takes(part, 0.75))]
        subject = self._subject()
        verb = self._pick(_WEAR)
        doing = f"is {self._pick(_NOUNS['walks' if self.walks else 'stands'])}"
        style = self.rng.random()
        if style < 0.6:
            first = f"{subject} {_singular(verb)} {_list(worn)}"
        elif style < 0.8:
            first = f"{subject} in {_list(worn)} {doing}"
        else:
            first = f"{subject} {doing} and {_singular(verb)} {_list(worn)}"
        if self._takes("bag", 0.4):
            first += f"{self._pick((' with', ', carrying'))} {self._part('bag')}"
        return ". ".join(_capital(sentence) for sentence in (first, self._rest(verb)) if sentence) + "."

    def _subject(self) -> str:
        subject = self._pick(_SUBJECTS[self.sex])
        return f"{subject} with {self._part('hair')}" if self._takes("hair", 0.5) else subject

    def _rest(self, verb: str) -> str:
        """What the first sentence left over, each with a verb of its own."""
        clauses = []
        for part, verbs in (("hair", ("have",)), ("bag", ("carry", "are carrying"))):
            if self._takes(part, 1.0):
                clauses.append(f"{self._pick(verbs)} {self._part(part)}")
        worn = [self._part(part) for part in ("shoes", "hat", "glasses", "lower") if self._takes(part, 1.0)]
        if worn:
            other = self._pick([word for word in ("wear", "are wearing", "have on") if word != verb])
            clauses.append(f"{other} {_list(worn)}")
        if not clauses:
            return ""
        order = self.rng.permutation(len(clauses)).tolist()
        pronoun, _ = _PRONOUNS[self.sex]
        spoken = [clauses[k] if self.sex == "person" else _singular(clauses[k]) for k in order]
        return f"{pronoun} {_list(spoken)}"

    def _takes(self, part: str, share: float) -> bool:
        """Whether the part is to be named here; if so, it will not be named again."""
        if part not in self.named or self.rng.random() >= share:
            return False
        self.named.remove(part)
        return True

    def _upper(self) -> str:
        someone, noun = self.someone, self._pick(_NOUNS[self.someone.upper])
        colour, trim = self._colour(someone.upper_colour), self._colour(someone.trim)
        if someone.pattern == "two-tone":
            phrase = _a(f"{colour} and {trim} {noun}")
        elif someone.pattern in ("striped", "checked"):
            how = self._pick(_NOUNS[someone.pattern])
            stripes = f"{colour} {noun} with {trim} {'stripes' if how == 'striped' else 'checks'}"
            phrase = _a(
                self._pick((f"{colour} and {trim} {how} {noun}", f"{how} {noun} in {colour} and {trim}", stripes))
            )
        else:
            phrase = _a(f"{colour} {noun}")
        if "print" in self.seen and self.rng.random() < 0.7:
            print_ = _a(f"{trim} {self._pick(_NOUNS['print'])}")
            phrase += f" with {print_} on {self._pick(('the front', 'the chest', 'it'))}"
        if "inner" in self.seen and self.rng.random() < 0.5:
            inner = _a(f"{self._colour(someone.inner)} {self._pick(('t-shirt', 'top', 'shirt'))}")
            phrase += f" over {inner}"
        return phrase

    def _part(self, part: str) -> str:
        someone, whose = self.someone, _PRONOUNS[self.sex][1]
        if part == "hair":
            return self._hair()
        if part == "glasses":
            return self._pick(_NOUNS["glasses"])
        name = getattr(someone, part)
        colour = self._colour(getattr(someone, "shoe_colour" if part == "shoes" else part + "_colour"))
        phrase = f"{colour} {self._pick(_NOUNS[name])}"
        if part == "shoes" or (part == "lower" and name != "skirt"):
            return f"a pair of {phrase}" if self.rng.random() < 0.25 else phrase
        where = {
            "backpack": (f" on {whose} back", f" on {whose} shoulders"),
            "handbag": (f" in {whose} {'left' if someone.bag_side > 0 else 'right'} hand", f" in {whose} hand"),
            "shoulder bag": (f" at {whose} side",),
        }
        return _a(phrase) + (self._pick(where[name]) if name in where and self.rng.random() < 0.5 else "")

    def _hair(self) -> str:
        hair, colour = self.someone.hair, self._colour(self.someone.hair_colour)
        return {
            "bald": self._pick(("a bald head", "a shaved head")),
            "short": f"short {colour} hair",
            "long": f"long {colour} hair",
            "shoulder-length": self._pick((f"shoulder length {colour} hair", f"medium length {colour} hair")),
            "ponytail": self._pick((_a(f"{colour} ponytail"), f"tied back {colour} hair")),
            "bun": self._pick((f"tied up {colour} hair", f"{colour} hair in a bun")),
        }[hair]

    def _colour(self, name: str) -> str:
        return self._pick(COLOUR_WORDS[name])

    def _pick(self, options: Sequence[str]) -> str:
        return options[int(self.rng.integers(len(options)))]


def _a(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _list(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else items[0]


def _singular(clause: str) -> str:
    """A clause that starts with a verb for "they", for "he" or "she"."""
    verb, _, rest = clause.partition(" ")
    return f"{_SINGULAR[verb]} {rest}".strip()


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
