"""PCL-CLIP without labels: no identity is read; its steps are its losses; what clusters may come; going on; a second,
labelled data set; two processes."""

from __future__ import annotations

import copy
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing
from torch import Tensor

import resight
from resight.cluster import ClusterConfig, Clusters
from resight.encoder import Encoder
from resight.errors import CheckpointError, ConfigError, DataError
from resight.launch import Order, launch
from resight.losses.memory import centroids, memory_contrast, update_memory
from resight.losses.proxies import intra_camera_contrast, offline_association, online_association
from resight.progress import Progress
from resight.recipes import pcl, pcl_unsupervised
from resight.recipes.pcl_unsupervised import Config
from resight.runs import Run
from resight.towers import PictureTower
from resight.training import Stage
from resight.trainset import TrainSet, train_set
from resight.types import Record, Splits

from .conftest import TINY, Workshop, roughen

TERMS = {
    "cc": {"cluster contrast"},
    "cap": {"within cameras", "across cameras"},
    "o2cap": {"offline", "online"},
}


@pytest.fixture
def bare(people: Path) -> TrainSet:
    """The pictures of `people`, without their identities: a cluster for each colour is found."""
    return train_set(resight.read_data(people), learns_from="pictures")


def quick(workshop: Workshop, **changes: Any) -> Config:
    """Two epochs of three batches, at a rate at which a small tower learns."""
    known: dict[str, Any] = {
        "batch_size": 8,
        "n_images": 2,
        "n_batches": 3,
        "clustering": ClusterConfig(k1=4, k2=2, eps=0.5, min_samples=2),
        "association_epoch": 2,
        "descent": replace(pcl_unsupervised.DESCENT, epochs=2, rate=1e-3, warmup_epochs=1, milestones=()),
        "start": replace(workshop.start, test_interpolation="bicubic", without_text=True),
        "engine": workshop.engine,
    }
    return Config(**known | changes)


def losses(run: Run) -> list[tuple[int, int, dict[str, float]]]:
    return [(entry["epoch"], entry["step"], entry["terms"]) for entry in run.entries() if "terms" in entry]


def clusters(run: Run) -> list[tuple[int, int, dict[str, Any]]]:
    return [(entry["epoch"], entry["step"], entry["clusters"]) for entry in run.entries() if "clusters" in entry]


def labelled_as(monkeypatch: pytest.MonkeyPatch, *labels: list[int]) -> None:
    """Clustering finds these, epoch by epoch."""
    left = iter(labels)
    monkeypatch.setattr(
        pcl_unsupervised, "cluster", lambda features, config, device: Clusters(np.array(next(left), np.int64), 0.5)
    )


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[Stage[Any]]:
    """The stages that the recipe hands to `fit`, in place of being trained; towers are float64 and roughened."""
    caught: list[Stage[Any]] = []
    real = pcl_unsupervised.open_start

    def opened(*arguments: Any, **named: Any) -> Encoder:
        encoder = real(*arguments, **named).double()
        encoder.clip.image.register_forward_pre_hook(lambda tower, given: (given[0].double(), *given[1:]))
        roughen(encoder)
        return encoder

    monkeypatch.setattr(pcl_unsupervised, "open_start", opened)
    monkeypatch.setattr(pcl_unsupervised, "fit", lambda stage, *rest: caught.append(stage))
    return caught


def neck(features: Tensor, weight: Tensor) -> Tensor:
    """Batch norm with the batch's own mean and variance, without a bias."""
    return (features - features.mean(0)) / (features.var(0, unbiased=False) + 1e-5).sqrt() * weight


