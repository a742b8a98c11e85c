"""Looks at everything that `control.doctor.judge` judges: Redis, processes, disks, limits, keys.

Reads only. Worker addresses come from leases, as gateways take them. Called by `GET /doctor`.
"""

import asyncio
import contextlib
import resource
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from gateway.contract import keys
from gateway.contract.access import Key
from gateway.contract.pool import Lease, WorkerState
from gateway.contract.redis_url import sentinels_in
from gateway.contract.route import Route
from gateway.control.access.door import key_in, turns_on
from gateway.control.doctor.judge import Disk, Seen
from gateway.control.parts import Parts
from gateway.control.pools.report import Pool
from gateway.control.routing.applied import wait_until_served
from gateway.core.check import shares

CONNECT_S = 1.0
SWITCH_S = 1.0  # gateways that are just about to switch are not behind
AT_ONCE = 50  # connections that are tried
MOST = 500  # workers that are tried


async def examine(parts: Parts, pools: Sequence[Pool], *, with_keys: bool) -> Seen:
    """Raises `UpstreamError("store_away")`: without Redis there is nothing else to look at."""
    revision = await parts.documents.revision()
    await wait_until_served(parts.fleet, revision, within_s=SWITCH_S, since=time.perf_counter())
    now_ms, gateways = await parts.fleet.known_gateways()
    fleet = await parts.fleet.workers()
    settings = parts.settings
    found = await _keys(parts) if with_keys else []
    steering = await parts.steerings.read()
    access = await parts.documents.get(keys.ACCESS_FIELD)
    required = settings.access.required
    return Seen(
        redis=await parts.server.condition(),
        redis_cli=redis_cli(settings.redis_url),
        now_ms=now_ms,
        revision=revision,
        gateways=gateways,
        leases=[*fleet.leases, *fleet.ended],
        unreachable=await _unreachable(fleet.leases),
        leader=await parts.leases.leader(),
        moves_rollouts=settings.rollouts,
        disks=_disks((settings.data_dir, settings.artifacts_dir)),
        files_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        is_loopback=settings.is_loopback,
        keys_may_be_on=required != "off",
        keys_are_on=required == "on" or (required == "auto" and turns_on(access)),
        keys=found,
        pools=pools,
        unserved=_unserved(steering.readable_routes(), pools),
        unreadable={model: read.problems[0] for model, read in steering.routes.items() if read.route is None},
        rollouts=steering.going_on(),
        unsigned=parts.heads.problem or None,
    )


def redis_cli(url: str) -> str:
    """The command that speaks to this server; a password stays untold, and is asked for.

    The embedded server comes without one: where this machine has none, redis-py does it.
    """
    parts = urlsplit(url)
    on_path = next((name for name in ("redis-cli", "valkey-cli") if shutil.which(name)), None)
    if parts.scheme == "unix" and on_path is None:
        server = f"redis.Redis(unix_socket_path={parts.path!r})"
        program = f"import redis, sys; print({server}.execute_command(*sys.argv[1:]))"
        return f"{shlex.quote(sys.executable)} -c {shlex.quote(program)}"
    program = on_path or "redis-cli"
    user = f" --user {shlex.quote(parts.username)}" if parts.username else ""
    asked = f"{user} --askpass" if parts.password else ""
    if parts.scheme == "unix":
        return f"{program} -s {shlex.quote(parts.path)}{asked}"
    tls = " --tls" if parts.scheme.startswith("rediss") else ""
    if (sentinels := sentinels_in(url)) is not None:
        host, port = sentinels.addresses[0]
        named = f"SENTINEL GET-MASTER-ADDR-BY-NAME {shlex.quote(sentinels.service)}"
        known = f"{program}{tls} -h {host} -p {port} {named} | paste -sd' ' | sed 's/ / -p /'"
        return f"{program}{tls} -h $({known}){asked}"
    return f"{program} -h {parts.hostname or '127.0.0.1'} -p {parts.port or 6379}{tls}{asked}"


def _unserved(routes: Mapping[str, Route], pools: Sequence[Pool]) -> list[tuple[str, str]]:
    ready = {(pool.model, pool.version) for pool in pools if pool.ready}
    named = {(model, version) for model, route in routes.items() for _, version in shares(route)}
    return sorted(named - ready)


async def _keys(parts: Parts) -> list[tuple[str, Key]]:
    read = {field: key_in(envelope) for field, envelope in (await parts.documents.all("key/")).items()}
    return [(field.removeprefix("key/"), key) for field, key in read.items() if key is not None]


async def _unreachable(leases: Sequence[Lease]) -> list[tuple[Lease, str]]:
    places = asyncio.Semaphore(AT_ONCE)

    async def reason(lease: Lease) -> str | None:
        async with places:
            return await _why_not(lease.host, lease.port)

    ready = [lease for lease in leases if lease.state is WorkerState.READY][:MOST]
    reasons = await asyncio.gather(*map(reason, ready))
    return [(lease, why) for lease, why in zip(ready, reasons, strict=True) if why is not None]


async def _why_not(host: str, port: int) -> str | None:
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"no answer within {CONNECT_S:g} s"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return None


def _disks(paths: Sequence[Path]) -> list[Disk]:
    """One for each file system."""
    found: dict[int, Disk] = {}
    for path in paths:
        try:
            device = path.stat().st_dev
            usage = shutil.disk_usage(path)
        except OSError:
            continue
        found.setdefault(device, Disk(str(path.absolute()), usage.free, usage.total))
    return list(found.values())
