from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from resight import thresholds
from resight.calibration import Curve
from resight.errors import ConfigError, DataError
from resight.similarities import Pairs, Sample, binned
from resight.thresholds import check_rates, learn, logistic, plan


def people(
    n_identities: int, n_each: int, *, n_cameras: int = 2, noise: float = 0.8, seed: int = 0
) -> tuple[Sample, NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    n = n_identities * n_each
    identities = np.repeat(np.arange(n_identities), n_each)
    vectors = random.normal(size=(n_identities, 16))[identities] + noise * random.normal(size=(n, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cameras = np.arange(n) % n_cameras if n_cameras else np.full(n, -1)
    return Sample(identities, cameras, np.arange(n)), vectors.astype(np.float32)


def learned(sample: Sample, vectors: NDArray[np.float32], *rates: float, seed: int = 0) -> Curve:
    return learn(plan(sample, None, rates), vectors, vectors, seed=seed)


def all_pairs(sample: Sample, vectors: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether each two rows are the same, and their similarity; the same by one camera left out."""
    i, j = np.triu_indices(len(vectors), k=1)
    same = sample.identities[i] == sample.identities[j]
    kept = ~same | (sample.cameras[i] != sample.cameras[j]) | (sample.cameras[i] < 0)
    return same[kept], (vectors.astype(np.float64) @ vectors.T)[i, j][kept]


def test_thresholds_and_what_they_find_are_those_of_the_definition() -> None:
    sample, vectors = people(40, 4)
    curve = learned(sample, vectors, 1e-2, 1e-1, 4e-3)
    same, similarities = all_pairs(sample, vectors)
    assert (curve.n_same, curve.n_different) == (same.sum(), (~same).sum())
    assert (curve.n_identities, curve.rule) == (40, "cross-camera")
    assert [one.rate for one in curve.thresholds] == [1e-1, 1e-2, 4e-3]
    different = similarities[~same]
    for one in curve.thresholds:
        passing = int((different >= one.similarity).sum())
        assert passing == int(one.rate * len(different))
        assert one.found == pytest.approx((similarities[same] >= one.similarity).mean())
        assert one.low < one.similarity < one.high
        assert one.found_low < one.found < one.found_high
    found = [one.found for one in curve.thresholds]
    assert found == sorted(found, reverse=True)


def test_shares_of_different_pairs_at_any_similarity() -> None:
    sample, vectors = people(60, 4)
    curve = learned(sample, vectors, 1e-2)
    same, similarities = all_pairs(sample, vectors)
    different = similarities[~same]
    assert curve.different[0][1] == 0.5
    assert curve.different == tuple(sorted(curve.different))
    for similarity, share in curve.different:
        assert (different >= similarity).mean() == pytest.approx(share, abs=1 / len(different))
    least = 30 / len(different)
    assert least <= curve.different[-1][1] < least * 10**0.25


def test_intervals_resample_identities_on_both_sides() -> None:
    """Against draws that repeat the rows of the drawn identities, and pair them anew."""
    sample, vectors = people(25, 6, noise=0.5, seed=3)
    (one,) = learned(sample, vectors, 2e-2).thresholds
    random = np.random.default_rng(7)
    drawn = []
    similarities = vectors.astype(np.float64) @ vectors.T
    for _ in range(400):
        chosen = random.integers(25, size=25)
        rows = np.concatenate([np.flatnonzero(sample.identities == identity) for identity in chosen])
        i, j = np.triu_indices(len(rows), k=1)
        values = similarities[rows[i], rows[j]][sample.identities[rows[i]] != sample.identities[rows[j]]]
        drawn.append(np.quantile(values, 1 - 0.02))
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert (one.low, one.high) == pytest.approx((low, high), abs=0.2 * (high - low))
    pairs_alone = [np.quantile(random.choice(values, len(values)), 0.98) for _ in range(200)]
    assert np.ptp(np.percentile(pairs_alone, [2.5, 97.5])) < 0.5 * (one.high - one.low)


def test_draws_that_reach_below_the_kept_pairs_change_little(monkeypatch: pytest.MonkeyPatch) -> None:
    sample, vectors = people(60, 5)
    (everything,) = learned(sample, vectors, 1e-2).thresholds
    monkeypatch.setattr(thresholds, "N_KEPT", 450)  # of 44,250 pairs, of which the rate lets 442 pass
    (few,) = learned(sample, vectors, 1e-2).thresholds
    assert few.similarity == everything.similarity
    assert (few.low, few.high) == pytest.approx((everything.low, everything.high), abs=0.01)


def test_the_seed_draws() -> None:
    sample, vectors = people(40, 4)
    first = learned(sample, vectors, 1e-2, seed=1)
    assert first == learned(sample, vectors, 1e-2, seed=1)
    assert first.thresholds[0].low != learned(sample, vectors, 1e-2, seed=2).thresholds[0].low


def test_without_enough_pairs_across_cameras_all_count() -> None:
    sample, vectors = people(40, 4, n_cameras=1)
    one_camera = plan(sample, None, [1e-2])
    assert one_camera.rule == "any-camera"
    assert one_camera.n_same == 40 * 6
    assert one_camera.notes[0] == (
        "0 pairs (cross-camera) show the same individual, of 0 individuals; needed are 30 pairs of 10. So pairs by one "
        "camera count too; they are easier, so the shares found are too high."
    )
    nobody_knows = plan(people(40, 4, n_cameras=0)[0], None, [1e-2])
    assert (nobody_knows.rule, nobody_knows.n_same, nobody_knows.notes) == ("any-camera", 40 * 6, ())
    assert learn(one_camera, vectors, vectors).rule == "any-camera"


def test_words_are_paired_with_other_pictures_where_there_are_some() -> None:
    shown, vectors = people(40, 3)
    words = plan(shown, shown, [1e-2])  # a caption a picture
    assert (words.rule, words.n_same, words.n_different) == ("other-picture", 40 * 6, 120 * 117)
    curve = learn(words, vectors, vectors)
    assert curve.n_same == 240
    single, _ = people(80, 1)
    alone = plan(single, single, [1e-2])
    assert (alone.rule, alone.n_same) == ("any-picture", 80)
    assert "captions are paired with their own picture too" in alone.notes[0]


@pytest.mark.parametrize(
    ("n_identities", "n_each", "message"),
    [
        (300, 1, "0 pairs .any-camera. show the same individual, of 0 individuals; needed are 30 pairs of 10"),
        (9, 20, "of 9 individuals; needed are 30 pairs of 10. Label more pictures of each individual"),
        (12, 2, "12 pairs"),
        (
            12,
            3,
            r"Rate 0.001 is left out: 594 pairs of different individuals are too few, 30,000 .* --rates 5.6e-02",
        ),
    ],
)
def test_too_few_pairs_are_refused(n_identities: int, n_each: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        plan(people(n_identities, n_each)[0], None, [1e-3])


def test_a_rate_with_too_few_pairs_is_left_out_with_a_line() -> None:
    sample, vectors = people(40, 4)
    found = plan(sample, None, [1e-2, 1e-3])
    assert found.rates == (1e-2,)
    (note,) = found.notes
    assert note == (
        "Rate 0.001 is left out: 12,480 pairs of different individuals are too few, 30,000 are needed (30 false "
        "matches)."
    )
    assert [one.rate for one in learn(found, vectors, vectors).thresholds] == [1e-2]


@pytest.mark.parametrize("rates", [[], [0.0], [-1e-3], [0.6], [float("nan")], [1e-2, float("inf")]])
def test_rates_out_of_range(rates: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"above 0 and at most 0\.5"):
        check_rates(rates)


def test_rates_fall_and_come_once() -> None:
    assert check_rates([1e-3, 1e-2, 1e-3]) == (1e-2, 1e-3)


def test_an_encoder_that_tells_nobody_apart_is_refused() -> None:
    sample, vectors = people(40, 4)
    constant = np.zeros_like(vectors) + np.eye(16, dtype=np.float32)[0]
    with pytest.raises(DataError, match=r"equally alike, at 1\.0000: no similarity lets only 0\.01 of them pass"):
        learned(sample, constant, 1e-2)
    repelled = np.random.default_rng(0).normal(size=(80, 60)).astype(np.float32)
    repelled[1::2] = -repelled[::2]
    repelled /= np.linalg.norm(repelled, axis=1, keepdims=True)
    pairs = Sample(np.repeat(np.arange(40), 2), np.full(80, -1), np.arange(80))
    with pytest.raises(DataError, match="are not more alike than pairs of different ones"):
        learned(pairs, repelled, 1e-2)


def test_the_logistic_function_is_that_of_balanced_pairs() -> None:
    random = np.random.default_rng(2)
    same, different = random.normal(0.6, 0.1, 400), random.normal(0.3, 0.12, 30_000)
    slope, intercept = logistic(binned(same), binned(different))
    model = LogisticRegression(C=1e9, class_weight="balanced", tol=1e-10, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(np.concatenate([same, different])[:, None], np.repeat([1, 0], [400, 30_000]))
    assert slope == pytest.approx(model.coef_[0, 0], rel=0.05)  # Platt's ends are a little less certain
    assert -intercept / slope == pytest.approx(-model.intercept_[0] / model.coef_[0, 0], abs=0.005)


def test_sides_that_do_not_overlap_have_a_probability() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slope, intercept = logistic(binned(np.full(50, 0.9)), binned(np.full(5000, 0.1)))
    assert 0 < slope < np.inf
    at = [1 / (1 + np.exp(-(slope * s + intercept))) for s in (0.1, 0.9)]
    assert at == pytest.approx([1 / 5002, 51 / 52], rel=0.05)


def test_learning_takes_the_blocks_that_the_pairs_give(monkeypatch: pytest.MonkeyPatch) -> None:
    sample, vectors = people(40, 4)
    expected = learned(sample, vectors, 1e-2)
    monkeypatch.setattr("resight.similarities.BLOCK", 1000)
    got = learned(sample, vectors, 1e-2)
    assert got.thresholds[0].similarity == pytest.approx(expected.thresholds[0].similarity, abs=1e-6)
    assert isinstance(plan(sample, None).pairs, Pairs)
