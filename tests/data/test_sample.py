"""The drawn benchmark: its layout, what is in it, and that it is always the same."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resight.data.index import read
from resight.data.sample import SampleCounts, make_sample
from resight.data.sample.cameras import CAMERAS
from resight.data.sample.captions import COLOUR_WORDS, LONGEST, SHORTEST, captions, tokens
from resight.data.sample.jobs import person_of
from resight.data.sample.people import COLOURS, Person, person, twin
from resight.data.sample.pictures import take
from resight.data.sample.shots import first_shot, next_shot, seen
from resight.errors import ConfigError, DataError

NAME = re.compile(r"(?P<identity>-1|[0-9]{4})_c(?P<camera>[1-6])s[1-6]_[0-9]{6}_[0-9]{2}\.jpg")
N = 8

Sample = tuple[Path, SampleCounts]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    root = tmp_path_factory.mktemp("sample") / "people"
    return root, make_sample(root, n_identities=N, seed=1, workers=1)


def rows(sample: Sample) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((sample[0] / "reid_raw.json").read_text())
    return found


def digests(root: Path) -> dict[str, str]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def parsed(folder: Path) -> list[tuple[str, int]]:
    """(identity, camera) of every picture; its name must be one of Market-1501's form."""
    matches = [NAME.fullmatch(path.name) for path in sorted(folder.iterdir())]
    assert all(matches)
    return [(match["identity"], int(match["camera"])) for match in matches if match]


def test_the_folder_has_exactly_the_stated_content(sample: Sample) -> None:
    root, counts = sample
    names = sorted(path.name for path in root.iterdir())
    assert names == ["README.txt", "bounding_box_test", "bounding_box_train", "query", "reid_raw.json"]
    others = [identity for identity, _ in parsed(root / "bounding_box_test")]
    assert dataclasses.asdict(counts) == {
        "identities": N,
        "train": len(parsed(root / "bounding_box_train")),
        "query": len(parsed(root / "query")),
        "gallery": len(others) - others.count("0000") - others.count("-1"),
        "distractors": others.count("0000"),
        "junk": others.count("-1"),
        "captions": sum(len(row["captions"]) for row in rows(sample)),
    }
    assert (counts.distractors, counts.junk) == (N, N // 2)
    assert 7 * N <= counts.train + counts.query + counts.gallery <= 16 * N


def test_train_and_test_identities_are_disjoint_halves(sample: Sample) -> None:
    root, _ = sample
    train, query, gallery = (
        {identity for identity, _ in parsed(root / name)} - {"0000", "-1"}
        for name in ("bounding_box_train", "query", "bounding_box_test")
    )
    assert train == {"0002", "0004", "0006", "0008"}
    assert query == gallery == {"0001", "0003", "0005", "0007"}


def test_one_query_for_each_camera_and_a_match_by_another(sample: Sample) -> None:
    root, _ = sample
    queries, gallery = parsed(root / "query"), parsed(root / "bounding_box_test")
    assert len(set(queries)) == len(queries)
    assert {pair for pair in gallery if pair[0] not in ("0000", "-1")} <= set(queries)
    for identity, camera in queries:
        assert any(other == identity and its != camera for other, its in gallery)
    cameras = defaultdict(set)
    for identity, camera in queries:
        cameras[identity].add(camera)
    assert all(2 <= len(found) <= 6 for found in cameras.values())


def test_pictures_are_of_market_size(sample: Sample) -> None:
    for path in sample[0].rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.size, image.mode, image.format) == ((64, 128), "RGB", "JPEG")


def test_the_readers_take_it_for_what_it_is(sample: Sample) -> None:
    root, counts = sample
    splits = read(root)
    assert (splits.protocol, len(splits.train), len(splits.query)) == ("cross-camera", counts.train, counts.query)
    assert len(splits.gallery) == counts.gallery + counts.distractors
    assert sum(record.identity is None for record in splits.gallery) == counts.distractors
    for record in (*splits.train, *splits.query):
        assert len(record.captions) == 2


def test_captions_have_the_form_of_cuhk_pedes(sample: Sample) -> None:
    root, _ = sample
    described = rows(sample)
    pictures = {str(path.relative_to(root)) for path in root.rglob("*.jpg")}
    unnamed = {name for name in pictures if Path(name).name.startswith(("0000_", "-1_"))}
    assert {row["file_path"] for row in described} == pictures - unnamed
    for row in described:
        assert set(row) == {"split", "captions", "file_path", "processed_tokens", "id"}
        assert row["split"] == ("train" if row["file_path"].startswith("bounding_box_train/") else "test")
        assert row["id"] == int(Path(row["file_path"]).name[:4])
        assert row["processed_tokens"] == [tokens(caption) for caption in row["captions"]]


