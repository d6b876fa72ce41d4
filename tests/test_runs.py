"""A run folder: what it refuses, what it keeps when the disk or a process fails."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from resight.errors import CheckpointError, ConfigError
from resight.runs import Request, Run, flat, read_config, write_json

REQUEST = Request(
    recipe="toy",
    init="random:64x2",
    data={"fingerprint": "abc", "data": Path("pictures")},
    settings={"epochs": 3, "size": (64, 32), "descent": {"rate": 1e-3}, "engine": {"workers": 2}},
    free=("workers",),
    command=("resight", "train", "a folder"),
)
STATE = {"epoch": 2, "step": 3, "tensor": torch.arange(1000.0)}


def begin(folder: Path) -> Run:
    return Run.open(folder, REQUEST, resume=False)


def resume(folder: Path, **changes: Any) -> Run:
    return Run.open(folder, replace(REQUEST, **changes), resume=True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return begin(tmp_path / "run")


def test_a_new_run_says_what_was_asked_for(run: Run) -> None:
    config = json.loads((run.folder / "config.json").read_text())
    assert config == {
        "format": 1,
        "recipe": "toy",
        "init": "random:64x2",
        "data": {"fingerprint": "abc", "data": "pictures"},
        "settings": {"epochs": 3, "size": [64, 32], "descent": {"rate": 1e-3}, "engine": {"workers": 2}},
        "command": "resight train 'a folder'",
    }
    assert read_config(run.folder) == config
    assert read_config(run.folder / "config.json") == config
    assert "torch" in json.loads((run.folder / "environment.json").read_text())["libraries"]


def test_an_empty_folder_is_taken_and_a_full_one_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    begin(tmp_path / "empty").log({"stage": "train", "epoch": 1, "step": 1})
    with pytest.raises(ConfigError, match=r"is not empty\. Name a new folder\. To go on with the run in it, add --res"):
        begin(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for path, what in ((tmp_path / "other", "is not empty"), (tmp_path / "other" / "file", "is no folder")):
        with pytest.raises(ConfigError, match=rf"--out {path}: {what}\. Name a new folder\.$"):
            begin(path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"cannot be written \(.*\)\. Name another --out"):
        begin(tmp_path / "file" / "run")


def test_processes_that_do_not_write_leave_the_folder_alone(run: Run) -> None:
    """They may come before or after the one that writes has begun to fill it."""
    others = [
        Run.open(folder, REQUEST, resume=False, writes=False) for folder in (run.folder, run.folder.parent / "none")
    ]
    for other in others:
        other.log({"stage": "a", "epoch": 1, "step": 1})
        other.save("a", STATE)
    assert sorted(path.name for path in run.folder.rglob("*")) == ["checkpoints", "config.json", "environment.json"]
    assert not (run.folder.parent / "none").exists()
    run.log({"stage": "a", "epoch": 9, "step": 9})
    Run.open(run.folder, REQUEST, resume=True, writes=False).load("a")
    assert len(run.entries()) == 1


# going on


def test_the_same_request_goes_on(run: Run) -> None:
    resume(run.folder)
    settings = {**REQUEST.settings, "engine": {"workers": 7}}
    resume(run.folder, settings=settings, command=("resight", "--resume"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "other"}, "is a run of toy, not of other"),
        ({"data": {"fingerprint": "xyz"}}, "was begun with data abc, and what --data reads now is xyz. Bring back"),
        ({"init": "mini"}, r"cannot go on with other settings \(init was 'random:64x2', is 'mini'\). Begin a new run"),
        (
            {"settings": {**REQUEST.settings, "epochs": 4, "descent": {"rate": 1.0}}},
            r"other settings \(epochs was 3, is 4; rate was 0.001, is 1.0\)",
        ),
        ({"settings": {**REQUEST.settings, "new": 1}}, r"\(new was None, is 1\)"),
    ],
)
def test_another_request_is_refused(run: Run, changes: dict[str, Any], message: str) -> None:
    before = sorted(run.folder.rglob("*"))
    with pytest.raises(ConfigError, match=message) as raised:
        resume(run.folder, **changes)
    assert "\n" not in str(raised.value)
    assert sorted(run.folder.rglob("*")) == before


def test_there_must_be_a_run_to_go_on_with(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no run to read the settings of \(no config\.json\)\. Check the path"):
        resume(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="holds no run"):
        resume(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{ cut short", "cannot be read as a run's settings"),
        ("[1]", r"is not a config\.json of this version's runs \(format 1\)"),
        ('{"format": 2, "recipe": "toy", "init": "", "data": {}, "settings": {}}', "is not a config"),
        ('{"format": 1, "settings": {}}', "is not a config"),
        ('{"format": 1, "recipe": "toy", "init": "", "data": null, "settings": {}}', "is not a config"),
    ],
)
def test_a_damaged_config_is_one_line(run: Run, text: str, message: str) -> None:
    (run.folder / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        resume(run.folder)
    assert "\n" not in str(raised.value)


def test_a_config_that_is_no_text_is_one_line(run: Run) -> None:
    (run.folder / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as a run's settings"):
        resume(run.folder)


def test_what_an_interrupted_write_left_goes(run: Run) -> None:
    rubbish = [run.folder / "metrics.jsonl.part", run.folder / "checkpoints" / "a.pt.part"]
    for path in rubbish:
        path.touch()
    resume(run.folder)
    assert not any(path.exists() for path in rubbish)


# metrics.jsonl


def entry(epoch: int, step: int, stage: str = "a", **more: Any) -> dict[str, Any]:
    return {"stage": stage, "epoch": epoch, "step": step, **more}


def test_lines_are_cut_back_to_the_checkpoint(run: Run) -> None:
    entries = [entry(1, 1), entry(1, 4), entry(2, 3), entry(2, 3, checkpoint=True), entry(2, 4), entry(1, 9, stage="b")]
    for line in entries:
        run.log(line)
    run.save("a", STATE)
    assert run.entries() == entries
    loaded = run.load("a")
    assert loaded is not None
    assert torch.equal(loaded["tensor"], STATE["tensor"])
    assert run.entries() == [*entries[:4], entries[5]]
    assert run.load("b") is None
    assert run.entries() == entries[:4]


@pytest.mark.parametrize("torn", [b'{"stage": "a", "epo', b'{"stage": "a"}\n', b"\x00\x00\xff\n", b"7\n"])
def test_a_torn_line_is_dropped_and_the_next_is_whole(run: Run, torn: bytes) -> None:
    run.log(entry(1, 1))
    run.save("a", STATE)
    with (run.folder / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    assert run.entries() == [entry(1, 1)]
    again = resume(run.folder)
    again.load("a")
    again.log(entry(2, 4))
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [entry(1, 1), entry(2, 4)]


def test_metrics_that_cannot_be_written_are_one_line(run: Run) -> None:
    (run.folder / "metrics.jsonl").mkdir()
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: cannot be written .* Free the disk, then use --resume"):
        run.log(entry(1, 1))


# checkpoints


def test_without_a_checkpoint_the_stage_begins_anew(run: Run) -> None:
    run.log(entry(1, 1))
    run.log(entry(1, 1, stage="b"))
    assert run.load("a") is None
    assert run.entries() == [entry(1, 1, stage="b")]


def test_a_checkpoint_that_is_gone_is_missed(run: Run) -> None:
    run.save("a", STATE)
    run.log(entry(2, 3, checkpoint=True))
    (run.folder / "checkpoints" / "a.pt").unlink()
    with pytest.raises(CheckpointError, match=r"a\.pt: is gone, and the run needs it to go on\. Bring it back or"):
        run.load("a")
    assert len(run.entries()) == 1


def flipped(content: bytes) -> bytes:
    """One bit of a tensor's numbers."""
    middle = content.index(torch.arange(1000.0).numpy().tobytes()) + 2000
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"no checkpoint at all",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-30],
        flipped,
    ],
    ids=["empty", "garbage", "half", "end lost", "bit flipped"],
)
def test_a_damaged_checkpoint_is_one_line_and_nothing_is_lost(run: Run, damage: Callable[[bytes], bytes]) -> None:
    run.save("a", STATE)
    run.log(entry(9, 9))
    path = run.folder / "checkpoints" / "a.pt"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.raises(CheckpointError, match=r"a\.pt: is damaged \(.+\)\. Bring back a copy or begin anew") as raised:
        run.load("a")
    assert "\n" not in str(raised.value)
    assert run.entries() == [entry(9, 9)]
    path.write_bytes(whole)
    assert run.load("a") is not None


