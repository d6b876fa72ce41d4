"""What a training starts from: size, normalisation, side vectors, the card, towers of an encoder trained before."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from resight.clip.image import ResNetConfig, resize_positions
from resight.clip.model import Clip, ClipConfig
from resight.clip.prompts import PromptForm, SharedPrompts
from resight.data.transforms import Preprocess
from resight.encoder import Card, Encoder, Side
from resight.engine import Engine
from resight.errors import ConfigError
from resight.starting import Start, open_start, training_preprocess
from resight.trainset import TrainSet, train_set
from resight.types import Record, Splits

TINY = "random:64x2/16"
START = Start(size=(64, 32))
ENGINE = Engine(device="cpu")


def data(*, views: bool = False) -> TrainSet:
    records = [
        Record(Path(f"/{i}{camera}.jpg"), str(i), camera, view=f"v{i % 2}" if views else None)
        for i in range(3)
        for camera in ("2", "10", "1")
    ]
    return train_set(Splits("shop", Path("/"), "cross-camera", train=tuple(records)))


def opened(init: str = TINY, start: Start = START, train: TrainSet | None = None, **changes: Any) -> Encoder:
    known: dict[str, Any] = {"recipe": "test", "feature": "before-neck", "engine": ENGINE, "with_text": False}
    return open_start(init, start, train or data(), **known | changes)


def test_pictures_are_prepared_as_the_recipe_says_and_not_as_the_weights_were() -> None:
    encoder = opened()
    preprocess = encoder.preprocess
    assert (preprocess.height, preprocess.width) == encoder.clip.config.image.image_size == (64, 32)
    assert preprocess.mean == preprocess.std == (0.5, 0.5, 0.5)
    assert preprocess.interpolation == "bilinear"
    assert training_preprocess(encoder, START) == replace(preprocess, interpolation="bicubic")
    assert opened(start=replace(START, normalisation="imagenet")).preprocess.mean == (0.485, 0.456, 0.406)
    own = opened(start=replace(START, normalisation="init")).preprocess
    assert own.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert opened(start=replace(START, size=None)).clip.config.image.image_size == (224, 224)
    assert not encoder.training


def test_the_card_says_where_the_weights_came_from_and_what_was_done() -> None:
    card = opened().card
    assert (card.source, card.licence, card.data) == (TINY, "none", data().fingerprint)
    assert card.data_licences == ("unknown",)
    assert card.notes == (
        "Trained by resight train test.",
        "Of its first weights: Random weights, drawn from seed 1234: train them before use.",
    )


def test_the_card_keeps_the_licences_of_every_training(tmp_path: Path) -> None:
    opened(train=replace(data(), licence="CC-BY-4.0")).save(tmp_path / "first")
    second = opened(str(tmp_path / "first"), train=replace(data(), licence="own"))
    assert second.card.data_licences == ("CC-BY-4.0", "own")
    assert f"Its first weights were trained on data {data().fingerprint}." in second.card.notes
    file = tmp_path / "first" / "encoder.json"
    older = json.loads(file.read_text())
    del older["card"]["data_licences"]
    file.write_text(json.dumps(older))
    assert opened(str(tmp_path / "first")).card.data_licences == ("unknown", "unknown")


def test_camera_vectors_are_drawn_small_from_the_seed() -> None:
    encoder = opened(start=replace(START, side_camera=True, side_coefficient=3.0))
    assert encoder.side == Side(3.0, ("1", "2", "10"))
    assert encoder.side_table.shape == (3, 64)
    assert encoder.side_table.std().item() == pytest.approx(0.02, rel=0.2)
    assert torch.equal(encoder.side_table, opened(start=replace(START, side_camera=True)).side_table)
    other = opened(start=replace(START, side_camera=True), engine=replace(ENGINE, seed=1))
    assert not torch.equal(encoder.side_table, other.side_table)
    both = opened(start=replace(START, side_camera=True, side_view=True), train=data(views=True))
    assert both.side is not None
    assert (both.side.cameras, both.side.views, both.side.n_rows) == (("1", "2", "10"), ("v0", "v1"), 6)
    view = opened(start=replace(START, side_view=True), train=data(views=True))
    assert view.side == Side(1.0, (), ("v0", "v1"))


def test_the_text_tower_stays_unless_it_is_left_out() -> None:
    assert opened().can_read
    assert not opened(start=replace(START, without_text=True)).can_read
    assert opened(start=replace(START, without_text=True), with_text=True).can_read  # the recipe drops it later


def test_recomputation_is_for_both_transformers() -> None:
    encoder = opened(engine=replace(ENGINE, recompute=True))
    assert encoder.clip.text is not None
    assert encoder.clip.image.transformer.recompute  # type: ignore[union-attr]
    assert encoder.clip.text.transformer.recompute
    assert not opened().clip.image.transformer.recompute  # type: ignore[union-attr]


def small(tmp_path: Path, *, resnet: bool = False) -> Encoder:
    """A trained encoder's folder, `old`, for pictures of 64×32."""
    if resnet:
        clip = Clip(ClipConfig(ResNetConfig((64, 64), (1, 1, 1, 1), 8, 4, 24, last_stride=2), None))
        clip.initialise(1)
        encoder = Encoder(clip, Preprocess(64, 64, (0.5,) * 3, (0.5,) * 3, "bilinear"), Card("old"))
    else:
        encoder = opened(start=replace(START, side_camera=True))
        torch.nn.init.constant_(encoder.neck_last.weight, 7)
    encoder.save(tmp_path / "old")
    return encoder


