"""`turnout bench versions`: the same requests at each version in turn, and which differences are no noise.

Needs idle workers, since other requests would be in their CPU time and queues: it looks first, and refuses.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any

import click

from gateway.cli.bench.report import draw, show
from gateway.cli.bench.workers import Used, others_per_second, used
from gateway.cli.grammar import Noun
from gateway.cli.loadtest.inputs import inputs_of, recorded_inputs
from gateway.cli.loadtest.target import check_names, target_of
from gateway.cli.session import Session, operator
from gateway.contract.errors import TurnoutError
from gateway.loadtest.pinned import Measured, measure
from gateway.loadtest.rounds import Slot, orders

WARM_UP = 50  # requests that each version gets before it is measured
TIMEOUT_S = 10.0
LOOK_S = 1.0  # how long workers are watched for requests of others
BUSY = 0.7  # load average per core from which other work is said to disturb


@click.group(cls=Noun)
def bench() -> None:
    """What versions of a model cost, measured in turn."""


@bench.command()
@click.argument("model")
@click.argument("versions", nargs=-1, required=True, metavar="VERSION...")
@click.option("--rounds", type=click.IntRange(2, 200), default=10, show_default=True, metavar="N")
@click.option("--requests", type=click.IntRange(10, 100_000), default=300, show_default=True, metavar="N",
    help="At each version in each round.")  # fmt: skip
@click.option("--connections", type=click.IntRange(1, 256), default=4, show_default=True, metavar="N",
    help="Requests under way at once.")  # fmt: skip
@click.option("--inputs", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="NDJSON: {\"body\": {...}, \"label\": 7} a line. Default: the demo's, for its models.")  # fmt: skip
@click.option(
    "--recorded", is_flag=True, help="Send requests that gateways kept (`record.bodies`); no labels."
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Every round as a point (PNG or SVG by suffix).")  # fmt: skip
@click.option("--force", is_flag=True, help="Also where the workers answer others meanwhile.")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="Where the gateway is.")
@click.option(
    "--allow-host", multiple=True, metavar="HOST", help="Hosts that may be loaded, besides loopback."
)
@click.option("--max-duration", type=click.FloatRange(1, 3600), default=300.0, show_default=True,
    metavar="SECONDS", help="No round begins later.")  # fmt: skip
@click.option("--seed", type=int, default=0, metavar="N", help="Of the order of versions.")
@operator
def versions(
    session: Session,
    model: str,
    versions: tuple[str, ...],
    inputs: Path | None,
    recorded: bool,
    plot: Path | None,
    force: bool,
    **options: Any,
) -> int:
    """Cost, latency, throughput, accuracy and agreement; the first VERSION is what others are compared with.

    \b
    turnout bench versions digits 1 2 3
    turnout bench versions digits 1 2 --rounds 20 --plot versions.svg
    """
    chosen = list(dict.fromkeys(versions))
    check_names(model, chosen)
    if recorded and inputs is not None:
        raise click.UsageError("give --inputs or --recorded, not both")
    target = target_of(options["url"], options["allow_host"])
    sent = recorded_inputs(session.client, model) if recorded else inputs_of(model, inputs)
    warnings = _warnings(session, model, chosen, force=force)
    key = click.get_current_context().params.get("key")
    headers = {"authorization": f"Bearer {key}"} if key else {}

    def measured(version: str, requests: int) -> Measured:
        path = f"/v2/models/{model}/versions/{version}/infer"
        bodies = [each.body.encode() for each in sent]
        return asyncio.run(
            measure(
                target, path, bodies, requests=requests, connections=options["connections"],
                timeout_s=TIMEOUT_S, headers=headers,
            )
        )  # fmt: skip

    for version in chosen:
        warm = measured(version, max(WARM_UP, options["connections"]))
        if not warm.latencies_ms:
            kinds = ", ".join(warm.errors)
            raise TurnoutError("not_ready", f"version {version} of {model} answered no request: {kinds}")
    before = {version: used(session.client, model, version) for version in chosen}
    slots, answers = _rounds(session, model, chosen, measured, options)
    warnings += list(_others(session, model, slots, before))
    show(session.out, model, chosen, slots, answers, sent, warnings)
    if plot is not None:
        draw(model, chosen, slots, plot)
        session.out.line(f"drawn into {plot}")
    return 1 if any(slot.failed for slot in slots) else 0


def _warnings(session: Session, model: str, versions: Sequence[str], *, force: bool) -> list[str]:
    """What disturbs; refused where the workers are not idle."""
    rates = others_per_second(session.client, model, versions, within_s=LOOK_S)
    busy = [f"{version} ({rate:.3g} a second)" for version, rate in rates.items() if rate]
    found = []
    if busy:
        told = f"workers of {model} answer requests of others: version {', '.join(busy)}"
        if not force:
            raise TurnoutError("refused", f"{told}. Stop that traffic, or insist with --force")
        found.append(f"{told}: it is in these numbers")
    cores = os.cpu_count() or 1
    if os.getloadavg()[0] > BUSY * cores:
        found.append(
            f"this machine has other work (load average {os.getloadavg()[0]:.1f} on {cores} cores): "
            "expect wide intervals"
        )
    return found


def _rounds(
    session: Session, model: str, versions: Sequence[str], measured: Any, options: Mapping[str, Any]
) -> tuple[list[Slot], dict[str, dict[int, bytes]]]:
    slots: list[Slot] = []
    answers: dict[str, dict[int, bytes]] = {version: {} for version in versions}
    until_s = time.monotonic() + options["max_duration"]
    for number, order in enumerate(orders(versions, options["rounds"], Random(options["seed"])), 1):
        if time.monotonic() > until_s:
            break
        for version in order:
            before = used(session.client, model, version)
            found = measured(version, options["requests"])
            after = used(session.client, model, version)
            slots.append(_slot(version, number, found, before, after))
            for place, body in found.answers.items():
                answers[version].setdefault(place, body)
    return slots, answers


def _others(
    session: Session, model: str, slots: Sequence[Slot], before: Mapping[str, Used | None]
) -> Iterator[str]:
    """What the workers got besides, in the end and all together: in whichever slot, it took CPU from it."""
    for version, first in before.items():
        last = used(session.client, model, version)
        if first is None or last is None or first.workers != last.workers:
            yield f"the workers of version {version} cannot be asked from here what else they did"
            continue
        sent = sum(slot.requests for slot in slots if slot.version == version)
        if (others := last.requests - first.requests - sent) > 0:
            yield (
                f"workers of version {version} got {others} requests besides (shadow copies, other clients): "
                "they are in these numbers"
            )


def _slot(version: str, number: int, found: Measured, before: Used | None, after: Used | None) -> Slot:
    done, failed = len(found.latencies_ms), found.errors.total()
    cents = quantiles(found.latencies_ms, n=100, method="inclusive") if done > 1 else None
    cpu_us = None
    if done and before is not None and after is not None and before.workers == after.workers:
        cpu_us = 1e6 * (after.cpu_s - before.cpu_s) / done
    return Slot(
        version=version,
        round=number,
        requests=done + failed,
        failed=failed,
        per_second=done / found.seconds if found.seconds else 0.0,
        p50_ms=None if cents is None else cents[49],
        p99_ms=None if cents is None else cents[98],
        cpu_us=cpu_us,
    )
