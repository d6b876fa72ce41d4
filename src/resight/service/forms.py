"""What the fields of a request say → conditions of a search, labels of a row; one line for what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resight.data.images import Box
from resight.data.records import CONTROLS
from resight.errors import ConfigError

MAX_TEXTS = 8
MAX_CHARACTERS = 1_000  # of one text
MAX_VALUES = 200  # ids, identities, cameras or fields of one form
MAX_LABEL = 200  # characters of an identity, a camera, a field's name or value; 128 of an id


@dataclass(frozen=True, slots=True)
class Words:
    """texts: what is looked for; without: what is not. Raises ConfigError for too many, too long ones, or no texts."""

    texts: Sequence[str] = ()
    without: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.without and not self.texts:
            raise ConfigError("What is left out needs words to be taken from. Leave out `without`, or send `text`.")
        for name, texts in (("text", self.texts), ("without", self.without)):
            require_few(texts, name, MAX_TEXTS)
            for text in texts:
                if len(text) > MAX_CHARACTERS:
                    raise ConfigError(f"{name}: has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read.")


def labels(texts: Sequence[str], name: str, limit: int = MAX_VALUES) -> tuple[str, ...]:
    """Each once, in their order. Raises ConfigError as `label` does, and for more than `limit`."""
    require_few(texts, name, limit)
    return tuple(dict.fromkeys(label(text, name) for text in texts))


def label(text: str, name: str) -> str:
    """The text. Raises ConfigError when it is too long for a label, or holds control characters."""
    if len(text) > MAX_LABEL:
        raise ConfigError(f"{name} {quoted(text)}: has {len(text):,} characters; at most {MAX_LABEL}.")
    if CONTROLS.search(text):
        raise ConfigError(f"{name} {quoted(text)}: holds a control character. Leave it out.")
    return text


def parse_fields(pairs: Sequence[str]) -> Mapping[str, str]:
    """Raises ConfigError for a pair that is not name=value, and for two values of one name."""
    require_few(pairs, "field", MAX_VALUES)
    fields: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"field {quoted(pair)}: write it as name=value.")
        if name in fields:
            raise ConfigError(f"field {quoted(name)}: is said twice.")
        fields[label(name, "field")] = label(value, "field")
    return fields


def parse_box(text: str | None) -> Box | None:
    """left, top, right, bottom. Raises ConfigError for anything but four numbers."""
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise ConfigError(f"box {quoted(text)}: write left,top,right,bottom in pixels of the upright picture.")
    return values[0], values[1], values[2], values[3]


def require_few(values: Sequence[object], name: str, limit: int) -> None:
    if len(values) > limit:
        raise ConfigError(f"{name}: is said {len(values):,} times; at most {limit:,}.")


def quoted(text: str) -> str:
    """The text's beginning, in one printable line."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
