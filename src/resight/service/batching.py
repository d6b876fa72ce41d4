"""Requests that come together are embedded together, by one thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from resight.embedder import Embedder
from resight.environment import Precision


class BusyError(Exception):
    """There is no room to wait, or the wait was too long: who asks should try again later."""


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """embedding [n, D] and aligned [n, A] of the pictures (None without a text tower), words [m, A] of the texts."""

    embedding: NDArray[np.float32]
    aligned: NDArray[np.float32] | None
    words: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    pictures: Sequence[NDArray[np.uint8]]
    cameras: Sequence[str | None]
    texts: Sequence[str]
    future: Future[Vectors]
    came: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        return len(self.pictures) + len(self.texts)


class Batcher:
    """Embeds what is submitted, in the order it came; `close` finishes what waits.

    size: pictures and texts that are computed at a time; one job is never parted. wait: seconds that a job waits for
    others to join it. room: jobs that may wait. deadline: seconds after which a job that still waits is given up.
    on_batch: is told how many pictures and texts were joined.
    """

    def __init__(
        self,
        encoder: Embedder,
        *,
        size: int = 32,
        wait: float = 0.005,
        room: int = 64,
        deadline: float = 30,
        precision: Precision = "float32",
        on_batch: Callable[[int, int], None] = lambda pictures, texts: None,
    ) -> None:
        self.encoder, self.precision, self.on_batch = encoder, precision, on_batch
        self.size, self.wait, self.room, self.deadline = size, wait, room, deadline
        self._jobs: deque[_Job] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="embed", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        return len(self._jobs)

    def submit(
        self,
        pictures: Sequence[NDArray[np.uint8]] = (),
        texts: Sequence[str] = (),
        *,
        cameras: Sequence[str | None] | None = None,
    ) -> Future[Vectors]:
        """What the encoder says of uint8 pictures [3, H, W] of its size, and of texts. Raises BusyError without room.

        The future raises BusyError when the deadline has passed.
        """
        job = _Job(pictures, cameras or [None] * len(pictures), texts, Future())
        with self._changed:
            if self._closed or len(self._jobs) >= self.room:
                raise BusyError("Too many requests are waiting. Try again in a moment.")
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Takes no more, finishes what waits, and ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while jobs := self._next():
            live = [job for job in jobs if job.future.set_running_or_notify_cancel() and not self._expired(job)]
            if not live:
                continue
            try:
                answers = self._embed(live)
            except Exception as error:  # the thread must outlive it; each request reports it
                for job in live:
                    job.future.set_exception(error)
            else:
                for job, answer in zip(live, answers, strict=True):
                    job.future.set_result(answer)

    def _next(self) -> list[_Job]:
        """Jobs that came together; none when the batcher is closed and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if not self._jobs:
                return []
            until = self._jobs[0].came + self.wait
            while not self._closed and sum(job.size for job in self._jobs) < self.size:
                if not self._changed.wait(max(0, until - time.monotonic())) and time.monotonic() >= until:
                    break
            jobs = [self._jobs.popleft()]
            n = jobs[0].size
            while self._jobs and n + self._jobs[0].size <= self.size:
                n += self._jobs[0].size
                jobs.append(self._jobs.popleft())
            return jobs

    def _expired(self, job: _Job) -> bool:
        expired = time.monotonic() > job.came + self.deadline
        if expired:
            job.future.set_exception(BusyError(f"Nobody was free for {self.deadline:g} seconds. Try again later."))
        return expired

    def _embed(self, jobs: Sequence[_Job]) -> list[Vectors]:
        pictures = [picture for job in jobs for picture in job.pictures]
        cameras = [camera for job in jobs for camera in job.cameras]
        texts = [text for job in jobs for text in job.texts]
        self.on_batch(len(pictures), len(texts))
        embedding = np.zeros((0, self.encoder.dimension), np.float32)
        aligned = None
        words = np.zeros((0, 0), np.float32)
        if pictures:
            embedding, aligned = self.encoder.encode(np.stack(pictures), cameras=cameras, precision=self.precision)
        if texts:
            words = self.encoder.embed_texts(texts, precision=self.precision).embedding
        answers, p, t = [], 0, 0
        for job in jobs:
            own, said = slice(p, p + len(job.pictures)), slice(t, t + len(job.texts))
            answers.append(Vectors(embedding[own], None if aligned is None else aligned[own], words[said]))
            p, t = own.stop, said.stop
        return answers
