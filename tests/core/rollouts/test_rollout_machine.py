"""A rollout under anything: looks with any evidence, jumping clocks, restarts, edits and commands, at random.

The machine keeps what the store would keep, performs every action, and counts itself for how long each step
was really served. What it claims is in the assertions of `tick` and in the invariants.
"""

import contextlib
import math
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.contract.errors import CallerError
from gateway.contract.rollout import Phase, Progress, Rollout
from gateway.contract.route import Route
from gateway.core.evidence.sums import Table
from gateway.core.rollouts.rollout import CheckCandidate, Commit, Stay, decide
from gateway.core.rollouts.rollout_commands import aborted, paused, promoted, resumed
from gateway.core.rollouts.rollout_route import route_now
from gateway.core.rollouts.seen import CutoverCheck, Evidence, Seen
from tests.core.rollouts.examples import OURS, begun, plan, route, sums, table

GOOD = table({"p2": sums(5000), "p4": sums(5000), "s4": sums(5000)})
BAD = table({"p2": sums(5000), "p4": sums(5000, failed=1500), "s4": sums(5000, failed=1500)})
OPEN = table({"p4": sums(60, failed=1), "s4": sums(60, failed=1)})
BROKEN = table({"p4": sums(5000, us=math.nan), "s4": sums(5000, us=math.inf)})
KINDS: dict[str, Table | str] = {
    "good": GOOD, "bad": BAD, "open": OPEN, "empty": table(), "broken": BROKEN, "unread": "Redis is away",
}  # fmt: skip

STEPS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"shadow": st.sampled_from([10, 100])}),
        st.fixed_dictionaries({"weight": st.sampled_from([1, 20, 50, 100])}),
        st.fixed_dictionaries({"pause": st.sampled_from([{"for_s": 4}, {}])}),
    ),
    min_size=1,
    max_size=4,
)
ELAPSED = st.sampled_from([0.0, 0.5, 1.0, 4.0, 86_400.0, -86_400.0, math.nan, math.inf])
CLOCK = st.sampled_from([0, 1000, 86_400_000, -86_400_000])
HOLD_S = 6.0


