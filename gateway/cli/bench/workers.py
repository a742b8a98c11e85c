"""What the workers of a version have done so far, as their own metrics tell it.

Read from the workers' addresses as the control API gives them; where one cannot be reached from here, nothing
is known. Called by `turnout bench`.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx2

from gateway.cli.client import ControlClient
from gateway.contract.errors import TurnoutError

ANSWER_S = 2.0
_REQUESTS = re.compile(r"^turnout_worker_requests_total\{[^}]*\} (\S+)$", re.MULTILINE)
_CPU = re.compile(r"^turnout_worker_process_cpu_seconds_total (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Used:
    """Of all workers of one version since each was started."""

    workers: tuple[str, ...]
    requests: int
    cpu_s: float


def used(client: ControlClient, model: str, version: str) -> Used | None:
    """None where not every worker could be asked."""
    pools = client.get("pools")["pools"]
    pool = next((each for each in pools if (each["model"], each["version"]) == (model, version)), None)
    if pool is None:
        raise TurnoutError("unknown_version", f"{model} has no version {version}")
    if not pool["ready"]:
        raise TurnoutError("no_workers", f"version {version} of {model} has no ready worker")
    requests, cpu_s = 0.0, 0.0
    for worker in pool["workers"]:
        text = _metrics(worker["address"])
        cpu = None if text is None else _CPU.search(text)
        if text is None or cpu is None:
            return None
        requests += sum(map(float, _REQUESTS.findall(text)))
        cpu_s += float(cpu[1])
    return Used(tuple(worker["worker_id"] for worker in pool["workers"]), round(requests), cpu_s)


def others_per_second(
    client: ControlClient, model: str, versions: Sequence[str], *, within_s: float
) -> dict[str, float]:
    """Requests a second that each version gets while nobody measures; of those that can be asked."""
    before = {version: used(client, model, version) for version in versions}
    time.sleep(within_s)
    after = {version: used(client, model, version) for version in versions}
    found = {}
    for version in versions:
        first, last = before[version], after[version]
        if first is not None and last is not None and first.workers == last.workers:
            found[version] = (last.requests - first.requests) / within_s
    return found


def _metrics(address: str) -> str | None:
    try:
        reply = httpx2.get(f"http://{address}/metrics", timeout=ANSWER_S, trust_env=False)
    except httpx2.TransportError:
        return None
    return reply.text if reply.status_code == 200 else None
