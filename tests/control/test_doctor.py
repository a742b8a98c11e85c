"""Each thing that can be wrong, done to a real installation or to what was seen of one."""

import asyncio
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.access import Key, Role
from gateway.contract.pool import STAMPED_HSET, Lease, Presence, WorkerState
from gateway.control.doctor.examine import redis_cli
from gateway.control.doctor.findings import Severity
from gateway.control.doctor.judge import Disk, Seen, findings
from gateway.store.condition import Condition
from gateway.store.fleet import FleetStore
from tests.control.world import add_versions, answering_worker, following_gateway, split

NOW_MS = 1_800_000_000_000
WELL = Condition(
    version=(7, 2, 4), name="Valkey", role="master", policy="noeviction", maxmemory_bytes=0, used_bytes=1,
    has_aof=True, fsync="always", saves="", aof_is_well=True, rewrite_is_well=True, save_is_well=True,
    is_rewriting=False, delayed_fsyncs=0, knows_waitaof=True, ping_ms=0.1, clock_ms=0.0, has_config_file=True,
)  # fmt: skip
GATEWAY = Presence(
    gateway_id="gw-1", pid=7, address="127.0.0.1:8080", revision=5, started_ms=1, seen_ms=NOW_MS,
    at_ms=NOW_MS, files_limit=65536,
)  # fmt: skip
WORKER = Lease(
    worker_id="w-1", model="digits", version="1", digest="0", host="10.0.0.9", port=9, pid=1,
    state=WorkerState.READY, started_ms=1, seen_ms=NOW_MS, at_ms=NOW_MS,
)  # fmt: skip
ALL_IS_WELL = Seen(
    redis=WELL, redis_cli="redis-cli -s /r", now_ms=NOW_MS, revision=5,
    gateways=[GATEWAY], leases=[WORKER], unreachable=[],
    leader="c-1", moves_rollouts=True, disks=[Disk("/data", 50_000_000_000, 100_000_000_000)],
    files_limit=65536,
    is_loopback=True, keys_are_on=True, keys_may_be_on=True,
    keys=[], pools=[], unserved=[], unreadable={}, rollouts=[],
    unsigned=None,
)  # fmt: skip


def redis(**facts: Any) -> Callable[[Seen], Seen]:
    return lambda seen: replace(seen, redis=replace(WELL, **facts))


def seen_with(**facts: Any) -> Callable[[Seen], Seen]:
    return lambda seen: replace(seen, **facts)


def gateway(said: dict[str, Any]) -> Callable[[Seen], Seen]:
    return seen_with(gateways=[GATEWAY.model_copy(update=said)])


def worker(said: dict[str, Any]) -> Callable[[Seen], Seen]:
    return seen_with(leases=[WORKER.model_copy(update=said)])


def key(expires_in_s: float) -> list[tuple[str, Key]]:
    expires_at_ms = int(NOW_MS + expires_in_s * 1000)
    return [("0123456789", Key(name="ci", role=Role.OPERATOR, digest="0" * 64, expires_at_ms=expires_at_ms))]


