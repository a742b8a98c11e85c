"""Locust: users of the demo's digits, who learn later what was right and say so.

    locust -f loadtests/locustfile.py --host http://127.0.0.1:8080 --headless -u 50 -r 10 -t 60s

Held-out images and their true labels come from config/demo; unit ids are skewed, as real ones are. Locust's
own table has a row for each version that answered; another with the share of right answers follows at the
end. Needs the extra `load`.
"""

# mypy: disable-error-code="misc, untyped-decorator"
import time
from pathlib import Path
from random import Random
from typing import Any

from locust import FastHttpUser, between, events, task

from gateway.cli.demo_traffic import read_samples
from loadtests.scenario import Labels, PerVersion, Units, label_in, lines

MODEL = "digits"
SAMPLES = read_samples(Path(__file__).parents[1] / "config" / "demo")[MODEL]
UNITS = Units()
counted = PerVersion()


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    parser.add_argument("--label-delay", type=float, default=5.0, help="Seconds from prediction to label.")


class Client(FastHttpUser):
    """One application instance: predictions of many units, and the labels that it learns."""

    wait_time = between(0.0, 0.1)

    def on_start(self) -> None:
        self.chance = Random()
        self.labels = Labels()
        self.version_of: dict[str, str] = {}

    @task(20)
    def predict(self) -> None:
        sample = self.chance.choice(SAMPLES)
        headers = {"content-type": "application/json", "turnout-unit": UNITS.draw(self.chance)}
        path = f"/v2/models/{MODEL}/infer"
        with self.client.post(path, data=sample.body, headers=headers, catch_response=True) as reply:
            if reply.status_code != 200:
                code = (reply.headers or {}).get("turnout-error", "")
                reply.failure(f"{reply.status_code} {code}".strip())
                return
            version = reply.headers["turnout-version"]
            reply.request_meta["name"] = f"{MODEL} version {version}"
            tally = counted.of(MODEL, version)
            tally.predictions += 1
            tally.right += label_in(reply.json()) == sample.label
            prediction_id = reply.headers["turnout-prediction-id"]
        due_s = time.monotonic() + self.environment.parsed_options.label_delay
        self.labels.learn_later(due_s, prediction_id, sample.label)
        self.version_of[prediction_id] = version

    @task(1)
    def tell_labels(self) -> None:
        """All that is due, as one NDJSON request."""
        self._send(self.labels.due(time.monotonic()))

    def on_stop(self) -> None:
        self._send(self.labels.due(float("inf")))

    def _send(self, due: list[tuple[str, float]]) -> None:
        if not due:
            return
        with self.client.post(
            f"/v2/models/{MODEL}/feedback",
            data=lines(due),
            headers={"content-type": "application/x-ndjson"},
            name="feedback",
            catch_response=True,
        ) as reply:
            if reply.status_code != 200:
                reply.failure(f"{reply.status_code}")
                return
            statuses = [line.split('"status":"', 1)[1].split('"', 1)[0] for line in reply.text.splitlines()]
            refused = {status for status in statuses if status not in ("joined", "waiting", "duplicate")}
            if refused:
                reply.failure(f"labels were {', '.join(sorted(refused))}")
        for prediction_id, _ in due:
            counted.of(MODEL, self.version_of.pop(prediction_id)).joined += 1


@events.report_to_master.add_listener
def _report(client_id: str, data: dict[str, Any]) -> None:
    data["per_version"] = counted.taken()


@events.worker_report.add_listener
def _collect(client_id: str, data: dict[str, Any]) -> None:
    counted.add(data.get("per_version", []))


@events.quitting.add_listener
def _show(environment: Any, **_: Any) -> None:
    if counted.tallies:
        print(counted.table())
