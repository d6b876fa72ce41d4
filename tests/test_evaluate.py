from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from resight.data.index import read
from resight.embed import EmbedConfig
from resight.encoder import Encoder
from resight.errors import ConfigError, DataError
from resight.evaluate import RANKS, Report, Rerank, Rules, compare, evaluate, sides
from resight.metrics import Labels, Ties, confidence_intervals, rank, summary, vehicleid_draws
from resight.neighbours import similarity_blocks
from resight.open_set import OpenSet, open_set
from resight.rerank import reranked_blocks
from resight.types import Embeddings, Protocol, Record, Splits


def record(k: int, identity: str | None, camera: str | None = None, captions: tuple[str, ...] = ()) -> Record:
    return Record(Path(f"/pictures/{k}.jpg"), identity, camera, captions=captions)


def embeddings(vectors: list[list[float]], records: list[Record], captions: list[str] | None = None) -> Embeddings:
    array = np.array(vectors, dtype=np.float32)
    array /= np.linalg.norm(array, axis=1, keepdims=True)
    return Embeddings(
        embedding=array,
        aligned=array,
        paths=tuple(str(r.path) for r in records),
        identities=tuple(r.identity for r in records),
        cameras=tuple(r.camera for r in records),
        captions=tuple(captions or [""] * len(records)),
        encoder="0" * 16,
    )


def splits(protocol: Protocol = "cross-camera", **roles: tuple[Record, ...]) -> Splits:
    return Splits(name="hand-made", root=Path("/pictures"), protocol=protocol, **roles)


# One query of camera a at angle 0. The gallery by angle: the same identity and camera (1), another identity (2), the
# same identity from camera b (3), a distractor (4).
QUERY = (record(0, "p", "a"),)
GALLERY = (record(1, "p", "a"), record(2, "q", "b"), record(3, "p", "b"), record(4, None, "b"))
ANGLES = [0.0, 0.1, 0.2, 0.3, 0.4]
VECTORS = [[float(np.cos(a)), float(np.sin(a))] for a in ANGLES]


def run(rules: Rules, records: list[Record] | None = None) -> Report:
    everything = [*QUERY, *GALLERY]
    return compare(
        splits(query=QUERY, gallery=GALLERY),
        embeddings(VECTORS, records or everything),
        everything,
        None,
        rules=rules,
        source="angles",
    )


def test_cross_camera_leaves_out_the_same_camera() -> None:
    (task,) = run(Rules()).tasks
    assert (task.name, task.protocol, task.n_queries, task.n_valid, task.n_gallery) == (
        "image → image",
        "cross-camera",
        1,
        1,
        4,
    )
    # left: 2 (no), 3 (yes), 4 (no): the positive stands at rank 2
    assert task.scores == {"mAP": 0.5, "R1": 0.0, "R5": 1.0, "R10": 1.0, "R20": 1.0, "mINP": 0.5}


def test_any_camera_keeps_it() -> None:
    (task,) = run(Rules(protocol="any-camera")).tasks
    # left: 1 (yes), 2 (no), 3 (yes), 4 (no): precisions 1 and 2/3, last positive at rank 3
    assert task.scores["mAP"] == pytest.approx((1 + 2 / 3) / 2)
    assert task.scores["mINP"] == pytest.approx(2 / 3)
    assert task.scores["R1"] == 1


def test_without_cameras_the_rule_becomes_any_camera_and_says_so() -> None:
    bare = [dataclasses.replace(r, camera=None) for r in (*QUERY, *GALLERY)]
    report = compare(
        splits(query=tuple(bare[:1]), gallery=tuple(bare[1:])),
        embeddings(VECTORS, bare),
        bare,
        None,
        rules=Rules(),
        source="angles",
    )
    assert report.tasks[0].protocol == "any-camera"
    assert report.rules.protocol == "any-camera"
    assert "No camera is known" in report.notes[0]


def test_one_set_leaves_out_only_the_query_itself() -> None:
    records = (record(0, "p"), record(1, "p"), record(2, "q"), record(3, "q"))
    vectors = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.6, 0.5]]
    data = splits(protocol="any-camera", unassigned=records)
    (task,) = compare(data, embeddings(vectors, list(records)), records, None, rules=Rules(), source="x").tasks
    # 0 and 1 find each other first; 2 finds 3 first; 3 is nearer to 1 and 0 than to 2
    assert task.scores["R1"] == 0.75
    assert task.scores["mAP"] == pytest.approx((3 + 1 / 3) / 4)
    assert (task.n_queries, task.n_gallery) == (4, 4)


