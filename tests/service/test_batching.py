"""What is submitted together is computed together; what there is no room or time for is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from resight.encoder import Encoder
from resight.service.batching import Batcher, BusyError


class Gate:
    """Has the encoder wait, and notes what it was given."""

    def __init__(self, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pictures: list[int] = []
        self.texts: list[int] = []
        self.busy, self.open = threading.Event(), threading.Event()
        encode, embed_texts = encoder.encode, encoder.embed_texts

        def gated_encode(images: Any, **options: Any) -> Any:
            self.pictures.append(len(images))
            self.busy.set()
            assert self.open.wait(20)
            return encode(images, **options)

        def noted_texts(texts: Any, **options: Any) -> Any:
            self.texts += [len(texts)] if texts else []
            return embed_texts(texts, **options)

        monkeypatch.setattr(encoder, "encode", gated_encode)
        monkeypatch.setattr(encoder, "embed_texts", noted_texts)


@pytest.fixture
def gate(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(encoder, monkeypatch)
    yield gate
    gate.open.set()


def pixels(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (3, 32, 16), dtype=np.uint8)


def test_jobs_that_wait_are_computed_together(encoder: Encoder, gate: Gate) -> None:
    batches: list[tuple[int, int]] = []
    batcher = Batcher(encoder, size=8, wait=0, on_batch=lambda *counts: batches.append(counts))
    first = batcher.submit([pixels(0)])
    assert gate.busy.wait(20)
    jobs = [batcher.submit([pixels(n), pixels(n + 10)], [f"text {n}"]) for n in range(1, 4)]
    assert batcher.n_waiting == 3
    gate.open.set()
    answers = [job.result(20) for job in (first, *jobs)]
    assert batches == [(1, 0), (4, 2), (2, 1)]  # of eight at most, and no job is parted
    alone = encoder.embed_images([pixels(2).transpose(1, 2, 0), pixels(12).transpose(1, 2, 0)])
    np.testing.assert_allclose(answers[2].embedding, alone.embedding, atol=1e-6)
    assert answers[2].aligned is not None
    assert alone.aligned is not None
    np.testing.assert_allclose(answers[2].aligned, alone.aligned, atol=1e-6)
    np.testing.assert_allclose(answers[2].words, encoder.embed_texts(["text 2"]).embedding, atol=1e-6)
    assert answers[0].words.shape[0] == 0
    batcher.close()


def test_a_job_waits_a_little_for_others(encoder: Encoder, gate: Gate) -> None:
    gate.open.set()
    batcher = Batcher(encoder, size=3, wait=20)
    began = time.monotonic()
    jobs = [batcher.submit([pixels(n)]) for n in range(3)]
    for job in jobs:
        job.result(20)
    assert gate.pictures == [3]
    assert time.monotonic() - began < 10, "a full batch does not wait"
    batcher.close()


def test_a_job_larger_than_a_batch_is_computed_whole(encoder: Encoder, gate: Gate) -> None:
    gate.open.set()
    batcher = Batcher(encoder, size=2, wait=0)
    assert batcher.submit([pixels(n) for n in range(5)]).result(20).embedding.shape == (5, encoder.dimension)
    assert gate.pictures == [5]
    batcher.close()


def test_there_is_room_for_so_many(encoder: Encoder, gate: Gate) -> None:
    batcher = Batcher(encoder, room=2, wait=0)
    jobs = [batcher.submit([pixels(0)])]
    assert gate.busy.wait(20)
    jobs += [batcher.submit([pixels(1)]), batcher.submit([pixels(2)])]
    with pytest.raises(BusyError, match=r"Too many requests are waiting\. Try again in a moment\."):
        batcher.submit([pixels(3)])
    gate.open.set()
    assert all(job.result(20).embedding.shape == (1, encoder.dimension) for job in jobs)
    assert batcher.submit([pixels(3)]).result(20)
    batcher.close()


def test_who_waited_too_long_is_told(encoder: Encoder, gate: Gate) -> None:
    batcher = Batcher(encoder, wait=0, deadline=0.05)
    first = batcher.submit([pixels(0)])
    assert gate.busy.wait(20)
    late = batcher.submit([pixels(1)])
    time.sleep(0.1)
    gate.open.set()
    assert first.result(20)
    with pytest.raises(BusyError, match=r"Nobody was free for 0\.05 seconds\. Try again later\."):
        late.result(20)
    assert gate.pictures == [1]
    batcher.close()


def test_who_has_gone_is_not_computed(encoder: Encoder, gate: Gate) -> None:
    batcher = Batcher(encoder, wait=0)
    first = batcher.submit([pixels(0)])
    assert gate.busy.wait(20)
    gone, stays = batcher.submit([pixels(1)]), batcher.submit([pixels(2)])
    assert gone.cancel()
    gate.open.set()
    assert first.result(20)
    assert stays.result(20)
    assert gate.pictures == [1, 1]
    batcher.close()


def test_a_failure_is_told_and_outlived(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = Batcher(encoder, wait=0)
    with monkeypatch.context() as broken:
        broken.setattr(encoder, "encode", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            batcher.submit([pixels(0)]).result(20)
    assert batcher.submit([pixels(0)]).result(20)
    batcher.close()


def test_closing_finishes_what_waits(encoder: Encoder, gate: Gate) -> None:
    batcher = Batcher(encoder, size=2, wait=0.01)
    jobs = [batcher.submit([pixels(n)]) for n in range(7)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    gate.open.set()
    closing.join(20)
    assert not closing.is_alive()
    assert all(job.done() and job.result().embedding.shape == (1, encoder.dimension) for job in jobs)
    with pytest.raises(BusyError):
        batcher.submit([pixels(0)])


def test_many_threads_get_their_own_answers(encoder: Encoder) -> None:
    batcher = Batcher(encoder, size=16, room=1000)
    expected = encoder.embed_images([pixels(n).transpose(1, 2, 0) for n in range(100)]).embedding
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda n: batcher.submit([pixels(n)]), range(100)))
    found = np.concatenate([job.result(20).embedding for job in jobs])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    batcher.close()


def together(client: TestClient, n: int, gate: Gate, picture: bytes) -> list[Any]:
    """Answers to n searches that come while the encoder is busy with another one, which is the first."""

    def ask() -> Any:
        return client.post("/search", files={"picture": picture}, data={"text": "a person"})

    with ThreadPoolExecutor(n + 1) as pool:
        jobs = [pool.submit(ask)]
        assert gate.busy.wait(20)
        jobs += [pool.submit(ask) for _ in range(n)]
        for _ in range(500):
            lines = client.get("/metrics").text.splitlines()
            waiting = next(float(line.split()[1]) for line in lines if line.startswith("resight_queue_length "))
            done = sum(job.done() for job in jobs)
            if waiting + done == n:
                break
            time.sleep(0.01)
        gate.open.set()
        return [job.result(20) for job in jobs]


def test_requests_that_come_together_are_one_batch(client: TestClient, gate: Gate, picture: bytes) -> None:
    answers = together(client, 6, gate, picture)
    assert gate.pictures == [1, 6]
    assert gate.texts == [1, 6]
    found = [answer.json()["found"] for answer in answers]
    assert [[one["id"] for one in rows] for rows in found] == [[one["id"] for one in found[0]]] * 7


def test_a_full_queue_is_503(serving: Any, gate: Gate, picture: bytes) -> None:
    answers = together(serving(queue=2), 5, gate, picture)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 503, 503, 503]
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["detail"] == "Too many requests are waiting. Try again in a moment."