@pytest.mark.parametrize("update", ["every", "hardest"])
@pytest.mark.parametrize("loss", TERMS)
def test_a_step_is_the_losses_of_the_whole_batch_with_the_memory_before(
    stages: list[Stage[Any]],
    bare: TrainSet,
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    loss: Any,
    update: Any,
) -> None:
    """In float64; a cluster of two colours, one by camera b alone, and two outliers."""
    found = [0] * 8 + [-1, -1, 1, 1] + [2] * 4
    labelled_as(monkeypatch, found, found)
    config = quick(workshop, loss=loss, memory_update=update, association_weight=0.3)
    workshop.train(pcl_unsupervised, bare, config)
    (stage,) = stages
    tower: Any = stage.modules["tower"].train()
    partition: Any = stage.modules["partition"]
    by_camera = [0, 0, 1, 1, 0, 0, 1, 1, -1, -1, 2, 2, 3, 3, 4, 4]
    expected_own = torch.tensor(found if loss == "cc" else by_camera)
    for epoch in (1, 2):
        n_steps, batches = stage.batches(epoch, 0)
        assert n_steps == 3
        assert partition.own.tolist() == expected_own.tolist()
        memory = centroids(tower.embeddings(workshop.folder / "cache"), expected_own)
        torch.testing.assert_close(partition.memory, memory)
        for batch in batches:
            reference = copy.deepcopy(tower)
            _, b, c = reference.encoder.clip.image(batch.images)
            parts = [neck(b, reference.encoder.neck_last.weight), neck(c, reference.encoder.neck_projected.weight)]
            features, own = torch.cat(parts, dim=1), expected_own[batch.rows]
            assert (own >= 0).all()
            given: Any = (features, own, memory.clone(), partition.proxies)
            if loss == "cc":
                expected = {"cluster contrast": memory_contrast(features, own, memory, temperature=0.07)}
            elif loss == "cap":
                expected = {"within cameras": intra_camera_contrast(*given, temperature=0.07)}
                if epoch == 2:
                    expected["across cameras"] = 0.3 * offline_association(*given, temperature=0.07)
            else:
                expected = {"offline": offline_association(*given, temperature=0.07)}
                expected["online"] = online_association(*given, temperature=0.07)
            torch.stack(list(expected.values())).sum().backward()
            update_memory(memory, features, own, momentum=0.2, hardest=update == "hardest")

            tower.zero_grad()
            terms = stage.step(batch)
            torch.stack(list(terms.values())).sum().backward()
            assert terms.keys() == expected.keys()
            for name, term in terms.items():
                torch.testing.assert_close(term, expected[name], rtol=1e-9, atol=0)
                assert term > 0
            torch.testing.assert_close(partition.memory, memory, rtol=0, atol=1e-9)
            theirs = dict(reference.named_parameters())
            without = set()
            for name, parameter in tower.named_parameters():
                if parameter.grad is None:
                    without.add(name.removeprefix("encoder."))
                    continue
                wanted = theirs[name].grad
                near = {"rtol": 1e-6, "atol": 1e-7 * float(wanted.abs().max()) + 1e-13}
                torch.testing.assert_close(parameter.grad, wanted, **near, msg=name)
            assert without == {"clip.image.conv1.weight", "neck_last.bias", "neck_projected.bias"}


