"""Which workers of a pool may be chosen, and when does one that was set aside come back?

Passive: consecutive failures of transport (refused, reset, timed out, garbage) eject a worker. What a worker
answers, be it an error, is no such failure. Two floors keep a bad minute from becoming an outage:

- a worker where nothing listens (its connections are refused) is *gone*, and not counted as capacity: a pool
  whose workers are all gone has none, and its requests go to the fallback, or are told so;
- when fewer than half of the others are trusted, the fault is likelier to be here or everywhere than in each
  of them, and the few would drown: all of them are used (panic, as Envoy calls it), and it is said so.

An ejected worker is probed, ever less often; after a probe that succeeded it is half open: a fresh worker
with a small share, whom a single failure ejects again.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

FAILURES_TO_EJECT = 3
HALF_OPEN = FAILURES_TO_EJECT - 1  # failures on the record of a worker that comes back
FIRST_PROBE_S = 0.5
LAST_PROBE_S = 10.0


class Trust(Enum):
    TRUSTED = "trusted"
    EJECTED = "ejected"
    GONE = "gone"  # ejected, and nothing listens there


class Choice(NamedTuple):
    """Places (in what was given) of the workers that may be chosen."""

    places: list[int]
    is_panic: bool


def choose(trusts: Sequence[Trust]) -> Choice:
    """`trusts`: of all workers that are leased as ready."""
    trusted = [place for place, trust in enumerate(trusts) if trust is Trust.TRUSTED]
    there = [place for place, trust in enumerate(trusts) if trust is not Trust.GONE]
    if trusted and 2 * len(trusted) >= len(there):
        return Choice(trusted, is_panic=False)
    return Choice(there, is_panic=bool(there))


def probe_delay_s(failed_probes: int) -> float:
    return min(LAST_PROBE_S, FIRST_PROBE_S * 2.0**failed_probes)