@pytest.mark.parametrize("other", [[1, 2], {"epoch": 1}, torch.ones(3)])
def test_another_file_of_pytorch_is_no_checkpoint(run: Run, other: Any) -> None:
    torch.save(other, run.folder / "checkpoints" / "a.pt")
    with pytest.raises(CheckpointError, match="is damaged"):
        run.load("a")


def test_a_checkpoint_runs_no_code(run: Run) -> None:
    torch.save({"epoch": Run, "step": 1}, run.folder / "checkpoints" / "a.pt")
    with pytest.raises(CheckpointError, match="is damaged"):
        run.load("a")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:664] .\nunexpected pos 64 vs 0"),
    ],
)
def test_a_full_disk_keeps_the_checkpoint_before(run: Run, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    run.save("a", STATE)

    def full(state: object, file: Any) -> None:
        file.write(b"some of it")
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=r"a\.pt: cannot be written \(.*\)\. The checkpoint before it is kept"):
        run.save("a", {**STATE, "step": 4})
    kept = run.load("a")
    assert kept is not None
    assert kept["step"] == 3
    assert [path.name for path in (run.folder / "checkpoints").iterdir()] == ["a.pt"]


def test_a_file_that_may_not_grow_is_a_full_disk(run: Run) -> None:
    """A real refusal by the system, in a process of its own: PyTorch's writer may not end the program."""
    code = (
        "import sys, torch; from pathlib import Path; from resight.runs import Run; from resight.errors import *\n"
        "run = Run(Path(sys.argv[1]))\n"
        "try: run.save('a', {'epoch': 2, 'step': 4, 'tensor': torch.arange(1000000.0)})\n"
        "except CheckpointError as error: print(error)"
    )
    run.save("a", STATE)
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.folder)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be written" in done.stdout
    assert done.stdout.count("\n") == 1
    kept = run.load("a")
    assert kept is not None
    assert kept["step"] == 3
    assert [path.name for path in (run.folder / "checkpoints").iterdir()] == ["a.pt"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "a.json", {"name": "ä"})

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"a\.json: cannot be written .*No space left .* Free the disk or name"):
        write_json(tmp_path / "a.json", {"name": "b"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"name": "ä"}
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


def test_flat_takes_nested_settings_by_their_last_names() -> None:
    assert flat({"a": 1, "b": {"c": 2, "d": {"e": [3]}}}) == {"a": 1, "c": 2, "e": [3]}


def test_a_run_that_never_began_does_not_block_its_folder(run: Run) -> None:
    again = Run.open(run.folder, replace(REQUEST, init="other"), resume=False)
    assert read_config(again.folder)["init"] == "other"
