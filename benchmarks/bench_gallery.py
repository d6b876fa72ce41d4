"""A gallery of made-up vectors: how fast it fills, builds its index, opens, answers and forgets, how right, how large.

    python benchmarks/bench_gallery.py [--quick | --large] [--isotropic] [--one] [--place PLACE] [--out FILE]

10,000 and 100,000 rows; --large: 1,000,000 too, an hour and 20 GB of disk. A row has an embedding and an aligned
vector of 512 numbers (--one: no aligned vector), and a thumbnail of 4,000 bytes. Eight rows are of one identity: its
centre, and noise 0.6 times as strong. The variances of the 512 directions fall as 1/k, so that the vectors lie near few
dimensions as real ones do; --isotropic: all are equal, which is the hardest case for an index and like no encoder. A
query is a row's vector with noise, of length 0.45. The condition names one of twelve cameras.

Each step is a process of its own: adding 1,000 rows a call; `compact`, which builds the index; opening and asking one
question after the other; adding 200 rows, each alone; forgetting one identity. Files may be in the memory of the
operating system when it opens. recall: share of the ten most similar rows, by numpy, among the ten found. A process
that has only imported the store holds the memory that the table calls `at rest`.

--place: another store, with {n} for the number of rows, as "milvus:/tmp/bench.db/g{n}" or
"milvus://127.0.0.1:19530/g{n}"; a server's memory is not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from bench_evaluate import alone
from numpy.typing import NDArray

from resight.environment import describe
from resight.gallery import store
from resight.gallery.rows import EVERYWHERE, About, Entry, Row, Where

DIMENSION = 512
PER_IDENTITY = 8
NOISE = 0.6
CAMERAS = 12
CHUNK = 8_000  # rows that are drawn at once
CALL = 1_000  # rows of one call of `add`
N_QUERIES = 200
TOP = 10
THUMBNAIL = 4_000  # bytes
WHERE = Where(cameras=("camera 3",))
SIZES = (10_000, 100_000)


@dataclass(frozen=True)
class Case:
    """spaces: "embedding" and "aligned", or the first alone."""

    place: str
    n_rows: int
    spaces: tuple[str, ...]
    isotropic: bool


@dataclass(frozen=True)
class Answers:
    """Milliseconds of one question, and the share of the ten most similar rows that were found.

    processor: median of all cores together, which other programs hardly change; of this process, not of a server.
    """

    p50: float
    p99: float
    processor: float
    recall: float


@dataclass(frozen=True)
class Measurement:
    """Seconds, and megabytes of the peak of a process. single: median milliseconds of adding one row.

    beside: answers when 200 rows were added since the index was built.
    """

    case: Case
    rows_per_second: float
    index_seconds: float
    index_megabytes: float
    n_indexed: int
    open_seconds: float
    ask_megabytes: float
    rest_megabytes: float
    plain: Answers
    filtered: Answers
    beside: Answers
    single: float
    forget_seconds: float
    disk_gigabytes: float | None


def vectors(case: Case, space: str) -> Iterator[NDArray[np.float32]]:
    """The rows' vectors of length 1, [CHUNK, D] at a time, the same whenever they are drawn."""
    variance = np.ones(DIMENSION) if case.isotropic else 1 / np.arange(1, DIMENSION + 1)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((DIMENSION, DIMENSION)))[0]
    directions = (variance[:, None] ** 0.5 * turn).astype(np.float32)
    for start in range(0, case.n_rows, CHUNK):
        generator = np.random.default_rng((len(space), start))
        n = min(CHUNK, case.n_rows - start)
        centres = generator.standard_normal((-(-n // PER_IDENTITY), DIMENSION), dtype=np.float32)
        found = np.repeat(centres, PER_IDENTITY, axis=0)[:n]
        found += np.float32(NOISE) * generator.standard_normal((n, DIMENSION), dtype=np.float32)
        found = found @ directions
        yield found / np.linalg.norm(found, axis=1, keepdims=True)


def cameras(n_rows: int) -> NDArray[np.int64]:
    return np.random.default_rng(3).integers(0, CAMERAS, n_rows)


def queries(case: Case) -> NDArray[np.float32]:
    generator = np.random.default_rng(5)
    chosen = np.sort(generator.choice(case.n_rows, N_QUERIES, replace=False))
    chunks = enumerate(vectors(case, "embedding"))
    found = np.concatenate([chunk[chosen[chosen // CHUNK == k] % CHUNK] for k, chunk in chunks])
    found += np.float32(0.02) * generator.standard_normal(found.shape, dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def id_of(k: int) -> str:
    return f"{k:032x}"


def truth(case: Case) -> tuple[list[set[str]], list[set[str]]]:
    """The ids of the most similar rows to each query: of all rows, and of those that the condition allows."""
    asked, allowed = queries(case), cameras(case.n_rows) == 3
    best = [np.full((N_QUERIES, TOP), -2, np.float32) for _ in range(2)]
    where = [np.zeros((N_QUERIES, TOP), np.int64) for _ in range(2)]
    for k, chunk in enumerate(vectors(case, "embedding")):
        rows = np.arange(len(chunk)) + k * CHUNK
        similarity = asked @ chunk.T
        for side, usable in enumerate((np.ones(len(rows), bool), allowed[rows])):
            together = np.concatenate([best[side], similarity[:, usable]], axis=1)
            ids = np.concatenate([where[side], np.broadcast_to(rows[usable], (N_QUERIES, usable.sum()))], axis=1)
            order = np.argpartition(-together, TOP, axis=1)[:, :TOP]
            best[side], where[side] = (np.take_along_axis(values, order, axis=1) for values in (together, ids))
    plain, filtered = ([{id_of(k) for k in row.tolist()} for row in side] for side in where)
    return plain, filtered


def rows_of(case: Case) -> Iterator[list[Row]]:
    generator, seen_by = np.random.default_rng(7), cameras(case.n_rows)
    k = 0
    for chunks in zip(*(vectors(case, space) for space in case.spaces), strict=True):
        for start in range(0, len(chunks[0]), CALL):
            rows = []
            for vector in zip(*(chunk[start : start + CALL] for chunk in chunks), strict=True):
                identity, camera = f"identity {k // PER_IDENTITY}", f"camera {seen_by[k]}"
                entry = Entry(id_of(k), id_of(k), f"pictures/{k}.jpg", identity, camera, 1.7e9 + k)
                rows.append(Row(entry, vector[0], vector[1] if len(vector) > 1 else None, generator.bytes(THUMBNAIL)))
                k += 1
            yield rows


def fill(case: Case) -> float:
    """Rows a second, of the calls of `add` alone."""
    aligned = DIMENSION if "aligned" in case.spaces else None
    gallery = store.create(case.place, About("made up", "none", {}, DIMENSION, aligned, {}))
    seconds = 0.0
    for rows in rows_of(case):
        start = time.perf_counter()
        gallery.add(rows)
        seconds += time.perf_counter() - start
    gallery.close()
    return case.n_rows / seconds


def rest(case: Case) -> float:
    """Megabytes of a process that has opened a gallery of no rows."""
    with tempfile.TemporaryDirectory() as folder:
        store.create(f"{folder}/empty", About("made up", "none", {}, DIMENSION, None, {})).close()
    return megabytes()


def build(case: Case) -> tuple[float, float, int, float | None]:
    """Seconds of `compact`, the megabytes it took, rows in the index, and gigabytes on disk."""
    gallery = store.open_gallery(case.place)
    start = time.perf_counter()
    gallery.compact()
    seconds = time.perf_counter() - start
    info = gallery.info()
    gallery.close()
    return seconds, megabytes(), info.n_indexed, None if info.n_bytes is None else info.n_bytes / 1e9


def ask(
    case: Case, asked: NDArray[np.float32], true: tuple[list[set[str]], list[set[str]]]
) -> tuple[float, float, Answers, Answers]:
    """Seconds until the first answer of a new process, its peak of megabytes, and what it answered."""
    start = time.perf_counter()
    gallery = store.open_gallery(case.place)
    gallery.search(asked[0], top=TOP)
    opened = time.perf_counter() - start
    answers = [answer(gallery.search, asked, ids, where) for ids, where in zip(true, (EVERYWHERE, WHERE), strict=True)]
    gallery.close()
    return opened, megabytes(), answers[0], answers[1]


def answer(search: Callable[..., list], asked: NDArray[np.float32], true: list[set[str]], where: Where) -> Answers:
    for query in asked[:20]:  # until what is read often is in memory
        search(query, top=TOP, where=where)
    seconds, processor, shares = [], [], []
    for query, ids in zip(asked, true, strict=True):
        start, before = time.perf_counter(), time.process_time()
        found = search(query, top=TOP, where=where)
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - before)
        shares.append(len({match.entry.id for match in found} & ids) / len(ids))
    p50, p99 = (1e3 * np.quantile(seconds, (0.5, 0.99))).tolist()
    return Answers(p50, p99, 1e3 * float(np.median(processor)), float(np.mean(shares)))


def change(case: Case, asked: NDArray[np.float32], true: list[set[str]]) -> tuple[float, Answers]:
    """Median milliseconds of adding one row, and answers when 200 rows lie beside the index."""
    gallery = store.open_gallery(case.place)
    generator = np.random.default_rng(9)
    seconds = []
    for k in range(200):
        # opposite to what is asked, so that the right answers stay the same
        noise = generator.standard_normal(DIMENSION, dtype=np.float32) / DIMENSION**0.5
        vector = -asked.mean(axis=0) / np.linalg.norm(asked.mean(axis=0)) + np.float32(0.1) * noise
        vector /= np.linalg.norm(vector)
        aligned = vector if "aligned" in case.spaces else None
        row = Row(Entry(f"new {k}", "new", identity="new"), vector, aligned, generator.bytes(THUMBNAIL))
        start = time.perf_counter()
        gallery.add([row])
        seconds.append(time.perf_counter() - start)
    beside = answer(gallery.search, asked, true, EVERYWHERE)
    gallery.close()
    return 1e3 * float(np.median(seconds)), beside


def forget(case: Case) -> float:
    gallery = store.open_gallery(case.place)
    start = time.perf_counter()
    assert gallery.forget("identity 7") == PER_IDENTITY
    seconds = time.perf_counter() - start
    gallery.close()
    return seconds


def megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def measure(case: Case) -> Measurement:
    rows_per_second = alone(fill, case)
    index_seconds, index_megabytes, n_indexed, disk = alone(build, case)
    asked, true = alone(queries, case), alone(truth, case)
    opened, ask_megabytes, plain, filtered = alone(ask, case, asked, true)
    single, beside = alone(change, case, asked, true[0])
    memory = (opened, ask_megabytes, alone(rest, case))
    building = (rows_per_second, index_seconds, index_megabytes, n_indexed)
    return Measurement(case, *building, *memory, plain, filtered, beside, single, alone(forget, case), disk)


def table(measurements: list[Measurement]) -> str:
    """In Markdown."""
    head = (
        "rows", "vectors", "added, rows/s", "one row, ms", "index, s", "index, GB", "p50 / p99 / processor, ms",
        "recall", "with a condition, ms", "recall", "200 rows later, ms", "recall", "open and first answer, s",
        "memory, GB (at rest)", "disk, GB", "forget, s",
    )  # fmt: skip
    lines = [" | ".join(head), " | ".join("---:" for _ in head)]
    for m in measurements:
        answers = [
            text
            for a in (m.plain, m.filtered, m.beside)
            for text in (f"{a.p50:.1f} / {a.p99:.1f} / {a.processor:.1f}", f"{a.recall:.3f}")
        ]
        cells = (
            f"{m.case.n_rows:,}", " and ".join(m.case.spaces), f"{m.rows_per_second:,.0f}", f"{m.single:.1f}",
            f"{m.index_seconds:.1f}", f"{m.index_megabytes / 1e3:.2f}", *answers, f"{m.open_seconds:.2f}",
            f"{m.ask_megabytes / 1e3:.2f} ({m.rest_megabytes / 1e3:.2f})",
            "" if m.disk_gigabytes is None else f"{m.disk_gigabytes:.2f}", f"{m.forget_seconds:.1f}",
        )  # fmt: skip
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def commit() -> str:
    """Of the code that was measured, with a + where it differs from that commit."""
    here = Path(__file__).parent.parent
    told = ["git", "describe", "--always", "--dirty=+", "--abbrev=7", "--exclude=*"]
    return subprocess.run(told, cwd=here, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10,000 rows alone")
    parser.add_argument("--large", action="store_true", help="1,000,000 rows too")
    parser.add_argument("--isotropic", action="store_true", help="vectors that lie near no few dimensions")
    parser.add_argument("--one", action="store_true", help="rows without an aligned vector")
    parser.add_argument(
        "--place", default="", help="where, with {n} for the number of rows; a temporary folder if not given"
    )
    parser.add_argument("--out", type=Path, help="write JSON there too")
    options = parser.parse_args()
    load, date, code = os.getloadavg(), time.strftime("%Y-%m-%d"), commit()
    spaces = ("embedding",) if options.one else ("embedding", "aligned")
    sizes = SIZES[:1] if options.quick else (*SIZES, 1_000_000) if options.large else SIZES
    measurements = []
    for n_rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            place = options.place or f"{folder}/gallery{{n}}"
            measurements.append(measure(Case(place.replace("{n}", str(n_rows)), n_rows, spaces, options.isotropic)))
    print(table(measurements))
    if options.out:
        about = {"date": date, "commit": code, "command": shlex.join(sys.argv), "machine": describe()}
        results = [asdict(m) for m in measurements]
        for result in results:
            result["case"]["place"] = options.place or "a folder"
        told = {**about, "load of the machine before": load, "results": results}
        options.out.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
