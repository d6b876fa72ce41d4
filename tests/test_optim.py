from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from resight.clip.image import ResNetConfig, ViTConfig
from resight.clip.model import Clip, ClipConfig
from resight.clip.text import TextConfig
from resight.data.transforms import Preprocess
from resight.encoder import Card, Encoder, Side
from resight.errors import ConfigError
from resight.optim import (
    Descent,
    TextDescent,
    parameter_groups,
    set_rates,
    warmup_cosine,
    warmup_steps,
    warmup_then_cosine,
)

VIT_B16 = ViTConfig((256, 128), patch=16, stride=16, width=768, depth=12, heads=12, output=512, activation="quick_gelu")
RN50 = ResNetConfig((256, 128), (3, 4, 6, 3), width=64, heads=32, output=1024, last_stride=1)


def two_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2, bias=False)).double()


def test_groups_hold_all_that_learns_biases_apart() -> None:
    model = two_layers()
    model[1].bias.requires_grad_(False)
    others, biases = parameter_groups(model.named_parameters(), weight_decay=0.5, bias_rate_factor=2.0)
    assert [id(p) for p in others["params"]] == [id(p) for p in (model[0].weight, model[1].weight, model[2].weight)]
    assert [id(p) for p in biases["params"]] == [id(model[0].bias)]
    assert (others["weight_decay"], others["rate_factor"]) == (0.5, 1.0)
    assert (biases["weight_decay"], biases["rate_factor"]) == (0.5, 2.0)


def test_prompts_alone_have_no_bias_and_are_trained_all_the_same() -> None:
    vectors = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam(parameter_groups([("vectors", vectors)], weight_decay=1e-4))
    set_rates(optimizer, 0.1)
    vectors.grad = torch.ones(2)
    optimizer.step()
    torch.testing.assert_close(vectors.detach(), torch.full((2,), 0.9))


def test_nothing_to_train_is_refused() -> None:
    frozen = two_layers().requires_grad_(False)
    with pytest.raises(ValueError, match="every parameter is frozen; there is nothing to train"):
        parameter_groups(frozen.named_parameters(), weight_decay=0.0)


def clip_reid(config: ViTConfig | ResNetConfig, side: Side | None) -> dict[str, nn.Parameter]:
    """What stage 2 of CLIP-ReID trains for 751 identities; only shapes, on no device."""
    with torch.device("meta"):
        preprocess = Preprocess(*config.image_size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bilinear")
        encoder = Encoder(Clip(ClipConfig(config, None)), preprocess, Card("test"), feature="before-neck", side=side)
        _, last, projected = config.tap_widths
        classifiers = {
            "classifier_last.weight": nn.Parameter(torch.empty(751, last)),
            "classifier_projected.weight": nn.Parameter(torch.empty(751, projected)),
        }
    return {**dict(encoder.named_parameters()), **classifiers}


def test_members_of_clip_reids_groups() -> None:
    """The counts of the reference: 83 and 74 tensors for ViT-B/16, and 120 and 59 for RN50, whose code makes a camera
    table too, though nothing reads it; ours has none."""
    for config, side, expected in (
        (VIT_B16, Side(1.0, tuple("123456")), (83, 74)),
        (VIT_B16, None, (82, 74)),
        (RN50, None, (119, 59)),
    ):
        groups = parameter_groups(clip_reid(config, side).items(), weight_decay=1e-4, bias_rate_factor=2.0)
        assert tuple(len(group["params"]) for group in groups) == expected


def test_numbers_that_clip_reid_trains() -> None:
    trained = [p for p in clip_reid(VIT_B16, Side(1.0, tuple("123456"))).values() if p.requires_grad]
    assert len(trained) == 157
    assert sum(p.numel() for p in trained) == 87_107_584


def test_adam_in_two_groups_is_adam_tensor_by_tensor() -> None:
    """Kingma and Ba 2015, algorithm 1, with the decay added to the gradient; biases learn twice as fast."""
    model, rate, decay = two_layers(), 1e-3, 0.01
    expected = {name: p.detach().clone() for name, p in model.named_parameters()}
    first = {name: torch.zeros_like(p) for name, p in expected.items()}
    second = {name: torch.zeros_like(p) for name, p in expected.items()}
    optimizer = torch.optim.Adam(parameter_groups(model.named_parameters(), weight_decay=decay, bias_rate_factor=2.0))
    generator = torch.Generator().manual_seed(1)
    for step in range(1, 4):
        set_rates(optimizer, rate / step)
        for name, parameter in model.named_parameters():
            gradient: Tensor = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.grad = gradient.clone()
            gradient += decay * expected[name]
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            own_rate = rate / step * (2 if "bias" in name else 1)
            root = (second[name] / (1 - 0.999**step)).sqrt()
            expected[name] = expected[name] - own_rate * first[name] / (1 - 0.9**step) / (root + 1e-8)
        optimizer.step()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.detach(), expected[name], atol=1e-14, rtol=1e-12)


