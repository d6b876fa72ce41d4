from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from resight.data.benchmarks import Counts
from resight.errors import ConfigError, DataError
from resight.evaluate import Report, Rules, Task
from resight.reproduction import RoleCounts, data_of, reproduce
from resight.types import Record, Splits

SCORES = {"mAP": 0.9, "R1": 0.95, "R5": 0.96, "R10": 0.97, "R20": 0.98, "mINP": 0.5}
TASK = Task("image → image", "cross-camera", 3, 3, 3, SCORES, dict.fromkeys(SCORES, (0.4, 0.99)), {}, None, (), None)
REPORT = Report("mine", "f" * 16, "market", "d" * 16, "test", Rules(seed=5), (TASK,), ())


def pictures(*identities: str | None, captions: tuple[str, ...] = ()) -> tuple[Record, ...]:
    return tuple(Record(Path(f"/{n}.jpg"), name, captions=captions) for n, name in enumerate(identities))


def splits(benchmark: str | None, **roles: tuple[Record, ...]) -> Splits:
    return Splits("market", Path("/data"), "cross-camera", benchmark, **roles)


def test_what_an_evaluation_needs_to_be_made_again() -> None:
    made = reproduce(REPORT, splits(None, query=pictures("a")), command="resight report x", seconds=2.04, device="cpu")
    assert made.facts["command"] == "resight report x"
    assert made.facts["encoder"] == "mine, fingerprint ffffffffffffffff"
    assert made.facts["data"] == "market, test, fingerprint dddddddddddddddd"
    assert made.facts["seed of the intervals and the map"] == "5"
    assert made.facts["time of the evaluation"] == "2.0 s"
    assert made.facts["computed on"] == "cpu"
    assert "torch " in made.facts["libraries"]
    assert " cores" in made.facts["machine"]
    assert (made.distances, made.settings) == ((), None)
    assert not any(name.startswith("training") for name in made.facts)


def test_counts_stand_beside_the_published_ones() -> None:
    query, gallery = pictures("a", "b"), pictures("a", "b", None, captions=("one", "two"))
    known = reproduce(REPORT, splits("market1501", query=query, gallery=gallery), command="", seconds=0)
    assert known.counts == (
        RoleCounts("train", Counts(0, 0, 0), Counts(751, 12_936)),
        RoleCounts("query", Counts(2, 2, 0), Counts(750, 3_368)),
        RoleCounts("gallery", Counts(3, 3, 6), Counts(751, 15_913)),  # distractors are counted as one identity
    )
    own = reproduce(REPORT, splits(None, unassigned=gallery), command="", seconds=0)
    assert own.counts == (RoleCounts("unassigned", Counts(2, 3, 6), None),)
    text = reproduce(REPORT, splits("rstpreid", query=query, gallery=query), command="", seconds=0)
    (test,) = (row for row in text.counts if row.role == "test")
    assert (test.found, test.published is None) == (Counts(2, 2, 0), False)


def test_the_distance_to_published_results() -> None:
    data = splits("market1501", query=pictures("a"))
    distances = reproduce(REPORT, data, command="", seconds=0).distances
    assert distances
    assert all(one.published.benchmark == "market1501" for one in distances)
    assert all(one.ours == {name: SCORES[name] for name in one.published.scores} for one in distances)
    assert reproduce(replace(REPORT, subset="validation"), data, command="", seconds=0).distances == ()
    other = replace(REPORT, tasks=(replace(TASK, protocol="any-camera"),))
    assert reproduce(other, data, command="", seconds=0).distances == ()  # a query may find its own camera's pictures
    words = replace(REPORT, tasks=(TASK, replace(TASK, name="text → image", protocol="text")))
    assert reproduce(words, splits("rstpreid", query=pictures("a")), command="", seconds=0).distances
    assert reproduce(REPORT, splits("rstpreid", query=pictures("a")), command="", seconds=0).distances == ()  # no words


def test_a_run_says_how_it_was_trained(tmp_path: Path) -> None:
    data = {"data": "people.csv", "pictures": 16, "identities": 4, "fingerprint": "abc"}
    config = {"format": 1, "recipe": "clip-reid", "init": "tiny", "data": data, "settings": {"engine": {"seed": 7}}}
    (tmp_path / "config.json").write_text(json.dumps(config | {"command": "resight train …"}))
    steps = [{"stage": stage, "seconds": seconds} for stage, seconds in (("prompts", 4), ("train", 1), ("train", 9.6))]
    lines = [*map(json.dumps, steps), "[1]", '{"stage": "tra']
    lines.insert(1, '{"stage": "tra{"stage": "train"}')  # torn by a power cut, after which the run went on
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    made = reproduce(REPORT, splits(None), command="", seconds=0, run=tmp_path)
    told = {name: fact for name, fact in made.facts.items() if name.startswith("training")}
    assert told == {
        "training": "clip-reid from tiny",
        "training command": "resight train …",
        "training data": "people.csv, 16 pictures of 4 identities, fingerprint abc",
        "training seed": "7",
        "training time": "prompts until 4 s, train until 10 s",
    }
    assert made.settings == config | {"command": "resight train …"}
    (tmp_path / "environment.json").write_text("[]")
    assert "training machine" not in reproduce(REPORT, splits(None), command="", seconds=0, run=tmp_path).facts


def test_where_the_data_of_a_run_lay(tmp_path: Path) -> None:
    place = tmp_path / "people"
    place.mkdir()
    config = {"data": {"data": str(place), "benchmark": "market1501", "column": ["camera=c"]}}
    assert data_of(tmp_path, config) == (place, "market1501", ("camera=c",))
    with pytest.raises(ConfigError, match="does not say which data it was trained on"):
        data_of(tmp_path, {"data": {}})
    place.rmdir()
    with pytest.raises(DataError, match=r"no longer there\. Name where they are now"):
        data_of(tmp_path, config)
