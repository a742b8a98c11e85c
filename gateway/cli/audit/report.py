"""`turnout audit report`: reads by the control API what somebody who answers for a model must show.

Reads only addresses that others use, too; what a page shows is decided in `core.report`.
"""

import base64
import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from gateway.cli.client import ControlClient
from gateway.cli.session import Session, operator
from gateway.cli.words import commit_words, match_words, parse_since, shadow_words, split_words, utc
from gateway.contract.errors import TurnoutError
from gateway.core.page import html, markdown
from gateway.core.report import (
    SHARES,
    ApprovalSaid,
    Entry,
    EventSaid,
    Live,
    Report,
    RolloutSaid,
    VersionSaid,
    page_of,
)

_SUFFIXES = (".md", ".html")


@click.command()
@click.argument("model")
@click.option("--since", default="30d", show_default=True, metavar="TIME", help="How far back: 12h, 7d, 30d.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.md|FILE.html",
    help="Default: Markdown to standard output. HTML has a plot if matplotlib is there.")  # fmt: skip
@operator
def report(session: Session, model: str, since: str, out: Path | None) -> int:
    """Versions, approvals, traffic, rollouts, overrides and incidents of a model, as a page.

    Exit code 1 if the audit is not whole.
    """
    if out is not None and out.suffix not in _SUFFIXES:
        raise click.UsageError(f"{out}: a report's name ends in {' or '.join(_SUFFIXES)}")
    until_ms = time.time_ns() // 1_000_000
    since_ms = max(0, until_ms - 1000 * parse_since(since))
    chain, is_whole = _chain(session.client)
    found = replace(_report(session.client, model, since_ms=since_ms, until_ms=until_ms), chain=chain)
    page = page_of(found, utc)
    if out is None:
        session.out.line(markdown(page).rstrip("\n"))
    else:
        text = markdown(page) if out.suffix == ".md" else html(page, _pictures(found))
        try:
            out.write_text(text)
        except OSError as error:
            raise click.UsageError(f"{out}: {error.strerror}") from None
        session.out.line(f"written to {out}")
    session.out.value({"model": model, "whole": is_whole, "out": None if out is None else str(out),
        "markdown": markdown(page)})  # fmt: skip
    if is_whole is False:
        session.out.failure("the audit is not whole: see `turnout audit verify`")
    return 1 if is_whole is False else 0


def _report(client: ControlClient, model: str, *, since_ms: int, until_ms: int) -> Report:
    standings = {item["version"]: item for item in client.get("models", model, "standings")["versions"]}
    versions = [
        client.get("models", model, "versions", item["version"])
        for item in client.get("models", model)["versions"]
    ]
    entries = list(_entries(client, model, since_ms))
    return Report(
        model=model,
        since_ms=since_ms,
        until_ms=until_ms,
        asked_by=client.get("whoami")["name"] or "somebody without a key",
        versions=tuple(_version(item, standings.get(item["version"], {})) for item in versions),
        approvals=tuple(_approvals(standings)),
        decisions=tuple(one for one in entries if any(name.startswith("standing/") for name in one.fields)),
        live=tuple(_live(client, model, since_ms)),
        rollouts=tuple(_rollouts(client, model, since_ms)),
        overrides=tuple(one for one in entries if one.forced),
        chain=(),
    )


def _version(item: Mapping[str, Any], standing: Mapping[str, Any]) -> VersionSaid:
    lineage = item["lineage"]
    return VersionSaid(
        version=item["version"], digest=item["digest"], owner=item["owner"], source=item["source"],
        commit=commit_words(lineage), run_id=lineage["run_id"], data_digest=lineage["data_digest"],
        by=item["author"], at_ms=item["at_ms"], state=standing.get("state", "registered"),
        state_by=standing.get("by", ""), state_reason=standing.get("reason", ""),
        sunset=(standing.get("sunset_at") or "")[:10],
    )  # fmt: skip


def _approvals(standings: Mapping[str, Mapping[str, Any]]) -> Iterator[ApprovalSaid]:
    for version, standing in standings.items():
        for given in standing["approvals"]:
            yield ApprovalSaid(version=version, **given)


def _entries(client: ControlClient, model: str, since_ms: int) -> Iterator[Entry]:
    """Of the audit, newest first."""
    before = None
    while True:
        page = client.get("audit", model=model, since_ms=since_ms, before=before, limit=1000)
        for item in page["entries"]:
            fields = tuple(change["field"] for change in item["changes"])
            yield Entry(
                item["revision"], item["at_ms"], item["author"], item["reason"], item["forced"], fields
            )
        before = page["next"]
        if before is None:
            return


def _live(client: ControlClient, model: str, since_ms: int) -> list[Live]:
    """Oldest first, from the form that was live when the time began."""
    found: list[Live] = []
    before = None
    while True:
        try:
            page = client.get("routes", model, "history", limit=1000, before=before)
        except TurnoutError as error:
            if error.code != "no_route":
                raise
            return []
        for item in page["history"]:
            found.append(_form(item))
            if item["at_ms"] <= since_ms:
                return found[::-1]
        before = page["next"]
        if before is None:
            return found[::-1]


def _form(item: Mapping[str, Any]) -> Live:
    document = item["document"] or {}
    rules = tuple(
        f"{rule['name']}: {match_words(rule['match'])} => {split_words(rule['split'])}"
        for rule in document.get("rules", ())
    )
    return Live(
        at_ms=item["at_ms"], revision=item["revision"], by=item["author"], reason=item["reason"],
        shares=tuple((entry["version"], float(entry["weight"])) for entry in document.get("split", ())),
        shadows=tuple(shadow_words([shadow]) for shadow in document.get("shadows", ())),
        rules=rules,
    )  # fmt: skip


def _rollouts(client: ControlClient, model: str, since_ms: int) -> Iterator[RolloutSaid]:
    """Newest first: those of which anything happened in the time."""
    for item in client.get("models", model, "rollouts", "history")["rollouts"]:
        events = tuple(
            EventSaid(
                event["at_ms"], event["step"], event["what"], event["author"], event["sentence"],
                tuple((verdict["outcome"], verdict["sentence"]) for verdict in event["verdicts"]),
            )
            for event in item["events"]
            if event["at_ms"] >= since_ms
        )  # fmt: skip
        if events or not item["is_over"]:
            yield RolloutSaid(
                item["rollout_id"], item["baseline"], item["candidate"], item["phase"].replace("_", " "),
                item["sentence"], item["author"], item["reason"], item["started_ms"], events,
            )  # fmt: skip


def _chain(client: ControlClient) -> tuple[tuple[str, ...], bool | None]:
    """What the verification of the audit said, and whether it is whole; None = it could not be asked."""
    try:
        found = client.post("audit", "verify", body={})
    except TurnoutError as error:
        if error.code != "forbidden":
            raise
        return ("Not verified: that needs a key for all models.",), None
    if found["whole"]:
        said = (
            f"Yes: {found['entries']} entries up to revision {found['revision']} are whole, {found['heads']} "
            f"signed heads agree; the newest {found['unsigned_entries']} are not under a head yet."
        )
        return (said,), True
    return ("NO.", *found["problems"]), False


def _pictures(found: Report) -> dict[str, str]:
    """The shares as a data: URL; nothing without matplotlib, the table says the same."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return {}
    from gateway.cli.plots import plot_shares

    drawn = io.BytesIO()
    plot_shares(found, Figure(figsize=(10, 4), layout="constrained")).savefig(drawn, format="svg")
    return {SHARES: "data:image/svg+xml;base64," + base64.b64encode(drawn.getvalue()).decode()}
