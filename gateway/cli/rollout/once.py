"""Rolls a registered version out, once: what goes on already is found, what succeeded is told, and what was
rolled back or aborted is not tried again by itself, since whoever repeats a command must not expose a bad
version twice.

Called by `turnout deploy`, `turnout model register --rollout` and `turnout model follow --start`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gateway.cli.rollout.command import plan_body
from gateway.cli.rollout.words import lines
from gateway.cli.session import Session
from gateway.cli.starting import start_pool
from gateway.contract.errors import TurnoutError
from gateway.contract.plan import Plan
from gateway.contract.route import problems_of

_OF_VERSIONS = {"model": None, "candidate": None, "baseline": None, "description": ""}


@dataclass(frozen=True, slots=True)
class Wish:
    """`plan` is the name of a template or a file; `again`: also if it was rolled back or aborted before."""

    model: str
    version: str
    plan: str
    baseline: str | None = None
    reason: str = ""
    again: bool = False


def workers_like_baseline(session: Session, wish: Wish) -> int | None:
    """For a version that is new: as many as of the one that it shall replace, since with fewer its rollout
    would wait for more before it gives it all traffic."""
    try:
        versions = session.client.get("models", wish.model)["versions"]
    except TurnoutError as error:
        if error.code != "unknown_model":
            raise
        return None
    sizes = {item["version"]: item["pool"]["size"] for item in versions}
    if wish.version in sizes:
        return None
    split = (route_of(session, wish.model)["document"] or {}).get("split", ())
    most = max(split, key=lambda entry: entry["weight"], default={"version": ""})["version"]
    return sizes.get(wish.baseline or most) or None


def until_ready(session: Session, wish: Wish, *, within_s: float) -> None:
    """At least one worker; the rollout itself waits for as many as a step's share needs."""
    pool = session.client.get("models", wish.model, "versions", wish.version)["pool"]
    if not pool["ready"]:
        start_pool(session, wish.model, wish.version, within_s=within_s)


def roll_out(session: Session, wish: Wish, wanted: Plan) -> Mapping[str, Any] | None:
    """The one that goes on or was, or a new one; None where the version answers everything already."""
    known = _known(session, wish, wanted)
    if known is not None:
        session.out.line(f"rollout {known['rollout_id']} is this one already")
        return known
    if not wish.again and _answers_all(session, wish):
        return None
    body = {
        "candidate": wish.version, "baseline": wish.baseline, "reason": wish.reason, **plan_body(wish.plan),
    }  # fmt: skip
    try:
        started: Mapping[str, Any] = session.client.post("models", wish.model, "rollouts", body=body)
    except TurnoutError as error:
        # Another run of the same pipeline may have been faster.
        other = _known(session, wish, wanted) if error.code == "conflict" else None
        if other is None or other["is_over"]:
            raise
        return other
    for line in lines(started):
        session.out.line(line)
    return started


def try_to_roll_out(
    session: Session, wish: Wish, wanted: Plan, *, is_registered: bool
) -> Mapping[str, Any] | None:
    """What `roll_out` would do: the one that is known, or what would start; None where nothing would.

    Of a version that is not registered the control process can check no rollout; what stands in its way all
    the same is told here.
    """
    model = wish.model
    if route_of(session, model)["document"] is None:
        raise TurnoutError(
            "no_route", f"{model} has no route: create one with `turnout route split {model} VERSION=100`"
        )
    known = _known(session, wish, wanted)
    if known is not None:
        session.out.line(f"  rollout {known['rollout_id']} is this one already: {known['phase']}")
        return known
    if not wish.again and _answers_all(session, wish):
        session.out.line("  it answers all requests already: no rollout would start")
        return None
    if is_registered:
        body = {"candidate": wish.version, "baseline": wish.baseline, "dry_run": True, **plan_body(wish.plan)}
        try:
            session.client.post("models", model, "rollouts", body=body)
        except TurnoutError as error:
            if not error.data.get("without_workers"):  # those would be started first
                raise
    steps = [step.title for step in wanted.steps]
    session.out.line(f"  its rollout would start: {', '.join(steps)}")
    return {"steps": steps}


def _known(session: Session, wish: Wish, wanted: Plan) -> Mapping[str, Any] | None:
    """The newest rollout, if it is what this command would start and nobody moved the traffic since."""
    try:
        found = session.client.get("models", wish.model, "rollout")
    except TurnoutError as error:
        if error.code != "not_found":
            raise
        return None
    is_same = (
        found["candidate"] == wish.version
        and wish.baseline in (None, found["baseline"])
        and _bare(Plan.model_validate(found["plan"])) == _bare(wanted)
    )
    if not is_same:
        return None
    if not found["is_over"]:
        return found
    if wish.again or (
        found["phase"] == "succeeded" and route_of(session, wish.model)["revision"] > found["revision"]
    ):
        return None
    return found


def _answers_all(session: Session, wish: Wish) -> bool:
    split = (route_of(session, wish.model)["document"] or {}).get("split", ())
    return [entry["version"] for entry in split if entry["weight"] > 0] == [wish.version]


def route_of(session: Session, model: str) -> Mapping[str, Any]:
    """A model without a route has revision 0 and no document."""
    try:
        return session.client.get("routes", model)
    except TurnoutError as error:
        if error.code != "no_route":
            raise
        return {"revision": 0, "document": None}


def plan_of(session: Session, text: str) -> Plan:
    """The template of this name, or the plan in this file."""
    body = plan_body(text)
    if "template" in body:
        for item in session.client.get("rollouts", "plans")["plans"]:
            if item["name"] == body["template"] and "plan" in item:
                return Plan.model_validate(item["plan"])
        raise TurnoutError("bad_request", f"there is no readable plan named {text}: `turnout rollout plans`")
    try:
        return Plan.model_validate(body["plan"])
    except ValidationError as error:
        problems = problems_of(error)
        raise TurnoutError("invalid_document", f"{text}: {problems[0]}", problems=problems) from None


def _bare(plan: Plan) -> dict[str, Any]:
    return plan.model_copy(update=_OF_VERSIONS).model_dump(mode="json")
