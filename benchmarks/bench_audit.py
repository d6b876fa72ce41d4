"""How many planted label faults `resight data audit` finds among as many findings as were planted.

    python benchmarks/bench_audit.py [--data NAME=PATH …] [--encoder ENCODER …] [--seeds N] [--shares S …] [--json]

Without --data the made-up sample set is drawn (`resight data make-sample`, 200 people, seed 0). Each kind of fault is
planted alone, in a share of the pictures (wrong identity, copies), identities (same individual, at random and by
camera; two individuals) or captions (wrong, shared), drawn from a seed. As many findings of that kind are taken as were
planted, the surest first: precision and recall are then the same number, and what the data had wrong before counts
against it.
"reported" are those that the command reports, at its thresholds. Two faults are the same where they name the same
picture, pair of identities, identity or caption; for a wrong identity "told" is the share of the recalled for which the
suggested identity is the right one.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from rich.console import Console
from rich.table import Table

from resight import Encoder, read_data
from resight.audit import audit, captions, copies, identities, sides_of
from resight.audit.faults import Fault
from resight.data.dataset import all_records
from resight.data.images import open_image
from resight.data.sample import make_sample
from resight.embed import embed, embed_captions
from resight.environment import describe
from resight.types import Embeddings, Record


@dataclass(frozen=True)
class Data:
    """A data set as one encoder sees it. captions: None where there are none."""

    name: str
    encoder: str
    records: list[Record]
    sides: list[str]
    pictures: Embeddings
    captions: Embeddings | None


@dataclass(frozen=True)
class Planted:
    """The data with faults, and what a finding of that kind must name to be one of them."""

    kind: str
    data: Data
    keys: dict[str, str]
    key: Callable[[Fault], str]
    told: Callable[[Fault], str] | None = None


@dataclass(frozen=True)
class Measured:
    """Means over seeds. recall: at the number planted. reported: how many, of any, at the command's threshold."""

    data: str
    encoder: str
    fault: str
    share: float
    planted: float
    recall: float
    recall_low: float
    told: float | None
    reported: float
    reported_precision: float
    reported_recall: float
    reported_before: float


def relabelled(data: Data, names: Sequence[str | None]) -> Data:
    records = [replace(record, identity=name) for record, name in zip(data.records, names, strict=True)]
    return replace(data, records=records, pictures=replace(data.pictures, identities=tuple(names)))


def path_of(fault: Fault) -> str:
    return str(fault.pictures[0].path)


def wrong_identity(data: Data, share: float, draw: np.random.Generator) -> Planted:
    names = [record.identity for record in data.records]
    known = [row for row, name in enumerate(names) if name is not None]
    every = sorted({name for name in names if name is not None})
    keys = {}
    for row in draw.choice(known, round(share * len(known)), replace=False).tolist():
        right = data.records[row].identity or ""
        keys[str(data.records[row].path)] = right
        names[row] = str(draw.choice([name for name in every if name != right]))
    return Planted("wrong identity", relabelled(data, names), keys, path_of, lambda fault: fault.identities[1])


def pair_of(fault: Fault) -> str:
    return " = ".join(sorted(fault.identities))


