"""What a training says: one line an epoch in a pipe, a moving line on a terminal, nothing where it is quiet."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.console import Console

from resight.progress import Progress

LINE: dict[str, Any] = {
    "terms": {"identity": 1.5, "triplet": 0.25},
    "rate": 3.5e-4,
    "images_per_second": 123.4,
    "memory_gib": 2.04,
}


def told(*, terminal: bool, epochs: int = 2, quiet: bool = False) -> tuple[io.StringIO, Progress]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=150, _environ={"TERM": "xterm"})
    progress = Progress(console, quiet=quiet)
    with progress.stage("train", epochs):
        for epoch in range(1, epochs + 1):
            for step in (20, 40, 50):
                progress.show(epoch, step, 50, LINE)
                time.sleep(0.01)
        progress.say("note: [a] remark of 100 %")
        progress.validated(epochs, {"mAP": 0.5, "R1": 0.625})
    return stream, progress


def test_a_pipe_gets_one_line_an_epoch() -> None:
    lines = told(terminal=False)[0].getvalue().splitlines()
    assert len(lines) == 4
    measured = "identity 1.500 triplet 0.250 · rate 0.00035 · 123 pictures/s · 2.0 GiB"
    assert lines[0] == f"train: epoch 1/2, {measured}, 0 s left"
    assert lines[1].startswith("train: epoch 2/2, ")
    assert lines[2:] == ["note: [a] remark of 100 %", "train: epoch 2, validation mAP 50.0, R1 62.5"]


def test_a_long_line_in_a_pipe_is_not_broken() -> None:
    stream = io.StringIO()
    Progress(Console(file=stream, width=20)).say("word " * 20)
    assert stream.getvalue().count("\n") == 1


def test_a_terminal_gets_a_moving_line() -> None:
    stream, progress = told(terminal=True)
    shown = stream.getvalue()
    assert "train, epoch 2/2" in shown
    assert "100/100" in shown
    assert "identity 1.500 triplet 0.250 · rate 0.00035" in shown
    assert "left" not in shown  # the lines of a pipe
    assert "validation mAP 50.0" in shown
    assert progress._bars is None


def test_the_moving_line_ends_with_an_error() -> None:
    progress = Progress(Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"}))
    with pytest.raises(RuntimeError), progress.stage("train", 2):
        raise RuntimeError
    assert progress._bars is None
    with progress.stage("again", 1):
        progress.show(1, 1, 1, LINE)


def test_quiet_says_nothing() -> None:
    for terminal in (True, False):
        assert told(terminal=terminal, quiet=True)[0].getvalue() == ""


@pytest.mark.parametrize(
    ("now", "left"), [(10.0, "10 s"), (100.0, "1 min 40 s"), (4000.0, "1 h 06 min"), (59.6, "1 min 00 s")]
)
def test_what_is_left_counts_from_where_this_process_began(
    monkeypatch: pytest.MonkeyPatch, now: float, left: str
) -> None:
    """A run that goes on in epoch 3 of 4: its third epoch took `now` seconds, so the fourth takes as long."""
    stream, clock = io.StringIO(), iter([0.0, now])
    progress = Progress(Console(file=stream, width=150))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.stage("train", 4):
        progress.show(3, 20, 20, LINE)
    assert stream.getvalue().endswith(f", {left} left\n")
