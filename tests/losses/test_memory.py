from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from resight.losses.memory import centroids, memory_contrast, update_memory

BATCHES = [
    [0, 0, 1, 1, 2, 2, 3, 3],
    [3, 1, 3, 1, 2, 2, 3, 2, 1],  # any order, unequal; label 0 is absent
    [2, 2, 2, 2, 2],
    [4],
]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def memory_of(n: int, width: int = 6, *, seed: int = 100) -> Tensor:
    return torch.nn.functional.normalize(normal(n, width, seed=seed))


def unit(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def loss_by_hand(features: list[list[float]], labels: list[int], memory: list[list[float]], tau: float) -> float:
    total = 0.0
    for feature, label in zip(features, labels, strict=True):
        logits = [dot(unit(feature), row) / tau for row in memory]
        total += math.log(sum(math.exp(x) for x in logits)) - logits[label]
    return total / len(labels)


def gradient_by_hand(
    features: list[list[float]], labels: list[int], memory: list[list[float]], tau: float
) -> list[list[float]]:
    """(I - z zᵀ) / |x| · Σ (share - own) · row / tau / B."""
    gradients = []
    for feature, label in zip(features, labels, strict=True):
        z, length = unit(feature), math.sqrt(dot(feature, feature))
        shares = [math.exp(dot(z, row) / tau) for row in memory]
        slopes = [share / sum(shares) - (k == label) for k, share in enumerate(shares)]
        pull = [sum(s * row[d] for s, row in zip(slopes, memory, strict=True)) / tau for d in range(len(z))]
        gradients.append([(p - dot(pull, z) * zd) / length / len(labels) for p, zd in zip(pull, z, strict=True)])
    return gradients


def moved_by_hand(
    memory: list[list[float]], features: list[list[float]], labels: list[int], mu: float, hardest: bool
) -> list[list[float]]:
    memory = [list(row) for row in memory]
    directions = [unit(feature) for feature in features]
    rows = list(range(len(labels)))
    if hardest:
        rows = [
            min((i for i in rows if labels[i] == label), key=lambda i: dot(directions[i], memory[labels[i]]))
            for label in sorted(set(labels))
        ]
    for i in rows:
        old = memory[labels[i]]
        memory[labels[i]] = unit([mu * k + (1 - mu) * z for k, z in zip(old, directions[i], strict=True)])
    return memory


@pytest.mark.parametrize("hardest", [True, False])
@pytest.mark.parametrize(("momentum", "temperature"), [(0.2, 0.05), (0.1, 0.5)])
def test_batches_one_after_another_equal_the_formulas(hardest: bool, momentum: float, temperature: float) -> None:
    """Loss, gradient and memory of each batch follow from the memory that the batch before has left."""
    memory = memory_of(5)
    slow = memory.tolist()
    for seed, labels in enumerate(BATCHES):
        features = (3 * normal(len(labels), 6, seed=seed)).requires_grad_()
        rows = features.tolist()
        loss = memory_contrast(features, torch.tensor(labels), memory, temperature=temperature)
        update_memory(memory, features, torch.tensor(labels), momentum=momentum, hardest=hardest)
        (gradient,) = torch.autograd.grad(loss, features)  # of the memory before the update, which came first
        assert loss.item() == pytest.approx(loss_by_hand(rows, labels, slow, temperature), rel=1e-9)
        expected = torch.tensor(gradient_by_hand(rows, labels, slow, temperature), dtype=torch.float64)
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
        slow = moved_by_hand(slow, rows, labels, momentum, hardest)
        torch.testing.assert_close(memory, torch.tensor(slow, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(memory[1:], memory_of(5)[1:])
    torch.testing.assert_close(memory[0].norm(), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("before", [True, False])
def test_the_update_may_stand_before_or_after_the_backward_pass(before: bool) -> None:
    memory, features, labels = memory_of(4), normal(8, 6).requires_grad_(), torch.tensor(BATCHES[0])
    (expected,) = torch.autograd.grad(memory_contrast(features, labels, memory, temperature=0.1), features)
    loss = memory_contrast(features, labels, memory, temperature=0.1)
    if before:
        update_memory(memory, features, labels, momentum=0.2, hardest=True)
    loss.backward()
    torch.testing.assert_close(features.grad, expected, rtol=0, atol=0)


def test_only_the_features_get_a_gradient() -> None:
    memory, features = memory_of(4).requires_grad_(), normal(8, 6).requires_grad_()
    memory_contrast(features, torch.tensor(BATCHES[0]), memory, temperature=0.1).backward()
    assert memory.grad is None
    assert features.grad is not None
    torch.testing.assert_close((features.grad * features).sum(dim=1), torch.zeros(8, dtype=torch.float64))
    own = torch.tensor(BATCHES[0])
    assert torch.autograd.gradcheck(lambda x: memory_contrast(x, own, memory, temperature=0.5), features)


def test_cases_solved_by_hand() -> None:
    """The memory is two axes; one picture lies on the first, one between them."""
    memory = torch.eye(2, dtype=torch.float64)
    features = torch.tensor([[5.0, 0.0], [3.0, 3.0]], dtype=torch.float64)
    loss = memory_contrast(features, torch.tensor([0, 0]), memory, temperature=0.5)
    assert loss.item() == pytest.approx((math.log1p(math.exp(-2)) + math.log(2)) / 2)

    half = math.sqrt(0.5)
    moved = memory.clone()  # the hardest picture of label 0 is the second, and takes its place with momentum 0
    update_memory(moved, features, torch.tensor([0, 0]), momentum=0.0, hardest=True)
    torch.testing.assert_close(moved, torch.tensor([[half, half], [0, 1]], dtype=torch.float64))
    moved = memory.clone()  # one after the other the last one stays, whatever its similarity
    update_memory(moved, features.flip(0), torch.tensor([0, 0]), momentum=0.0, hardest=False)
    torch.testing.assert_close(moved, memory)
    moved = memory.clone()  # equal parts of (1, 0) and (0, 1)
    update_memory(moved, features[:1], torch.tensor([1]), momentum=0.5, hardest=False)
    torch.testing.assert_close(moved, torch.tensor([[1, 0], [half, half]], dtype=torch.float64))
    moved = memory.clone()
    update_memory(moved, features, torch.tensor([0, 1]), momentum=1.0, hardest=True)
    torch.testing.assert_close(moved, memory)


def test_of_two_equally_hard_pictures_the_first_moves_the_memory() -> None:
    memory = torch.tensor([[1.0, 0.0]])
    update_memory(memory, torch.tensor([[0.0, 1.0], [0.0, -1.0]]), torch.tensor([0, 0]), momentum=0.0, hardest=True)
    torch.testing.assert_close(memory, torch.tensor([[0.0, 1.0]]))


@pytest.mark.parametrize("hardest", [True, False])
def test_norms_of_features_and_other_rows_do_not_matter(hardest: bool) -> None:
    memory, features, labels = memory_of(6), normal(9, 6), torch.tensor(BATCHES[1])
    scaled = features * torch.arange(1, 10, dtype=torch.float64)[:, None]
    torch.testing.assert_close(
        memory_contrast(scaled, labels, memory, temperature=0.1),
        memory_contrast(features, labels, memory, temperature=0.1),
    )
    left, right = memory.clone(), memory.clone()
    update_memory(left, features, labels, momentum=0.2, hardest=hardest)
    update_memory(right, scaled, labels, momentum=0.2, hardest=hardest)
    torch.testing.assert_close(left, right)
    absent = [0, 4, 5]
    torch.testing.assert_close(left[absent], memory[absent], rtol=0, atol=0)


@pytest.mark.parametrize("hardest", [True, False])
def test_order_between_labels_does_not_matter(hardest: bool) -> None:
    memory, features, labels = memory_of(4), normal(9, 6), torch.tensor(BATCHES[1])
    order = labels.argsort(stable=True)  # within a label it stays as it was
    left, right = memory.clone(), memory.clone()
    update_memory(left, features, labels, momentum=0.2, hardest=hardest)
    update_memory(right, features[order], labels[order], momentum=0.2, hardest=hardest)
    torch.testing.assert_close(left, right, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("hardest", [True, False])
def test_all_is_float32_inside_autocast(dtype: torch.dtype, hardest: bool) -> None:
    labels = torch.tensor(BATCHES[1])
    features = (4 * normal(9, 64)).to(dtype)
    memory = memory_of(4, 64).float()
    slow = memory.tolist()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = memory_contrast(features, labels, memory, temperature=0.05)
        update_memory(memory, features, labels, momentum=0.2, hardest=hardest)
        means = centroids(features, labels - 1)
    assert loss.dtype == memory.dtype == means.dtype == torch.float32
    rows = features.double().tolist()
    assert loss.item() == pytest.approx(loss_by_hand(rows, BATCHES[1], slow, 0.05), rel=1e-5)
    expected = torch.tensor(moved_by_hand(slow, rows, BATCHES[1], 0.2, hardest))
    torch.testing.assert_close(memory, expected, rtol=1e-5, atol=1e-6)


def test_centroids_equal_the_formula_and_leave_out_what_has_no_label() -> None:
    features, labels = memory_of(9), [2, 0, -1, 2, 1, 1, 0, -1, 2]
    slow = []
    for label in range(3):
        rows = [row for row, other in zip(features.tolist(), labels, strict=True) if other == label]
        slow.append(unit([sum(column) / len(rows) for column in zip(*rows, strict=True)]))
    found = centroids(features, torch.tensor(labels))
    torch.testing.assert_close(found, torch.tensor(slow, dtype=torch.float64))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(centroids(features[order], torch.tensor(labels)[order]), found)


def test_the_centroid_of_one_picture_is_the_picture() -> None:
    features = memory_of(3)
    torch.testing.assert_close(centroids(features, torch.tensor([1, 2, 0])), features[[2, 0, 1]])


def test_labels_with_gaps_have_no_centroids() -> None:
    with pytest.raises(ValueError, match="label 1 has no picture; number the labels from 0 without gaps"):
        centroids(memory_of(3), torch.tensor([0, 2, 2]))
    with pytest.raises(ValueError, match="label 0 has no picture"):
        centroids(memory_of(3), torch.tensor([1, -1, 1]))
    for n, labels in ((3, torch.tensor([-1, -1, -1])), (0, torch.zeros(0, dtype=torch.int64))):
        with pytest.raises(ValueError, match="no picture has a label; there is nothing to take a mean of"):
            centroids(memory_of(n), labels)
