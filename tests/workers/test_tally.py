"""A worker's metrics: the names of the catalogue, and counts that add up."""

import re

from gateway.observe.catalogue import LATENCY_BOUNDS_S, ROWS_BOUNDS, WORKER_METRICS
from gateway.traces.export import Exporter
from gateway.traces.settings import TraceSettings
from workers.tally import ROWS, SECONDS, Tally


def test_every_metric_of_the_catalogue_is_there_with_its_kind_and_words() -> None:
    tally = Tally()
    tally.outcomes["ok"] += 1
    tally.spans = Exporter(TraceSettings(otlp_endpoint="http://127.0.0.1:4318"), {})
    text = tally.text(queue_depth=0)
    for name, metric in WORKER_METRICS.items():
        assert f"# TYPE {name} {metric.kind}\n" in text
        assert f"# HELP {name} {metric.help}\n" in text
    assert set(re.findall(r"# TYPE (\S+)", text)) == set(WORKER_METRICS)
    assert (SECONDS, ROWS) == (LATENCY_BOUNDS_S, ROWS_BOUNDS)


def test_histograms_are_cumulative_and_sum_up() -> None:
    tally = Tally()
    for rows in (1, 2, 3, 1000):
        tally.ran(rows, 0.001)
    lines = tally.text(queue_depth=7).splitlines()
    assert 'turnout_worker_batch_rows_bucket{le="1"} 1' in lines
    assert 'turnout_worker_batch_rows_bucket{le="4"} 3' in lines
    assert 'turnout_worker_batch_rows_bucket{le="256"} 3' in lines
    assert 'turnout_worker_batch_rows_bucket{le="+Inf"} 4' in lines
    assert "turnout_worker_batch_rows_sum 1006" in lines
    assert "turnout_worker_predictions_total 1006" in lines
    assert "turnout_worker_queue_depth 7" in lines
