"""HTTP for Prometheus: the metrics of the installation, and where its workers' metrics are.

A scrape reads Redis, and fails while it is away. A key sees the models of its scope only.
"""

from typing import Any

from fastapi import APIRouter, Response

from gateway.control.access.caller import Caller
from gateway.control.metrics import installation_metrics
from gateway.control.parts import Control
from gateway.observe.exposition import CONTENT_TYPE, render

router = APIRouter(tags=["observation"])


async def show_metrics(control: Control, caller: Caller) -> Response:
    """`GET /metrics`, beside the API as Prometheus expects it."""
    state = await installation_metrics(control, sees=caller.sees)
    return Response(render(state), media_type=None, headers={"content-type": CONTENT_TYPE})


@router.get("/observed/workers")
async def list_worker_targets(control: Control, caller: Caller) -> list[dict[str, Any]]:
    """Every live worker of ours, in the form that Prometheus reads by HTTP service discovery."""
    foreign = {lease.worker_id for lease in (await control.fleet.workers()).leases if lease.is_foreign}
    return [
        {
            "targets": [worker.address],
            "labels": {"model": pool.model, "version": pool.version, "worker": worker.worker_id},
        }
        for pool in (await control.pools.read()).active()
        if caller.sees(pool.model)
        for worker in pool.workers
        if worker.worker_id not in foreign
    ]
