"""Workers first, then the change: versions without workers are started before a change gives them traffic.

The control API refuses such a change and names the versions. Here they are asked for, waited for, and the
same change is sent once more; until then nothing has moved. Called by every command that changes routes or
starts rollouts.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from gateway.cli.session import Session
from gateway.contract.errors import TurnoutError

POLL_S = 0.1  # a worker takes about a second to start
STUCK_S = 2.0  # what a supervisor says is half a second old at most: a new wish needs as long to be heard
Answer = Mapping[str, Any]


def with_workers(session: Session, change: Callable[[], Answer], *, within_s: float) -> Answer:
    """The change's answer; `within_s` 0 starts nothing. Raises TurnoutError where it stays refused."""
    try:
        return change()
    except TurnoutError as error:
        lacking = error.data.get("without_workers", ())
        if not lacking or within_s <= 0:
            raise
        if not session.client.get("pools", model=lacking[0]["model"])["supervisors"]:
            raise
    for item in lacking:
        start_pool(session, item["model"], item["version"], within_s=within_s)
    return change()


def start_pool(session: Session, model: str, version: str, *, within_s: float) -> Answer:
    """Asks for a version's workers and waits; its pool. Raises TurnoutError unless at least one is ready."""
    workers = _ask(session, model, version)
    session.out.line(f"starting {workers} worker{'' if workers == 1 else 's'} of {model} {version} ...")
    pool, is_whole, waited_s = wait(session, model, version, within_s=within_s, is_asking=True)
    if not pool["ready"]:
        raise TurnoutError("no_workers", why_short(pool, model, version, waited_s))
    if is_whole:
        session.out.line(f"{pool['ready']}/{pool['wanted']} workers ready, {waited_s:.1f} s")
    else:
        session.out.warning(why_short(pool, model, version, waited_s))
    return pool


def wait(
    session: Session, model: str, version: str, *, within_s: float, is_asking: bool = False
) -> tuple[Answer, bool, float]:
    """Until there are as many as there should be, or waiting is vain; the pool, whether so, and how long.

    `is_asking`: asks again where a slow start would outlast the wish, or what follows.
    """
    began = moving = time.monotonic()
    while True:
        pool: Answer = session.client.get("models", model, "versions", version)["pool"]
        now = time.monotonic()
        moving = moving if pool["is_stuck"] else now
        is_ending = not pool["wanted"] or (pool["stops_in_s"] or STUCK_S) < STUCK_S
        if is_asking and is_ending and not pool["is_stuck"]:
            _ask(session, model, version)
        elif pool["ready"] == (pool["wanted"] or 0):
            return pool, True, now - began
        if now - began >= within_s or now - moving >= STUCK_S:
            return pool, False, now - began
        time.sleep(POLL_S)


def _ask(session: Session, model: str, version: str) -> int:
    """How many were asked for."""
    asked = session.client.post("models", model, "versions", version, "start", body={})
    return int(asked["workers"])


def why_short(pool: Answer, model: str, version: str, waited_s: float) -> str:
    why = "; ".join(pool["lacks"]) or "see `turnout pools` and the supervisor's log"
    return (
        f"{pool['ready']}/{pool['wanted']} workers of {model} {version} ready after {waited_s:.0f} s: {why}"
    )