def test_nothing_to_find_explains_the_rule_and_the_way_out() -> None:
    records = (record(0, "p", "a"), record(1, "p", "a"))
    data = splits(query=records[:1], gallery=records[1:])
    made = embeddings([[1.0, 0.0], [1.0, 0.1]], list(records))
    with pytest.raises(DataError, match=r"another camera, and no.*--protocol any-camera"):
        compare(data, made, records, None, rules=Rules(), source="x")
    assert compare(data, made, records, None, rules=Rules(protocol="any-camera"), source="x").tasks[0].n_valid == 1


@pytest.mark.parametrize(
    ("protocol", "message"),
    [("any-camera", "no identity has a second picture"), ("vehicleid", "every identity has a single picture")],
)
def test_nothing_to_find_under_other_rules(protocol: Protocol, message: str) -> None:
    records = (record(0, "p"), record(1, "q"))
    data = splits(protocol=protocol, unassigned=records)
    with pytest.raises(DataError, match=message):
        compare(data, embeddings([[1, 0], [0, 1]], list(records)), records, None, rules=Rules(), source="x")


def test_text_is_compared_both_ways() -> None:
    records = (record(0, "p", "a", ("red",)), record(1, "q", "a", ("blue", "navy")), record(2, "r", "b"))
    pictures = embeddings([[1, 0, 0], [0, 1, 0], [0, 0, 1]], list(records))
    texts = embeddings(
        [[1, 0, 0.1], [0, 1, 0.1], [0.9, 0.5, 0.0]], [records[0], records[1], records[1]], ["red", "blue", "navy"]
    )
    data = splits(protocol="text", query=records, gallery=records)
    forward, back = compare(data, pictures, records, texts, rules=Rules(), source="x").tasks
    assert (forward.name, forward.n_queries, forward.n_gallery) == ("text → image", 3, 3)
    assert forward.scores["R1"] == pytest.approx(2 / 3)  # navy finds the red one first
    assert forward.scores["mAP"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert (back.name, back.n_queries, back.n_valid, back.n_gallery) == ("image → text", 3, 2, 3)
    # picture p: red, then navy, blue: AP 1; picture q: blue (1), navy (2): AP 1
    assert back.scores["mAP"] == 1.0


def with_words(*cameras: str | None) -> tuple[tuple[Record, ...], Embeddings, Embeddings]:
    """Two pictures of p and two of q, each with a caption, taken by these cameras; words and pictures all tell."""
    records = tuple(
        record(k, identity, camera, (f"{identity} {k}",))
        for k, (identity, camera) in enumerate(zip("ppqq", cameras, strict=True))
    )
    vectors: list[list[float]] = [[1, 0.1], [1, 0.2], [0.1, 1], [0.2, 1]]
    captions = [record.captions[0] for record in records]
    return records, embeddings(vectors, list(records)), embeddings(vectors, list(records), captions)


@pytest.mark.parametrize(
    ("cameras", "rule"),
    [
        ((None, None, None, None), "any-camera"),
        (("a", "a", "a", "b"), "cross-camera"),  # only q can be answered, and that is enough
        (("a", "a", "b", "b"), "any-camera"),
    ],
)
def test_a_text_set_compares_pictures_too(cameras: tuple[str | None, ...], rule: str) -> None:
    records, pictures, texts = with_words(*cameras)
    data = splits(protocol="text", query=records, gallery=records)
    report = compare(data, pictures, records, texts, rules=Rules(), source="x")
    assert [task.name for task in report.tasks] == ["text → image", "image → text", "image → image"]
    task = report.tasks[2]
    assert task.protocol == rule
    assert (task.n_queries, task.n_valid, task.n_gallery) == (4, 2 if rule == "cross-camera" else 4, 4)
    assert task.scores["R1"] == 1.0
    assert report.notes == (f"Pictures are compared with pictures too, by the rule {rule}.",)
    assert report.rules.protocol == "text"
    asked = compare(data, pictures, records, texts, rules=Rules(protocol="text"), source="x")
    assert asked.tasks == report.tasks[:2]
    assert asked.notes == ()
    more = compare(data, pictures, records, texts, rules=Rules(rerank=Rerank(2, 1)), source="x")
    assert [task.reranked is None for task in more.tasks] == [True, True, False]


def test_a_text_set_of_one_picture_an_identity_compares_none() -> None:
    records, pictures, texts = with_words("a", "b", "a", "b")
    few = (records[0], records[2])
    data = splits(protocol="text", query=few, gallery=few)
    rows = [0, 2]
    chosen = dataclasses.replace(
        texts,
        embedding=texts.embedding[rows],
        identities=("p", "q"),
        captions=("p 0", "q 2"),
    )
    report = compare(data, pictures, records, chosen, rules=Rules(), source="x")
    assert [task.name for task in report.tasks] == ["text → image", "image → text"]
    assert report.notes == ()
    with pytest.raises(ConfigError, match="Leave out --rerank"):
        compare(data, pictures, records, chosen, rules=Rules(rerank=Rerank()), source="x")


def test_camera_pairs_of_a_text_set() -> None:
    records, pictures, texts = with_words("a", "b", "a", "b")
    data = splits(protocol="text", query=records, gallery=records)
    report = compare(data, pictures, records, texts, rules=Rules(camera_pairs=True), source="x")
    assert [(pair.query_camera, pair.gallery_camera) for pair in report.tasks[2].camera_pairs] == [
        ("a", "b"),
        ("b", "a"),
    ]


def test_both_directions_of_words_against_a_plain_count() -> None:
    """R@k, AP and INP from their definitions, over 300 captions and 200 pictures of repeated identities."""
    generator = np.random.default_rng(5)
    identities = generator.integers(0, 60, 200)
    shown = [record(k, str(identity)) for k, identity in enumerate(identities)]
    written = generator.integers(0, 200, 300)  # the picture that each caption was written for
    vectors = generator.normal(size=(200, 6))
    words = vectors[written] + generator.normal(size=(300, 6))
    records = tuple(
        dataclasses.replace(one, captions=tuple(f"caption {row}" for row in np.flatnonzero(written == k)))
        for k, one in enumerate(shown)
    )
    pictures = embeddings(vectors.tolist(), list(records))
    texts = embeddings(words.tolist(), [records[k] for k in written], [f"caption {row}" for row in range(300)])
    data = splits(protocol="text", query=records, gallery=records)
    forward, back, _ = compare(data, pictures, records, texts, rules=Rules(), source="x").tasks
    similarities = texts.embedding @ pictures.embedding.T
    for task, matrix, asked, answers in (
        (forward, similarities, identities[written], identities),
        (back, similarities.T, identities, identities[written]),
    ):
        expected: dict[str, list[float]] = {name: [] for name in task.scores}
        for row, identity in zip(matrix, asked, strict=True):
            places = [
                k
                for k, column in enumerate(sorted(range(len(row)), key=lambda c: -row[c]), 1)
                if answers[column] == identity
            ]
            if not places:
                continue
            expected["mAP"].append(sum(n / place for n, place in enumerate(places, 1)) / len(places))
            expected["mINP"].append(len(places) / places[-1])
            for k in RANKS:
                expected[f"R{k}"].append(float(places[0] <= k))
        assert task.n_valid == len(expected["mAP"])
        assert task.scores == pytest.approx({name: np.mean(values) for name, values in expected.items()}, abs=1e-9)


def test_captions_that_were_cut_are_counted(coloured_people: Path) -> None:
    encoder = Encoder.load("random:64x2/8", size=(32, 16), device="cpu")
    data = read(coloured_people)
    assert not any("were cut" in note for note in evaluate(encoder, data).notes)
    long = dataclasses.replace(data.query[0], captions=("word " * 75, "word " * 76))  # 77 tokens are read
    report = evaluate(encoder, dataclasses.replace(data, query=(long, *data.query[1:])))
    assert report.notes[-1] == "1 of 9 captions (11.1%) are longer than 77 tokens and were cut."


def test_text_protocol_without_text_says_what_is_missing() -> None:
    records = (record(0, "p"), record(1, "p"))
    made = dataclasses.replace(embeddings([[1, 0], [1, 0]], list(records)), aligned=None)
    data = splits(protocol="text", unassigned=records)
    with pytest.raises(DataError, match="no caption, or the encoder has no text tower"):
        compare(data, made, records, None, rules=Rules(), source="x")


def test_no_caption_shares_an_identity() -> None:
    records = (record(0, "p", None, ("red",)), record(1, "q"))
    data = splits(protocol="text", query=records[:1], gallery=records[1:])
    texts = embeddings([[1, 0]], [records[0]], ["red"])
    with pytest.raises(DataError, match="no caption shares its identity"):
        compare(data, embeddings([[1, 0], [0, 1]], list(records)), records, texts, rules=Rules(), source="x")


def clustered(n_identities: int, n_pictures: int, cameras: int) -> tuple[tuple[Record, ...], Embeddings]:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(n_identities, 8))
    records, vectors = [], []
    for identity in range(n_identities):
        for k in range(n_pictures):
            records.append(record(len(records), str(identity), str(k % cameras) if cameras else None))
            vectors.append((centres[identity] + 0.9 * generator.normal(size=8)).tolist())
    return tuple(records), embeddings(vectors, records)


