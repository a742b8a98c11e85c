"""When is a worker taken out of its pool, and when may it come back?

Passive: consecutive failures of transport (refused, reset, timed out, garbage) eject. What a worker answers,
be it an error, is no such failure. Never more than half of a pool is ejected, never the last worker. An
ejected worker comes back after a probe that succeeded; probes are spaced further apart each time it fails.
"""

FAILURES_TO_EJECT = 3
FIRST_PROBE_S = 0.5
LAST_PROBE_S = 10.0


def should_eject(*, consecutive_failures: int, ejected: int, pool_size: int) -> bool:
    """`ejected`: how many of the pool's workers are out already."""
    if consecutive_failures < FAILURES_TO_EJECT:
        return False
    return ejected + 1 <= pool_size // 2


def probe_delay_s(failed_probes: int) -> float:
    return min(LAST_PROBE_S, FIRST_PROBE_S * 2.0**failed_probes)
