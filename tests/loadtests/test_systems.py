"""Configurations are filled in whole, and processes start, are pinned, and end."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from loadtests import started as processes
from loadtests.bench import SCENARIOS
from loadtests.started import StartFailed, cores, free_port, started, wait_for_port
from loadtests.systems import PEERS, configured


@pytest.mark.parametrize("template", ["nginx.conf", "haproxy.cfg", "backend.conf"])
def test_no_placeholder_is_left_in_a_configuration(template: str, tmp_path: Path) -> None:
    values = {"PORT": "1234", "MIRROR": "mirror /shadow;", "REPLY": "{}"}
    text = configured(template, tmp_path, (1, 2, 3), **values).read_text()
    settings = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert not re.search(r"@[A-Z]+@", settings)
    assert "127.0.0.1:1" in settings


def test_every_scenario_measures_the_reference_and_turnout() -> None:
    for scenarios in SCENARIOS.values():
        for scenario in scenarios:
            assert {"nginx", "turnout"} <= set(scenario.systems)


def test_peers_are_all_known() -> None:
    assert {path.name for path in PEERS.iterdir() if path.is_file()} == {
        "nginx.conf",
        "haproxy.cfg",
        "backend.conf",
        "mlserver_onnx.py",
    }


def test_a_process_runs_on_its_core_and_ends_with_the_block(tmp_path: Path) -> None:
    log = tmp_path / "log"
    port = free_port()
    serve = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with started(serve, core=cores()[1], log=log) as pid:
        wait_for_port(port, pid=pid, log=log)
        assert os.sched_getaffinity(pid) == {cores()[1]}
    assert not Path(f"/proc/{pid}").exists()


def test_a_process_that_does_not_come_up_is_reported_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with started(command, core=0, log=log) as pid, pytest.raises(StartFailed, match="no such model"):
        wait_for_port(free_port(), pid=pid, log=log)


def test_programs_that_are_not_installed_are_named() -> None:
    assert processes.missing(["taskset", "no-such-program"]) == ["no-such-program"]


def test_the_kept_results_can_be_read() -> None:
    for path in Path(processes.__file__).with_name("results").glob("*.json"):
        told = json.loads(path.read_text())
        assert told["machine"]["commit"], path.name
        assert told.get("rounds") or told.get("promises"), path.name
