"""`turnout cutover`: blue/green, with what was checked before and what clients saw during the switch."""

from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.session import How, Session, mutating, operator, report_applied
from gateway.cli.starting import with_workers


@click.command()
@click.argument("model")
@click.option("--to", metavar="VERSION", help="The version that shall answer.")
@click.option("--back", is_flag=True, help="Make the other slot live again; not twice in a row.")
@click.option(
    "--observe-s", type=click.FloatRange(0, 30), default=1.0, show_default=True, metavar="SECONDS",
    help="How long traffic is watched after the switch.",
)  # fmt: skip
@mutating
@operator
def cutover(session: Session, model: str, to: str | None, back: bool, observe_s: float, how: How) -> int:
    """Make another version live, or go back; every worker of it must answer a test inference first.

    turnout cutover digits --to 2
    """
    if (to is None) != back:
        raise click.UsageError("give --to VERSION or --back")
    body = {"to": to, "back": back, "observe_s": observe_s, **how.body()}
    report = with_workers(
        session, lambda: session.client.post("models", model, "cutover", body=body), within_s=how.start_s
    )
    session.out.value(report)
    _tell(session, report, is_return=back)
    return report_applied(session, report["applied"], report["revision"])


def _tell(session: Session, report: Mapping[str, Any], *, is_return: bool) -> None:
    out = session.out
    model, to = report["model"], report["to"]
    for worker in report["checked"]:
        answer = worker["problem"] or f"answered a test inference in {worker['ms']:.1f} ms"
        out.line(f"worker {worker['address']} {answer}")
    if not report["changed"]:
        out.line(f"version {to} of {model} is live already: nothing to change")
    elif report["dry_run"]:
        out.dry_run(f"version {to} of {model} would go live")
    else:
        came_from = f" instead of {report['came_from']}" if report["came_from"] else ""
        out.line(f"version {to} of {model} is live{came_from}, revision {report['revision']}")
    for change in report["differences"]:
        out.line(f"  {change}")
    for warning in report["warnings"]:
        out.warning(warning)
    if report["during"] is not None:
        out.line(_traffic(f"in the {report['observed_s']:g} s around the switch", report["during"]))
    if report["before"] is not None and report["changed"]:
        out.line(_traffic("in the minutes before", report["before"]))
    if report["changed"] and not report["dry_run"]:
        how = f"--to {report['came_from']}" if is_return else "--back"
        out.line(f"undo it with `turnout cutover {model} {how}`")


def _traffic(when: str, traffic: Mapping[str, Any]) -> str:
    failed = sum(traffic["failures"].values())
    codes = " (" + ", ".join(f"{code} {count}" for code, count in traffic["failures"].items()) + ")"
    told = f"{when}: {traffic['requests']} requests, {failed} failed{codes if failed else ''}"
    if traffic["p50_ms"] is not None:
        told += f", p50 {traffic['p50_ms']:.2f} ms, p99 {traffic['p99_ms']:.2f} ms"
    return told
