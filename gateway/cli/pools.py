"""`turnout pools`: workers of each version, and how many there should be."""

import time
from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.grammar import WithDefault, changing, reading
from gateway.cli.progress import progress
from gateway.cli.session import Session, operator
from gateway.cli.words import duration

_POLL_S = 0.1  # a worker takes about a second to start


@click.group(cls=WithDefault)
def pools() -> None:
    """Workers of each version: wanted, ready, where."""


@pools.command("list")
@reading
@operator
def list_pools(session: Session) -> int:
    """Every version with its workers."""
    found = session.client.get("pools")
    session.out.value(found)
    session.out.table(
        ("model", "version", "wanted>", "ready>", "workers"),
        [_row(pool) for pool in found["pools"]],
        empty="no version is registered: `turnout model register MODEL --version 1 --from FILE`",
    )
    return 0


@pools.command()
@click.argument("model")
@click.argument("version")
@click.argument("workers", type=click.IntRange(0, 64))
@click.option("--wait/--no-wait", default=True, help="Return when so many are ready. Default: wait.")
@click.option("--wait-s", type=click.FloatRange(0, 600), default=30.0, show_default=True, metavar="SECONDS")
@click.option("--force", is_flag=True, help="Also when the last worker of live traffic goes.")
@changing()
@operator
def scale(
    session: Session, model: str, version: str, workers: int, wait: bool, wait_s: float, force: bool
) -> int:
    """Keep this many workers of a version alive: pools scale digits 2 3"""
    result = session.client.put(
        "models", model, "versions", version, "workers", body={"workers": workers, "force": force}
    )
    session.out.line(f"{model} {version}: {workers} workers wanted (revision {result['revision']})")
    code, pool = wait_for_pool(session, model, version, workers=workers, within_s=wait_s if wait else 0.0)
    session.out.value({**result, "ready": pool["ready"]})
    return code


def wait_for_pool(
    session: Session, model: str, version: str, *, workers: int, within_s: float
) -> tuple[int, Mapping[str, Any]]:
    """Until exactly so many workers are ready; exit code 1 if they are not in time."""
    started = time.monotonic()
    with progress(f"waiting for {workers} workers of {model} {version}"):
        while True:
            found = session.client.get("models", model, "versions", version)
            pool: Mapping[str, Any] = found["pool"]
            waited_s = time.monotonic() - started
            if pool["ready"] == workers or waited_s >= within_s:
                break
            time.sleep(_POLL_S)
    if pool["ready"] == workers:
        if within_s:
            session.out.line(f"{workers}/{workers} workers ready, {waited_s:.1f} s")
        return 0, pool
    if not within_s:
        return 0, pool
    session.out.failure(
        f"{pool['ready']}/{workers} workers of {model} {version} ready after {within_s:g} s: is a supervisor "
        "running (`turnout up` or `turnout supervisor`)? See `turnout pools`"
    )
    return 1, pool


def _row(pool: Mapping[str, Any]) -> tuple[Any, ...]:
    workers = ", ".join(
        f"{worker['address']} {worker['problem'] or worker['state']} ({duration(worker['age_s'])})"
        for worker in pool["workers"]
    )
    wanted = "-" if pool["wanted"] is None else pool["wanted"]
    note = "" if pool["is_registered"] else "not registered; "
    return (
        pool["model"],
        pool["version"],
        wanted,
        pool["ready"],
        note + workers,
    )
