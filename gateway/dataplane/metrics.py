"""One process' counters as metrics, filled in when somebody asks; nothing here runs for a request."""

import os
import resource
import time
from collections.abc import Sequence

from gateway.contract.evidence import PRIMARY
from gateway.core.evidence.scores import has_numbers
from gateway.core.evidence.sums import read
from gateway.dataplane.pins import PinCounts
from gateway.dataplane.recorder import Recorder
from gateway.dataplane.shadower import Shadower
from gateway.dataplane.table import Table
from gateway.dataplane.tally import Tallies
from gateway.observe.catalogue import coarse
from gateway.observe.state import MetricsState
from gateway.store.predictions import Predictions
from gateway.traces.export import Exporter
from gateway.wire.room import Room

ACCURACY_MINUTES = 60
MODELS_AT_ONCE = 100  # reading one costs 2 ms; with more models than this, a value is renewed more seldom
_ROLES = {PRIMARY: "primary"}


def count_predictions(state: MetricsState, tallies: Tallies) -> None:
    """What was asked of versions, and how it went."""
    for (model, version, role), tally in tallies.versions.items():
        if not tally.asked:
            continue
        word = _ROLES.get(role, "shadow")
        state.count("turnout_requests_total", tally.answered, model, version, word, "ok")
        for code, number in tally.errors.items():
            state.count("turnout_requests_total", number, model, version, word, code)
        state.histogram(
            "turnout_request_duration_seconds",
            coarse(tally.latency),
            tally.latency_us / 1e6,
            *(model, version, word),
        )
    for (model, version), number in tallies.retries.items():
        state.count("turnout_retries_total", number, model, version)
    for (model, version), number in tallies.hedges.items():
        state.count("turnout_hedges_total", number, model, version)
    for model, number in tallies.fallbacks.items():
        state.count("turnout_fallbacks_total", number, model)
    for (model, version, why), number in tallies.shadow_dropped.items():
        state.count("turnout_shadow_dropped_total", number, model, version, why)
    for (model, result), number in tallies.feedback.items():
        state.count("turnout_feedback_total", number, model, result)
    for code, number in tallies.rejected.items():
        state.count("turnout_rejected_total", number, code)
    state.count("turnout_client_gone_total", tallies.client_gone)


def count_pins(state: MetricsState, pins: PinCounts) -> None:
    for (model, version), number in pins.totals.items():
        state.count("turnout_deprecated_pins_total", number, model, version)


def measure_table(state: MetricsState, table: Table, *, index: int, age_s: float) -> None:
    """What the process serves, and the pools behind it."""
    state.gauge("turnout_route_revision", table.snapshot.revision, str(index))
    state.gauge("turnout_route_problems", len(table.snapshot.problems))
    state.gauge("turnout_snapshot_age_seconds", age_s)
    for (model, version), pool in table.pools.pools.items():
        state.gauge("turnout_workers", len(pool.ready), model, version)
        state.gauge("turnout_in_flight", pool.in_flight, model, version)
        state.gauge("turnout_queue", len(pool.admission.waiting), model, version)
        state.gauge("turnout_concurrency_limit", pool.admission.limit, model, version)
        state.gauge("turnout_panic", int(pool.is_panic), model, version)
        state.count("turnout_ejections_total", pool.ejections, model, version)
        state.count("turnout_unsolicited_total", pool.unsolicited, model, version)


def measure_process(
    state: MetricsState,
    recorder: Recorder,
    shadower: Shadower,
    *,
    connections: int,
    turned_away: int,
    loop_lag_s: float,
) -> None:
    models = recorder.models.values()
    state.count("turnout_recorder_dropped_total", sum(model.dropped for model in models))
    state.count("turnout_records_written_total", sum(model.written for model in models))
    state.gauge("turnout_recorder_buffered", recorder.buffered)
    state.gauge("turnout_recorder_lag_seconds", recorder.lag_s(time.monotonic()))
    state.gauge("turnout_recorder_fill_ratio", recorder.fill_ratio)
    state.gauge("turnout_shadow_queue", shadower.waiting)
    state.gauge("turnout_shadow_fill_ratio", shadower.fill_ratio)
    state.gauge("turnout_open_files_ratio", _open_files_ratio())
    state.gauge("turnout_connections", connections)
    state.count("turnout_connections_refused_total", turned_away)
    state.gauge("turnout_loop_lag_seconds", loop_lag_s)
    state.count("turnout_process_cpu_seconds_total", time.process_time())


def measure_bodies(state: MetricsState, *rooms: Room) -> None:
    """Large bodies of requests and replies together."""
    state.gauge("turnout_body_bytes", sum(room.used_bytes for room in rooms))
    state.gauge("turnout_body_fill_ratio", max(room.used_bytes / (room.limit_bytes or 1) for room in rooms))
    state.count("turnout_body_waits_total", sum(room.waits for room in rooms))
    state.count("turnout_body_refused_total", sum(room.refused for room in rooms))


def _open_files_ratio() -> float:
    """0 where the system does not tell."""
    try:
        open_files = len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0.0
    return open_files / resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def count_spans(state: MetricsState, exporter: Exporter) -> None:
    state.count("turnout_spans_exported_total", exporter.exported)
    state.count("turnout_spans_dropped_total", exporter.dropped)


class Accuracies:
    """The last hour's accuracy (or error) by version, read from Redis now and then: some models at a time."""

    def __init__(self, predictions: Predictions) -> None:
        self.predictions = predictions
        self.accuracy: dict[tuple[str, str], float] = {}
        self.error: dict[tuple[str, str], float] = {}
        self.read = 0  # how many models were read in this turn

    async def refresh(self, models: Sequence[str]) -> None:
        """Read the next `MODELS_AT_ONCE` of the models. Raises UpstreamError when Redis is away."""
        minute = int(time.time() // 60)
        first = self.read if self.read < len(models) else 0
        self.read = first + MODELS_AT_ONCE
        for model in models[first : self.read]:
            sums = read(await self.predictions.evidence(model, minute - ACCURACY_MINUTES, minute))
            for version in {version for _, version in sums.roles}:
                both = sums.both_roles(version)
                if both["rows"] > 0:
                    measured = self.error if has_numbers(both) else self.accuracy
                    measured[model, version] = both["ae" if has_numbers(both) else "right"] / both["rows"]

    def measure(self, state: MetricsState) -> None:
        for (model, version), value in self.accuracy.items():
            state.gauge("turnout_accuracy", value, model, version)
        for (model, version), value in self.error.items():
            state.gauge("turnout_absolute_error", value, model, version)
