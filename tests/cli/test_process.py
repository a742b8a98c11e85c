"""`turnout` as a process: what it loads, how it starts and ends, and what it says when it cannot."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from gateway.cli.main import COMMANDS, HIDDEN
from tests.sockets import PATIENCE_S, free_port

TURNOUT = [sys.executable, "-m", "gateway.cli.main"]
QUIET = {name: value for name, value in os.environ.items() if not name.startswith("TURNOUT_")}


def turnout(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*TURNOUT, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=QUIET | environment,
    )


@contextmanager
def control(redis_url: str, tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    port = free_port()
    process = subprocess.Popen(
        [
            *TURNOUT,
            "control",
            "--port",
            str(port),
            "--redis-url",
            redis_url,
            "--artifacts",
            str(tmp_path / "a"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=QUIET,
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until_live(url: str) -> None:
    limit = time.monotonic() + PATIENCE_S
    while time.monotonic() < limit:
        try:
            if httpx2.get(f"{url}/healthz", trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.02)
    raise AssertionError("the control process does not answer")


def test_help_lists_every_command_and_loads_none_of_them() -> None:
    code = (
        "import sys; from gateway.cli.main import main; main(['--help']); "
        "print(sorted({'httpx2', 'fastapi', 'onnx', 'redis', 'rich'} & sys.modules.keys()))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    ).stdout
    for name in COMMANDS:
        assert f"\n  {name} " in shown
    assert shown.endswith("[]\n")
    assert not any(name in shown for name in HIDDEN)


@pytest.mark.parametrize(
    "name", ["status", "route", "cutover", "rollout", "compare", "model", "policy", "feedback", "pools",
             "gateways", "explain", "apply", "key",
             "diff", "export", "audit", "control"],
)  # fmt: skip
def test_every_operator_command_has_help(name: str) -> None:
    from gateway.cli.main import main

    assert main([name, "--help"]) == 0


def test_wrong_use_is_exit_code_2() -> None:
    assert turnout("nonsense").returncode == 2
    assert turnout("route", "split").returncode == 2
    assert turnout("cutover", "digits").returncode == 2


def test_nobody_at_the_address_is_exit_code_5_and_one_line() -> None:
    away = turnout("status", "--control-url", f"http://127.0.0.1:{free_port()}")
    assert (away.returncode, away.stdout) == (5, "")
    assert away.stderr.count("\n") == 1
    assert "turnout up" in away.stderr
    as_json = turnout("status", "--json", TURNOUT_CONTROL_URL=f"http://127.0.0.1:{free_port()}")
    assert json.loads(as_json.stdout)["code"] == "unreachable"
    assert turnout("status", "--control-url", "nonsense").returncode == 2


def test_control_starts_without_redis_and_ends_in_good_order(tmp_path: Path) -> None:
    with control(f"unix://{tmp_path}/none.sock", tmp_path) as (process, url):
        wait_until_live(url)
        assert httpx2.get(f"{url}/api/v1/status", trust_env=False).json()["code"] == "store_away"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def test_an_open_event_stream_does_not_hold_up_the_end(redis_url: str, tmp_path: Path) -> None:
    with control(redis_url, tmp_path) as (process, url):
        wait_until_live(url)
        with httpx2.stream("GET", f"{url}/api/v1/events", trust_env=False, timeout=PATIENCE_S) as stream:
            lines = stream.iter_lines()
            assert next(lines) == ": hello"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        assert process.stderr is not None
        said = process.stderr.read()
    assert "Exception" not in said
    assert "Cancel" not in said  # the server's word for what it had to break off


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        failed = turnout(
            "control", "--port", str(taken.getsockname()[1]), "--redis-url", f"unix://{tmp_path}/none.sock"
        )
    assert failed.returncode == 1
    assert (failed.stderr.count("\n"), "Address already in use" in failed.stderr) == (1, True)


def test_another_address_than_loopback_needs_a_word(tmp_path: Path) -> None:
    refused = turnout("control", "--host", "0.0.0.0", "--redis-url", f"unix://{tmp_path}/none.sock")
    assert (refused.returncode, "--allow-unauthenticated" in refused.stderr) == (3, True)


def test_a_reader_that_goes_away_is_no_error(redis_url: str, tmp_path: Path) -> None:
    with control(redis_url, tmp_path) as (_, url):
        wait_until_live(url)
        piped = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {' '.join(TURNOUT)} status --control-url {url} | true"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            env=QUIET,
        )
    assert "Traceback" not in piped.stderr
    assert "BrokenPipe" not in piped.stderr
