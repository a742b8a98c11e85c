"""What every handler of the control API works with: the stores, the artifacts and the probe of workers.

Made once by `control.app.build_app`; a handler gets it as `Control` from FastAPI.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Header, Request

from gateway.contract.errors import CallerError
from gateway.control.access.caller import Caller
from gateway.control.access.door import Failures
from gateway.control.access.oidc import Issuer
from gateway.control.access.people import People
from gateway.control.audit.heads import Heads
from gateway.control.overview import Overview
from gateway.control.pools.now import PoolsNow
from gateway.control.registry.artifacts import Artifacts
from gateway.control.registry.catalogue import Catalogue
from gateway.control.routing.probe import WorkerProbe
from gateway.control.routing.steering import Steerings
from gateway.control.settings import ControlSettings
from gateway.store.answered import Answered
from gateway.store.audit import AuditStream
from gateway.store.condition import Server
from gateway.store.documents import Documents
from gateway.store.erasure import Erasure
from gateway.store.fleet import FleetStore
from gateway.store.key_uses import KeyUses
from gateway.store.lease import Leases
from gateway.store.memory import MemoryUse
from gateway.store.pins import Pins
from gateway.store.predictions import Predictions

MAX_AUTHOR_LENGTH = 128


@dataclass(slots=True)
class Readers:
    """Of the event stream, at this moment; once the process ends, their streams do."""

    count: int = 0
    is_ending: bool = False


@dataclass(frozen=True, slots=True)
class Parts:
    settings: ControlSettings
    disconnect: Callable[[], Awaitable[None]]  # from Redis
    documents: Documents
    fleet: FleetStore
    pins: Pins
    predictions: Predictions
    erasure: Erasure
    artifacts: Artifacts
    catalogue: Catalogue
    steerings: Steerings
    pools: PoolsNow
    probe: WorkerProbe
    leases: Leases
    audit: AuditStream
    heads: Heads
    key_uses: KeyUses
    answered: Answered
    failures: Failures
    people: People
    issuer: Issuer
    overview: Overview
    server: Server
    memory: MemoryUse
    readers: Readers = field(default_factory=Readers)

    async def aclose(self) -> None:
        await self.probe.aclose()
        await self.issuer.aclose()
        await self.disconnect()


def _parts_of(request: Request) -> Parts:
    parts = request.app.state.parts
    assert isinstance(parts, Parts)
    return parts


def _author_of(caller: Caller, x_turnout_author: Annotated[str | None, Header()] = None) -> str:
    """Written into history and audit: the key's name; without keys what is said, as nobody can prove it."""
    if caller.has_key:
        return caller.name
    if x_turnout_author is None:
        return "unknown"
    author = x_turnout_author.encode("latin-1").decode("utf-8", "replace").strip()
    if not author or len(author) > MAX_AUTHOR_LENGTH or not author.isprintable():
        raise CallerError(
            "bad_request", f"x-turnout-author must be 1 to {MAX_AUTHOR_LENGTH} printable characters"
        )
    return author


Control = Annotated[Parts, Depends(_parts_of)]
Author = Annotated[str, Depends(_author_of)]
