"""A program: an alias moves, and the leader is killed at its n-th call to Redis while its route follows.

    python -m tests.faults.killed_follower REDIS_URL

As `killed_controller`, but for the answer to one move. For each n one JSON line: what was there after the
kill, and what after another one led. It ends when a child was done before its n-th call.
"""

import asyncio
import json
import sys
from typing import Any

from gateway.contract import keys
from gateway.control.rollouts.running import make_controller
from gateway.store.documents import Change
from tests.control.world import add_ready_versions, announce
from tests.faults.killed_controller import KILLED, MODEL, PATIENCE_S, end_lease, forked, parts_of

FIELDS = (keys.route_field(MODEL), keys.rollout_field(MODEL), keys.following_field(MODEL))
BEFORE = 2  # the revision before anybody answers


async def prepare(url: str) -> None:
    """Version 1 answers, and champion names 2."""
    parts = parts_of(url)
    redis = parts.documents._redis
    await redis.flushdb()
    await add_ready_versions(redis, "1", "2", model=MODEL)
    await announce(redis, "gw-1", 10**9)
    route = {
        "model": MODEL,
        "split": [{"version": "1", "weight": 100}],
        "follow": {"alias": "champion", "plan": "standard"},
    }
    changes = [
        Change(keys.route_field(MODEL), route, 0),
        Change(keys.alias_field(MODEL), {"aliases": {"champion": "2"}}, 0),
    ]
    await parts.documents.commit(changes, author="ana", reason="", op_id="r")
    await parts.aclose()


async def lead(url: str) -> None:
    """Until the move is answered."""
    parts = parts_of(url)
    controller = make_controller(parts)
    async with asyncio.timeout(PATIENCE_S):
        while await parts.documents.get(keys.following_field(MODEL)) is None:
            await controller.tick()
            if controller.follower._round is not None:
                await controller.follower._round
    await controller._end()
    await parts.aclose()


async def revisions(url: str) -> list[int]:
    """Of route, rollout and answer, 0 = there is none; then how often the rollout changed."""
    parts = parts_of(url)
    found = await parts.documents.several(FIELDS)
    changes = len(await parts.documents.history(keys.rollout_field(MODEL)))
    await parts.aclose()
    return [*(0 if envelope is None else envelope.revision for envelope in found), changes]


def main(url: str) -> int:
    call, code = 0, KILLED
    while code == KILLED:
        call += 1
        asyncio.run(prepare(url))
        code = forked(lead(url), die_at_call=call)
        told: dict[str, Any] = {"call": call, "killed": asyncio.run(revisions(url))}
        if code == KILLED:
            asyncio.run(end_lease(url))
            if forked(lead(url)) != 0:
                return 1
        elif code != 0:
            return 1
        print(json.dumps({**told, "after": asyncio.run(revisions(url))}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
