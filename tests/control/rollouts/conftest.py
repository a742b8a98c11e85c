from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.control.settings import ControlSettings
from tests.control.conftest import settings
from tests.control.rollouts.world import World, a_world

__all__ = ["settings"]


@pytest.fixture
async def world(settings: ControlSettings, redis: Redis) -> AsyncIterator[World]:
    async with a_world(settings, redis) as made:
        yield made