def same_individual(data: Data, share: float, draw: np.random.Generator, *, by_camera: bool) -> Planted:
    names, keys = [record.identity for record in data.records], {}
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name is not None:
            rows.setdefault(name, []).append(row)
    cameras = {name: sorted({data.records[row].camera or "" for row in own}) for name, own in rows.items()}
    able = sorted(name for name, own in rows.items() if len(cameras[name] if by_camera else own) > 1)
    for name in draw.choice(able, max(1, round(share * len(able))), replace=False).tolist():
        if by_camera:
            moved = set(draw.permutation(cameras[name])[: len(cameras[name]) // 2].tolist())
            chosen = [row for row in rows[name] if (data.records[row].camera or "") in moved]
        else:
            chosen = draw.permutation(rows[name])[: len(rows[name]) // 2].tolist()
        for row in chosen:
            names[row] = f"{name} again"
        keys[f"{name} = {name} again"] = ""
    return Planted("same individual", relabelled(data, names), keys, pair_of)


def two_individuals(data: Data, share: float, draw: np.random.Generator) -> Planted:
    sizes: dict[str, int] = {}
    for record in data.records:
        if record.identity is not None:
            sizes[record.identity] = sizes.get(record.identity, 0) + 1
    order = draw.permutation(sorted(name for name, size in sizes.items() if size > 1)).tolist()
    n = max(1, round(share * len(order)))
    becomes = dict(zip(order[n : 2 * n], order[:n], strict=True))
    names = [becomes.get(record.identity or "", record.identity) for record in data.records]
    return Planted(
        "two individuals", relabelled(data, names), dict.fromkeys(becomes.values(), ""), lambda f: f.identities[0]
    )


def wrong_caption(data: Data, share: float, draw: np.random.Generator) -> Planted:
    owners = np.repeat(np.arange(len(data.records)), [len(record.captions) for record in data.records])
    texts = [caption for record in data.records for caption in record.captions]
    moved = draw.permutation(len(texts))[: round(share * len(texts))]
    new = np.arange(len(texts))
    new[moved] = np.roll(moved, 1)
    keys = {}
    for here, there in zip(moved.tolist(), new[moved].tolist(), strict=True):
        differ = data.records[owners[here]].identity != data.records[owners[there]].identity
        if differ and " ".join(texts[here].split()) != " ".join(texts[there].split()):
            keys[f"{data.records[owners[here]].path}: {texts[there]}"] = ""
    return Planted("wrong caption", with_captions(data, new), keys, lambda f: f"{path_of(f)}: {f.caption}")


def shared_caption(data: Data, share: float, draw: np.random.Generator) -> Planted:
    texts = [caption for record in data.records for caption in record.captions]
    copied = draw.permutation(len(texts))[: 2 * round(share * len(texts) / 2)].reshape(2, -1)
    owners = np.repeat(np.arange(len(data.records)), [len(record.captions) for record in data.records])
    new = np.arange(len(texts))
    keys = {}
    for source, target in copied.T.tolist():
        pair = {data.records[owners[one]].identity for one in (source, target)}
        if len(pair) == 2 and None not in pair:
            new[target] = source
            keys[texts[source]] = ""
    return Planted("shared caption", with_captions(data, new), keys, lambda fault: fault.caption)


def with_captions(data: Data, new: np.ndarray) -> Data:
    """The data whose k-th caption is the new[k]-th."""
    assert data.captions is not None
    texts = [caption for record in data.records for caption in record.captions]
    taken = iter(new.tolist())
    records = [replace(record, captions=tuple(texts[next(taken)] for _ in record.captions)) for record in data.records]
    return replace(data, records=records, captions=replace(data.captions, embedding=data.captions.embedding[new]))


def saved_again(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """JPEG at quality 40, half the size, a fifth brighter, or cut by 3 to 5 % of each side."""
    way = draw.integers(4)
    if way == 0:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=40)
        return Image.open(file).convert("RGB")
    if way == 1:
        return image.resize((max(8, image.width // 2), max(8, image.height // 2)))
    if way == 2:
        return ImageEnhance.Brightness(image).enhance(1.2)
    left, right, top, bottom = draw.uniform(0.03, 0.05, 4)
    width, height = image.size
    return image.crop(
        (round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height))
    )


def copied(data: Data, share: float, draw: np.random.Generator, encoder: Encoder, folder: Path) -> Planted | None:
    """Copies of train pictures, saved again, among the test pictures; their names are those of the train pictures."""
    train = [row for row, side in enumerate(data.sides) if side == "train"]
    if not train or "test" not in data.sides:
        return None
    records, keys = [], {}
    for row in draw.choice(train, round(share * len(train)), replace=False).tolist():
        record = data.records[row]
        path = folder / f"{row}.png"
        saved_again(open_image(record.path, box=record.box), draw).save(path)
        records.append(replace(record, path=path, box=None, captions=(), split="gallery"))
        keys[str(record.path)] = ""
    more = embed(encoder, records)
    parts = {
        "embedding": np.concatenate([data.pictures.embedding, more.embedding]),
        "identities": (*data.pictures.identities, *more.identities),
        "cameras": (*data.pictures.cameras, *more.cameras),
        "paths": (*data.pictures.paths, *more.paths),
        "captions": (*data.pictures.captions, *more.captions),
    }
    if data.pictures.aligned is not None and more.aligned is not None:
        parts["aligned"] = np.concatenate([data.pictures.aligned, more.aligned])
    pictures = replace(data.pictures, **parts)
    longer = replace(
        data, records=[*data.records, *records], sides=[*data.sides, *["test"] * len(records)], pictures=pictures
    )
    return Planted("copy across splits", longer, keys, path_of)


def every_finding(data: Data, kind: str) -> tuple[list[Fault], list[Fault]]:
    """Findings of that kind: all that have any score, and those that are reported."""
    data = without_the_rest(data, kind)
    least = {name: getattr(module, name) for module, name in THRESHOLDS.values()}
    try:
        for module, name in THRESHOLDS.values():
            setattr(module, name, 0.0)
        faults = audit(data.pictures, data.records, data.sides, data.captions).faults
    finally:
        for module, name in THRESHOLDS.values():
            setattr(module, name, least[name])
    found = [fault for fault in faults if fault.kind == kind]
    return found, [fault for fault in found if kind not in THRESHOLDS or fault.score >= least[THRESHOLDS[kind][1]]]


def without_the_rest(data: Data, kind: str) -> Data:
    """The data as far as that kind looks at it, so that the other kinds cost no time."""
    if kind != "copy across splits":
        data = replace(data, sides=[""] * len(data.sides))
    return data if "caption" in kind else replace(data, captions=None)


THRESHOLDS = {
    "wrong identity": (identities, "SURE_WRONG"),
    "same individual": (identities, "SURE_SAME"),
    "two individuals": (identities, "SURE_TWO"),
    "wrong caption": (captions, "SURE_CAPTION"),
    "copy across splits": (copies, "MIN_CORRELATION"),
}
"""Of each kind that has a score of its own, where its threshold stands."""


def measure(planted: Planted) -> dict[str, float | None]:
    found, reported = every_finding(planted.data, planted.kind)
    first = list(dict.fromkeys(planted.key(fault) for fault in found))[: len(planted.keys)]
    hit = [key for key in first if key in planted.keys]
    told = None
    if planted.told is not None:
        says = {planted.key(fault): planted.told(fault) for fault in reversed(found)}
        told = sum(says[key] == planted.keys[key] for key in hit) / max(1, len(hit))
    names = {planted.key(fault) for fault in reported}
    right = len(names & planted.keys.keys())
    return {
        "planted": len(planted.keys),
        "recall": len(hit) / max(1, len(planted.keys)),
        "told": told,
        "reported": len(names),
        "reported_precision": right / len(names) if names else None,
        "reported_recall": right / max(1, len(planted.keys)),
    }


def measure_all(data: Data, encoder: Encoder, shares: Sequence[float], n_seeds: int) -> list[Measured]:
    def plants(fault: str, share: float, draw: np.random.Generator, folder: Path) -> Planted | None:
        if fault == "wrong identity":
            return wrong_identity(data, share, draw)
        if fault.startswith("same individual"):
            return same_individual(data, share, draw, by_camera="camera" in fault)
        if fault == "two individuals":
            return two_individuals(data, share, draw)
        if fault == "copy across splits":
            return copied(data, share, draw, encoder, folder)
        if data.captions is None:
            return None
        return (wrong_caption if fault == "wrong caption" else shared_caption)(data, share, draw)

    results = []
    before = audit(data.pictures, data.records, data.sides, data.captions).faults
    for fault in (
        "wrong identity",
        "same individual, halves at random",
        "same individual, halves by camera",
        "two individuals",
        "copy across splits",
        "wrong caption",
        "shared caption",
    ):
        for share in shares:
            runs = []
            for seed in range(n_seeds):
                with tempfile.TemporaryDirectory() as folder:
                    planted = plants(fault, share, np.random.default_rng([seed, round(1000 * share)]), Path(folder))
                    if planted is not None and planted.keys:
                        runs.append(measure(planted))
            if not runs:
                continue

            def mean(name: str, runs: list[dict[str, float | None]] = runs) -> float | None:
                values = [run[name] for run in runs if run[name] is not None]
                return float(np.mean(values)) if values else None

            kind = fault.split(",")[0]
            results.append(
                Measured(
                    data.name,
                    data.encoder,
                    fault,
                    share,
                    mean("planted") or 0.0,
                    mean("recall") or 0.0,
                    min(run["recall"] or 0.0 for run in runs),
                    mean("told"),
                    mean("reported") or 0.0,
                    mean("reported_precision") or 0.0,
                    mean("reported_recall") or 0.0,
                    sum(one.kind == kind for one in before),
                )
            )
    return results


def show(results: list[Measured]) -> None:
    table = Table(
        "data", "encoder", "fault", "share", "planted", "recall", "worst", "told", "reported", "right", "found"
    )
    for one in results:
        told = "" if one.told is None else f"{one.told:.2f}"
        figures = (f"{one.planted:.0f}", f"{one.recall:.2f}", f"{one.recall_low:.2f}", told, f"{one.reported:.0f}")
        more = (f"{one.reported_precision:.2f}", f"{one.reported_recall:.2f}")
        table.add_row(one.data, one.encoder, one.fault, f"{100 * one.share:g} %", *figures, *more)
    Console(width=150).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], help="NAME=PATH; may be repeated")
    parser.add_argument("--encoder", action="append", default=[], help="may be repeated")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.02, 0.05, 0.1])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        if not options.data:
            make_sample(Path(folder) / "sample", n_identities=200, seed=0)
        for pair in options.data or [f"sample={folder}/sample"]:
            name, path = pair.split("=", 1)
            splits = read_data(Path(path))
            records, sides = all_records(splits), sides_of(splits)
            for source in options.encoder or ["resight-mini-rn", "resight-mini"]:
                encoder = Encoder.load(source)
                said = embed_captions(encoder, records) if any(record.captions for record in records) else None
                pictures = embed(encoder, records)
                data = Data(name, source, records, [sides[record] for record in records], pictures, said)
                results += measure_all(data, encoder, options.shares, options.seeds)
    if options.json:
        about = {"date": time.strftime("%Y-%m-%d"), "machine": describe(), "seeds": options.seeds}
        print(json.dumps({**about, "results": [asdict(one) for one in results]}, indent=2))
    else:
        show(results)


if __name__ == "__main__":
    main()