def test_the_note_names_seed_and_licence(sample: Sample) -> None:
    note = (sample[0] / "README.txt").read_text()
    assert "resight data make-sample" in note
    assert f"seed 1, {N} identities" in note
    assert "CC0" in note


def test_two_workers_write_the_same_bytes(sample: Sample, tmp_path: Path) -> None:
    make_sample(tmp_path / "again", n_identities=N, seed=1, workers=2)
    assert digests(tmp_path / "again") == digests(sample[0])


def test_an_identity_does_not_depend_on_how_many_there_are(sample: Sample, tmp_path: Path) -> None:
    make_sample(tmp_path / "few", n_identities=4, seed=1)
    few, many = digests(tmp_path / "few"), digests(sample[0])
    pictures = {name for name in few if name.endswith(".jpg")}
    assert {name: few[name] for name in pictures} == {name: many[name] for name in pictures}


def test_another_seed_draws_other_people(sample: Sample, tmp_path: Path) -> None:
    make_sample(tmp_path / "other", n_identities=4, seed=2)
    assert set(digests(tmp_path / "other").values()).isdisjoint(digests(sample[0]).values())


def test_twins_differ_in_one_attribute_and_share_the_split() -> None:
    people = [person_of(0, number) for number in range(1, 61)]
    pairs = [
        (a, b)
        for a in range(60)
        for b in range(a)
        if sum(x != y for x, y in zip(*map(dataclasses.astuple, (people[a], people[b])), strict=True)) <= 1
    ]
    assert len(pairs) == 6
    assert all(a - b == 2 and people[a] != people[b] for a, b in pairs)


def test_twins_come_in_every_kind() -> None:
    changed = set()
    for number in range(300):
        rng = np.random.default_rng(number)
        first = person(rng)
        second = twin(first, rng)
        changed.update(f.name for f in dataclasses.fields(Person) if getattr(first, f.name) != getattr(second, f.name))
    assert changed == {
        *("upper_colour", "hair_colour", "shoe_colour", "lower_colour"),
        *("bag", "hat", "pattern", "shoulders"),
    }


def described_pictures(n: int) -> list[tuple[Person, frozenset[str], list[str]]]:
    """People, what a picture shows of them, and what is said of it."""
    found = []
    for number in range(n):
        rng = np.random.default_rng((9, number))
        someone = person(rng)
        shot = next_shot(first_shot(number % 6 + 1, rng), rng)
        shown = seen(someone, shot)
        found.append((someone, shown, captions(someone, shown, walks=number % 2 == 0, n=2, rng=rng)))
    return found


DESCRIBED = described_pictures(400)
ALL_COLOURS = sorted({word for words in COLOUR_WORDS.values() for word in words}, key=len, reverse=True)
COLOUR = re.compile(rf"\b({'|'.join(ALL_COLOURS)})\b")


def test_captions_name_only_colours_that_the_picture_shows() -> None:
    parts = {
        "hair": ("hair_colour",),
        "hat": ("hat_colour",),
        "upper": ("upper_colour",),
        "inner": ("inner",),
        "print": ("trim",),
        "lower": ("lower_colour",),
        "shoes": ("shoe_colour",),
        "bag": ("bag_colour",),
    }
    for someone, shown, said in DESCRIBED:
        fields = [field for part in shown for field in parts.get(part, ())]
        fields += ["trim"] if someone.pattern in ("striped", "checked", "two-tone") else []
        allowed = {word for field in fields for word in COLOUR_WORDS[getattr(someone, field)]}
        for caption in said:
            assert set(COLOUR.findall(caption)) <= allowed, caption


def test_captions_name_only_things_that_the_picture_shows() -> None:
    things = {
        "bag": r"backpack|rucksack|handbag|purse|bag",
        "hat": r"cap|beanie|hat",
        "glasses": r"sunglasses|glasses",
        "shoes": r"sneakers|trainers|shoes|boots",
        "lower": r"trousers|pants|jeans|leggings|shorts|skirt",
        "hair": r"hair|ponytail|head",
        "print": r"print|logo|design",
    }
    for _, shown, said in DESCRIBED:
        for part, words in things.items():
            if part not in shown:
                assert not any(re.search(rf"\b({words})\b", caption) for caption in said), (part, said)


def test_every_kind_of_thing_is_named_somewhere() -> None:
    text = " ".join(caption for _, _, said in DESCRIBED for caption in said)
    nouns = ("t-shirt", "sweater", "hoodie", "jacket", "coat", "dress", "trousers", "jeans", "shorts", "skirt")
    more = ("sneakers", "boots", "backpack", "handbag", "shoulder bag", "cap", "beanie", "sunglasses", "ponytail")
    assert [noun for noun in (*nouns, *more, "striped", "logo", "plaid", "their", "bald") if noun not in text] == []


