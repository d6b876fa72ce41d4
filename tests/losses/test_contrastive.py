from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from resight.losses.contrastive import (
    cross_modal_projection_matching,
    image_text_contrastive,
    prompt_contrastive,
    similarity_distribution_matching,
    triplet_alignment,
)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

LABELS = [[0, 1, 2, 3], [4, 4, 0, 1, 4, 0], [1, 0, 0], [0, 1]]


def pairs(n: int, width: int = 5, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images, texts = torch.randn(2, n, width, generator=generator, dtype=torch.float64)
    return images, texts


def dot(a: Tensor, b: Tensor) -> float:
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


def cosine(a: Tensor, b: Tensor) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def table(function: Callable[[Tensor, Tensor], float], rows: Tensor, columns: Tensor) -> list[list[float]]:
    return [[function(row, column) for column in columns] for row in rows]


def log_softmax(row: list[float]) -> list[float]:
    log_sum = math.log(sum(math.exp(value) for value in row))
    return [value - log_sum for value in row]


def pull_together(logits: list[list[float]], identities: list[int]) -> float:
    """Mean over rows of minus the mean, over the row's positives, of the log of the softmax."""
    total = 0.0
    for row, identity in zip(logits, identities, strict=True):
        positives = [value for value, other in zip(log_softmax(row), identities, strict=True) if other == identity]
        total -= sum(positives) / len(positives)
    return total / len(logits)


def divergence(logits: list[list[float]], identities: list[int], norm: int) -> float:
    """Mean over rows of KL(softmax || same-identity mask divided by its norm of that order)."""
    total = 0.0
    for row, identity in zip(logits, identities, strict=True):
        mask = [float(other == identity) for other in identities]
        length = sum(value**norm for value in mask) ** (1 / norm)
        for log_p, value in zip(log_softmax(row), mask, strict=True):
            total += math.exp(log_p) * (log_p - math.log(value / length + 1e-8))
    return total / len(logits)


# --- prompts, one text an identity ---


@pytest.mark.parametrize("identities", LABELS)
def test_prompts_equal_a_loop_with_a_text_for_every_picture(identities: list[int]) -> None:
    images, texts = pairs(max(len(identities), max(identities) + 1))
    images = images[: len(identities)]
    repeated = texts[identities]
    found = prompt_contrastive(images, texts, torch.tensor(identities))
    assert found[0].item() == pytest.approx(pull_together(table(dot, images, repeated), identities), rel=1e-12)
    assert found[1].item() == pytest.approx(pull_together(table(dot, repeated, images), identities), rel=1e-12)


def test_a_text_counts_as_often_as_its_identity_has_pictures() -> None:
    """Two pictures of identity 0 and one of 1, all products 0: three equal texts, three equal pictures."""
    found = prompt_contrastive(torch.zeros(3, 2), torch.ones(2, 2), torch.tensor([0, 1, 0]))
    assert [part.item() for part in found] == pytest.approx([math.log(3)] * 2)


def test_texts_of_absent_identities_change_nothing_and_get_no_gradient() -> None:
    images, texts = pairs(6)
    texts.requires_grad_()
    identities = torch.tensor([1, 4, 1, 1, 4, 4])
    loss = torch.stack(prompt_contrastive(images, texts, identities))
    present = torch.stack(prompt_contrastive(images, texts[[1, 4]], (identities == 4).long()))
    torch.testing.assert_close(loss, present)
    (gradient,) = torch.autograd.grad(loss.sum(), texts)
    assert gradient.isfinite().all()
    assert gradient.any(dim=1).tolist() == [False, True, False, False, True, False]


def test_the_gradient_of_a_text_is_the_sum_over_its_copies() -> None:
    images, texts = pairs(4)
    texts = texts[:2].requires_grad_()
    identities = torch.tensor([0, 1, 1, 1])
    assert torch.autograd.gradcheck(lambda v, t: prompt_contrastive(v, t, identities), (images.requires_grad_(), texts))
    copies = texts.detach()[identities].requires_grad_()
    logits = images.detach() @ copies.T
    same = (identities[:, None] == identities).double()
    weights = same / same.sum(dim=1, keepdim=True)
    slow = -(weights * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum() / 4
    (expected,) = torch.autograd.grad(slow, copies)
    (found,) = torch.autograd.grad(sum(prompt_contrastive(images.detach(), texts, identities)), texts)
    torch.testing.assert_close(found, torch.stack([expected[0], expected[1:].sum(0)]))


def test_a_single_picture_costs_nothing() -> None:
    images, texts = pairs(1)
    assert [part.item() for part in prompt_contrastive(images, texts, torch.tensor([0]))] == pytest.approx([0, 0])


def test_features_of_any_size_stay_finite() -> None:
    images, texts = pairs(4)
    found = torch.stack(prompt_contrastive(1e3 * images, 1e3 * texts, torch.arange(4)))
    assert found.isfinite().all()


# --- pairs of pictures and captions ---

INFONCE_OF_ROWS: Loss = lambda v, t, y: image_text_contrastive(v, t, None, logit_scale=4)  # noqa: E731
INFONCE: Loss = lambda v, t, y: image_text_contrastive(v, t, y, logit_scale=4)  # noqa: E731
SDM: Loss = lambda v, t, y: similarity_distribution_matching(v, t, y, logit_scale=4)  # noqa: E731
TAL: Loss = lambda v, t, y: triplet_alignment(v, t, y, margin=0.1, temperature=0.25)  # noqa: E731
PAIRWISE = {"infonce-rows": INFONCE_OF_ROWS, "infonce": INFONCE, "sdm": SDM, "cmpm": cross_modal_projection_matching}
ALL = {**PAIRWISE, "tal": TAL}


def scaled_cosines(images: Tensor, texts: Tensor) -> list[list[float]]:
    return table(lambda a, b: 4 * cosine(a, b), images, texts)


@pytest.mark.parametrize("identities", LABELS)
def test_infonce_equals_the_formula(identities: list[int]) -> None:
    images, texts = pairs(len(identities))
    logits, transposed = scaled_cosines(images, texts), scaled_cosines(texts, images)
    for loss, positives in ((INFONCE_OF_ROWS, list(range(len(identities)))), (INFONCE, identities)):
        expected = (pull_together(logits, positives) + pull_together(transposed, positives)) / 2
        assert loss(images, texts, torch.tensor(identities)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("identities", LABELS)
def test_distribution_matching_equals_the_formula(identities: list[int]) -> None:
    images, texts = pairs(len(identities))
    both = (scaled_cosines(images, texts), scaled_cosines(texts, images))
    expected = sum(divergence(logits, identities, norm=1) for logits in both)
    assert SDM(images, texts, torch.tensor(identities)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("identities", LABELS)
def test_projection_matching_equals_the_formula(identities: list[int]) -> None:
    images, texts = pairs(len(identities))
    both = (
        table(lambda a, b: dot(a, b) / math.sqrt(dot(b, b)), *sides) for sides in ((images, texts), (texts, images))
    )
    expected = sum(divergence(logits, identities, norm=2) for logits in both)
    found = cross_modal_projection_matching(images, texts, torch.tensor(identities))
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("identities", LABELS)
def test_alignment_equals_the_formula(identities: list[int]) -> None:
    images, texts = pairs(len(identities))
    margin, temperature, expected = 0.1, 0.25, 0.0
    for cosines in (table(cosine, images, texts), table(cosine, texts, images)):
        for row, identity in zip(cosines, identities, strict=True):
            own = [value for value, other in zip(row, identities, strict=True) if other == identity]
            others = [value for value, other in zip(row, identities, strict=True) if other != identity]
            weights = [math.exp(value / temperature) for value in own]
            positive = sum(w * value for w, value in zip(weights, own, strict=True)) / sum(weights)
            negative = temperature * math.log(sum(math.exp(value / temperature) for value in others))
            expected += max(0.0, margin - positive + negative)
    assert TAL(images, texts, torch.tensor(identities)).item() == pytest.approx(expected, rel=1e-12)


def test_cases_solved_by_hand() -> None:
    """Pictures and captions are the two axes, each with its partner: cosines 1 and 0."""
    axes, identities = torch.eye(2, dtype=torch.float64), torch.arange(2)
    p = math.exp(4) / (math.exp(4) + 1)
    assert INFONCE(axes, 3 * axes, identities).item() == pytest.approx(-math.log(p))
    kl = p * math.log(p) + (1 - p) * (math.log(1 - p) - math.log(1e-8))
    assert SDM(axes, 3 * axes, identities).item() == pytest.approx(2 * kl, rel=1e-6)
    wide = triplet_alignment(axes, 3 * axes, identities, margin=1.5, temperature=0.25)
    assert wide.item() == pytest.approx(4 * 0.5)  # one negative at 0 each: 1.5 - 1 + 0, for 2 pairs and 2 directions
    assert TAL(axes, 3 * axes, identities).item() == 0


@pytest.mark.parametrize("name", sorted(ALL))
def test_order_of_pairs_sides_and_names_of_identities_do_not_matter(name: str) -> None:
    images, texts = pairs(6)
    identities = torch.tensor(LABELS[1])
    expected = ALL[name](images, texts, identities)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ALL[name](images[order], texts[order], identities[order]), expected)
    torch.testing.assert_close(ALL[name](texts, images, identities), expected)
    torch.testing.assert_close(ALL[name](images, texts, 90 - 3 * identities), expected)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"cmpm"}))
