"""`turnout explain`: why a request would go where it goes, or why one went where it went."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from gateway.cli.grammar import reading
from gateway.cli.output import Output
from gateway.cli.session import Session, operator
from gateway.cli.words import document_lines, match_words, moment, quoted, split_words


@click.command()
@click.option("--model", required=True, metavar="MODEL")
@click.option("--unit", metavar="UNIT", help="What stickiness sticks to: a user, a device.")
@click.option(
    "--header", "headers", multiple=True, metavar="NAME=VALUE", help="A request header; repeatable."
)
@click.option("--pin", metavar="VERSION", help="The version that the request names.")
@click.option("--prediction-id", metavar="ID", help="A prediction that was answered already.")
@reading
@operator
def explain(
    session: Session,
    model: str,
    unit: str | None,
    headers: tuple[str, ...],
    pin: str | None,
    prediction_id: str | None,
) -> int:
    """Why does a request go to this version?

    \b
    turnout explain --model digits --unit alice --header x-tenant=beta    what would happen now
    turnout explain --model digits --prediction-id ID                     what did happen

    ID is what the reply's header turnout-prediction-id said. A prediction's record does not say which unit
    asked; with --unit too, you learn whether that unit leads to the version that answered.
    """
    if prediction_id is None:
        asked = {"unit": unit, "header": list(headers), "pin": pin}
        found = session.client.get("models", model, "explain", **asked)
        session.out.value(found)
        _tell_request(session.out, found)
        return 0
    if headers or pin:
        raise click.UsageError("a prediction's headers are not recorded: --header and --pin go without ID")
    found = session.client.get("models", model, "predictions", prediction_id, "explain", unit=unit)
    session.out.value(found)
    _tell_prediction(session.out, found)
    return 0


# -- what would happen now ------------------------------------------------------------------------------


def _tell_request(out: Output, found: Mapping[str, Any]) -> None:
    out.line(_title(found))
    for rule in found["rules"]:
        _item(
            out, "rule", f"{rule['name']} " + ("holds" if rule["holds"] else f"does not hold: {_unmet(rule)}")
        )
    for name, text in _decision(found):
        _item(out, name, text)
    if found["distances"]:
        _tell_distances(out, found["distances"])
    _tell_outcomes(out, found)
    for shadow in found["shadows"]:
        _item(out, "shadow", _shadow(shadow))
    _item(out, "limits", f"timeout {found['timeout_s']:g} s, {_attempts(found['attempts'])} at most")
    for warning in _warnings(found):
        out.warning(warning)


def _title(found: Mapping[str, Any]) -> str:
    if found["route"] is None:
        return f"{found['model']} has no route"
    return f"{found['model']} at {_commit(found['route'])}"


def _commit(route: Mapping[str, Any]) -> str:
    by = f"revision {route['revision']}, by {route['author']}, {moment(route['at_ms'])}"
    return by + quoted(route["reason"])


def _unmet(item: Mapping[str, Any]) -> str:
    """`x-tenant = beta, but the request has x-tenant: gamma`."""
    condition, value = item["unmet"]["condition"], item["unmet"]["value"]
    has = "has no such header" if value is None else f"has {condition['header']}: {value}"
    return f"{match_words([condition])}, but the request {has}"


def _decision(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    if found["pin"] is not None:
        return [("pin", f"the request names version {found['pin']}: neither rules nor the split are asked")]
    holding = next((rule["name"] for rule in found["rules"] if rule["holds"]), None)
    decides = "the route's" if holding is None else f"of rule {holding}"
    lines = [("split", f"{split_words(found['split'])} ({decides})")]
    if found["sticky"] is None:
        lines.append(("unit", "the route is not sticky: each request is drawn"))
    elif found["unit"] is None:
        lines.append(("unit", f"none in {found['sticky']}: the request is drawn"))
    else:
        lines.append(("unit", f"{found['unit']}, from {found['sticky']}"))
    return lines


def _tell_distances(out: Output, distances: Sequence[Mapping[str, Any]]) -> None:
    """Enough digits to compare with a calculation of one's own."""
    out.table(
        ("version", "weight>", "hash>", "distance>"),
        [
            (near["version"], f"{near['weight']:g}", f"{near['hash']:.12f}", f"{near['distance']:.12g}")
            for near in distances
        ],
    )
    out.line("the least distance wins: -ln(hash) / weight")


def _tell_outcomes(out: Output, found: Mapping[str, Any]) -> None:
    if len(found["outcomes"]) == 1:
        [outcome] = found["outcomes"]
        out.line(_answer(outcome))
        if outcome["workers"]:
            several = " (the less busy of two)" if len(outcome["workers"]) > 1 else ""
            _item(out, "workers", " ".join(outcome["workers"]) + several)
        return
    out.table(
        ("version", "odds>", "answered by", "reason", "ready workers"),
        [
            (
                outcome["version"],
                f"{outcome['percent']:.10g}%",
                outcome["answered_by"] if outcome["workers"] else "nobody (503)",
                outcome["reason"],
                " ".join(outcome["workers"]),
            )
            for outcome in found["outcomes"]
        ],
    )


