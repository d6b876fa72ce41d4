"""Training batches: the plan's rows, this process's share, and the same pictures whoever loads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from resight.data.augment import Augment
from resight.data.loader import load
from resight.data.transforms import Preprocess
from resight.engine import Engine, Machine
from resight.errors import ConfigError, DataError
from resight.pictures import PictureBatch, Pictures
from resight.processes import Processes
from resight.types import Record

PREPROCESS = Preprocess(32, 16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")
PLAN = [np.array(rows, dtype=np.int64) for rows in ([4, 0, 2], [1, 3, 5, 0, 1], [2, 2])]


@pytest.fixture
def records(picture: Callable[..., Path]) -> list[Record]:
    return [Record(picture(f"{k}.png", colour=(40 * k, 100, 250 - 40 * k)), str(k)) for k in range(6)]


def pictures(
    records: list[Record], *, augment: Augment | None = None, processes: Processes | None = None, seed: int = 7
) -> Pictures:
    machine = Machine(torch.device("cpu"), "float32", processes or Processes())
    engine = Engine(device="cpu", seed=seed)
    return Pictures(records, PREPROCESS, augment or Augment(colour=0.2, pad=3), None, engine, machine)


def batches(of: Pictures, *, epoch: int = 1, first: int = 0) -> list[PictureBatch]:
    n_steps, found = of.epoch(PLAN, epoch, first)
    assert n_steps == len(PLAN)
    return list(found)


def test_batches_hold_the_planned_rows(records: list[Record]) -> None:
    found = batches(pictures(records))
    for batch, rows in zip(found, PLAN, strict=True):
        assert batch.rows.tolist() == rows.tolist()
        assert batch.share == slice(0, len(rows))
        assert batch.images.shape == (len(rows), 3, 32, 16)
        assert batch.images.dtype == torch.float32


def test_without_augmentation_they_are_the_pictures(records: list[Record]) -> None:
    plain = pictures(records, augment=Augment(flip=0, pad=0, erase=0))
    (batch,) = load(records, PREPROCESS, batch_size=6)
    wanted = PREPROCESS.normalise(torch.from_numpy(batch.images))
    for found in batches(plain):
        torch.testing.assert_close(found.images, wanted[found.rows])


@pytest.mark.parametrize("first", [1, 2, 3])
def test_an_epoch_goes_on_with_the_same_pictures(records: list[Record], first: int) -> None:
    whole, rest = batches(pictures(records)), batches(pictures(records), first=first)
    assert len(rest) == len(PLAN) - first
    for found, wanted in zip(rest, whole[first:], strict=True):
        assert torch.equal(found.images, wanted.images)
        assert torch.equal(found.rows, wanted.rows)


@pytest.mark.parametrize("n", [2])
def test_shares_join_to_the_pictures_of_one_process(records: list[Record], n: int) -> None:
    whole = batches(pictures(records))
    shares = [batches(pictures(records, processes=Processes(number, n))) for number in range(n)]
    for wanted, *parts in zip(whole, *shares, strict=True):
        assert torch.equal(torch.cat([part.images for part in parts]), wanted.images)
        for number, part in enumerate(parts):
            assert torch.equal(part.rows, wanted.rows)
            assert part.share == Processes(number, n).share(len(wanted.rows))


def test_epochs_seeds_and_steps_differ(records: list[Record]) -> None:
    base = batches(pictures(records))
    assert not torch.equal(base[0].images, batches(pictures(records), epoch=2)[0].images)
    assert not torch.equal(base[0].images, batches(pictures(records, seed=8))[0].images)
    first, second = base[2].images  # one picture twice in a batch
    assert not torch.equal(first, second)


def test_a_batch_smaller_than_the_processes_is_refused_at_once(records: list[Record]) -> None:
    with pytest.raises(ConfigError, match="A batch of 2 cannot be shared by 3 processes"):
        next(iter(pictures(records, processes=Processes(0, 3)).epoch(PLAN, 1, 0).batches))


def test_an_unreadable_picture_is_an_error(records: list[Record]) -> None:
    records[3].path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"3\.png"):
        batches(pictures(records))
