"""What Prometheus reads is what was counted; its own parser and, where it is installed, promtool agree."""

import shutil
import subprocess

from prometheus_client.parser import text_string_to_metric_families

from gateway.observe.catalogue import CATALOGUE, GATEWAY_METRICS, Kind
from gateway.observe.exposition import CONTENT_TYPE, render
from gateway.observe.state import MetricsState

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def everything() -> MetricsState:
    """A value for every metric there is."""
    state = MetricsState()
    for metric in CATALOGUE.values():
        labels = [f"a-{label}" for label in metric.labels]
        match metric.kind:
            case Kind.COUNTER:
                state.count(metric.name, 3, *labels)
            case Kind.GAUGE:
                state.gauge(metric.name, 0.5, *labels)
            case Kind.HISTOGRAM:
                state.histogram(metric.name, [2] * (len(metric.bounds) + 1), 7.25, *labels)
    return state


def samples(text: bytes) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_prometheus_parser_reads_every_metric_back() -> None:
    read = samples(render(everything()))
    for metric in CATALOGUE.values():
        labels = tuple(sorted((label, f"a-{label}") for label in metric.labels))
        match metric.kind:
            case Kind.COUNTER:
                assert read[metric.name, labels] == 3
            case Kind.GAUGE:
                assert read[metric.name, labels] == 0.5
            case Kind.HISTOGRAM:
                assert read[metric.name + "_count", labels] == 2 * (len(metric.bounds) + 1)
                assert read[metric.name + "_sum", labels] == 7.25


def test_histogram_buckets_are_cumulative_and_end_at_infinity() -> None:
    state = MetricsState()
    bounds = CATALOGUE["turnout_worker_batch_rows"].bounds
    state.histogram("turnout_worker_batch_rows", [1, 0, 4, *[0] * (len(bounds) - 3), 2], 900.0)
    read = samples(render(state))
    assert read["turnout_worker_batch_rows_bucket", (("le", "1"),)] == 1
    assert read["turnout_worker_batch_rows_bucket", (("le", "4"),)] == 5
    assert read["turnout_worker_batch_rows_bucket", (("le", "256"),)] == 5
    assert read["turnout_worker_batch_rows_bucket", (("le", "+Inf"),)] == 7


def test_types_and_helps_stand_in_the_text_once_each() -> None:
    text = render(everything()).decode()
    for metric in GATEWAY_METRICS.values():
        assert text.count(f"# TYPE {metric.name} {metric.kind}\n") == 1
        assert text.count(f"# HELP {metric.name} {metric.help}\n") == 1
    assert "_created" not in text
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_a_label_value_with_quotes_and_newlines_is_escaped() -> None:
    state = MetricsState()
    state.count("turnout_rejected_total", 1, 'a"b\\c\nd')
    assert samples(render(state)) == {("turnout_rejected_total", (("code", 'a"b\\c\nd'),)): 1.0}


def test_promtool_finds_nothing_to_complain_about_where_it_is_installed() -> None:
    promtool = shutil.which("promtool")
    text = render(everything())
    if promtool is None:
        assert text.endswith(b"\n")  # what promtool would say first; the parser above has read the rest
        return
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr.decode() + checked.stdout.decode()
