"""Captions as pairs with their pictures: how many, which is whose, noise; and both towers on batches of them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resight.clip.image import ResNetConfig
from resight.clip.model import Clip, ClipConfig
from resight.clip.relations import mask_tokens
from resight.clip.text import TextConfig
from resight.clip.tokenizer import tokenize
from resight.data.transforms import Preprocess
from resight.encoder import Card, Encoder
from resight.engine import Engine, Machine
from resight.errors import ConfigError, DataError
from resight.pairs import MaskedReader, Pairs, PairTower, Sampling, SeenPair
from resight.pictures import PictureBatch
from resight.processes import Processes
from resight.starting import Start, open_start
from resight.trainset import TrainSet, train_set
from resight.types import Record, Splits

ENGINE = Engine(device="cpu", precision="float32", workers=1)


def data(n: int = 5, *, captions: int = 2) -> TrainSet:
    """n identities of two pictures, each with captions of its own; the last one's are of unknown identity."""
    records = tuple(
        Record(Path(f"/{i}{k}.jpg"), str(i) if i < n - 1 else None, "a", captions=tuple(words(i, k, captions)))
        for i in range(n)
        for k in range(2)
    )
    return train_set(Splits("shop", Path("/"), "text", train=records), learns_from="captions")


def words(i: int, k: int, captions: int) -> list[str]:
    return [f"person {i}, picture {k}, " + "very " * c + f"caption {c}" for c in range(captions - (k == 1) + 1)]


def tower(train: TrainSet, *, n_identities: int = 4, engine: Engine = ENGINE) -> tuple[PairTower, Encoder]:
    start = Start(size=(64, 32), normalisation="init")
    encoder = open_start(
        "random:64x2/16", start, train, recipe="test", feature="projected", engine=engine, with_text=True
    )
    pairs = Pairs.of(train, 77)
    return PairTower(encoder, pairs, n_identities=n_identities, machine=Machine.of(engine), engine=engine), encoder


def batch(rows: list[int], share: slice | None = None) -> PictureBatch:
    images = torch.randn(len(rows), 3, 64, 32, generator=torch.Generator().manual_seed(0))
    share = share or slice(0, len(rows))
    return PictureBatch(images[share], torch.tensor(rows), share)


def test_every_caption_is_a_pair_of_its_own() -> None:
    train = data()
    pairs = Pairs.of(train, 77)
    assert len(pairs.records) == len(pairs.labels) == len(pairs.tokens) == 5 * (3 + 2)
    assert pairs.notes == ()
    expected = [(picture, caption) for picture, record in enumerate(train.records) for caption in record.captions]
    assert [(int(p), *r.captions) for p, r in zip(pairs.pictures, pairs.records, strict=True)] == expected
    for picture, record, label in zip(pairs.pictures, pairs.records, pairs.labels, strict=True):
        assert record.path == train.records[picture].path
        assert record.identity == train.records[picture].identity
        assert label == train.labels[picture]
    assert torch.equal(pairs.tokens, tokenize([caption for _, caption in expected]))
    assert sorted(set(pairs.labels.tolist())) == [0, 1, 2, 3, 4, 5]  # two pictures of unknown identity at the end


def test_what_is_longer_than_the_tower_reads_is_cut_and_counted() -> None:
    """A caption that fills the tower exactly is not cut."""
    train = data(2, captions=1)
    train = replace(train, records=(replace(train.records[0], captions=("a " * 8, "a " * 9)), *train.records[1:]))
    pairs = Pairs.of(train, 10)
    n = sum(len(record.captions) for record in train.records)
    assert n > 2
    assert pairs.tokens.shape == (n, 10)
    too_long = sum(len(caption.replace(",", " ,").split()) > 8 for r in train.records for caption in r.captions)
    assert pairs.notes == (f"{too_long} of {n} captions are longer than 10 tokens and are cut.",)
    assert Pairs.of(replace(train, records=(replace(train.records[0], captions=("a " * 8,)),)), 10).notes == ()


