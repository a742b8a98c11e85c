"""Recorded minutes as the world of a rehearsal: what was, thinned to what a route would have shown.

Each minute is played in ticks, with expected counts: where the rehearsed route gives a version fewer requests
than were recorded, its sums are scaled down; never up, for nobody knows what other requests would have
shown. So a rehearsal on few records of the candidate takes longer than the rollout would have, and
never decides on more than was seen. Where the candidate was recorded in one role only, that role stands for
the other. Sums belong to the minute of their prediction, so that a rehearsal has labels sooner than the
rollout would have had them.

Pure. Called by whoever shows what a plan would have done.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.contract.evidence import PRIMARY, SHADOW
from gateway.contract.plan import Plan
from gateway.contract.route import Route
from gateway.core.evidence.sums import NOTHING, Sums, Table, read
from gateway.core.rollouts.rehearse import EMPTY, Observed, Rehearsal, maturities, rehearse, sum_of
from gateway.core.rollouts.rollout_route import heaviest, share_of

MINUTE_S = 60.0


@dataclass(slots=True)
class Replay:
    """`minutes` are read tables, oldest first; `ripening`, by maturity, what is still too young."""

    minutes: Sequence[Table]
    baseline: str
    candidate: str
    ripening: dict[float, deque[tuple[float, Table]]]
    now_s: float = 0.0

    def passed(self, route: Route, tick_s: float) -> Observed | None:
        place = int(self.now_s // MINUTE_S)
        if place >= len(self.minutes):
            return None
        self.now_s += tick_s
        whole = thinned(self.minutes[place], route, baseline=self.baseline, candidate=self.candidate)
        added = scaled(whole, min(1.0, tick_s / MINUTE_S))
        return Observed(added, {age_s: self._ripe(age_s, added) for age_s in self.ripening})

    def _ripe(self, age_s: float, added: Table) -> Table:
        waiting = self.ripening[age_s]
        waiting.append((self.now_s, added))
        ripe = EMPTY
        while waiting and waiting[0][0] + age_s <= self.now_s:
            ripe = sum_of(ripe, waiting.popleft()[1])
        return ripe


def rehearse_recorded(
    plan: Plan, *, route: Route, evidence: Mapping[int, Mapping[str, float]], tick_s: float = 5.0
) -> Rehearsal:
    """What the plan would have done with this evidence (as it is stored), from its first minute on. Minutes
    without evidence are left out. Raises CallerError where the plan cannot be started on this route."""
    candidate = plan.candidate or ""
    baseline = plan.baseline or heaviest(route, but=candidate) or ""
    minutes = [read({minute: fields}) for minute, fields in sorted(evidence.items()) if fields]
    world = Replay(minutes, baseline, candidate, {age_s: deque() for age_s in maturities(plan)})
    return rehearse(plan, route=route, world=world, tick_s=tick_s, most_s=MINUTE_S * (len(minutes) + 1))


def thinned(table: Table, route: Route, *, baseline: str, candidate: str) -> Table:
    """The minute as this route would have shown it, as far as it was recorded."""
    asked = sum(sums["n"] for (role, _), sums in table.roles.items() if role == PRIMARY)
    share = share_of(route, candidate) / 100
    copied = sum(shadow.percent for shadow in route.shadows if shadow.version == candidate) / 100
    as_primary = _of(table, PRIMARY, candidate)
    as_shadow = _of(table, SHADOW, candidate)
    usual = table.roles.get((PRIMARY, baseline), NOTHING)
    copies = _factor(asked * (1 - share) * copied, as_shadow["n"])
    pairs = copies if table.roles.get((SHADOW, candidate)) is not None else 0.0
    roles = {
        (PRIMARY, baseline): _times(usual, _factor(asked * (1 - share), usual["n"])),
        (PRIMARY, candidate): _times(as_primary, _factor(asked * share, as_primary["n"])),
        (SHADOW, candidate): _times(as_shadow, copies),
    }
    about = {(baseline, candidate), (candidate, baseline)}
    return Table(
        {key: sums for key, sums in roles.items() if sums.values},
        {key: _times(sums, pairs) for key, sums in table.agreement.items() if key in about},
        {key: _times(sums, pairs) for key, sums in table.paired.items() if key in about},
        {
            key: thinned(part, route, baseline=baseline, candidate=candidate)
            for key, part in table.slices.items()
        },
        table.outputs,
    )


def scaled(table: Table, factor: float) -> Table:
    return Table(
        {key: _times(sums, factor) for key, sums in table.roles.items()},
        {key: _times(sums, factor) for key, sums in table.agreement.items()},
        {key: _times(sums, factor) for key, sums in table.paired.items()},
        {key: scaled(part, factor) for key, part in table.slices.items()},
        {
            key: {name: factor * count for name, count in found.items()}
            for key, found in table.outputs.items()
        },
    )


def _of(table: Table, role: str, version: str) -> Sums:
    """What was recorded in this role, or in the other one."""
    other = SHADOW if role == PRIMARY else PRIMARY
    return table.roles.get((role, version)) or table.roles.get((other, version), NOTHING)


def _factor(wanted: float, had: float) -> float:
    return min(1.0, wanted / had) if had > 0 else 0.0


def _times(sums: Sums, factor: float) -> Sums:
    if factor <= 0:
        return NOTHING
    return Sums({name: factor * value for name, value in sums.values.items()})
