"""The locust user of a load test: one in each process, which sends that process' share of all requests.

Locust brings the HTTP client, its events and its processes. When a request is sent is decided here, since a
locust user waits for its answer before it goes on: in an open loop every request is a greenlet of its own,
begun when it is due, and its latency counts from then. Imported by `driver` alone: importing locust patches
the whole process (gevent).
"""

# mypy: disable-error-code="misc, untyped-decorator"
from locust import FastHttpUser, task  # isort: skip  (patches what the others import)

import time
from random import Random
from typing import Any

import gevent
from gevent.pool import Pool

from gateway.loadtest.answers import error_kind, score
from gateway.loadtest.draws import Label, Labels, Units, lines
from gateway.loadtest.scenario import Input, Run
from gateway.loadtest.schedule import arrivals, level_at, share_of, total_s
from gateway.loadtest.tally import NO_VERSION, Tally

GRACE_S = 0.5  # requests that could not be sent so long after the end are given up
USERS_EVERY_S = 0.05  # how often the number of users follows its ramp
LABELS_EVERY_S = 0.25
LABELS_AT_ONCE = 2000
LABELS_BOUND = 500_000  # waiting in one process, some 200 bytes each
LABELS_END_S = 10.0  # for the labels that are left at the end
SPAWNED_AT_ONCE = 16  # requests begun without looking at answers, where the schedule is behind