class Rollouts(RuleBasedStateMachine):
    rollout: Rollout
    at: Route
    author: str
    revision: int

    @initialize(steps=STEPS, has_cutover=st.booleans(), on_fail=st.sampled_from(["roll_back", "freeze"]))
    def start(self, steps: list[dict[str, Any]], has_cutover: bool, on_fail: str) -> None:
        acts = [{**step, "hold": {"min_s": HOLD_S}} for step in steps]
        if has_cutover:
            acts.append({"cutover": {"watch_s": HOLD_S}})
        gates = [{"metric": "error_rate", "at_most": 0.02}]
        self.before = route(("2", 70), ("1", 30))
        self.plan = plan(*acts, gates=gates, on_fail=on_fail)
        self.rollout, self.at, self.revision = begun(self.plan, present=self.before)
        self.author = OURS
        self.progress = Progress(rollout_id="r1", step=0)
        self.served_s = 0.0
        self.now_ms = 10_000
        self.check: CutoverCheck | None = None

    def seen(self, evidence: Table | str, *, behind: int, gateways: int, elapsed_s: float) -> Seen:
        return Seen(
            now_ms=self.now_ms,
            route=self.at,
            route_revision=self.revision,
            route_author=self.author,
            gateways=gateways,
            gateways_behind=behind,
            ready={"2": 1, "4": 1},
            progress=self.progress,
            elapsed_s=elapsed_s,
            evidence=evidence if isinstance(evidence, str) else Evidence(rollout=evidence, step=evidence),
            check=self.check,
        )

    def write(self, commit: Commit, *, author: str) -> None:
        self.revision += 1
        if commit.rollout.step != self.rollout.step or commit.rollout.switched != self.rollout.switched:
            self.served_s = 0.0
        if commit.route is not None:
            self.at, self.author = commit.route, author
            self.rollout = commit.rollout.as_of(self.revision)
        else:
            self.rollout = commit.rollout.as_of(self.revision)
            self.revision = max(self.rollout.step_revision or 0, self.revision - 1)

    @rule(
        kind=st.sampled_from(sorted(KINDS)),
        behind=st.sampled_from([0, 0, 0, 1]),
        gateways=st.sampled_from([2, 2, 2, 0]),
        elapsed_s=ELAPSED,
        jump_ms=CLOCK,
    )
    def tick_with_anything(
        self, kind: str, behind: int, gateways: int, elapsed_s: float, jump_ms: int
    ) -> None:
        self.tick(kind, behind=behind, gateways=gateways, elapsed_s=elapsed_s, jump_ms=jump_ms)

    def tick(self, kind: str, *, behind: int, gateways: int, elapsed_s: float, jump_ms: int) -> None:
        self.now_ms = max(1, self.now_ms + jump_ms)
        old, at = self.rollout, self.at
        seen = self.seen(KINDS[kind], behind=behind, gateways=gateways, elapsed_s=elapsed_s)
        action = decide(old, seen)
        assert repr(decide(old, seen)) == repr(action), "the same look gave another action"
        is_ours = self.author == OURS
        is_running = old.phase is Phase.RUNNING
        is_served = behind == 0 and gateways > 0
        is_pause = not old.is_over and old.plan.steps[old.step].pause is not None
        if is_running and is_ours and is_served and elapsed_s > 0:
            self.served_s += min(elapsed_s, 5.0)
        if old.is_over:
            assert isinstance(action, Stay)
        if not is_ours and not old.is_over:
            assert isinstance(action, Commit) == is_running, "an edit by a person pauses, once"
        if is_ours and kind == "bad" and not old.is_over and not is_pause and old.phase is not Phase.FROZEN:
            assert isinstance(action, Commit)
            assert action.rollout.phase in (Phase.ROLLED_BACK, Phase.FROZEN), "a FAIL promotes nothing"
        match action:
            case Stay(progress) | CheckCandidate(progress):
                assert progress.step == old.step
                self.progress = progress
                if isinstance(action, CheckCandidate):
                    self.check = CutoverCheck(1, 10, 0, 0)
            case Commit(new):
                self.performed(old, new, kind=kind, is_ours=is_ours, is_served=is_served)
                if new.phase is Phase.PAUSED:
                    assert action.route is None
                self.write(action, author=OURS)
                if not is_ours:
                    assert self.at == at

    def performed(self, old: Rollout, new: Rollout, *, kind: str, is_ours: bool, is_served: bool) -> None:
        assert new.step in (old.step, old.step + 1), "no step is skipped"
        assert not old.is_over
        if new.step == old.step and new.switched == old.switched:
            return
        assert old.phase is Phase.RUNNING
        assert is_ours
        assert is_served
        assert kind != "bad" or old.plan.steps[old.step].pause is not None
        step = old.plan.steps[old.step]
        if new.step > old.step and not old.promoted:
            assert step.pause is not None or kind == "good", f"{kind} evidence let a step pass"
            assert self.served_s >= (step.pause.for_s or math.inf if step.pause else HOLD_S), "cut short"

    @rule(elapsed_s=ELAPSED, behind=st.sampled_from([0, 0, 1]))
    def tick_with_good_evidence(self, elapsed_s: float, behind: int) -> None:
        self.tick("good", behind=behind, gateways=2, elapsed_s=elapsed_s, jump_ms=86_400_000)

    @rule(often=st.integers(1, 4))
    def tick_calmly(self, often: int) -> None:
        for _ in range(often):
            self.tick("good", behind=0, gateways=2, elapsed_s=1.5, jump_ms=1500)

    @rule()
    def restart_the_controller_and_lose_its_notes(self) -> None:
        self.progress = Progress(rollout_id="r1", step=self.rollout.step)
        self.check = None

    @rule(weight=st.sampled_from([0, 5, 90]))
    def edit_by_a_person(self, weight: float) -> None:
        self.at, self.author = route(("2", 100 - weight), ("4", weight), timeout_s=9), "bob"
        self.revision += 1

    @rule()
    def pause(self) -> None:
        with contextlib.suppress(CallerError):
            self.write(paused(self.rollout, author="bob", now_ms=self.now_ms), author="bob")

    @rule()
    def resume(self) -> None:
        with contextlib.suppress(CallerError):
            commit = resumed(
                self.rollout, route=self.at, route_revision=self.revision, author="bob", now_ms=self.now_ms
            )
            self.write(commit, author=OURS)
            self.author = OURS  # its revision is the rollout's own now
            assert self.rollout.phase is Phase.RUNNING
            assert route_now(self.rollout, self.at) == self.at

    @rule()
    def promote(self) -> None:
        with contextlib.suppress(CallerError):
            commit = promoted(
                self.rollout,
                route_revision=self.revision,
                route_author=self.author,
                author="bob",
                now_ms=self.now_ms,
            )
            assert self.author == OURS, "nobody promotes over an edit"
            assert commit.rollout.step == self.rollout.step
            self.write(commit, author="bob")

    @precondition(lambda self: not self.rollout.is_over)
    @rule(sure=st.sampled_from([False, False, False, True]))
    def abort(self, sure: bool) -> None:
        if not sure:  # rarely, so that other things happen, too
            return
        commit = aborted(
            self.rollout, route=self.at, route_revision=self.revision, author="bob", now_ms=self.now_ms
        )
        self.write(commit, author="bob")
        assert self.rollout.phase is Phase.ABORTED
        assert self.at.split == self.before.split

    @invariant()
    def the_document_is_valid_and_its_end_is_the_end(self) -> None:
        assert Rollout.model_validate(self.rollout.model_dump()) == self.rollout
        assert (self.rollout.phase is Phase.SUCCEEDED) == (self.rollout.step == len(self.plan.steps))
        if self.rollout.phase is Phase.ROLLED_BACK and self.author == OURS:
            assert self.at.split == self.before.split


Rollouts.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestRollouts = Rollouts.TestCase
