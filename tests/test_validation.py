from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import resight.validation
from resight.embed import EmbedConfig
from resight.encoder import Encoder
from resight.evaluate import Rules
from resight.types import Splits
from resight.validation import validation_scores

APART = Splits("apart", Path("/pictures"), "any-camera")


@pytest.mark.parametrize("training", [True, False])
def test_validation_embeds_in_evaluation_mode_and_goes_back(
    training: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    encoder = Encoder.load("random:64x2/16", size=(32, 16), device="cpu").train(training)
    seen = []

    def evaluate(encoder: Encoder, splits: Splits, *, rules: Rules, subset: str, config: EmbedConfig) -> object:
        seen.append((encoder.training, splits, rules, subset, config.cache))
        return SimpleNamespace(tasks=[SimpleNamespace(scores={"mAP": 0.5, "R1": 0.7, "R5": 0.9})])

    monkeypatch.setattr(resight.validation, "evaluate", evaluate)
    assert validation_scores(encoder, APART, tmp_path) == {"mAP": 0.5, "R1": 0.7}
    assert seen == [(False, APART, Rules(protocol=APART.protocol), "validation", tmp_path)]
    assert encoder.training is training


def test_nothing_kept_apart_is_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no identities were kept apart"):
        validation_scores(Encoder.load("random:64x2/16", size=(32, 16), device="cpu"), None, tmp_path)