def test_reranking_has_scores_of_its_own() -> None:
    records, made = clustered(12, 6, 2)
    data = splits(query=records[::3], gallery=records)
    (plain,) = compare(data, made, records, None, rules=Rules(), source="x").tasks
    (both,) = compare(data, made, records, None, rules=Rules(rerank=Rerank(k1=6, k2=3)), source="x").tasks
    assert plain.reranked is None
    assert both.scores == plain.scores
    assert both.reranked is not None
    assert both.reranked["mAP"] > plain.scores["mAP"]
    (all_distance,) = compare(data, made, records, None, rules=Rules(rerank=Rerank(6, 3, 1.0)), source="x").tasks
    assert all_distance.reranked == pytest.approx(plain.scores, abs=1e-6)


def test_vehicleid_is_the_mean_of_ten_draws() -> None:
    records, made = clustered(10, 3, 0)
    data = splits(protocol="vehicleid", query=records, gallery=records)
    (task,) = compare(data, made, records, None, rules=Rules(seed=3), source="x").tasks
    assert (task.n_queries, task.n_valid, task.n_gallery) == (20, 20, 10)
    assert task.intervals["R1"][0] <= task.scores["R1"] <= task.intervals["R1"][1]
    again = compare(data, made, records, None, rules=Rules(seed=3), source="x").tasks[0]
    other = compare(data, made, records, None, rules=Rules(seed=4), source="x").tasks[0]
    assert again == task
    assert other.scores != task.scores
    reranked = compare(data, made, records, None, rules=Rules(rerank=Rerank(4, 2), seed=3), source="x").tasks[0]
    assert reranked.reranked is not None
    assert set(reranked.reranked) == set(task.scores)


