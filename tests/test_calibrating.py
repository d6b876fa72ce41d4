from __future__ import annotations

import colorsys
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resight.calibrating import calibrate
from resight.calibration import require_same, stored, write
from resight.data.dataset import fingerprint
from resight.data.index import read
from resight.encoder import Encoder
from resight.errors import CheckpointError, DataError
from resight.similarities import Sample
from resight.thresholds import learn, plan
from resight.trainset import train_set
from resight.types import Record, Splits

RATES = (0.1, 0.05)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load("random:64x1/8", size=(32, 16), device="cpu")


@pytest.fixture
def herd(picture: Callable[..., Path]) -> Splits:
    """Twelve identities of one colour each, four pictures by two cameras, with a caption each; no split."""
    records = []
    for k in range(12):
        red, green, blue = (round(255 * channel) for channel in colorsys.hsv_to_rgb(k / 12, 0.9, 0.8))
        for n in range(4):
            path = picture(f"{k}/{n}.png", colour=(red, green, blue))
            records.append(Record(path, f"cow {k}", "ab"[n % 2], captions=(f"a cow of colour {k}",)))
    return Splits("herd", records[0].path.parent.parent, "cross-camera", unassigned=tuple(records))


def test_pictures_and_words_are_learned_from_their_vectors(
    encoder: Encoder, herd: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = encoder.embed_images([record.path for record in herd.unassigned])
    assert pictures.aligned is not None
    said = dataclasses.replace(pictures, embedding=pictures.aligned)  # as if each caption were its picture
    monkeypatch.setattr("resight.calibrating.embed_captions", lambda *_, **__: said)
    found = calibrate(encoder, herd, rates=RATES, seed=3)
    sample = Sample(np.repeat(np.arange(12), 4), np.arange(48) % 2, np.arange(48))
    expected = learn(plan(sample, None, RATES), pictures.embedding, pictures.embedding, seed=3)
    words = learn(plan(sample, sample, RATES), pictures.aligned, pictures.aligned, seed=3)
    assert found.words is not None
    assert (found.pictures.n_same, found.pictures.rule) == (48, "cross-camera")
    assert (found.words.n_same, found.words.rule) == (144, "other-picture")
    for curve, other in ((found.pictures, expected), (found.words, words)):
        for one, its in zip(curve.thresholds, other.thresholds, strict=True):
            assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(its), abs=1e-4)
    assert (found.encoder, found.data) == (encoder.fingerprint(), fingerprint(herd.unassigned, herd.root))
    assert found.notes == ()


def test_words_that_say_nothing_are_left_out_with_a_line(encoder: Encoder, herd: Splits) -> None:
    found = calibrate(encoder, herd, rates=RATES)  # the text tower is random
    assert found.words is None
    (note,) = found.notes
    assert note.startswith("Words are left out. Pairs of the same individual are not more alike")


def test_records_are_chosen_by_the_stated_rule(encoder: Encoder, herd: Splits) -> None:
    records = herd.unassigned
    data = dataclasses.replace(herd, unassigned=(), train=records[:24], validation=records, query=records[::2])
    data = dataclasses.replace(data, gallery=records[1::2])
    by_default = calibrate(encoder, data, rates=RATES)
    assert by_default.data == calibrate(encoder, data, subset="validation", rates=RATES).data
    assert not any("Query and gallery" in note for note in by_default.notes)
    test = calibrate(encoder, dataclasses.replace(data, validation=()), rates=RATES)
    assert test.notes[0].startswith("Query and gallery were used")
    everything = calibrate(encoder, data, subset="all", rates=RATES)
    assert everything.pictures.n_identities == 12
    with pytest.raises(DataError, match="has no train records"):
        calibrate(encoder, herd, subset="train", rates=RATES)


def test_unknown_identities_are_left_out_and_said_so(encoder: Encoder, herd: Splits) -> None:
    unknown = tuple(dataclasses.replace(r, identity=None) if k < 4 else r for k, r in enumerate(herd.unassigned))
    found = calibrate(encoder, dataclasses.replace(herd, unassigned=unknown), rates=RATES)
    assert found.notes[0] == "4 pictures of unknown identity are left out."
    assert found.pictures.n_identities == 11
    nobody = tuple(dataclasses.replace(r, identity=None) for r in herd.unassigned)
    with pytest.raises(DataError, match=r"no identity of its 48 pictures \(test\) is known"):
        calibrate(encoder, dataclasses.replace(herd, unassigned=nobody), rates=RATES)


@pytest.mark.parametrize("learns_from", ["identities", "captions", "pictures"])
def test_pictures_that_were_trained_on_are_told(encoder: Encoder, herd: Splits, learns_from: str) -> None:
    trained_on = train_set(herd, learns_from=learns_from).fingerprint  # type: ignore[arg-type]
    card = encoder.card
    try:
        encoder.card = dataclasses.replace(card, data=trained_on)
        assert any("was trained on these pictures" in note for note in calibrate(encoder, herd, rates=RATES).notes)
        others = dataclasses.replace(herd, train=herd.unassigned[:8], unassigned=(), validation=herd.unassigned[8:])
        assert not any("trained on" in note for note in calibrate(encoder, others, rates=(0.1,)).notes)
    finally:
        encoder.card = card


def test_refused_before_anything_is_embedded(encoder: Encoder, herd: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resight.calibrating.embed", lambda *_, **__: pytest.fail("embedded first"))
    with pytest.raises(DataError, match="needed are 30 pairs of 10"):
        calibrate(encoder, dataclasses.replace(herd, unassigned=herd.unassigned[:36]), rates=RATES)
    with pytest.raises(DataError, match=r"Rate 0\.001 is left out"):
        calibrate(encoder, herd, rates=(1e-3,))
    herd.unassigned[5].path.unlink()
    with pytest.raises(DataError, match="1 of 48 pictures are missing"):
        calibrate(encoder, herd, rates=RATES)


def test_words_that_are_too_few_are_left_out_with_a_line(encoder: Encoder, herd: Splits) -> None:
    few = tuple(dataclasses.replace(r, captions=()) if k > 2 else r for k, r in enumerate(herd.unassigned))
    found = calibrate(encoder, dataclasses.replace(herd, unassigned=few), rates=RATES)
    assert found.words is None
    assert found.notes[0].startswith("Words are left out. 12 pairs (any-picture) show the same individual, of 1")
    silent = tuple(dataclasses.replace(r, captions=()) for r in herd.unassigned)
    assert calibrate(encoder, dataclasses.replace(herd, unassigned=silent), rates=RATES).notes == ()


def test_a_calibration_stays_with_its_encoder(encoder: Encoder, herd: Splits, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    assert stored(encoder, folder) is None
    encoder.save(folder)
    assert stored(encoder, folder) is None
    found = calibrate(encoder, herd, rates=RATES)
    write(found, folder / "calibration.json")
    assert stored(Encoder.load(folder, device="cpu"), folder) == found
    other = Encoder.load("random:64x1/8", size=(32, 16), device="cpu", seed=1)
    with pytest.raises(CheckpointError, match=f"belongs to encoder {found.encoder}, not to {other.fingerprint()}"):
        stored(other, folder)
    assert require_same(found, encoder, "here") is found
    other.save(folder)  # the folder is an encoder's still, and the calibration was the old one's
    assert sorted(path.name for path in folder.iterdir()) == ["encoder.json", "model.safetensors"]


def test_the_sample_is_read_like_any_data(coloured_people: Path, encoder: Encoder) -> None:
    with pytest.raises(DataError, match=r"24 pairs \(any-camera\) show the same individual, of 4 individuals"):
        calibrate(encoder, read(coloured_people))
