"""A training is refused before its run folder is made when pictures are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from resight.data.index import read
from resight.engine import Engine
from resight.errors import DataError
from resight.launch import Order, launch
from resight.recipes import finetune


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
