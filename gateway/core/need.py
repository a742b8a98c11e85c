"""Which versions of a model need workers, how many, why, and until when?

A version that is kept by need has workers while the model's route names it, while a rollout goes on that it
is a part of or that may go back to it, and while somebody asked for it. What a route named or a rollout was
about stays warm for a while after that ended, so that `turnout route rollback` finds it ready. All of this
follows from documents and their history alone: a supervisor that was restarted, and any two of them, say the
same.

Pure: an end is given as a time (`until_ms`, by Redis' clock), and whoever asks compares. Called by
`workers.wishes`, which starts and stops, and by `control.pools.needs`, which tells why.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pydantic import ValidationError

from gateway.contract.envelope import Envelope
from gateway.contract.pool import Keep, Wanted
from gateway.contract.rollout import Rollout
from gateway.contract.route import Route


@dataclass(frozen=True, slots=True)
class Form:
    """A route as it is (`until_ms` None), or as it was until then."""

    route: Route
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """`workers` of each supervisor; `until_ms` None: for as long as the documents say what they say."""

    workers: int
    reasons: tuple[str, ...]
    until_ms: int | None = None

    def is_on(self, now_ms: int) -> bool:
        return self.until_ms is None or now_ms < self.until_ms


def forms_of(present: Envelope | None, history: Sequence[Envelope]) -> list[Form]:
    """`history`, newest first, as far as it matters. Gateways serve the newest form that can be read."""
    forms = [] if present is None else [_route(envelope) for envelope in (present, *history)]
    found = [Form(route) for route in forms if route is not None][:1]
    for newer, older in pairwise(history):
        route = _route(older)
        if route is not None:
            found.append(Form(route, newer.at_ms))
    return found


def _route(envelope: Envelope) -> Route | None:
    try:
        return Route.model_validate(envelope.doc)
    except ValidationError:
        return None


def needs(
    *, wanted: Mapping[str, Wanted], forms: Sequence[Form], rollout: Rollout | None, keep_warm_s: float
) -> dict[str, Need]:
    """Of one model, by version; a version that is not in it needs none. `wanted` has registered versions."""
    found = {}
    for version, wish in wanted.items():
        need = _need(version, wish, forms, rollout, keep_warm_ms=round(keep_warm_s * 1000))
        if need is not None:
            found[version] = need
    return found


def _need(
    version: str, wish: Wanted, forms: Sequence[Form], rollout: Rollout | None, *, keep_warm_ms: int
) -> Need | None:
    reasons = ["always"] if wish.keep is Keep.ALWAYS else []
    ends = [(wish.asked_until_ms, "asked for")] if wish.asked_until_ms else []
    for form in forms:
        if form.until_ms is None:
            reasons += places(form.route, version)
    if rollout is not None and (part := _part(rollout, version)):
        if not rollout.is_over:
            reasons.append(part)
        elif rollout.events:
            ends.append((rollout.events[-1].at_ms + keep_warm_ms, f"rollout {rollout.rollout_id} has ended"))
    if reasons:
        return Need(wish.workers, tuple(reasons))
    ends += [
        (form.until_ms + keep_warm_ms, "was in the route")
        for form in forms
        if form.until_ms is not None and version in form.route.versions()
    ]
    if not ends:
        return None
    until_ms, reason = max(ends)
    return Need(wish.workers, (reason,), until_ms)


def places(route: Route, version: str) -> Iterator[str]:
    """Where the route names a version, in a person's words. With `slots` the split says nothing new."""
    if route.slots is None:
        yield from (f"split {entry.weight:g} %" for entry in route.split if entry.version == version)
    else:
        for name, held in (("blue", route.slots.blue), ("green", route.slots.green)):
            if held == version:
                yield f"slot {name}" + (" (live)" if route.slots.live == name else "")
    for rule in route.rules:
        yield from (f"rule {rule.name} {e.weight:g} %" for e in rule.split if e.version == version)
    yield from (f"shadow {entry.percent:g} %" for entry in route.shadows if entry.version == version)
    if route.fallback == version:
        yield "fallback"


def _part(rollout: Rollout, version: str) -> str:
    """Which part a version has in a rollout; empty where it has none."""
    if version == rollout.candidate:
        return f"rollout {rollout.rollout_id}"
    if version == rollout.baseline or version in rollout.before.versions():
        return f"rollout {rollout.rollout_id} may go back to it"
    return ""
