"""The tables of settings on the pages of methods, from the recipes' dataclasses: `python docs/tools/settings.py`.

A page names a table by a pair of comments, `<!-- table NAME -->` and `<!-- end -->`; what stands between them is made.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from resight.cluster import ClusterConfig
from resight.data.augment import Augment
from resight.engine import Engine
from resight.optim import Descent, TextDescent
from resight.pairs import Sampling
from resight.recipes import clip_reid, finetune, pcl, pcl_unsupervised, prompt_decoupling, text_direct
from resight.starting import Start

PAGES = Path(__file__).parents[1] / "methods"
RECIPES = {
    recipe.NAME: recipe for recipe in (finetune, clip_reid, pcl, pcl_unsupervised, text_direct, prompt_decoupling)
}
SHARED = {part.__name__: part for part in (Descent, TextDescent, Sampling, Start, Augment, Engine, ClusterConfig)}
TABLE = re.compile(r"<!-- table ([\w :-]+) -->\n(.*?)<!-- end -->", re.DOTALL)


def table(name: str) -> str:
    """The lines of a table: `settings: RECIPE`, `shared: RECIPE`, `presets: RECIPE`, or `part: DATACLASS`."""
    kind, what = name.split(": ")
    if kind == "part":
        return _settings(SHARED[what]())
    recipe = RECIPES[what]
    if kind == "settings":
        return _settings(recipe.Config())
    return _presets(recipe) if kind == "presets" else _shared(recipe.Config())


def filled(page: str) -> str:
    """The page with every table made anew."""
    return TABLE.sub(lambda found: f"<!-- table {found[1]} -->\n{table(found[1])}<!-- end -->", page)


def own_fields(config: Any) -> list[str]:
    """Settings of the dataclass itself, without those of the parts inside it."""
    return [f.name for f in dataclasses.fields(config) if not dataclasses.is_dataclass(getattr(config, f.name))]


@functools.cache
def meanings(kind: type) -> dict[str, str]:
    """The text below each field of a dataclass, as one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
    found = {}
    for field, below in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[ast.unparse(field.target)] = " ".join(str(below.value.value).split())
    return found


def _settings(config: Any) -> str:
    said = meanings(type(config))
    rows = [(_flag(name), _value(getattr(config, name)), said[name]) for name in own_fields(config)]
    return _table(("setting", "default", "what it is (and where the default comes from)"), rows)


def _shared(config: Any) -> str:
    """The settings of the parts inside, and their default in this method."""
    rows = []
    for field in dataclasses.fields(config):
        part = getattr(config, field.name)
        if not dataclasses.is_dataclass(part) or isinstance(part, Engine):
            continue
        usual = type(part)()
        for name in own_fields(part):
            value, other = getattr(part, name), getattr(usual, name)
            rows.append((_flag(name), _value(value), "" if value == other else f"elsewhere {_value(other)}"))
    return _table(("setting", "default here", ""), rows)


def _presets(recipe: Any) -> str:
    names = list(dict.fromkeys(name for preset in recipe.PRESETS.values() for name in preset))
    rows = [
        (_flag(name), *(_value(preset[name]) if name in preset else "" for preset in recipe.PRESETS.values()))
        for name in names
    ]
    return _table(("setting", *(f"`{name}`" for name in recipe.PRESETS)), rows)


def _flag(name: str) -> str:
    return f"`--{name.replace('_', '-')}`"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, float) and 0 < value < 0.01:  # as the papers write rates
        digits, power = f"{value:e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def main() -> int:
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        page.write_text(filled(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
