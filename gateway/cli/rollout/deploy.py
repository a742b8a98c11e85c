"""`turnout deploy`: what a pipeline calls. Registers a version, waits for a worker, rolls it out.

Every part may be repeated: a version that is registered stays, a rollout that goes on is found again by its
candidate and plan, one that has succeeded is told. One that was rolled back or aborted is not tried again by
itself, since a pipeline that retries must not expose a bad version twice. Ending the command ends no rollout.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gateway.cli.grammar import DRY_RUN, REASON, changes_itself
from gateway.cli.model.register import (
    check_names,
    described,
    describing,
    fetched,
    report,
    send,
    try_to_register,
)
from gateway.cli.rollout.follow import STOPPED, until_over
from gateway.cli.rollout.once import (
    Wish,
    plan_of,
    roll_out,
    try_to_roll_out,
    until_ready,
    workers_like_baseline,
)
from gateway.cli.rollout.summary import deployed_page, failed_page
from gateway.cli.session import Session, operator
from gateway.contract.errors import TurnoutError
from gateway.core.page import Page, markdown
from gateway.sources.fetched import Limits


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
@REASON
@DRY_RUN
@changes_itself
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
    dry_run: bool,
    roots: tuple[Path, ...],
    hosts: tuple[str, ...],
    **said: Any,
) -> int:
    """Register a version and roll it out; safe to repeat. --dry-run fetches and asks, and changes nothing.

    Exit code: 0 it succeeded (without --wait: it goes on), 1 it was rolled back, failed or stopped, 2 wrong
    use, 3 refused by policy or role, 4 conflict, 5 control not reachable.
    """
    check_names(model, version)
    wish = Wish(model, version, plan, baseline, reason, again)
    limits = Limits(roots=roots, hosts=hosts)
    if dry_run:
        return _try(session, wish, address, limits, described(**said))
    _write(summary, None)
    try:
        wanted = plan_of(session, wish.plan)
        told = described(**said)
        if told["workers"] is None:
            told["workers"] = workers_like_baseline(session, wish)
        with fetched(address, limits=limits) as found:
            sent = {**told, "source": told["source"] or found.address}
            report(session, send(session, model, version, found, sent))
        until_ready(session, wish, within_s=ready_s)
        rollout = roll_out(session, wish, wanted)
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


def _try(session: Session, wish: Wish, address: str, limits: Limits, told: Mapping[str, Any]) -> int:
    """Fetches the source and asks everything that can be asked before the control process has the file."""
    wanted = plan_of(session, wish.plan)
    workers = told["workers"] or workers_like_baseline(session, wish)
    with fetched(address, limits=limits) as found:
        tried = try_to_register(session, wish.model, wish.version, found)
    if not tried["is_registered"]:
        session.out.line(f"  workers it would have: {workers or 1}")
    rollout = try_to_roll_out(session, wish, wanted, is_registered=tried["is_registered"])
    session.out.value({**tried, "model": wish.model, "version": wish.version, "rollout": rollout})
    return 0


def _ending(rollout: Mapping[str, Any] | None) -> tuple[int, str]:
    """Exit code, and the phase in words."""
    if rollout is None:
        return 0, "answers all requests already"
    phase = rollout["phase"]
    is_bad = phase in STOPPED or (rollout["is_over"] and phase != "succeeded")
    return (1 if is_bad else 0), phase.replace("_", " ")


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
