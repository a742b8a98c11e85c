"""Asks a real Prometheus every question that dashboards, rules and alerts ask, beside a running demo.

Starts `turnout up --demo` and Prometheus on free ports of loopback, with this repository's configuration, and
ends both. A question that Prometheus does not take, or that finds nothing where there must be data, is a
failure. Run by `scripts/check-dashboards`.
"""

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import yaml

from gateway.observe.catalogue import CATALOGUE, Kind
from tests.running import Up
from tests.sockets import free_port

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "config" / "prometheus"
DASHBOARD = ROOT / "config" / "grafana" / "dashboards" / "turnout.json"
RULES = ("rules.yml", "alerts.yml")
DATA_S = 60.0  # for samples of everything: accuracies come last, some 20 s after the first labels
# Series that begin with the event that they count, or with an option that the demo leaves off.
MAY_BE_ABSENT = {
    "turnout_deprecated_pins_total", "turnout_fallbacks_total", "turnout_hedges_total",
    "turnout_rejected_total", "turnout_retries_total",
    "turnout_shadow_dropped_total", "turnout_spans_dropped_total", "turnout_spans_exported_total",
    "turnout_store_memory_limit_bytes", "turnout_worker_spans_dropped_total",
    "turnout_worker_spans_exported_total",
}  # fmt: skip


class Prometheus:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/api/v1/query"
        self.client = httpx2.Client(trust_env=False, timeout=5)

    def ask(self, query: str) -> tuple[str, int]:
        """What is wrong with the question, and how many series answer it."""
        reply = self.client.get(self.url, params={"query": query})
        if reply.status_code == 503:  # it is up, and reads its own files still
            return reply.text.strip(), 0
        told = reply.json()
        if told["status"] != "success":
            return str(told["error"]), 0
        return "", len(told["data"]["result"])


def questions_of_dashboards() -> Iterator[tuple[str, str]]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$model", ".*").replace("$__rate_interval", "30s")
            yield f"panel {panel['title']!r}", query


def questions_of_rules() -> Iterator[tuple[str, str, bool]]:
    """Name, PromQL, and whether it must find data: an alert finds none while all is well."""
    for file in RULES:
        for group in yaml.safe_load((PROMETHEUS / file).read_text())["groups"]:
            for rule in group["rules"]:
                yield rule.get("record") or rule["alert"], rule["expr"], "record" in rule


def failures(prometheus: Prometheus) -> list[str]:
    """Everything that does not answer as it should, now."""
    found = []
    asked = [(name, query, True) for name, query in questions_of_dashboards()]
    for name, query, must_find in [*asked, *questions_of_rules()]:
        problem, series = prometheus.ask(query)
        if problem or (must_find and not series):
            found.append(f"{name}: {problem or 'finds nothing'}: {query}")
    for name, metric in CATALOGUE.items():
        series_name = f"{name}_count" if metric.kind is Kind.HISTOGRAM else name
        if name not in MAY_BE_ABSENT and not prometheus.ask(series_name)[1]:
            found.append(f"no process gives {name}")
    jobs = ("turnout-gateway", "turnout-control", "turnout-worker")
    silent = [job for job in jobs if not prometheus.ask(f'up{{job="{job}"}} == 1')[1]]
    return found + [f"nothing of the job {job} is scraped" for job in silent]


def configured(directory: Path, *, control_port: str, metrics_port: str) -> Path:
    """The repository's configuration with the addresses of this run."""
    text = (PROMETHEUS / "prometheus.yml").read_text()
    text = text.replace("127.0.0.1:8082", f"127.0.0.1:{metrics_port}")
    text = text.replace("127.0.0.1:8090", f"127.0.0.1:{control_port}")
    text = text.replace("[rules.yml, alerts.yml]", json.dumps([str(PROMETHEUS / name) for name in RULES]))
    file = directory / "prometheus.yml"
    file.write_text(text)
    return file


@contextmanager
def running_prometheus(directory: Path, config: Path) -> Iterator[Prometheus]:
    port = free_port()
    options = (f"--storage.tsdb.path={directory / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}")
    command = ["prometheus", f"--config.file={config}", *options, "--log.level=warn"]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(20)


def port_of(up: Up, pattern: str) -> str:
    found = re.search(pattern, up.output)
    assert found is not None, up.output
    return found[1]


def start_what_the_demo_leaves_out(up: Up) -> None:
    """A rollout, which also has a shadow for its first step."""
    url = f"{up.address('control')}/api/v1/models/digits/rollouts"
    wish = {"candidate": "2", "template": "demo"}
    reply = httpx2.post(url, json=wish, trust_env=False, timeout=30)
    assert reply.status_code < 300, reply.text


def main() -> int:
    began_s = time.monotonic()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # so that everything is ended
    with tempfile.TemporaryDirectory(prefix="turnout-dashboards-") as name:
        directory = Path(name)
        up = Up(directory / "data", "--demo")
        try:
            up.until_up()
            start_what_the_demo_leaves_out(up)
            metrics_port = port_of(up, r"metrics at http://[^:]+:(\d+)/metrics")
            control_port = up.address("control").rpartition(":")[2]
            config = configured(directory, control_port=control_port, metrics_port=metrics_port)
            with running_prometheus(directory, config) as prometheus:
                found = wait_for_data(prometheus)
            up.interrupt()
        finally:
            up.destroy()
    print("\n".join(found))
    count = sum(1 for _ in questions_of_dashboards()) + sum(1 for _ in questions_of_rules())
    took_s = time.monotonic() - began_s
    print(f"{count} questions, {len(found)} without the answer they should have, {took_s:.0f} s")
    return int(bool(found))


def wait_for_data(prometheus: Prometheus) -> list[str]:
    """Until nothing fails, or for as long as data may take to come."""
    until_s = time.monotonic() + DATA_S
    while True:
        try:
            found = failures(prometheus)
        except httpx2.TransportError as error:
            found = [f"Prometheus does not answer: {error}"]
        if not found or time.monotonic() > until_s:
            return found
        time.sleep(2)


if __name__ == "__main__":
    sys.exit(main())
