from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from resight.losses.identity import identity_loss


def by_hand(logits: Tensor, identities: Tensor, smoothing: float) -> float:
    """Minus the targets times the log of the softmax, entry by entry, averaged over the rows."""
    total = 0.0
    for row, identity in zip(logits.tolist(), identities.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(value) for value in row))
        for column, value in enumerate(row):
            target = (1 - smoothing) * (column == identity) + smoothing / len(row)
            total -= target * (value - log_sum)
    return total / len(logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("batch", "n_identities"), [(1, 1), (1, 5), (8, 3), (5, 40)])
def test_equals_the_formula(batch: int, n_identities: int, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(batch)
    logits = 3 * torch.randn(batch, n_identities, generator=generator, dtype=torch.float64)
    identities = torch.randint(n_identities, (batch,), generator=generator)
    found = identity_loss(logits, identities, smoothing=smoothing)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(by_hand(logits, identities, smoothing), rel=1e-12, abs=1e-12)


def test_equal_logits_cost_the_log_of_the_number_of_identities() -> None:
    for smoothing in (0.0, 0.1):
        loss = identity_loss(torch.full((3, 4), 7.0), torch.tensor([0, 3, 1]), smoothing=smoothing)
        assert loss.item() == pytest.approx(math.log(4))


def test_a_case_solved_by_hand() -> None:
    """The softmax of (ln 3, 0) is (3/4, 1/4); smoothing 0.2 makes the targets of identity 0 (0.9, 0.1)."""
    loss = identity_loss(torch.tensor([[math.log(3), 0.0]]), torch.tensor([0]), smoothing=0.2)
    assert loss.item() == pytest.approx(-0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4))


def test_is_unmoved_by_a_shift_of_a_row_and_by_the_order_of_rows_and_identities() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    identities = torch.tensor([0, 1, 4, 4, 2, 3])
    expected = identity_loss(logits, identities, smoothing=0.1)
    shift = torch.randn(6, 1, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(identity_loss(logits + shift, identities, smoothing=0.1), expected)
    rows, columns = torch.randperm(6, generator=generator), torch.randperm(5, generator=generator)
    moved = identity_loss(logits[rows][:, columns], torch.argsort(columns)[identities][rows], smoothing=0.1)
    torch.testing.assert_close(moved, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_give_a_float32_loss(dtype: torch.dtype) -> None:
    logits = torch.randn(8, 50, generator=torch.Generator().manual_seed(0)).to(dtype)
    identities = torch.arange(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = identity_loss(logits, identities, smoothing=0.1)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(by_hand(logits, identities, 0.1), rel=1e-6)


def test_an_identity_without_a_logit_is_refused() -> None:
    with pytest.raises(IndexError, match="out of bounds"):
        identity_loss(torch.zeros(1, 3), torch.tensor([3]), smoothing=0.0)
