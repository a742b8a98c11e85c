"""The pools as they are now, read from Redis for `pools.report` to join. Called by handlers and metrics."""

from gateway.control.parts import Parts
from gateway.control.pools.needs import all_needs
from gateway.control.pools.report import Pool, pools


async def pools_of(control: Parts, model: str | None = None) -> list[Pool]:
    """Of one model, or of all."""
    fleet = await control.fleet.workers()
    found = await all_needs(
        control.documents,
        now_ms=fleet.now_ms,
        keep_warm_s=control.settings.keep_warm_s,
        model=model,
        versions=await control.catalogue.models(),
    )
    return pools(
        [lease for lease in fleet.leases if model in (None, lease.model)],
        now_ms=fleet.now_ms,
        wanted=found.wanted,
        needs=found.needs,
        versions=found.versions,
        supervisors=await control.fleet.supervisors(),
    )