@pytest.mark.parametrize("loss", TERMS)
def test_two_epochs_of_each_loss_change_the_encoder_and_are_told(
    bare: TrainSet, workshop: Workshop, capsys: pytest.CaptureFixture[str], loss: Any
) -> None:
    """float32 on a processor. To make the numbers anew, print them and explain the change in the commit."""
    golden = {
        "cc": [0.32177, 0.00167665, 1.1026, 0.503408, 2.04607, 1.69829],
        "cap": [0.133328, 4.02987, 2.25157, 1.94768, 6.68951, 4.03699],
        "o2cap": [3.03876, 19.647, 7.94389, 4.41674, 10.9737, 11.2762],
    }
    run, config = workshop.run(), quick(workshop, loss=loss)
    encoder = pcl_unsupervised.train(
        TINY, bare, config, run, workshop.machine, workshop.folder / "cache", Progress(quiet=False)
    )
    first = {"within cameras"} if loss == "cap" else TERMS[loss]
    assert [terms.keys() for _, _, terms in losses(run)] == [first] * 3 + [TERMS[loss]] * 3
    assert np.isfinite([value for _, _, terms in losses(run) for value in terms.values()]).all()
    totals = [sum(terms.values()) for _, _, terms in losses(run)]
    assert totals == pytest.approx(golden[loss], rel=1e-3, abs=1e-4)
    start = Encoder.load(TINY, size=(64, 32), with_text=False, device="cpu", seed=config.engine.seed)
    trained = dict(encoder.clip.named_parameters())
    same = {name for name, parameter in start.clip.named_parameters() if torch.equal(parameter, trained[name])}
    assert same == {"image.conv1.weight"}
    assert (encoder.feature, encoder.training, encoder.card.notes[0]) == (
        "after-neck",
        False,
        "Trained by resight train pcl-unsupervised.",
    )

    told = {"eps": 0.5, "n_clusters": 4, "n_outliers": 0, "largest": 4, "share_used": 1.0}
    assert clusters(run) == [(1, 1, told | {"agreement": None}), (2, 1, told | {"agreement": 1.0})]
    said = [line for line in capsys.readouterr().err.splitlines() if "clusters" in line]
    one = "4 clusters, the largest of 4 pictures; 0 outliers, 100.0 % of the pictures used"
    assert said == [f"epoch 1: {one}; eps 0.5", f"epoch 2: {one}; agreement with the clusters before 1.000; eps 0.5"]


class Secret(Record):
    """A record whose identity and captions must not be looked at."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("identity", "captions"):
            pytest.fail(f"{name} was read")
        return super().__getattribute__(name)


def test_no_identity_is_read_from_beginning_to_end(
    people: Path, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of a train picture nor of query and gallery; other identities in the index, or none, change no bit."""
    monkeypatch.setenv("RESIGHT_CACHE", str(tmp_path / "cache"))
    read = resight.read_data(people)

    def result(name: str, train: tuple[Record, ...], rest: dict[str, Any]) -> tuple[dict[str, Tensor], Any]:
        splits = Splits(read.name, read.root, read.protocol, train=train, **rest)
        settings = quick(workshop, loss="o2cap")
        order = Order(pcl_unsupervised, settings, TINY, tmp_path / name, {}, ())
        encoder = launch(order, splits)
        assert encoder is not None
        run = Run(tmp_path / name)
        return encoder.state_dict(), (losses(run), clusters(run), encoder.card.data)

    def renamed(records: tuple[Record, ...], kind: type[Record], names: list[str | None]) -> tuple[Record, ...]:
        return tuple(
            kind(r.path, name, r.camera, captions=("said",), split=r.split)
            for r, name in zip(records, names, strict=True)
        )

    names: list[str | None] = [record.identity for record in read.train]
    roles = ("query", "gallery")
    hidden = {role: renamed(getattr(read, role), Secret, ["x"] * len(getattr(read, role))) for role in roles}
    secret, told = result("secret", renamed(read.train, Secret, names), hidden)
    kinds = {"permuted": names[5:] + names[:5], "without": [None] * 16}
    for name, changed in kinds.items():
        tensors, also = result(name, renamed(read.train, Record, changed), {})
        assert all(torch.equal(tensors[key], tensor) for key, tensor in secret.items())
        assert also == told


