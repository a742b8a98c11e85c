"""`turnout deploy`: what a pipeline calls. Registers a version, waits for a worker, rolls it out.

Every part may be repeated: a version that is registered stays, a rollout that goes on is found again by its
candidate and plan, one that has succeeded is told. One that was rolled back or aborted is not tried again by
itself, since a pipeline that retries must not expose a bad version twice. Ending the command ends no rollout.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from gateway.cli.deploy_summary import deployed_page, failed_page
from gateway.cli.progress import progress
from gateway.cli.register import check_names, described, describing, fetched, report, send
from gateway.cli.rollout import plan_body
from gateway.cli.rollout_follow import STOPPED, until_over
from gateway.cli.rollout_words import lines
from gateway.cli.session import Session, operator
from gateway.contract.errors import TurnoutError
from gateway.contract.plan import Plan
from gateway.contract.route import problems_of
from gateway.core.page import Page, markdown
from gateway.sources.fetched import Limits

POLL_S = 0.2
_OF_VERSIONS = {"model": None, "candidate": None, "baseline": None, "description": ""}


@dataclass(frozen=True, slots=True)
class Wish:
    """`plan` is the name of a template or a file."""

    model: str
    version: str
    plan: str
    baseline: str | None
    reason: str
    again: bool


@click.command()
@click.argument("model")
@click.option("--version", required=True, help="Its name: 2026-11-03, or the commit it was made from.")
@click.option(
    "--from",
    "address",
    required=True,
    metavar="SOURCE",
    help="Where its file is: as `turnout model register`.",
)
@click.option(
    "--plan", required=True, metavar="NAME|FILE", help="By which it takes over: a template or YAML."
)
@click.option("--baseline", metavar="VERSION", help="Default: the version with most of the traffic.")
@describing
@click.option("--ready-s", type=click.FloatRange(0, 3600), default=60.0, show_default=True, metavar="SECONDS",
    help="How long its first worker may take.")  # fmt: skip
@click.option("--wait", is_flag=True, help="Follow the rollout to its end.")
@click.option("--again", is_flag=True, help="Also if the same was rolled back or aborted before.")
@click.option("--summary", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.md",
    help="Write versions, verdicts and events into this file, whatever comes of it.")  # fmt: skip
@click.option("--reason", default="", metavar="TEXT", help="Why; kept with the rollout.")
@operator
def deploy(
    session: Session,
    model: str,
    version: str,
    address: str,
    plan: str,
    baseline: str | None,
    ready_s: float,
    wait: bool,
    again: bool,
    summary: Path | None,
    reason: str,
    roots: tuple[Path, ...],
    **said: Any,
) -> int:
    """Register a version and roll it out; safe to repeat.

    Exit code: 0 it succeeded (without --wait: it goes on), 1 it was rolled back, failed or stopped, 2 wrong
    use, 3 refused by policy or role, 4 conflict, 5 control not reachable.
    """
    check_names(model, version)
    wish = Wish(model, version, plan, baseline, reason, again)
    _write(summary, None)
    try:
        wanted = _plan(session, wish)
        told = described(**said)
        if told["workers"] is None:
            told["workers"] = _workers(session, wish)
        with fetched(address, limits=Limits(roots=roots)) as found:
            sent = {**told, "source": told["source"] or found.address}
            report(session, send(session, model, version, found, sent))
        _until_ready(session, wish, within_s=ready_s)
        rollout = _rollout(session, wish, wanted)
        if rollout is not None and wait:
            rollout = until_over(session, model, rollout, is_told=True)
        code, words = _ending(rollout)
        page = _page(session, wish, words, rollout)
    except TurnoutError as error:
        _write(summary, failed_page(model, version, error))
        raise
    _write(summary, page)
    session.out.value({"model": model, "version": version, "outcome": words, "rollout": rollout})
    say = session.out.line if code == 0 else session.out.failure
    say(
        f"{model} {version}: {words}"
        + (f": {rollout['sentence']}" if rollout and rollout["sentence"] else "")
    )
    return code


def _workers(session: Session, wish: Wish) -> int | None:
    """For a version that is new: as many as of the one that it shall replace, since with fewer its rollout
    would wait for more before it gives it all traffic."""
    try:
        versions = session.client.get("models", wish.model)["versions"]
    except TurnoutError as error:
        if error.code != "unknown_model":
            raise
        return None
    wanted = {item["version"]: item["pool"]["wanted"] for item in versions}
    if wish.version in wanted:
        return None
    split = (_route(session, wish)["document"] or {}).get("split", ())
    most = max(split, key=lambda entry: entry["weight"], default={"version": ""})["version"]
    return wanted.get(wish.baseline or most) or None


def _until_ready(session: Session, wish: Wish, *, within_s: float) -> None:
    """Until one worker is ready; the rollout itself waits for as many as a step's share needs."""
    began = time.monotonic()
    with progress(f"waiting for a worker of {wish.model} {wish.version}"):
        while True:
            pool = session.client.get("models", wish.model, "versions", wish.version)["pool"]
            waited_s = time.monotonic() - began
            if pool["ready"] or waited_s >= within_s:
                break
            time.sleep(POLL_S)
    if not pool["ready"]:
        raise TurnoutError(
            "no_workers",
            f"no worker of {wish.model} {wish.version} is ready after {within_s:g} s: is a supervisor "
            "running? See `turnout pools`",
        )
    session.out.line(f"{pool['ready']} workers ready, {waited_s:.1f} s")


