"""What the control process tells Prometheus of the installation: read from Redis when it is asked.

Must not know: how it is written down. Called by `api.observed`.
"""

import time
from collections.abc import Callable

from gateway.control.parts import Parts
from gateway.observe.state import MetricsState

Sees = Callable[[str], bool]


async def installation_metrics(parts: Parts, *, sees: Sees) -> MetricsState:
    """`sees`: whether the caller may hear of a model.

    Raises UpstreamError when Redis is away: Prometheus shall see a failed scrape, not gauges that may be old.
    """
    state = MetricsState()
    state.count("turnout_control_unauthenticated_total", parts.failures.count)
    state.count("turnout_control_process_cpu_seconds_total", time.process_time())
    state.gauge("turnout_audit_unsigned", int(bool(parts.heads.problem)))
    state.gauge("turnout_committed_revision", await parts.documents.revision())
    state.gauge("turnout_gateways_live", len(await parts.fleet.gateways()))
    state.gauge("turnout_leader_present", int(await parts.leases.leader() is not None))
    await _workers(parts, state, sees)
    await _rollouts(parts, state, sees)
    memory = await parts.memory.read()
    if memory is not None:
        state.gauge("turnout_store_memory_bytes", memory.used_bytes)
        if memory.limit_bytes:
            state.gauge("turnout_store_memory_limit_bytes", memory.limit_bytes)
    return state


async def _workers(parts: Parts, state: MetricsState, sees: Sees) -> None:
    for pool in (await parts.pools.read()).active():
        if sees(pool.model):
            state.gauge("turnout_workers_wanted", pool.wanted or 0, pool.model, pool.version)
            state.gauge("turnout_workers_ready", pool.ready, pool.model, pool.version)


async def _rollouts(parts: Parts, state: MetricsState, sees: Sees) -> None:
    now_ms = time.time_ns() // 1_000_000
    for found in (await parts.steerings.read()).rollouts.values():
        if found is None or not sees(found.rollout.model):
            continue
        rollout = found.rollout
        state.gauge("turnout_rollout_phase", 1, rollout.model, rollout.phase)
        if not rollout.is_over:
            age_s = max(0, now_ms - rollout.step_entered_ms) / 1000
            state.gauge("turnout_rollout_step_seconds", age_s, rollout.model)
