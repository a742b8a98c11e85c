"""A process that sends a load test's requests: `python -m gateway.loadtest.driver`.

Its task comes as one line of JSON on standard input, since `ps` shows arguments and a task may hold a key.
It answers with lines of JSON: `listening`, `joined`, `progress` once a second, and at its end `tally`. A
SIGTERM or SIGINT ends it early and in good order; it also ends with its parent. Roles: `local` sends itself;
`master` has locust's workers send, and adds up; `worker` is one of them.
"""

# mypy: disable-error-code="misc, untyped-decorator"
from gateway.loadtest.sender import Sender, Sending  # isort: skip  (imports locust, which patches the others)

import json
import logging
import signal
import sys
import time
from argparse import Namespace
from typing import Any, Literal

import gevent
import locust.runners
from gevent.event import Event
from locust.env import Environment
from pydantic import BaseModel

from gateway.contract import lifeline
from gateway.loadtest.scenario import Run
from gateway.loadtest.schedule import total_s
from gateway.loadtest.tally import Tally

REPORT_S = 1.0
WAIT_FOR_WORKERS_S = 300.0
MASTER_ASKED = 5  # times that a worker asks, 5 s each; the command has seen that somebody listens
END_S = 20.0  # beyond the schedule and the last request's time: labels, and slow reports
_END = "turnout-end"


class Task(BaseModel):
    """`run` is None for a worker: its master sends it."""

    role: Literal["local", "master", "worker"]
    run: Run | None = None
    host: str = "127.0.0.1"
    port: int = 0


def tell(**what: Any) -> None:
    print(json.dumps(what, separators=(",", ":")), flush=True)


class State:
    """What this process does for the run; locust's user class holds it."""

    def __init__(self) -> None:
        self.sending: Sending | None = None
        self.total = Tally()
        self.problems: list[str] = []
        self.over = Event()
        self.has_ended = Event()  # by a signal or by the master

    def run_of(self, environment: Environment) -> Run:
        return Run.model_validate_json(environment.parsed_options.turnout_run)

    def perform(self, client: Any) -> None:
        if self.sending is not None:
            return
        environment = client.user.environment
        index = max(0, getattr(environment.runner, "worker_index", 0))
        self.sending = Sending(self.run_of(environment), client, index=index)
        if self.has_ended.is_set():
            self.sending.end()
        try:
            self.sending.perform()
        except Exception as error:  # outermost: the run must end and say so
            logging.exception("the driver failed")
            self.problems.append(f"the driver failed: {type(error).__name__}: {error}")
        finally:
            self.over.set()

    def end(self) -> None:
        self.has_ended.set()
        if self.sending is not None:
            self.sending.end()

    def collect(self) -> None:
        if self.sending is not None:
            self.total.merge(self.sending.taken())


def main() -> int:
    lifeline.hold()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    task = Task.model_validate_json(sys.stdin.readline())
    state = State()
    environment = Environment(
        user_classes=[Sender],
        host=None if task.run is None else task.run.url,
        parsed_options=Namespace(
            headless=False,
            enable_rebalancing=False,
            web_base_path="",
            turnout_run=None if task.run is None else task.run.model_dump_json(by_alias=True),
        ),
    )
    Sender.state = state
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, state.end)
    locust.runners.WORKER_REPORT_INTERVAL = REPORT_S
    locust.runners.CONNECT_RETRY_COUNT = MASTER_ASKED
    {"local": _local, "master": _master, "worker": _worker}[task.role](task, environment, state)
    return 0


def _local(task: Task, environment: Environment, state: State) -> None:
    assert task.run is not None
    environment.create_local_runner().start(1, spawn_rate=1)
    _until_over(task.run, state, state.over)
    state.collect()
    _finish(state)
    environment.runner.quit()


def _master(task: Task, environment: Environment, state: State) -> None:
    assert task.run is not None
    runner = environment.create_master_runner(task.host, task.port)
    tell(listening=runner.server.port)
    over, wanted = Event(), task.run.processes
    done: set[str] = set()

    @environment.events.worker_report.add_listener
    def _collect(client_id: str, data: dict[str, Any]) -> None:
        if told := data.get("turnout"):
            found = json.loads(told)
            state.total.merge(Tally.from_json(found["tally"]))
            state.problems += found["problems"]
            if found["is_over"]:
                done.add(client_id)
        if len(done) >= wanted:
            over.set()

    since_s = time.monotonic()
    while len(runner.clients.ready) < wanted and not state.has_ended.is_set():
        if time.monotonic() > since_s + WAIT_FOR_WORKERS_S:
            state.problems.append(f"only {len(runner.clients.ready)} of {wanted} workers came")
            state.end()
        gevent.sleep(0.05)
    if not state.has_ended.is_set():
        tell(joined=wanted)
        runner.start(wanted, spawn_rate=wanted)
        gevent.spawn(lambda: state.has_ended.wait() and runner.send_message(_END))
        _until_over(task.run, state, over, lost=lambda: len(runner.clients.missing), wanted=wanted, done=done)
    _finish(state)
    runner.quit()


def _worker(task: Task, environment: Environment, state: State) -> None:
    try:
        runner = environment.create_worker_runner(task.host, task.port)
    except ConnectionError:
        return  # what listens there says nothing of a run: the command tells
    tell(joined=runner.worker_index)
    runner.register_message(_END, lambda environment, msg: state.end())

    @environment.events.report_to_master.add_listener
    def _report(client_id: str, data: dict[str, Any]) -> None:
        if state.sending is not None:
            problems, state.problems = state.problems, []
            is_over = state.over.is_set()
            told = {"tally": state.sending.taken().to_json(), "is_over": is_over, "problems": problems}
            data["turnout"] = json.dumps(told, separators=(",", ":"))

    runner.greenlet.join()


def _until_over(
    run: Run,
    state: State,
    over: Event,
    *,
    lost: Any = lambda: 0,
    wanted: int = 1,
    done: set[str] | frozenset[str] = frozenset(),
) -> None:
    """Tells the progress once a second; gives up some time after the schedule's end."""
    since_s, is_ending = time.monotonic(), False
    until_s = since_s + total_s(run.phases) + run.scenario.timeout_s + END_S
    while not over.wait(timeout=REPORT_S):
        state.collect()
        tell(progress=_progress(state.total, time.monotonic() - since_s, run))
        if lost() and len(done) + lost() >= wanted:
            break
        if state.has_ended.is_set() and not is_ending:
            is_ending, until_s = True, time.monotonic() + run.scenario.timeout_s + END_S
        if time.monotonic() > until_s:
            state.problems.append(
                "the driver did not come to its end in time: what it last did is not counted"
            )
            break
    if lost():
        state.problems.append(
            f"{lost()} of the driver's processes were lost: what they last did is not counted"
        )


def _progress(total: Tally, elapsed_s: float, run: Run) -> dict[str, Any]:
    number = max((step for step, found in total.steps.items() if found.response.n), default=None)
    newest = None if number is None else total.steps[number].response
    return {
        "elapsed_s": round(elapsed_s, 1),
        "of_s": total_s(run.phases),
        "sent": total.sent,
        "answered": total.answered,
        "failed": total.failed,
        "p50_ms": None if newest is None else (newest.quantile(0.5) or 0) / 1000,
        "p99_ms": None if newest is None else (newest.quantile(0.99) or 0) / 1000,
    }


def _finish(state: State) -> None:
    tell(tally=state.total.to_json(), problems=state.problems, interrupted=state.has_ended.is_set())


if __name__ == "__main__":
    sys.exit(main())
