"""Every metric there is: its name, kind, labels, what it means, and how several processes' values become one.

Counters and histograms of processes add up. A gauge says itself which of sum, largest and smallest is meant.
Labels are bounded: `model` and `version` only take names that a route knows (`known_or_other`), never what a
client wrote; `gateway` is the index of a process. Workers expose their own metrics on their own ports,
without this package; their names stand here so that there is one list. Of the control process' metrics each
scrape reads Redis, so several control processes say the same.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.contract.latency import BOUNDS_US, BUCKETS

OTHER = "other"  # the label value of every name that no route knows
_EVERY = 4  # latency buckets that become one here: bounds double, and a scrape stays small


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(StrEnum):
    """How the values that several processes give for one gauge become one."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


@dataclass(frozen=True, slots=True)
class Metric:
    """`bounds` are the upper bounds of a histogram's buckets; one more bucket has none."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merge: Merge = Merge.SUM
    bounds: tuple[float, ...] = ()


# 50 µs, doubled 21 times: about 105 s.
LATENCY_BOUNDS_S = tuple(bound / 1e6 for bound in BOUNDS_US[::_EVERY])
ROWS_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

_VERSION = ("model", "version")
_ROLE = ("model", "version", "role")


def _counter(name: str, about: str, *labels: str) -> Metric:
    return Metric(name, Kind.COUNTER, about, labels)


def _gauge(name: str, about: str, *labels: str, merge: Merge = Merge.SUM) -> Metric:
    return Metric(name, Kind.GAUGE, about, labels, merge)


_GATEWAY = (
    _counter(
        "turnout_requests_total",
        "Predictions by role (primary, shadow) and outcome: ok, or the error's code.",
        *_ROLE,
        "outcome",
    ),
    Metric(
        "turnout_request_duration_seconds",
        Kind.HISTOGRAM,
        "Time from the whole request to its reply, of answered predictions.",
        _ROLE,
        bounds=LATENCY_BOUNDS_S,
    ),
    _counter("turnout_rejected_total", "Requests refused before a version was chosen, by code.", "code"),
    _counter("turnout_client_gone_total", "Requests whose client went away before the reply."),
    _gauge("turnout_in_flight", "Predictions on their way to a worker and back.", *_VERSION),
    _gauge("turnout_workers", "Workers that may be chosen.", *_VERSION, merge=Merge.MIN),
    _counter("turnout_retries_total", "Attempts sent again to another worker of the version.", *_VERSION),
    _counter("turnout_hedges_total", "Second attempts while the first was still awaited.", *_VERSION),
    _gauge("turnout_queue", "Predictions waiting for a place at their version.", *_VERSION),
    _gauge("turnout_concurrency_limit", "Predictions that may be at a version's workers at once.", *_VERSION),
    _gauge(
        "turnout_panic",
        "1 while fewer than half of a version's workers are trusted, and all are used.",
        *_VERSION,
        merge=Merge.MAX,
    ),
    _counter(
        "turnout_unsolicited_total", "Connections closed since a worker sent what nobody asked for.",
        *_VERSION
    ),
    _counter("turnout_ejections_total", "Workers set aside after failures in a row.", *_VERSION),
    _counter("turnout_fallbacks_total", "Predictions that the route's fallback version answered.", "model"),
    _counter("turnout_deprecated_pins_total", "Predictions that pinned a deprecated version.", *_VERSION),
    _counter("turnout_shadow_dropped_total", "Copies for shadows not sent, or cut off.", *_VERSION, "reason"),
    _gauge("turnout_shadow_queue", "Copies waiting for their shadow."),
    _counter("turnout_feedback_total", "Labels and rewards by what became of them.", "model", "result"),
    _gauge("turnout_recorder_buffered", "Predictions not yet written to Redis."),
    _counter("turnout_recorder_dropped_total", "Predictions not recorded because the buffer was full."),
    _counter("turnout_records_written_total", "Predictions and shadow answers written to Redis."),
    _gauge("turnout_route_revision", "The revision that a process serves.", "gateway", merge=Merge.MAX),
    _gauge(
        "turnout_snapshot_age_seconds",
        "Time since Redis last confirmed the routes, of the process where it is longest.",
        merge=Merge.MAX,
    ),
    _gauge("turnout_route_problems", "Documents that do not build.", merge=Merge.MAX),
    _gauge("turnout_body_bytes", "Memory that large bodies of requests and replies take."),
    _counter("turnout_body_waits_total", "Large bodies that had to wait for memory."),
    _counter("turnout_body_refused_total", "Large bodies refused because there was no memory in time."),
    _gauge("turnout_connections", "Open connections of clients."),
    _counter("turnout_connections_refused_total", "Connections of clients beyond `limits.connections`."),
    _counter("turnout_process_cpu_seconds_total", "CPU time, user and system, of the gateway processes."),
    _gauge("turnout_loop_lag_seconds", "Longest wait of an event loop in a second.", merge=Merge.MAX),
    _gauge("turnout_gateway_processes", "Gateway processes that answered this scrape."),
    _gauge(
        "turnout_recorder_lag_seconds",
        "Time since all predictions and counts were last written to Redis, where it is longest.",
        merge=Merge.MAX,
    ),
    _gauge("turnout_recorder_fill_ratio", "Of one model's bound of unwritten predictions, the fullest.",
           merge=Merge.MAX),
    _gauge("turnout_shadow_fill_ratio", "Of one shadow's bound of waiting copies, the fullest.",
           merge=Merge.MAX),
    _gauge("turnout_body_fill_ratio", "Of the memory for large bodies, the fullest half.", merge=Merge.MAX),
    _gauge("turnout_open_files_ratio", "Of a process' limit of open files, the fullest.", merge=Merge.MAX),
    _counter("turnout_spans_exported_total", "Spans of traces that the receiver took."),
    _counter("turnout_spans_dropped_total", "Spans of traces that were not sent: buffer full, or refused."),
    _gauge("turnout_accuracy", "Share of right answers among labelled rows of the last hour.", *_VERSION,
           merge=Merge.MAX),
    _gauge("turnout_absolute_error", "Mean absolute error over labelled rows of the last hour.", *_VERSION,
           merge=Merge.MAX),
)  # fmt: skip

_WORKER = (
    _counter("turnout_worker_requests_total", "Requests by outcome: ok, or the error's code.", "outcome"),
    _counter("turnout_worker_predictions_total", "Rows predicted."),
    Metric("turnout_worker_batch_rows", Kind.HISTOGRAM, "Rows in one run of the model.", bounds=ROWS_BOUNDS),
    Metric(
        "turnout_worker_queue_seconds",
        Kind.HISTOGRAM,
        "Time from the whole request to the start of its batch.",
        bounds=LATENCY_BOUNDS_S,
    ),
    Metric(
        "turnout_worker_run_seconds",
        Kind.HISTOGRAM,
        "Time of one run of the model.",
        bounds=LATENCY_BOUNDS_S,
    ),
    _gauge("turnout_worker_queue_depth", "Requests waiting for a batch."),
    _counter("turnout_worker_process_cpu_seconds_total", "CPU time, user and system."),
    _counter("turnout_worker_spans_exported_total", "Spans of traces that the receiver took."),
    _counter("turnout_worker_spans_dropped_total", "Spans of traces that were not sent."),
)

_CONTROL = (
    _gauge("turnout_committed_revision", "The newest revision of the installation."),
    _gauge("turnout_gateways_live", "Gateway processes that have announced themselves."),
    _gauge(
        "turnout_workers_wanted",
        "Workers that a version needs; left out where it needs and has none.",
        *_VERSION,
    ),
    _gauge("turnout_workers_ready", "Workers that say that they are ready.", *_VERSION),
    _gauge("turnout_leader_present", "1 while some control process leads the rollouts."),
    _gauge("turnout_rollout_phase", "1 for the phase of each model's newest rollout.", "model", "phase"),
    _gauge("turnout_rollout_step_seconds", "Time since a live rollout entered its step.", "model"),
    _gauge("turnout_audit_unsigned", "1 while no head of the audit can be signed."),
    _gauge("turnout_store_memory_bytes", "Memory that Redis uses."),
    _gauge("turnout_store_memory_limit_bytes", "What Redis may use; left out where it has no limit."),
    _counter("turnout_control_unauthenticated_total", "Calls with a wrong key, or without one."),
    _counter("turnout_control_process_cpu_seconds_total", "CPU time, user and system."),
)

GATEWAY_METRICS: dict[str, Metric] = {metric.name: metric for metric in _GATEWAY}
WORKER_METRICS: dict[str, Metric] = {metric.name: metric for metric in _WORKER}
CONTROL_METRICS: dict[str, Metric] = {metric.name: metric for metric in _CONTROL}
CATALOGUE = GATEWAY_METRICS | WORKER_METRICS | CONTROL_METRICS


def known_or_other(name: str, known: Container[str]) -> str:
    """A label value for a name that may come from a client."""
    return name if name in known else OTHER


def coarse(buckets: Sequence[int]) -> list[int]:
    """Counts of all latency buckets (`contract.latency`), added up for `LATENCY_BOUNDS_S`."""
    if len(buckets) != BUCKETS:
        raise ValueError(f"{len(buckets)} latency buckets instead of {BUCKETS}")
    # Bound 4k closes a bucket here, so bucket k holds 4k-3 .. 4k; the last one has no bound.
    return [
        sum(buckets[max(0, end - _EVERY + 1) : end + 1]) for end in range(0, BUCKETS + _EVERY - 1, _EVERY)
    ]
