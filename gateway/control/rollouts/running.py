"""The rollout controller as a part of the control process: put together, started, ended. Called by `app`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.control.parts import Parts
from gateway.control.rollouts.check import CandidateCheck
from gateway.control.rollouts.controller import Controller
from gateway.control.rollouts.external import External
from gateway.control.rollouts.follow import Follower
from gateway.control.rollouts.notify import Notifier
from gateway.control.rollouts.observe import Observer
from gateway.control.rollouts.outside import Outside


def make_controller(parts: Parts) -> Controller:
    settings = parts.settings
    outside = Outside(hosts=settings.outside_hosts)
    return Controller(
        documents=parts.documents,
        leases=parts.leases,
        observer=Observer(parts.documents, parts.fleet, parts.predictions, parts.leases),
        check=CandidateCheck(parts.documents, parts.fleet, parts.probe, samples=parts.predictions.samples),
        external=External(outside),
        follower=Follower(parts),
        notifier=Notifier(parts.documents, parts.leases, outside, secret=settings.webhook_secret),
        tick_s=settings.rollout_tick_s,
    )


@asynccontextmanager
async def running_controller(parts: Parts) -> AsyncIterator[None]:
    """Runs while the block does, unless the settings say otherwise."""
    if not parts.settings.rollouts:
        yield
        return
    task = asyncio.create_task(make_controller(parts).run(), name="rollout controller")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
