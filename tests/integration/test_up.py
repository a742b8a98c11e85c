"""`turnout up` for real: its processes, its end, its second beginning, and its refusals."""

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.running import END_S, FREE_PORTS, START_S, Up, until


@pytest.fixture
def run_up() -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def run(data_dir: Path, *options: str) -> Up:
        started.append(Up(data_dir, *options))
        return started[-1]

    yield run
    for one in started:
        one.destroy()


Run = Callable[..., Up]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One demo for the tests that leave it as it was."""
    running = Up(tmp_path_factory.mktemp("demo") / "data", "--demo", "--processes", "2")
    try:
        yield running.until_up()
    finally:
        running.destroy()


def test_the_demo_answers_routed_and_pinned_predictions(demo: Up) -> None:
    routed = demo.infer()
    assert routed.status_code == 200, routed.text
    assert routed.headers["turnout-version"] == "1"
    assert [output["name"] for output in routed.json()["outputs"]] == ["label", "probabilities"]
    for version in ("1", "2", "3", "4"):
        pinned = demo.infer(f"digits/versions/{version}")
        assert (pinned.status_code, pinned.headers["turnout-version"]) == (200, version)


def test_the_demo_s_labels_arrive_by_themselves(demo: Up) -> None:
    def accuracy_is_known() -> bool:
        versions = demo.get("control", "/api/v1/models/digits/compare")["versions"]
        return any(version["accuracy"] is not None for version in versions)

    until(accuracy_is_known)


def test_all_is_well_and_the_metrics_are_there(demo: Up) -> None:
    until(lambda: demo.get("control", "/api/v1/status")["problems"] == [])
    metrics = re.search(r"metrics at (\S+)", demo.output)
    assert metrics is not None
    assert "turnout_requests_total" in httpx2.get(metrics[1], trust_env=False).text


def test_doctor_finds_a_gateway_that_hangs_and_is_content_when_it_goes_on(demo: Up) -> None:
    def found() -> set[str]:
        told = demo.get("control", "/api/v1/doctor")["findings"]
        return {finding["check"] for finding in told if finding["severity"] != "note"}

    until(lambda: found() <= {"redis_latency", "clock"})  # a busy machine is no fault of ours
    gateway = demo.get("control", "/api/v1/gateways")["gateways"][0]
    os.kill(gateway["pid"], signal.SIGSTOP)
    try:
        until(lambda: "gateway_silent" in found())
    finally:
        os.kill(gateway["pid"], signal.SIGCONT)
    until(lambda: "gateway_silent" not in found())


@pytest.mark.parametrize("name", ["traffic", "control", "redis", "supervisor", "gateway"])
def test_a_killed_child_is_started_again_and_one_line_says_so(name: str, demo: Up) -> None:
    before = demo.pid(name)
    os.kill(before, signal.SIGKILL)
    until(lambda: demo.pid(name) != before)
    assert re.search(rf"^{name} \(process {before}\) ended.*it is started again$", demo.output, re.MULTILINE)
    until(lambda: answers(demo), START_S)  # a supervisor starts eight workers again


def answers(up: Up) -> bool:
    try:
        is_well = up.get("control", "/api/v1/status")["problems"] == []
        return is_well and up.infer().status_code == 200
    except httpx2.HTTPError:
        return False


def has_changed(up: Up, split: list[dict[str, Any]]) -> bool:
    reply = httpx2.post(
        up.address("control") + "/api/v1/routes/digits/edit",
        json={"edit": {"kind": "split", "split": split}, "wait_s": 10},
        trust_env=False,
        timeout=END_S,
    )
    return reply.status_code == 200


def test_ctrl_c_ends_everything_and_the_next_up_continues_from_the_same_data(
    tmp_path: Path, run_up: Run
) -> None:
    data_dir = tmp_path / "data"
    first: Up = run_up(data_dir, "--demo").until_up()
    assert len(first.processes()) >= 13  # up, redis, control, supervisor, 8 workers, gateway and its process
    split = [{"version": "1", "weight": 75}, {"version": "2", "weight": 25}]
    until(lambda: has_changed(first, split))
    revision = first.get("control", "/api/v1/routes/digits")["revision"]
    assert first.interrupt() == 0, first.output
    assert first.processes() == set()

    second: Up = run_up(data_dir, "--demo").until_up()
    route = second.get("control", "/api/v1/routes/digits")
    assert route["revision"] == revision
    assert route["document"]["split"] == split
    assert "registered" not in second.output

    second.process.kill()
    until(lambda: second.processes() == set(), END_S)


def test_a_port_in_use_is_one_clear_line(tmp_path: Path, run_up: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        up = run_up(tmp_path / "data", "--port", str(port), "--control-port", "0", "--metrics-port", "0")
        assert up.process.wait(END_S) == 1
    assert up.output.splitlines() == [
        f"turnout: cannot listen on 127.0.0.1:{port} (Address already in use): end what uses it, or give "
        "another --port."
    ]
    assert up.processes() == set()


def test_a_directory_that_cannot_be_written_is_one_clear_line(tmp_path: Path, run_up: Run) -> None:
    (tmp_path / "file").write_text("in the way")
    up = run_up(tmp_path / "file" / "data")
    assert up.process.wait(END_S) == 1
    (line,) = up.output.splitlines()
    assert "cannot be written (Not a directory)" in line


def test_a_second_up_on_the_same_data_is_one_clear_line_and_leaves_the_first_alone(
    tmp_path: Path, run_up: Run
) -> None:
    first = run_up(tmp_path / "data").until_up()
    second = run_up(tmp_path / "data")
    assert second.process.wait(END_S) == 1
    (line,) = second.output.splitlines()
    assert f"another `turnout up` (process {first.process.pid}) uses" in line
    assert first.get("control", "/api/v1/status")["redis"] == "ok"


def test_an_address_that_others_can_reach_is_refused(tmp_path: Path, run_up: Run) -> None:
    up = run_up(tmp_path / "data", "--host", "0.0.0.0", *FREE_PORTS)
    assert up.process.wait(END_S) == 3
    assert "can be reached from elsewhere" in up.output
    assert not (tmp_path / "data").exists()


def test_a_child_that_cannot_start_ends_what_was_started_and_says_why(tmp_path: Path, run_up: Run) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "artifacts").write_text("in the way")
    up = run_up(tmp_path / "data")
    assert up.process.wait(END_S) == 1
    assert str(tmp_path / "data" / "logs") in up.output
    assert up.processes() == set()


def test_ctrl_c_while_it_starts_ends_what_was_started(tmp_path: Path, run_up: Run) -> None:
    up = run_up(tmp_path / "data")
    until(lambda: (tmp_path / "data" / "logs" / "control.log").exists())
    assert up.interrupt() == 0
    assert up.processes() == set()


def test_with_keys_on_it_starts_again_with_a_key_and_without(
    tmp_path: Path, run_up: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = run_up(tmp_path / "data").until_up()
    wish = {"name": "root", "role": "admin"}
    made = httpx2.post(f"{up.address('control')}/api/v1/keys", json=wish, trust_env=False)
    assert up.interrupt() == 0
    for key, is_told in ((made.json()["key"], False), ("", True)):
        monkeypatch.setenv("TURNOUT_KEY", key)
        up = run_up(tmp_path / "data").until_up()
        assert ("keys are on" in up.output) == is_told
        assert httpx2.get(f"{up.address('gateway')}/v2/models", trust_env=False).status_code == 401
        assert up.interrupt() == 0
