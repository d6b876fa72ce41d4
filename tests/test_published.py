from __future__ import annotations

import pytest

from resight.data import benchmarks
from resight.published import PUBLISHED, published_for


def test_results_are_of_known_benchmarks_and_are_shares() -> None:
    for one in PUBLISHED:
        assert benchmarks.find(one.benchmark).name == one.benchmark
        assert all(0 < share < 1 for share in one.scores.values())
        assert set(one.scores) <= {"mAP", "R1", "R5", "R10", "mINP"}
    assert len({(one.benchmark, one.method, one.source) for one in PUBLISHED}) == len(PUBLISHED)


def test_a_benchmark_has_its_own() -> None:
    market = published_for("market1501")
    assert {"CLIP-ReID, arXiv 2211.13977", "PCL-CLIP, arXiv 2310.17218"} == {one.source for one in market}
    assert market[0].scores == pytest.approx({"mAP": 0.896, "R1": 0.955})
    assert published_for(None) == published_for("mine") == ()
