"""What the control process is told at start; it changes with a restart only."""

from dataclasses import dataclass
from pathlib import Path

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """`allowed_hosts` are names, beside those of loopback, under which a browser or client may call."""

    redis_url: str
    artifacts_dir: Path
    host: str = "127.0.0.1"
    port: int = 8090
    allowed_hosts: tuple[str, ...] = ()
    # The web console at /console; it is loaded when the first browser comes, and costs nothing before.
    console: bool = True
    # 512 MiB holds every model that ONNX can keep in one file beside large language models; at most 2 GiB,
    # the limit of one protobuf message, because external data is refused.
    max_artifact_bytes: int = 512 * 1024 * 1024
    # Redis answers in under a millisecond, but a busy disk can hold up one fsync for some hundred: no command
    # must fail for that, and a Redis that hangs must still be told within a second.
    store_timeout_s: float = 0.75
    # How long one worker may take to answer a check before a cutover.
    probe_timeout_s: float = 2.0
    # The longest that one call may wait for gateways.
    max_wait_s: float = 60.0

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK_NAMES
