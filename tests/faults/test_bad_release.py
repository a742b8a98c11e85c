"""A bad version behind a real gateway: taken back by itself, and at once."""

import asyncio
from pathlib import Path

from gateway.contract.plan import Plan
from gateway.contract.rollout import Phase
from gateway.control.app import build_app
from gateway.control.parts import Parts
from gateway.control.rollouts.commands import start
from gateway.control.rollouts.found import the_rollout
from gateway.control.rollouts.running import make_controller
from gateway.control.settings import ControlSettings
from tests.dataplane.conftest import Turnout
from tests.scripted import Call
from tests.sockets import PATIENCE_S

PLAN = Plan.model_validate(
    {
        "candidate": "2",
        "steps": [{"weight": 50, "hold": {"min_s": 60}}],
        "gates": [{"metric": "error_rate", "at_most": 0.1}],
    }
)


async def broken(call: Call) -> None:
    call.reset()


async def test_a_version_that_fails_is_back_on_the_old_one_in_the_commit_of_its_verdict(
    turnout: Turnout, tmp_path: Path
) -> None:
    await turnout.route(retry={"attempts": 1})
    await turnout.worker(version="1")
    await turnout.worker(broken, version="2")
    await turnout.start()
    await turnout.has_workers(1)
    await turnout.has_workers(1, version="2")
    settings = ControlSettings(redis_url=turnout.url, artifacts_dir=tmp_path, store_timeout_s=PATIENCE_S)
    parts = build_app(settings).state.parts
    assert isinstance(parts, Parts)
    controller = asyncio.create_task(make_controller(parts).run())
    try:
        found = await start(parts, "digits", PLAN, author="ana", reason="", dry_run=False)
        await turnout.serves(found.revision)
        async with asyncio.timeout(PATIENCE_S):
            while not found.rollout.is_over:
                await turnout.infer()
                found = await the_rollout(parts.documents, "digits")
        assert found.rollout.phase is Phase.ROLLED_BACK
        await turnout.serves(found.revision)
        replies = [await turnout.infer() for _ in range(40)]
        assert {(status, head["turnout-version"]) for status, head, _ in replies} == {(200, "1")}
    finally:
        controller.cancel()
        await asyncio.gather(controller, return_exceptions=True)
        await parts.aclose()
