"""What an answer is worth by how one asks: one picture, two, words, or a picture and words with several weights.

    python benchmarks/compare_questions.py ENCODER --data PATH [--size H W] [--limit N] [--json]

Every query picture is asked of a gallery that holds the data's gallery pictures, through the same code as `resight
search`. The second picture is another query picture of the same identity; the words are one of its captions, as a
second witness would give them. Pictures of the identity by either picture's camera do not count, for any way of asking.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from resight import Encoder, Record, read_data
from resight.embed import EmbedConfig, embed
from resight.environment import describe
from resight.evaluate import sides
from resight.gallery.rows import About, Entry, Gallery, Row
from resight.gallery.store import create
from resight.metrics import Labels, rank
from resight.search import Sought, Terms, look, pool

WEIGHTS = (0.1, 0.25, 0.5, 0.75, 0.9)


def questions(queries: Sequence[Record], seed: int) -> list[tuple[int, int, str]]:
    """Rows of a query and of another picture of its identity, and one of that one's captions."""
    generator = np.random.default_rng(seed)
    asked = []
    for row, query in enumerate(queries):
        others = [n for n, one in enumerate(queries) if one.identity == query.identity and n != row and one.captions]
        if others and query.identity is not None:
            other = int(generator.choice(others))
            asked.append((row, other, str(generator.choice(queries[other].captions))))
    return asked


def similarities(gallery: Gallery, sought: Sequence[Sought], n: int, weight: float = 0.5) -> NDArray[np.float64]:
    """[Q, n] of every question with every row; row k has the id k."""
    found = np.empty((len(sought), n))
    for row, one in enumerate(sought):
        for match in look(gallery, one, Terms(top=n, text_weight=weight, exact=True)).found:
            found[row, int(match.entry.id)] = match.similarity
    return found


def measure(encoder: Encoder, data: Path, limit: int | None, seed: int) -> dict[str, dict[str, float]]:
    """Scores by the way of asking, shares from 0 to 1."""
    query, gallery = sides(read_data(data))
    pictures = embed(encoder, query, EmbedConfig()), embed(encoder, gallery, EmbedConfig())
    asked = questions(query, seed)
    if limit is not None:
        asked = [asked[k] for k in np.random.default_rng(seed).permutation(len(asked))[:limit]]
    vectors = pictures[0].embedding
    texts = encoder.embed_texts([text for _, _, text in asked]).embedding
    ways = {
        "one picture": ([Sought(vectors[row]) for row, _, _ in asked], 0.5),
        "two pictures": ([Sought(pool(vectors[[row, other]])) for row, other, _ in asked], 0.5),
        "words": ([Sought(words=text) for text in texts], 0.5),
    }
    both = [Sought(vectors[row], text) for (row, _, _), text in zip(asked, texts, strict=True)]
    ways |= {f"picture and words, weight {weight}": (both, weight) for weight in WEIGHTS}
    counted = [allowed(query[row], query[other], gallery) for row, other, _ in asked]
    with tempfile.TemporaryDirectory() as folder:
        store = create(f"{folder}/gallery", about(encoder))
        store.add(
            [
                Row(Entry(str(k), str(k)), vector, aligned)
                for k, (vector, aligned) in enumerate(
                    zip(pictures[1].embedding, pictures[1].aligned, strict=True)  # type: ignore[arg-type]
                )
            ]
        )
        return {
            way: score(similarities(store, sought, len(gallery), weight), counted)
            for way, (sought, weight) in ways.items()
        }


def allowed(query: Record, other: Record, gallery: Sequence[Record]) -> NDArray[np.int64]:
    """Of each gallery row 1 where it is to be found, 0 where it is not, -1 where it does not count."""
    cameras = {query.camera, other.camera} - {None}
    return np.array(
        [0 if record.identity != query.identity else -1 if record.camera in cameras else 1 for record in gallery]
    )


def score(found: NDArray[np.float64], counted: Sequence[NDArray[np.int64]]) -> dict[str, float]:
    """R1 and mAP of the questions that have an answer."""
    first, precisions = [], []
    for similarity, roles in zip(found, counted, strict=True):
        kept = roles >= 0
        if not (roles > 0).any():
            continue
        query, gallery = Labels(np.array([1])), Labels(np.where(roles[kept] > 0, 1, -1))
        ranking = rank([similarity[None, kept]], query, gallery, cross_camera=False)
        first.append(float(ranking.first_rank[0] == 1))
        precisions.append(float(ranking.average_precision[0]))
    return {"R1": float(np.mean(first)), "mAP": float(np.mean(precisions)), "answerable": float(len(first))}


def about(encoder: Encoder) -> About:
    return About(encoder.fingerprint(), "", {}, encoder.dimension, encoder.clip.config.image.output, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2)
    parser.add_argument("--limit", type=int, help="ask so many questions only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    encoder = Encoder.load(options.encoder, size=options.size and tuple(options.size))
    found = measure(encoder, options.data, options.limit, options.seed)
    if options.json:
        machine = {"date": time.strftime("%Y-%m-%d"), "machine": describe(), "encoder": options.encoder}
        print(json.dumps({**machine, "seed": options.seed, "results": found}, indent=2))
        return
    table = Table("asked by", "questions", "R1", "mAP")
    for way, scores in found.items():
        table.add_row(way, f"{scores['answerable']:.0f}", f"{100 * scores['R1']:.1f}", f"{100 * scores['mAP']:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
