"""Is the candidate fit to get all traffic at once? Tried at its workers before a cutover.

Every ready worker must be ready, answer a real inference of the registered bytes, warm up, and give the
expected answers to the plan's golden requests. Nothing is decided here: the result is what
`core.rollouts.rollout` looks at. Called by `control.rollouts.controller`.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.contract.errors import CallerError
from gateway.contract.plan import Cutover, Golden
from gateway.contract.pool import Lease, WorkerState
from gateway.contract.rollout import Rollout
from gateway.contract.route import Route
from gateway.contract.version import Version
from gateway.control.registry.versions import registered
from gateway.control.routing.probe import WorkerProbe
from gateway.control.routing.synthetic import synthetic_request
from gateway.core.rollouts.seen import CutoverCheck
from gateway.store.documents import Documents
from gateway.store.fleet import FleetStore

WARM_FOR_S = 10.0  # warming ends then, however slow the model is
MOST_PROBLEMS = 8


Samples = Callable[[str, int], Awaitable[Sequence[dict[str, Any]]]]  # of a model, at most so many


async def no_samples(model: str, limit: int) -> Sequence[dict[str, Any]]:
    """Where no requests are recorded, workers are warmed with one made up from the signature."""
    return ()


@dataclass(frozen=True, slots=True)
class CandidateCheck:
    """`samples`: recorded requests as OIP JSON."""

    documents: Documents
    fleet: FleetStore
    probe: WorkerProbe
    samples: Samples = no_samples

    async def run(self, rollout: Rollout, route: Route | None) -> CutoverCheck:
        """Raises UpstreamError where Redis is away; whatever workers do is in the result."""
        step = rollout.plan.steps[rollout.step]
        wanted = step.cutover or Cutover()
        try:
            version, _ = await registered(self.documents, rollout.model, rollout.candidate)
        except CallerError as error:
            return CutoverCheck(0, 0, 0, 0, (error.message,))
        leases = await self._ready(version)
        checked = await self.probe.check_all(leases, version)
        problems = [f"worker {item.address} {item.problem}" for item in checked if item.problem is not None]
        if problems or not leases:
            return _result(leases, 0, (0, 0), problems or ["no worker of the candidate is ready"])
        warmed = await self._warm(leases, version, wanted.warm_requests)
        output = _recorded_output(route, version)
        passed, of, wrong = await self._golden(leases, version, wanted.golden, output)
        return _result(leases, sum(warmed), (passed, of), wrong)

    async def _ready(self, version: Version) -> list[Lease]:
        return [
            lease
            for lease in (await self.fleet.workers()).leases
            if (lease.model, lease.version, lease.digest) == (version.model, version.version, version.digest)
            and lease.state is WorkerState.READY
        ]

    async def _warm(self, leases: Sequence[Lease], version: Version, requests: int) -> list[int]:
        """How many each worker answered."""
        recorded = await self.samples(version.model, requests)
        bodies = recorded or [synthetic_request(version.signature)]

        async def warm(lease: Lease) -> int:
            answered = 0
            until_s = asyncio.get_running_loop().time() + WARM_FOR_S
            while answered < requests and asyncio.get_running_loop().time() < until_s:
                _, problem = await self.probe.infer(lease, version, bodies[answered % len(bodies)])
                if problem is not None:
                    break
                answered += 1
            return answered

        return list(await asyncio.gather(*(warm(lease) for lease in leases)))

    async def _golden(
        self, leases: Sequence[Lease], version: Version, golden: Sequence[Golden], output: str
    ) -> tuple[int, int, list[str]]:
        passed, problems = 0, []
        for lease in leases:
            for index, item in enumerate(golden):
                outputs, problem = await self.probe.infer(lease, version, {"inputs": list(item.inputs)})
                problem = problem or unlike(item, outputs, output)
                if problem is None:
                    passed += 1
                else:
                    problems.append(f"worker {lease.host}:{lease.port}, golden request {index}: {problem}")
        return passed, len(golden) * len(leases), problems


def unlike(golden: Golden, outputs: Sequence[dict[str, Any]], output: str) -> str | None:
    """How the answer differs from what is expected; None where it does not."""
    found = next((item for item in outputs if item.get("name") == output), None)
    if found is None:
        return f"the answer has no output {output}"
    rows = _rows(found.get("data"), found.get("shape"))
    if len(rows) != len(golden.expect):
        return f"{len(rows)} rows instead of {len(golden.expect)}"
    for index, (row, expected) in enumerate(zip(rows, golden.expect, strict=True)):
        if not _is_alike(row, expected, golden.tolerance):
            return f"row {index} is {row!r}, expected {expected!r}"
    return None


def _rows(data: Any, shape: Any) -> list[Any]:
    """OIP may send the values of a tensor flat: they are cut into rows of the first dimension."""
    if not isinstance(data, list):
        return []
    is_flat = not any(isinstance(value, list) for value in data)
    if is_flat and isinstance(shape, list) and len(shape) > 1 and shape[0]:
        width = max(1, math.prod(shape[1:]))
        return [data[first : first + width] for first in range(0, len(data), width)]
    return data


def _is_alike(value: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, list):
        return (
            isinstance(value, list)
            and len(value) == len(expected)
            and all(_is_alike(*pair, tolerance) for pair in zip(value, expected, strict=True))
        )
    if isinstance(expected, bool) or isinstance(value, bool):
        return value is expected
    if isinstance(expected, (int, float)) and isinstance(value, (int, float)):
        return math.isfinite(value) and abs(value - expected) <= tolerance
    return bool(value == expected)


def _recorded_output(route: Route | None, version: Version) -> str:
    named = None if route is None else route.record.output
    return named or version.signature.outputs[0].name


def _result(
    leases: Sequence[Lease], warmed: int, golden: tuple[int, int], problems: Sequence[str]
) -> CutoverCheck:
    more = [f"and {len(problems) - MOST_PROBLEMS} more"] if len(problems) > MOST_PROBLEMS else []
    return CutoverCheck(len(leases), warmed, golden[0], golden[1], (*problems[:MOST_PROBLEMS], *more))
