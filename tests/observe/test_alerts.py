"""Every alert fires when it should, stays quiet when it should, and says what to do and where to read on.

`promtool`, of Debian's package prometheus, evaluates them; `scripts/test` installs it where it may.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.contract.errors import STATUS_OF, is_versions_fault
from gateway.observe.catalogue import CATALOGUE, Kind
from tests.observe.alert_cases import CASES

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config" / "prometheus"
FILES = [CONFIG / "rules.yml", CONFIG / "alerts.yml"]
SEVERITIES = {"critical", "warning", "info"}


def rules(file: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules(CONFIG / "alerts.yml")}
RECORDED = {rule["record"] for rule in rules(CONFIG / "rules.yml")}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is not installed: apt-get install prometheus")
        pytest.skip("promtool is not installed: apt-get install prometheus")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, cwd=CONFIG)


def own(alert: str, text: str) -> str:
    """With names that no other alert's series have."""
    for name in ("digits", "gw:8082", "ctl:8090"):
        text = text.replace(name, f"{alert}-{name}")
    return text


def check(are_firing: bool) -> dict[str, Any]:
    """One of promtool's tests: every alert with its series, and what it should come to at its time."""
    inputs: dict[str, str] = {}
    asked = []
    for alert, case in CASES.items():
        for name, values in (case.fires if are_firing else case.quiet).items():
            assert own(alert, name) not in inputs, f"{name} of {alert} is another alert's as well"
            inputs[own(alert, name)] = values
        labels = {name: own(alert, value) for name, value in case.labels.items()}
        named = ", ".join(f'{name}="{value}"' for name, value in {"alertname": alert, **labels}.items())
        query = f'ALERTS{{{named}, alertstate="firing"}}'
        severity = ALERTS[alert]["labels"]["severity"]
        found = [{"labels": query[:-1] + f', severity="{severity}"}}', "value": 1}] if are_firing else []
        asked.append({"expr": query, "eval_time": case.at, "exp_samples": found})
    series = [{"series": name, "values": values} for name, values in inputs.items()]
    return {"interval": "1m", "input_series": series, "promql_expr_test": asked}


def test_promtool_accepts_the_rules_the_alerts_and_the_configuration() -> None:
    for arguments in (["check", "rules", *map(str, FILES)], ["check", "config", "prometheus.yml"]):
        checked = promtool(*arguments)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_fires_when_it_should_and_not_when_it_should_not(tmp_path: Path) -> None:
    tests = [check(are_firing=True), check(are_firing=False)]
    file = tmp_path / "tests.yml"
    document = {"rule_files": list(map(str, FILES)), "evaluation_interval": "1m", "tests": tests}
    file.write_text(yaml.safe_dump(document))
    tested = promtool("test", "rules", str(file))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_has_its_cases() -> None:
    assert CASES.keys() == ALERTS.keys()


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_what_to_do_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in SEVERITIES
    summary = rule["annotations"]["summary"]
    assert summary.endswith(".")
    assert set(re.findall(r"\$labels\.(\w+)", summary)) <= CASES[alert].labels.keys()
    assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{alert.lower()}"
    assert f"\n## {alert}\n" in (ROOT / "docs" / "runbooks.md").read_text()


def test_the_runbooks_are_about_alerts_that_there_are() -> None:
    page = (ROOT / "docs" / "runbooks.md").read_text()
    sections = re.findall(r"^## (Turnout\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in sections] == list(ALERTS)
    for name, text in sections:
        assert all(word in text for word in ("**Means.**", "**Look.**", "**Do.**")), name


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\bturnout_\w+|\b\w+:turnout_\w+:\w+", re.sub(r'"[^"]*"', "", expression)))


def known_names() -> set[str]:
    histograms = {name for name, metric in CATALOGUE.items() if metric.kind is Kind.HISTOGRAM}
    parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}
    return (CATALOGUE.keys() - histograms) | parts | RECORDED


def test_rules_ask_for_metrics_that_there_are() -> None:
    asked = {name for file in FILES for rule in rules(file) for name in names_in(rule["expr"])}
    assert asked <= known_names()


def test_faults_are_counted_as_everywhere_else() -> None:
    expression = next(
        rule["expr"] for rule in rules(CONFIG / "rules.yml") if "turnout_faults" in rule["record"]
    )
    left_out = re.search(r'outcome!~"([^"]+)"', expression)
    assert left_out is not None
    no_faults = {code for code in STATUS_OF if not is_versions_fault(code)}
    assert set(left_out[1].split("|")) == no_faults | {"ok", "client_gone", "dropped"}


def test_the_objective_is_a_bound_of_the_histogram() -> None:
    bounds = {f"{bound:.9g}" for bound in CATALOGUE["turnout_request_duration_seconds"].bounds}
    used = set(re.findall(r'\ble="([^"]+)"', (CONFIG / "rules.yml").read_text()))
    assert len(used) == 1
    assert used <= bounds