def test_norms_do_not_matter(name: str) -> None:
    images, texts = pairs(6)
    identities = torch.tensor(LABELS[1])
    torch.testing.assert_close(ALL[name](7 * images, texts / 9, identities), ALL[name](images, texts, identities))


@pytest.mark.parametrize("name", sorted(set(ALL) - {"tal"}))
def test_gradients_are_slopes(name: str) -> None:
    images, texts = (side.requires_grad_() for side in pairs(4, width=3))
    identities = torch.tensor([0, 1, 0, 2])
    assert torch.autograd.gradcheck(lambda v, t: ALL[name](v, t, identities), (images, texts))


def test_the_weights_of_alignment_get_no_gradient() -> None:
    images, texts = (side.requires_grad_() for side in pairs(4, width=3))
    identities = torch.tensor([0, 0, 1, 1])
    same = identities[:, None] == identities
    cosines = torch.nn.functional.cosine_similarity(images[:, None], texts, dim=2)
    slow = []
    for rows in (cosines, cosines.T):
        weights = (rows.detach() / 0.25).exp() * same
        positive = (weights / weights.sum(dim=1, keepdim=True) * rows).sum(dim=1)
        slow.append((0.1 - positive + 0.25 * ((rows / 0.25).exp() * ~same).sum(dim=1).log()).relu().sum())
    expected = torch.autograd.grad(slow[0] + slow[1], (images, texts))
    assert expected[0].any()
    torch.testing.assert_close(torch.autograd.grad(TAL(images, texts, identities), (images, texts)), expected)