def _answer(outcome: Mapping[str, Any]) -> str:
    version, answered_by = outcome["version"], outcome["answered_by"]
    if not outcome["workers"]:
        tail = "" if version == answered_by else f", and neither has the fallback {answered_by}"
        return f"version {version} is chosen, but has no ready worker{tail}: 503 no_workers"
    if version != answered_by:
        return (
            f"version {version} is chosen, but has no ready worker: version {answered_by} answers (fallback)"
        )
    return f"version {version} answers ({outcome['reason']})"


def _shadow(shadow: Mapping[str, Any]) -> str:
    version, percent = shadow["version"], shadow["percent"]
    if shadow["unmet"]:
        return f"{version} gets no copy: {_unmet(shadow)}"
    if not percent:
        return f"{version} gets no copy"
    lost = "" if shadow["workers"] else ", but has no ready worker"
    return f"{version} gets a copy of {'it' if percent == 100 else f'{percent:.4g} % of such requests'}{lost}"


def _warnings(found: Mapping[str, Any]) -> list[str]:
    gateways, route = found["gateways"], found["route"] or {"problems": ()}
    warnings = [f"{problem}; gateways may serve another form" for problem in route["problems"]]
    if gateways["behind"]:
        warnings.append(f"{gateways['behind']} of {gateways['of']} gateways do not serve this revision yet")
    return warnings


# -- what did happen ------------------------------------------------------------------------------------


def _tell_prediction(out: Output, found: Mapping[str, Any]) -> None:
    primary, *shadows = found["records"]
    out.line(
        f"version {primary['version']} of {found['model']} answered {found['prediction_id']} "
        f"at {moment(primary['at_s'] * 1000)}"
    )
    for name, text in (("reason", _reason(primary)), ("worker", _worker(primary)), *_answered(primary)):
        _item(out, name, text)
    _tell_unit(out, found["unit"])
    for shadow in shadows:
        _item(out, "shadow", f"{shadow['version']}: {_output(shadow)}, {shadow['latency_us'] / 1000:.2f} ms")
    for shadow in found["silent_shadows"]:
        _item(out, "shadow", f"{shadow['version']}: {_silence(shadow)}")
    _item(out, "label", _label(found))
    _tell_route(out, found, primary["revision"])


def _reason(primary: Mapping[str, Any]) -> str:
    reason = primary["reason"]
    if reason is None:
        return "not recorded"
    return _REASONS.get(reason, f"{reason}: the first rule that held")


_REASONS = {
    "pin": "pin: the request named the version",
    "sticky": "sticky: by the request's unit",
    "weight": "weight: drawn by the split's percents",
    "fallback": "fallback: the chosen version had no ready worker",
}


def _worker(primary: Mapping[str, Any]) -> str:
    if primary["attempts"] is None:
        return "not recorded"
    return f"...{primary['worker']}, {_attempts(primary['attempts'])}"


def _attempts(count: int) -> str:
    return f"{count} attempt{'' if count == 1 else 's'}"


def _answered(primary: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [("latency", f"{primary['latency_us'] / 1000:.2f} ms"), ("output", _output(primary))]


def _tell_unit(out: Output, unit: Mapping[str, Any] | None) -> None:
    if unit is None:
        _item(out, "unit", "not recorded; --unit UNIT checks one")
        return
    _item(out, "unit", unit["sentence"])
    if unit["distances"]:
        _tell_distances(out, unit["distances"])


def _output(record: Mapping[str, Any]) -> str:
    return "not recorded" if record["kind"] == "none" else _short(record["output"])


def _silence(shadow: Mapping[str, Any]) -> str:
    gets = f"{shadow['percent']:g} % of requests" + (
        f" where {match_words(shadow['match'])}" if shadow.get("match") else ""
    )
    return f"no answer is recorded (it gets {gets}; a copy can be dropped or fail)"


def _label(found: Mapping[str, Any]) -> str:
    if found["label"] is not None:
        return _short(found["label"])
    return "none yet" if found["reward"] is None else f"reward {found['reward']:g}"


def _tell_route(out: Output, found: Mapping[str, Any], revision: int) -> None:
    if found["route"] is None:
        out.line(found["route_problem"])
        return
    now = found["present_revision"]
    out.line(
        f"decided by {_commit(found['route'])}" + ("" if now == revision else f" (now: {now or 'no route'})")
    )
    for name, text in document_lines(found["route"]["document"]):
        _item(out, name, text)


def _item(out: Output, name: str, text: str) -> None:
    out.line(f"  {name:<10} {text}")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:197] + "..."
