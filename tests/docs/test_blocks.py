"""Every command and program that the pages show runs, block by block, in a folder with what a page calls yours."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import resight
from resight import cli
from resight.data.index import read, write_index
from resight.data.sample import make_sample
from resight.embed import embed
from resight.encoder import Encoder
from resight.types import Embeddings, Record

from .pages import PAGES, ROOT, Block, added, blocks, commands, elsewhere, resight_words, swapped
from .treatments import ADDED, MAY_FIND_FAULTS, PREPARED

if TYPE_CHECKING:
    from ..hub_server import Hub

pytestmark = [pytest.mark.docs, pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 drawn people in the layout of Market-1501, with captions."""
    folder = tmp_path_factory.mktemp("drawn") / "people"
    make_sample(folder, n_identities=24, seed=0)
    return folder


@pytest.fixture(scope="session")
def trained(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on them."""
    out = tmp_path_factory.mktemp("trained") / "run"
    words = ["train", "finetune", "--data", str(drawn), "--init", "resight-mini", "--out", str(out)]
    assert cli.main([*words, "--data-licence", "own", *ADDED["train finetune"].split()]) == 0
    return out


class Place:
    """Makes what the pages speak of as yours, in the current folder, of drawn people."""

    def __init__(self, drawn: Path, trained: Path) -> None:
        self.drawn, self.trained = drawn, trained
        splits = read(drawn)
        everyone = [*splits.train, *splits.query, *splits.gallery]
        self.known = [record for record in everyone if record.identity not in (None, "0")]

    def make(self, name: str) -> None:
        path = Path(name.rstrip("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name.lower() in ("market-1501", "market1501"):
            shutil.copytree(self.drawn, path)
        elif path.suffix == ".jpg":
            shutil.copy(self.known[len(name)].path, path)
        elif path.suffix == ".csv":
            self._table(path)
        elif path.name == "encoder":
            shutil.copytree(self.trained, path.parent, dirs_exist_ok=True)
        elif path.name == "zebras":
            self._zebras(path)
        elif path.name in ("my_labelled", "my_cows"):
            self._copy((record.path, path / str(record.identity)) for record in self.known)
        else:
            path.mkdir()
            first = 40 if path.name == "more_crops" else 0
            self._copy((record.path, path) for record in self.known[first : first + 40])

    def _copy(self, pairs: Iterable[tuple[Path, Path]]) -> None:
        for source, folder in pairs:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder)

    def _table(self, path: Path) -> None:
        """Half of the people to train on, the others to find; each picture with its captions."""
        names = sorted({str(record.identity) for record in self.known})
        rows = [
            replace(record, split="train" if names.index(str(record.identity)) % 2 else "test") for record in self.known
        ]
        write_index(dict.fromkeys(rows), path)

    def _zebras(self, path: Path) -> None:
        """People under the names of zebras, from two cameras, as examples/add_benchmark.py has them."""
        names = sorted({str(record.identity) for record in self.known})
        for n, record in enumerate(self.known):
            identity = names.index(str(record.identity))
            role = "train" if identity % 2 else ("query", "gallery")[n % 2]
            camera = ("north", "ford")[n % 2]
            target = path / role / f"z{identity:03d}_{camera}_{1767225600 + n}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(record.path, target)


@pytest.fixture
def place(drawn: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RESIGHT_CACHE", str(tmp_path / "cache"))
    return Place(drawn, trained)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_what_a_page_shows_runs(
    page: str, place: Place, model_hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in PREPARED.get(page, ()):
        place.make(name)
    run = {
        "bash": lambda block: run_commands(block, monkeypatch),
        "console": commands,
        "python": run_program,
        "csv": read_table,
        "json": lambda block: json.loads(block.text),
        "yaml": lambda block: yaml.safe_load(block.text),
        "text": lambda block: None,
    }
    for block in blocks(page):
        try:
            run[block.language](block)
        except BaseException as error:
            said = capsys.readouterr()
            error.add_note(f"{page}:{block.line}\n{said.out[-3000:]}\n{said.err[-3000:]}")
            raise


def run_commands(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in commands(block):
        if command.kind != "run":
            continue
        words = shlex.split(swapped(block.page, shlex.join(command.words)).replace("'|'", "|").replace("'>'", ">"))
        words = [first_row() if word == "A_ROW" else word for word in words]
        status = run_line(words, monkeypatch)
        may_find = resight_words(command) is not None and command.words[1:3] == MAY_FIND_FAULTS[0].split()
        assert status in ((0, 1) if may_find else (0,)), f"{shlex.join(words)} ended with {status}"


def run_line(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """`resight …`, `python examples/…`, or `find … | resight … > file`; the exit status."""
    with contextlib.ExitStack() as stack:
        if "|" in words:
            left, words = words[: words.index("|")], words[words.index("|") + 1 :]
            Path("piped").write_bytes(subprocess.run(left, stdout=subprocess.PIPE, check=True).stdout)
            monkeypatch.setattr(sys, "stdin", stack.enter_context(open("piped", encoding="utf-8")))
        if ">" in words:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(words[-1], "w", encoding="utf-8"))))
            words = words[: words.index(">")]
        if words[0] == "python":
            return int(program(words[1]).main(words[2:]))
        return cli.main(added(words[1:]))


def program(name: str) -> Any:
    """A file of examples/ as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{Path(name).stem}", ROOT / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


def first_row() -> str:
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        assert cli.main(["gallery", "list", "people", "--top", "1", "--json"]) == 0
    return str(json.loads(told.getvalue())[0]["id"])


def run_program(block: Block) -> None:
    if any(elsewhere(block.page, line) for line in block.text.splitlines()):
        return
    known = NAMES[block.page]() if block.page in NAMES else {}
    exec(compile(swapped(block.page, block.text), f"{block.page}:{block.line}", "exec"), known)


def read_table(block: Block) -> None:
    Path("shown.csv").write_text(block.text, encoding="utf-8")
    rows = list(csv.DictReader(block.text.splitlines()))
    splits = read(Path("shown.csv"))
    assert rows
    assert len({row["path"] for row in rows}) == len(splits.train) + len(splits.query)


def names_of_api() -> dict[str, Any]:
    encoder = Encoder.load("resight-mini", size=(64, 32), device="cpu")

    def embeddings_of(records: Sequence[Record]) -> Embeddings:
        return embed(encoder, records)

    paths = [str(record.path) for record in read(Path("crops.csv")).query[:20]]
    return {
        "resight": resight,
        "encoder": encoder,
        "path": Path("crops.csv"),
        "paths": paths,
        "embeddings_of": embeddings_of,
    }


def names_of_training() -> dict[str, Any]:
    from resight.engine import Engine
    from resight.optim import Descent
    from resight.starting import Start

    small = {"descent": Descent(epochs=1), "start": Start(size=(64, 32)), "engine": Engine(device="cpu", workers=1)}
    return {"path": Path("crops.csv"), "SMALL": small}


def names_of_gallery() -> dict[str, Any]:
    from PIL import Image

    return {"crops": [Image.open(path).convert("RGB") for path in sorted(Path("my_crops").glob("*.jpg"))[:3]]}


# what the text around a program says is there
NAMES: dict[str, Callable[[], dict[str, Any]]] = {
    "docs/api.md": names_of_api,
    "docs/gallery.md": names_of_gallery,
    "docs/text.md": lambda: {"paths": [str(record.path) for record in read(Path("crops.csv")).query[:20]]},
    "docs/training.md": names_of_training,
    "docs/weights.md": lambda: {"resight": resight},
}


def test_inline_commands_name_flags_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """`resight …` in the text is no program to run, since its words are placeholders; its flags are real."""
    helps = {}
    for command in cli.COMMANDS:
        with pytest.raises(SystemExit):
            cli.main([*command.words, "--help"])
        helps[command.words] = capsys.readouterr().out
    for page in PAGES:
        text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
        for said in re.findall(r"`resight ([a-z][^`]*)`", text):
            words = said.split()
            meant = [known for known in helps if tuple(words[: len(known)]) == known]
            meant = meant or [known for known in helps if known[0] == words[0]]  # `resight train RECIPE --out RUN`
            assert meant, f"{page}: resight {said}"
            flags = [word.split("=")[0] for word in words if word.startswith("--") and word != "--help"]
            shown = "".join(helps[known] for known in meant)
            assert [flag for flag in flags if not re.search(rf"{flag}\b", shown)] == [], f"{page}: resight {said}"