def test_rates_follow_their_factors() -> None:
    groups = parameter_groups(two_layers().named_parameters(), weight_decay=0.0, bias_rate_factor=2.0)
    optimizer = torch.optim.SGD(groups, lr=1.0)
    for rate in (0.3, 0.0):
        set_rates(optimizer, rate)
        assert [group["lr"] for group in optimizer.param_groups] == [rate, 2 * rate]


# Schedules: the values that the methods' notes list; tests/test_golden.py has the recorded ones.


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (120, {1: 7.8e-5, 4: 2.82e-4, 5: 3.485071e-4, 60: 1.755e-4, 119: 1.0598e-6, 120: 1e-6}),
        (60, {5: 3.440541e-4, 30: 1.755e-4, 59: 1.239146e-6, 60: 1e-6}),
    ],
)
def test_rates_of_clip_reids_first_stage(epochs: int, expected: dict[int, float]) -> None:
    for epoch, rate in expected.items():
        found = warmup_cosine(epoch, epochs=epochs, rate=3.5e-4, start=1e-5, floor=1e-6, warmup=5)
        assert found == pytest.approx(rate, rel=1e-4 if epoch == 119 else 2e-7)


@pytest.mark.parametrize(
    ("rate", "factor", "milestones", "expected"),
    [
        (5e-6, 0.1, (30, 50), {1: 9.5e-7, 2: 1.4e-6, 5: 2.75e-6, 9: 4.55e-6, 10: 5e-6, 29: 5e-6, 30: 5e-7, 49: 5e-7}),
        (5e-6, 0.1, (30, 50), {50: 5e-8, 60: 5e-8}),
        (
            3.5e-4,
            0.01,
            (40, 70),
            {1: 3.815e-5, 10: 3.5e-4, 39: 3.5e-4, 40: 3.5e-5, 69: 3.5e-5, 70: 3.5e-6, 120: 3.5e-6},
        ),
    ],
)
def test_rates_of_clip_reids_second_stage(
    rate: float, factor: float, milestones: tuple[int, ...], expected: dict[int, float]
) -> None:
    for epoch, listed in expected.items():
        found = warmup_steps(epoch, rate=rate, milestones=milestones, gamma=0.1, warmup=10, factor=factor, shift=0)
        assert found == pytest.approx(listed, rel=1e-12)


def test_rates_of_pcl_clip() -> None:
    listed = {
        1: 3.5e-5,
        2: 6.65e-5,
        10: 3.185e-4,
        11: 3.5e-4,
        30: 3.5e-4,
        31: 3.5e-5,
        50: 3.5e-5,
        51: 3.5e-6,
        60: 3.5e-6,
    }
    for epoch, rate in listed.items():
        found = warmup_steps(epoch, rate=3.5e-4, milestones=(30, 50), gamma=0.1, warmup=10, factor=0.1, shift=1)
        assert found == pytest.approx(rate, rel=1e-12)


def test_rates_of_irra() -> None:
    listed = {
        0: 1e-6,
        1: 2.8e-6,
        2: 4.6e-6,
        3: 6.4e-6,
        4: 8.2e-6,
        5: 1e-5,
        6: 9.991846e-6,
        30: 5.711574e-6,
        59: 8.154e-9,
    }
    for index, rate in listed.items():  # the notes count epochs from 0
        precision = 1e-4 if index == 59 else 1e-7
        found = warmup_then_cosine(index + 1, epochs=60, rate=1e-5, warmup=5, factor=0.1)
        assert found == TextDescent().rate_in(index + 1) == pytest.approx(rate, rel=precision)


