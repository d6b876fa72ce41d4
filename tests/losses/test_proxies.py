from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from resight.losses.memory import memory_contrast, update_memory
from resight.losses.proxies import (
    Proxies,
    intra_camera_contrast,
    offline_association,
    online_association,
    split_by_camera,
)

Loss = Callable[[Tensor, Tensor, Tensor, Proxies], Tensor]

# (cluster, camera) of each proxy; the proxies of a batch
WORLDS = {
    "three cameras": (
        [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 1), (3, 0), (3, 1), (3, 2), (4, 2)],
        [0, 0, 1, 9, 3, 4, 4, 5, 8, 9, 0, 9],
    ),
    "a batch of one camera": ([(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)], [0, 2, 4, 4]),
    "one camera in all": ([(0, 7), (1, 7), (2, 7)], [0, 1, 1, 2]),
    "camera numbers with gaps": ([(0, -1), (0, 40), (1, 3), (1, 40), (2, -1)], [0, 1, 2, 4]),
    "one cluster": ([(0, 0), (0, 1)], [0, 1, 1]),
}
ONLINE = {"n_positives": 2, "balance": 0.3}
LOSSES: dict[str, Loss] = {
    "intra": partial(intra_camera_contrast, temperature=0.2),
    "offline": partial(offline_association, temperature=0.2, n_negatives=3),
    "offline, all others": partial(offline_association, temperature=0.2),
    "online": partial(online_association, temperature=0.2, n_negatives=3, **ONLINE),
    "online, all others": partial(online_association, temperature=0.2),
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def world(name: str, width: int = 6) -> tuple[Tensor, Tensor, Tensor, Proxies]:
    """Features of norms about 7, their proxies, the memory, and what it stands for."""
    pairs, own = WORLDS[name]
    clusters, cameras = (torch.tensor(column) for column in zip(*pairs, strict=True))
    memory = torch.nn.functional.normalize(normal(len(pairs), width, seed=100))
    return 3 * normal(len(own), width), torch.tensor(own), memory, Proxies(clusters, cameras)


def unit(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def compared(
    name: str, z: list[float], own: int, memory: list[list[float]], pairs: list[tuple[int, int]]
) -> tuple[list[int], list[int]]:
    """Positives and negatives of a picture in direction z, from the formulas of each loss."""
    everyone = range(len(memory))
    if name == "intra":
        return [own], [p for p in everyone if pairs[p][1] == pairs[own][1] and p != own]
    similarity = [dot(z, row) for row in memory]
    n_negatives = 50 if "all others" in name else 3
    if name.startswith("offline"):
        positives = [p for p in everyone if pairs[p][0] == pairs[own][0]]
    else:
        n_positives, balance = (3, 0.15) if "all others" in name else (2, 0.3)
        similarity = [
            balance * s + (1 - balance) * dot(memory[own], row) for s, row in zip(similarity, memory, strict=True)
        ]
        best = [
            max((p for p in everyone if pairs[p][1] == camera), key=lambda p: similarity[p])
            for camera in {camera for _, camera in pairs}
        ]
        positives = sorted(best, key=lambda p: -similarity[p])[:n_positives]
    others = sorted((p for p in everyone if p not in positives), key=lambda p: -similarity[p])
    return positives, others[:n_negatives]


def by_hand(name: str, features: Tensor, own: Tensor, memory: Tensor, proxies: Proxies) -> tuple[float, list[float]]:
    """The loss, and its gradient with regard to all features in one list."""
    rows, pairs = memory.tolist(), list(zip(proxies.clusters.tolist(), proxies.cameras.tolist(), strict=True))
    cameras = [pairs[p][1] for p in own.tolist()]
    total, gradient = 0.0, []
    for x, p, camera in zip(features.tolist(), own.tolist(), cameras, strict=True):
        z, length, weight = unit(x), math.sqrt(dot(x, x)), 1 / cameras.count(camera)
        positives, negatives = compared(name, z, p, rows, pairs)
        exponentials = {q: math.exp(dot(z, rows[q]) / 0.2) for q in positives + negatives}
        normaliser = sum(exponentials.values())
        total -= weight * sum(math.log(exponentials[q] / normaliser) for q in positives) / len(positives)
        slopes = {q: e / normaliser - (q in positives) / len(positives) for q, e in exponentials.items()}
        pull = [sum(slope * rows[q][d] for q, slope in slopes.items()) / 0.2 for d in range(len(z))]
        gradient += [weight * (g - dot(pull, z) * zd) / length for g, zd in zip(pull, z, strict=True)]
    return total, gradient


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("place", sorted(WORLDS))
def test_equals_the_formula(place: str, name: str) -> None:
    features, own, memory, proxies = world(place)
    loss = LOSSES[name](features.requires_grad_(), own, memory, proxies)
    (gradient,) = torch.autograd.grad(loss, features)
    expected, slopes = by_hand(name, features.detach(), own, memory, proxies)
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    torch.testing.assert_close(gradient.flatten(), torch.tensor(slopes, dtype=torch.float64), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("hardest", [True, False])
def test_batches_one_after_another_equal_the_formulas(hardest: bool) -> None:
    """As a training goes: losses of the memory before, then every proxy moves."""
    _, _, memory, proxies = world("three cameras")
    slow = memory.clone()
    for seed, batch in enumerate(([0, 0, 1, 9, 3, 4], [4, 4, 4, 5, 8], [2, 7, 0, 9, 7, 2])):
        features, own = (2 * normal(len(batch), 6, seed=seed)).requires_grad_(), torch.tensor(batch)
        losses = {name: loss(features, own, memory, proxies) for name, loss in LOSSES.items()}
        update_memory(memory, features, own, momentum=0.2, hardest=hardest)
        for name, loss in losses.items():
            (gradient,) = torch.autograd.grad(loss, features)
            expected, slopes = by_hand(name, features.detach(), own, slow, proxies)
            assert loss.item() == pytest.approx(expected, rel=1e-9), name
            torch.testing.assert_close(gradient.flatten(), torch.tensor(slopes, dtype=torch.float64))
        for p in set(batch):
            directions = [unit(x) for x, q in zip(features.tolist(), batch, strict=True) if q == p]
            if hardest:
                before = slow[p].tolist()
                directions = [min(directions, key=lambda z, before=before: dot(z, before))]
            for z in directions:
                moved = [0.2 * k + 0.8 * zd for k, zd in zip(slow[p].tolist(), z, strict=True)]
                slow[p] = torch.tensor(unit(moved), dtype=torch.float64)
        torch.testing.assert_close(memory, slow, rtol=1e-12, atol=1e-12)


def test_cases_solved_by_hand() -> None:
    """Two clusters, each seen by two cameras; the proxies are 1, i, -1, -i, the picture is 1 with proxy 0."""
    memory = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)
    proxies = Proxies(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]))
    own = torch.tensor([0])
    features = 5 * memory[:1]
    e = math.e
    found = intra_camera_contrast(features, own, memory, proxies, temperature=1.0)
    assert found.item() == pytest.approx(math.log(1 + e**-2))  # against -1, of the same camera
    found = offline_association(features, own, memory, proxies, temperature=1.0, n_negatives=1)
    assert found.item() == pytest.approx(math.log(e + 1 + 1) - 0.5)  # 1 and i together against -i, the hardest
    found = offline_association(features, own, memory, proxies, temperature=1.0, n_negatives=2)
    assert found.item() == pytest.approx(math.log(e + 1 + 1 / e + 1) - 0.5)
    found = online_association(features, own, memory, proxies, temperature=1.0, n_negatives=2, n_positives=1)
    assert found.item() == pytest.approx(math.log(e + 1 + 1) - 1)  # 1 against i and -i
    # with the own proxy i: 1 is as similar as 0.25, i as 0.75, -1 as -0.25, -i as -0.75
    found = online_association(
        features, own + 1, memory, proxies, temperature=1.0, n_negatives=1, n_positives=1, balance=0.25
    )
    assert found.item() == pytest.approx(math.log(1 + e))  # i against 1


