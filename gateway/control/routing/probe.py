"""Does a worker really answer? Asked of every worker of a pool before a cutover sends traffic to it.

A check is readiness and one real inference of the right version and digest. Only addresses from leases are
called: no redirect is followed and no proxy of the environment used. Nothing here decides;
`control.routing.cutover` does."""

import asyncio
import json
import secrets
from dataclasses import dataclass
from typing import Any

import httpx2

from gateway.contract import headers
from gateway.contract.pool import Lease
from gateway.contract.version import Version
from gateway.control.routing.synthetic import synthetic_request


@dataclass(frozen=True, slots=True)
class Checked:
    """`problem` is None for a worker that answers as it should."""

    worker_id: str
    address: str
    ms: float | None
    problem: str | None


class WorkerProbe:
    def __init__(self, *, timeout_s: float) -> None:
        # Workers speak plain HTTP: without `verify` no certificates are read.
        self._client = httpx2.AsyncClient(
            timeout=timeout_s, follow_redirects=False, trust_env=False, verify=False
        )
        self._timeout_s = timeout_s

    async def check_all(self, leases: list[Lease], version: Version) -> list[Checked]:
        return list(await asyncio.gather(*(self._check(lease, version) for lease in leases)))

    async def infer(
        self, lease: Lease, version: Version, body: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], str | None]:
        """The outputs of one inference, or what is wrong with the worker."""
        address = _address(lease)
        try:
            async with asyncio.timeout(self._timeout_s):
                reply, problem = await self._infer(f"http://{address}", version, body)
        except (TimeoutError, httpx2.TimeoutException):
            return [], f"no answer within {self._timeout_s:g} s"
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return [], f"no answer ({type(error).__name__})"
        return ([], problem) if problem is not None else (json.loads(reply.content)["outputs"], None)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _check(self, lease: Lease, version: Version) -> Checked:
        address = _address(lease)
        try:
            async with asyncio.timeout(self._timeout_s):
                ms, problem = await self._ask(f"http://{address}", version)
        except (TimeoutError, httpx2.TimeoutException):
            ms, problem = None, f"no answer within {self._timeout_s:g} s"
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            ms, problem = None, f"no answer ({type(error).__name__})"
        return Checked(lease.worker_id, address, ms, problem)

    async def _ask(self, base: str, version: Version) -> tuple[float | None, str | None]:
        ready = await self._client.get(f"{base}/v2/health/ready")
        if ready.status_code != httpx2.codes.OK:
            return None, f"answers {ready.status_code} when asked whether it is ready"
        reply, problem = await self._infer(base, version, synthetic_request(version.signature))
        return round(reply.elapsed.total_seconds() * 1000, 3), problem

    async def _infer(
        self, base: str, version: Version, body: dict[str, Any]
    ) -> tuple[httpx2.Response, str | None]:
        token = secrets.token_hex(8)
        reply = await self._client.post(
            f"{base}/v2/models/{version.model}/versions/{version.version}/infer",
            json=body,
            headers={headers.ATTEMPT.decode(): token},
        )
        return reply, _problem_of(reply, token, version)


def _address(lease: Lease) -> str:
    host = f"[{lease.host}]" if ":" in lease.host else lease.host
    return f"{host}:{lease.port}"


def _problem_of(reply: httpx2.Response, token: str, version: Version) -> str | None:
    if reply.status_code != httpx2.codes.OK:
        return f"answers a test inference with {reply.status_code}"
    echoed = reply.headers.get(headers.ATTEMPT.decode(), "")
    if echoed != f"{token};{version.digest[:12]}":
        return "serves another model file than the registered one"
    try:
        outputs = json.loads(reply.content)["outputs"]
        named = [output["name"] for output in outputs]
    except (ValueError, KeyError, TypeError):
        return "answers a test inference with something that is not an OIP response"
    missing = [spec.name for spec in version.signature.outputs if spec.name not in named]
    return f"leaves out output {missing[0]}" if missing else None