def test_without_two_cameras_it_is_cluster_contrast_and_says_so(
    bare: TrainSet, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = []
    for loss, known in (("cap", None), ("o2cap", "a"), ("cc", None)):
        records = tuple(replace(record, camera=known) for record in bare.records)
        runs.append(workshop.run(loss))
        config: Any = quick(workshop, loss=loss)
        pcl_unsupervised.train(
            TINY,
            replace(bare, records=records),
            config,
            runs[-1],
            workshop.machine,
            workshop.folder / "cache",
            Progress(quiet=False),
        )
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: --loss")]
    assert notes == [
        "note: --loss cap needs two cameras at least, 0 is known; cc takes its place.",
        "note: --loss o2cap needs two cameras at least, 1 is known; cc takes its place.",
    ]
    assert losses(runs[0]) == losses(runs[1]) == losses(runs[2])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [0] * 16,
            r"epoch 1: 1 clusters, the largest of 16 pictures; 0 outliers, 100\.0 % of the pictures used at eps 0\.5\. "
            r"With fewer than two there is nothing to tell apart; everything is alike: lower --eps or --k1, or "
            r"start from weights that know such pictures better\.$",
        ),
        (
            [-1] * 16,
            r"epoch 1: 0 clusters, .*16 outliers, 0\.0 %.*too few have enough neighbours: raise --eps or lower ",
        ),
        ([0] * 4 + [-1] * 12, r"epoch 1: 1 clusters, .*12 outliers, .*too few have enough neighbours: raise --eps or "),
    ],
)
@pytest.mark.parametrize("loss", ["cc", "o2cap"])
def test_fewer_than_two_clusters_are_one_line_and_leave_the_folder_free(
    bare: TrainSet, workshop: Workshop, monkeypatch: pytest.MonkeyPatch, loss: Any, labels: list[int], message: str
) -> None:
    labelled_as(monkeypatch, labels)
    run = workshop.run()
    with pytest.raises(DataError, match=message):
        workshop.train(pcl_unsupervised, bare, quick(workshop, loss=loss), run=run)
    workshop.run()  # is not refused


@pytest.mark.parametrize(
    ("loss", "labels", "size"),
    [
        ("cc", [0, 0, 0, -1, 1, 1, -1, -1] + [-1] * 8, 4),  # 2 clusters of 2 pictures each
        ("cc", [0, -1, -1, -1, 1, 1, -1, -1] + [-1] * 8, 3),  # a cluster of one picture gives that alone
        ("cc", list(range(16)), 8),  # as many clusters as pictures
        ("o2cap", [0, 0, -1, -1, 1, 1, -1, -1] + [-1] * 8, 4),  # 2 proxies
        ("cap", [0, -1, -1, -1, -1, -1, 1, -1] + [-1] * 8, 4),  # 2 proxies of one picture each, which comes twice
        ("o2cap", list(range(16)), 8),
    ],
)
def test_batches_are_smaller_where_few_pictures_are_clustered(
    bare: TrainSet, workshop: Workshop, monkeypatch: pytest.MonkeyPatch, loss: Any, labels: list[int], size: int
) -> None:
    labelled_as(monkeypatch, labels)
    run, seen = workshop.run(), []
    real = pcl_unsupervised.Pictures.epoch
    monkeypatch.setattr(
        pcl_unsupervised.Pictures, "epoch", lambda self, plan, *rest: seen.extend(plan) or real(self, plan, *rest)
    )
    config = quick(workshop, loss=loss, descent=replace(quick(workshop).descent, epochs=1))
    workshop.train(pcl_unsupervised, bare, config, run=run)
    assert [len(rows) for rows in seen] == [size] * 3
    assert all(labels[row] >= 0 for rows in seen for row in rows)
    assert np.isfinite([sum(terms.values()) for _, _, terms in losses(run)]).all()