def test_a_schedule_without_warm_up() -> None:
    assert warmup_cosine(1, epochs=2, rate=1.0, start=9.0, floor=0.0, warmup=0) == pytest.approx(0.5)
    assert warmup_then_cosine(1, epochs=2, rate=1.0, warmup=0, factor=0.1) == 1.0
    assert warmup_steps(1, rate=1.0, milestones=(2,), gamma=0.1, warmup=0, factor=0.1, shift=0) == 1.0


def test_a_descent_is_clip_reids_second_stage_unless_told() -> None:
    rates = [Descent().rate_in(epoch) for epoch in (1, 9, 10, 29, 30, 50, 60)]
    assert rates == pytest.approx([9.5e-7, 4.55e-6, 5e-6, 5e-6, 5e-7, 5e-8, 5e-8], rel=1e-12)
    resnet = Descent(epochs=120, rate=3.5e-4, weight_decay=5e-4, warmup_factor=0.01, milestones=(40, 70))
    assert [resnet.rate_in(epoch) for epoch in (1, 40, 120)] == pytest.approx([3.815e-5, 3.5e-5, 3.5e-6], rel=1e-12)
    groups = resnet.groups(two_layers().named_parameters())
    assert [(group["weight_decay"], group["rate_factor"]) for group in groups] == [
        (5e-4, 1.0),
        (5e-4, 2.0),
        (5e-4, 1.0),
    ]


def test_pcl_clips_schedule_steps_after_an_epoch() -> None:
    """The rates that PCL-CLIP's code has in effect."""
    descent = Descent(optimizer="sgd", rate=3.5e-4, stepped="after")
    rates = [descent.rate_in(epoch) for epoch in (1, 2, 10, 11, 30, 31, 50, 51, 60)]
    expected = [3.5e-5, 6.65e-5, 3.185e-4, 3.5e-4, 3.5e-4, 3.5e-5, 3.5e-5, 3.5e-6, 3.5e-6]
    assert rates == pytest.approx(expected, rel=1e-12)
    made = descent.optimizer_of(two_layers().named_parameters())
    assert isinstance(made, torch.optim.SGD)
    assert {group["momentum"] for group in made.param_groups} == {0.9}


def test_every_field_of_a_descent_acts() -> None:
    def seen(descent: Descent) -> tuple[object, ...]:
        groups = descent.groups([*two_layers().named_parameters(), ("classifier.weight", nn.Parameter(torch.ones(2)))])
        rates = [descent.rate_in(epoch) for epoch in range(1, 61)]
        kind = type(descent.optimizer_of(two_layers().named_parameters()))
        return rates, [(group["weight_decay"], group["rate_factor"]) for group in groups], descent.epochs, kind

    changes = {
        "epochs": 61,
        "rate": 1e-5,
        "weight_decay": 0.0,
        "bias_rate_factor": 1.0,
        "classifier_rate_factor": 10.0,
        "warmup_epochs": 9,
        "warmup_factor": 0.2,
        "milestones": (31, 50),
        "decay": 0.5,
        "optimizer": "sgd",
        "stepped": "after",
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Descent)}
    for name, value in changes.items():
        assert seen(Descent(**{name: value})) != seen(Descent()), name


def test_a_descent_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--epochs 0: at least 1\."):
        Descent(epochs=0)
    factors = ("bias_rate_factor", "classifier_rate_factor", "warmup_factor")
    for name in ("rate", "weight_decay", "warmup_epochs", "decay", *factors):
        for value in (-1, float("nan"), float("inf")):
            with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} {value}: 0 or more"):
                Descent(**{name: value})


def irras_rules(name: str) -> tuple[float, float]:
    """Rate and decay of a parameter, set one after the other as the notes list them."""
    rate, decay = 1e-5, 4e-5
    if "cross" in name:
        rate = 1e-5 * 5
    if "bias" in name:
        rate, decay = 1e-5 * 2, 0.0
    if "classifier" in name or "mlm_head" in name:
        rate = 1e-5 * 5
    return rate, decay


