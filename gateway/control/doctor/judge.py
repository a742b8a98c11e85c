"""What is wrong with an installation, why it matters, and the command that mends it. Pure.

One function a subject, each from what was seen to findings; Redis itself is judged by `redis`. Called by `GET
/doctor` with what `control.doctor.examine` has seen; `turnout doctor` adds what only its own machine sees."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.contract.access import Key
from gateway.contract.pool import Lease, Presence, is_present
from gateway.contract.rollout import Phase, Rollout
from gateway.control.doctor.findings import Finding, Severity
from gateway.control.doctor.redis import judged
from gateway.control.pools.report import Pool
from gateway.store.condition import Condition

CLOCKS_MS = 500.0
FULL = 0.9  # share of a disk or of maxmemory
LEAST_FREE_BYTES = 1_000_000_000
LEAST_FILES = 4096  # a gateway process needs one for each client and worker connection
SOON_S = 14 * 86_400.0


@dataclass(frozen=True, slots=True)
class Disk:
    path: str
    free_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was looked at.

    `unreachable`: ready workers that take no connection, with why; `unserved`: versions that a route names
    and that have no ready worker; `unreadable`: models whose route is not one, with why; `unsigned`: why no
    head of the audit is signed.
    """

    redis: Condition
    redis_cli: str  # what reaches that server from a shell
    now_ms: int  # by Redis' clock
    revision: int
    gateways: Sequence[Presence]  # the silent ones, too
    leases: Sequence[Lease]
    unreachable: Sequence[tuple[Lease, str]]
    leader: str | None
    moves_rollouts: bool
    disks: Sequence[Disk]
    files_limit: int
    is_loopback: bool
    keys_are_on: bool
    keys_may_be_on: bool  # access.required is not `off`
    keys: Sequence[tuple[str, Key]]
    pools: Sequence[Pool]
    unserved: Sequence[tuple[str, str]]
    unreadable: Mapping[str, str]
    rollouts: Sequence[Rollout]
    unsigned: str | None


def findings(seen: Seen) -> list[Finding]:
    """The gravest first."""
    found = [
        *judged(seen.redis, cli=seen.redis_cli),
        *_clocks(seen),
        *_gateways(seen),
        *_workers(seen),
        *_leader(seen),
        *_disks(seen.disks),
        *_files(seen),
        *_access(seen),
        *_keys(seen),
        *_models(seen),
        *_rollouts(seen.rollouts),
        *_audit(seen.unsigned),
    ]
    order = list(Severity)
    return sorted(found, key=lambda finding: order.index(finding.severity))


def _clocks(seen: Seen) -> Iterator[Finding]:
    apart = [("the control process", -seen.redis.clock_ms)]
    apart += [
        (f"gateway {gateway.gateway_id} at {gateway.address}", float(gateway.at_ms - gateway.seen_ms))
        for gateway in seen.gateways
        if gateway.at_ms
    ]
    apart += [
        (f"worker {lease.worker_id} at {lease.host}:{lease.port}", float(lease.at_ms - lease.seen_ms))
        for lease in seen.leases
        if lease.at_ms
    ]
    for who, ahead_ms in apart:
        if abs(ahead_ms) > CLOCKS_MS:
            yield Finding(
                Severity.WARNING, "clock",
                f"the clock of {who} is {abs(ahead_ms) / 1000:.1f} s "
                f"{'ahead of' if ahead_ms > 0 else 'behind'} that of Redis",
                "Prediction ids carry the time: labels may be taken for expired, and keys end early or late.",
                "timedatectl set-ntp true   (on that machine)",
            )  # fmt: skip


def _gateways(seen: Seen) -> Iterator[Finding]:
    if not seen.gateways:
        yield Finding(
            Severity.CRITICAL, "no_gateway", "no gateway is running",
            "Predictions are answered by nobody.", "turnout gateway",
        )  # fmt: skip
    for gateway in seen.gateways:
        named = f"gateway {gateway.gateway_id} at {gateway.address} (process {gateway.pid})"
        if not is_present(gateway.seen_ms, seen.now_ms):
            silent_s = (seen.now_ms - gateway.seen_ms) / 1000
            yield Finding(
                Severity.CRITICAL, "gateway_silent", f"{named} has said nothing for {silent_s:.0f} s",
                "It crashed, hangs, or has lost Redis: it may serve old routes, or nothing.",
                f"on its machine: kill -CONT {gateway.pid} if it was stopped, else restart `turnout gateway`",
            )  # fmt: skip
        elif gateway.revision < seen.revision:
            yield Finding(
                Severity.WARNING, "gateway_behind",
                f"{named} serves revision {gateway.revision}, not {seen.revision}",
                "Some requests are still split by the old route.",
                "if it stays so for a second: kill -HUP its `turnout gateway`, which loses nothing",
            )  # fmt: skip


def _workers(seen: Seen) -> Iterator[Finding]:
    for lease, why in seen.unreachable:
        yield Finding(
            Severity.CRITICAL, "worker_unreachable",
            f"worker {lease.worker_id} of {lease.model} {lease.version} at {lease.host}:{lease.port} calls "
            f"itself ready, but takes no connection from here ({why})",
            "Requests sent there fail, and are repeated elsewhere at best.",
            "give workers an address that gateways reach (worker.advertise_host), or open the port; "
            "then restart the supervisor",
        )  # fmt: skip
    for lease in seen.leases:
        if not is_present(lease.seen_ms, seen.now_ms):
            yield Finding(
                Severity.NOTE, "worker_gone",
                f"worker {lease.worker_id} of {lease.model} {lease.version} ended without a word",
                "It was killed, or its machine is gone; its supervisor starts another one.",
                "turnout pools",
            )  # fmt: skip


