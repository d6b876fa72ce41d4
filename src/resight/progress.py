"""What a person sees of a training: a moving line on a terminal, one line an epoch in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress:
    """Tells how a run goes, on the error stream; `quiet` tells nothing (all processes but one, and tests)."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self._console = console or Console(stderr=True)
        self._quiet = quiet
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._name, self._epochs, self._begun, self._first = "", 0, 0.0, 0.0

    @contextmanager
    def stage(self, name: str, epochs: int) -> Iterator[None]:
        """Shows the stage while the context lasts."""
        self._name, self._epochs, self._begun, self._first = name, epochs, time.monotonic(), -1.0
        if self._quiet or not self._console.is_terminal:
            yield
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}"),
        )
        try:
            with Bars(*columns, console=self._console, transient=True) as self._bars:
                self._task = self._bars.add_task(name, total=None, shown="")
                yield
        finally:
            self._bars = None

    def say(self, line: str) -> None:
        """A remark."""
        if not self._quiet:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def show(self, epoch: int, step: int, n_steps: int, line: Mapping[str, Any]) -> None:
        """Where the stage stands after `step` of the epoch's n_steps; line as in metrics.jsonl."""
        if self._quiet:
            return
        done, total = epoch - 1 + step / n_steps, self._epochs
        terms = " ".join(f"{name} {value:.3f}" for name, value in line["terms"].items())
        speed, memory = line["images_per_second"], line["memory_gib"]
        shown = f"{terms} · rate {line['rate']:.2g} · {speed:.0f} pictures/s · {memory:.1f} GiB"
        if self._bars is not None and self._task is not None:
            description = f"{self._name}, epoch {epoch}/{total}"
            self._bars.update(
                self._task, completed=round(done * n_steps), total=total * n_steps, description=description
            )
            self._bars.update(self._task, shown=shown)
        elif step == n_steps and not self._console.is_terminal:
            if self._first < 0:
                self._first = done - step / n_steps  # where this process began, when a run goes on
            left = (time.monotonic() - self._begun) / (done - self._first) * (total - done)
            self.say(f"{self._name}: epoch {epoch}/{total}, {shown}, {_duration(left)} left")

    def validated(self, epoch: int, scores: Mapping[str, float]) -> None:
        """Scores on validation identities after the epoch."""
        self.say(
            f"{self._name}: epoch {epoch}, validation " + ", ".join(f"{n} {100 * v:.1f}" for n, v in scores.items())
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
