"""`turnout status`: is everything well, and if not, what is to be done?"""

import click

from gateway.cli.grammar import reading
from gateway.cli.session import Session, operator


@click.command()
@reading
@operator
def status(session: Session) -> int:
    """Is everything well, and if not, what is to be done? Exit code 1 if something is wrong."""
    found = session.client.get("status")
    out = session.out
    out.value(found)
    behind = found["gateways_behind"]
    out.line(f"revision   {found['revision']}")
    out.line(f"redis      {found['redis']}")
    out.line(f"gateways   {found['gateways']}" + (f", {behind} behind" if behind else ""))
    going_on = f", {found['rollouts']} rollouts going on" if found["rollouts"] else ""
    out.line(f"models     {found['models']}, {found['routes']} routes{going_on}")
    out.line(f"workers    {found['workers_ready']} ready, {found['workers_wanted']} wanted")
    for problem in found["problems"]:
        out.line(f"problem    {problem}")
    if not found["problems"]:
        out.line("all is well")
    return 1 if found["problems"] else 0
