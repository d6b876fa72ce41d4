"""Two processes give what one gives on the whole batch. Those here talk over gloo on the processor."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn

from resight.clip.image import ModifiedResNet, ResNetConfig, VisionTransformer, ViTConfig
from resight.errors import ConfigError, ResightError
from resight.losses.triplet import batch_hard_triplet
from resight.processes import Processes, join
from resight.whole_batch import Outputs, WholeBatch

CPU = torch.device("cpu")
IDENTITIES = torch.tensor([0, 0, 1, 1, 2, 2, 2])  # seven, so that the shares differ


def test_shares_cover_the_batch() -> None:
    assert Processes().share(7) == slice(0, 7)
    assert [Processes(number, 3).share(7) for number in range(3)] == [slice(0, 3), slice(3, 5), slice(5, 7)]
    for n in range(1, 6):
        for n_rows in range(n, 12):
            rows = [row for number in range(n) for row in range(n_rows)[Processes(number, n).share(n_rows)]]
            assert rows == list(range(n_rows))


def test_a_batch_smaller_than_the_processes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"A batch of 3 cannot be shared by 4 processes"):
        Processes(0, 4).share(3)


def test_one_process_exchanges_nothing() -> None:
    alone, tensor = Processes(), torch.ones(3)
    assert alone.gather(tensor, 3) is tensor
    alone.average([tensor])
    alone.wait()
    alone.leave()
    assert tensor.tolist() == [1, 1, 1]
    assert alone.writes
    assert not Processes(1, 2).writes


def test_join_without_torchrun_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join(CPU) == (Processes(0, 1), CPU)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join(CPU) == (Processes(0, 1), CPU)


@pytest.mark.parametrize(
    ("name", "value"),
    [("RANK", None), ("RANK", "two"), ("LOCAL_RANK", None), ("LOCAL_RANK", "two"), ("WORLD_SIZE", "two")],
)
def test_a_broken_environment_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    for other in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.setenv(other, "2" if other == "WORLD_SIZE" else "0")
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    said = "not set" if value is None else "'two'"
    with pytest.raises(ConfigError, match=f"^{name} is {said} in the environment. Start all by one torchrun"):
        join(CPU)


def test_others_that_are_not_found_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ConfigError, match=r"^Process 1 of 2 cannot join the others \(.*MASTER_ADDR") as raised:
        join(CPU)
    assert "\n" not in str(raised.value)


def test_another_number_of_processes_than_promised_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dist, "init_process_group", lambda backend: None)
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)
    with pytest.raises(ConfigError, match=r"^2 processes were started but 1 found each other\. Start all by one"):
        join(CPU)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"^Process 1 of this machine has no GPU: there are 1\."):
        join(torch.device("cuda"))


class Model(nn.Module):
    """A tower, a neck and a classifier, and a parameter that is used on both sides of the gathering."""

    def __init__(self, tower: nn.Module, width: int) -> None:
        super().__init__()
        self.tower, self.neck, self.classifier = tower, nn.BatchNorm1d(width), nn.Linear(width, 3)
        self.shared = nn.Parameter(torch.randn(width))

    def loss(self, processes: Processes, images: Tensor, micro_batch: int) -> Tensor:
        def run(part: Tensor) -> Outputs:
            penultimate, last, _ = self.tower(part)
            return penultimate, last * self.shared, last.detach()

        whole = WholeBatch(
            run, module=self.tower, processes=processes, device=CPU, precision="float32", micro_batch=micro_batch
        )
        first, second, frozen = whole(len(images), images[processes.share(len(images))])
        logits = self.classifier(self.neck(second)) + (second * self.shared).sum(1, keepdim=True)
        loss = batch_hard_triplet(first, IDENTITIES, margin=0.3) + nn.functional.cross_entropy(logits, IDENTITIES)
        loss = loss + 0.1 * (frozen * second).mean()
        loss.backward()
        processes.average(p.grad for p in self.parameters() if p.grad is not None)
        processes.average(whole.statistics())
        return loss.detach()


def model_and_images(kind: str) -> tuple[Model, Tensor]:
    torch.manual_seed(0)
    if kind == "vit":
        model = Model(VisionTransformer(ViTConfig((32, 16), 8, 8, 32, 2, 2, 16, "quick_gelu")), 32)
        images = torch.randn(7, 3, 32, 16, dtype=torch.float64)
    else:
        model = Model(ModifiedResNet(ResNetConfig((32, 32), (1, 1, 1, 1), 2, 2, 8)), 64)
        images = torch.randn(7, 3, 32, 32, dtype=torch.float64)
    return model.double().train(), images


def outcome(processes: Processes, kind: str, micro_batch: int) -> dict[str, Any]:
    model, images = model_and_images(kind)
    loss = model.loss(processes, images, micro_batch)
    return {
        "loss": loss,
        "gradients": {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
        "buffers": {name: b for name, b in model.named_buffers() if b.is_floating_point()},
    }


def one_of_two(number: int, port: int, folder: Path) -> None:
    """What each process does; it leaves what it found in a file."""
    torch.set_num_threads(1)
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(number), "LOCAL_RANK": str(number)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes, _ = join(CPU)
    assert processes == Processes(number, 2)
    share = (torch.arange(14.0).view(7, 2)[processes.share(7)]).requires_grad_()
    gathered = processes.gather(share, 7)
    (gathered * torch.arange(14.0).view(7, 2)).sum().backward()
    mean = torch.full((2,), float(number))
    processes.average([mean])
    found: dict[str, Any] = {"gathered": gathered.detach(), "share gradient": share.grad, "mean": mean}
    found |= {"vit": outcome(processes, "vit", 0), "vit, micro-batches": outcome(processes, "vit", 2)}
    found["resnet"] = outcome(processes, "resnet", 0)
    processes.wait()
    if number == 0:  # the other leaves without a word
        try:
            while True:
                processes.average([torch.ones(1)])
        except ResightError as error:
            found["lost"] = str(error)
    torch.save(found, folder / f"{number}.pt")
    if number == 1:
        os._exit(0)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(one_of_two, (free_port(), folder), nprocs=2)
    return [torch.load(folder / f"{number}.pt") for number in range(2)]


def test_gather_joins_uneven_shares(of_two: list[dict[str, Any]]) -> None:
    for found in of_two:
        torch.testing.assert_close(found["gathered"], torch.arange(14.0).view(7, 2))


def test_the_gradient_of_a_share_is_its_own_times_two(of_two: list[dict[str, Any]]) -> None:
    """So that the mean over both processes is the gradient."""
    weights = torch.arange(14.0).view(7, 2)
    torch.testing.assert_close(torch.cat([found["share gradient"] for found in of_two]), 2 * weights)


def test_average_is_the_mean(of_two: list[dict[str, Any]]) -> None:
    assert [found["mean"].tolist() for found in of_two] == [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize("name", ["vit", "vit, micro-batches"])
def test_loss_and_gradients_are_those_of_one_process(of_two: list[dict[str, Any]], name: str) -> None:
    wanted = outcome(Processes(), "vit", 0)
    largest = max(float(gradient.abs().max()) for gradient in wanted["gradients"].values())
    for found in (found[name] for found in of_two):
        torch.testing.assert_close(found["loss"], wanted["loss"], rtol=1e-5, atol=0)
        assert found["gradients"].keys() == wanted["gradients"].keys()
        for parameter, gradient in wanted["gradients"].items():  # some are 0 but for rounding
            scale = max(float(gradient.abs().max()), 1e-3 * largest)
            assert float((found["gradients"][parameter] - gradient).abs().max()) <= 1e-5 * scale, parameter
        for buffer, value in wanted["buffers"].items():  # of the neck
            torch.testing.assert_close(found["buffers"][buffer], value)


def test_running_statistics_of_a_resnet_are_the_mean_of_both(of_two: list[dict[str, Any]]) -> None:
    model, images = model_and_images("resnet")
    sides = []
    for rows in (slice(0, 4), slice(4, 7)):
        tower = model_and_images("resnet")[0].tower
        tower(images[rows])
        sides.append(dict(tower.named_buffers()))
    for found in (found["resnet"]["buffers"] for found in of_two):
        for name, buffer in model.tower.named_buffers():
            if buffer.is_floating_point():
                torch.testing.assert_close(found[f"tower.{name}"], (sides[0][name] + sides[1][name]) / 2)


def test_who_loses_the_others_says_so_in_one_line(of_two: list[dict[str, Any]]) -> None:
    assert of_two[0]["lost"].startswith("Process 0 of 2 lost the others (")
    assert "\n" not in of_two[0]["lost"]