def test_irras_table_of_rates_and_decays() -> None:
    """Every parameter of both towers, and of what is learned beside them."""
    text = TextConfig(width=32, depth=2, heads=2, output=16, activation="quick_gelu", vocabulary=100)
    image = ViTConfig((32, 32), patch=16, stride=16, width=32, depth=2, heads=2, output=16, activation="quick_gelu")
    named = {f"encoder.clip.{name}": p for name, p in Clip(ClipConfig(image, text)).named_parameters()}
    fresh = ("cross_attention.in_proj_weight", "cross_attention.in_proj_bias", "norm_text.weight", "mlm_head.0.weight")
    named |= {name: nn.Parameter(torch.ones(2)) for name in (*fresh, "mlm_head.0.bias", "norm_text.bias")}
    named |= {name: nn.Parameter(torch.ones(2)) for name in ("classifier.weight", "classifier.bias")}
    optimizer = TextDescent().optimizer_of(named.items())
    set_rates(optimizer, 1e-5)
    names = {id(parameter): name for name, parameter in named.items()}
    found = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert found == {name: pytest.approx(irras_rules(name)) for name in named}
    assert found["encoder.clip.image.positional_embedding"] == found["norm_text.weight"] == (1e-5, 4e-5)
    assert found["cross_attention.in_proj_bias"] == (2e-5, 0.0)
    assert found["mlm_head.0.bias"] == found["classifier.bias"] == (pytest.approx(5e-5), 0.0)
    assert len(optimizer.param_groups) == 4


def test_twenty_steps_of_irras_adam() -> None:
    """Coupled decay, and an epsilon that counts: gradients of a thousandth and below."""
    parameter = nn.Parameter(torch.linspace(-1, 1, 6))
    expected = parameter.detach().clone()
    first, second = torch.zeros(6), torch.zeros(6)
    optimizer = TextDescent(rate=1e-2).optimizer_of([("weight", parameter)])
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 21):
        gradient = 10.0 ** torch.arange(-5, 1) * torch.randn(6, generator=generator)
        parameter.grad = gradient.clone()
        set_rates(optimizer, 1e-2)
        optimizer.step()
        gradient = gradient + 4e-5 * expected
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        step_size = 1e-2 * first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-3)
        expected = expected - step_size
    torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=1e-6)


def test_adamw_decays_what_has_no_gradient_to_speak_of() -> None:
    """Decoupled: by rate times decay, whatever the gradient; its betas are those that CLIP was trained with."""
    parameter = nn.Parameter(torch.ones(3))
    optimizer = TextDescent(optimizer="adamw", rate=1e-2, weight_decay=0.5).optimizer_of([("weight", parameter)])
    assert optimizer.defaults["betas"] == (0.9, 0.98)
    parameter.grad = torch.zeros(3)
    set_rates(optimizer, 1e-2)
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 1 - 1e-2 * 0.5))


def test_every_field_of_a_text_descent_acts() -> None:
    def seen(descent: TextDescent) -> tuple[object, ...]:
        groups = descent.groups([*two_layers().named_parameters(), ("classifier.weight", nn.Parameter(torch.ones(2)))])
        rates = [descent.rate_in(epoch) for epoch in range(1, 61)]
        made = descent.optimizer_of(two_layers().named_parameters())
        return rates, [(group["weight_decay"], group["rate_factor"]) for group in groups], type(made), made.defaults

    changes = {
        "epochs": 61,
        "optimizer": "adamw",
        "rate": 2e-5,
        "weight_decay": 0.0,
        "epsilon": 1e-8,
        "bias_rate_factor": 1.0,
        "fresh_rate_factor": 10.0,
        "warmup_epochs": 0,
        "warmup_factor": 0.2,
    }
    assert set(changes) == {field.name for field in dataclasses.fields(TextDescent)}
    for name, value in changes.items():
        assert seen(TextDescent(**{name: value})) != seen(TextDescent()), name


def test_a_text_descent_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--epochs 0: at least 1\."):
        TextDescent(epochs=0)
    for warmup in (-1, 2):
        with pytest.raises(ConfigError, match=f"--warmup-epochs {warmup}: 0 or more, and fewer than the 2 epochs"):
            TextDescent(epochs=2, warmup_epochs=warmup)
    for value in (-1, float("nan"), float("inf")):
        for name in ("rate", "weight_decay", "bias_rate_factor", "fresh_rate_factor", "warmup_factor"):
            with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} {value}: 0 or more"):
                TextDescent(**{name: value})
        with pytest.raises(ConfigError, match=f"--epsilon {value}: more than 0"):
            TextDescent(epsilon=value)
    with pytest.raises(ConfigError, match="--epsilon 0: more than 0"):
        TextDescent(epsilon=0)
    with pytest.raises(ValueError, match="every parameter is frozen; there is nothing to train"):
        TextDescent().groups(two_layers().requires_grad_(False).named_parameters())
