"""What the control process is told at start; it changes with a restart only."""

from dataclasses import dataclass, field
from pathlib import Path

from gateway.contract.access import LOOPBACK_HOSTS, AccessSettings
from gateway.contract.logs import LogFormat
from gateway.contract.oidc import OidcSettings

LOOPBACK_NAMES = LOOPBACK_HOSTS


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """`allowed_hosts` are names, beside those of loopback, under which a browser or client may call."""

    redis_url: str
    artifacts_dir: Path
    # A store of model files elsewhere, as fsspec writes it: s3://bucket/models. Its driver finds the
    # credentials where it looks for them. The folder then holds what is on its way.
    artifacts_url: str = ""
    data_dir: Path = Path(".turnout")  # holds the key that signs heads of the audit chain, and the heads
    access: AccessSettings = field(default_factory=AccessSettings)
    oidc: OidcSettings = field(default_factory=OidcSettings)  # how people log in
    log_format: LogFormat = "auto"
    # How soon a change is under a signed head of the audit chain: what is younger is only chained.
    audit_head_s: float = 60.0
    # How long a version keeps its workers after nothing names it any more; supervisors are told the same.
    keep_warm_s: float = 300.0
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
    # Whether this process moves rollouts on while it leads; the API works all the same.
    rollouts: bool = True
    # How often each rollout is looked at: a dozen small calls to Redis, 5 to 10 ms of CPU. A bad version
    # is taken back within a tick of the verdict.
    rollout_tick_s: float = 0.5
    # A directory of plans (YAML) beside those that come with Turnout; one with the same name wins.
    plans_dir: str = ""
    # Hosts of loopback or link-local networks that plans may name for Prometheus and webhooks.
    outside_hosts: tuple[str, ...] = ()
    # Signs what webhooks are told of rollouts; without it a plan with `webhooks` is refused.
    webhook_secret: str = field(default="", repr=False)

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK_NAMES
