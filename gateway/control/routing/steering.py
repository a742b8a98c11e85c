"""What steers traffic: all routes, rollouts, and the answers of routes that follow an alias, as they lie now.

Read at once, and each parsed once: again when its bytes are others, whoever wrote them. Kept by the control
process; called by what tells of all models.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.contract.alias import Following
from gateway.contract.envelope import Envelope
from gateway.contract.rollout import Rollout
from gateway.contract.route import Route
from gateway.control.rollouts.followed import readable_following
from gateway.control.rollouts.found import Found, readable_rollout
from gateway.control.routing.stored import readable
from gateway.store.documents import Documents, read_envelope

AT_ONCE = 100  # documents that are parsed before others get their turn: a few ms
_PREFIXES = ("route/", "rollout/", "following/")


@dataclass(frozen=True, slots=True)
class ReadRoute:
    """`route` None: `problems` say why the document is none."""

    envelope: Envelope
    route: Route | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Steering:
    """By model, in the alphabet's order. Shared: not to be changed. What cannot be read is None."""

    routes: Mapping[str, ReadRoute]
    rollouts: Mapping[str, Found | None]
    followings: Mapping[str, Following | None]

    def readable_routes(self) -> dict[str, Route]:
        return {model: read.route for model, read in self.routes.items() if read.route is not None}

    def going_on(self) -> list[Rollout]:
        return [
            found.rollout
            for found in self.rollouts.values()
            if found is not None and not found.rollout.is_over
        ]


class Steerings:
    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._parsed: dict[str, tuple[bytes, Any]] = {}

    async def read(self) -> Steering:
        known, parsed, new = self._parsed, {}, 0
        for name, raw in (await self._documents.all_raw(_PREFIXES)).items():
            before = known.get(name)
            if before is None or before[0] != raw:
                before = (raw, _parse(name, read_envelope(raw, name)))
                new += 1
                if new % AT_ONCE == 0:
                    await asyncio.sleep(0)
            parsed[name] = before
        self._parsed = parsed
        return Steering(*(_of(prefix, parsed) for prefix in _PREFIXES))


def _of(prefix: str, parsed: Mapping[str, tuple[bytes, Any]]) -> dict[str, Any]:
    return {name.removeprefix(prefix): one for name, (_, one) in parsed.items() if name.startswith(prefix)}


def _parse(name: str, envelope: Envelope) -> ReadRoute | Found | Following | None:
    kind, _, model = name.partition("/")
    match kind:
        case "route":
            return ReadRoute(envelope, *readable(model, envelope.doc))
        case "rollout":
            return readable_rollout(envelope)
        case _:
            return readable_following(envelope)
