"""Trains recipes side by side at the same number of pictures seen, and evaluates each: one table, mean ± spread.

    python benchmarks/compare_recipes.py OUT --data NAME=PATH … --init NAME=WEIGHTS … [--seeds 0 1 2]

Every run is a `resight train` and a `resight evaluate` of its own; what OUT holds already is not run again. The table
and every figure go to OUT/results.md and OUT/results.json. --settings NAME=FLAGS gives flags of `resight train` to a
data set, to weights, to a recipe, to DATA/RECIPE or to INIT/RECIPE by name, the later of these over the earlier; choose
them on validation identities beforehand (--validate-every). --recipes NAME=RECIPE makes a variant of a recipe, with
settings of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SIZE = ("--size", "128", "64", "--normalisation", "init")
EVERYWHERE = (*SIZE, "--pad", "4", "--colour", "0.4", "--warmup-epochs", "2", "--without-text")
"""Small pictures, and the colour changes that small data sets need; the rest is the recipe's own."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One training: recipe, data and weights by name, and a seed."""

    name: str
    recipe: str
    data: str
    init: str
    seed: int

    def folder(self, out: Path) -> Path:
        return out / self.data / self.init / self.name / str(self.seed)


def resight(*words: str) -> str:
    """What the command prints; its last line when it fails."""
    done = subprocess.run([sys.executable, "-m", "resight", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"resight {' '.join(words)}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def evaluate(encoder: str, path: Path, report: Path, *more: str, task: str = "image → image") -> dict[str, float]:
    """Scores of a task, with the ends of their intervals; read from `report` when it is there."""
    if not report.is_file():
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(resight("evaluate", encoder, "--data", str(path), "--json", *more), encoding="utf-8")
    found = next(one for one in json.loads(report.read_text(encoding="utf-8"))["tasks"] if one["name"] == task)
    low_high = {name: found["intervals"][name] for name in ("mAP", "R1")}
    return found["scores"] | {
        f"{name} {end}": low_high[name][k] for name in low_high for k, end in enumerate(("low", "high"))
    }


def train(trial: Trial, out: Path, data: Path, init: str, settings: Sequence[str]) -> Path:
    """The folder of the trained encoder, and of a line a step beside it; a run that was cut short goes on."""
    folder = trial.folder(out)
    if not (folder / "run" / "encoder" / "encoder.json").is_file():
        going_on = ["--resume"] if (folder / "run" / "config.json").is_file() else []
        start = ["--data", str(data), "--init", init, "--out", str(folder / "run"), "--seed", str(trial.seed)]
        resight("train", trial.recipe, *start, *settings, *going_on)
    return folder / "run" / "encoder"


def n_seen(encoder: Path) -> int:
    """Pictures that the training of the encoder passed through the towers, over its stages."""
    lines = [json.loads(line) for line in (encoder.parent / "metrics.jsonl").read_text().splitlines()]
    seen = {line["stage"]: line["seen"] for line in lines if "seen" in line}  # of CLIP-ReID's words none
    return sum(n for stage, n in seen.items() if stage != "words")


def spread(runs: Sequence[dict[str, float]], score: str) -> str:
    """Mean and standard deviation in percent; of mAP and R1 also the mean ends of the runs' 95 % intervals."""
    values = [run[score] for run in runs]
    deviation = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    if f"{score} low" not in runs[0]:
        return f"{100 * statistics.fmean(values):.1f}{deviation}"
    low, high = (100 * statistics.fmean(run[f"{score} {end}"] for run in runs) for end in ("low", "high"))
    return f"{100 * statistics.fmean(values):.1f}{deviation} ({low:.0f}–{high:.0f})"


def write(out: Path, heads: Sequence[str], rows: Sequence[Sequence[str]], everything: object) -> None:
    """The table as OUT/results.md and on the screen, every figure as OUT/results.json."""
    table = "\n".join("| " + " | ".join(row) + " |" for row in [heads, ["---"] * len(heads), *rows])
    (out / "results.md").write_text(table + "\n", encoding="utf-8")
    (out / "results.json").write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
    print(table)


def named(pairs: Sequence[str]) -> dict[str, str]:
    return {pair.partition("=")[0]: pair.partition("=")[2] or pair for pair in pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", nargs="+", required=True, help="NAME=PATH")
    parser.add_argument("--init", nargs="+", required=True, help="NAME=WEIGHTS")
    parser.add_argument("--recipes", nargs="+", default=["finetune", "clip-reid"], help="NAME=RECIPE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--settings", nargs="*", default=[], help="NAME=FLAGS")
    arguments = parser.parse_args()
    data, inits, recipes, settings = (
        named(pairs) for pairs in (arguments.data, arguments.init, arguments.recipes, arguments.settings)
    )
    rows, everything = [], []
    for data_name, path in data.items():
        for init_name, weights in inits.items():
            start = ("--size", "128", "64") if not (Path(weights) / "encoder.json").is_file() else ()
            before = evaluate(weights, Path(path), arguments.out / data_name / init_name / "before.json", *start)
            rows.append([data_name, init_name, "before training", "", spread([before], "R1"), spread([before], "mAP")])
            for name, recipe in recipes.items():
                kinds = (data_name, init_name, name, f"{data_name}/{name}", f"{init_name}/{name}")
                flags = [flag for kind in kinds for flag in settings.get(kind, "").split()]
                found = []
                for seed in arguments.seeds:
                    trial = Trial(name, recipe, data_name, init_name, seed)
                    encoder = train(trial, arguments.out, Path(path), weights, [*EVERYWHERE, *flags])
                    scores_of = evaluate(str(encoder), Path(path), trial.folder(arguments.out) / "evaluation.json")
                    found.append(scores_of | {"seen": n_seen(encoder)})
                    scores = f"R1 {found[-1]['R1']:.3f} mAP {found[-1]['mAP']:.3f}"
                    print(f"{data_name} {init_name} {name} {seed}: {scores}", flush=True)
                seen = f"{found[0]['seen']:,}"
                rows.append([data_name, init_name, name, seen, spread(found, "R1"), spread(found, "mAP")])
                told = {"data": data_name, "init": init_name, "recipe": name, "flags": " ".join(flags)}
                everything.append(told | {"before": before, "runs": found})
    write(arguments.out, ["data", "start", "recipe", "pictures seen", "R1", "mAP"], rows, everything)


if __name__ == "__main__":
    main()
