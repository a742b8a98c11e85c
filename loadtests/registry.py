"""How long do lists and searches take with 10,000 versions of 500 models? `python -m loadtests.registry`.

Over the control API as an ASGI application and the embedded Redis: no network, so that what is measured is
the registry. The first question reads everything, once for each control process; it is told apart.
"""

import asyncio
import statistics
import tempfile
import time
import uuid
from pathlib import Path

import httpx2
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.signature import Signature, TensorSpec
from gateway.contract.version import Version
from gateway.control.app import build_app
from gateway.control.settings import ControlSettings
from gateway.store.connection import connect
from gateway.store.documents import Change, Documents
from gateway.store.embedded import EmbeddedServer

MODELS, VERSIONS, ROUNDS = 500, 20, 20
_SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 64)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 10)),),
)
_ASKED: dict[str, dict[str, object]] = {
    "first page": {"limit": 50},
    "everything": {},
    "search by tag": {"search": "tag:stage=3"},
    "search by metric": {"search": "metric:accuracy>0.9"},
    "search by word": {"search": "m0042"},
}


async def fill(redis: Redis, *, models: int = MODELS) -> None:
    documents = Documents(redis)
    for model in range(models):
        name = f"m{model:04}"
        changes = [
            Change(
                keys.version_field(name, str(number)),
                Version(
                    model=name, version=str(number), digest=f"{model * VERSIONS + number:064x}", size_bytes=1,
                    signature=_SIGNATURE, tags={"stage": str(number)},
                    metrics={"accuracy": number / VERSIONS},
                ).model_dump(mode="json"),
                expected_revision=0,
            )
            for number in range(VERSIONS)
        ]  # fmt: skip
        await documents.commit(changes, author="bench", reason="", op_id=uuid.uuid4().hex)


async def measure(url: str, directory: Path) -> None:
    redis = connect(url, name="bench", timeout_s=30.0)
    await fill(redis)
    await redis.aclose()
    app = build_app(ControlSettings(redis_url=url, artifacts_dir=directory, store_timeout_s=30.0))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8090/api/v1") as client:
        print(f"{'the very first question':26} {await _ask_ms(client, {'limit': 50}):8.1f} ms")
        for name, asked in _ASKED.items():
            taken = sorted([await _ask_ms(client, asked) for _ in range(ROUNDS)])
            print(f"{name:26} {statistics.median(taken):8.1f} ms median, {taken[-1]:.1f} ms at most")
    await app.state.parts.aclose()


async def _ask_ms(client: httpx2.AsyncClient, asked: dict[str, object]) -> float:
    began = time.perf_counter()
    reply = await client.get("/models", params={key: str(value) for key, value in asked.items()})
    taken_ms = (time.perf_counter() - began) * 1000
    reply.raise_for_status()
    return taken_ms


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        server = EmbeddedServer.start(Path(directory) / "redis")
        try:
            asyncio.run(measure(server.url, Path(directory) / "artifacts"))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
