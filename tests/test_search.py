"""Pictures, words, both, or a row → rows of a gallery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from resight.calibration import Calibration, Curve, Threshold
from resight.encoder import Encoder
from resight.errors import ConfigError, GalleryError
from resight.gallery.rows import About, Entry, Gallery, Row, Where
from resight.gallery.store import create
from resight.gallery_encoder import require_encoder
from resight.search import Answer, Sought, Terms, look, pool, seek, seek_rows

D, A = 6, 4


def unit(*values: float) -> NDArray[np.float32]:
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


def rows(n: int = 40, seed: int = 0) -> list[Row]:
    """Row k is of identity k % 8, every fifth of nobody, by camera a or b."""
    random = np.random.default_rng(seed)
    return [
        Row(
            Entry(f"r{k:02}", f"c{k}", identity=None if k % 5 == 0 else f"i{k % 8}", camera="ab"[k % 2]),
            unit(*random.standard_normal(D)),
            unit(*random.standard_normal(A)),
        )
        for k in range(n)
    ]


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    made = create(str(tmp_path / "gallery"), About("someone", "resight-mini", {}, D, A, {}))
    made.add(rows())
    yield made
    made.close()


def ids(answer: Answer) -> list[str]:
    return [found.entry.id for found in answer.found]


def test_a_picture_finds_the_most_similar_rows(gallery: Gallery) -> None:
    vector = unit(1, 2, 3, -1, 0, 1)
    answer = look(gallery, Sought(picture=vector), Terms(top=5))
    expected = sorted(rows(), key=lambda row: -float(row.embedding @ vector))[:5]
    assert ids(answer) == [row.entry.id for row in expected]
    assert [found.similarity for found in answer.found] == pytest.approx([row.embedding @ vector for row in expected])
    assert {(found.verdict, found.probability) for found in answer.found} == {(None, None)}


def test_words_are_compared_with_aligned_vectors(gallery: Gallery) -> None:
    vector = unit(1, 0, -1, 2)
    expected = sorted(rows(), key=lambda row: -float(row.aligned @ vector))[:4]
    assert ids(look(gallery, Sought(words=vector), Terms(top=4))) == [row.entry.id for row in expected]


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_both_are_a_weighted_mean_of_similarities_of_one_spread(gallery: Gallery, weight: float) -> None:
    picture, words = unit(1, 2, 3, -1, 0, 1), unit(1, 0, -1, 2)
    answer = look(gallery, Sought(picture, words), Terms(top=10, text_weight=weight))
    a = np.array([row.embedding @ picture for row in rows()])
    b = np.array([row.aligned @ words for row in rows()])
    both = (1 - weight) * (a - a.mean()) / a.std() + weight * (b - b.mean()) / b.std()
    assert ids(answer) == [rows()[k].entry.id for k in np.argsort(-both)[:10]]
    assert [found.similarity for found in answer.found] == pytest.approx(
        np.sort(a.mean() + a.std() * both)[::-1][:10], abs=1e-6
    )


def test_words_that_find_all_rows_alike_leave_the_order_to_the_picture(tmp_path: Path) -> None:
    made = create(str(tmp_path / "other"), About("someone", "", {}, D, A, {}))
    made.add([Row(row.entry, row.embedding, unit(1, 0, 0, 0)) for row in rows()])
    picture = unit(1, 2, 3, -1, 0, 1)
    by_picture = look(made, Sought(picture), Terms(top=5))
    assert ids(look(made, Sought(picture, unit(1, 0, 0, 0)), Terms(top=5))) == ids(by_picture)


def test_conditions_hold_for_each_kind_of_question(gallery: Gallery) -> None:
    where = Where(cameras=("b",))
    for sought in (
        Sought(unit(1, 0, 0, 0, 0, 0)),
        Sought(words=unit(1, 0, 0, 0)),
        Sought(unit(*[1] * D), unit(*[1] * A)),
    ):
        found = look(gallery, sought, Terms(top=12, where=where)).found
        assert len(found) == 12
        assert {one.entry.camera for one in found} == {"b"}


def test_one_each_is_the_best_row_of_every_identity_and_all_unknown_ones(gallery: Gallery) -> None:
    vector = unit(1, 2, 3, -1, 0, 1)
    everything = look(gallery, Sought(vector), Terms(top=40)).found
    expected = []
    for found in everything:
        if found.entry.identity is None or found.entry.identity not in {one.entry.identity for one in expected}:
            expected.append(found)
    for top in (1, 3, 9, 40):
        assert look(gallery, Sought(vector), Terms(top=top, one_each=True)).found == tuple(expected[:top])
    both = look(gallery, Sought(vector, unit(1, 0, 0, 0)), Terms(top=40, one_each=True)).found
    assert len(both) == 16
    assert len({one.entry.identity for one in both}) == 9


def test_one_each_goes_through_so_many_rows_and_no_more(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    vector = unit(1, 2, 3, -1, 0, 1)
    monkeypatch.setattr("resight.search.MOST", 12)
    found = look(gallery, Sought(vector), Terms(top=10, one_each=True)).found
    first = look(gallery, Sought(vector), Terms(top=12)).found
    expected = [
        one for k, one in enumerate(first) if one.entry.identity not in {e.entry.identity for e in first[:k]} - {None}
    ]
    assert found == tuple(expected[:10])
    assert len(expected) < 10


def test_a_threshold_cuts_the_answer(gallery: Gallery) -> None:
    vector = unit(1, 2, 3, -1, 0, 1)
    everything = look(gallery, Sought(vector), Terms(top=40)).found
    cut = everything[6].similarity
    assert look(gallery, Sought(vector), Terms(top=40, threshold=cut)).found == everything[:7]
    assert look(gallery, Sought(vector), Terms(top=40, threshold=1.1)).found == ()


def curve(*similarities: float) -> Curve:
    thresholds = tuple(
        Threshold(10.0 ** -(k + 2), similarity, similarity, similarity, 0.5, 0.4, 0.6)
        for k, similarity in enumerate(similarities)
    )
    return Curve(thresholds, 10.0, -5.0, 100, 10_000, 20, "any-camera", ((0.0, 0.5), (0.5, 1e-3)))


def test_a_calibrated_gallery_says_match_ask_or_unknown(gallery: Gallery) -> None:
    gallery.keep_calibration(Calibration("someone", "data", curve(0.3, 0.7)).as_dict())
    vector = unit(1, 2, 3, -1, 0, 1)
    for found in look(gallery, Sought(vector), Terms(top=40)).found:
        s = found.similarity
        assert found.verdict == ("match" if s >= 0.7 else "unknown" if s < 0.3 else "ask a person")
        assert found.probability == pytest.approx(1 / (1 + np.exp(5 - 10 * s)))
    assert {one.verdict for one in look(gallery, Sought(words=unit(1, 0, 0, 0))).found} == {None}
    assert {one.verdict for one in look(gallery, Sought(vector, unit(1, 0, 0, 0))).found} == {None}
    gallery.keep_calibration(Calibration("someone", "data", curve(0.3, 0.7), curve(0.1)).as_dict())
    assert {one.verdict for one in look(gallery, Sought(words=unit(1, 0, 0, 0)), Terms(top=40)).found} == {
        "match",
        "unknown",
    }


def test_a_row_finds_its_like(gallery: Gallery) -> None:
    sought = seek_rows(gallery, ["r03"])
    asked = rows()[3].embedding
    expected = sorted(rows(), key=lambda row: -float(row.embedding @ asked))[1:5]
    assert ids(look(gallery, sought, Terms(top=4))) == [row.entry.id for row in expected]
    pooled = seek_rows(gallery, ["r03", "r07"])
    assert pooled.picture == pytest.approx(unit(*(rows()[3].embedding + rows()[7].embedding)), abs=1e-6)
    with pytest.raises(GalleryError, match=r"row nobody: is not in the gallery\. `resight gallery list` shows the ids"):
        seek_rows(gallery, ["r03", "nobody"])


def test_pooling_is_the_mean_direction_and_refuses_opposites() -> None:
    assert pool(np.stack([unit(1, 0), unit(0, 1)])) == pytest.approx(unit(1, 1))
    with pytest.raises(ConfigError, match="cancel out"):
        pool(np.stack([unit(1, 0), unit(-1, 0)]))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"top": 0}, "top 0: 1 to 10,000"),
        ({"top": 10_001}, "top 10001: 1 to 10,000"),
        ({"text_weight": -0.1}, "text weight -0.1: 0"),
        ({"text_weight": float("nan")}, "text weight nan"),
        ({"threshold": float("nan")}, "threshold nan: a similarity"),
    ],
)
def test_terms_out_of_range_are_refused(terms: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Terms(**terms)  # type: ignore[arg-type]


def test_a_question_without_anything_is_refused(gallery: Gallery) -> None:
    encoder = Encoder.load("random:32x1/16", size=(32, 32))
    with pytest.raises(ConfigError, match="Nothing is asked"):
        seek(encoder)
    with pytest.raises(ConfigError, match="Leave out --not"):
        seek(encoder, pictures=[Image.new("RGB", (8, 8))], without=["a bag"])
    with pytest.raises(ValueError, match="neither a picture nor words"):
        look(gallery, Sought())


def test_pictures_of_one_individual_and_words_become_vectors() -> None:
    encoder = Encoder.load("random:32x1/16", size=(32, 32))
    pictures = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    sought = seek(encoder, pictures=pictures, texts=["a red coat"], without=["a bag"])
    assert sought.picture == pytest.approx(pool(encoder.embed_images(pictures).embedding))
    assert sought.words is not None
    assert np.linalg.norm(sought.words) == pytest.approx(1)
    assert seek(encoder, pictures=pictures).words is None
    assert seek(encoder, texts=["a red coat"]).picture is None
    assert "longer than the 77 tokens" in seek(encoder, texts=["red coat " * 60]).notes[0]


def test_vectors_of_another_encoder_are_refused(gallery: Gallery) -> None:
    encoder = Encoder.load("random:32x1/16", size=(32, 32))
    with pytest.raises(GalleryError, match=r"from encoder someone \(resight-mini\), not from [0-9a-f]{16}"):
        require_encoder(gallery, encoder)
