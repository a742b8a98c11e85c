"""What is wrong with the Redis server: it holds the routes, and must neither forget nor delete. Pure.

Called by `doctor`.
"""

from collections.abc import Iterator

from gateway.control.doctor.findings import Finding, Severity
from gateway.store.condition import Condition

OLDEST = (6, 2)
SLOW_PING_MS = 5.0
FULL = 0.9  # share of maxmemory


def judged(redis: Condition, *, cli: str) -> Iterator[Finding]:
    """`cli`: what an operator types to speak to this server, `redis-cli -s PATH` for instance."""
    yield from _persistence(redis, cli)
    yield from _disk(redis, cli)
    name = f"{redis.name} {'.'.join(map(str, redis.version))}"
    if redis.version < OLDEST:
        yield Finding(
            Severity.CRITICAL, "redis_version", f"{name} is older than 6.2",
            "Turnout's scripts use what older servers do not have.", "install Redis 6.2 or newer, or Valkey",
        )  # fmt: skip
    elif not redis.knows_waitaof and redis.fsync != "always":
        yield Finding(
            Severity.NOTE, "redis_waitaof", f"{name} does not know WAITAOF",
            "A change cannot be confirmed as being on disk before it is answered.",
            "use Redis 7.2 or newer, or Valkey",
        )  # fmt: skip
    if redis.role != "master":
        yield Finding(
            Severity.CRITICAL, "redis_role", f"Redis is a {redis.role}",
            "Nothing can be written to it: no route changes, and predictions are not recorded.",
            "give the address of the primary as redis_url",
        )  # fmt: skip
    if redis.policy != "noeviction":
        yield Finding(
            Severity.CRITICAL, "redis_eviction", f"Redis' maxmemory-policy is {redis.policy}",
            "When its memory is full it deletes keys, and routes are keys.",
            _set(redis, cli, "maxmemory-policy noeviction"),
        )  # fmt: skip
    if redis.maxmemory_bytes and redis.used_bytes > FULL * redis.maxmemory_bytes:
        share = redis.used_bytes / redis.maxmemory_bytes
        double = _set(redis, cli, f"maxmemory {2 * redis.maxmemory_bytes}")
        yield Finding(
            Severity.CRITICAL, "redis_memory", f"Redis uses {share:.0%} of its maxmemory",
            "At 100 % it refuses every write: no labels, no records, no changes.",
            f"shorten record.ttl_s of routes, or {double}",
        )  # fmt: skip
    if redis.ping_ms > SLOW_PING_MS:
        yield Finding(
            Severity.WARNING, "redis_latency", f"Redis answers a PING in {redis.ping_ms:g} ms (median of 5)",
            "Above 250 ms gateways give calls up; records and labels wait longer in memory.",
            f"{cli} SLOWLOG GET 10   (which commands were slow; if none: what else runs on its machine?)",
        )  # fmt: skip


def _persistence(redis: Condition, cli: str) -> Iterator[Finding]:
    if not redis.has_aof:
        severity = Severity.CRITICAL if redis.saves == "" else Severity.WARNING
        kept = "nothing" if redis.saves == "" else "what the last snapshot (RDB) has"
        yield Finding(
            severity, "redis_persistence", "Redis writes no append-only file (appendonly no)",
            f"After a restart there is {kept}: routes, labels and the audit since are gone.",
            _set(redis, cli, "appendonly yes"),
        )  # fmt: skip
    elif redis.fsync == "no":
        yield Finding(
            Severity.WARNING, "redis_fsync", "Redis leaves it to the system when its file reaches the disk",
            "A power cut loses up to half a minute of changes and labels.",
            _set(redis, cli, "appendfsync everysec"),
        )  # fmt: skip


def _disk(redis: Condition, cli: str) -> Iterator[Finding]:
    for is_well, what, again in (
        (redis.aof_is_well, "the last write of its append-only file", "BGREWRITEAOF"),
        (redis.rewrite_is_well, "the last rewrite of its append-only file", "BGREWRITEAOF"),
        (redis.save_is_well, "its last snapshot", "BGSAVE"),
    ):
        if not is_well:
            yield Finding(
                Severity.CRITICAL, "redis_disk", f"Redis failed at {what}",
                "It refuses writes, or will lose them, until its disk is mended.",
                f"free space or mend the disk of Redis' directory, then {cli} {again}",
            )  # fmt: skip
    if redis.delayed_fsyncs:
        yield Finding(
            Severity.NOTE, "redis_slow_disk",
            f"Redis' disk held up {redis.delayed_fsyncs} writes since its start",
            "Each one delays every change and every batch of records.",
            "give Redis a disk of its own, or a faster one",
        )  # fmt: skip


def _set(redis: Condition, cli: str, what: str) -> str:
    """Now, and for its next start where that is possible."""
    if redis.has_config_file:
        return f"{cli} CONFIG SET {what} && {cli} CONFIG REWRITE"
    return (
        f"{cli} CONFIG SET {what}   (until its next start, which decides anew: it has no configuration file)"
    )