@pytest.mark.parametrize("noise", [0.2, 0.5, 1.0])
def test_noise_moves_its_share_of_captions_among_themselves(noise: float) -> None:
    train = data(20)
    clean, noisy = Pairs.of(train, 77), Pairs.of(train, 77, noise=noise, seed=3)
    n = len(clean.records)
    moved = [row for row in range(n) if clean.records[row].captions != noisy.records[row].captions]
    assert len(moved) == round(noise * n)
    assert Counter(r.captions for r in clean.records) == Counter(r.captions for r in noisy.records)
    assert [replace(r, captions=()) for r in clean.records] == [replace(r, captions=()) for r in noisy.records]
    np.testing.assert_array_equal(clean.labels, noisy.labels)
    assert torch.equal(noisy.tokens, tokenize([record.captions[0] for record in noisy.records]))
    whose = {record.captions: picture for record, picture in zip(clean.records, clean.pictures, strict=True)}
    wrong = sum(
        whose[record.captions] != picture for record, picture in zip(noisy.records, noisy.pictures, strict=True)
    )
    assert noisy.notes == (f"--noise: {wrong} of {n} captions stand with another's picture.",)
    assert noisy.records == Pairs.of(train, 77, noise=noise, seed=3).records
    assert noisy.records != Pairs.of(train, 77, noise=noise, seed=4).records


def test_a_caption_that_moves_to_its_own_picture_is_not_counted_as_wrong() -> None:
    """One picture with two captions, which change places."""
    train = people_of_one()
    train = replace(train, records=train.records[:1], labels=train.labels[:1])
    noisy = Pairs.of(train, 77, noise=1.0)
    assert [record.captions for record in noisy.records] == [("two",), ("one",)]
    assert noisy.notes == ("--noise: 0 of 2 captions stand with another's picture.",)


def test_a_single_caption_cannot_move() -> None:
    train = data(20)
    assert Pairs.of(train, 77, noise=1 / 100).records == Pairs.of(train, 77).records


def test_random_batches_hold_every_caption_once() -> None:
    pairs = Pairs.of(data(), 77)
    plan = Sampling(batch_size=10).plan(pairs, seed=0, epoch=1)
    assert list(map(len, plan)) == [10, 10, 5]
    assert sorted(np.concatenate(plan).tolist()) == list(range(25))


def test_captions_are_left_out_of_an_epoch() -> None:
    """Others every time, and of each picture too; one remains."""
    pairs = Pairs.of(data(40), 77)
    n = len(pairs.records)
    one_batch = Sampling(caption_drop=0.3, batch_size=n)
    epochs = [np.concatenate(one_batch.plan(pairs, seed=0, epoch=epoch)) for epoch in range(1, 41)]
    assert all(len(set(rows)) == len(rows) for rows in epochs)
    assert abs(sum(map(len, epochs)) / (40 * n) - 0.7) < 4 * math.sqrt(0.7 * 0.3 / (40 * n))
    assert set(np.concatenate(epochs)) == set(range(n))
    assert sorted(epochs[0]) != sorted(epochs[1])
    assert [len(rows) for rows in Sampling(caption_drop=1 - 1e-9).plan(pairs, seed=0, epoch=1)] == [1]


def test_batches_are_full_where_captions_are_left_out() -> None:
    """A remainder of another size each epoch might some time be fewer than the processes that share it."""
    pairs = Pairs.of(data(40), 77)
    for epoch in range(1, 41):
        sizes = {len(rows) for rows in Sampling(caption_drop=0.3, batch_size=16).plan(pairs, seed=0, epoch=epoch)}
        assert sizes == {16}


def test_identity_batches_hold_pairs_of_each_identity_side_by_side() -> None:
    pairs = Pairs.of(data(), 77)
    plan = Sampling(sampler="identity", batch_size=11, n_images=3).plan(pairs, seed=0, epoch=1)
    assert plan
    for rows in plan:
        assert len(rows) == 9  # 3 identities of 3, which is what 11 holds
        labels = pairs.labels[rows].reshape(3, 3)
        assert (labels == labels[:, :1]).all()
        assert len(set(labels[:, 0])) == 3


def test_distinct_batches_hold_no_identity_twice_and_a_caption_of_each_picture() -> None:
    pairs = Pairs.of(data(), 77)
    shown = set()
    for epoch in range(1, 9):
        plan = Sampling(sampler="distinct", batch_size=4).plan(pairs, seed=0, epoch=epoch)
        for rows in plan:
            assert len(set(pairs.labels[rows])) == 4
        rows = np.concatenate(plan)
        assert len(set(pairs.pictures[rows])) == len(rows)
        shown |= set(rows.tolist())
    assert shown == set(range(25))


