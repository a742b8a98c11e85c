"""Every model in one look: traffic, split, errors, latency, quality, rollout, workers. For `turnout top` and
the console.

However many look at it, Redis is asked at most once in `FRESH_S`, and not at all while nobody looks. Traffic
is of the last ten seconds, errors and latency of this minute and the one before, quality of the last hour (of
a few models at a time, so that a look stays cheap). Models are read some at a time, so that other calls are
answered in between. Called by `GET /overview` and `GET /status`.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.contract.errors import is_versions_fault
from gateway.contract.evidence import PRIMARY
from gateway.control.pools.now import PoolsNow
from gateway.control.pools.report import Pool
from gateway.control.rollouts.found import summary
from gateway.control.routing.steering import Steering, Steerings
from gateway.core.check import shares
from gateway.core.evidence.compare import to_json
from gateway.core.evidence.pace import Key, Pace
from gateway.core.evidence.scores import ROLE_NAMES, absolute_error, accuracy, reward
from gateway.core.evidence.statistics import latency_bound_us
from gateway.core.evidence.sums import NOTHING, Sums, Table, read
from gateway.store.predictions import Predictions

FRESH_S = 0.9  # viewers ask each second
MOST = 200  # models in one look; the alphabet's first
QUALITY_S = 3600
QUALITY_EVERY_S = 10.0
QUALITY_AT_ONCE = 10  # models whose hour is read in one look
AT_ONCE = 20  # models that are read in one go
METRICS = {"accuracy": accuracy, "mae": absolute_error, "reward": reward}  # the first that there is


@dataclass(slots=True)
class _Model:
    """What is remembered of one model between looks."""

    pace: Pace = field(default_factory=Pace)
    quality: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)
    quality_at_s: float = -QUALITY_EVERY_S


class Overview:
    def __init__(self, pools: PoolsNow, steerings: Steerings, predictions: Predictions) -> None:
        self._pools = pools
        self._steerings = steerings
        self._predictions = predictions
        self._models: dict[str, _Model] = {}
        self._looking = asyncio.Lock()
        self._seen: dict[str, Any] = {}
        self._seen_s = -FRESH_S

    async def look(self) -> dict[str, Any]:
        """`revision`, `at_ms` (Redis' clock), `left_out` and `models`. Shared: not to be changed."""
        async with self._looking:
            began_s = time.monotonic()
            if began_s - self._seen_s >= FRESH_S:
                self._seen = await self._look()
                self._seen_s = began_s  # of its end, a look of 0.1 s would halve what viewers see
            return self._seen

    async def _look(self) -> dict[str, Any]:
        pools = await self._pools.read()
        steering = await self._steerings.read()
        by_model: dict[str, list[Pool]] = {}
        for pool in pools.active():
            by_model.setdefault(pool.model, []).append(pool)
        names = sorted({*pools.models(), *steering.routes})
        self._models = {name: self._models.get(name) or _Model() for name in names[:MOST]}
        now_s = pools.now_ms / 1000
        await self._read_quality(now_s)
        told: list[dict[str, Any]] = []
        minute = int(now_s // 60)
        for some in _some(list(self._models)):
            found = await self._predictions.evidence_of(some, minute - 1, minute)
            told += (
                _told(name, steering, by_model.get(name, ()), self._models[name], minutes, now_s)
                for name, minutes in zip(some, found, strict=True)
            )
        return {
            "revision": pools.revision,
            "at_ms": pools.now_ms,
            "left_out": len(names) - len(told),
            "models": told,
        }

    async def _read_quality(self, now_s: float) -> None:
        """Of those whose quality is the oldest."""
        oldest = sorted(self._models.items(), key=lambda item: item[1].quality_at_s)[:QUALITY_AT_ONCE]
        due = {name: model for name, model in oldest if now_s - model.quality_at_s >= QUALITY_EVERY_S}
        minute = int(now_s // 60)
        found = await self._predictions.evidence_of(list(due), minute - QUALITY_S // 60, minute)
        for model, minutes in zip(due.values(), found, strict=True):
            model.quality = _quality(read(minutes))
            model.quality_at_s = now_s
            await asyncio.sleep(0)


def _some(names: Sequence[str]) -> Iterator[Sequence[str]]:
    yield from (names[first : first + AT_ONCE] for first in range(0, len(names), AT_ONCE))


def _told(
    name: str,
    steering: Steering,
    found: Sequence[Pool],
    model: _Model,
    minutes: Mapping[int, Mapping[str, float]],
    now_s: float,
) -> dict[str, Any]:
    rates = model.pace.read(
        {minute: _counts(read({minute: sums})) for minute, sums in minutes.items()}, now_s
    )
    table = read(minutes)
    read_route = steering.routes.get(name)
    route = None if read_route is None else read_route.route
    rows = [
        _row(key, table.roles.get(key, NOTHING), rates, model)
        for key in sorted({*table.roles, *((PRIMARY, version) for _, version in shares(route))})
    ]
    primary = [row for row in rows if row["role"] == ROLE_NAMES[PRIMARY]]
    requests = sum(row["requests"] for row in primary)
    failed = sum(row["failed"] for row in primary)
    rollout = steering.rollouts.get(name)
    return {
        "model": name,
        "revision": 0 if read_route is None else read_route.envelope.revision,
        "has_route": read_route is not None,
        "is_readable": route is not None or read_route is None,
        "split": [] if route is None else [entry.model_dump(mode="json") for entry in route.split],
        "shadows": [] if route is None else [shadow.version for shadow in route.shadows],
        "per_s": round(sum(row["per_s"] for row in primary), 3),
        "requests": requests,
        "failed": failed,
        "error_share": failed / requests if requests else None,
        "latency": _whole_latency(table),
        "versions": rows,
        "rollout": None if rollout is None else summary(rollout),
        "workers_ready": sum(pool.ready for pool in found),
        "workers_wanted": sum(pool.wanted or 0 for pool in found),
        "pools": [
            {"version": pool.version, "ready": pool.ready, "wanted": pool.wanted, "is_short": pool.is_short}
            for pool in found
        ],
    }


def _counts(table: Table) -> dict[Key, float]:
    return {key: sums["n"] for key, sums in table.roles.items()}


def _row(key: Key, sums: Sums, rates: Mapping[Key, float], model: _Model) -> dict[str, Any]:
    role, version = key
    errors = {code: round(count) for code, count in sums.errors().items()}
    return {
        "version": version,
        "role": ROLE_NAMES[role],
        "per_s": round(rates.get(key, 0.0), 3),
        "requests": round(sums["n"]),
        "failed": sum(count for code, count in errors.items() if is_versions_fault(code)),
        "errors": errors,
        "latency": _latency(sums),
        "quality": model.quality.get(key),
    }


def _whole_latency(table: Table) -> dict[str, float] | None:
    """Of all that clients were answered."""
    return _latency(sum((sums for (role, _), sums in table.roles.items() if role == PRIMARY), NOTHING))


def _latency(sums: Sums) -> dict[str, float] | None:
    """Without intervals: these would take longer than all the rest of a look."""
    buckets = sums.latency_buckets() if sums["n"] else ()
    p50_us, p99_us = (latency_bound_us(buckets, share) for share in (0.5, 0.99))
    return None if p50_us is None or p99_us is None else {"p50_us": p50_us, "p99_us": p99_us}


def _quality(hour: Table) -> dict[Key, dict[str, Any]]:
    found = {}
    for key, sums in hour.roles.items():
        for name, estimate_of in METRICS.items():
            estimate = estimate_of(sums, alpha=0.05)
            if estimate is not None:
                found[key] = {"metric": name, **to_json(estimate)}
                break
    return found
