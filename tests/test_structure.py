"""The shape of the project: who imports whom, what is public, what is documented, what must not be in the tree."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TypeVar, get_type_hints

import pytest

import resight
from resight import cli

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "resight"

# A module imports only from lower layers; on one layer only inside data/, clip/ and commands/.
LAYERS = {
    "types": 0,
    "errors": 0,
    "neighbours": 1,
    "environment": 1,
    "markup": 1,
    "embedder": 1,
    "data": 2,
    "clip": 2,
    "calibration": 2,
    "calibrating": 6,
    "similarities": 1,
    "thresholds": 3,
    "cluster": 2,
    "gallery": 2,
    "curves": 2,
    "charts": 3,
    "losses": 2,
    "metrics": 2,
    "open_set": 2,
    "rerank": 2,
    "processes": 1,
    "progress": 1,
    "whole_batch": 2,
    "encoder": 3,
    "exported": 3,
    "answers": 4,
    "contact_sheet": 3,
    "examples": 3,
    "optim": 3,
    "engine": 3,
    "runs": 3,
    "trainset": 3,
    "training": 4,
    "embed": 4,
    "reported": 3,
    "cards": 4,
    "model_card": 5,
    "hub": 6,
    "parity": 6,
    "export": 7,
    "queries": 4,
    "gallery_encoder": 4,
    "opening": 5,
    "audit": 5,
    "evaluate": 5,
    "search": 5,
    "adding": 5,
    "pictures": 5,
    "starting": 5,
    "learned_words": 5,
    "shared_prompts": 5,
    "report": 7,
    "relevance": 4,
    "reasons": 4,
    "embedding_map": 3,
    "published": 1,
    "explaining": 6,
    "reproduction": 6,
    "service": 6,
    "page": 8,
    "partition": 3,
    "towers": 6,
    "pairs": 6,
    "validation": 6,
    "recipes": 7,
    "launch": 8,
    "demo": 9,
    "commands": 10,
    "cli": 10,
    "__main__": 11,
    "__init__": 11,
}

PUBLIC = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Embeddings",
    "Encoder",
    "Query",
    "Record",
    "ResightError",
    "Splits",
    "open_embedder",
    "read_data",
    "text_query",
]


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The name in LAYERS that a file belongs to."""
    relative = path.relative_to(SOURCE)
    return relative.parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Parts of resight that a file imports anywhere, but for type checking alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "resight":
            names = node.module.split(".")[1:2] or [alias.name for alias in node.names]
            found |= {name for name in names if name in LAYERS}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("resight.")}
    return found


