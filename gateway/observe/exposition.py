"""A merged state as Prometheus text (format 0.0.4), written by prometheus_client.

Called by `observe.http`, and by whoever shows metrics of a single process.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from gateway.observe.catalogue import CATALOGUE, Kind, Metric
from gateway.observe.state import Histogram, MetricsState

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def render(state: MetricsState) -> bytes:
    """Every metric that the state has a value for, in the catalogue's order."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(state))
    return generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, state: MetricsState) -> None:
        self.state = state

    def collect(self) -> Iterator[Family]:
        values: defaultdict[str, list[tuple[tuple[str, ...], float]]] = defaultdict(list)
        for (name, labels), value in sorted((self.state.counters | self.state.gauges).items()):
            values[name].append((labels, value))
        histograms: defaultdict[str, list[tuple[tuple[str, ...], Histogram]]] = defaultdict(list)
        for (name, labels), histogram in sorted(self.state.histograms.items(), key=lambda item: item[0]):
            histograms[name].append((labels, histogram))
        for metric in CATALOGUE.values():
            if metric.name in values:
                yield _simple(metric, values[metric.name])
            elif metric.name in histograms:
                yield _histogram(metric, histograms[metric.name])


def _simple(metric: Metric, values: list[tuple[tuple[str, ...], float]]) -> Family:
    family: CounterMetricFamily | GaugeMetricFamily
    if metric.kind is Kind.COUNTER:
        family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    else:
        family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, values: list[tuple[tuple[str, ...], Histogram]]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    bounds = [*(f"{bound:.9g}" for bound in metric.bounds), "+Inf"]
    for labels, histogram in values:
        cumulative = accumulate(histogram.counts)
        buckets = [(bound, float(count)) for bound, count in zip(bounds, cumulative, strict=True)]
        family.add_metric(labels, buckets, histogram.total)
    return family
