"""Prompt decoupling and what it must be compared with, at the same number of pairs seen: one table, text → image.

    python benchmarks/ablate_prompts.py OUT --data PATH --init WEIGHTS --epochs N [--rows main|prompts|NAME …]
        [--seeds 0 1 2] [--flags="…"] [--recipe-flags text-direct="…" prompt-decoupling="…"]

The rows `main` say whether learning prompts first helps: CLIP as it is, direct fine-tuning (with and without an
identity loss), prompts alone, prompts and CLIP together, one after the other, and CLIP with random prompts. The rows
`prompts` vary the prompts of the two-stage method: lengths, one side alone, positions, depth. Every training passes
through N epochs of pairs, of which two stages share: a third for the prompts. What OUT holds already is not run again;
the table and every figure go to OUT/results.md and OUT/results.json.
"""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path

from compare_recipes import Trial, evaluate, n_seen, spread, train, write

SCORES = ("R1", "R5", "R10", "mAP", "mINP")
DIRECT = "--itc 1 --id 1 --identity-targets"


@dataclass(frozen=True)
class Row:
    """recipe: of `resight train`. prompts_share: of the epochs, for the first stage; 0 for one stage."""

    recipe: str
    flags: str
    prompts_share: float = 0.0

    def words(self, epochs: int) -> list[str]:
        words = shlex.split(self.flags)
        if not self.prompts_share:
            return [*words, "--epochs", str(epochs)]
        first = max(1, round(epochs * self.prompts_share))
        rest = epochs - first or epochs  # prompts alone: a second stage that is not run
        return [*words, "--prompt-epochs", str(first), "--epochs", str(rest)]


def decoupled(flags: str) -> Row:
    return Row("prompt-decoupling", f"--method decoupled {flags}", 1 / 3)


MAIN = {
    "direct-itc": Row("text-direct", "--itc 1"),
    "direct": Row("text-direct", DIRECT),
    "prompt-only": Row("prompt-decoupling", "--method prompt-only", 1.0),
    "joint": Row("prompt-decoupling", "--method joint"),
    "decoupled": decoupled(""),
    "prompt-fresh": Row("prompt-decoupling", "--method prompt-fresh"),
}
PROMPTS = {
    **{f"length {n}": decoupled(f"--text-length {n} --image-length {n}") for n in (1, 2, 8, 16)},
    "text 2, image 8": decoupled("--text-length 2 --image-length 8"),
    "text 8, image 2": decoupled("--text-length 8 --image-length 2"),
    "text side only": decoupled("--image-length 0"),
    "image side only": decoupled("--text-length 0"),
    "with positions": decoupled("--prompt-position"),
    "depth 2": decoupled("--prompt-depth 2"),
    "depth 4": decoupled("--prompt-depth 4"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--init", required=True)
    parser.add_argument("--epochs", type=int, required=True, help="passes over the pairs, of all stages together")
    parser.add_argument("--size", nargs=2, default=["128", "64"], help="height and width of the pictures")
    parser.add_argument("--rows", nargs="+", default=["main"], help="main, prompts, or rows by name")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--flags", default="", help="of every training")
    parser.add_argument("--recipe-flags", nargs="*", default=[], help="RECIPE=FLAGS, of one recipe's trainings")
    arguments = parser.parse_args()
    of_recipe = {pair.partition("=")[0]: shlex.split(pair.partition("=")[2]) for pair in arguments.recipe_flags}
    known = MAIN | PROMPTS
    groups = {"main": list(MAIN), "prompts": list(PROMPTS)}
    names = [name for asked in arguments.rows for name in groups.get(asked, [asked])]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"--rows: there are {', '.join([*groups, *known])}, not {', '.join(unknown)}")
    task, path, size = "text → image", arguments.data, ("--size", *arguments.size)
    before = evaluate(arguments.init, path, arguments.out / "before.json", *size, task=task)
    lines = [["before training", "", *(spread([before], score) for score in SCORES)]]
    told = []
    for name in names:
        row, found = known[name], []
        common = [*size, "--normalisation", "init", *shlex.split(arguments.flags)]
        flags = [*common, *of_recipe.get(row.recipe, []), *row.words(arguments.epochs)]
        for seed in arguments.seeds:
            trial = Trial(name.replace(" ", "-"), row.recipe, path.parent.name, "start", seed)
            encoder = train(trial, arguments.out, path, arguments.init, flags)
            scores = evaluate(str(encoder), path, trial.folder(arguments.out) / "evaluation.json", task=task)
            found.append(scores | {"seen": n_seen(encoder)})
            print(f"{name} {seed}: " + " ".join(f"{score} {100 * scores[score]:.1f}" for score in SCORES), flush=True)
        lines.append([name, f"{found[0]['seen']:,}", *(spread(found, score) for score in SCORES)])
        told.append({"row": name, "recipe": row.recipe, "flags": " ".join(flags), "before": before, "runs": found})
    write(arguments.out, ["row", "pairs seen", *SCORES], lines, told)


if __name__ == "__main__":
    main()
