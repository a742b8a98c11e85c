"""HTTP: why a request would go where it goes, and why one went where it went."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway.contract.envelope import Envelope
from gateway.contract.errors import CallerError
from gateway.contract.names import VERSION_PATTERN
from gateway.contract.pool import Lease, WorkerState
from gateway.contract.route import Route, Weight
from gateway.control.api.evidence import PredictionPath
from gateway.control.api.paths import ModelPath
from gateway.control.body import StrictRoute
from gateway.control.parts import Control
from gateway.control.recorded import recorded, told
from gateway.control.registry.versions import unknown_model, versions_of
from gateway.control.routing.decided import Decided, decided_then, decides_now
from gateway.core.decide import CompiledRoute, compile_route
from gateway.core.explain import Explanation, Ready, Tried, Unmet, explain, request_of
from gateway.core.recall import UnitCheck, check_unit

router = APIRouter(tags=["explain"], route_class=StrictRoute)

Unit = Annotated[str | None, Query(min_length=1, max_length=1024)]
Headers = Annotated[list[str] | None, Query(max_length=100, description="each as name=value")]
Pin = Annotated[str | None, Query(pattern=VERSION_PATTERN)]


@router.get("/models/{model}/explain")
async def explain_request(
    model: ModelPath, control: Control, unit: Unit = None, header: Headers = None, pin: Pin = None
) -> dict[str, Any]:
    """What would happen now to a request with this unit, these headers, this pinned version."""
    registered = await versions_of(control.documents, model)
    decided = await decides_now(control.documents, model)
    compiled = _unrouted(model, registered, pin) if decided is None else decided.compiled
    known = registered.keys() | (compiled.route.versions() if decided else set())
    try:
        request = request_of(compiled.route, [_header(text) for text in header or ()], unit=unit, pin=pin)
    except ValueError as error:
        raise CallerError("bad_request", f"{error}") from None
    explanation = explain(compiled, request, _ready(model, (await control.fleet.workers()).leases))
    if explanation.pin is not None and explanation.pin not in known:
        raise CallerError(
            "unknown_version",
            f"{model} has no version {explanation.pin} (it has: {', '.join(sorted(known))})",
        )
    gateways = await control.fleet.gateways()
    behind = sum(gateway.revision < compiled.revision for gateway in gateways)
    return {
        "model": model,
        "route": None if decided is None else {**_commit(decided.by), "problems": decided.problems},
        "sticky": _sticky(compiled.route),
        "record_percent": compiled.route.record.percent,
        "fallback": compiled.route.fallback,
        **_explained(explanation),
        "gateways": {"of": len(gateways), "behind": behind},
    }


@router.get("/models/{model}/predictions/{prediction_id}/explain")
async def explain_prediction(
    model: ModelPath, prediction_id: PredictionPath, control: Control, unit: Unit = None
) -> dict[str, Any]:
    """What happened: the records, the route that decided, and whether this unit leads to that version."""
    found = await recorded(control, model, prediction_id)
    primary = found.records[0]
    then = await decided_then(control.documents, model, primary.revision)
    now = await decides_now(control.documents, model)
    known = then if isinstance(then, Decided) else None
    route = None if known is None else known.compiled.route
    answered = {record.version for record in found.records}
    shadows = () if route is None else route.shadows
    return {
        "model": model,
        "prediction_id": prediction_id,
        "label": found.label,
        "reward": found.reward,
        "records": [told(record, route) for record in found.records],
        "silent_shadows": [
            shadow.model_dump(mode="json", exclude_none=True)
            for shadow in shadows
            if shadow.version not in answered
        ],
        "route": None if known is None else {**_commit(known.by), "document": _document(known)},
        "route_problem": then if isinstance(then, str) else None,
        "present_revision": None if now is None else now.compiled.revision,
        "unit": None
        if unit is None
        else _checked(known, unit, primary.reason, primary.rule, primary.version),
    }


def _unrouted(model: str, registered: Any, pin: str | None) -> CompiledRoute:
    """A model without a route answers requests that name a version."""
    if not registered:
        raise unknown_model(model)
    if pin is None:
        raise CallerError(
            "no_route",
            f"{model} has no route, so only requests that name a version are answered: pin one, or create a "
            f"route with `turnout route split {model} VERSION=100`",
        )
    only = Weight(version=min(registered), weight=100)
    return compile_route(Route(model=model, split=(only,)), revision=0)


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name.strip() or not equals:
        raise CallerError("bad_request", f"header: {text!r} is not name=value")
    return name, value


def _ready(model: str, leases: list[Lease]) -> Ready:
    """As gateways see it: whoever says that it is ready."""
    ready: dict[str, list[str]] = {}
    for lease in leases:
        if lease.model == model and lease.state is WorkerState.READY:
            ready.setdefault(lease.version, []).append(lease.worker_id)
    return {version: sorted(workers) for version, workers in ready.items()}


def _commit(envelope: Envelope) -> dict[str, Any]:
    return envelope.model_dump(include={"revision", "author", "at_ms", "reason"})


def _document(decided: Decided) -> dict[str, Any]:
    """Whole: a split that follows from slots is there."""
    return decided.compiled.route.model_dump(mode="json", exclude_none=True)


def _sticky(route: Route) -> str | None:
    """`header turnout-unit`, `cookie uid`."""
    if route.sticky is None:
        return None
    return f"header {route.sticky.header}" if route.sticky.header else f"cookie {route.sticky.cookie}"


def _explained(explanation: Explanation) -> dict[str, Any]:
    return {
        "pin": explanation.pin,
        "rules": [_tried(rule) for rule in explanation.rules],
        "split": [{"version": version, "weight": weight} for version, weight in explanation.split],
        "unit": explanation.unit,
        "distances": [near._asdict() for near in explanation.distances],
        "outcomes": [asdict(outcome) for outcome in explanation.outcomes],
        "shadows": [{**asdict(shadow), "unmet": _unmet(shadow.unmet)} for shadow in explanation.shadows],
        "timeout_s": explanation.timeout_s,
        "attempts": explanation.attempts,
    }


def _tried(rule: Tried) -> dict[str, Any]:
    return {"name": rule.name, "holds": rule.unmet is None, "unmet": _unmet(rule.unmet)}


def _unmet(unmet: Unmet | None) -> dict[str, Any] | None:
    if unmet is None:
        return None
    return {"condition": unmet.condition.model_dump(exclude_none=True), "value": unmet.value}


def _checked(
    known: Decided | None, unit: str, reason: str | None, rule: int | None, version: str
) -> dict[str, Any]:
    if known is None:
        sentence = "the route that decided is not known any more, so the unit cannot be checked"
        checked = UnitCheck(unit, None, None, sentence)
    else:
        checked = check_unit(known.compiled, unit, reason=reason, rule=rule, version=version)
    return {**asdict(checked), "distances": [near._asdict() for near in checked.distances]}
