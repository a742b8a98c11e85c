"""The control API put together: stores, handlers, and what stands in front of them.

`build_app` makes every object and connects nothing: without Redis the process starts, and answers 503 until
Redis is back. Called by `turnout control`, by `turnout up` and by tests.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from fastapi import FastAPI

from gateway.contract.lineage import clean
from gateway.control.access.door import Door, Failures
from gateway.control.access.guard import Guard
from gateway.control.access.oidc import Issuer
from gateway.control.access.people import People
from gateway.control.access.roles import PREFIX
from gateway.control.answers import PROBLEMS, install_answers
from gateway.control.api import (
    aliases,
    artifacts,
    audit,
    erasure,
    events,
    evidence,
    explain,
    fleet,
    keys,
    login,
    models,
    observed,
    pins,
    policies,
    pools,
    rollouts,
    routes,
    standings,
    traffic,
)
from gateway.control.audit.heads import Heads
from gateway.control.overview import Overview
from gateway.control.parts import Parts
from gateway.control.pools.now import PoolsNow
from gateway.control.registry.artifacts import Artifacts, Inspected
from gateway.control.registry.catalogue import Catalogue
from gateway.control.rollouts.running import running_controller
from gateway.control.routing.probe import WorkerProbe
from gateway.control.routing.steering import Steerings
from gateway.control.settings import LOOPBACK_NAMES, ControlSettings
from gateway.store.answered import Answered
from gateway.store.audit import AuditStream
from gateway.store.condition import Server
from gateway.store.connection import connect
from gateway.store.documents import Documents
from gateway.store.erasure import Erasure
from gateway.store.fleet import FleetStore
from gateway.store.key_uses import KeyUses
from gateway.store.lease import Leases
from gateway.store.memory import MemoryUse
from gateway.store.pins import Pins
from gateway.store.predictions import Predictions
from workers.stores import open_store


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
        artifacts.uploads,
        artifacts.router,
        aliases.router,
        models.router,
        pools.router,
        routes.one,
        routes.several,
        fleet.router,
        evidence.router,
        traffic.router,
        explain.router,
        policies.router,
        standings.router,
        erasure.router,
        pins.router,
        rollouts.router,
        events.router,
        keys.router,
        login.router,
        audit.router,
        observed.router,
    ):
        app.include_router(router, prefix=PREFIX)
    app.add_api_route("/metrics", observed.show_metrics, methods=["GET"], include_in_schema=False)
    app.add_api_route("/healthz", _healthz, methods=["GET"])
    app.add_middleware(
        Door,
        settings=settings.access,
        documents=parts.documents,
        uses=parts.key_uses,
        failures=parts.failures,
        people=parts.people,
    )
    app.add_middleware(Guard, allowed_hosts=host_names(settings))
    return app


def host_names(settings: ControlSettings) -> frozenset[str]:
    """Names under which this process may be called. A wildcard address is none: a page of another site could
    use it."""
    own_names = () if settings.host in ("0.0.0.0", "::") else (settings.host,)
    told_name = urlsplit(settings.oidc.url).hostname
    return LOOPBACK_NAMES | {*settings.allowed_hosts, *own_names, *([told_name] if told_name else [])}


async def _healthz() -> dict[str, bool]:
    """This process is alive; `/api/v1/status` says whether the installation is well."""
    return {"live": True}


def _parts(settings: ControlSettings) -> Parts:
    redis = connect(settings.redis_url, name="turnout-control", timeout_s=settings.store_timeout_s)
    stream = AuditStream(redis)
    documents = Documents(redis)
    fleet, predictions = FleetStore(redis), Predictions(redis)
    catalogue, steerings = Catalogue(documents, keep_warm_s=settings.keep_warm_s), Steerings(documents)
    pools_now = PoolsNow(fleet, catalogue)
    return Parts(
        settings=settings,
        disconnect=redis.aclose,
        documents=documents,
        catalogue=catalogue,
        steerings=steerings,
        pools=pools_now,
        pins=Pins(redis),
        erasure=Erasure(redis),
        fleet=fleet,
        predictions=predictions,
        artifacts=Artifacts(
            open_store(settings.artifacts_dir, settings.artifacts_url),
            scratch=settings.artifacts_dir / "partial",
            inspect=_inspected,
            max_bytes=settings.max_artifact_bytes,
        ),
        probe=WorkerProbe(timeout_s=settings.probe_timeout_s),
        leases=Leases(redis),
        audit=stream,
        heads=Heads(stream, settings.data_dir),
        key_uses=KeyUses(redis),
        answered=Answered(redis),
        failures=Failures(),
        people=People(settings.oidc),
        issuer=Issuer(settings.oidc),
        overview=Overview(pools_now, steerings, predictions),
        server=Server(redis),
        memory=MemoryUse(redis),
    )


def _inspected(data: bytes) -> Inspected:
    # Imported where it is needed: the model format behind it takes longer to load than all the rest.
    from workers.artifact import inspect

    found = inspect(data)
    return Inspected(found.signature, clean(found.producer), found.opsets)
