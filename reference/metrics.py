"""docs/reference/metrics.md: every metric of `gateway/observe/catalogue.py`."""

from collections.abc import Iterator, Mapping

from gateway.observe.catalogue import CONTROL_METRICS, GATEWAY_METRICS, WORKER_METRICS, Kind, Metric

GROUPS = {
    "turnout gateway": GATEWAY_METRICS,
    "turnout control": CONTROL_METRICS,
    "turnout worker": WORKER_METRICS,
}


def page() -> str:
    return "\n".join([*_head(), *(line for name, group in GROUPS.items() for line in _group(name, group))])


def _head() -> Iterator[str]:
    yield from (
        "# Reference: metrics",
        "",
        "Written by `scripts/reference` from `gateway/observe/catalogue.py`: do not edit. Where they are",
        "scraped, and what labels may be: [observability.md](../observability.md). *Of processes* says how",
        "the values of several gateway processes become one gauge; counters and histograms add up.",
        "",
    )


def _group(name: str, metrics: Mapping[str, Metric]) -> Iterator[str]:
    yield from (f"## {name}", "", "| metric | type | labels | of processes | meaning |", "| --- " * 5 + "|")
    for metric in metrics.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        merge = f"{metric.merge}" if metric.kind is Kind.GAUGE and metrics is GATEWAY_METRICS else ""
        yield f"| `{metric.name}` | {metric.kind} | {labels} | {merge} | {metric.help} |"
    yield ""
