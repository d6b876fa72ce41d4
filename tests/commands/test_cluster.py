"""`resight cluster`: what it writes and tells, and what it refuses before anything is embedded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from resight.cli import main
from resight.data.index import read

QUICK = ("random:64x1/8", "--size", "32", "16", "--device", "cpu", "--k1", "6", "--k2", "3")


def cluster(table: Path, out: Path, *more: str) -> int:
    return main(["cluster", *QUICK, "--data", str(table), "--out", str(out), *more])


@pytest.fixture
def two_colours(picture: Callable[..., Path], tmp_path: Path) -> Path:
    """Six red and six blue pictures, of two identities, and a file that is no picture."""
    lines = ["path,identity,camera"]
    for name, colour in (("red", (230, 20, 20)), ("blue", (20, 20, 230))):
        lines += [f"{picture(f'{name}{k}.png', colour=colour).name},{name},{k % 2}" for k in range(6)]
    (tmp_path / "index.csv").write_text("\n".join(lines))
    return tmp_path / "index.csv"


def test_colours_are_told_apart(two_colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster(two_colours, tmp_path / "out", "--eps", "0.6", "--truth") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == (
        f"{tmp_path / 'out'}: 2 clusters, the largest of 6 pictures; 0 outliers, 100.0 % of the pictures used; "
        "eps 0.6, 0 pictures left out"
    )
    assert shown[1] == (
        "against the identities: adjusted Rand index 1.000, pairwise F-measure 1.000 (precision 1.000, recall 1.000) "
        "over 12 pictures"
    )
    named = read(tmp_path / "out" / "clusters.csv").unassigned
    assert [record.identity for record in named] == ["cluster-0001"] * 6 + ["cluster-0002"] * 6


def test_json_and_the_chosen_eps(two_colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster(two_colours, tmp_path / "out", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert 0 < told["eps"] < 1
    assert told["n_clusters"] == len(told["clusters"])
    assert told["truth"] is None
    assert told["left_out"] == []


def test_identities_are_not_used(two_colours: Path, tmp_path: Path) -> None:
    assert cluster(two_colours, tmp_path / "with") == 0
    without = two_colours.with_name("without.csv")
    without.write_text("\n".join(line.split(",")[0] for line in two_colours.read_text().splitlines()))
    assert cluster(without, tmp_path / "without") == 0
    found = [
        [record.identity for record in read(tmp_path / name / "clusters.csv").unassigned]
        for name in ("with", "without")
    ]
    assert found[0] == found[1]


def test_an_unreadable_picture_is_left_out(
    two_colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "red3.png").write_bytes(b"no picture")
    assert cluster(two_colours, tmp_path / "out", "--eps", "0.6") == 1
    shown = capsys.readouterr()
    assert "1 pictures left out" in shown.out
    assert f"left out: {tmp_path / 'red3.png'}: is not a picture" in shown.err
    assert "red3.png" not in (tmp_path / "out" / "clusters.csv").read_text()


def test_refused_before_anything_is_written(
    two_colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for more, said in (
        (("--eps", "2"), "--eps 2.0: a number between 0 and 1, or auto."),
        (("--k2", "9"), "--k2 9: at most the 6 of --k1."),
        (("--truth", "--column", "identity="), "names no identity to compare with. Leave out --truth."),
    ):
        assert cluster(two_colours, out, *more) == 2
        assert said in capsys.readouterr().err
    assert not out.exists()
    assert cluster(two_colours, tmp_path) == 2
    assert f"{tmp_path}: is not empty. Name another folder with --out, or delete it." in capsys.readouterr().err
