"""`turnout audit`: who changed what, and when."""

import click

from gateway.cli.session import Session, operator
from gateway.cli.words import moment


@click.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=30, show_default=True)
@operator
def audit(session: Session, limit: int) -> int:
    """Every change of the installation, newest first."""
    found = session.client.get("audit", limit=limit)
    session.out.value(found)
    session.out.table(
        ("revision>", "when", "by", "reason", "changed"),
        [
            (
                entry["revision"],
                moment(entry["at_ms"]),
                entry["author"],
                entry["reason"],
                ", ".join(
                    change["field"] + (" (deleted)" if change["deleted"] else "")
                    for change in entry["changes"]
                ),
            )
            for entry in found["entries"]
        ],
    )
    return 0