def test_the_sampler_is_the_losss_own_unless_named(
    stages: list[Stage[Any]], bare: TrainSet, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    for name in ("camera_diverse_batches", "class_uniform_batches"):
        real: Callable[..., Any] = getattr(pcl_unsupervised, name)
        monkeypatch.setattr(
            pcl_unsupervised, name, lambda *a, name=name, real=real, **k: called.append(name) or real(*a, **k)
        )
    for loss, sampler in (("cc", "auto"), ("o2cap", "auto"), ("cap", "camera-diverse"), ("cc", "class-uniform")):
        config = quick(workshop, loss=loss, sampler=sampler)
        workshop.train(pcl_unsupervised, bare, config, run=workshop.run(loss + sampler))
        stages[-1].batches(1, 0)
    diverse, uniform = "camera_diverse_batches", "class_uniform_batches"
    assert called == [diverse, uniform, diverse, uniform]


@pytest.fixture
def source(picture: Callable[..., Path], tmp_path: Path) -> Path:
    """A labelled table: 3 identities of 3 pictures, by cameras that are called as those of `people`."""
    lines = ["path,identity,camera,split"]
    for name, colour in {"pink": (250, 150, 180), "black": (20, 20, 20), "lime": (160, 250, 20)}.items():
        for k in range(3):
            picture(f"source/{name}{k}.png", colour=colour)
            lines.append(f"{name}{k}.png,{name},{'ab'[k % 2]},train")
    (tmp_path / "source" / "index.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "source" / "index.csv"


@pytest.mark.parametrize("loss", TERMS)
def test_half_of_a_batch_is_the_sources_with_its_labels(
    bare: TrainSet, source: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch, loss: Any
) -> None:
    partitions: list[tuple[list[int], list[int], int]] = []
    plans: list[Any] = []
    real, real_epoch = pcl_unsupervised.Partition.rebuild, pcl_unsupervised.Pictures.epoch

    def rebuild(self: Any, *given: Any) -> None:
        real(self, *given)
        partitions.append((self.labels.tolist(), self.own.tolist(), len(self.memory)))

    monkeypatch.setattr(pcl_unsupervised.Partition, "rebuild", rebuild)
    monkeypatch.setattr(
        pcl_unsupervised.Pictures,
        "epoch",
        lambda self, plan, *rest: plans.extend(plan) or real_epoch(self, plan, *rest),
    )
    first = [0] * 4 + [1] * 4 + [-1] * 8
    labelled_as(monkeypatch, first, [0, 0, 1, 1, 2, 2, -1, -1] * 2)
    run = workshop.run()
    config = quick(workshop, loss=loss, source=source)
    encoder = workshop.train(pcl_unsupervised, bare, config, run=run)
    assert [labels[16:] for labels, _, _ in partitions] == [
        [shift + own for own in (2, 2, 2, 0, 0, 0, 1, 1, 1)] for shift in (2, 3)
    ]
    for labels, own, n_rows in partitions:
        if loss == "cc":
            assert (own, n_rows) == (labels, max(labels) + 1)
        else:  # the source's cameras are others, though they are called alike
            assert n_rows == max(own) + 1
            assert min(own[16:]) > max(own[:16])
            assert len(set(own[16:])) == 6
    assert len(plans) == 6
    for rows in plans:
        assert [(row < 16).item() for row in rows] == [True] * 4 + [False] * 4
        assert sorted(np.unique([partitions[0][0][row] for row in rows[4:]], return_counts=True)[1].tolist()) == [2, 2]
    assert [found["n_clusters"] for _, _, found in clusters(run)] == [2, 3]
    assert [found["share_used"] for _, _, found in clusters(run)] == [0.5, 0.75]
    assert np.isfinite([sum(terms.values()) for _, _, terms in losses(run)]).all()
    assert not encoder.training


def test_a_source_that_cannot_be_learned_from_is_one_line(
    bare: TrainSet, source: Path, workshop: Workshop, tmp_path: Path
) -> None:
    text, (head, *rows) = source.read_text(), source.read_text().splitlines()
    without = [",".join([row.split(",")[0], "", *row.split(",")[2:]]) for row in rows]
    for lines, message in (
        ([head, *without], r"source: none of its 9 train pictures has an identity\."),
        ([head, *rows[:3]], r"^--source .*index\.csv: has 1 train identity; at least 2 are needed\.$"),
        ([line.replace("train", "query") for line in text.splitlines()], "source: no picture is marked train"),
    ):
        source.write_text("\n".join(lines) + "\n")
        with pytest.raises(DataError, match=message):
            workshop.train(pcl_unsupervised, bare, quick(workshop, source=source))
    with pytest.raises(DataError, match=r"nowhere: no such file or folder\. Check the path\."):
        workshop.train(pcl_unsupervised, bare, quick(workshop, source=tmp_path / "nowhere"))


def test_a_source_must_be_the_same_when_a_run_goes_on_but_not_before_it_began(
    bare: TrainSet, source: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = quick(workshop, source=source), workshop.run()
    text = source.read_text()
    source.write_text(text + text.splitlines()[-1].replace("lime2", "lime1") + "\n")
    with monkeypatch.context() as patched:
        labelled_as(patched, [0] * 16)
        with pytest.raises(DataError, match="everything is alike"):
            workshop.train(pcl_unsupervised, bare, config, run=run)
    source.write_text(text)
    workshop.train(pcl_unsupervised, bare, config, run=run)
    source.write_text(text.replace("lime2.png,lime", "lime2.png,pink"))
    with pytest.raises(CheckpointError) as raised:
        workshop.train(pcl_unsupervised, bare, config, run=run)
    assert str(raised.value) == (
        f"--source {source}: its records are not those that the run began with. Begin a new run."
    )


@pytest.mark.parametrize(
    ("loss", "stops", "with_source"),
    [("o2cap", (1, 3, 5), False), ("cap", (4,), False), ("cc", (2,), False), ("o2cap", (3, 4), True)],
)
def test_a_run_that_was_stopped_goes_on_to_the_same_parameters(
    bare: TrainSet,
    source: Path,
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    loss: Any,
    stops: tuple[int, ...],
    with_source: bool,
) -> None:
    """After so many of six steps: in the middle of an epoch, with its clusters and memory, and at its start."""
    config = quick(
        workshop,
        loss=loss,
        source=source if with_source else None,
        engine=replace(workshop.engine, checkpoint_minutes=0.0),
        clustering=ClusterConfig(k1=3, k2=2, eps=0.6, min_samples=2),
    )
    whole, real = workshop.run("whole"), pcl_unsupervised.update_memory
    expected = workshop.train(pcl_unsupervised, bare, config, run=whole).state_dict()
    assert [place[:2] for place in clusters(whole)] == [(1, 1), (2, 1)]
    for stop in stops:
        left = iter(range(stop))

        def stopping(*given: Any, left: Any = left, **named: Any) -> None:
            if next(left, None) is None:
                raise InterruptedError
            real(*given, **named)

        run = workshop.run(str(stop))
        monkeypatch.setattr(pcl_unsupervised, "update_memory", stopping)
        with pytest.raises(InterruptedError):
            workshop.train(pcl_unsupervised, bare, config, run=run)
        monkeypatch.setattr(pcl_unsupervised, "update_memory", real)
        found = workshop.train(pcl_unsupervised, bare, config, run=run).state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
        assert losses(run) == losses(whole)
        assert clusters(run) == clusters(whole)
        states: list[Any] = [one.load("train") for one in (run, whole)]
        partitions = [state["modules"]["partition"]["_extra_state"] for state in states]
        for name in ("labels", "own", "memory"):
            assert torch.equal(*(partition[name] for partition in partitions)), name


def test_validation_is_on_the_datas_own_records(people: Path, workshop: Workshop) -> None:
    text = people.read_text()
    for name in ("grey", "blue"):
        text = text.replace(f",{name},a,train", f",{name},a,validation").replace(
            f",{name},b,train", f",{name},b,validation"
        )
    people.write_text(text)
    data = train_set(resight.read_data(people), learns_from="pictures", validate=True)
    assert len(data.records) == 8
    run = workshop.run()
    engine = replace(workshop.engine, validate_every=1, keep="best")
    workshop.train(pcl_unsupervised, data, quick(workshop, engine=engine), run=run)
    scores = [entry["validation"] for entry in run.entries() if "validation" in entry]
    assert len(scores) == 2
    assert all(0 < score["mAP"] <= 1 for score in scores)


def test_a_resnet_trains_too(bare: TrainSet, workshop: Workshop, resnet: str) -> None:
    run = workshop.run()
    before = Encoder.load(resnet, device="cpu").clip.image.conv1.weight
    config = quick(workshop, start=replace(workshop.resnet_start(), without_text=True))
    encoder = workshop.train(pcl_unsupervised, bare, config, run=run, init=resnet)
    assert torch.equal(encoder.clip.image.conv1.weight, before)
    assert len(losses(run)) == 6


def of_one_or_two(number: int, port: int, folder: Path, people: Path, n_processes: int) -> None:
    """What each process does: embeddings, and a short run of both recipes; it leaves what it found in a file."""
    torch.set_num_threads(1)
    if n_processes > 1:
        os.environ |= {"WORLD_SIZE": "2", "RANK": str(number), "LOCAL_RANK": str(number)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shop = Workshop(folder / f"{n_processes}-{number}")
    machine, cache = shop.machine, folder / "cache"
    splits = resight.read_data(people)
    found: dict[str, Any] = {}
    data = train_set(splits, learns_from="pictures")
    for recipe, config in (
        (pcl, pcl.Config(n_identities=3, n_images=3, n_batches=2)),
        (pcl_unsupervised, quick(shop, batch_size=7)),
    ):
        small = replace(quick(shop).descent, epochs=2)
        config = replace(config, start=quick(shop).start, engine=shop.engine, descent=small)  # type: ignore[type-var]
        given = train_set(splits) if recipe is pcl else data
        run = shop.run(recipe.NAME)
        encoder = recipe.train(TINY, given, config, run, machine, cache, Progress(quiet=True))  # type: ignore[arg-type]
        logged = [(e["loss"], e["gradient_norm"]) for e in run.entries() if "terms" in e]
        found[recipe.NAME] = {"logged": logged, "clusters": clusters(run), "tensors": encoder.state_dict()}
        records = data.records[:13]
        tower = PictureTower(encoder.train(), records, machine=machine, engine=shop.engine)
        found["embeddings"] = tower.embeddings(cache)
    torch.save(found, folder / f"{n_processes}-{number}.pt")
    machine.processes.wait()
    machine.processes.leave()


def test_two_processes_find_the_same_features_clusters_losses_and_gradients(people: Path, tmp_path: Path) -> None:
    """In uneven shares, of 13 and 16 pictures and of batches of 7 and 9."""
    of_one_or_two(0, 0, tmp_path, people, 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    torch.multiprocessing.spawn(of_one_or_two, (port, tmp_path, people, 2), nprocs=2)
    alone, *both = (torch.load(tmp_path / f"{name}.pt") for name in ("1-0", "2-0", "2-1"))
    assert torch.equal(both[0]["embeddings"], both[1]["embeddings"])
    for found in both:
        torch.testing.assert_close(found["embeddings"], alone["embeddings"], rtol=1e-3, atol=1e-3)
    for name in ("pcl", "pcl-unsupervised"):
        assert np.array(both[0][name]["logged"]) == pytest.approx(np.array(alone[name]["logged"]), rel=1e-3)
        assert both[0][name]["clusters"] == alone[name]["clusters"]
        for key, tensor in alone[name]["tensors"].items():
            assert torch.equal(both[0][name]["tensors"][key], both[1][name]["tensors"][key]), key
            torch.testing.assert_close(both[0][name]["tensors"][key], tensor, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "--temperature 0.0: more than 0."),
        ({"memory_momentum": 1.5}, "--memory-momentum 1.5: from 0 to 1."),
        ({"association_weight": -1.0}, "--association-weight -1.0: 0 or more."),
        ({"association_epoch": 0}, "--association-epoch 0: at least 1."),
        ({"batch_size": 1}, "--batch-size 1: at least 2."),
        ({"n_images": 0}, "--n-images 0: at least 1."),
        ({"n_batches": 0}, "--n-batches 0: at least 1."),
        (
            {"source": Path("there"), "batch_size": 15},
            "--batch-size 15: with --source at least 16, two identities and two clusters of 4 pictures.",
        ),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Config(**changes)
    assert str(raised.value) == message
