"""A training is refused before its run folder is made when pictures are missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from resight.data.benchmarks import BENCHMARKS
from resight.data.index import read
from resight.encoder import Encoder
from resight.engine import Engine
from resight.errors import DataError
from resight.launch import WITHDRAWN, Order, launch
from resight.optim import Descent
from resight.recipes import finetune
from resight.starting import Start


def test_missing_pictures_end_a_training_before_it_begins(coloured_people: Path, tmp_path: Path) -> None:
    coloured_people.write_text(coloured_people.read_text().replace(",query,", ",train,").replace("gallery", "train"))
    for name in ("red/a0.png", "red/a1.png", "blue/b0.png"):
        (tmp_path / name).unlink()
    settings = finetune.Config(engine=Engine(device="cpu"))
    order = Order(finetune, settings, init="random:64x2/8", out=tmp_path / "run", read={}, command=())
    with pytest.raises(DataError) as raised:
        launch(order, read(coloured_people))
    assert str(raised.value) == (
        f"{tmp_path}: 3 of 16 pictures are missing (red: 2 of 4 missing; blue: 1 of 4 missing). The first is "
        "red/a0.png. Copy them there, or take them off the list."
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("stated", "benchmark", "expected"),
    [
        ("CC-BY-4.0", None, "CC-BY-4.0"),
        (None, "market1501", "unknown"),
        (" ", None, "unknown"),
        ("MIT", "dukemtmc", "withdrawn by its authors in 2019, over consent (DukeMTMC-reID)"),
    ],
)
def test_the_card_says_what_was_stated_of_the_pictures_and_what_was_taken_back(
    stated: str | None, benchmark: str | None, expected: str, coloured_people: Path, tmp_path: Path
) -> None:
    coloured_people.write_text(coloured_people.read_text().replace(",query,", ",train,").replace("gallery", "train"))
    settings = finetune.Config(
        n_identities=2,
        n_images=2,
        start=Start(size=(16, 16)),
        descent=Descent(epochs=1, warmup_epochs=0),
        engine=Engine(device="cpu"),
    )
    order = Order(finetune, settings, "random:64x1/8", tmp_path / "run", {}, (), licence=stated)
    encoder = launch(order, replace(read(coloured_people), benchmark=benchmark))
    assert encoder is not None
    assert encoder.card.data_licences == (expected,)
    assert Encoder.load(tmp_path / "run" / "encoder", device="cpu").card == encoder.card


def test_what_was_withdrawn_is_named_as_the_benchmarks_are() -> None:
    assert WITHDRAWN.keys() == {known.name for known in BENCHMARKS if "do not build on it" in known.availability}
