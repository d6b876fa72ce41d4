from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from resight.data import loader
from resight.data.images import open_image
from resight.data.loader import load, load_batches
from resight.data.transforms import Preprocess
from resight.errors import ConfigError, DataError
from resight.types import Batch, Record

SMALL = Preprocess(12, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")
N = 11


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    """Eleven pictures of several sizes; the last three are boxes of the first."""
    generator = np.random.default_rng(0)
    paths = [tmp_path / "pictures" / f"Bär {i} 象.png" for i in range(N - 3)]
    paths[0].parent.mkdir()
    for i, path in enumerate(paths):
        Image.fromarray(generator.integers(0, 256, (20 + i, 15, 3), dtype=np.uint8)).save(path)
    boxes = [(0.0, 0.0, 7.0, 9.0), (2.0, 3.0, 15.0, 20.0), (2.5, 3.0, 14.0, 20.0)]
    return [Record(path) for path in paths] + [Record(paths[0], box=box) for box in boxes]


@pytest.fixture(params=[False, True], ids=["no cache", "cache"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "cache" if request.param else None


def expected(record: Record) -> NDArray[np.uint8]:
    return SMALL.resize(open_image(record.path, box=record.box))


def loader_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("resight-loader")]


def slowly(seconds: float) -> Callable[..., Image.Image]:
    def open_slowly(path: Path, **keywords: object) -> Image.Image:
        time.sleep(seconds)
        return Image.new("RGB", (4, 4))

    return open_slowly


def test_batches_hold_the_pictures_in_order(records: list[Record], cache: Path | None) -> None:
    for _ in range(2):
        batches = list(load(records, SMALL, batch_size=4, cache=cache))
        assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
        assert all(batch.images.dtype == np.uint8 and batch.rows.dtype == np.int64 for batch in batches)
        assert np.array_equal(np.concatenate([b.images for b in batches]), [expected(r) for r in records])


@pytest.mark.parametrize("workers", [1, 3])
def test_order_may_repeat_and_leave_out(records: list[Record], cache: Path | None, workers: int) -> None:
    order = [7, 2, 2, 10, 0, 7, 7]
    batches = list(load(tuple(records), SMALL, batch_size=3, cache=cache, workers=workers, order=order))
    assert np.concatenate([batch.rows for batch in batches]).tolist() == order
    assert np.array_equal(np.concatenate([b.images for b in batches]), [expected(records[i]) for i in order])


def test_planned_batches_hold_their_own_rows(records: list[Record], cache: Path | None) -> None:
    plan = [np.array(rows) for rows in ([3, 1], [10, 10, 0, 7], [5])]
    batches = list(load_batches(records, SMALL, plan, cache=cache))
    assert [batch.rows.tolist() for batch in batches] == [rows.tolist() for rows in plan]
    for batch, rows in zip(batches, plan, strict=True):
        assert np.array_equal(batch.images, [expected(records[row]) for row in rows])
    batches[0].rows[0] = 9
    assert plan[0].tolist() == [3, 1]


def test_a_plan_that_does_not_end_is_taken_a_few_batches_ahead(records: list[Record]) -> None:
    taken = itertools.count()
    endless = (np.array([next(taken) % N]) for _ in itertools.repeat(None))
    batches = load_batches(records, SMALL, endless, workers=2)
    assert [next(batches).rows.item() for _ in range(30)] == [i % N for i in range(30)]
    assert next(taken) <= 30 + 2 * 2
    del batches
    assert loader_threads() == []


def test_a_plan_is_checked(records: list[Record]) -> None:
    with pytest.raises(ConfigError, match=r"workers must be at least 1, got 0\."):
        load_batches(records, SMALL, [], workers=0)
    for rows, named in (([0, 11], "0 to 11"), ([3, -1], "-1 to 3")):
        with pytest.raises(ValueError, match=f"a batch names rows {named}, but there are 11 records"):
            list(load_batches(records, SMALL, [np.array(rows)]))
    assert list(load_batches(records, SMALL, [])) == []
    assert loader_threads() == []


def test_an_unreadable_picture_ends_a_plan(records: list[Record], cache: Path | None) -> None:
    records[5].path.write_text("not a picture")
    batches = load_batches(records, SMALL, [np.array([0, 1]), np.array([2, 5])], cache=cache)
    assert next(batches).rows.tolist() == [0, 1]
    with pytest.raises(DataError, match="Bär 5 象"):
        next(batches)
    assert loader_threads() == []


def test_no_records_no_batches(cache: Path | None) -> None:
    assert list(load([], SMALL, batch_size=4, cache=cache)) == []


def test_wrong_calls_are_refused_before_any_work(records: list[Record]) -> None:
    with pytest.raises(ConfigError, match=r"batch_size must be at least 1, got 0\."):
        load(records, SMALL, batch_size=0)
    with pytest.raises(ConfigError, match=r"workers must be at least 1, got -1\."):
        load(records, SMALL, batch_size=4, workers=-1)
    with pytest.raises(ValueError, match="order names rows 0 to 11, but there are 11 records"):
        load(records, SMALL, batch_size=4, order=[0, 11])
    with pytest.raises(ValueError, match="order names rows -1 to 3"):
        load(records, SMALL, batch_size=4, order=[3, -1])


def test_an_unreadable_picture_is_an_error_that_names_it(records: list[Record], cache: Path | None) -> None:
    records[5].path.write_text("not a picture")
    batches = load(records, SMALL, batch_size=2, cache=cache)
    assert next(batches).rows.tolist() == [0, 1]
    assert next(batches).rows.tolist() == [2, 3]
    with pytest.raises(DataError, match="Bär 5 象"):
        next(batches)
    assert loader_threads() == []


def test_on_error_gets_every_unreadable_picture_and_the_others_come(records: list[Record], cache: Path | None) -> None:
    records[2].path.unlink()
    records[4].path.write_bytes(b"")
    records[5].path.write_text("not a picture")
    seen: list[tuple[Record, DataError]] = []
    batches = list(load(records, SMALL, batch_size=2, cache=cache, on_error=lambda *fault: seen.append(fault)))
    assert [record for record, _ in seen] == [records[2], records[4], records[5]]
    assert all(record.path.name in str(error) for record, error in seen)
    assert [batch.rows.tolist() for batch in batches] == [[0, 1], [3], [6, 7], [8, 9], [10]]
    kept = np.concatenate([batch.rows for batch in batches]).tolist()
    assert np.array_equal(np.concatenate([b.images for b in batches]), [expected(records[i]) for i in kept])


def test_an_unexpected_error_names_the_picture(
    records: list[Record], cache: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, **keywords: object) -> Image.Image:
        raise RuntimeError("decoder fell over")

    monkeypatch.setattr(loader, "open_image", fail)
    with pytest.raises(RuntimeError, match="decoder fell over") as caught:
        list(load(records, SMALL, batch_size=4, cache=cache, on_error=lambda *fault: None))
    assert caught.value.__notes__ == [f"while reading {records[0].path}"]


def test_an_abandoned_iterator_leaves_no_threads(records: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    batches = load(records * 20, SMALL, batch_size=2, workers=3)
    next(batches)
    assert loader_threads() != []
    del batches
    assert loader_threads() == []


def test_few_batches_are_prepared_ahead(records: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def count(path: Path, **keywords: object) -> Image.Image:
        opened.append(path)
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr(loader, "open_image", count)
    batches = load(records * 20, SMALL, batch_size=2, workers=3)
    next(batches)
    time.sleep(0.2)
    assert 2 < len(opened) <= 2 * 3 * 2


@pytest.mark.interrupts
def test_an_interrupt_reaches_the_consumer_and_ends_the_threads(
    records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "open_image", slowly(0.1))
    alarm = threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGINT))
    alarm.start()
    with pytest.raises(KeyboardInterrupt):
        list(load(records * 20, SMALL, batch_size=4))
    alarm.join()
    assert loader_threads() == []


def test_a_path_that_is_no_unicode_is_read(records: list[Record], cache: Path | None) -> None:
    path = Path(os.fsdecode(os.fsencode(records[0].path.parent) + b"/caf\xe9.png"))
    try:
        path.write_bytes(records[0].path.read_bytes())
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    for _ in range(2):
        (batch,) = load([Record(path)], SMALL, batch_size=4, cache=cache)
        assert np.array_equal(batch.images[0], expected(records[0]))


def test_batches_are_the_shared_type(records: list[Record]) -> None:
    assert isinstance(next(load(records, SMALL, batch_size=4)), Batch)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(DataError, match=r"pipe\.jpg"):
            list(load([Record(tmp_path / "pipe.jpg")], SMALL, batch_size=1, cache=cache))