def _leader(seen: Seen) -> Iterator[Finding]:
    if seen.leader is None:
        yield Finding(
            Severity.WARNING, "leader", "no control process moves rollouts on",
            "Rollouts stand still: a bad release would not be taken back.",
            "start one more `turnout control`"
            if seen.moves_rollouts
            else "set control.rollouts: true and restart `turnout control`",
        )  # fmt: skip


def _disks(disks: Sequence[Disk]) -> Iterator[Finding]:
    for disk in disks:
        is_full = disk.size_bytes > 0 and disk.free_bytes < (1 - FULL) * disk.size_bytes
        if is_full and disk.free_bytes < LEAST_FREE_BYTES:
            yield Finding(
                Severity.CRITICAL, "disk", f"{disk.path} has {disk.free_bytes / 1e6:.0f} MB left",
                "Without space no model is stored, no audit is signed, and an embedded Redis stops writing.",
                f"free space: du -xh {disk.path} | sort -h | tail",
            )  # fmt: skip


def _files(seen: Seen) -> Iterator[Finding]:
    limits = [("the control process", seen.files_limit)]
    limits += [(f"gateway {gateway.gateway_id}", gateway.files_limit) for gateway in seen.gateways]
    for who, limit in limits:
        if 0 < limit < LEAST_FILES:
            yield Finding(
                Severity.WARNING, "open_files", f"{who} may open {limit} files",
                "Each connection is one: beyond it clients are refused.",
                "ulimit -n 65536 before it starts (systemd: LimitNOFILE=65536)",
            )  # fmt: skip


def _access(seen: Seen) -> Iterator[Finding]:
    if seen.keys_are_on:
        return
    mend = "turnout key create NAME --role admin   (the first admin key turns them on)"
    if not seen.keys_may_be_on:
        mend = "set access.required: auto for gateways and control, restart them, and " + mend
    if seen.is_loopback:
        yield Finding(
            Severity.NOTE, "access", "keys are off: everybody on this machine may change everything",
            "Fine for one person's machine; not where others log in.",
            mend,
        )  # fmt: skip
    else:
        yield Finding(
            Severity.CRITICAL, "access", "keys are off, and the control API can be reached from elsewhere",
            "Everybody who reaches the address may send all traffic to any version.",
            mend,
        )  # fmt: skip


def _keys(seen: Seen) -> Iterator[Finding]:
    for key_id, key in seen.keys:
        if key.expires_at_ms is None:
            continue
        left_s = (key.expires_at_ms - seen.now_ms) / 1000
        if left_s < SOON_S:
            when = "has expired" if left_s <= 0 else f"expires in {left_s / 86_400:.1f} days"
            yield Finding(
                Severity.NOTE if left_s <= 0 else Severity.WARNING, "key_expires",
                f"key {key.name} ({key_id}, {key.role}) {when}",
                "Whoever uses it is refused from then on." if left_s > 0 else "It is of no use any more.",
                f"{_same_key(key)}   (and, when it is handed out, turnout key revoke {key_id})"
                if left_s > 0
                else f"turnout key revoke {key_id}",
            )  # fmt: skip


def _same_key(key: Key) -> str:
    """With the same rights and no more."""
    scope = "" if key.models == ("*",) else f" --models {','.join(key.models)}"
    pin = " --pin" if key.pin else ""
    rate = "" if key.rate_per_s is None else f" --rate {key.rate_per_s:g}"
    return f"turnout key create {key.name}-2 --role {key.role}{scope}{pin}{rate}"


def _models(seen: Seen) -> Iterator[Finding]:
    for model, why in sorted(seen.unreadable.items()):
        yield Finding(
            Severity.CRITICAL, "route_unreadable", f"the route of {model} cannot be read ({why})",
            "Gateways keep its last good form; nobody can change it by commands that edit it.",
            f"turnout route rollback {model}",
        )  # fmt: skip
    for model, version in seen.unserved:
        yield Finding(
            Severity.CRITICAL, "route_without_workers",
            f"the route of {model} sends requests to version {version}, which has no ready worker",
            "These requests go to the fallback, or fail with 503.",
            f"turnout pools scale {model} {version} 1",
        )  # fmt: skip
    for pool in seen.pools:
        if pool.is_short and (pool.model, pool.version) not in seen.unserved:
            yield Finding(
                Severity.WARNING, "pool_short",
                f"version {pool.version} of {pool.model} has {pool.ready} of {pool.wanted} workers ready",
                "The others carry its load, until they cannot.",
                "turnout pools; is a `turnout supervisor` running? Its log says why a worker ends",
            )  # fmt: skip
        for worker in pool.workers:
            if worker.problem is not None:
                yield Finding(
                    Severity.WARNING, "worker_wrong",
                    f"worker {worker.address} of {pool.model} {pool.version} {worker.problem}",
                    "Gateways send it nothing.", "end it; its supervisor starts one with the registered file",
                )  # fmt: skip


def _rollouts(rollouts: Sequence[Rollout]) -> Iterator[Finding]:
    for rollout in rollouts:
        if rollout.phase in (Phase.PAUSED, Phase.FROZEN):
            yield Finding(
                Severity.WARNING, "rollout_waits",
                f"the rollout of {rollout.model} to {rollout.candidate} is {rollout.phase}: "
                f"{rollout.sentence}",
                "It does not go on by itself.",
                f"turnout rollout resume {rollout.model}   (or abort)",
            )  # fmt: skip


def _audit(unsigned: str | None) -> Iterator[Finding]:
    if unsigned is not None:
        yield Finding(
            Severity.WARNING, "audit_unsigned", f"no head of the audit is signed, since {unsigned}",
            "Whoever can write to Redis could rewrite what was changed since the last head.",
            "make data_dir of the control process writable, then turnout audit head",
        )  # fmt: skip