def test_every_module_has_a_layer() -> None:
    assert {part_of(path) for path in modules()} == set(LAYERS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_only(path: Path) -> None:
    part = part_of(path)
    for other in imports_of(path) - {part}:
        assert LAYERS[other] < LAYERS[part], (
            f"{path.name} (layer {LAYERS[part]}) imports {other} (layer {LAYERS[other]})"
        )


def test_the_service_reaches_no_training_module() -> None:
    reached, left = set(), {"service"}
    while left:
        part = left.pop()
        reached.add(part)
        left |= set().union(*(imports_of(path) for path in modules() if part_of(path) == part)) - reached
    assert {"search", "adding", "gallery", "embedder", "data"} <= reached
    training = {"losses", "optim", "engine", "runs", "trainset", "training", "starting", "towers", "recipes", "launch"}
    assert reached & training == set()


def test_a_loss_is_understood_without_the_others() -> None:
    for path in (SOURCE / "losses").glob("*.py"):
        assert "losses" not in imports_of(path), f"{path.name} imports another loss"


def test_public_names_are_the_stated_ones() -> None:
    assert resight.__all__ == PUBLIC
    for name in PUBLIC:
        assert getattr(resight, name).__doc__, f"resight.{name} has no docstring"
    documented = (ROOT / "docs" / "api.md").read_text()
    assert [name for name in PUBLIC if f"`{name}`" not in documented] == []


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = resight.Nonsense


def test_importing_resight_imports_no_heavy_library() -> None:
    code = "import resight, resight.cli, sys; print([m for m in ('torch', 'numpy', 'PIL', 'tyro') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_help_is_quick() -> None:
    """The best of five is compared, since other programs may be running."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "resight", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3


def arguments_of(command: cli.Command) -> type:
    module, name = command.home.split(":")
    function = getattr(importlib.import_module(f"resight.commands.{module}"), name)
    return get_type_hints(function)["arguments"]


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: " ".join(command.words))
def test_every_command_has_help_and_is_documented(command: cli.Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*command.words, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: resight {' '.join(command.words)}" in shown
    documented = (ROOT / "docs" / "commands.md").read_text()
    section = documented.split(f"## resight {' '.join(command.words)}\n")
    assert len(section) == 2, f"docs/commands.md has no section for resight {' '.join(command.words)}"
    text = section[1].split("\n## ")[0]
    for flag in flags_of(arguments_of(command)):
        assert flag in shown
        assert flag in text, f"docs/commands.md says nothing of {flag}"


def flags_of(arguments: type) -> list[str]:
    """Flags of a command; those of the shared groups of arguments are documented once, in a section of their own."""
    found = []
    for field in dataclasses.fields(arguments):
        hint = get_type_hints(arguments, include_extras=True)[field.name]
        inside = dataclasses.is_dataclass(getattr(hint, "__origin__", hint))
        if not inside and "Positional" not in str(hint) and "_positional" not in str(hint):
            found.append("--" + field.name.rstrip("_").replace("_", "-"))
    return found


def test_shared_arguments_are_documented() -> None:
    from resight.commands import arguments

    documented = (ROOT / "docs" / "commands.md").read_text()
    groups = (arguments.DataArguments, arguments.EncoderArguments, arguments.ClipArguments, arguments.EmbedArguments)
    for group in (*groups, arguments.WhereArguments):
        for flag in flags_of(group):
            assert f"`{flag}" in documented


def settings() -> list[tuple[Path, ast.ClassDef]]:
    """Every dataclass that holds settings: the commands' arguments, and each Config."""
    found = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            decorated = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
            if decorated and ("commands" in path.parts or node.name.endswith("Config")):
                found.append((path, node))
    return found


def reads_of(name: str) -> set[str]:
    """Attributes that the package reads of variables and of `self`, where they are annotated as the class `name`."""
    found: set[str] = set()
    for path in modules():
        for function in nodes(path, ast.FunctionDef):
            arguments = [*function.args.args, *function.args.kwonlyargs]
            holders = {a.arg for a in arguments if a.annotation and name in written(a.annotation)}
            found |= {read.split(".", 1)[1] for read in attributes(function) if read.split(".")[0] in holders}
        for holder in nodes(path, ast.ClassDef):
            fields = {
                f.target.id for f in holder.body if isinstance(f, ast.AnnAssign) and name in written(f.annotation)
            }
            if holder.name == name:
                found |= {read.removeprefix("self.") for read in attributes(holder) if read.startswith("self.")}
            found |= {
                read.split(".", 2)[2]
                for read in attributes(parsed(path))
                if read.count(".") > 1 and read.split(".")[1] in fields
            }
    return {read.split(".")[0] for read in found}


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


Node = TypeVar("Node", bound=ast.AST)


@functools.cache
def nodes(path: Path, kind: type[Node]) -> list[Node]:
    return [node for node in ast.walk(parsed(path)) if isinstance(node, kind)]


written = functools.cache(ast.unparse)  # the same annotations are looked at for every class of settings


@functools.cache
def attributes(tree: ast.AST) -> set[str]:
    return {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


@pytest.mark.parametrize(("path", "node"), settings(), ids=lambda value: getattr(value, "name", None))
def test_every_setting_is_read(path: Path, node: ast.ClassDef) -> None:
    """A field counts as read where a function takes the class, or the class itself, and uses the field."""
    fields = {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}
    unread = fields - reads_of(node.name)
    if path.parts[-2] == "clip":  # a tower keeps its config and reads it in its methods
        source = "".join(other.read_text() for other in path.parent.glob("*.py"))
        unread = {field for field in unread if f"config.{field}" not in source}
    assert not unread, f"{node.name} has settings that nobody reads: {sorted(unread)}"


def test_an_unread_setting_would_be_found() -> None:
    """The rule above sees through equal names: `json` of one command is not read by another."""
    assert "json" in reads_of("DoctorCommand")
    assert "json" not in reads_of("DemoCommand")


def test_the_document_of_the_design_names_every_module_on_its_layer() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "docs" / "design.md").read_text(), flags=re.MULTILINE)
    named = {(name, int(layer)) for layer, told in rows for name in re.findall(r"(?:^|· )`(\w+)/?`", told)}
    assert named == {(name, layer) for name, layer in LAYERS.items() if not name.startswith("__")}


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:  # an unpacked source archive
        return [path for folder in ("src", "tests", "docs", "benchmarks") for path in (ROOT / folder).rglob("*")]
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_no_machine_path_and_no_registry_host_in_the_tree() -> None:
    words = ["index" + "-url", "find" + "-links", "pypi" + r"\.org", "files.python" + "hosted", "registry" + r"\.npm"]
    forbidden = re.compile("|".join([*words, r"(?<![\w.])/(home|root|Users)/\w", r"(?<![\w.])/wo" + r"rk/"]))
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked_files()
        if path.is_file() and path.suffix not in {".gz", ".npz", ".png"}
        for match in [forbidden.search(path.read_text(encoding="utf-8", errors="ignore"))]
        if match
    ]
    assert found == []