def _rollout(session: Session, wish: Wish, wanted: Plan) -> Mapping[str, Any] | None:
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
        found["phase"] == "succeeded" and _route(session, wish)["revision"] > found["revision"]
    ):
        return None
    return found


def _answers_all(session: Session, wish: Wish) -> bool:
    split = (_route(session, wish)["document"] or {}).get("split", ())
    return [entry["version"] for entry in split if entry["weight"] > 0] == [wish.version]


def _route(session: Session, wish: Wish) -> Mapping[str, Any]:
    try:
        return session.client.get("routes", wish.model)
    except TurnoutError as error:
        if error.code != "no_route":
            raise
        return {"revision": 0, "document": None}


def _ending(rollout: Mapping[str, Any] | None) -> tuple[int, str]:
    """Exit code, and the phase in words."""
    if rollout is None:
        return 0, "answers all requests already"
    phase = rollout["phase"]
    is_bad = phase in STOPPED or (rollout["is_over"] and phase != "succeeded")
    return (1 if is_bad else 0), phase.replace("_", " ")


def _plan(session: Session, wish: Wish) -> Plan:
    """As the command names it, to be compared with that of a rollout."""
    body = plan_body(wish.plan)
    if "template" in body:
        for item in session.client.get("rollouts", "plans")["plans"]:
            if item["name"] == body["template"] and "plan" in item:
                return Plan.model_validate(item["plan"])
        raise TurnoutError(
            "bad_request", f"there is no readable plan named {wish.plan}: `turnout rollout plans`"
        )
    try:
        return Plan.model_validate(body["plan"])
    except ValidationError as error:
        problems = problems_of(error)
        raise TurnoutError("invalid_document", f"{wish.plan}: {problems[0]}", problems=problems) from None


def _bare(plan: Plan) -> dict[str, Any]:
    return plan.model_copy(update=_OF_VERSIONS).model_dump(mode="json")


def _page(session: Session, wish: Wish, words: str, rollout: Mapping[str, Any] | None) -> Page:
    names = [wish.version, *([] if rollout is None else [rollout["baseline"]])]
    versions = [session.client.get("models", wish.model, "versions", name) for name in dict.fromkeys(names)]
    return deployed_page(wish.model, wish.version, words, rollout=rollout, versions=versions)


def _write(file: Path | None, page: Page | None) -> None:
    """Without a page: whether it can be written, before anything is done."""
    if file is None:
        return
    try:
        with file.open("a" if page is None else "w") as opened:
            opened.write("" if page is None else markdown(page))
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from None