def test_too_few_identities_for_a_batch_are_refused_before_it_is_made() -> None:
    pairs = Pairs.of(data(), 77)  # 4 known identities, and 2 pictures of unknown ones
    known = Pairs.of(data(2), 77)
    message = r"The training set has 6 identities, but a batch takes 7\. Choose at most --batch-size 6\."
    with pytest.raises(DataError, match=message):
        Sampling(sampler="distinct", batch_size=7).check(pairs, seed=0, epochs=1)
    with pytest.raises(DataError, match=r"6 identities, but a batch takes 16\. Choose at most --batch-size 24\."):
        Sampling(sampler="identity").check(pairs, seed=0, epochs=1)
    with pytest.raises(DataError, match=r"takes 2\. Choose --sampler random\."):
        Sampling(sampler="distinct", batch_size=2).check(Pairs.of(people_of_one(), 77), seed=0, epochs=1)
    Sampling(sampler="distinct", batch_size=6).check(pairs, seed=0, epochs=1)
    Sampling(sampler="random", batch_size=64).check(pairs, seed=0, epochs=1)
    for epochs in (1, 30):
        Sampling(sampler="distinct", batch_size=3).check(known, seed=0, epochs=epochs)
    with pytest.raises(
        DataError, match=r"[12] identities with a caption that --caption-drop leaves, but a batch takes 3"
    ):
        Sampling(sampler="distinct", batch_size=3, caption_drop=0.4).check(known, seed=0, epochs=30)


def people_of_one() -> TrainSet:
    records = (Record(Path("/0.jpg"), "0", captions=("one", "two")), Record(Path("/1.jpg"), "0", captions=("three",)))
    return train_set(Splits("shop", Path("/"), "text", train=records), learns_from="captions")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, r"--batch-size 0: at least 1\."),
        ({"n_images": 0}, r"--n-images 0: at least 1\."),
        ({"caption_drop": 1.0}, r"--caption-drop 1\.0: 0 or more, and less than 1\."),
        ({"caption_drop": math.nan}, "--caption-drop nan: 0 or more"),
        (
            {"sampler": "distinct", "batch_size": 1},
            r"--batch-size 1: does not hold two identities\. With --sampler distinct at least 2\.",
        ),
        ({"sampler": "identity", "batch_size": 7}, r"With --sampler identity at least 8\."),
    ],
)
def test_sampling_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sampling(**changes)


