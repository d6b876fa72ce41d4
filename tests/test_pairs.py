"""Captions as pairs with their pictures: how many, which is whose, noise; and both towers on batches of them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from resight.clip.tokenizer import tokenize
from resight.encoder import Encoder
from resight.engine import Engine, Machine
from resight.pairs import Pairs, PairTower, SeenPair
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
    assert noisy.notes == (f"--noise: {len(moved)} of {n} captions stand with another's picture.",)
    assert noisy.records == Pairs.of(train, 77, noise=noise, seed=3).records
    assert noisy.records != Pairs.of(train, 77, noise=noise, seed=4).records


def test_a_single_caption_cannot_move() -> None:
    train = data(20)
    assert Pairs.of(train, 77, noise=1 / 100).records == Pairs.of(train, 77).records


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
    beside = found.beside(seen.images + 1, batch(rows))
    torch.testing.assert_close(beside.images, seen.images + 1)
    torch.testing.assert_close(beside.texts, seen.texts)


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
