"""What this machine's workers are needed for, read from Redis: documents in, `core.need` decides.

Only what changed since the last look is read. While Redis is away, empty, or older than what was seen before
(a lost table), the last good answer stands, and so does its time: nobody is stopped because Redis was. A
document that cannot be read counts as it was before.

Called by `workers.supervisor`.
"""

import logging
import re
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.envelope import Envelope
from gateway.contract.pool import Wanted
from gateway.contract.rollout import Rollout
from gateway.core.need import Form, Need, forms_of, needs
from workers.reach import AWAY, reason
from workers.staffing import Pool

log = logging.getLogger("turnout.supervisor")
AT_ONCE = 500  # documents in one read
FORMS_READ = 50  # earlier forms of a route that are looked at: what changed more often is not kept warm
_DIGEST = re.compile("[0-9a-f]{64}")
Document = TypeVar("Document", bound=BaseModel)


@dataclass(slots=True)
class _Model:
    """What is known of one model; `digests` are of its registered versions."""

    digests: dict[str, str] = field(default_factory=dict)
    wanted: dict[str, Wanted] = field(default_factory=dict)
    wishes: dict[str, int] = field(default_factory=dict)  # version -> revision of its wish
    forms: list[Form] = field(default_factory=list)
    rollout: Rollout | None = None
    needs: dict[str, Need] = field(default_factory=dict)


class Wishes:
    """`current`: workers by version, the merely warm ones last; None until Redis has answered."""

    def __init__(self, redis: Redis, *, keep_warm_s: float) -> None:
        self._redis = redis
        self._keep_warm_s = keep_warm_s
        self._revision = -1
        self._trouble = ""
        self._models: dict[str, _Model] = {}
        self.current: dict[Pool, int] | None = None

    def digest_of(self, pool: Pool) -> str:
        """Of the registered model file; empty where none is known."""
        known = self._models.get(pool[0])
        return "" if known is None else known.digests.get(pool[1], "")

    def asked_at(self, pool: Pool) -> int:
        """The revision in which somebody last asked for this pool."""
        known = self._models.get(pool[0])
        return 0 if known is None else known.wishes.get(pool[1], 0)

    async def poll(self) -> None:
        try:
            seconds, micros = await self._redis.time()
            now_ms = seconds * 1000 + micros // 1000
            revision = int(await self._redis.get(keys.REVISION) or 0)
            if revision < self._revision:
                self._say(f"Redis is at revision {revision} after {self._revision}: its table was lost")
                return
            if revision > self._revision:
                await self._follow(revision, now_ms)
        except AWAY as error:
            self._say(f"Redis is away ({reason(error)})")
            return
        except ValueError:
            self._say(f"the key {keys.REVISION} holds no number")
            return
        self.current = self._at(now_ms)
        self._well()

    def _at(self, now_ms: int) -> dict[Pool, int]:
        found = [
            (need.until_ms is not None, (model, version), need.workers)
            for model, known in self._models.items()
            for version, need in known.needs.items()
            if need.is_on(now_ms)
        ]
        return {pool: workers for _, pool, workers in sorted(found)}

    async def _follow(self, revision: int, now_ms: int) -> None:
        """Reads all that changed, then takes it in: no half of a read counts."""
        fields: list[Any] = await self._redis.zrangebyscore(keys.CHANGED, f"({self._revision}", "+inf")
        documents: dict[str, bytes | None] = {}
        for first in range(0, len(fields), AT_ONCE):
            some = fields[first : first + AT_ONCE]
            values: list[Any] = await self._redis.hmget(keys.DOCUMENTS, some)
            names = [name.decode("utf-8", "replace") for name in some]
            documents |= dict(zip(names, values, strict=True))
        routes = {
            name: (envelope, await self._past(name, envelope, now_ms))
            for name, envelope in ((name, _envelope(name, raw)) for name, raw in documents.items())
            if name.startswith("route/")
        }
        changed = {name.split("/")[1] for name in documents if name.count("/")}
        for name, raw in documents.items():
            self._take(name, raw)
        for name, (envelope, past) in routes.items():
            is_there = documents[name] is not None
            self._take_route(name.split("/")[1], forms_of(envelope, past), is_there=is_there)
        for model in changed & self._models.keys():
            self._decide(self._models[model])
        self._revision = revision

    async def _past(self, name: str, present: Envelope | None, now_ms: int) -> list[Envelope]:
        """The history of a route; one that is older than the warmth needs none."""
        if present is not None and present.at_ms < now_ms - self._keep_warm_s * 1000 and present.doc:
            return []
        found: list[Any] = await self._redis.lrange(keys.history(name), 0, FORMS_READ - 1)
        past = (_envelope(name, raw) for raw in found)
        return [envelope for envelope in past if envelope is not None]

    def _take(self, name: str, raw: bytes | None) -> None:
        kind, _, rest = name.partition("/")
        model, _, version = rest.partition("/")
        if kind not in ("wanted", "version", "rollout"):
            return
        known = self._models.setdefault(model, _Model())
        if kind == "version":
            _put(known.digests, version, None if raw is None else _digest(raw))
        elif kind == "wanted":
            if raw is None:
                known.wanted.pop(version, None)
            elif (found := _document(name, raw, Wanted)) is not None:
                known.wanted[version], known.wishes[version] = found
        elif raw is None:
            known.rollout = None
        elif (rollout := _document(name, raw, Rollout)) is not None:
            known.rollout = rollout[0]

    def _take_route(self, model: str, forms: list[Form], *, is_there: bool) -> None:
        known = self._models.setdefault(model, _Model())
        if is_there and all(form.until_ms is not None for form in forms):
            log.warning("the route of %s in Redis is not readable: it counts as it was", model)
        else:
            known.forms = forms

    def _decide(self, known: _Model) -> None:
        wanted = {version: wish for version, wish in known.wanted.items() if version in known.digests}
        known.needs = needs(
            wanted=wanted, forms=known.forms, rollout=known.rollout, keep_warm_s=self._keep_warm_s
        )

    def _say(self, trouble: str) -> None:
        kind = trouble.partition("(")[0]
        if kind != self._trouble:
            log.warning("%s: keeping the workers that are needed so far", trouble)
        self._trouble = kind

    def _well(self) -> None:
        if self._trouble:
            log.info("Redis is back at revision %d", self._revision)
        self._trouble = ""


def _put(digests: dict[str, str], version: str, digest: str | None) -> None:
    if digest is None:
        digests.pop(version, None)
    else:
        digests[version] = digest


def _digest(raw: bytes) -> str:
    """Empty where the document cannot be read: its worker will say so."""
    try:
        digest = str(orjson.loads(raw)["doc"]["digest"])
    except (ValueError, KeyError, TypeError):
        return ""
    return digest if _DIGEST.fullmatch(digest) else ""


def _envelope(name: str, raw: bytes | None) -> Envelope | None:
    """One that somebody edited into nonsense says nothing (`doc` None)."""
    if raw is None:
        return None
    try:
        return Envelope.model_validate_json(raw)
    except ValidationError:
        return Envelope(field=name, revision=0, at_ms=0, author="", reason="", doc=None)


def _document(name: str, raw: bytes, kind: type[Document]) -> tuple[Document, int] | None:
    """With its revision; None, and a line in the log, for one that somebody edited into nonsense."""
    try:
        envelope: Any = orjson.loads(raw)
        return kind.model_validate(envelope["doc"]), int(envelope.get("revision", 0))
    except (ValueError, KeyError, TypeError, ValidationError):
        log.warning("%s in Redis is not readable: it counts as it was", name)
        return None
