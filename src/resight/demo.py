"""The tour: draw people, look for faults, fine-tune by CLIP-ReID, evaluate before and after, and make a gallery."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import resight.embed as embeddings
import resight.report as reports
from resight.adding import add
from resight.calibrating import calibrate
from resight.clip.image import ResNetConfig
from resight.clip.pushed import find_encoder
from resight.curves import read_curves
from resight.data.augment import Augment
from resight.data.check import check
from resight.data.index import read
from resight.data.sample import make_sample
from resight.embed import EmbedConfig
from resight.encoder import Encoder
from resight.engine import Engine
from resight.environment import default_cache
from resight.errors import ConfigError, DataError
from resight.evaluate import Rules, sides
from resight.explaining import explain
from resight.gallery.rows import Gallery
from resight.gallery.store import create, open_gallery
from resight.gallery_encoder import describe as describe_encoder
from resight.launch import Order, launch
from resight.optim import Descent
from resight.page import Page, write_page
from resight.recipes import clip_reid
from resight.reproduction import reproduce
from resight.starting import Start
from resight.types import Record, Splits

SIZE = (128, 64)  # of the drawn people; a quarter of the usual 256 × 128, so that a processor needs minutes
NOTE = "demo.json"


def demo(out: Path, *, n_identities: int, epochs: int, seed: int, init: str, device: str, console: Console) -> None:
    """Leaves `sample/`, `run/`, `report.json`, `report.html` and `gallery/` in `out`, and tells what it does.

    Called again after an interruption, it goes on where it was. Raises ConfigError for too few identities or epochs,
    and DataError when `out` holds something else, or a tour with other arguments.
    """
    for flag, value, least in (("--identities", n_identities, 4), ("--epochs", epochs, 1)):
        if value < least:  # before anything is drawn, and `out` marked
            raise ConfigError(f"{flag} {value}: at least {least}.")
    begun = time.perf_counter()

    def tell(step: str) -> None:
        console.print(f"[dim]{time.perf_counter() - begun:5.1f} s[/dim]  {step}", highlight=False)

    fixed = find_encoder(init) is not None
    start = Encoder.load(init, size=None if fixed else SIZE, device=device, seed=seed)
    _claim(out, {"identities": n_identities, "epochs": epochs, "seed": seed, "init": init})
    if not (out / "sample").exists():
        tell(f"drawing {n_identities} people into {out / 'sample'}")
        make_sample(out / "sample", n_identities=n_identities, seed=seed)
    splits = read(out / "sample")
    query, gallery = sides(splits)
    tell(f"drawn: {len(splits.train)} pictures to train on, {len(query)} queries, {len(gallery)} in the gallery")
    faults = [finding for finding in check(splits) if finding.severity == "fault"]
    tell(f"checked: {len(faults)} kinds of faults")
    tell(f"fine-tuning {init} by CLIP-ReID: learned words for each person, then the image tower")
    order = Order(
        recipe=clip_reid,
        settings=_settings(splits, start, epochs, seed, device),
        init=init,
        out=out / "run",
        read={"data": str(out / "sample")},
        licence="Apache-2.0",  # drawn by this package
        command=_command(out, n_identities, epochs, seed, init),
        resume=(out / "run" / "config.json").is_file(),
    )
    trained = launch(order, splits)
    assert trained is not None  # one process
    tell(f"trained: {out / 'run' / 'encoder'}")
    config, rules = EmbedConfig(cache=default_cache()), Rules(seed=seed)
    before = explain(start, splits, rules=rules, config=config, n_queries=1)
    measured = time.perf_counter()
    after = explain(trained, splits, rules=rules, config=config)
    seconds = time.perf_counter() - measured
    reproduction = reproduce(after.report, splits, command=shlex.join(order.command), seconds=seconds, run=out / "run")
    reports.write_json(reports.explained_json(after, reproduction), out)
    page = Page(
        title="People found again: the tour of resight",
        about=f"{init} was fine-tuned by CLIP-ReID for {epochs} epochs on {len(splits.train)} drawn pictures.",
        after=after,
        before=before,
        curves=read_curves(out / "run" / "metrics.jsonl"),
        reproduction=reproduction,
    )
    write_page(page, out / "report.html")
    tell("evaluated before and after, on people it never saw")
    tell(f"made {_fill_gallery(out, trained, splits, gallery)}")
    console.print()
    reports.show(after.report, console)
    console.print()
    names = ("mAP", "R1")
    was, now = (measured.report.tasks[0].scores for measured in (before, after))
    gain = ", ".join(f"{name} {100 * was[name]:.1f} → {100 * now[name]:.1f}" for name in names)
    console.print(f"Picture to picture, before → after training: {gain}", highlight=False)
    console.print(
        f"The page with curves and ranked lists: {(out / 'report.html').resolve()}", highlight=False, soft_wrap=True
    )
    asked = shlex.join([*_program(), "serve", str(out / "gallery")])
    console.print(f"Search them by picture or words, in a browser: {asked}", highlight=False, soft_wrap=True)


def _command(out: Path, n_identities: int, epochs: int, seed: int, init: str) -> tuple[str, ...]:
    numbers = ("--identities", str(n_identities), "--epochs", str(epochs), "--seed", str(seed))
    return ("resight", "demo", "--out", str(out), "--init", init, *numbers)


def _claim(out: Path, arguments: dict[str, object]) -> None:
    """Marks `out` as this tour's. Raises DataError when it holds something else."""
    note, text = out / NOTE, json.dumps(arguments) + "\n"
    if note.is_file():
        if note.read_text(encoding="utf-8") != text:
            raise DataError(f"{out}: holds a tour with other arguments. Name another folder with --out, or delete it.")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: is not empty. Name another folder with --out, or delete it.")
    embeddings.prepare_folder(out)
    note.write_text(text, encoding="utf-8")


