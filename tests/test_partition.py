"""Who belongs to which row of the memory, and that a checkpoint brings all of it back."""

from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from resight.partition import Partition

CPU = torch.device("cpu")
LABELS = torch.tensor([1, 0, -1, 1, 0, 1])
CAMERAS = torch.tensor([7, 3, 3, 3, 3, 7])


def features() -> Tensor:
    return normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)))


def test_it_begins_empty() -> None:
    found = Partition(CPU)
    assert (found.epoch, found.labels.tolist(), found.own.tolist(), found.memory.numel()) == (0, [], [], 0)


def test_without_cameras_a_row_is_the_mean_of_a_label() -> None:
    found, given = Partition(CPU), features()
    found.rebuild(4, given, LABELS)
    assert found.epoch == 4
    assert found.own.tolist() == found.labels.tolist() == LABELS.tolist()
    assert found.proxies.clusters.tolist() == [0, 1]
    expected = [given[[1, 4]].mean(0), given[[0, 3, 5]].mean(0)]
    torch.testing.assert_close(found.memory, torch.stack([mean / mean.norm() for mean in expected]))


def test_with_cameras_a_row_is_the_mean_of_a_label_by_one_camera() -> None:
    found, given = Partition(CPU), features()
    found.rebuild(1, given, LABELS, CAMERAS)
    assert found.labels.tolist() == LABELS.tolist()
    assert found.own.tolist() == [2, 0, -1, 1, 0, 2]
    assert found.proxies.clusters.tolist() == [0, 1, 1]
    assert found.proxies.cameras.tolist() == [3, 3, 7]
    expected = [given[[1, 4]].mean(0), given[3], given[[0, 5]].mean(0)]
    torch.testing.assert_close(found.memory, torch.stack([mean / mean.norm() for mean in expected]))


def test_nothing_of_the_epoch_before_is_left_in_the_memory() -> None:
    twice, once = Partition(CPU), Partition(CPU)
    twice.rebuild(1, features().flip(0), torch.zeros(6, dtype=torch.int64), CAMERAS)
    for found in (twice, once):
        found.rebuild(2, features(), LABELS)
    assert torch.equal(twice.memory, once.memory)
    assert torch.equal(twice.own, once.own)


@pytest.mark.parametrize("cameras", [None, CAMERAS])
def test_a_checkpoint_brings_all_of_it_back(cameras: Tensor | None) -> None:
    """Also into one of another size, and through a file that may hold nothing but tensors and plain values."""
    found, again = Partition(CPU), Partition(CPU)
    found.rebuild(1, features(), LABELS.flip(0), cameras)
    found.rebuild(2, features(), LABELS, cameras)
    found.memory[0] = 7
    again.rebuild(9, features()[:2], LABELS[:2].abs())
    file = io.BytesIO()
    torch.save(found.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True), strict=False)
    assert again.epoch == 2
    for name in ("labels", "own", "memory"):
        assert torch.equal(getattr(again, name), getattr(found, name)), name
    assert torch.equal(again.proxies.clusters, found.proxies.clusters)
    assert torch.equal(again.proxies.cameras, found.proxies.cameras)


def test_nothing_of_it_is_a_parameter_or_a_buffer() -> None:
    found = Partition(CPU)
    found.rebuild(1, features(), LABELS)
    assert not [*found.parameters(), *found.buffers()]
