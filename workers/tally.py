"""What a worker has done so far, as Prometheus text. Names: `gateway.observe.catalogue.WORKER_METRICS`.

Plain counters, touched once a request or once a batch; text is made when somebody asks. Called by
`workers.batcher`, `workers.server` and `workers.pages`.
"""

import time
from bisect import bisect_left
from collections import Counter
from itertools import accumulate

from gateway.contract.latency import BOUNDS_US
from gateway.traces.export import Exporter

SECONDS = tuple(bound / 1e6 for bound in BOUNDS_US[::4])
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str) -> list[str]:
        labels = [*(f"{bound:.9g}" for bound in self.bounds), "+Inf"]
        cumulative = list(accumulate(self.counts))
        buckets = [
            f'{name}_bucket{{le="{le}"}} {count}' for le, count in zip(labels, cumulative, strict=True)
        ]
        return [*buckets, f"{name}_count {cumulative[-1]}", f"{name}_sum {self.total:.9g}"]


class Tally:
    """Counters of one worker."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.rows = 0
        self._batch_rows = Histogram(ROWS)
        self._queue = Histogram(SECONDS)
        self._runs = Histogram(SECONDS)
        self.spans: Exporter | None = None  # where traces are on

    def waited(self, seconds: list[float]) -> None:
        """Requests leave the queue to be run."""
        counts, bounds = self._queue.counts, self._queue.bounds
        for each in seconds:
            counts[bisect_left(bounds, each)] += 1
        self._queue.total += sum(seconds)

    def ran(self, rows: int, seconds: float) -> None:
        """A batch was run."""
        self.rows += rows
        self._batch_rows.add(rows)
        self._runs.add(seconds)

    def text(self, *, queue_depth: int) -> str:
        lines = ["# HELP turnout_worker_requests_total Requests by outcome: ok, or the error's code."]
        lines.append("# TYPE turnout_worker_requests_total counter")
        lines += [
            f'turnout_worker_requests_total{{outcome="{outcome}"}} {count}'
            for outcome, count in sorted(self.outcomes.items())
        ]
        lines += _single("turnout_worker_predictions_total", "counter", "Rows predicted.", self.rows)
        for name, about, histogram in (
            ("turnout_worker_batch_rows", "Rows in one run of the model.", self._batch_rows),
            (
                "turnout_worker_queue_seconds",
                "Time from the whole request to the start of its batch.",
                self._queue,
            ),
            ("turnout_worker_run_seconds", "Time of one run of the model.", self._runs),
        ):
            lines += [f"# HELP {name} {about}", f"# TYPE {name} histogram", *histogram.lines(name)]
        lines += _single("turnout_worker_queue_depth", "gauge", "Requests waiting for a batch.", queue_depth)
        lines += _single(
            "turnout_worker_process_cpu_seconds_total",
            "counter",
            "CPU time, user and system.",
            time.process_time(),
        )
        if self.spans is not None:
            for name, about, value in (
                ("exported", "Spans of traces that the receiver took.", self.spans.exported),
                ("dropped", "Spans of traces that were not sent.", self.spans.dropped),
            ):
                lines += _single(f"turnout_worker_spans_{name}_total", "counter", about, value)
        return "\n".join(lines) + "\n"


def _single(name: str, kind: str, about: str, value: float) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}", f"{name} {value:.9g}"]
