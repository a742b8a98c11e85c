"""Settings of a gateway process, each with its unit, default and reason."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter

from gateway.contract.access import AccessSettings
from gateway.contract.logs import LogFormat
from gateway.traces.settings import TraceSettings
from gateway.wire.limits import Limits


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    redis_url: str = "unix://.turnout/redis/redis.sock"
    data_dir: Path = Path(".turnout")  # holds the last good snapshot and the processes' sockets
    host: str = "127.0.0.1"
    port: int = 8080
    metrics_port: int = 8082
    processes: int = 1
    allow_unauthenticated: bool = False  # needed to listen on anything but loopback
    access: AccessSettings = field(default_factory=AccessSettings)
    log_format: LogFormat = "auto"
    traces: TraceSettings = field(default_factory=TraceSettings)
    limits: Limits = field(default_factory=Limits)
    flush_s: float = 0.2  # how long a prediction waits before it is written; lost if the process is killed
    recorder_bound: int = 100_000  # predictions kept while Redis is away; about 300 bytes each
    slow_start_s: float = 10.0  # until a fresh or returned worker gets its full share; 0 = at once
    shadow_in_flight: int = 64  # copies on the wire at once, per shadow of a route
    shadow_queue: int = 1024  # copies that wait behind them; more are dropped and counted
    shadow_bytes: int = 64 * 1024 * 1024  # bodies held for shadows, all together
    body_memory_bytes: int = 256 * 1024 * 1024  # large bodies in flight in a process: 64 of 1 MiB both ways
    body_wait_s: float = 1.0  # how long a large body waits for its room; then 503
    drain_grace_s: float = 1.0  # unready, but accepting: a balancer has to notice first
    drain_deadline_s: float = 30.0  # the longest request that a drain waits for


# What a running gateway cannot change: its sockets, and what they were opened for.
NEED_RESTART = ("redis_url", "data_dir", "host", "port", "metrics_port", "allow_unauthenticated", "access")


def with_live(now: GatewaySettings, wanted: GatewaySettings) -> tuple[GatewaySettings, list[str]]:
    """What is to be served from now on, and the names of wanted changes that need a restart."""
    changed = [name for name in NEED_RESTART if getattr(now, name) != getattr(wanted, name)]
    return replace(wanted, **{name: getattr(now, name) for name in NEED_RESTART}), changed


_ADAPTER = TypeAdapter(GatewaySettings)


def dump(settings: GatewaySettings) -> str:
    """As JSON, for a child process."""
    return _ADAPTER.dump_json(settings).decode()


def load(text: str) -> GatewaySettings:
    return _ADAPTER.validate_json(text)


def state_path(settings: GatewaySettings, index: int) -> Path:
    """The Unix socket on which process `index` tells its metrics."""
    return settings.data_dir / f"gateway-{index}.sock"
