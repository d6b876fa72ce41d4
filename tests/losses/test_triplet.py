from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from resight.losses.triplet import batch_hard_triplet

LABELS = [
    [0, 0, 1, 1],
    [3, 1, 3, 1, 2, 2, 3, 2, 1],  # any order
    [0, 0, 0, 0, 1, 2, 2],  # unequal; one identity comes once and has itself alone
    [5, 9],
]


def by_hand(features: Tensor, identities: list[int], margin: float | None) -> float:
    total = 0.0
    for i, anchor in enumerate(identities):
        distances = [math.sqrt(max(float(((features[i] - other) ** 2).sum()), 1e-12)) for other in features]
        gap = max(d for d, identity in zip(distances, identities, strict=True) if identity == anchor) - min(
            d for d, identity in zip(distances, identities, strict=True) if identity != anchor
        )
        total += math.log1p(math.exp(gap)) if margin is None else max(0.0, margin + gap)
    return total / len(identities)


def random_features(n: int, width: int = 6, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(n, width, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


@pytest.mark.parametrize("margin", [None, 0.0, 0.3, 4.0])
@pytest.mark.parametrize("identities", LABELS)
def test_equals_the_formula(identities: list[int], margin: float | None) -> None:
    features = random_features(len(identities))
    found = batch_hard_triplet(features, torch.tensor(identities), margin=margin)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(by_hand(features, identities, margin), abs=2e-7)  # rounding of |x|² + |x|²


@pytest.mark.parametrize("margin", [None, 0.3])
@pytest.mark.parametrize("identities", LABELS)
def test_its_gradient_is_the_slope(identities: list[int], margin: float | None) -> None:
    features = random_features(len(identities), width=3).requires_grad_()
    labels = torch.tensor(identities)
    assert torch.autograd.gradcheck(lambda x: batch_hard_triplet(x, labels, margin=margin), features, atol=1e-4)


def test_a_case_solved_by_hand() -> None:
    """On a line: 0 and 1 of one identity, 3 and 7 of another. Gaps 1 - 3, 1 - 2, 4 - 2, 4 - 6."""
    features, identities = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 1])
    assert batch_hard_triplet(features, identities, margin=0.3).item() == pytest.approx(2.3 / 4)
    assert batch_hard_triplet(features, identities, margin=1.5).item() == pytest.approx((0.5 + 3.5) / 4)
    soft = sum(math.log1p(math.exp(gap)) for gap in (-2, -1, 2, -2)) / 4
    assert batch_hard_triplet(features, identities, margin=None).item() == pytest.approx(soft)


def test_is_unmoved_by_order_names_shift_and_rotation() -> None:
    identities = torch.tensor(LABELS[1])
    features = random_features(len(identities))
    expected = batch_hard_triplet(features, identities, margin=0.3)
    order = torch.randperm(len(identities), generator=torch.Generator().manual_seed(1))
    rotation = torch.linalg.qr(random_features(6)).Q
    for moved, names in (
        (features[order], identities[order]),
        (features, 100 - 7 * identities),
        (features + 5, identities),
        (features @ rotation, identities),
    ):
        torch.testing.assert_close(batch_hard_triplet(moved, names, margin=0.3), expected)


def test_identities_that_lie_apart_cost_nothing() -> None:
    features = torch.tensor([[0.0], [1.0], [50.0], [51.0]], requires_grad=True)
    loss = batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]), margin=0.3)
    loss.backward()
    assert loss.item() == 0
    assert features.grad is not None
    assert not features.grad.any()


def test_equal_pictures_have_a_finite_gradient() -> None:
    features = torch.ones(4, 8, requires_grad=True)
    for margin in (None, 0.3):
        loss = batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]), margin=margin)
        (gradient,) = torch.autograd.grad(loss, features)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_is_computed_in_float32_inside_autocast(dtype: torch.dtype) -> None:
    identities = torch.tensor(LABELS[1])
    features = random_features(len(identities), width=64, scale=4.0).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = batch_hard_triplet(features, identities, margin=0.3)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(by_hand(features.double(), LABELS[1], 0.3), rel=1e-5)


@pytest.mark.parametrize("identities", [[4, 4, 4], [0], []])
def test_a_batch_of_one_identity_is_refused(identities: list[int]) -> None:
    with pytest.raises(ValueError, match="holds one identity only; a triplet needs a negative"):
        batch_hard_triplet(torch.zeros(len(identities), 2), torch.tensor(identities), margin=0.3)