def test_towers_of_a_trained_encoder_are_taken_and_its_positions_resized(tmp_path: Path) -> None:
    old = small(tmp_path)
    new = opened(str(tmp_path / "old"), replace(START, size=(96, 64), stride=8))
    assert new.clip.config.image.image_size == (96, 64)
    assert new.clip.config.image.grid == (11, 7)
    expected, found = old.clip.state_dict(), new.clip.state_dict()
    table = "image.positional_embedding"
    expected[table] = resize_positions(expected[table], old_grid=(4, 2), new_grid=(11, 7))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert torch.equal(new.neck_last.weight, torch.ones(64))
    assert new.side is None
    assert new.card.source == TINY
    assert new.card.notes[-1] == (
        "The necks and side vectors of the encoder that it started from were replaced by fresh ones."
    )
    assert all(parameter.requires_grad for parameter in new.clip.parameters())
    assert new(torch.zeros(1, 3, 96, 64))[0].shape == (1, 128)


def test_prompts_of_a_trained_encoder_are_left_out_and_the_card_says_so(tmp_path: Path) -> None:
    old = opened(feature="projected", with_text=True)
    old.prompts = SharedPrompts(PromptForm(2, 2), old.clip.config, seed=0)
    old.save(tmp_path / "old")
    for with_text in (False, True):
        new = opened(str(tmp_path / "old"), with_text=with_text)
        assert new.prompts is None
        assert new.card.notes[-1] == "The prompts of the encoder that it started from were left out."
        assert torch.equal(new.clip.image.conv1.weight, old.clip.image.conv1.weight)


def test_a_trained_resnet_gets_its_resolution_back(tmp_path: Path) -> None:
    small(tmp_path, resnet=True)
    new = opened(str(tmp_path / "old"), replace(START, stride=16))
    assert new.clip.config.image.grid == (4, 2)
    assert new(torch.zeros(1, 3, 64, 32))[0].shape == (1, 256 + 24)
    same = opened(str(tmp_path / "old"), replace(START, size=None))
    assert same.clip.config.image.grid == (2, 2)
    assert not any("necks" in note for note in same.card.notes)  # a plain CLIP has none


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"side_view": True}, r"--side-view: the train pictures name no view\. Leave it out, or name the column"),
        ({"size": (8, 8)}, "smaller than a patch of 16"),
        ({"stride": 17}, "a stride of 17 is not between 1 and the patch size"),
    ],
)
def test_what_the_tower_or_the_data_lack_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    small(tmp_path)
    for init in (TINY, str(tmp_path / "old")):
        with pytest.raises(ConfigError, match=message):
            opened(init, replace(START, **changes))


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_factor_that_is_no_number_is_refused(factor: float) -> None:
    with pytest.raises(ConfigError, match=f"--side-coefficient {factor}: a finite number"):
        replace(START, side_coefficient=factor)


def test_what_a_resnet_cannot_do_is_refused(tmp_path: Path) -> None:
    small(tmp_path, resnet=True)
    with pytest.raises(ConfigError, match="a ResNet has none. Leave them out".replace(".", r"\.")):
        opened(str(tmp_path / "old"), replace(START, side_camera=True))
    with pytest.raises(ConfigError, match="--recompute: is for vision transformers"):
        opened(str(tmp_path / "old"), START, engine=replace(ENGINE, recompute=True))
    with pytest.raises(ConfigError, match="a ResNet's stride is 16 or 32, not 12"):
        opened(str(tmp_path / "old"), replace(START, stride=12))
    with pytest.raises(ConfigError, match="has no text tower, which this recipe needs"):
        opened(str(tmp_path / "old"), START, with_text=True)
