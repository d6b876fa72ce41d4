from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from resight.curves import Line, read_curves, thin
from resight.errors import DataError


def step(stage: str, epoch: int, number: int, rate: float, **terms: float) -> dict[str, Any]:
    more = {"loss": sum(terms.values()), "terms": terms, "gradient_norm": 1.0, "images_per_second": 700.0}
    return {"stage": stage, "epoch": epoch, "step": number, "rate": rate} | more


def scores(stage: str, epoch: int, number: int, **found: float) -> dict[str, Any]:
    return {"stage": stage, "epoch": epoch, "step": number, "validation": found}


def write(path: Path, *entries: object) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_steps_are_counted_through_the_epochs_of_a_stage(tmp_path: Path) -> None:
    path = write(
        tmp_path / "metrics.jsonl",
        step("prompts", 1, 5, 0.1, contrast=4.0),
        {"stage": "prompts", "epoch": 2, "step": 0, "checkpoint": True},
        step("train", 1, 4, 0.1, identity=6.0, triplet=1.0),
        step("train", 1, 7, 0.1, identity=5.0, triplet=0.5),  # epochs need not have equally many steps
        step("train", 2, 4, 0.2, identity=4.0, triplet=0.25),
        step("train", 2, 6, 0.2, identity=3.0, triplet=0.25),
        scores("train", 2, 6, mAP=0.5, R1=0.75, R5=0.9),
        step("train", 3, 2, 0.05, identity=2.0, triplet=0.125),
    )
    prompts, train = read_curves(path)
    assert (prompts.stage, train.stage) == ("prompts", "train")
    assert prompts.terms == (Line("contrast", [5], [4.0]),)  # the sum of one term is that term
    assert prompts.validation == ()
    x = [4, 7, 11, 13, 15]
    assert train.terms == (
        Line("sum", x, [7.0, 5.5, 4.25, 3.25, 2.125]),
        Line("identity", x, [6.0, 5.0, 4.0, 3.0, 2.0]),
        Line("triplet", x, [1.0, 0.5, 0.25, 0.25, 0.125]),
    )
    assert train.rate == Line("rate", x, [0.1, 0.1, 0.2, 0.2, 0.05])
    assert train.validation == (Line("mAP", [13], [0.5]), Line("R1", [13], [0.75]))


def test_a_term_that_sets_in_later_begins_there(tmp_path: Path) -> None:
    entries = [step("train", 1, 1, 0.1, identity=2.0), step("train", 1, 2, 0.1, identity=1.0, triplet=3.0)]
    (train,) = read_curves(write(tmp_path / "metrics.jsonl", *entries))
    assert train.terms[2] == Line("triplet", [2], [3.0])


def test_a_loss_that_was_no_number_is_kept_as_such(tmp_path: Path) -> None:
    stopped = {"stage": "train", "epoch": 1, "step": 3, "not_finite": "loss", "terms": {"identity": "nan"}}
    entries = [step("train", 1, 1, 0.1, identity=2.0), step("train", 1, 2, 0.1, identity=math.nan), stopped]
    (train,) = read_curves(write(tmp_path / "metrics.jsonl", *entries))
    (identity,) = train.terms
    assert (identity.x, identity.y[0]) == ([1, 2], 2.0)
    assert math.isnan(identity.y[1])


def test_a_last_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "metrics.jsonl", step("train", 1, 1, 0.1, identity=2.0))
    path.write_text(path.read_text() + '{"stage": "train", "epo')
    (train,) = read_curves(path)
    assert train.rate == Line("rate", [1], [0.1])


def test_a_line_torn_in_the_middle_is_left_out(tmp_path: Path) -> None:
    """A power cut, after which the run went on in the same line."""
    path = write(tmp_path / "metrics.jsonl", step("train", 1, 1, 0.1, identity=2.0))
    lines = [json.dumps(step("train", 1, k, 0.1, identity=1.0)) for k in (2, 3)]
    path.write_bytes(path.read_bytes() + b'{"stage": "train", "epo\0\0\xff' + "\n".join(lines).encode() + b"\n")
    (train,) = read_curves(path)
    assert train.rate == Line("rate", [1, 3], [0.1, 0.1])


@pytest.mark.parametrize(
    "text",
    [
        "no JSON\n",
        "[1, 2]\n",
        '{"epoch": 1}\n',
        '{"stage": "train", "rate": 0.1}\n',
        '{"stage": ["train"]}\n',
        "\xff\n",
    ],
)
def test_another_kind_of_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"metrics\.jsonl: is not the metrics of a run .* Name a run's own file"):
        read_curves(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.jsonl: is not the metrics of a run \(FileNotFoundError"):
        read_curves(tmp_path / "no.jsonl")


@pytest.mark.parametrize("entries", [[], [{"stage": "train", "epoch": 1, "step": 0, "checkpoint": True}]])
def test_a_run_that_has_taken_no_step(entries: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no step yet"):
        read_curves(write(tmp_path / "metrics.jsonl", *entries))


def test_thinning_takes_means_of_neighbours() -> None:
    line = Line("identity", [1, 2, 3, 4, 5], [10.0, 20.0, 30.0, 40.0, 50.0])
    assert thin(line, 3) == Line("identity", [1.5, 3.5, 5], [15.0, 35.0, 50.0])
    assert thin(line, 5) == line
    assert thin(Line("identity", [], [])) == Line("identity", [], [])


@pytest.mark.parametrize("n", [149, 150, 151, 300, 1000, 12345])
def test_a_thinned_line_is_short_and_keeps_its_mean(n: int) -> None:
    whole = Line("identity", list(range(n)), [float(k % 7) for k in range(n)])
    thinned = thin(whole)
    assert len(thinned.x) <= 150
    together = math.ceil(n / 150)
    weights = [min(together, n - start) for start in range(0, n, together)]
    mean = sum(w * y for w, y in zip(weights, thinned.y, strict=True)) / n
    assert mean == pytest.approx(sum(whole.y) / n)
