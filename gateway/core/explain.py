"""Why does a request go where it goes: each step of the decision, with what it saw.

The answer comes from `decide` and `split` themselves, so that it cannot say anything else than a gateway
does; this module only finds the reasons. Which versions have ready workers is told by the caller, from the
leases: a gateway may know better for a moment (a worker that it has just ejected).

Must not know: Redis, HTTP, what was decided before (`recall`). Called by the control API.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.contract import headers as h
from gateway.contract.route import Match, Route
from gateway.core.decide import CompiledRoute, Decision, decide
from gateway.core.matching import Headers, compile_matches
from gateway.core.split import Distance, Split, distances

Ready = Mapping[str, Sequence[str]]  # version -> ids of its ready workers


@dataclass(frozen=True, slots=True)
class Unmet:
    """A condition that does not hold, and what the request has there (None: no such header)."""

    condition: Match
    value: str | None


@dataclass(frozen=True, slots=True)
class Tried:
    """One rule that was looked at; `unmet` is None where it holds."""

    name: str
    unmet: Unmet | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One version that the decision can give, in `percent` of such requests.

    `answered_by` is the fallback where the version has no ready worker; without `workers` the answer is 503.
    """

    version: str
    percent: float
    answered_by: str
    reason: str
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Copies:
    """A shadow, and how many percent of such requests it gets a copy of."""

    version: str
    percent: float
    unmet: Unmet | None
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """`rules`: those tried, the one that holds last. `split`: what decided, as (version, percent).

    `unit` is None where chance decides, or nothing has to be; `distances` is empty where no hash was needed.
    """

    pin: str | None
    rules: tuple[Tried, ...]
    split: tuple[tuple[str, float], ...]
    unit: str | None
    distances: tuple[Distance, ...]
    outcomes: tuple[Outcome, ...]
    shadows: tuple[Copies, ...]
    timeout_s: float
    attempts: int


def request_of(
    route: Route, headers: Sequence[tuple[str, str]], *, unit: str | None, pin: str | None
) -> dict[bytes, bytes]:
    """The head of a request with these headers; the unit stands where the route reads it.

    Raises ValueError where two of them contradict each other.
    """
    request: dict[bytes, bytes] = {}
    asked = [(name.strip().lower(), value.strip()) for name, value in headers]
    if pin is not None:
        asked.append((h.VERSION.decode(), pin))
    if unit is not None:
        name, value = _place_of_unit(route, unit)
        if name == "cookie":
            asked = [(other, f"{value}; {old}" if other == name else old) for other, old in asked]
        if name != "cookie" or "cookie" not in dict(asked):
            asked.append((name, value))
    for name, value in asked:
        if request.setdefault(name.encode(), value.encode()) != value.encode():
            raise ValueError(f"the request cannot have two values of {name}")
    return request


def _place_of_unit(route: Route, unit: str) -> tuple[str, str]:
    if route.sticky is not None and route.sticky.cookie is not None:
        return "cookie", f"{route.sticky.cookie}={unit}"
    if route.sticky is not None and route.sticky.header is not None:
        return route.sticky.header, unit
    return h.UNIT.decode(), unit


def explain(compiled: CompiledRoute, headers: Headers, ready: Ready) -> Explanation:
    """What becomes of a request with these headers; it says nothing of whether a pinned version exists."""
    route = compiled.route
    decision = decide(compiled, headers, 0.0)
    is_pinned = decision[1] == "pin"
    split = None if is_pinned else _deciding(compiled, decision)
    unit = None if is_pinned or compiled.unit_of is None else compiled.unit_of(headers) or None
    outcomes = tuple(
        _outcome(route, (version, decision[1]), percent, ready)
        for version, percent in _odds(split, decision[0], is_drawn=unit is None)
    )
    return Explanation(
        pin=decision[0] if is_pinned else None,
        rules=() if is_pinned else _tried(compiled, headers, decision),
        split=() if split is None else _weights(split),
        unit=None if unit is None else unit.decode("utf-8", "replace"),
        distances=() if unit is None or split is None or split.single else distances(split, unit),
        outcomes=outcomes,
        shadows=_copies(compiled, headers, outcomes, ready),
        timeout_s=_timeout_s(route, headers),
        attempts=route.retry.attempts,
    )


def _deciding(compiled: CompiledRoute, decision: Decision) -> Split:
    """The split of the rule that the decision names, else the route's."""
    return next((rule.split for rule in compiled.rules if rule.reason == decision[1]), compiled.split)


def _weights(split: Split) -> tuple[tuple[str, float], ...]:
    return tuple((version, weight) for version, weight, _ in split.seeded)


def _odds(split: Split | None, decided: str, *, is_drawn: bool) -> tuple[tuple[str, float], ...]:
    if split is None or not is_drawn or split.single:
        return ((decided, 100.0),)
    return _weights(split)


def _outcome(route: Route, decision: Decision, percent: float, ready: Ready) -> Outcome:
    version, reason = decision
    if reason != "pin" and route.fallback is not None and not ready.get(version):
        version, reason = route.fallback, "fallback"
    return Outcome(decision[0], percent, version, reason, tuple(ready.get(version, ())))


def _tried(compiled: CompiledRoute, headers: Headers, decision: Decision) -> tuple[Tried, ...]:
    tried = []
    for rule, said in zip(compiled.rules, compiled.route.rules, strict=True):
        tried.append(Tried(said.name, _unmet(said.match, headers)))
        if rule.reason == decision[1]:
            break
    return tuple(tried)


def _unmet(conditions: Sequence[Match], headers: Headers) -> Unmet | None:
    """The first condition that does not hold."""
    for condition in conditions:
        if not compile_matches((condition,))(headers):
            value = headers.get(condition.header.encode())
            return Unmet(condition, None if value is None else value.decode("utf-8", "replace"))
    return None


def _copies(
    compiled: CompiledRoute, headers: Headers, outcomes: Sequence[Outcome], ready: Ready
) -> tuple[Copies, ...]:
    """Only what was answered and is recorded is copied, and never to the version that answered."""
    copies = []
    for shadow, said in zip(compiled.shadows, compiled.route.shadows, strict=True):
        unmet = _unmet(said.match, headers)
        others = sum(
            outcome.percent
            for outcome in outcomes
            if outcome.workers and outcome.answered_by != shadow.version
        )
        share = 0.0 if unmet else shadow.share * compiled.route.record.percent / 100
        copies.append(Copies(said.version, share * others, unmet, tuple(ready.get(said.version, ()))))
    return tuple(copies)


def _timeout_s(route: Route, headers: Headers) -> float:
    asked = headers.get(h.TIMEOUT_MS, b"")
    return min(route.timeout_s, int(asked) / 1000) if asked.isdigit() and int(asked) else route.timeout_s
