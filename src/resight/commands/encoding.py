"""`resight embed` and `resight evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resight.commands.arguments import (
    DataArguments,
    EmbedArguments,
    EncoderArguments,
    print_json,
    progress_bar,
    say,
    say_slow,
)
from resight.errors import ConfigError, DataError
from resight.types import Protocol, Record


@dataclass(frozen=True, slots=True)
class EmbedCommand:
    """Turn every picture of a data set, or its captions, into vectors, and save them as one .npz file.

    Pictures that cannot be read are listed at the end; the exit status is then 1.
    """

    encoder: EncoderArguments
    data: DataArguments
    embed: EmbedArguments
    out: Path
    """File to write: arrays embedding [N, D], aligned [N, A], paths, identities, cameras, captions, encoder."""
    texts: bool = False
    """Embed the captions in place of the pictures: one row a caption."""
    json: bool = False
    """Print the outcome as JSON."""


def embed(arguments: EmbedCommand) -> int:
    import resight.embed as parts
    from resight.data.dataset import all_records

    config = arguments.embed.config()
    parts.prepare(arguments.out)
    splits = arguments.data.read()
    encoder = arguments.encoder.open()
    say_slow(encoder, config.precision)
    records = all_records(splits)
    left_out: list[DataError] = []

    def leave_out(record: Record, error: DataError) -> None:
        left_out.append(error)

    if arguments.texts:
        if not any(record.captions for record in records):
            raise DataError(f"{arguments.data.data}: has no captions to embed. Leave out --texts.")
        made = parts.embed_captions(encoder, records, precision=config.precision)
    else:
        with progress_bar("embed") as progress:
            made = parts.embed(encoder, records, config, on_error=leave_out, progress=progress)
    parts.save(made, arguments.out)
    for error in left_out:
        say(f"left out: {error}")
    if arguments.json:
        shape = list(made.embedding.shape)
        print_json(
            {
                "out": str(arguments.out),
                "embedding": shape,
                "encoder": made.encoder,
                "left_out": [str(e) for e in left_out],
            }
        )
    else:
        rows, width = made.embedding.shape
        print(f"{arguments.out}: {rows} rows of {width} numbers, {len(left_out)} pictures left out")
    return 1 if left_out else 0


@dataclass(frozen=True, slots=True)
class EvaluateCommand:
    """Measure mAP, CMC, mINP and the share of queries that can be answered, with 95 % intervals.

    The query and gallery of the data are compared; data without a split is its own query and gallery. Captions are
    compared with pictures, both ways, where the data has them and the encoder a text tower.
    """

    encoder: EncoderArguments
    data: DataArguments
    embed: EmbedArguments
    protocol: Protocol | None = None
    """cross-camera: matches from the query's own camera do not count (default where cameras are known). any-camera:
    only the query's own picture does not count. vehicleid: one random gallery picture an identity, mean of ten draws.
    text: captions against pictures only. Data whose own protocol is text gets pictures against pictures too."""
    subset: Literal["test", "validation", "train"] = "test"
    """Records to compare; validation is where settings are chosen."""
    rerank: bool = False
    """Also report k-reciprocal re-ranking, in a table of its own."""
    k1: int = 20
    """Neighbours that re-ranking looks at (CLIP-ReID's code: 50)."""
    k2: int = 6
    """Neighbours that re-ranking averages over (CLIP-ReID's code: 15)."""
    rerank_weight: float = 0.3
    """Share of the plain distance in the re-ranked one, 0 to 1."""
    ties: Literal["stable", "optimistic", "pessimistic"] = "stable"
    """Who comes first at equal similarity: the earlier gallery row, the positive, or the negative. Where that
    matters, a line says mAP and R1 by the last two."""
    camera_pairs: bool = False
    """Also report each query camera against each gallery camera."""
    cache: bool = False
    """Keep the decoded pictures (see `resight doctor` for the folder), so that the next run reads them at once."""
    out: Path | None = None
    """Folder to write report.json to, and answers.jpg, what some captions find, where captions are compared."""
    json: bool = False
    """Print the report as JSON."""


def evaluate(arguments: EvaluateCommand) -> int:
    from rich.console import Console

    import resight.report as reports
    from resight.answers import write_answers
    from resight.embed import prepare_folder
    from resight.evaluate import Rerank, Rules
    from resight.evaluate import evaluate as measure

    config = arguments.embed.config(cache=arguments.cache)
    rerank = Rerank(arguments.k1, arguments.k2, arguments.rerank_weight)
    if rerank != Rerank() and not arguments.rerank:
        raise ConfigError("--k1, --k2 and --rerank-weight belong to re-ranking. Add --rerank.")
    if arguments.out is not None:
        prepare_folder(arguments.out)
    splits = arguments.data.read()
    encoder = arguments.encoder.open()
    rules = Rules(
        protocol=arguments.protocol,
        rerank=rerank if arguments.rerank else None,
        ties=arguments.ties,
        camera_pairs=arguments.camera_pairs,
        seed=arguments.encoder.seed,
        device=str(encoder.device),
    )
    say_slow(encoder, config.precision)
    with progress_bar("embed") as progress:
        report = measure(
            encoder,
            splits,
            rules=rules,
            subset=arguments.subset,
            config=config,
            with_answers=arguments.out is not None,
            progress=progress,
        )
    if arguments.out is not None:
        reports.write_json(reports.as_json(report), arguments.out)
        if report.answers:
            title = f"{report.encoder} on {report.data_name}, {report.subset}"
            write_answers(report.answers, title, arguments.out / "answers.jpg")
    if arguments.json:
        print_json(reports.as_json(report))
    else:
        reports.show(report, Console())
    return 0
