"""`turnout pools`: workers of each version, how many there should be, and why."""

from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.grammar import WithDefault, changing, reading
from gateway.cli.session import Session, operator
from gateway.cli.starting import start_pool, why_short
from gateway.cli.starting import wait as waited
from gateway.cli.words import duration


@click.group(cls=WithDefault)
def pools() -> None:
    """Workers of each version: wanted, ready, why, where."""


@pools.command("list")
@reading
@operator
def list_pools(session: Session) -> int:
    """Every version with its workers, and why it has them."""
    found = session.client.get("pools")
    session.out.value(found)
    session.out.table(
        ("model", "version", "wanted>", "ready>", "why", "workers"),
        [_row(pool) for pool in found["pools"]],
        empty="no version is registered: `turnout model register MODEL --version 1 --from FILE`",
    )
    for pool in found["pools"]:
        if pool["is_short"]:
            for lack in pool["lacks"]:
                session.out.warning(f"{pool['model']} {pool['version']}: {lack}")
    return 0


@pools.command()
@click.argument("model")
@click.argument("version")
@click.option("--wait-s", type=click.FloatRange(0, 600), default=30.0, show_default=True, metavar="SECONDS")
@changing()
@operator
def start(session: Session, model: str, version: str, wait_s: float) -> int:
    """Start a version's workers before anything needs them, or try again after a crash loop."""
    pool = start_pool(session, model, version, within_s=wait_s)
    session.out.value({"model": model, "version": version, "pool": pool})
    tell_until(session, pool)
    return 0


@pools.command()
@click.argument("model")
@click.argument("version")
@click.argument("workers", type=click.IntRange(0, 64))
@click.option("--always", "keep", flag_value="always", help="Keep them also while nothing needs the version.")
@click.option("--when-needed", "keep", flag_value="needed", help="Stop them when nothing needs it any more.")
@click.option("--wait/--no-wait", default=True, help="Return when so many are ready. Default: wait.")
@click.option("--wait-s", type=click.FloatRange(0, 600), default=30.0, show_default=True, metavar="SECONDS")
@click.option("--force", is_flag=True, help="Also when the last worker of live traffic goes.")
@changing()
@operator
def scale(
    session: Session,
    model: str,
    version: str,
    workers: int,
    keep: str | None,
    wait: bool,
    wait_s: float,
    force: bool,
) -> int:
    """Keep this many workers of a version alive: pools scale digits 2 3

    Each supervisor keeps so many on its machine; of a version that is kept by need, while it is needed.
    """
    body = {"workers": workers, "force": force, "keep": keep}
    result = session.client.put("models", model, "versions", version, "workers", body=body)
    session.out.line(f"{model} {version}: {workers} workers wanted (revision {result['revision']})")
    code, pool = wait_for_pool(session, model, version, within_s=wait_s if wait else 0.0)
    session.out.value({**result, "ready": pool["ready"]})
    tell_until(session, pool)
    return code


def wait_for_pool(
    session: Session, model: str, version: str, *, within_s: float
) -> tuple[int, Mapping[str, Any]]:
    """Until exactly as many workers are ready as there should be; exit code 1 if they are not in time."""
    pool, is_whole, waited_s = waited(session, model, version, within_s=within_s)
    if not within_s:
        return 0, pool
    if is_whole:
        session.out.line(f"{pool['ready']}/{pool['wanted'] or 0} workers ready, {waited_s:.1f} s")
        return 0, pool
    session.out.failure(why_short(pool, model, version, waited_s))
    return 1, pool


def tell_until(session: Session, pool: Mapping[str, Any]) -> None:
    """Where nothing needs the version: when its workers go."""
    if pool["stops_in_s"] is not None and pool["wanted"]:
        session.out.line(
            f"nothing needs it yet: they stop in {duration(pool['stops_in_s'])}, unless a route names it "
            "until then (`turnout pools scale --always` keeps them)"
        )


def _row(pool: Mapping[str, Any]) -> tuple[Any, ...]:
    workers = ", ".join(
        f"{worker['address']} {worker['problem'] or worker['state']} ({duration(worker['age_s'])})"
        for worker in pool["workers"]
    )
    wanted = "-" if pool["wanted"] is None else pool["wanted"]
    note = "" if pool["is_registered"] else "not registered; "
    return pool["model"], pool["version"], wanted, pool["ready"], why(pool), note + workers


def why(pool: Mapping[str, Any]) -> str:
    """Why the pool is there: `split 90 %, shadow 20 %`, `idle, stops in 4 min`."""
    said = ", ".join(pool["reasons"])
    if pool["stops_in_s"] is not None:
        return f"idle ({said}), stops in {duration(pool['stops_in_s'])}"
    return said or ("nothing needs it" if pool["wanted"] == 0 else "")
