"""What the service counts and measures of itself, in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """A registry of its own, so that several services in one process do not meet."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter("resight_requests", "Answered requests", ("route", "status"), registry=self._registry)
        self.seconds = Histogram(
            "resight_request_seconds", "From request to answer", ("route",), buckets=SECONDS, registry=self._registry
        )
        self.batches = Histogram(
            "resight_batch_size",
            "Pictures, and texts, that were embedded at once",
            ("kind",),
            buckets=SIZES,
            registry=self._registry,
        )
        self._waiting = Gauge("resight_queue_length", "Requests that wait to be embedded", registry=self._registry)
        self._rows = Gauge("resight_rows", "Rows of the gallery", registry=self._registry)

    def watch(self, *, n_waiting: Callable[[], int], n_rows: Callable[[], float]) -> None:
        """Has both asked whenever somebody reads the metrics."""
        self._waiting.set_function(n_waiting)
        self._rows.set_function(n_rows)

    def batch(self, n_pictures: int, n_texts: int) -> None:
        for kind, n in (("pictures", n_pictures), ("texts", n_texts)):
            if n:
                self.batches.labels(kind).observe(n)

    def answered(self, route: str, status: int, seconds: float) -> None:
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)