def test_camera_pairs_are_measured_one_by_one() -> None:
    records, made = clustered(8, 6, 3)
    data = splits(query=records, gallery=records)
    (task,) = compare(data, made, records, None, rules=Rules(camera_pairs=True), source="x").tasks
    assert [(p.query_camera, p.gallery_camera) for p in task.camera_pairs] == [
        (a, b) for a in "012" for b in "012" if a != b
    ]
    one = task.camera_pairs[0]
    chosen = splits(
        query=tuple(r for r in records if r.camera == "0"), gallery=tuple(r for r in records if r.camera == "1")
    )
    (alone,) = compare(chosen, made, records, None, rules=Rules(), source="x").tasks
    assert one.scores == pytest.approx(alone.scores)
    assert one.n_valid == alone.n_valid


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (Rules(camera_pairs=True), "Leave out --camera-pairs"),
        (Rules(protocol="vehicleid", camera_pairs=True), "Leave out --camera-pairs"),
        (Rules(protocol="text", rerank=Rerank()), "Leave out --rerank"),
    ],
)
def test_what_the_protocol_cannot_give_is_refused(rules: Rules, message: str) -> None:
    records = tuple(record(k, str(k // 2), captions=("a",)) for k in range(6))
    made = embeddings([[1, k] for k in range(6)], list(records))
    with pytest.raises(ConfigError, match=message):
        compare(splits(unassigned=records), made, records, made, rules=rules, source="x")


def test_a_seed_is_not_negative() -> None:
    with pytest.raises(ConfigError, match="seed -1: 0 or more"):
        Rules(seed=-1)


def test_nothing_is_embedded_when_nothing_can_be_found(coloured_people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resight.evaluate.embed", lambda *_, **__: pytest.fail("embedded first"))
    data = read(coloured_people, columns={"camera": ""})
    one_each = dataclasses.replace(data, query=data.query[:1], gallery=data.query[:1])
    encoder = Encoder.load("random:64x2/8", size=(32, 16), device="cpu")
    with pytest.raises(DataError, match="no identity has a second picture"):
        evaluate(encoder, one_each)


def test_captions_without_a_match_are_left_out_with_a_note() -> None:
    records = (record(0, "p"), record(1, "p"), record(2, None, None, ("somebody",)))
    made = embeddings([[1, 0], [1, 0.1], [0, 1]], list(records))
    texts = embeddings([[1, 0]], [records[2]], ["somebody"])
    report = compare(splits(unassigned=records), made, records, texts, rules=Rules(), source="x")
    assert [task.name for task in report.tasks] == ["image → image"]
    assert any("Captions were left out" in note for note in report.notes)


def test_text_is_compared_with_the_aligned_vectors() -> None:
    records = (record(0, "p", None, ("red",)), record(1, "q", None, ("blue",)))
    swapped = embeddings([[0, 1], [1, 0]], list(records))
    pictures = dataclasses.replace(swapped, aligned=swapped.embedding[::-1].copy())
    texts = embeddings([[1, 0], [0, 1]], list(records), ["red", "blue"])
    data = splits(protocol="text", query=records, gallery=records)
    forward, back = compare(data, pictures, records, texts, rules=Rules(), source="x").tasks
    assert forward.scores["R1"] == back.scores["R1"] == 1.0


def test_ties_follow_the_rule() -> None:
    records = (record(0, "p"), record(1, "q"), record(2, "p"))
    same = embeddings([[1, 0]] * 3, list(records))
    data = splits(protocol="any-camera", query=records[:1], gallery=records[1:])
    found = {
        ties: compare(data, same, records, None, rules=Rules(ties=ties), source="x").tasks[0].scores["R1"]
        for ties in ("stable", "optimistic", "pessimistic")
    }
    assert found == {"stable": 0.0, "optimistic": 1.0, "pessimistic": 0.0}


@pytest.mark.parametrize("protocol", ["any-camera", "vehicleid"])
def test_a_report_tells_what_ties_could_change(protocol: Protocol) -> None:
    """Whatever the rule: pictures p p q q, r r, of which the q are alike to all and the others to their own."""
    records = tuple(record(k, identity) for k, identity in enumerate("ppqqrr"))
    made = embeddings([[1, 0, 0], [1, 0, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]], list(records))
    data = splits(protocol=protocol, unassigned=records)
    for rule in get_args(Ties):
        (task,) = compare(data, made, records, None, rules=Rules(ties=rule), source="x").tasks
        assert list(task.at_ties) == ["pessimistic", "optimistic"]
        low, high = task.at_ties["pessimistic"], task.at_ties["optimistic"]
        assert (low["R1"], high["R1"]) == (pytest.approx(1 / 3), 1.0)
        last = 2 if protocol == "vehicleid" else 3  # the place of a q or r behind the others of its four
        assert (low["mAP"], high["mAP"]) == (pytest.approx((1 + 2 / last) / 3), 1.0)
        if rule != "stable":
            assert task.at_ties[rule] == {name: task.scores[name] for name in ("mAP", "R1")}


def test_an_encoder_that_gives_every_picture_the_same_vector(coloured_people: Path) -> None:
    """It looks well by the rule that favours the positives; the report gives it away."""
    encoder = Encoder.load("random:64x2/8", size=(32, 16), device="cpu")
    for projection in (encoder.clip.image.proj, encoder.clip.text.text_projection):  # type: ignore[union-attr]
        torch.nn.init.zeros_(projection)  # type: ignore[arg-type]
    bias = torch.ones(encoder.dimension)
    encoder.clip.image.register_forward_hook(lambda _, __, taps: taps._replace(projected=taps.projected + bias))
    encoder.clip.text.register_forward_hook(lambda _, __, feature: feature + bias)  # type: ignore[union-attr]
    report = evaluate(encoder, read(coloured_people), rules=Rules(ties="optimistic"))
    assert [task.name for task in report.tasks] == ["image → image", "text → image", "image → text"]
    for task in report.tasks:
        assert task.scores["mAP"] == task.at_ties["optimistic"]["mAP"] == 1
        assert task.at_ties["pessimistic"]["R1"] == 0
        assert task.at_ties["pessimistic"]["mAP"] < 0.3


def test_the_precision_reaches_pictures_and_words(coloured_people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def spy(device: torch.device, precision: str) -> contextlib.AbstractContextManager[None]:
        asked.append(precision)
        return contextlib.nullcontext()

    monkeypatch.setattr("resight.encoder.autocast", spy)
    encoder = Encoder.load("random:64x2/8", size=(32, 16), device="cpu")
    evaluate(encoder, read(coloured_people), config=EmbedConfig(precision="bf16", batch_size=100))
    assert asked == ["bf16", "bf16"]  # one batch of pictures, one of words


def test_intervals_resample_identities() -> None:
    records, made = clustered(10, 6, 2)
    (task,) = compare(
        splits(query=records, gallery=records), made, records, None, rules=Rules(seed=5), source="x"
    ).tasks
    labels = Labels(
        np.array([int(r.identity or -1) for r in records]),
        np.array([int(r.camera or -1) for r in records]),
        np.arange(len(records)),
    )
    ranking = rank(similarity_blocks(made.embedding, made.embedding), labels, labels, cross_camera=True)
    by_identity = confidence_intervals(ranking, labels.identities, seed=5, ranks=RANKS)
    by_query = confidence_intervals(ranking, np.arange(len(records)), seed=5, ranks=RANKS)
    assert task.intervals == by_identity
    assert task.intervals != by_query


def test_vehicleid_is_the_mean_of_draws_from_both_sides() -> None:
    records, made = clustered(10, 3, 0)
    data = splits(protocol="vehicleid", query=records[:12], gallery=records[12:])
    (task,) = compare(data, made, records, None, rules=Rules(seed=3, rerank=Rerank(4, 2)), source="x").tasks
    identities = np.array([int(r.identity or -1) for r in records])
    found = []
    for query, gallery in vehicleid_draws(identities, n_draws=10, seed=3):
        blocks = similarity_blocks(made.embedding[query], made.embedding[gallery])
        ranking = rank(blocks, Labels(identities[query]), Labels(identities[gallery]), cross_camera=False)
        found.append(summary(ranking, ranks=RANKS))
    assert len(found) == 10
    assert task.scores == pytest.approx({name: np.mean([one[name] for one in found]) for name in found[0]})
    low, high = np.percentile([one["R1"] for one in found], [2.5, 97.5])
    assert task.intervals["R1"] == pytest.approx((low, high))
    assert task.reranked is not None
    assert task.reranked != pytest.approx(task.scores)


def test_one_set_is_reranked_with_each_picture_once() -> None:
    records, made = clustered(10, 6, 2)
    rules = Rules(protocol="any-camera", rerank=Rerank(6, 3))
    (task,) = compare(splits(unassigned=records), made, records, None, rules=rules, source="x").tasks
    once = np.concatenate(list(reranked_blocks(None, made.embedding, k1=6, k2=3)))
    labels = Labels(np.array([int(r.identity or -1) for r in records]), pictures=np.arange(len(records)))
    expected = summary(rank([-once], labels, labels, cross_camera=False), ranks=RANKS)
    assert task.reranked == pytest.approx(expected)


def test_intervals_hold_the_score_and_follow_the_seed() -> None:
    records, made = clustered(20, 4, 2)
    data = splits(query=records, gallery=records)
    (task,) = compare(data, made, records, None, rules=Rules(seed=1), source="x").tasks
    for name, (low, high) in task.intervals.items():
        assert low <= task.scores[name] <= high
    assert task.intervals == compare(data, made, records, None, rules=Rules(seed=1), source="x").tasks[0].intervals
    assert task.intervals != compare(data, made, records, None, rules=Rules(seed=2), source="x").tasks[0].intervals


@pytest.mark.parametrize(
    ("roles", "subset", "message"),
    [
        ({}, "test", "neither query and gallery nor unassigned"),
        ({"query": QUERY}, "test", "has no gallery records"),
        ({"gallery": GALLERY}, "test", "has no query records"),
        ({"query": QUERY, "gallery": GALLERY}, "validation", "has no validation records"),
    ],
)
def test_missing_sides(roles: dict[str, tuple[Record, ...]], subset: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sides(splits(**roles), subset)  # type: ignore[arg-type]


def test_an_encoder_is_evaluated_on_files(coloured_people: Path) -> None:
    encoder = Encoder.load("random:64x2/8", size=(32, 16), device="cpu")
    data = read(coloured_people)
    report = evaluate(encoder, data, rules=Rules())
    assert [task.name for task in report.tasks] == ["image → image", "text → image", "image → text"]
    pictures = report.tasks[0]
    assert (pictures.n_queries, pictures.n_valid, pictures.n_gallery) == (8, 8, 8)
    assert pictures.scores["R1"] > 0.5  # plain colours: even random weights tell them apart
    assert report.fingerprint == encoder.fingerprint()
    assert report.data == evaluate(encoder, data).data
    assert report.encoder.startswith("random:")


@pytest.mark.parametrize("protocol", ["cross-camera", "any-camera"])
def test_evaluation_asks_with_the_mates_and_without(protocol: Protocol) -> None:
    """Every query against a gallery that is cut by hand; distractors and unknown identities stay."""
    records, made = clustered(12, 12, 3)
    records = tuple(dataclasses.replace(r, identity=None) if k % 12 == 5 else r for k, r in enumerate(records))
    made = embeddings(made.embedding.tolist(), list(records))
    right, mate, other = [], [], []
    for k, (query, vector) in enumerate(zip(records, made.embedding, strict=True)):
        strangers, mates = [], []
        for j, row in enumerate(records):
            similarity = float(vector @ made.embedding[j])
            if query.identity is None or row.identity != query.identity:
                strangers.append(similarity)
            elif j != k and (protocol == "any-camera" or row.camera != query.camera):
                mates.append(similarity)
        if query.identity is not None and mates:
            right.append(max(mates) > max(strangers))
            mate.append(max(mates))
            other.append(max(strangers))
    (task,) = compare(
        splits(protocol=protocol, query=records, gallery=records), made, records, None, rules=Rules(), source="x"
    ).tasks
    assert task.open_set is not None
    assert task.open_set.n_queries == task.n_valid == len(right) == 132
    found = open_set(np.array(right), np.array(mate), np.array(other), np.arange(132), seed=0)
    assert task.open_set.scores == pytest.approx(found.scores)


def test_nobody_else_in_the_gallery_is_no_open_set() -> None:
    records = (record(0, "p"), record(1, "p"))
    data = splits(protocol="any-camera", unassigned=records)
    (task,) = compare(data, embeddings([[1, 0], [1, 1]], list(records)), records, None, rules=Rules(), source="x").tasks
    assert task.open_set is None


def test_vehicleid_is_the_mean_of_its_draws() -> None:
    records, made = clustered(10, 3, 0)
    data = splits(protocol="vehicleid", query=records, gallery=records)
    (task,) = compare(data, made, records, None, rules=Rules(seed=3), source="x").tasks
    found = task.open_set
    assert isinstance(found, OpenSet)
    assert list(found.scores) == ["TPIR@10%", "AUROC"]
    assert found.n_queries == 20
    for name, (low, high) in found.intervals.items():
        assert low <= found.scores[name] <= high


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, 6, 0.3), "k1 5 and k2 6"),
        ((5, 0, 0.3), "k1 5 and k2 0"),
        ((5, 2, 1.5), "weight 1.5"),
        ((5, 2, -1), "weight -1"),
    ],
)
def test_re_ranking_settings_out_of_range(arguments: tuple[int, int, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Rerank(*arguments)


@pytest.mark.parametrize("scale", [0.0, 2.0, float("nan")])
def test_vectors_that_are_not_of_length_one_are_refused(scale: float) -> None:
    records, made = clustered(4, 4, 2)
    vectors = made.embedding.copy()
    vectors[3] *= scale
    broken = dataclasses.replace(made, embedding=vectors)
    data = splits(query=records, gallery=records)
    with pytest.raises(DataError, match=r"3\.jpg: its vector has length .*, not 1"):
        compare(data, broken, records, None, rules=Rules(rerank=Rerank(4, 2)), source="x")


def test_answers_are_given_where_they_are_asked_for(coloured_people: Path) -> None:
    encoder = Encoder.load("random:64x2/8", size=(32, 16), device="cpu")
    data = read(coloured_people)
    report = evaluate(encoder, data, rules=Rules(ties="pessimistic"), with_answers=True)
    assert {ranked.query.identity for ranked in report.answers} == {"red", "green", "blue", "grey"}
    precisions = [ranked.average_precision for ranked in report.answers]
    assert precisions == sorted(precisions, reverse=True)
    # the captions of an identity are alike, so a row for each identity has the mean of all
    assert np.mean(precisions) == pytest.approx(report.tasks[1].scores["mAP"])
    assert evaluate(encoder, data, rules=Rules(ties="pessimistic")) == dataclasses.replace(report, answers=())
