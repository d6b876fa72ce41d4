"""The pictures for pre-training: always the same, readable as a data set, described, and of nobody in a sample set."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import draw
import numpy as np
import pytest

from resight.clip.tokenizer import CONTEXT_LENGTH, count_tokens
from resight.data.index import read
from resight.data.sample import jobs
from resight.data.sample.people import person
from resight.types import Splits

N = 60


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mini") / "pictures"
    draw.main([str(root), "--pictures", str(N), "--seed", "3", "--workers", "1"])
    return root


def records_of(root: Path) -> Splits:
    return read(root / "index.csv")


def test_the_index_is_readable_and_names_the_files(drawn: Path) -> None:
    splits = records_of(drawn)
    assert splits.notes == ()
    assert N <= len(splits.train) <= N + 4 * draw.MOST
    assert sorted(record.path for record in splits.train) == sorted(drawn.rglob("*.jpg"))
    assert "/" not in (drawn / "index.csv").read_text().splitlines()[1].split(",")[0][:1]


def test_kinds_have_their_shares(drawn: Path) -> None:
    kinds = Counter(record.path.parent.name for record in records_of(drawn).train)
    for kind, share in draw.SHARES.items():
        assert share * N <= kinds[kind] < share * N + draw.MOST


def test_each_identity_is_seen_often_enough_by_two_to_four_cameras(drawn: Path) -> None:
    cameras: defaultdict[str | None, list[str | None]] = defaultdict(list)
    for record in records_of(drawn).train:
        cameras[record.identity].append(record.camera)
    for seen in cameras.values():
        assert draw.FEWEST <= len(seen) <= draw.MOST
        assert 2 <= len(set(seen)) <= 4


def test_captions_say_something_in_varied_words(drawn: Path) -> None:
    said: defaultdict[str | None, list[str]] = defaultdict(list)
    for record in records_of(drawn).train:
        [caption] = record.captions
        assert caption.endswith(".")
        assert caption[0].isupper()
        assert 8 <= len(caption.split()) <= 40
        assert count_tokens(caption) < CONTEXT_LENGTH
        said[record.identity].append(caption)
    assert all(len(set(captions)) > 1 for captions in said.values())


def test_no_two_pictures_are_equal(drawn: Path) -> None:
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in drawn.rglob("*.jpg")]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("kind", draw.SHARES)
def test_pictures_depend_on_seed_kind_and_number_only(kind: str) -> None:
    first, again, other = (list(draw.pictures(seed, kind, 2)) for seed in (5, 5, 6))
    assert [shot.caption for shot in first] == [shot.caption for shot in again]
    for one, same in zip(first, again, strict=True):
        assert one.image.tobytes() == same.image.tobytes()
    assert first[0].image.tobytes() != other[0].image.tobytes()


def test_workers_draw_the_same(drawn: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    draw.main([str(again), "--pictures", str(N), "--seed", "3", "--workers", "2"])
    for path in drawn.rglob("*.*"):
        assert path.read_bytes() == (again / path.relative_to(drawn)).read_bytes()


def test_no_person_stands_in_a_sample_set() -> None:
    """The words that seed a generator differ from a sample set's in their last but one, whatever the seeds are."""
    streams = (jobs._PEOPLE, jobs._TOUR, jobs._PICTURES, jobs._DISTRACTORS, jobs._JUNK)
    assert all(ord(kind[-1]) > max(streams) and len(kind) > 2 for kind in draw.SHARES)
    ours = set()
    for number in range(1, 200):
        rng = draw.generator(1, "people", number)
        draw.n_pictures(rng)
        ours.add(person(rng))
    sample = {jobs.person_of(seed, number) for seed in range(3) for number in range(1, 200)}
    sample |= {person(np.random.default_rng((1, stream, number))) for stream in streams for number in range(200)}
    assert len(ours) == 199
    assert not ours & sample


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pictures", "0", "--seed", "1"], "must be 1 or more"),
        (["--pictures", "1", "--seed", "-1"], "must be 1 or more"),
        (["--pictures", "1", "--seed", "1", "--workers", "0"], "must be 1 or more"),
        (["--pictures", "1", "--seed", "1"], "holds something already"),
    ],
)
def test_wrong_calls_are_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(SystemExit) as ended:
        draw.main([str(tmp_path), *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