def test_captions_are_sound_english() -> None:
    for someone, _, said in DESCRIBED:
        assert len(set(said)) == 2
        for caption in said:
            words = tokens(caption)
            assert SHORTEST <= len(words) <= LONGEST
            assert re.fullmatch(r"([A-Z][a-z ,-]*\.( |$))+", caption), caption
            for article, word in re.findall(r"\b(an?) (\w)", caption.lower()):
                assert article == ("an" if word in "aeiou" else "a"), caption
            triples = list(zip(words, words[1:], words[2:], strict=False))
            assert len(set(triples)) == len(triples), caption
            assert not re.search(
                r"\b(\w+) \1\b|\bhe (are|have|carry|wear)\b|\bthey (is|has|carries|wears)\b", caption.lower()
            )
            assert ("he" in words) <= (someone.sex == "man")
            assert ("she" in words) <= (someone.sex == "woman")


def test_captions_differ_from_picture_to_picture() -> None:
    assert len({caption for _, _, said in DESCRIBED for caption in said}) > 0.98 * 2 * len(DESCRIBED)


def test_every_colour_has_words_and_no_word_two_colours() -> None:
    assert set(COLOUR_WORDS) == set(COLOURS)
    assert len(ALL_COLOURS) == sum(len(words) for words in COLOUR_WORDS.values())


def test_what_a_picture_shows_depends_on_its_side_and_its_edges() -> None:
    rng = np.random.default_rng(0)
    hiker = dataclasses.replace(person(rng), upper="t-shirt", pattern="logo", lower="jeans", bag="backpack", hat="cap")
    hiker = dataclasses.replace(hiker, hair="short", glasses=True, height=1.0)
    shot = first_shot(1, rng)

    def shown(yaw: float, top: float, feet: float, occluder: str = "", cover: float = 0.0) -> frozenset[str]:
        stance = dataclasses.replace(shot.stance, yaw=yaw, gaze=0.0, top=top, feet=feet)
        return seen(hiker, dataclasses.replace(shot, stance=stance, occluder=occluder, cover=cover))

    assert shown(0, 0.02, 0.98) == {"hat", "glasses", "upper", "print", "lower", "shoes"}
    assert shown(math.pi, 0.02, 0.98) == {"hat", "upper", "lower", "shoes", "bag"}
    assert shown(math.pi, -0.1, 0.98) == {"upper", "lower", "shoes", "bag"}
    assert shown(math.pi, 0.02, 1.2) == {"hat", "upper", "lower", "bag"}
    assert shown(math.pi, 0.02, 0.98, "car", 0.6) == {"hat", "upper", "bag"}
    assert shown(0, 0.02, 0.98, "pole", 0.5) == {"hat", "glasses", "upper", "lower", "shoes"}


def test_pictures_of_all_cameras_can_be_told_apart() -> None:
    """Light, colour and sharpness of one person before the six cameras: no two agree."""
    looks = []
    for camera in range(1, len(CAMERAS) + 1):
        pixels = []
        for k in range(6):
            rng = np.random.default_rng(k)
            pixels.append(np.asarray(take(None, first_shot(camera, rng), 0, rng), dtype=float))
        mean = np.mean(pixels, axis=(0, 1, 2))
        looks.append([*mean, 20 * np.mean([np.abs(np.diff(picture, axis=0)).mean() for picture in pixels])])
    distances = np.linalg.norm(np.array(looks)[:, None] - np.array(looks), axis=2)
    assert distances[~np.eye(len(CAMERAS), dtype=bool)].min() > 15


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    make_sample(tmp_path / "told", n_identities=4, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 10) for done in range(1, 11)]


def test_an_empty_folder_may_exist(tmp_path: Path) -> None:
    make_sample(tmp_path, n_identities=4)
    assert (tmp_path / "query").is_dir()


def test_a_folder_with_content_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"holds something already\. Name another folder, or delete this one\."):
        make_sample(tmp_path, n_identities=4)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(DataError, match="holds something already"):
        make_sample(tmp_path / "mine.txt", n_identities=4)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/sub: cannot be written \(.*\)\. Name another folder, or make room\."):
        make_sample(tmp_path / "file" / "sub", n_identities=4)


def test_what_is_unfinished_does_not_stay(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_sample(tmp_path / "stopped", n_identities=4, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"n_identities must be at least 4, .*; got 3\."):
        make_sample(tmp_path / "x", n_identities=3)
    with pytest.raises(ConfigError, match="seed must not be negative, got -1"):
        make_sample(tmp_path / "x", seed=-1)
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        make_sample(tmp_path / "x", workers=0)


def test_a_script_without_a_main_guard_is_told_what_to_do(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from resight.data.sample import make_sample\n"
        f"make_sample(Path({str(tmp_path / 'out')!r}), n_identities=4, workers=2)\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "DataError: " in run.stderr
    assert "call make_sample below `if __name__ == '__main__':`; or give workers=1." in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]
