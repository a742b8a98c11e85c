"""A rollout in a small world: two versions with workers, a gateway that follows, and evidence.

Evidence is added to the present minute the way recorders do. The controller's clock is the test's.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.evidence import role_field
from gateway.contract.rollout import Rollout
from gateway.contract.route import Route
from gateway.control.app import build_app
from gateway.control.parts import Parts
from gateway.control.rollouts.act import Actor
from gateway.control.rollouts.controller import Controller
from gateway.control.rollouts.found import the_rollout
from gateway.control.rollouts.running import make_controller
from gateway.control.settings import ControlSettings
from tests.control.world import add_ready_versions, following_gateway

MODEL = "digits"
BUCKET = "h20"  # some latency

ERROR_GATE = {"metric": "error_rate", "at_most": 0.05}
PLAN: dict[str, Any] = {
    "steps": [
        {"shadow": 100, "hold": {"min_s": 2}},
        {"weight": 10, "hold": {"min_s": 2}},
        {"weight": 50, "hold": {"min_s": 2}},
        {"weight": 100, "hold": {"min_s": 2}},
    ]
}


@dataclass(slots=True)
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(slots=True)
class World:
    redis: Redis
    api: httpx2.AsyncClient
    parts: Parts
    clock: Clock = field(default_factory=Clock)

    def controller(self, holder: str = "c1") -> Controller:
        made = make_controller(self.parts)
        made.holder, made.clock, made.observer.clock = holder, self.clock, self.clock
        return made

    async def route(self, **parts: Any) -> int:
        body = {"model": MODEL, "split": [{"version": "1", "weight": 100}]} | parts
        reply = await self.api.post(
            f"/routes/{MODEL}/edit", json={"edit": {"kind": "replace", "route": body}, "wait_s": 60}
        )
        assert reply.status_code == 200, reply.text
        return int(reply.json()["revision"])

    async def start(self, plan: Mapping[str, Any] = PLAN, **more: Any) -> dict[str, Any]:
        body = {"plan": plan, "candidate": "2", "wait_s": 60} | more
        reply = await self.api.post(f"/models/{MODEL}/rollouts", json=body)
        assert reply.status_code == 201, reply.text
        told: dict[str, Any] = reply.json()
        return told

    async def rollout(self) -> Rollout:
        return (await the_rollout(self.parts.documents, MODEL)).rollout

    async def served(self) -> Route:
        envelope = await self.parts.documents.get(keys.route_field(MODEL))
        assert envelope is not None
        return Route.model_validate(envelope.doc)

    async def weights(self) -> dict[str, float]:
        return {entry.version: entry.weight for entry in (await self.served()).split}

    async def count(self, version: str, *, role: str = "p", **statistics: float) -> None:
        """More of a version's sums in the present minute; `ok=5` counts as answered."""
        now_ms = (await self.parts.fleet.workers()).now_ms
        key = keys.evidence(MODEL, now_ms // 60_000)
        for name, value in statistics.items():
            text = name.replace("e_", "e:", 1) if name.startswith("e_") else name
            await self.redis.hincrbyfloat(key, role_field(role, version, text), value)

    async def look(self, controller: Controller, *, after_s: float = 0.5) -> None:
        """One tick's look at the rollout, `after_s` after the last one; the gateway follows meanwhile."""
        self.clock.now_s += after_s
        assert await controller._leads()
        assert controller.fence is not None
        actor = Actor(self.parts.documents, self.parts.leases, controller.fence)
        while await controller.step(MODEL, actor):
            pass
        await self._followed()

    async def _followed(self) -> None:
        revision = await self.parts.documents.revision()
        while any(gateway.revision < revision for gateway in await self.parts.fleet.gateways()):
            pass


@asynccontextmanager
async def a_world(settings: ControlSettings, redis: Redis) -> AsyncIterator[World]:
    app = build_app(settings)
    parts = app.state.parts
    assert isinstance(parts, Parts)
    async with (
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app),
            base_url="http://127.0.0.1:8090/api/v1",
            headers={"x-turnout-author": "ana@desk"},
        ) as api,
        following_gateway(redis),
    ):
        await add_ready_versions(redis, "1", "2", model=MODEL)
        world = World(redis, api, parts)
        await world.route()
        yield world
    await parts.aclose()
