"""A tower computed in parts gives what it gives on the whole batch: the outputs, the loss, and every gradient."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn

from resight.clip.image import ModifiedResNet, ResNetConfig, VisionTransformer, ViTConfig
from resight.environment import Precision
from resight.errors import ConfigError
from resight.losses.triplet import batch_hard_triplet
from resight.processes import Processes
from resight.whole_batch import Outputs, WholeBatch

CPU = torch.device("cpu")
IDENTITIES = torch.tensor([0, 0, 1, 1, 2, 2, 2])


class Model(nn.Module):
    """A tower with camera vectors, and a neck and a classifier outside it, as the recipes have."""

    def __init__(self, tower: nn.Module, width: int) -> None:
        super().__init__()
        self.tower = tower
        self.cameras = nn.Parameter(torch.randn(3, width))
        self.neck = nn.BatchNorm1d(width)
        self.classifier = nn.Linear(width, 3)
        self.shared = nn.Parameter(torch.randn(width))

    def run(self, images: Tensor, side: Tensor | None) -> Outputs:
        penultimate, last, _ = self.tower(images, side=None if side is None else side @ self.cameras)
        return penultimate, last * self.shared, last.detach()

    def loss(self, whole: WholeBatch, images: Tensor, side: Tensor | None) -> Tensor:
        share = whole.processes.share(len(images))
        first, second, frozen = whole(len(images), images[share], None if side is None else side[share])
        logits = self.classifier(self.neck(second)) + (second * self.shared).sum(1, keepdim=True)
        triplets = batch_hard_triplet(first, IDENTITIES, margin=0.3) + batch_hard_triplet(second, IDENTITIES, margin=9)
        return triplets + nn.functional.cross_entropy(logits, IDENTITIES) + 0.1 * (frozen * second).mean()


def vit() -> Model:
    torch.manual_seed(0)
    tower = VisionTransformer(ViTConfig((32, 16), 8, 8, 32, 2, 2, 16, "quick_gelu"))
    return Model(tower, 32).train()


def resnet() -> Model:
    torch.manual_seed(0)
    return Model(ModifiedResNet(ResNetConfig((32, 32), (1, 1, 1, 1), 2, 2, 8)), 64).train()


def spread(model: Model, *, micro_batch: int = 0, precision: Precision = "float32", **more: bool) -> WholeBatch:
    return WholeBatch(
        model.run,
        module=model.tower,
        processes=Processes(),
        device=CPU,
        precision=precision,
        micro_batch=micro_batch,
        **more,
    )


def loss_and_gradients(
    model: Model, images: Tensor, side: Tensor | None = None, *, micro_batch: int = 0, precision: Precision = "float32"
) -> tuple[float, dict[str, Tensor]]:
    model = copy.deepcopy(model)
    loss = model.loss(spread(model, micro_batch=micro_batch, precision=precision), images, side)
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor], *, relative: float) -> None:
    assert found.keys() == wanted.keys()
    largest = max(float(gradient.abs().max()) for gradient in wanted.values())
    for name, gradient in wanted.items():  # some are 0 but for rounding, such as those of the keys' biases
        scale = max(float(gradient.abs().max()), 1e-3 * largest)
        assert float((found[name] - gradient).abs().max()) <= relative * scale, name


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 4, 7, 100])
@pytest.mark.parametrize("with_side", [True, False])
@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-5), (torch.float32, 1e-4)])
def test_micro_batches_give_the_gradients_of_one_batch(
    micro_batch: int, with_side: bool, dtype: torch.dtype, relative: float
) -> None:
    model, images = vit().to(dtype), torch.randn(7, 3, 32, 16, dtype=dtype)
    side = torch.rand(7, 3, dtype=dtype) if with_side else None
    loss, wanted = loss_and_gradients(model, images, side)
    again, found = loss_and_gradients(model, images, side, micro_batch=micro_batch)
    assert again == pytest.approx(loss, rel=relative)
    assert ("cameras" in wanted) == with_side
    assert len(wanted) > 30
    assert_equal(found, wanted, relative=relative)


def test_whole_batches_are_the_plain_model() -> None:
    """Held against the tower itself, without WholeBatch."""
    model, images = vit().double(), torch.randn(7, 3, 32, 16, dtype=torch.float64)
    _, found = loss_and_gradients(model, images, micro_batch=3)

    class Plain(WholeBatch):
        def __call__(self, n_rows: int, *inputs: Tensor | None) -> Outputs:
            return model.run(*inputs)

    whole = Plain(model.run, module=model.tower, processes=Processes(), device=CPU, precision="float32")
    model.loss(whole, images, None).backward()
    assert_equal(found, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}, relative=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_in_micro_batches(precision: Precision) -> None:
    model, images = vit(), torch.randn(7, 3, 32, 16)
    loss, wanted = loss_and_gradients(model, images, precision=precision)
    again, found = loss_and_gradients(model, images, micro_batch=3, precision=precision)
    assert again == pytest.approx(loss, rel=1e-2)
    assert_equal(found, wanted, relative=0.1)
    outputs = spread(model, precision=precision)(7, images, None)
    assert {output.dtype for output in outputs} == {torch.float32}
    assert loss == pytest.approx(loss_and_gradients(model, images)[0], rel=2e-2)


def test_without_gradients_the_parts_are_only_joined() -> None:
    model, images = vit().double(), torch.randn(7, 3, 32, 16, dtype=torch.float64)
    with torch.no_grad():
        outputs = spread(model, micro_batch=3)(7, images, None)
    for output, whole in zip(outputs, model.run(images, None), strict=True):
        assert not output.requires_grad
        torch.testing.assert_close(output, whole)


def test_a_frozen_tower_needs_no_gradient() -> None:
    model, images = vit().double(), torch.randn(7, 3, 32, 16, dtype=torch.float64)
    model.tower.requires_grad_(False)
    _, wanted = loss_and_gradients(model, images)
    _, found = loss_and_gradients(model, images, micro_batch=2)
    assert not [name for name in found if name.startswith("tower.")]
    assert_equal(found, wanted, relative=1e-5)


def test_batch_norms_follow_each_part_once() -> None:
    """The statistics after a step in micro-batches are those of a forward pass of each part, and no more."""
    model, images = resnet(), torch.randn(7, 3, 32, 32)
    by_hand = copy.deepcopy(model)
    for part in images.split(3):
        by_hand.run(part, None)
    model.loss(spread(model, micro_batch=3), images, None).backward()
    wanted = dict(by_hand.tower.named_buffers())
    assert len(wanted) > 30
    for name, statistic in model.tower.named_buffers():
        torch.testing.assert_close(statistic, wanted[name], msg=name)
    assert {int(m.num_batches_tracked) for m in model.tower.modules() if isinstance(m, nn.BatchNorm2d)} == {3}
    assert all(m.track_running_stats for m in model.tower.modules() if isinstance(m, nn.BatchNorm2d))


def test_batch_norms_of_whole_batches_move_once() -> None:
    model, images = resnet(), torch.randn(7, 3, 32, 32)
    model.loss(spread(model), images, None).backward()
    assert {int(m.num_batches_tracked) for m in model.tower.modules() if isinstance(m, nn.BatchNorm2d)} == {1}


@pytest.mark.parametrize(
    ("build", "n", "micro_batch", "noted"),
    [
        (vit, 2, 4, None),
        (resnet, 1, 0, None),
        (resnet, 1, 4, "each micro-batch by itself"),
        (resnet, 2, 0, "each process's share of a batch by itself"),
    ],
)
def test_a_note_says_what_batch_norms_see(
    build: Callable[[], Model], n: int, micro_batch: int, noted: str | None
) -> None:
    model = build()
    whole = WholeBatch(
        model.run,
        module=model.tower,
        processes=Processes(0, n),
        device=CPU,
        precision="float32",
        micro_batch=micro_batch,
    )
    assert (whole.note is None) if noted is None else (noted in (whole.note or ""))
    n_norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.tower.modules())
    assert len(whole.statistics()) == 2 * n_norms


@pytest.mark.parametrize("micro_batch", [0, 4])
def test_on_several_gpus_batch_norms_are_synchronised(micro_batch: int) -> None:
    """But not with micro-batches, of which one process may have more than another."""
    model = resnet()
    names, parameters = list(model.state_dict()), list(model.parameters())
    whole = WholeBatch(
        model.run,
        module=model.tower,
        processes=Processes(0, 2),
        device=torch.device("cuda"),
        precision="float32",
        micro_batch=micro_batch,
    )
    n = sum(isinstance(m, nn.SyncBatchNorm) for m in model.modules())
    assert (n > 0, whole.note is None, whole.statistics() == []) == ((True,) * 3 if micro_batch == 0 else (False,) * 3)
    assert list(model.state_dict()) == names
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))


def test_wrong_inputs_are_refused() -> None:
    whole = spread(vit())
    with pytest.raises(ValueError, match="the 7 rows of this process's share"):
        whole(7, torch.zeros(6, 3, 32, 16), None)
    with pytest.raises(ValueError, match="need no gradient"):
        whole(7, torch.zeros(7, 3, 32, 16, requires_grad=True), None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_tower_gives_the_same() -> None:
    model, images = vit(), torch.randn(7, 3, 32, 16)
    loss, wanted = loss_and_gradients(model, images)
    found = model.loss(spread(model, micro_batch=4, compiled=True), images, None)
    found.backward()
    assert found.item() == pytest.approx(loss, rel=1e-4)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert_equal(gradients, wanted, relative=1e-3)


@pytest.mark.slow
def test_without_a_compiler_one_line_says_so(tmp_path: Path) -> None:
    code = (
        "import torch; from torch import nn; from resight.whole_batch import WholeBatch;"
        "from resight.processes import Processes; from resight.errors import ConfigError\n"
        "model = nn.Linear(2, 2)\n"
        "whole = WholeBatch(lambda x: (model(x).exp().sin(),), module=model, processes=Processes(),"
        "device=torch.device('cpu'), precision='float32', compiled=True)\n"
        "try: whole(3, torch.ones(3, 2))\n"
        "except ConfigError as error: print(error)"
    )
    without = os.environ | {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=without, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("--compile: torch.compile failed here (")
    assert done.stdout.count("\n") == 1


def test_a_failing_compilation_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(run: Callable[..., Outputs]) -> Callable[..., Outputs]:
        def fails(*inputs: Tensor | None) -> Outputs:
            raise torch._dynamo.exc.TorchDynamoException("no compiler\nand a long explanation")

        return fails

    monkeypatch.setattr(torch, "compile", compiled)
    with pytest.raises(ConfigError, match=r"^--compile: torch\.compile failed here \(no compiler\)\. It needs a C\+\+"):
        spread(vit(), compiled=True)(7, torch.randn(7, 3, 32, 16), None)
