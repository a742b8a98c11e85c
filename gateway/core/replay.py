"""Recorded minutes as the world of a rehearsal: what was, thinned to what a route would have shown.

Each minute is played in ticks, with expected counts: where the rehearsed route gives a version fewer requests
than were recorded, its sums are scaled down; never up, for nobody knows what other requests would have
shown. So a rehearsal on few records of the candidate takes longer than the rollout would have, and
never decides on more than was seen. Where the candidate was recorded in one role only, that role stands for
the other. Labels count in the minute in which they were recorded for.

Pure. Called through `core.rehearse.rehearse`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.contract.evidence import PRIMARY, SHADOW
from gateway.contract.route import Route
from gateway.core.rehearse import Observed, sum_of
from gateway.core.rollout_route import share_of
from gateway.core.sums import NOTHING, Sums, Table, read

MINUTE_S = 60.0


@dataclass(slots=True)
class Replay:
    """`minutes` are read tables, oldest first. `maturities`: ages that the plan's gates ask for."""

    minutes: Sequence[Table]
    baseline: str
    candidate: str
    maturities: frozenset[float] = frozenset()
    now_s: float = 0.0
    shown: list[tuple[float, Table]] = field(default_factory=list)

    def passed(self, route: Route, tick_s: float) -> Observed | None:
        place = int(self.now_s // MINUTE_S)
        if place >= len(self.minutes):
            return None
        self.now_s += tick_s
        whole = thinned(self.minutes[place], route, baseline=self.baseline, candidate=self.candidate)
        added = scaled(whole, min(1.0, tick_s / MINUTE_S))
        return Observed(added, self._mature(added))

    def _mature(self, added: Table) -> dict[float, Table]:
        if not self.maturities:
            return {}
        self.shown.append((self.now_s, added))
        oldest = max(self.maturities)
        mature: dict[float, Table] = {}
        for maturity_s in self.maturities:
            ripe = [table for at_s, table in self.shown if self._ripens_now(at_s, maturity_s)]
            total = Table({}, {}, {})
            for table in ripe:
                total = sum_of(total, table)
            mature[maturity_s] = total
        tick_s = self.now_s - self.shown[-2][0] if len(self.shown) > 1 else self.now_s
        self.shown = [entry for entry in self.shown if entry[0] + oldest > self.now_s - tick_s]
        return mature

    def _ripens_now(self, at_s: float, maturity_s: float) -> bool:
        before_s = self.shown[-2][0] if len(self.shown) > 1 else 0.0
        return before_s < at_s + maturity_s <= self.now_s


def recorded(
    evidence: Mapping[int, Mapping[str, float]],
    *,
    baseline: str,
    candidate: str,
    maturities: frozenset[float] = frozenset(),
) -> Replay:
    """From evidence as it is stored; minutes without any are left out."""
    minutes = [read({minute: fields}) for minute, fields in sorted(evidence.items()) if fields]
    return Replay(minutes, baseline, candidate, maturities)


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
