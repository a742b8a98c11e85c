"""`turnout unit`: what is kept of one user, device or account."""

import sys
from typing import Any

import click

from gateway.cli.grammar import DRY_RUN, YES, Noun, changes_itself, confirm
from gateway.cli.session import Session, operator


@click.group(cls=Noun)
def unit() -> None:
    """What is kept of one unit: a user, a device, an account."""


@unit.command()
@click.argument("model", metavar="MODEL")
@click.argument("name", metavar="UNIT", required=False)
@click.option(
    "--prediction", "predictions", multiple=True, metavar="ID", help="One prediction by its id; repeatable."
)
@click.option(
    "--reason", required=True, metavar="TEXT", help="Why, without naming the unit: the audit keeps it."
)
@YES
@DRY_RUN
@changes_itself
@operator
def erase(
    session: Session,
    model: str,
    name: str | None,
    predictions: tuple[str, ...],
    reason: str,
    yes: bool,
    dry_run: bool,
) -> int:
    """Erase records, outputs, labels and samples of a unit's predictions. For admins.

    UNIT is written as requests name it; `-` reads it from standard input, where no shell history keeps it.
    Its records are found where the route says `record.units`. Counts stay.
    """
    if name == "-":
        name = sys.stdin.readline().rstrip("\r\n")
    if not name and not predictions:
        raise click.UsageError("name a UNIT, or give --prediction ID")
    if not (yes or dry_run):
        confirm(f"Erase these predictions of {model} for ever?")
    body: dict[str, Any] = {"predictions": list(predictions), "reason": reason, "dry_run": dry_run}
    found = session.client.post("models", model, "erasure", body=body | ({"unit": name} if name else {}))
    session.out.value(found)
    told = (
        f"{found['predictions']} predictions of {model}, {found['disagreements']} disagreements and "
        f"{found['corrections']} corrections with them; and {found['samples']} sampled requests, which "
        "nobody can tell apart"
    )
    if dry_run:
        session.out.dry_run(f"would erase {told}")
    else:
        session.out.line(f"erased {told}")
        session.out.line(f"the audit names this erasure {found['seal']} (revision {found['revision']})")
    if name and not found["keeps_units"]:
        session.out.warning(
            f"the route of {model} does not say `record.units`: predictions made without it are not found by "
            "their unit; they go with `record.ttl_s`, or by --prediction"
        )
    return 0