def test_a_batch_is_read_and_seen_in_its_own_rows() -> None:
    train = data()
    found, encoder = tower(train)
    rows = [20, 3, 4, 0]
    seen = found.see(batch(rows))
    assert encoder.clip.text is not None
    for place, row in enumerate(rows):
        image = encoder.clip.image(batch(rows).images[place : place + 1]).projected[0]
        text = encoder.clip.text(tokenize([found.pairs.records[row].captions[0]]))[0]
        torch.testing.assert_close(seen.images[place], image, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(seen.texts[place], text, rtol=1e-4, atol=1e-5)
    assert seen.identities.tolist() == found.pairs.labels[rows].tolist()
    again = found.see(batch(rows), seen.images + 1)
    torch.testing.assert_close(again.images, seen.images + 1)
    torch.testing.assert_close(again.texts, seen.texts)


def test_the_second_of_two_processes_reads_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut to the longest caption of the whole batch, so that both compute with the same shapes."""
    found, encoder = tower(data())
    read: list[torch.Tensor] = []
    assert encoder.clip.text is not None
    encoder.clip.text.register_forward_pre_hook(lambda module, given: read.append(given[0]))
    monkeypatch.setattr(Processes, "gather", lambda self, share, n_rows: torch.cat([share, share]))
    for whole in found.whole:
        whole.processes = Processes(1, 2)
    found.see(batch([2, 7, 0, 5], slice(2, 4)))
    tokens = found.pairs.tokens
    length = int(tokens[2].argmax()) + 1
    assert length > int(tokens[[0, 5]].argmax(1).max()) + 1
    assert torch.equal(torch.cat(read), tokens[[0, 5], :length])


def test_the_classifier_starts_small_and_is_there_only_if_wanted() -> None:
    train = data()
    found, _ = tower(train)
    assert found.classifier is not None
    assert found.classifier.weight.shape == (4, 64)
    assert found.classifier.weight.std().item() == pytest.approx(0.001, rel=0.15)
    assert not found.classifier.bias.any()
    again, _ = tower(train)
    assert again.classifier is not None
    assert torch.equal(found.classifier.weight, again.classifier.weight)
    assert tower(train, n_identities=0)[0].classifier is None


def test_the_identity_loss_is_of_both_sides_and_of_known_identities() -> None:
    found, _ = tower(data())
    assert found.classifier is not None
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        found.classifier.weight.normal_(generator=generator)
        found.classifier.bias.normal_(generator=generator)
    images, texts = torch.randn(2, 5, 64, generator=generator)
    identities = [3, 0, 4, 5, 0]
    loss = found.identity_loss(SeenPair(images, texts, torch.tensor(identities)))
    weight, bias = found.classifier.weight.detach().double(), found.classifier.bias.detach().double()
    total = 0.0
    for side in (images.double(), texts.double()):
        for place in (0, 1, 4):
            logits = [float(weight[c] @ side[place] + bias[c]) for c in range(4)]
            total += math.log(sum(math.exp(logit) for logit in logits)) - logits[identities[place]]
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)


def test_a_batch_of_unknown_identities_has_no_identity_loss() -> None:
    found, _ = tower(data())
    images = torch.randn(2, 64, requires_grad=True)
    loss = found.identity_loss(SeenPair(images, torch.randn(2, 64), torch.tensor([4, 5])))
    loss.backward()
    assert loss.item() == 0
    assert images.grad is not None
    assert not images.grad.any()


def test_the_loss_of_the_text_notes() -> None:
    """What the public code computes for three classes without bias, on features of 8 numbers."""
    found, _ = tower(data())
    i, j = torch.arange(6.0, dtype=torch.float64)[:, None], torch.arange(8.0, dtype=torch.float64)
    images = torch.sin(1.3 * i + 0.7 * j + 0.1 * i * j)
    texts = torch.cos(0.9 * i - 0.4 * j + 0.2 * i * j) + 0.5 * images
    found.classifier = torch.nn.Linear(8, 3, bias=False).double()
    with torch.no_grad():
        found.classifier.weight.copy_(torch.arange(24.0, dtype=torch.float64).sin().view(3, 8))
    found.n_identities = 3
    loss = found.identity_loss(SeenPair(images, texts, torch.tensor([0, 0, 1, 2, 2, 2])))
    assert loss.item() == pytest.approx(1.223282151, abs=1e-6)


def test_masked_words_are_told_of_the_whole_caption_and_its_own_picture() -> None:
    """The mean over the words asked for of the whole batch, though rows ask for different numbers."""
    train = data()
    engine = replace(ENGINE, recompute=True)
    found, encoder = tower(train)
    reader = MaskedReader(encoder, found.pairs, machine=Machine.of(engine), engine=engine)
    assert reader.relations.cross_blocks.recompute
    rows, seed = [20, 3, 4, 0], (1, 2, 3)
    images, loss = reader.see(batch(rows), seed)
    torch.testing.assert_close(images, found.see(batch(rows)).images, rtol=1e-4, atol=1e-5)
    masked, answers = mask_tokens(found.pairs.tokens[rows], seed)
    assert masked.shape == (4, 77)
    assert encoder.clip.text is not None
    words = encoder.clip.text.tokens(masked)
    hidden = reader.relations(words, encoder.clip.image.tokens(batch(rows).images))
    lost = []
    for place in range(4):
        for word in answers[place].nonzero().flatten().tolist():
            logits = reader.relations.mlm_head(hidden[place, word]).detach().double()
            lost.append(float(logits.exp().sum().log() - logits[answers[place, word]]))
    assert len(lost) > 4
    assert loss.item() == pytest.approx(sum(lost) / len(lost), rel=1e-5)


def test_a_resnet_has_no_tokens_to_read_by() -> None:
    text = TextConfig(width=32, depth=2, heads=2, output=24, activation="quick_gelu")
    clip = Clip(ClipConfig(ResNetConfig((64, 64), (1, 1, 1, 1), 8, 4, 24), text))
    encoder = Encoder(clip, Preprocess(64, 64, (0.5,) * 3, (0.5,) * 3, "bilinear"), Card("a test"))
    with pytest.raises(ConfigError, match=r"--mlm: looks at the tokens of a vision transformer; a ResNet has none\."):
        MaskedReader(encoder, Pairs.of(data(), 77), machine=Machine.of(ENGINE), engine=ENGINE)
