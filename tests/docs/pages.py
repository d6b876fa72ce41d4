"""The pages, their blocks, and what is to be done with each command of them."""

from __future__ import annotations

import fnmatch
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .treatments import ADDED, ELSEWHERE, SWAPS, Elsewhere, Swap

ROOT = Path(__file__).parents[2]
PAGES = [str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]
LANGUAGES = ("bash", "console", "python", "json", "csv", "yaml", "text")
BLOCK = re.compile(r"^```([\w-]*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)

Kind = Literal["run", "elsewhere", "install"]


@dataclass(frozen=True)
class Block:
    """One fenced block of a page; line: where it begins."""

    page: str
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """shown: the line as the page has it. words: without its comment. kind: what is done with it."""

    shown: str
    words: list[str]
    kind: Kind
    elsewhere: Elsewhere | None = None


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [Block(page, text[: found.start()].count("\n") + 1, found[1], found[2]) for found in BLOCK.finditer(text)]


def commands(block: Block, *, strict: bool = True) -> list[Command]:
    """The commands of a block in a shell.

    Raises AssertionError for one that is neither run here nor elsewhere; not strict: leaves it out.
    """
    lines = [line.strip() for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]
    found = {line: _command(block, line) for line in lines}
    left = [line for line, command in found.items() if command is None]
    where = f"{block.page}:{block.line}"
    assert not (strict and left), f"{where}: nobody runs {left}. Name in treatments.py the test that does."
    return [command for line in lines if (command := found[line]) is not None]


def _command(block: Block, line: str) -> Command | None:
    words, plain = shlex.split(line, comments=True), bare(line)
    other = elsewhere(block.page, plain)
    if other is not None:
        return Command(plain, words, "elsewhere", other)
    if words[:2] == ["pip", "install"]:
        return Command(plain, words, "install")
    runs = words[0] in ("resight", "find") or (words[0] == "python" and words[1].startswith("examples/"))
    return Command(plain, words, "run") if runs else None


def bare(line: str) -> str:
    """The line without a comment behind it."""
    return re.sub(r"\s+#.*$", "", line.strip())


def elsewhere(page: str, line: str) -> Elsewhere | None:
    matching = [each for each in ELSEWHERE if fnmatch.fnmatch(page, each.page) and re.search(each.matches, line)]
    return matching[0] if matching else None


def swaps(page: str) -> list[Swap]:
    return [swap for swap in SWAPS if fnmatch.fnmatch(page, swap.page)]


def swapped(page: str, text: str) -> str:
    for swap in swaps(page):
        text = re.sub(swap.old, swap.new, text)
    return text


def added(words: list[str]) -> list[str]:
    """The words of a `resight` command with what makes it small behind them."""
    for name, more in ADDED.items():
        if words[: len(name.split())] == name.split():
            return [*words, *more.split()]
    return words


def resight_words(command: Command) -> list[str] | None:
    """What a command of any kind hands to `resight`, as the page shows it; None where it hands nothing."""
    words = command.words
    words = words[words.index("|") + 1 :] if "|" in words else words
    words = words[: words.index(">")] if ">" in words else words
    if words and words[0] == "$":
        words = words[1:]
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[words.index("resight") :] if "resight" in words else words[1:]
    if words[:1] == ["torchrun"]:
        return words[words.index("resight") + 1 :]
    return words[1:] if words[:1] == ["resight"] else None