def _settings(splits: Splits, start: Encoder, epochs: int, seed: int, device: str) -> clip_reid.Config:
    """Settings for a small tower, small pictures and few steps; the published ones are for CLIP itself.

    Chosen by `resight train clip-reid` and `finetune` on drawn people of another seed.
    """
    is_resnet = isinstance(start.clip.config.image, ResNetConfig)
    return clip_reid.Config(
        n_identities=min(16, len({record.identity for record in splits.train})),
        identity_weight=1.0 if is_resnet else 0.25,
        triplet_weight=0.2,
        prompt_epochs=12 * epochs,
        prompt_rate=3.5e-3,
        descent=Descent(
            epochs=epochs,
            rate=3e-4 if is_resnet else 1e-4,
            classifier_rate_factor=10 if is_resnet else 30,
            warmup_epochs=2,
            milestones=(max(1, epochs * 2 // 3), max(2, epochs - 1)),
        ),
        start=Start(size=SIZE, normalisation="init"),
        augment=Augment(pad=4, colour=0.2),
        engine=Engine(seed=seed, device=device),
    )


def _fill_gallery(out: Path, encoder: Encoder, splits: Splits, records: Sequence[Record]) -> str:
    """Leaves the records in the gallery in `out`, with thresholds from query and gallery; what was made, in words."""
    place, folder = str(out / "gallery"), out / "run" / "encoder"
    made: Gallery = (
        open_gallery(place) if (out / "gallery").exists() else create(place, describe_encoder(encoder, folder, {}))
    )
    try:
        add(made, encoder, records)
        what = f"a gallery of {made.count():,} pictures: {place}"
        if made.about.calibration is None:
            made.keep_calibration(calibrate(encoder, splits, subset="test").as_dict())
    except DataError as error:  # a tour of few people
        return f"{what}; without thresholds: {error}"
    finally:
        made.close()
    return what


def _program() -> list[str]:
    """What to type for `resight` here: its place where it is not on the PATH."""
    if shutil.which("resight"):
        return ["resight"]
    beside = Path(sys.executable).with_name("resight")
    return [os.path.relpath(beside)] if beside.exists() else [sys.executable, "-m", "resight"]