def test_a_camera_with_few_pictures_counts_as_much_as_one_with_many() -> None:
    features, own, memory, proxies = world("three cameras")
    for name, loss in LOSSES.items():
        parts = [
            loss(features[rows], own[rows], memory, proxies)
            for camera in range(3)
            if len(rows := (proxies.cameras[own] == camera).nonzero()[:, 0])
        ]
        assert len(parts) == 3
        torch.testing.assert_close(loss(features, own, memory, proxies), torch.stack(parts).sum(), msg=name)
        camera_twice = torch.cat([torch.arange(len(own)), (proxies.cameras[own] == 1).nonzero()[:, 0]])
        torch.testing.assert_close(
            loss(features[camera_twice], own[camera_twice], memory, proxies), loss(features, own, memory, proxies)
        )


def test_with_one_camera_the_contrast_within_it_is_that_of_clusters() -> None:
    features, own, memory, proxies = world("one camera in all")
    expected = memory_contrast(features, own, memory, temperature=0.2)
    torch.testing.assert_close(LOSSES["intra"](features, own, memory, proxies), expected)
    torch.testing.assert_close(LOSSES["offline, all others"](features, own, memory, proxies), expected)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_order_numbering_norms_and_names_do_not_matter(name: str) -> None:
    features, own, memory, proxies = world("three cameras")
    expected = LOSSES[name](features, own, memory, proxies)
    order = torch.randperm(len(own), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(LOSSES[name](7 * features[order], own[order], memory, proxies), expected)
    renumbered = torch.randperm(len(memory), generator=torch.Generator().manual_seed(2))
    moved = Proxies(90 - 3 * proxies.clusters[renumbered], 5 * proxies.cameras[renumbered] - 8)
    found = LOSSES[name](features, renumbered.argsort()[own], memory[renumbered], moved)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_gradient_is_that_of_the_features_and_the_memory_before(name: str) -> None:
    features, own, memory, proxies = world("three cameras")
    memory.requires_grad_()
    (expected,) = torch.autograd.grad(LOSSES[name](features.requires_grad_(), own, memory, proxies), features)
    loss = LOSSES[name](features, own, memory, proxies)
    with torch.no_grad():
        memory.zero_()
    loss.backward()
    torch.testing.assert_close(features.grad, expected, rtol=0, atol=0)
    assert memory.grad is None


def test_equal_proxies_of_one_camera_stand_for_it_once() -> None:
    """Both are as similar as can be; one is a positive, the other a negative, and the second camera has its place."""
    memory = torch.tensor([[1.0, 0], [1, 0], [0, 1]], dtype=torch.float64)
    proxies = Proxies(torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]))
    found = online_association(memory[:1], torch.tensor([0]), memory, proxies, temperature=1.0, n_positives=2)
    assert found.item() == pytest.approx(math.log(2 * math.e + 1) - 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_all_are_float32_inside_autocast(name: str, dtype: torch.dtype) -> None:
    features, own, memory, proxies = world("three cameras", width=64)
    features, memory = features.to(dtype), memory.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = LOSSES[name](features, own, memory, proxies)
    assert found.dtype == torch.float32
    expected, _ = by_hand(name, features.double(), own, memory.double(), proxies)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_clusters_are_split_by_camera_and_numbered_in_order() -> None:
    labels = torch.tensor([2, 0, -1, 0, 2, 1, 0, -1, 2])
    cameras = torch.tensor([5, 1, 9, -1, 5, 3, 1, 1, 0])
    own, proxies = split_by_camera(labels, cameras)
    assert proxies.clusters.tolist() == [0, 0, 1, 2, 2]
    assert proxies.cameras.tolist() == [-1, 1, 3, 0, 5]
    assert own.tolist() == [4, 1, -1, 0, 4, 2, 1, -1, 3]
    assert own.dtype == proxies.clusters.dtype == proxies.cameras.dtype == torch.int64
    kept = labels >= 0
    assert torch.equal(proxies.clusters[own[kept]], labels[kept])
    assert torch.equal(proxies.cameras[own[kept]], cameras[kept])


@pytest.mark.parametrize("n", [0, 3])
def test_without_a_cluster_there_is_no_proxy(n: int) -> None:
    own, proxies = split_by_camera(torch.full((n,), -1), torch.arange(n))
    assert own.tolist() == [-1] * n
    assert len(proxies.clusters) == len(proxies.cameras) == 0
