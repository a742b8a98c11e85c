"""A program: runs one rollout again and again, with the controller killed at its n-th call to Redis.

    python -m tests.faults.killed_controller REDIS_URL

Each run has its own empty Redis database. A child process leads and ends at its n-th call, as with kill -9;
then another one leads and ends the rollout. The parent prints, as one JSON line for each n, what the rollout
and the route went through. It ends when a child was done before its n-th call.
"""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from gateway.contract import keys
from gateway.contract.plan import Plan
from gateway.control.app import build_app
from gateway.control.parts import Parts
from gateway.control.rollouts.commands import start
from gateway.control.rollouts.found import the_rollout
from gateway.control.rollouts.running import make_controller
from gateway.control.settings import ControlSettings
from gateway.store.documents import Change
from tests.control.world import add_ready_versions, announce

MODEL = "digits"
MIN_S = 0.03
PLAN = Plan.model_validate(
    {
        "steps": [
            {"shadow": 100, "hold": {"min_s": MIN_S}},
            {"weight": 10, "hold": {"min_s": MIN_S}},
            {"weight": 100, "hold": {"min_s": MIN_S}},
        ]
    }
)
KILLED = 42
PATIENCE_S = 60.0


def parts_of(url: str) -> Parts:
    settings = ControlSettings(
        redis_url=url, artifacts_dir=Path("/nonexistent"), store_timeout_s=PATIENCE_S, rollout_tick_s=0.01
    )
    parts = build_app(settings).state.parts
    assert isinstance(parts, Parts)
    return parts


def die_at(call: int) -> None:
    """The process ends instead of making its n-th call to Redis."""
    calls = 0
    execute, execute_all = Redis.execute_command, Pipeline.execute

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            os._exit(KILLED)

    async def command(self: Any, *arguments: Any, **options: Any) -> Any:
        count()
        return await execute(self, *arguments, **options)  # type: ignore[no-untyped-call]

    async def pipeline(self: Any, *arguments: Any, **options: Any) -> Any:
        count()
        return await execute_all(self, *arguments, **options)

    Redis.execute_command = command  # type: ignore[method-assign]
    Pipeline.execute = pipeline  # type: ignore[method-assign]


async def lead(url: str) -> None:
    """Until the rollout is over."""
    parts = parts_of(url)
    controller = make_controller(parts)
    async with asyncio.timeout(PATIENCE_S):
        while controller.fence is None or MODEL in await controller._live.models():
            await controller.tick()
            await asyncio.gather(*controller._looks.values())
            await asyncio.sleep(controller.tick_s)
    await controller._end()
    await parts.aclose()


async def prepare(url: str) -> None:
    parts = parts_of(url)
    redis = parts.documents._redis
    await redis.flushdb()
    await add_ready_versions(redis, "1", "2", model=MODEL)
    await announce(redis, "gw-1", 10**9)
    route = {"model": MODEL, "split": [{"version": "1", "weight": 100}]}
    await parts.documents.commit(
        [Change(keys.route_field(MODEL), route, 0)], author="t", reason="", op_id="r"
    )
    plan = PLAN.model_copy(update={"candidate": "2"})
    await start(parts, MODEL, plan, author="ana", reason="", dry_run=False)
    await parts.aclose()


async def end_lease(url: str) -> None:
    """What five seconds of waiting would do."""
    parts = parts_of(url)
    redis = parts.documents._redis
    await redis.hset(keys.LEASE, "until_ms", "1")
    await announce(redis, "gw-1", 10**9)
    await parts.aclose()


async def went_through(url: str) -> dict[str, Any]:
    parts = parts_of(url)
    rollout = (await the_rollout(parts.documents, MODEL)).rollout
    routes = await parts.documents.history(keys.route_field(MODEL))
    told = {
        "phase": rollout.phase,
        "events": [[event.what, event.step] for event in rollout.events],
        "dwells_ms": [
            later.at_ms - earlier.at_ms
            for earlier, later in zip(rollout.events, rollout.events[1:], strict=False)
            if later.what in ("advanced", "succeeded")
        ],
        "routes": [
            [entry.author == rollout.route_author, entry.doc["split"], entry.doc.get("shadows", [])]
            for entry in reversed(routes)
            if entry.doc is not None
        ],
        "fence": int(await parts.documents._redis.hget(keys.LEASE, "fence") or 0),
    }
    await parts.aclose()
    return told


def forked(work: Coroutine[Any, Any, None], *, die_at_call: int | None = None) -> int:
    """The exit code of a child that does this."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if die_at_call is not None:
                die_at(die_at_call)
            asyncio.run(work)
            code = 0
        finally:
            os._exit(code)
    work.close()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(url: str) -> int:
    call, code = 0, KILLED
    while code == KILLED:
        call += 1
        asyncio.run(prepare(url))
        code = forked(lead(url), die_at_call=call)
        if code == KILLED:
            asyncio.run(end_lease(url))
            if forked(lead(url)) != 0:
                return 1
        elif code != 0:
            return 1
        print(json.dumps({"call": call, **asyncio.run(went_through(url))}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
