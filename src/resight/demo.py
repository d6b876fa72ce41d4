"""The tour: draw people, look for faults, embed, evaluate, report. Made of the same parts as the commands."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

import resight.embed as embeddings
import resight.report as reports
from resight.data.check import check
from resight.data.index import read
from resight.data.sample import make_sample
from resight.encoder import Encoder
from resight.errors import DataError
from resight.evaluate import Rerank, Rules, compare, sides

SIZE = (128, 64)  # of the drawn people; a quarter of the usual 256 × 128, so that a laptop needs seconds


def demo(out: Path, *, n_identities: int, seed: int, encoder: str, device: str, console: Console) -> None:
    """Leaves `sample/`, `embeddings.npz` and `report.json` in `out`, and tells what it does on the console.

    Raises DataError when `out` already holds something.
    """
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: is not empty. Name another folder with --out, or delete it.")
    fixed = (Path(encoder) / "encoder.json").is_file()
    model = Encoder.load(encoder, size=None if fixed else SIZE, device=device, seed=seed)
    start = time.perf_counter()

    def tell(step: str) -> None:
        console.print(f"[dim]{time.perf_counter() - start:5.1f} s[/dim]  {step}", highlight=False)

    tell(f"drawing {n_identities} people into {out / 'sample'}")
    make_sample(out / "sample", n_identities=n_identities, seed=seed)
    splits = read(out / "sample")
    query, gallery = sides(splits)
    tell(f"drawn: {len(splits.train)} pictures to train on, {len(query)} queries, {len(gallery)} in the gallery")
    faults = [finding for finding in check(splits) if finding.severity == "fault"]
    tell(f"checked: {len(faults)} kinds of faults")
    records = list(dict.fromkeys((*query, *gallery)))
    pictures = embeddings.embed(model, records)
    embeddings.save(pictures, out / "embeddings.npz")
    captions = embeddings.embed_captions(model, query) if model.can_read else None
    tell(f"embedded {len(records)} pictures with {encoder}: {pictures.embedding.shape[1]} numbers each")
    rules = Rules(rerank=Rerank(), seed=seed)
    report = compare(splits, pictures, records, captions, rules=rules, source=model.card.source)
    reports.write_json(report, out)
    tell(f"evaluated; {out / 'report.json'} holds every figure")
    console.print()
    reports.show(report, console)
    console.print()
    if encoder.startswith("random:"):
        console.print(
            "These weights are random, so the figures above are the floor that training starts from. "
            "With a network, try a trained CLIP:",
            highlight=False,
        )
        console.print(f"  resight evaluate openai:ViT-B-16 --data {out / 'sample'} --size 256 128", highlight=False)
