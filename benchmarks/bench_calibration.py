"""Do thresholds hold? Learned on one half of the individuals, observed on the other, at stated false-match rates.

    python benchmarks/bench_calibration.py --try NAME=ENCODER,DATA … [--on NAME=DATA …] [--seeds 10] [--out FILE]

DATA: what `resight data split --by identity` wrote, so that ENCODER may have been trained on its train records. Its
query and gallery individuals are halved at random, once a seed. `learn` sees one half, and the other half says which
share of its pairs of different individuals passes each threshold. Beside that, thresholds learned on the train
individuals, and with --on on all individuals of other data, are observed on all query and gallery individuals.

A threshold's interval is for the individuals it was learned from. The other half varies as much, so that an interval
that is right holds the threshold that the other half would give in 83 of 100 halves (a difference of two is 1.41 times
as wide), not in 95; `compatible` counts the halves in which the two intervals overlap.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from resight import Encoder, Record, read_data
from resight.calibration import Curve
from resight.data.dataset import all_records
from resight.embed import EmbedConfig, embed
from resight.environment import describe
from resight.metrics import numbers
from resight.similarities import Pairs, Sample
from resight.thresholds import APART, RATES, learn, plan


@dataclass(frozen=True)
class Observation:
    """One rate. threshold, low, high: as learned. seen: share of the other pairs that pass; others: their own threshold
    with its interval, None where they are too few for the rate. promised, found: share of same pairs, of each side."""

    rate: float
    threshold: float
    low: float
    high: float
    seen: float
    others: tuple[float, float, float] | None
    promised: float
    found: float


@dataclass(frozen=True)
class Trial:
    """n_learned, n_seen: individuals. surprise: bits a pair that the probability costs on the other side, same and
    different weighing one half each; 1 is what knowing nothing costs (Cllr, Brümmer and du Preez 2006)."""

    n_learned: int
    n_seen: int
    rule: str
    surprise: float
    observations: tuple[Observation, ...]


@dataclass(frozen=True, eq=False)
class Pictures:
    vectors: NDArray[np.float32]
    sample: Sample

    def of(self, identities: NDArray[np.int64]) -> Pictures:
        """The pictures of some individuals, numbered anew."""
        rows = np.flatnonzero(np.isin(self.sample.identities, identities))
        part = self.sample.take(rows)
        return Pictures(
            self.vectors[rows], replace(part, identities=np.unique(part.identities, return_inverse=True)[1])
        )


def pictures(encoder: Encoder, records: Sequence[Record]) -> Pictures:
    known = [record for record in records if record.identity is not None]
    sample = Sample(
        numbers([record.identity for record in known]),
        numbers([record.camera for record in known]),
        numbers([str(record.path) for record in known]),
    )
    return Pictures(embed(encoder, known, EmbedConfig(batch_size=256)).embedding, sample)


def observe(learned: Pictures, seen: Pictures, seed: int) -> Trial:
    curve = learn(plan(learned.sample, None, RATES), learned.vectors, learned.vectors, seed=seed)
    theirs = plan(seen.sample, None, RATES)
    other = {one.rate: one for one in learn(theirs, seen.vectors, seen.vectors, seed=seed).thresholds}
    pairs = Pairs(seen.sample, None, APART[curve.rule])
    n = round(pairs.n_different())
    different = pairs.different(seen.vectors, seen.vectors, n_kept=n).values
    same = np.concatenate([values for _, values in pairs.same(seen.vectors, seen.vectors)])
    observations = tuple(
        Observation(
            one.rate,
            one.similarity,
            one.low,
            one.high,
            seen=float((different >= one.similarity).mean()),
            others=(other[one.rate].similarity, other[one.rate].low, other[one.rate].high)
            if one.rate in other
            else None,
            promised=one.found,
            found=float((same >= one.similarity).mean()),
        )
        for one in curve.thresholds
    )
    return Trial(curve.n_identities, pairs.n_identities, curve.rule, surprise(curve, same, different), observations)


def surprise(curve: Curve, same: NDArray[np.float32], different: NDArray[np.float32]) -> float:
    odds = [curve.slope * side.astype(np.float64) + curve.intercept for side in (same, different)]
    return float((np.logaddexp(0, -odds[0]).mean() + np.logaddexp(0, odds[1]).mean()) / (2 * np.log(2)))


def halves(everybody: Pictures, n_seeds: int) -> list[Trial]:
    n = 1 + int(everybody.sample.identities.max())
    found = []
    for seed in range(n_seeds):
        order = np.random.default_rng(seed).permutation(n)
        found.append(observe(everybody.of(order[: n // 2]), everybody.of(order[n // 2 :]), seed))
    return found


def rows(name: str, how: str, trials: Sequence[Trial]) -> list[list[str]]:
    """One line a rate: means over the trials that have it, and how many of them hold."""
    lines = []
    for rate in sorted({one.rate for trial in trials for one in trial.observations}, reverse=True):
        ones = [one for trial in trials for one in trial.observations if one.rate == rate]
        seen = [100 * one.seen for one in ones]
        compared = [(one, one.others) for one in ones if one.others is not None]
        inside = sum(one.low <= others[0] <= one.high for one, others in compared)
        overlap = sum(one.low <= others[2] and others[1] <= one.high for one, others in compared)
        promised, found = (100 * np.mean([getattr(one, part) for one in ones]) for part in ("promised", "found"))
        lines.append(
            [
                name,
                how,
                f"{trials[0].n_learned} → {trials[0].n_seen}",
                f"{100 * rate:g}",
                f"{np.mean(seen):.2g}" + (f" ({min(seen):.2g}–{max(seen):.2g})" if len(seen) > 1 else ""),
                f"{inside} / {len(compared)}",
                f"{overlap} / {len(compared)}",
                f"{promised:.1f} → {found:.1f}",
                f"{np.mean([trial.surprise for trial in trials]):.2f}",
            ]
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--try", dest="tries", nargs="+", required=True, help="NAME=ENCODER,DATA")
    parser.add_argument("--on", nargs="*", default=[], help="NAME=DATA")
    parser.add_argument("--size", nargs=2, type=int, default=[128, 64])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    table = Table("encoder and data", "learned on", "individuals", "rate %", "observed % (range)")
    for head in ("inside", "compatible", "same pairs found %", "bits"):
        table.add_column(head)
    everything, start = [], time.perf_counter()
    for tried in arguments.tries:
        name, _, both = tried.partition("=")
        weights, _, path = both.rpartition(",")
        own = (Path(weights) / "encoder.json").is_file()
        encoder = Encoder.load(weights, size=None if own else (arguments.size[0], arguments.size[1]))
        data = read_data(Path(path))
        test = pictures(encoder, list(dict.fromkeys((*data.query, *data.gallery))))
        ways = {"other half": halves(test, arguments.seeds)}
        if data.train:
            ways["train"] = [observe(pictures(encoder, data.train), test, 0)]
        for other in arguments.on:
            called, _, elsewhere = other.partition("=")
            ways[called] = [observe(pictures(encoder, all_records(read_data(Path(elsewhere)))), test, 0)]
        for how, trials in ways.items():
            for line in rows(name, how, trials):
                table.add_row(*line)
            everything.append({"name": name, "learned_on": how, "trials": [asdict(trial) for trial in trials]})
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    Console(width=180).print(table)
    if arguments.out is not None:
        machine = {key: value for key, value in describe().items() if key != "picture_cache"}
        told = {"machine": machine, "results": everything}
        arguments.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
