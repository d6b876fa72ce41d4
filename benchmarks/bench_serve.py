"""The service under load: requests a second, seconds to an answer, refusals, memory; joined against one at a time.

    python benchmarks/bench_serve.py --data PATH [--encoder resight-mini] [--seconds 60] [--clients 32] [--json]

Makes a gallery of the data's gallery pictures in a temporary folder and serves it on this machine, in a process of its
own, twice: as `resight serve` does unless told otherwise, and with --batch-size 1. Clients, which share the machine,
ask again as soon as they are answered: three times by a query picture, twice by a caption, once by both, and so on.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from resight.adding import add
from resight.data.index import read
from resight.encoder import Encoder
from resight.environment import describe
from resight.gallery import store
from resight.gallery_encoder import describe as describe_gallery
from resight.types import Splits

WAYS = {"joined": (), "one at a time": ("--batch-size", "1", "--batch-wait", "0")}
WARM_SECONDS = 5.0  # before anything is counted
MIX = ("picture", "text", "picture", "text", "picture", "both")


@dataclass(frozen=True)
class Load:
    """p50, p99: milliseconds to an answer with status 200. busy: answers with 503. errors: any other status, and broken
    connections. processor_ms: of the service for one answer, of all cores together; other programs hardly change it.
    megabytes: resident memory of the service when counting began, and at its end. mean_batch: pictures or texts that
    were embedded at once. ratio: of answers a second to those of the first way."""

    way: str
    seconds: float
    answers: int
    per_second: float
    p50: float
    p99: float
    busy: int
    errors: int
    processor_ms: float
    megabytes_before: float
    megabytes_after: float
    mean_batch: float
    ratio: float


@dataclass(frozen=True)
class Question:
    """A request, ready to be sent."""

    headers: dict[str, str]
    body: bytes


def questions(splits: Splits, n: int = 60) -> list[Question]:
    made = []
    captioned = [record for record in (*splits.query, *splits.gallery) if record.captions]
    for number, kind in zip(range(n), itertools.cycle(MIX), strict=False):
        record = splits.query[number % len(splits.query)]
        files = {"picture": ("query.jpg", record.path.read_bytes())} if kind != "text" else None
        texts = [captioned[number % len(captioned)].captions[0]] if captioned else ["a person in a red coat"]
        data = {"top": "24"} | ({"text": texts[0]} if kind != "picture" else {})
        request = httpx.Request("POST", "http://localhost/search", files=files, data=data)
        made.append(Question({"Content-Type": request.headers["content-type"]}, request.read()))
    return made


@contextmanager
def service(gallery: Path, flags: Sequence[str]) -> Iterator[str]:
    """Its address. Raises CalledProcessError when it does not stop in order."""
    command = [sys.executable, "-m", "resight", "serve", str(gallery), "--port", "0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGTERM)
        if process.wait(60):
            raise subprocess.CalledProcessError(process.returncode, command)
    finally:
        process.kill()
        process.wait()


class Clients:
    """Threads that ask until they are told to stop; what they got is counted from `count` on."""

    def __init__(self, address: str, asked: Sequence[Question], n: int) -> None:
        self._place = urlsplit(address)
        self._asked = asked
        self._counting = self._ended = False
        self.seconds: list[float] = []
        self.statuses: Counter[int | str] = Counter()
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(n)]
        for thread in self._threads:
            thread.start()

    def count(self) -> None:
        self._counting = True

    def stop(self) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join(60)

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection(self._place.hostname or "", self._place.port, timeout=60)
        for question in itertools.islice(itertools.cycle(self._asked), number, None):
            if self._ended:
                return
            began, counting = time.perf_counter(), self._counting
            status: int | str
            try:
                connection.request("POST", "/search", question.body, question.headers)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
                connection.close()
            if counting:
                self.statuses[status] += 1
                if status == 200:
                    self.seconds.append(time.perf_counter() - began)
            if status == 503:
                time.sleep(0.1)


def metric(address: str, name: str) -> float:
    """The sum of a metric's values."""
    text = httpx.get(f"{address}/metrics", timeout=60).text
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def measure(way: str, gallery: Path, asked: Sequence[Question], *, clients: int, seconds: float, first: float) -> Load:
    with service(gallery, WAYS[way]) as address:
        crowd = Clients(address, asked, clients)
        time.sleep(WARM_SECONDS)
        before, processor = (
            metric(address, "process_resident_memory_bytes"),
            metric(address, "process_cpu_seconds_total"),
        )
        crowd.count()
        began = time.perf_counter()
        time.sleep(seconds)
        n, took = len(crowd.seconds), time.perf_counter() - began
        processor = (metric(address, "process_cpu_seconds_total") - processor) / n * 1000
        crowd.stop()
        after = metric(address, "process_resident_memory_bytes")
        batch = metric(address, "resight_batch_size_sum") / metric(address, "resight_batch_size_count")
    p50, p99 = np.percentile(crowd.seconds, (50, 99)) * 1000
    busy = crowd.statuses[503]
    errors = crowd.statuses.total() - crowd.statuses[200] - busy
    rate = n / took
    return Load(
        way=way,
        seconds=took,
        answers=n,
        per_second=rate,
        p50=p50,
        p99=p99,
        busy=busy,
        errors=errors,
        processor_ms=processor,
        megabytes_before=before / 1e6,
        megabytes_after=after / 1e6,
        mean_batch=batch,
        ratio=rate / (first or rate),
    )


def show(loads: Sequence[Load]) -> None:
    table = Table(
        "way", "answers", "a second", "p50 ms", "p99 ms", "503", "errors", "CPU ms", "MB", "after", "batch", "times"
    )
    for load in loads:
        table.add_row(
            load.way,
            f"{load.answers:,}",
            f"{load.per_second:.1f}",
            f"{load.p50:.0f}",
            f"{load.p99:.0f}",
            str(load.busy),
            str(load.errors),
            f"{load.processor_ms:.0f}",
            f"{load.megabytes_before:,.0f}",
            f"{load.megabytes_after:,.0f}",
            f"{load.mean_batch:.1f}",
            f"{load.ratio:.2f}",
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="pictures with a query and a gallery")
    parser.add_argument("--encoder", default="resight-mini")
    parser.add_argument("--seconds", type=float, default=60, help="of each way, after five to warm up")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    load = os.getloadavg()
    splits = read(options.data)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "gallery"
        encoder = Encoder.load(options.encoder)
        n_rows = add(
            store.create(str(place), describe_gallery(encoder, options.encoder, {})), encoder, splits.gallery
        ).n_stored
        asked = questions(splits)
        loads: list[Load] = []
        for way in WAYS:
            first = loads[0].per_second if loads else 0.0
            loads.append(measure(way, place, asked, clients=options.clients, seconds=options.seconds, first=first))
    if options.json:
        about = {"date": time.strftime("%Y-%m-%d"), "machine": describe(), "load of the machine before": load}
        asked_of = {"encoder": options.encoder, "clients": options.clients, "rows": n_rows}
        print(json.dumps({**about, **asked_of, "results": [asdict(one) for one in loads]}, indent=2))
    else:
        show(loads)


if __name__ == "__main__":
    main()
