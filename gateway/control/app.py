"""The control API put together: stores, handlers, and what stands in front of them.

`build_app` makes every object and connects nothing: without Redis the process starts, and answers 503 until
Redis is back. Called by `turnout control`, by `turnout up` and by tests.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from gateway.contract.lineage import clean
from gateway.control.answers import PROBLEMS, install_answers
from gateway.control.api import (
    aliases,
    audit,
    events,
    evidence,
    explain,
    fleet,
    governance,
    keys,
    models,
    rollouts,
    routes,
    traffic,
)
from gateway.control.artifacts import Artifacts, Inspected
from gateway.control.audit_heads import Heads
from gateway.control.catalogue import Catalogue
from gateway.control.gate import Failures, Gate
from gateway.control.guard import Guard
from gateway.control.parts import Parts
from gateway.control.probe import WorkerProbe
from gateway.control.roles import PREFIX
from gateway.control.rollouts.running import running_controller
from gateway.control.settings import LOOPBACK_NAMES, ControlSettings
from gateway.store.answered import Answered
from gateway.store.audit import AuditStream
from gateway.store.connection import connect
from gateway.store.documents import Documents
from gateway.store.fleet import FleetStore
from gateway.store.key_uses import KeyUses
from gateway.store.lease import Leases
from gateway.store.predictions import Predictions


def build_app(settings: ControlSettings) -> FastAPI:
    parts = _parts(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        signing = asyncio.create_task(
            parts.heads.keep_signing(settings.audit_head_s, now_ms=lambda: time.time_ns() // 1_000_000),
            name="control-audit-heads",
        )
        async with running_controller(parts):
            yield
        signing.cancel()
        await asyncio.wait([signing])
        await parts.aclose()

    app = FastAPI(
        title="Turnout control",
        lifespan=lifespan,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=PROBLEMS,
    )
    app.state.parts = parts
    install_answers(app)
    for router in (
        models.uploads,
        aliases.router,
        models.router,
        routes.one,
        routes.several,
        fleet.router,
        evidence.router,
        traffic.router,
        explain.router,
        governance.router,
        rollouts.router,
        events.router,
        keys.router,
        audit.router,
    ):
        app.include_router(router, prefix=PREFIX)
    app.add_api_route("/healthz", _healthz, methods=["GET"])
    app.add_middleware(
        Gate,
        settings=settings.access,
        documents=parts.documents,
        uses=parts.key_uses,
        failures=parts.failures,
    )
    app.add_middleware(Guard, allowed_hosts=host_names(settings))
    return app


def host_names(settings: ControlSettings) -> frozenset[str]:
    """Names under which this process may be called. A wildcard address is none: a page of another site could
    use it."""
    own_names = () if settings.host in ("0.0.0.0", "::") else (settings.host,)
    return LOOPBACK_NAMES | {*settings.allowed_hosts, *own_names}


async def _healthz() -> dict[str, bool]:
    """This process is alive; `/api/v1/status` says whether the installation is well."""
    return {"live": True}


def _parts(settings: ControlSettings) -> Parts:
    redis = connect(settings.redis_url, name="turnout-control", timeout_s=settings.store_timeout_s)
    stream = AuditStream(redis)
    documents = Documents(redis)
    return Parts(
        settings=settings,
        disconnect=redis.aclose,
        documents=documents,
        catalogue=Catalogue(documents),
        fleet=FleetStore(redis),
        predictions=Predictions(redis),
        artifacts=Artifacts(
            settings.artifacts_dir, inspect=_inspected, max_bytes=settings.max_artifact_bytes
        ),
        probe=WorkerProbe(timeout_s=settings.probe_timeout_s),
        leases=Leases(redis),
        audit=stream,
        heads=Heads(stream, settings.data_dir),
        key_uses=KeyUses(redis),
        answered=Answered(redis),
        failures=Failures(),
    )


def _inspected(data: bytes) -> Inspected:
    # Imported where it is needed: the model format behind it takes longer to load than all the rest.
    from workers.artifact import inspect

    found = inspect(data)
    return Inspected(found.signature, clean(found.producer), found.opsets)
