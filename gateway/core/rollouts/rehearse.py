"""What would a plan have done, and when? A rollout in simulated time, decided by the real rules.

`rehearse` asks a `World` for what happens in each tick under the route of the moment, and does what the
controller would do, without gateways and workers that could fail. `core.rollouts.replay` is such a world made
of recorded evidence; studies make others from truths that they know.

Pure: called by whoever shows a rehearsal, and by the study of the rules.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.contract.evidence import PRIMARY
from gateway.contract.plan import Plan
from gateway.contract.rollout import Event, Phase, Progress, Rollout
from gateway.contract.route import Route
from gateway.core.evidence.sums import NOTHING, Sums, Table
from gateway.core.rollouts.gates import gates_of
from gateway.core.rollouts.rollout import CheckCandidate, Commit, Stay, decide
from gateway.core.rollouts.rollout_commands import promoted, started
from gateway.core.rollouts.rollout_waits import MOST_PER_TICK_S
from gateway.core.rollouts.seen import CutoverCheck, Evidence, Seen

EMPTY = Table({}, {}, {})
_REHEARSED = "rehearsal"


@dataclass(frozen=True, slots=True)
class Observed:
    """What one tick adds; `mature` by maturity: what is old enough in this tick, and was not before."""

    added: Table
    mature: Mapping[float, Table] = field(default_factory=dict)


class World(Protocol):
    def passed(self, route: Route, tick_s: float) -> Observed | None:
        """What happens in the next tick under this route; None where nothing more is known."""
        ...


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """`lasted_s`: until its end, or until it went no further. `requests`: answered by the candidate."""

    rollout: Rollout
    lasted_s: float
    requests: float
    waits_for: str

    @property
    def events(self) -> tuple[tuple[float, Event], ...]:
        """Each with the seconds since the start."""
        return tuple((event.at_ms / 1000, event) for event in self.rollout.events)


@dataclass(slots=True)
class _Stage:
    """What the store would hold, and what was counted."""

    rollout: Rollout
    route: Route
    revision: int
    progress: Progress
    whole: Table = EMPTY
    step: Table = EMPTY
    mature_whole: dict[float, Table] = field(default_factory=dict)
    mature_step: dict[float, Table] = field(default_factory=dict)
    check: CutoverCheck | None = None


def rehearse(
    plan: Plan,
    *,
    route: Route,
    world: World,
    tick_s: float,
    most_s: float,
    promotes: bool = True,
    told: Callable[[Progress], None] | None = None,
) -> Rehearsal:
    """`promotes`: somebody promotes each pause that waits for a person. `told` gets every progress."""
    commit = started(plan, route=route, route_revision=1, rollout_id=_REHEARSED, author=_REHEARSED, now_ms=0)
    stage = _Stage(commit.rollout, route, 1, Progress(rollout_id=_REHEARSED, step=0))
    _perform(stage, commit)
    now_s = 0.0
    while now_s < most_s and stage.rollout.phase is Phase.RUNNING:
        observed = world.passed(stage.route, tick_s)
        if observed is None:
            break
        now_s += tick_s
        _add(stage, observed)
        _look(stage, now_s, tick_s=tick_s, promotes=promotes)
        if told is not None:
            told(stage.progress)
    asked = stage.whole.roles.get((PRIMARY, stage.rollout.candidate), NOTHING)
    return Rehearsal(stage.rollout, now_s, asked["n"], stage.progress.waits_for)


def maturities(plan: Plan) -> set[float]:
    """Ages that the gates ask for, and a world has to tell apart."""
    gates = [gate for step in plan.steps for gate in gates_of(plan, step)]
    return {gate.maturity_s for gate in gates if gate.maturity_s > 0}


def sum_of(first: Table, second: Table) -> Table:
    """Both tables, added statistic by statistic."""
    return Table(
        _added(first.roles, second.roles),
        _added(first.agreement, second.agreement),
        _added(first.paired, second.paired),
        {
            key: sum_of(first.slices.get(key, EMPTY), second.slices.get(key, EMPTY))
            for key in first.slices.keys() | second.slices.keys()
        },
        {
            key: dict((Sums(first.outputs.get(key, {})) + Sums(second.outputs.get(key, {}))).values)
            for key in first.outputs.keys() | second.outputs.keys()
        },
    )


def _added(
    first: Mapping[tuple[str, str], Sums], second: Mapping[tuple[str, str], Sums]
) -> dict[tuple[str, str], Sums]:
    added = dict(first)
    for key, sums in second.items():
        added[key] = added[key] + sums if key in added else sums
    return added


def _add(stage: _Stage, observed: Observed) -> None:
    stage.whole = sum_of(stage.whole, observed.added)
    stage.step = sum_of(stage.step, observed.added)
    for maturity_s, table in observed.mature.items():
        stage.mature_whole[maturity_s] = sum_of(stage.mature_whole.get(maturity_s, EMPTY), table)
        stage.mature_step[maturity_s] = sum_of(stage.mature_step.get(maturity_s, EMPTY), table)


def _look(stage: _Stage, now_s: float, *, tick_s: float, promotes: bool) -> None:
    had_s = stage.progress.counted_s
    match decide(stage.rollout, _seen(stage, now_s, tick_s=tick_s), foresee=False):
        case Stay(progress):
            if progress.counted_s > had_s:  # the ticks that the controller would have had in between
                counted_s = progress.counted_s + max(0.0, tick_s - MOST_PER_TICK_S)
                progress = progress.model_copy(update={"counted_s": counted_s})
            stage.progress = progress
            if promotes and _waits_for_a_person(stage.rollout):
                _promote(stage, now_s)
        case CheckCandidate(progress):
            stage.progress = progress
            stage.check = CutoverCheck(workers=1, warmed_requests=0, golden_passed=0, golden_of=0)
        case Commit() as commit:
            _perform(stage, commit)


def _seen(stage: _Stage, now_s: float, *, tick_s: float) -> Seen:
    return Seen(
        now_ms=round(1000 * now_s),
        route=stage.route,
        route_revision=stage.revision,
        route_author=stage.rollout.route_author,
        gateways=1,
        gateways_behind=0,
        ready={stage.rollout.baseline: 1, stage.rollout.candidate: 1},
        progress=stage.progress,
        elapsed_s=tick_s,
        evidence=Evidence(stage.whole, stage.step, stage.mature_whole, stage.mature_step),
        check=stage.check,
        units=0,
    )


def _waits_for_a_person(rollout: Rollout) -> bool:
    pause = rollout.plan.steps[rollout.step].pause
    return pause is not None and pause.for_s is None and not rollout.promoted


def _promote(stage: _Stage, now_s: float) -> None:
    commit = promoted(
        stage.rollout,
        route_revision=stage.revision,
        route_author=stage.rollout.route_author,
        author=_REHEARSED,
        now_ms=round(1000 * now_s),
    )
    _perform(stage, commit)


def _perform(stage: _Stage, commit: Commit) -> None:
    old, new = stage.rollout, commit.rollout
    if commit.route is not None:
        stage.revision += 1
        stage.route = commit.route
    stage.rollout = new.as_of(stage.revision)
    if (new.step, new.switched) != (old.step, old.switched):
        stage.step = EMPTY
        stage.mature_step = {}
        stage.progress = Progress(rollout_id=new.rollout_id, step=new.step)
