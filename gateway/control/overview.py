"""Every model in one look: traffic, split, errors, latency, quality, rollout, workers. For `turnout top` and
the console.

However many look at it, Redis is asked at most once in `FRESH_S`, and not at all while nobody looks. Traffic
is of the last ten seconds, errors and latency of this minute and the one before, quality of the last hour (of
a few models at a time, so that a look stays cheap). Documents are read again when the revision moved, and
every `STATED_S`, since what is needed also ends by the clock. Called by `GET /overview` and `GET /status`.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.contract.errors import is_versions_fault
from gateway.contract.evidence import PRIMARY
from gateway.contract.route import Route
from gateway.control.pools.needs import Needs, all_needs
from gateway.control.pools.report import Pool, pools
from gateway.control.rollouts.found import readable_rollout, summary
from gateway.control.routing.stored import readable
from gateway.core.check import shares
from gateway.core.evidence.compare import to_json
from gateway.core.evidence.pace import Key, Pace
from gateway.core.evidence.scores import ROLE_NAMES, VersionScores, scores
from gateway.core.evidence.sums import Sums, Table, read
from gateway.store.documents import Documents
from gateway.store.fleet import FleetStore
from gateway.store.predictions import Predictions

FRESH_S = 0.9  # viewers ask each second
STATED_S = 10.0
MOST = 200  # models in one look; the alphabet's first
QUALITY_S = 3600
QUALITY_EVERY_S = 10.0
QUALITY_AT_ONCE = 10  # models whose hour is read in one look
AT_ONCE = 6  # models that are read at the same time: fewer than connections
METRICS = ("accuracy", "mae", "rmse", "reward")  # the first that there is


@dataclass(slots=True)
class _Model:
    """What is remembered of one model between looks."""

    pace: Pace = field(default_factory=Pace)
    quality: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)
    quality_at_s: float = -QUALITY_EVERY_S


@dataclass(frozen=True, slots=True)
class _Stated:
    """What documents say, at a revision."""

    revision: int
    routes: Mapping[str, tuple[Route | None, int]]
    rollouts: Mapping[str, Mapping[str, Any]]
    needs: Needs
    at_s: float


class Overview:
    def __init__(
        self, documents: Documents, fleet: FleetStore, predictions: Predictions, *, keep_warm_s: float
    ) -> None:
        self._keep_warm_s = keep_warm_s
        self._documents = documents
        self._fleet = fleet
        self._predictions = predictions
        self._models: dict[str, _Model] = {}
        self._stated: _Stated | None = None
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
        fleet = await self._fleet.workers()
        stated = await self._state(fleet.now_ms)
        found = pools(
            fleet.leases,
            now_ms=fleet.now_ms,
            wanted=stated.needs.wanted,
            needs=stated.needs.needs,
            versions=stated.needs.versions,
            supervisors=await self._fleet.supervisors(),
        )
        by_model: dict[str, list[Pool]] = {}
        for pool in found:
            by_model.setdefault(pool.model, []).append(pool)
        names = sorted({*by_model, *stated.routes})
        self._models = {name: self._models.get(name) or _Model() for name in names[:MOST]}
        now_s = fleet.now_ms / 1000
        await self._read_quality(now_s)
        places = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> dict[str, Any]:
            async with places:
                minutes = await self._evidence(name, int(now_s // 60) - 1)
            return _told(name, stated, by_model.get(name, []), self._models[name], minutes, now_s)

        models = await asyncio.gather(*(one(name) for name in self._models))
        return {
            "revision": stated.revision,
            "at_ms": fleet.now_ms,
            "left_out": len(names) - len(models),
            "models": list(models),
        }

    async def _state(self, now_ms: int) -> _Stated:
        revision = await self._documents.revision()
        now_s = time.monotonic()
        known = self._stated
        if known is None or known.revision != revision or now_s - known.at_s >= STATED_S:
            routes = await self._documents.all("route/")
            rollouts = await self._documents.all("rollout/")
            running = filter(None, map(readable_rollout, rollouts.values()))
            self._stated = _Stated(
                revision,
                {
                    (name := item.removeprefix("route/")): (
                        readable(name, envelope.doc)[0],
                        envelope.revision,
                    )
                    for item, envelope in routes.items()
                },
                {found.rollout.model: summary(found) for found in running},
                await all_needs(self._documents, now_ms=now_ms, keep_warm_s=self._keep_warm_s),
                now_s,
            )
            return self._stated
        return known

    async def _read_quality(self, now_s: float) -> None:
        """Of those whose quality is the oldest."""
        due = sorted(self._models.items(), key=lambda item: item[1].quality_at_s)
        for name, model in due[:QUALITY_AT_ONCE]:
            if now_s - model.quality_at_s >= QUALITY_EVERY_S:
                hour = read(await self._evidence(name, int((now_s - QUALITY_S) // 60)))
                model.quality = _quality(hour)
                model.quality_at_s = now_s

    async def _evidence(self, model: str, first_minute: int) -> dict[int, dict[str, float]]:
        return await self._predictions.evidence(model, first_minute, with_confusion=False)


def _told(
    name: str,
    stated: _Stated,
    found: Sequence[Pool],
    model: _Model,
    minutes: Mapping[int, Mapping[str, float]],
    now_s: float,
) -> dict[str, Any]:
    rates = model.pace.read(
        {minute: _counts(read({minute: sums})) for minute, sums in minutes.items()}, now_s
    )
    table = read(minutes)
    route, revision = stated.routes.get(name, (None, 0))
    rows = [
        _row(key, table.roles.get(key), rates, model)
        for key in sorted({*table.roles, *((PRIMARY, version) for _, version in shares(route))})
    ]
    primary = [row for row in rows if row["role"] == ROLE_NAMES[PRIMARY]]
    requests = sum(row["requests"] for row in primary)
    failed = sum(row["failed"] for row in primary)
    rollout = stated.rollouts.get(name)
    return {
        "model": name,
        "revision": revision,
        "has_route": name in stated.routes,
        "is_readable": route is not None or name not in stated.routes,
        "split": [] if route is None else [entry.model_dump(mode="json") for entry in route.split],
        "shadows": [] if route is None else [shadow.version for shadow in route.shadows],
        "per_s": round(sum(row["per_s"] for row in primary), 3),
        "requests": requests,
        "failed": failed,
        "error_share": failed / requests if requests else None,
        "latency": _whole_latency(table),
        "versions": rows,
        "rollout": rollout,
        "workers_ready": sum(pool.ready for pool in found),
        "workers_wanted": sum(pool.wanted or 0 for pool in found),
        "pools": [
            {"version": pool.version, "ready": pool.ready, "wanted": pool.wanted, "is_short": pool.is_short}
            for pool in found
        ],
    }


def _counts(table: Table) -> dict[Key, float]:
    return {key: sums["n"] for key, sums in table.roles.items()}


def _row(key: Key, sums: Sums | None, rates: Mapping[Key, float], model: _Model) -> dict[str, Any]:
    role, version = key
    found = scores(version, sums or Sums({}), role=role, alpha=0.05)
    latency = found.latency
    return {
        "version": version,
        "role": found.role,
        "per_s": round(rates.get(key, 0.0), 3),
        "requests": found.requests,
        "failed": sum(count for code, count in found.errors.items() if is_versions_fault(code)),
        "errors": found.errors,
        "latency": None
        if latency is None
        else {"p50_us": latency.p50_us.value, "p99_us": latency.p99_us.value},
        "quality": model.quality.get(key),
    }


def _whole_latency(table: Table) -> dict[str, float] | None:
    """Of all that clients were answered."""
    whole = sum((sums for (role, _), sums in table.roles.items() if role == PRIMARY), Sums({}))
    found = scores("", whole, role=PRIMARY, alpha=0.05).latency
    return None if found is None else {"p50_us": found.p50_us.value, "p99_us": found.p99_us.value}


def _quality(hour: Table) -> dict[Key, dict[str, Any]]:
    found = {}
    for (role, version), sums in hour.roles.items():
        score = _first_metric(scores(version, sums, role=role, alpha=0.05))
        if score is not None:
            found[role, version] = score
    return found


def _first_metric(score: VersionScores) -> dict[str, Any] | None:
    for name in METRICS:
        estimate = getattr(score, name)
        if estimate is not None:
            return {"metric": name, **to_json(estimate)}
    return None
