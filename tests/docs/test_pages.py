"""The pages hold together: links, navigation, tables of settings, figures, and a treatment for every command."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from resight import cli

from .pages import LANGUAGES, PAGES, ROOT, Command, added, bare, blocks, commands, elsewhere, resight_words
from .treatments import ADDED, ELSEWHERE, MAY_FIND_FAULTS, PREPARED, SWAPS

SHELL = [block for page in PAGES for block in blocks(page) if block.language in ("bash", "console")]
COMMANDS = [(block.page, command) for block in SHELL for command in commands(block, strict=False)]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "methods").glob("*.md")), ids=lambda page: page.stem)
def test_tables_of_settings_are_those_of_the_dataclasses(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert tool("settings").filled(text) == text, "run: python docs/tools/settings.py"


def test_every_method_has_a_page_with_its_settings_and_presets() -> None:
    for name in tool("settings").RECIPES:
        text = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")
        for kind in ("settings", "shared", "presets"):
            assert f"<!-- table {kind}: {name} -->\n|" in text
        for title in ("What it learns", "When, and when not", "Measured", "Settings", "Presets"):
            assert f"\n## {title}\n" in text


def test_figures_on_the_pages_of_methods_stand_in_the_results() -> None:
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    known = set(re.findall(r"\d+\.\d+", results))
    for page in sorted((ROOT / "docs" / "methods").glob("*.md")):
        measured = page.read_text(encoding="utf-8").partition("\n## Measured\n")[2].partition("\n## ")[0]
        assert [figure for figure in re.findall(r"\d+\.\d(?:\d+)? ± \d+\.\d+", measured) if figure not in results] == []
        assert set(re.findall(r"(?<![\d.])\d+\.\d(?![\d.])", re.sub(r"arXiv \S+", "", measured))) <= known


def test_relative_links_lead_to_files() -> None:
    for name in [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md"]:
        page = ROOT / name
        text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", text):
            built = name == "docs/index.md" or (ROOT / "docs" / link).name in ("contributing.md", "changelog.md")
            assert (page.parent / link).exists() or built, f"{name}: {link}"


def test_the_navigation_has_every_page() -> None:
    class Loader(yaml.SafeLoader):
        pass

    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)

    def pages(item: Any) -> list[str]:
        if isinstance(item, str):
            return [item]
        return [page for inner in (item.values() if isinstance(item, dict) else item) for page in pages(inner)]

    site = tool("site")
    made = {page for page in site.ELSEWHERE.values() if page != "index.md"}
    listed = pages(config["nav"])
    assert len(listed) == len(set(listed))
    assert set(listed) == {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")} | made


def test_the_readme_names_every_module_and_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    parts = [path for path in (ROOT / "src" / "resight").iterdir() if not path.name.startswith(("_", "py.typed"))]
    named = [f"{path.name}/" if path.is_dir() else path.name for path in parts]
    assert [name for name in sorted(named) if not re.search(rf"(?<![\w]){re.escape(name)}", readme)] == []
    rows = re.findall(r"^\| \[docs/", readme, flags=re.MULTILINE)
    assert len(rows) == len(set(re.findall(r"^\| (\[docs/\S+\])", readme, flags=re.MULTILINE)))


def test_every_block_says_its_language() -> None:
    strange = [f"{b.page}:{b.line}: {b.language!r}" for p in PAGES for b in blocks(p) if b.language not in LANGUAGES]
    assert strange == []


def test_every_command_is_run_or_named_with_the_test_that_runs_it() -> None:
    for block in SHELL:
        commands(block)


def test_a_command_that_nobody_runs_is_found() -> None:
    block = blocks("README.md")[0]
    with pytest.raises(AssertionError, match=r"README\.md:1: nobody runs \['rm -r all'\]"):
        commands(type(block)("README.md", 1, "bash", "rm -r all\n"))


def test_every_treatment_is_used() -> None:
    texts = {page: [block.text for block in blocks(page)] for page in PAGES}
    whole = {page: "\n".join(found) for page, found in texts.items()}
    for swap in SWAPS:
        assert any(re.search(swap.old, whole[page]) for page in PAGES if page_matches(page, swap.page)), swap
    used = {elsewhere(page, bare(line)) for page in PAGES for line in whole[page].splitlines()}
    assert [each for each in ELSEWHERE if each not in used] == []
    shown = [" ".join(words) for _, command in COMMANDS if (words := resight_words(command))]
    for name in (*ADDED, *MAY_FIND_FAULTS):
        assert any(f"{line} ".startswith(f"{name} ") for line in shown), f"no page shows resight {name}"
    for page, places in PREPARED.items():
        assert page in PAGES
        for place in places:
            own = place in ("crops.csv", "zebras/") or place.rstrip("/") in whole[page]
            assert own, f"{page} does not speak of {place}"


def page_matches(page: str, pattern: str) -> bool:
    return pattern in ("*", page)


@pytest.mark.parametrize("other", ELSEWHERE, ids=lambda other: f"{other.page} {other.matches}")
def test_the_tests_that_run_the_others_exist(other: Any) -> None:
    file, name = other.test.split("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_make_has_the_targets() -> None:
    """CI runs `make test`, and with it this; `make docs` too."""
    makefile, ci = (ROOT / "Makefile").read_text(), (ROOT / ".ci" / "run").read_text()
    asked = [command.words[1] for _, command in COMMANDS if command.words[0] == "make"]
    assert {"demo", "test", "docs"} <= set(asked)
    for target in asked:
        assert re.search(rf"^{target}: ", makefile, flags=re.MULTILINE)
    assert "make test\nmake docs\n" in ci


def test_what_is_installed_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [command for _, command in COMMANDS if command.kind == "install"]
    assert asked
    for command in asked:
        extras = re.search(r"\[([\w,]+)\]", command.shown)
        assert extras is not None
        assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
        for file in (word for word in command.words if word.endswith(".txt")):
            assert (ROOT / file).is_file()


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda value: getattr(value, "shown", value))
def test_every_flag_is_parsed_by_the_real_parser(page: str, command: Command) -> None:
    """As the page shows it, before anything is swapped; and with what is added."""
    words = resight_words(command)
    if words is None:
        return
    for given in (words, added(words)):
        found, rest = cli.find(given)
        arguments = arguments_of(found)
        before = arguments.before_flags(rest) if hasattr(arguments, "before_flags") else None
        cli.parse(arguments, rest, f"resight {' '.join(found.words)}", before)


def arguments_of(command: cli.Command) -> Any:
    from typing import get_type_hints

    module, name = command.home.split(":")
    function = getattr(importlib.import_module(f"resight.commands.{module}"), name)
    return get_type_hints(function)["arguments"]
