"""How right the clusters of an unsupervised training are, epoch by epoch, against identities that it never sees.

    python benchmarks/pseudo_labels.py --data PATH --init WEIGHTS --out RUN [any flag of resight train pcl-unsupervised]

Runs the training as `resight train pcl-unsupervised` does, and looks over its shoulder: every time it has clustered,
the clusters are compared with the identities that the data names. Prints a table, and writes RUN.pseudo-labels.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from resight import cli, read_data
from resight.cluster import Clusters, compare, summary
from resight.recipes import pcl_unsupervised


def main() -> None:
    if "--help" in sys.argv[1:] or len(sys.argv) == 1:
        sys.exit(__doc__)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    known, _ = parser.parse_known_args()
    splits = read_data(known.data)
    identities = [record.identity for record in splits.train or splits.unassigned]
    found: list[dict[str, Any]] = []
    quietly = pcl_unsupervised.cluster

    def watched(*arguments: Any, **more: Any) -> Clusters:
        clusters = quietly(*arguments, **more)
        told, truth = summary(clusters.labels), compare(clusters.labels, identities)
        assert truth is not None
        counts = {"clusters": told.n_clusters, "outliers": told.n_outliers, "eps": clusters.eps}
        found.append(counts | {"adjusted Rand index": truth.adjusted_rand, "pairwise F": truth.f_measure})
        return clusters

    pcl_unsupervised.cluster = watched
    status = cli.main(["train", "pcl-unsupervised", *sys.argv[1:]])
    if status:
        sys.exit(status)
    table = Table("clustering", "clusters", "outliers", "eps", "adjusted\nRand index", "pairwise F")
    for number, one in enumerate(found, start=1):
        figures = (one["eps"], one["adjusted Rand index"], one["pairwise F"])
        table.add_row(
            str(number), f"{one['clusters']:,}", f"{one['outliers']:,}", *(f"{value:.3f}" for value in figures)
        )
    Console().print(table)
    known.out.with_name(known.out.name + ".pseudo-labels.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