FAULTS: list[tuple[str, str, Callable[[Seen], Seen]]] = [
    ("critical", "redis_version", redis(version=(6, 0, 16), knows_waitaof=False)),
    ("critical", "redis_role", redis(role="slave")),
    ("critical", "redis_eviction", redis(policy="allkeys-lru")),
    ("critical", "redis_memory", redis(maxmemory_bytes=100, used_bytes=95)),
    ("critical", "redis_persistence", redis(has_aof=False, saves="")),
    ("warning", "redis_persistence", redis(has_aof=False, saves="3600 1")),
    ("warning", "redis_fsync", redis(fsync="no")),
    ("critical", "redis_disk", redis(rewrite_is_well=False)),
    ("critical", "redis_disk", redis(save_is_well=False)),
    ("note", "redis_slow_disk", redis(delayed_fsyncs=3)),
    ("note", "redis_waitaof", redis(version=(7, 0, 15), knows_waitaof=False, fsync="everysec")),
    ("warning", "redis_latency", redis(ping_ms=40.0)),
    ("warning", "clock", redis(clock_ms=2000.0)),
    ("warning", "clock", gateway({"at_ms": NOW_MS + 9000})),
    ("warning", "clock", worker({"at_ms": NOW_MS - 9000})),
    ("critical", "gateway_silent", gateway({"seen_ms": NOW_MS - 9000, "at_ms": 0})),
    ("warning", "gateway_behind", gateway({"revision": 4})),
    ("critical", "no_gateway", seen_with(gateways=[])),
    ("warning", "open_files", gateway({"files_limit": 1024})),
    ("warning", "open_files", seen_with(files_limit=256)),
    ("critical", "worker_unreachable", seen_with(unreachable=[(WORKER, "Connection refused")])),
    ("note", "worker_gone", worker({"seen_ms": NOW_MS - 9000, "at_ms": 0})),
    ("warning", "leader", seen_with(leader=None)),
    ("critical", "disk", seen_with(disks=[Disk("/data", 500_000_000, 100_000_000_000)])),
    ("note", "access", seen_with(keys_are_on=False)),
    ("critical", "access", seen_with(keys_are_on=False, is_loopback=False)),
    ("warning", "key_expires", seen_with(keys=key(86_400.0))),
    ("note", "key_expires", seen_with(keys=key(-1.0))),
    ("critical", "route_without_workers", seen_with(unserved=[("digits", "3")])),
    ("critical", "route_unreadable", seen_with(unreadable={"digits": "split: missing"})),
    ("warning", "audit_unsigned", seen_with(unsigned="the disk is full")),
]  # fmt: skip


def test_nothing_is_found_where_all_is_well() -> None:
    assert findings(ALL_IS_WELL) == []


@pytest.mark.parametrize(("severity", "check", "harm"), FAULTS, ids=lambda value: str(value)[:24])
def test_each_fault_is_one_finding_with_its_cure(
    severity: str, check: str, harm: Callable[[Seen], Seen]
) -> None:
    (found,) = findings(harm(ALL_IS_WELL))
    assert (found.severity, found.check) == (severity, check)
    assert found.what
    assert found.why.endswith(".")
    assert found.mend


def test_the_same_key_is_made_again_with_no_more_rights() -> None:
    narrow = Key(
        name="shop", role=Role.CLIENT, digest="0" * 64, expires_at_ms=NOW_MS + 1000,
        models=("digits", "iris"), pin=True, rate_per_s=5.5,
    )  # fmt: skip
    (found,) = findings(replace(ALL_IS_WELL, keys=[("0123456789", narrow)]))
    words = "key create shop-2 --role client --models digits,iris --pin --rate 5.5"
    assert found.mend.startswith(f"turnout {words}   (")


def test_keys_that_are_off_by_setting_are_not_turned_on_by_the_first() -> None:
    (found,) = findings(replace(ALL_IS_WELL, keys_are_on=False, keys_may_be_on=False))
    assert found.mend.startswith("set access.required: auto")


