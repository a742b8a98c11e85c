"""Runs the driver's processes of a load test, and hands on what they say.

The driver patches its process for gevent, so that it never shares one with a command. Ctrl-C asks it to end
in good order; another one, a second or more later, ends it at once. Called by `turnout loadtest`.
"""

import json
import math
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from gateway.contract.errors import TurnoutError
from gateway.contract.lifeline import child_environment
from gateway.loadtest.scenario import Run
from gateway.loadtest.tally import Tally

END_S = 15.0
JOIN_S = 60.0  # how long a worker waits for its run to listen
TELL_S = 10.0
AGAIN_S = 0.5
CONNECT_S = 1.0

SAME_S = 1.0  # within this time a second Ctrl-C is the first one: `timeout` sends two, and fingers do


@dataclass(slots=True)
class Driven:
    tally: Tally
    is_interrupted: bool
    problems: list[str] = field(default_factory=list)


def drive(
    run: Run,
    *,
    listen: tuple[str, int] | None,
    say: Callable[[str], None],
    progress: Callable[[dict[str, Any]], None],
) -> Driven:
    """Performs the run; with `listen` its workers are started by somebody else (`--join`)."""
    is_alone = run.processes == 1 and listen is None
    host, port = listen or ("127.0.0.1", 0)
    task = {"role": "local" if is_alone else "master", "run": run.model_dump(mode="json", by_alias=True)}
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it wants the report too
    processes = [_start({**task, "host": host, "port": port})]
    try:
        return _follow(
            processes, run, has_workers=not is_alone and listen is None, say=say, progress=progress
        )
    finally:
        for process in reversed(processes):
            _stop(process)
        signal.signal(signal.SIGTERM, before)


def join(host: str, port: int, *, say: Callable[[str], None]) -> int:
    """One worker process of somebody else's run, until that ends it; `unreachable` where there is none."""
    process = None
    try:
        _until_open(host, port, say=say)
        process = _start({"role": "worker", "host": host, "port": port})
        say(f"waiting for the run at {host}:{port}")
        if _Lines(process).next() is None:
            raise TurnoutError(
                "unreachable",
                f"what listens at {host}:{port} is no load test that waits for workers: {_begin(host, port)}",
            )
        say("joined; it sends when all workers are there, and ends by itself")
        return process.wait()
    except KeyboardInterrupt:
        return 130
    finally:
        if process is not None:
            _stop(process)


def _until_open(host: str, port: int, *, say: Callable[[str], None]) -> None:
    """Whoever joins may come before the run does, but learns at once that nobody is there yet."""
    began_s = time.monotonic()
    told_s = -math.inf
    while (why := why_closed(host, port)) is not None:
        waited_s = time.monotonic() - began_s
        if waited_s >= JOIN_S:
            raise TurnoutError(
                "unreachable",
                f"nobody listens at {host}:{port} ({why}), for {waited_s:.0f} s now: {_begin(host, port)}",
            )
        if waited_s >= told_s + TELL_S:
            told_s = waited_s
            say(f"nobody listens at {host}:{port} yet ({why}): trying for {JOIN_S - waited_s:.0f} s more")
        time.sleep(AGAIN_S)


def _begin(host: str, port: int) -> str:
    return f"start it there first, `turnout loadtest MODEL --rate 100 --processes 2 --listen {host}:{port}`"


def why_closed(host: str, port: int) -> str | None:
    """None where somebody listens."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _follow(
    processes: "list[subprocess.Popen[str]]",
    run: Run,
    *,
    has_workers: bool,
    say: Callable[[str], None],
    progress: Callable[[dict[str, Any]], None],
) -> Driven:
    told = _Lines(processes[0])
    while (line := told.next()) is not None:
        if "listening" in line:
            if has_workers:
                task = {"role": "worker", "port": line["listening"]}
                processes += [_start(task) for _ in range(run.processes)]
            else:
                say(f"waiting for {run.processes} workers: turnout loadtest --join HOST:{line['listening']}")
        elif "progress" in line:
            progress(line["progress"])
        elif "tally" in line:
            return Driven(Tally.from_json(line["tally"]), line["interrupted"], line["problems"])
    if told.asked_s is not None:  # so early that it had not begun
        return Driven(Tally(), True)
    raise TurnoutError("internal", "the driver ended without a result; the lines above say why")


class _Lines:
    """What the driver says. The first Ctrl-C asks it to end, and its last words are still read."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.asked_s: float | None = None  # when it was asked to end

    def next(self) -> dict[str, Any] | None:
        output: IO[str] | None = self.process.stdout
        assert output is not None
        line = None
        while line is None:
            try:
                line = output.readline()
            except KeyboardInterrupt:
                now_s = time.monotonic()
                if self.asked_s is None:
                    self.asked_s = now_s
                    self.process.terminate()
                elif now_s > self.asked_s + SAME_S:
                    raise
        found: dict[str, Any] | None = json.loads(line) if line.startswith("{") else None
        return found


def _start(task: dict[str, Any]) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.loadtest.driver"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(),
        start_new_session=True,  # Ctrl-C is for the command, which passes it on
    )
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(json.dumps(task) + "\n")
    return process


def _stop(process: "subprocess.Popen[str]") -> None:
    """Give it time to end by itself, then ask, then insist."""
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            process.send_signal(number)
        try:
            process.wait(END_S)
            break
        except subprocess.TimeoutExpired:
            continue
    if process.stdout is not None:
        process.stdout.close()