@pytest.mark.parametrize("name", sorted(PAIRWISE))
def test_a_batch_of_one_identity_is_legal(name: str) -> None:
    images, texts = pairs(3)
    texts.requires_grad_()
    loss = PAIRWISE[name](images, texts, torch.zeros(3, dtype=torch.int64))
    assert torch.autograd.grad(loss, texts)[0].isfinite().all()


def test_a_batch_of_one_pair_costs_next_to_nothing() -> None:
    images, texts = pairs(1)
    for name, loss in PAIRWISE.items():
        assert abs(loss(images, texts, torch.tensor([0])).item()) < 1e-7, name


@pytest.mark.parametrize("identities", [[0], [2, 2, 2]])
def test_alignment_refuses_a_batch_of_one_identity(identities: list[int]) -> None:
    images, texts = pairs(len(identities))
    with pytest.raises(ValueError, match="holds one identity only; alignment needs a negative"):
        TAL(images, texts, torch.tensor(identities))


def test_a_learned_scale_gets_a_gradient() -> None:
    images, texts = pairs(4)
    for loss in (image_text_contrastive, similarity_distribution_matching):
        scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda s, loss=loss: loss(images, texts, torch.arange(4), logit_scale=s), scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_all_are_float32_inside_autocast(dtype: torch.dtype) -> None:
    images, texts = (side.to(dtype) for side in pairs(6, width=64))
    identities = torch.tensor(LABELS[1])
    for name, loss in {**ALL, "prompts": lambda v, t, y: torch.stack(prompt_contrastive(v, t, y)).sum()}.items():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = loss(images, texts, identities)
        assert found.dtype == torch.float32, name
        assert found.item() == pytest.approx(loss(images.double(), texts.double(), identities).item(), rel=1e-5), name


def test_half_precision_pictures_meet_float32_texts() -> None:
    """Stage 1 keeps its picture features in half precision."""
    images, texts = pairs(4)
    found = prompt_contrastive(images.half(), texts.float(), torch.arange(4))
    expected = prompt_contrastive(images.half().double(), texts.float().double(), torch.arange(4))
    assert [part.item() for part in found] == pytest.approx([part.item() for part in expected], rel=1e-6)
