"""The tower with its classifiers: how they start, what a batch shows, what is trained, validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from resight.data.augment import Augment
from resight.engine import Engine, Machine
from resight.optim import Descent
from resight.pictures import PictureBatch, Pictures
from resight.starting import Start, open_start
from resight.towers import IdentityTower
from resight.trainset import TrainSet, train_set
from resight.types import Record, Splits

ENGINE = Engine(device="cpu", precision="float32", workers=1)


def data(n_identities: int = 6) -> TrainSet:
    records = tuple(
        Record(Path(f"/{i}{camera}{k}.jpg"), str(i), camera)
        for i in range(n_identities)
        for camera in "ab"
        for k in "01"
    )
    return train_set(Splits("shop", Path("/"), "cross-camera", train=records), validate=True, validation_share=0.34)


def tower(*, side: bool = False, engine: Engine = ENGINE) -> IdentityTower:
    start = Start(size=(64, 32), side_camera=side)
    train = data()
    encoder = open_start(
        "random:64x2/16", start, train, recipe="test", feature="before-neck", engine=engine, with_text=False
    )
    return IdentityTower(encoder, train, machine=Machine.of(engine), engine=engine)


def batch(n: int = 6) -> PictureBatch:
    images = torch.randn(n, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    return PictureBatch(images, torch.tensor([0, 2, 5, 7, 8, 11][:n]), slice(0, n))


def test_classifiers_start_small_and_differ() -> None:
    found = tower()
    for classifier in (found.classifier_last, found.classifier_projected):
        assert classifier.bias is None
        assert classifier.weight.shape == (4, 64)
        assert classifier.weight.std().item() == pytest.approx(0.001, rel=0.15)
        assert classifier.weight.mean().abs().item() < 2e-4
    assert not torch.equal(found.classifier_last.weight, found.classifier_projected.weight)
    assert torch.equal(found.classifier_last.weight, tower().classifier_last.weight)


def test_a_batch_is_seen_with_its_labels_and_its_cameras() -> None:
    found = tower(side=True).eval()
    seen = found.see(batch())
    assert seen.identities.tolist() == found.data.labels[[0, 2, 5, 7, 8, 11]].tolist() == [0, 0, 1, 1, 2, 2]
    for i, row in enumerate(batch().rows.tolist()):
        camera = "ab".index(found.data.records[row].camera or "")
        alone = found.pictures.encoder.clip.image(
            batch().images[i : i + 1], side=found.pictures.encoder.side_table[[camera]]
        )
        for whole, single in zip(seen.taps, alone, strict=True):
            torch.testing.assert_close(whole[i], single[0], rtol=1e-4, atol=1e-5)
    # necks at the start leave features as they are, but for 1e-5 below the root
    torch.testing.assert_close(seen.logits_last, seen.taps.last @ found.classifier_last.weight.T, rtol=1e-4, atol=1e-6)
    expected = seen.taps.projected @ found.classifier_projected.weight.T
    torch.testing.assert_close(seen.logits_projected, expected, rtol=1e-4, atol=1e-6)


def test_trained_are_the_image_tower_necks_classifiers_and_camera_vectors() -> None:
    found = tower(side=True)
    trained = {name for name, parameter in found.named_parameters() if parameter.requires_grad}
    others = {name for name in trained if not name.startswith("pictures.encoder.clip.image.")}
    assert others == {
        "pictures.encoder.neck_last.weight",
        "pictures.encoder.neck_projected.weight",
        "pictures.encoder.side_table",
        "classifier_last.weight",
        "classifier_projected.weight",
    }
    assert {name for name in dict(found.named_parameters()) if ".image." in name} < trained

    groups = Descent().groups(found.named_parameters())
    assert sum(len(group["params"]) for group in groups) == len(trained)
    assert len(groups[-1]["params"]) == 2  # the classifiers


def test_vit_b16_has_the_published_parameter_groups() -> None:
    """157 tensors with camera vectors, 83 at the rate (two of them classifiers, whose factor is 1) and 74 at twice the
    rate: the code's, counted."""
    from resight.clip.image import ViTConfig
    from resight.clip.model import Clip, ClipConfig
    from resight.data.transforms import Preprocess
    from resight.encoder import Card, Encoder, Side

    with torch.device("meta"):
        clip = Clip(ClipConfig(ViTConfig((256, 128), 16, 16, 768, 12, 12, 512, "quick_gelu"), None))
        preprocess = Preprocess(256, 128, (0.5,) * 3, (0.5,) * 3, "bilinear")
        side = Side(1.0, ("1", "2", "3", "4", "5", "6"))
        encoder = Encoder(clip, preprocess, Card("test"), feature="before-neck", side=side)
        classifiers = [torch.nn.Linear(768, 751, bias=False), torch.nn.Linear(512, 751, bias=False)]
    named = [*encoder.named_parameters(), *((f"classifier{i}.weight", c.weight) for i, c in enumerate(classifiers))]
    groups = Descent().groups(named)
    assert [(len(group["params"]), group["rate_factor"]) for group in groups] == [(81, 1.0), (74, 2.0), (2, 1.0)]
    assert sum(p.numel() for group in groups for p in group["params"]) == 87_107_584


def test_an_epoch_is_planned_by_seed_and_number_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = tower()
    pictures = Pictures(
        found.data.records, found.pictures.encoder.preprocess, Augment(), None, ENGINE, found.pictures.machine
    )
    planned: list[tuple[list[list[int]], int, int]] = []
    monkeypatch.setattr(
        Pictures, "epoch", lambda self, plan, epoch, first: planned.append(([p.tolist() for p in plan], epoch, first))
    )
    batches = found.batches(pictures, n_identities=2, n_images=2)
    for epoch, first in ((1, 0), (2, 0), (1, 3)):
        batches(epoch, first)
    assert planned[0][0] == planned[2][0] != planned[1][0]
    assert [rest for _, *rest in planned] == [[1, 0], [2, 0], [1, 3]]
    for rows in planned[0][0]:
        assert np.unique(found.data.labels[rows], return_counts=True)[1].tolist() == [2, 2]
