"""How well an encoder does in the middle of its training, on identities that it does not train on."""

from __future__ import annotations

from pathlib import Path

from resight.embed import EmbedConfig
from resight.encoder import Encoder
from resight.evaluate import Rules, evaluate
from resight.types import Splits


def validation_scores(encoder: Encoder, validation: Splits | None, cache: Path) -> dict[str, float]:
    """mAP and R1 of the validation records by their protocol, shares from 0 to 1; training goes on as before.

    validation: as in `TrainSet`. cache: folder of decoded pictures. Raises ValueError when nothing was kept apart.
    """
    if validation is None:
        raise ValueError("no identities were kept apart for validation")
    was_training = encoder.training
    encoder.eval()
    rules = Rules(protocol=validation.protocol)  # asked for by name, text comes alone, without pictures by pictures
    report = evaluate(encoder, validation, rules=rules, subset="validation", config=EmbedConfig(cache=cache))
    encoder.train(was_training)
    return {name: report.tasks[0].scores[name] for name in ("mAP", "R1")}
