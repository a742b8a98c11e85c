"""Configurations are filled in whole, and processes start, are pinned, and end."""

import http.server
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from loadtests import proxies
from loadtests import started as processes
from loadtests.backend import BODY as REPLY
from loadtests.bench import SCENARIOS
from loadtests.servers import SERVERS
from loadtests.started import StartFailed, cores, free_port, started, wait_for_port
from loadtests.systems import PEERS, System, check, configured
from tests.sockets import eventually

TEMPLATES = sorted(
    {template for peer in proxies.PEERS.values() for template in peer.templates} | {"backend.conf"}
)


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_placeholder_is_left_in_a_configuration(template: str, tmp_path: Path) -> None:
    values = {"PORT": "1234", "MIRROR": "mirror /shadow;", "REPLY": "{}"}
    text = configured(template, tmp_path, (1, 2, 3), **values).read_text()
    settings = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert not re.search(r"@[A-Z_]+@", settings)


@pytest.mark.parametrize("name", proxies.PEERS)
def test_a_peer_is_told_its_port_and_all_of_its_workers(name: str, tmp_path: Path) -> None:
    texts = [
        configured(template, tmp_path, (7001, 7002, 7003), PORT="7000", MIRROR="").read_text()
        for template in proxies.PEERS[name].templates
    ]
    for port in ("7000", "7001", "7002"):
        assert any(port in text for text in texts), port


@pytest.mark.parametrize("has_shadow", [True, False])
def test_envoy_copies_to_the_shadow_only_where_there_is_one(has_shadow: bool, tmp_path: Path) -> None:
    mirror = proxies.PEERS["envoy"].mirror[0 if has_shadow else 1]
    path = configured("envoy.yaml", tmp_path, (7001, 7002, 7003), PORT="7000", MIRROR=str(mirror))
    listener = yaml.safe_load(path.read_text())["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    action = manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    assert {found["name"]: found["weight"] for found in action["weighted_clusters"]["clusters"]} == {
        "version1": 90,
        "version2": 10,
    }
    assert action.get("request_mirror_policies") == ([{"cluster": "version3"}] if has_shadow else None)


@pytest.mark.parametrize("has_shadow", [True, False])
def test_traefik_copies_to_the_shadow_only_where_there_is_one(has_shadow: bool, tmp_path: Path) -> None:
    mirror = proxies.PEERS["traefik"].mirror[0 if has_shadow else 1]
    path = configured("traefik-routes.yaml", tmp_path, (7001, 7002, 7003), MIRROR=str(mirror))
    http = yaml.safe_load(path.read_text())["http"]
    chosen = http["services"][http["routers"]["inference"]["service"]]
    assert ("mirroring" in chosen) == has_shadow
    split = http["services"]["versions"]["weighted"]["services"]
    assert [(found["name"], found["weight"]) for found in split] == [("version1", 90), ("version2", 10)]


def test_every_scenario_measures_the_reference_and_turnout() -> None:
    for scenarios in SCENARIOS.values():
        for scenario in scenarios:
            assert {"nginx", "turnout"} <= set(scenario.systems)
            assert set(scenario.systems) <= {"turnout", *proxies.PEERS}


def test_a_peer_without_shadow_copies_is_in_no_scenario_with_a_shadow() -> None:
    for scenarios in SCENARIOS.values():
        for scenario in scenarios:
            if scenario.has_shadow:
                peers = [proxies.PEERS[name] for name in scenario.systems if name != "turnout"]
                assert all(peer.mirror[0] is not None for peer in peers)


def test_every_file_of_a_peer_is_used() -> None:
    runtimes = {f"{name}_onnx.py" for name in SERVERS}
    assert {path.name for path in PEERS.iterdir() if path.is_file()} == {*TEMPLATES, *runtimes}


class Answers(http.server.BaseHTTPRequestHandler):
    """Refuses twice, then gives the backend's reply with the headers that the test wants."""

    refusals = 2
    headers_given: ClassVar[dict[str, str]] = {}

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if Answers.refusals:
            Answers.refusals -= 1
            self.send_error(404)
            return
        self.send_response(200)
        for name, value in {**Answers.headers_given, "content-length": str(len(REPLY))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(REPLY)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def answering() -> Iterator[System]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Answers.refusals = 2
    Answers.headers_given = {"turnout-version": "1", "turnout-prediction-id": "x"}
    yield System("peer", server.server_address[1], {"peer": os.getpid()})
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_system_is_asked_until_its_routes_are_loaded(answering: System, tmp_path: Path) -> None:
    check(answering, tmp_path, reply=REPLY, gives_headers=True)
    assert Answers.refusals == 0


@pytest.mark.parametrize("absent", ["turnout-version", "turnout-prediction-id"])
def test_a_peer_that_can_name_version_and_id_must(answering: System, tmp_path: Path, absent: str) -> None:
    del Answers.headers_given[absent]
    check(answering, tmp_path, reply=REPLY, gives_headers=False)
    with pytest.raises(StartFailed, match="answers wrongly"):
        check(answering, tmp_path, reply=REPLY, gives_headers=True)


def test_a_process_runs_on_its_core_and_ends_with_the_block(tmp_path: Path) -> None:
    log = tmp_path / "log"
    port = free_port()
    serve = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with started(serve, core=cores()[1], log=log) as pid:
        wait_for_port(port, pid=pid, log=log)
        assert os.sched_getaffinity(pid) == {cores()[1]}
    assert not Path(f"/proc/{pid}").exists()


async def test_what_a_process_leaves_behind_ends_with_the_block_too(tmp_path: Path) -> None:
    log, found = tmp_path / "log", tmp_path / "child"
    leave = (
        "import subprocess, sys, pathlib\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(found)!r}).write_text(f'{{child.pid}}\\n')\n"
        "child.wait()"
    )
    with started([sys.executable, "-c", leave], core=0, log=log):
        await eventually(lambda: found.exists() and found.read_text().endswith("\n"))
        child = int(found.read_text())
        assert not processes.has_ended(child)
    await eventually(lambda: processes.has_ended(child))


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
        if path.stem in ("statistics", "rollout-study"):  # simulations: the same on every machine
            continue
        assert told["machine"]["commit"], path.name
        assert any(value for name, value in told.items() if name not in ("section", "machine")), path.name
