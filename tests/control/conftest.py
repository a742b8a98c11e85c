"""The control API over a real Redis, called as an ASGI application."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from gateway.control.app import build_app
from gateway.control.settings import ControlSettings
from tests.sockets import PATIENCE_S


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> ControlSettings:
    """Patient with Redis: a busy machine must not look like a missing server."""
    return ControlSettings(
        redis_url=redis_url,
        artifacts_dir=tmp_path / "artifacts",
        data_dir=tmp_path,
        max_artifact_bytes=100_000,
        store_timeout_s=PATIENCE_S,
    )


@pytest.fixture
async def api(settings: ControlSettings) -> AsyncIterator[httpx2.AsyncClient]:
    app = build_app(settings)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app),
        base_url="http://127.0.0.1:8090/api/v1",
        headers={"x-turnout-author": "ana@desk"},
    ) as client:
        yield client
    await app.state.parts.aclose()
