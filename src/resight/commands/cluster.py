"""`resight cluster`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from resight.cluster import ClusterConfig
from resight.commands.arguments import (
    DataArguments,
    EmbedArguments,
    EncoderArguments,
    print_json,
    progress_bar,
    say,
    say_slow,
)
from resight.errors import DataError
from resight.types import Record


@dataclass(frozen=True, slots=True)
class ClusterCommand:
    """Say who is who among pictures without names: a table of clusters, and a sheet of thumbnails for each.

    Identities that the data has are not used. Pictures that cannot be read are listed at the end; the exit status is
    then 1.
    """

    encoder: EncoderArguments
    data: DataArguments
    embed: EmbedArguments
    out: Path
    """Folder to write, new or empty: clusters.csv, which is an index with the clusters as identities, cluster-0001.jpg
    from the largest cluster on, and outliers.jpg."""
    settings: ClusterConfig = field(default_factory=lambda: ClusterConfig(eps="auto"))
    cache: bool = False
    """Keep the decoded pictures (see `resight doctor` for the folder), so that the next run reads them at once."""
    truth: bool = False
    """Compare the clusters with the identities that the data has, by adjusted Rand index and pairwise F-measure."""
    json: bool = False
    """Print the outcome as JSON."""


def cluster(arguments: ClusterCommand) -> int:
    import resight.cluster as parts
    from resight.contact_sheet import write_clusters
    from resight.data.dataset import all_records
    from resight.embed import embed, prepare_folder

    config = arguments.embed.config(cache=arguments.cache)
    out = arguments.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: is not empty. Name another folder with --out, or delete it.")
    splits = arguments.data.read()
    records = all_records(splits)
    if arguments.truth and all(record.identity is None for record in records):
        raise DataError(f"{arguments.data.data}: names no identity to compare with. Leave out --truth.")
    encoder = arguments.encoder.open()
    prepare_folder(out)
    say_slow(encoder, config.precision)
    left_out: dict[Record, DataError] = {}
    with progress_bar("embed") as progress:
        made = embed(encoder, records, config, on_error=left_out.__setitem__, progress=progress)
    kept = [record for record in records if record not in left_out]
    found = parts.cluster(made.embedding, arguments.settings, device=str(encoder.device))
    names = write_clusters(kept, found.labels, out)
    outcome = parts.summary(found.labels)
    truth = parts.compare(found.labels, made.identities) if arguments.truth else None
    for error in left_out.values():
        say(f"left out: {error}")
    if arguments.json:
        print_json(
            {
                "out": str(out),
                "encoder": made.encoder,
                "eps": found.eps,
                **asdict(outcome),
                "clusters": names,
                "truth": None if truth is None else asdict(truth),
                "left_out": [str(error) for error in left_out.values()],
            }
        )
    else:
        print(f"{out}: {outcome}; eps {found.eps:g}, {len(left_out):,} pictures left out")
        if truth is not None:
            print(f"against the identities: {truth}")
    return 1 if left_out else 0
