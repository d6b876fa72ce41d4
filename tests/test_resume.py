"""The command, killed at any moment, goes on to the same encoder; started twice by torchrun, it trains the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

BY_IDENTITY = ["--n-identities", "3", "--n-images", "2", "--rate", "1e-3"]
BY_CLUSTER = ["--batch-size", "6", "--n-images", "2", "--n-batches", "4", "--rate", "1e-4", "--clip-norm", "1"]
BY_CLUSTER += ["--k1", "4", "--k2", "2", "--min-samples", "2", "--eps", "0.6"]
RECIPES = {
    "finetune": ("train", BY_IDENTITY),
    "clip-reid": ("words", [*BY_IDENTITY, "--prompt-epochs", "12", "--prompt-batch", "8"]),
    "pcl": ("train", [*BY_IDENTITY, "--n-batches", "4"]),
    "pcl-unsupervised": ("train", BY_CLUSTER),
}
"""The stage that is killed, and flags of the recipe's own."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six identities of four pictures, each of a colour with noise."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for identity in range(6):
        (folder / str(identity)).mkdir()
        colour = rng.integers(40, 215, 3)
        for k in range(4):
            noisy = colour + rng.integers(-40, 40, (64, 32, 3))
            Image.fromarray(noisy.astype(np.uint8)).save(folder / str(identity) / f"{k}.png")
    return folder


def flags(pictures: Path, *, epochs: int) -> list[str]:
    return [
        *("--data", str(pictures), "--init", "random:64x2/16", "--size", "64", "32", "--device", "cpu"),
        *("--precision", "float32", "--epochs", str(epochs)),
        *("--warmup-epochs", "1", "--pad", "4", "--log-every", "2", "--checkpoint-minutes", "0"),
    ]


def start(words: list[str], cache: Path, *, processes: int = 1) -> subprocess.Popen[str]:
    program = [sys.executable, "-m"]
    if processes > 1:
        program += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RESIGHT_CACHE": str(cache)}
    return subprocess.Popen(
        [*program, "resight", "train", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What a process said that did well."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out + err


def kill_when(process: subprocess.Popen[str], is_time: Callable[[], bool], *, delay: float = 0.0) -> None:
    end = time.monotonic() + 60
    while not is_time():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    process.communicate()
    assert process.returncode == -9, "it had ended before it was killed"


def fingerprint(run: Path) -> str:
    return str(json.loads((run / "encoder" / "encoder.json").read_text())["fingerprint"])


def entries(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def steps(run: Path) -> list[tuple[str, int, int, float]]:
    return [(e["stage"], e["epoch"], e["step"], e["loss"]) for e in entries(run) if "rate" in e]


@pytest.mark.parametrize(
    "recipe", ["finetune", *(pytest.param(name, marks=pytest.mark.slow) for name in list(RECIPES)[1:])]
)
def test_a_killed_run_goes_on_to_the_same_encoder(recipe: str, pictures: Path, tmp_path: Path) -> None:
    """Killed before its first checkpoint, and at a random moment after it: bit for bit the undisturbed run's."""
    stage, own = RECIPES[recipe]
    words, cache, run = [recipe, *flags(pictures, epochs=12), *own], tmp_path / "cache", tmp_path / "killed"
    undisturbed = start([*words, "--out", str(tmp_path / "whole")], cache)
    go_on = [recipe, "--out", str(run), "--resume"]
    checkpoint = run / "checkpoints" / f"{stage}.pt"
    kill_when(start([*words, "--out", str(run)], cache), (run / "config.json").exists)
    assert not checkpoint.exists()
    delay = random.uniform(0, 0.1)
    kill_when(start(go_on, cache), checkpoint.exists, delay=delay)
    finish(start(go_on, cache))
    finish(undisturbed)
    assert fingerprint(run) == fingerprint(tmp_path / "whole"), f"killed {delay} s after the first checkpoint"
    assert steps(run) == steps(tmp_path / "whole")
    assert [e for e in entries(run) if "clusters" in e] == [e for e in entries(tmp_path / "whole") if "clusters" in e]
    for named in {line[0] for line in steps(run)}:
        places = [line[1:3] for line in steps(run) if line[0] == named]
        assert places == sorted(set(places))


def test_two_processes_train_as_one_does(pictures: Path, tmp_path: Path) -> None:
    """The same losses, written once."""
    words = ["finetune", *flags(pictures, epochs=2), *BY_IDENTITY, "--checkpoint-minutes", "10", "--n-images", "3"]
    one, two = tmp_path / "one", tmp_path / "two"
    alone = start([*words, "--out", str(one)], tmp_path / "cache")
    said = finish(start([*words, "--out", str(two)], tmp_path / "cache", processes=2))
    finish(alone)
    assert said.count("trained. Next:") == 1
    assert said.count("train: epoch 2/2") == 1
    found, wanted = entries(two), entries(one)
    assert [(e["epoch"], e["step"], "checkpoint" in e) for e in found] == [
        (e["epoch"], e["step"], "checkpoint" in e) for e in wanted
    ]
    for a, b in zip(steps(two), steps(one), strict=True):
        assert a[3] == pytest.approx(b[3], rel=1e-4)
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())


@pytest.mark.slow
def test_one_of_two_that_fails_ends_both(pictures: Path, tmp_path: Path) -> None:
    """A picture in the second one's share cannot be read: its line says so, and the first does not wait for ever."""
    for identity in range(6):
        for k in range(4):
            path = tmp_path / "pictures" / str(identity) / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((pictures / str(identity) / f"{k}.png").read_bytes())
    (tmp_path / "pictures" / "3" / "1.png").write_bytes(b"no picture")
    began = time.monotonic()
    process = start(
        ["finetune", *flags(tmp_path / "pictures", epochs=5), *BY_IDENTITY, "--out", str(tmp_path / "run")],
        tmp_path / "cache",
        processes=2,
    )
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert time.monotonic() - began < 50
    lines = [line for line in said.splitlines() if line.startswith("resight: ")]
    assert [line for line in lines if "3/1.png" in line], said
    assert all("3/1.png" in line or "lost the others" in line for line in lines), said
    assert "resight/training.py" not in said  # no traceback of ours