class Sending:
    """One process' share of a run. `tally` is what was counted since `taken`."""

    def __init__(self, run: Run, client: Any, *, index: int) -> None:
        self.run = run
        self.client = client
        self.index = index
        self.tally = Tally()
        self.is_ending = False
        self.is_over = False  # every request has its answer
        self.chance = Random(f"{run.seed}/{index}")
        self.units = (
            Units(run.scenario.units.count, run.scenario.units.skew) if run.scenario.units.count else None
        )
        self.labels = Labels(LABELS_BOUND)
        self.headers = {"content-type": "application/json"} | (
            {"authorization": f"Bearer {run.key}"} if run.key else {}
        )
        self.pool = Pool(run.scenario.max_in_flight)
        self.wanted = 0  # users of this process
        self.users: set[int] = set()  # those that there are
        self.under_way = 0  # requests without an answer, begun or about to be
        self.began_s = 0.0
        self.began_cpu_s = 0.0

    def taken(self) -> Tally:
        """Everything counted since the last call."""
        tally, self.tally = self.tally, Tally()
        if self.began_s:
            tally.cpu_s[self.index] = time.process_time() - self.began_cpu_s
            tally.seconds[self.index] = self._now_s()
        return tally

    def end(self) -> None:
        """Send nothing more."""
        self.is_ending = True

    def perform(self) -> None:
        """Returns when every request has its answer and every label is told."""
        self.began_s, self.began_cpu_s = time.perf_counter(), time.process_time()
        telling = gevent.spawn(self._keep_telling)
        if self.run.scenario.loop == "open":
            self._open_loop()
        else:
            self._closed_loop()
        self._wait_for_answers()
        self.is_over = True
        telling.join()  # not killed: labels on their way would be lost
        until_s = self._now_s() + LABELS_END_S
        while self._tell_labels(float("inf")) and self._now_s() < until_s:
            pass
        self.tally.labels_left_out += self.labels.left_out + len(self.labels.waiting)

    def _now_s(self) -> float:
        return time.perf_counter() - self.began_s

    def _open_loop(self) -> None:
        run, end_s, free_s, behind = self.run, total_s(self.run.phases) + GRACE_S, 0.0, 0
        gap = (lambda: self.chance.expovariate(1)) if run.scenario.arrivals == "poisson" else None
        due = arrivals(run.phases, index=self.index, of=run.processes, gap=gap)
        for due_s in due:
            behind += 1
            while (ahead_s := due_s - self._now_s()) > 0 and not self.is_ending:
                gevent.sleep(min(ahead_s, 0.2))
                behind = 0
            if behind >= SPAWNED_AT_ONCE:
                gevent.sleep(0)
                behind = 0
            if self.pool.full() and not self.is_ending:
                self.tally.blocked += 1
                self.pool.wait_available(timeout=max(0.0, end_s - self._now_s()))
                free_s = self._now_s()
            if self.is_ending:
                return
            if self.pool.full() or self._now_s() > end_s:
                self.tally.unsent += 1 + sum(1 for _ in due)
                return
            self.under_way += 1
            self.pool.spawn(self._ask, due_s, max(due_s, free_s))

    def _closed_loop(self) -> None:
        run, end_s = self.run, total_s(self.run.phases)
        while (now_s := self._now_s()) < end_s and not self.is_ending:
            self.wanted = share_of(level_at(run.phases, now_s), index=self.index, of=run.processes)
            for number in set(range(self.wanted)) - self.users:  # those beyond end by themselves
                self.users.add(number)
                self.pool.spawn(self._user, number)
            gevent.sleep(min(USERS_EVERY_S, max(0.0, end_s - now_s)))
        self.wanted = 0

    def _user(self, number: int) -> None:
        think_s = self.run.scenario.think_s
        gevent.sleep(self.chance.random() * think_s)
        while number < self.wanted and not self.is_ending:
            now_s = self._now_s()
            self.under_way += 1
            self._ask(now_s, now_s)
            gevent.sleep(think_s)
        self.users.discard(number)

    def _wait_for_answers(self) -> None:
        """What has none after its time is a timeout, whatever the connection does. Users that think go."""
        until_s = self._now_s() + self.run.scenario.timeout_s + GRACE_S
        while self.under_way and self._now_s() < until_s:
            gevent.sleep(0.01)
        if self.under_way:
            self.tally.of(NO_VERSION).errors["timeout"] += self.under_way
        self.pool.kill()

    def _ask(self, due_s: float, ready_s: float) -> None:
        """One request and what came of it; `ready_s`: when it was due and there was room for it."""
        number = int(due_s / self.run.step_s)
        chosen = self.chance.choice(self.run.inputs)
        headers = self.headers
        if self.units is not None:
            headers = headers | {self.run.scenario.units.header: self.units.draw(self.chance)}
        sent_s = self._now_s()
        self.tally.sent += 1
        self.tally.step(number).sent += 1
        self.tally.lag.add((sent_s - ready_s) * 1e6)
        reply = self.client.post(self.run.path, data=chosen.body, headers=headers)
        self.under_way -= 1
        ended_s = self._now_s()
        self.tally.last_s = ended_s
        said = reply.headers or {}
        found = self.tally.of(said.get("turnout-version") or NO_VERSION)
        step = self.tally.step(number)
        kind = error_kind(reply.status_code, said.get("turnout-error"), getattr(reply, "error", None))
        if kind is not None:
            found.errors[kind] += 1
            step.failed += 1
            return
        found.response.add((ended_s - due_s) * 1e6)
        found.service.add((ended_s - sent_s) * 1e6)
        step.response.add((ended_s - due_s) * 1e6)
        if chosen.label is not None:
            self._learn(chosen, reply.content, said)

    def _learn(self, chosen: Input, body: bytes, said: Any) -> None:
        version = said.get("turnout-version") or NO_VERSION
        found = self.tally.of(version)
        scored = score(body, chosen.label)
        if scored is not None:
            found.scored += 1
            found.right += scored.is_right
            if scored.error is not None:
                found.measured += 1
                found.error_sum += scored.error
        delay_s, prediction_id = self.run.scenario.label_delay_s, said.get("turnout-prediction-id")
        if delay_s is not None and prediction_id:
            self.labels.learn_later(Label(self._now_s() + delay_s, prediction_id, chosen.label, version))

    def _keep_telling(self) -> None:
        while not self.is_over:
            gevent.sleep(LABELS_EVERY_S)
            while self._tell_labels(self._now_s()) and not self.is_over:
                pass

    def _tell_labels(self, until_s: float) -> bool:
        """All that is due as one NDJSON request; whether there may be more. Labels that are not taken are
        counted and not sent again."""
        due = self.labels.due(until_s, LABELS_AT_ONCE)
        if not due:
            return False
        reply = self.client.post(
            f"/v2/models/{self.run.model}/feedback",
            data=lines(due),
            headers=self.headers | {"content-type": "application/x-ndjson"},
        )
        said = reply.headers or {}
        kind = error_kind(reply.status_code, said.get("turnout-error"), getattr(reply, "error", None))
        statuses = [kind] * len(due) if kind else [_status(line) for line in reply.content.splitlines()]
        for label, status in zip(due, statuses, strict=False):
            self.tally.of(label.version).labels[status] += 1
        return len(due) == LABELS_AT_ONCE


def _status(line: bytes) -> str:
    return line.partition(b'"status":"')[2].partition(b'"')[0].decode()


class Sender(FastHttpUser):
    """Performs its process' share once, then waits to be stopped."""

    max_redirects = 0
    state: Any = None  # of this process: the driver sets it

    def __init__(self, environment: Any) -> None:
        run = self.state.run_of(environment)
        self.network_timeout = self.connection_timeout = run.scenario.timeout_s
        self.concurrency = run.scenario.max_in_flight + 1  # and one for labels
        super().__init__(environment)

    @task
    def work(self) -> None:
        self.state.perform(self.client)
        while True:  # a second user, or one that is done
            gevent.sleep(3600)
