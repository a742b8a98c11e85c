"""The control API put together: stores, handlers, and what stands in front of them.

`build_app` makes every object and connects nothing: without Redis the process starts, and answers 503 until
Redis is back. Called by `turnout control`, by `turnout up` and by tests.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from gateway.contract.signature import Signature
from gateway.control.answers import install_answers
from gateway.control.api import evidence, explain, fleet, models, routes
from gateway.control.artifacts import Artifacts
from gateway.control.guard import Guard
from gateway.control.parts import Parts
from gateway.control.probe import WorkerProbe
from gateway.control.settings import LOOPBACK_NAMES, ControlSettings
from gateway.store.connection import connect
from gateway.store.documents import Documents
from gateway.store.fleet import FleetStore
from gateway.store.predictions import Predictions

PREFIX = "/api/v1"


def build_app(settings: ControlSettings) -> FastAPI:
    parts = _parts(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await parts.aclose()

    app = FastAPI(
        title="Turnout control",
        lifespan=lifespan,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.parts = parts
    install_answers(app)
    for router in (
        models.uploads,
        models.router,
        routes.one,
        routes.several,
        fleet.router,
        evidence.router,
        explain.router,
    ):
        app.include_router(router, prefix=PREFIX)
    app.add_api_route("/healthz", _healthz, methods=["GET"])
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
    return Parts(
        settings=settings,
        disconnect=redis.aclose,
        documents=Documents(redis),
        fleet=FleetStore(redis),
        predictions=Predictions(redis),
        artifacts=Artifacts(
            settings.artifacts_dir, inspect=_signature, max_bytes=settings.max_artifact_bytes
        ),
        probe=WorkerProbe(timeout_s=settings.probe_timeout_s),
    )


def _signature(data: bytes) -> Signature:
    # Imported where it is needed: the model format behind it takes longer to load than all the rest.
    from workers.artifact import inspect

    return inspect(data).signature
