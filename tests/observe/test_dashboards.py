"""The dashboard in the repository is the one that its script writes, and asks for metrics that there are."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.observe.live import Prometheus, failures
from tests.observe.test_alerts import ALERTS, RECORDED, known_names, names_in

GRAFANA = Path(__file__).resolve().parents[2] / "config" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "turnout.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_the_dashboard_is_what_its_script_writes() -> None:
    checked = subprocess.run([sys.executable, str(GRAFANA / "make.py"), "--check"], check=False)
    assert checked.returncode == 0


def test_every_panel_asks_for_metrics_that_there_are_and_says_what_it_is_good_for() -> None:
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        for target in panel["targets"]:
            assert names_in(target["expr"].replace("$__rate_interval", "5m")) <= known_names() | {"ALERTS"}


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


class Answering(Prometheus):
    """A Prometheus that says the same to everything."""

    def __init__(self, problem: str, series: int) -> None:
        self.answer = (problem, series)

    def ask(self, query: str) -> tuple[str, int]:
        return self.answer


def test_the_live_check_tells_what_finds_nothing_and_what_is_refused() -> None:
    assert failures(Answering("", 1)) == []
    empty, refused = "\n".join(failures(Answering("", 0))), "\n".join(failures(Answering("no PromQL", 0)))
    assert all(f"{name}: finds nothing" in empty for name in [*RECORDED, "panel 'Accuracy'"])
    assert "nothing of the job turnout-worker is scraped" in empty
    assert "no process gives turnout_requests_total" in empty
    assert not any(f"{name}: " in empty for name in ALERTS)  # an alert finds nothing while all is well
    assert all(f"{name}: no PromQL" in refused for name in ALERTS)