async def test_what_a_server_without_a_file_is_told_works_and_is_the_cure(
    api: httpx2.AsyncClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a machine that has no redis-cli."""
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    monkeypatch.setattr("shutil.which", lambda name: None)
    mend = (await found_in(api))["redis_eviction"]["mend"]
    assert "CONFIG REWRITE" not in mend
    command = shlex.split(mend.partition("   (")[0])
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert (process.returncode, b"OK" in said or b"True" in said) == (0, True)
    assert "redis_eviction" not in await found_in(api)


def test_the_gravest_comes_first() -> None:
    seen = replace(ALL_IS_WELL, leader=None, keys_are_on=False, redis=replace(WELL, policy="volatile-ttl"))
    assert [found.severity for found in findings(seen)] == list(Severity)


async def found_in(api: httpx2.AsyncClient) -> dict[str, dict[str, Any]]:
    reply = await api.get("/doctor")
    assert reply.status_code == 200
    return {finding["check"]: finding for finding in reply.json()["findings"]}


async def test_a_server_that_evicts_or_forgets_is_found(api: httpx2.AsyncClient, redis: Redis) -> None:
    async with following_gateway(redis):
        assert "redis_eviction" not in await found_in(api)
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await redis.config_set("appendonly", "no")
        found = await found_in(api)
    assert "allkeys-lru" in found["redis_eviction"]["what"]
    assert "redis.sock CONFIG SET maxmemory-policy noeviction" in found["redis_eviction"]["mend"]
    assert found["redis_persistence"]["severity"] == "critical"


async def test_a_worker_whose_port_is_closed_and_a_version_without_workers_are_found(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_versions(redis, "1", "2")
    edit = {"kind": "split", "split": split(("1", 90), ("2", 10))}
    async with answering_worker(redis, "1"):
        await api.post("/routes/digits/edit", json={"edit": edit, "force": True})
        found = await found_in(api)
        assert "worker_unreachable" not in found
        assert found["route_without_workers"]["mend"] == "turnout pools scale digits 2 1"
    found = await found_in(api)  # its lease lasts a while, and its port is closed
    assert "calls itself ready, but takes no connection" in found["worker_unreachable"]["what"]


async def test_clocks_that_are_apart_are_found_by_what_processes_say(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    late_ms = int(time.time() * 1000) - 60_000
    presence = GATEWAY.model_copy(update={"at_ms": late_ms})
    await FleetStore(redis).announce_gateway(presence)
    lease = WORKER.model_copy(update={"at_ms": late_ms, "host": "127.0.0.1"})
    await redis.eval(STAMPED_HSET, 1, keys.WORKERS, "w-1", lease.model_dump_json(exclude={"seen_ms"}), "", "")
    reply = (await api.get("/doctor")).json()["findings"]
    apart = [finding["what"] for finding in reply if finding["check"] == "clock"]
    assert len(apart) == 2
    assert all("behind that of Redis" in words for words in apart)


async def test_a_gateway_that_says_nothing_any_more_is_found(api: httpx2.AsyncClient, redis: Redis) -> None:
    fleet = FleetStore(redis)
    await fleet.announce_gateway(GATEWAY)
    entry = await redis.hget(keys.GATEWAYS, "gw-1")
    now_s, _ = await redis.time()
    assert isinstance(entry, bytes)
    older = b"%d %b" % ((now_s - 30) * 1000, entry.partition(b" ")[2])
    await redis.hset(keys.GATEWAYS, "gw-1", older)
    found = await found_in(api)
    assert "has said nothing for" in found["gateway_silent"]["what"]
    assert "no_gateway" not in found


async def test_a_gateway_that_is_about_to_switch_is_not_behind(api: httpx2.AsyncClient, redis: Redis) -> None:
    await add_versions(redis, "1")
    edit = {"kind": "split", "split": split(("1", 100))}  # a commit that it hears of while the doctor looks
    await api.post("/routes/digits/edit", json={"edit": edit, "force": True})
    fleet = FleetStore(redis)
    await fleet.announce_gateway(GATEWAY.model_copy(update={"revision": 0}))
    asking = asyncio.create_task(found_in(api))
    await asyncio.wait([asking], timeout=0.1)
    await fleet.announce_gateway(GATEWAY.model_copy(update={"revision": 10**6}))
    assert "gateway_behind" not in await asking


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("unix:///data/redis/redis.sock?db=1", "redis-cli -s /data/redis/redis.sock"),
        ("redis://me:secret@cache:6380/0", "redis-cli -h cache -p 6380 --user me --askpass"),
        ("rediss://cache", "redis-cli -h cache -p 6379 --tls"),
        (
            "redis+sentinel://me:secret@s1,s2:26380/main/0",
            "redis-cli -h $(redis-cli -h s1 -p 26379 SENTINEL GET-MASTER-ADDR-BY-NAME main"
            " | paste -sd' ' | sed 's/ / -p /') --user me --askpass",
        ),
    ],
)
def test_what_mends_redis_reaches_that_server_and_tells_no_password(
    url: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    found = findings(
        replace(ALL_IS_WELL, redis=replace(WELL, policy="allkeys-lru"), redis_cli=redis_cli(url))
    )
    assert [item.mend for item in found] == [
        f"{command} CONFIG SET maxmemory-policy noeviction && {command} CONFIG REWRITE"
    ]
