"""What an operator may set about workers and their supervisor, with the reason for each default.

Read by the modules of `workers`; filled from flags, environment and file by the commands that start them.
"""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from gateway.contract.logs import LogFormat
from gateway.traces.settings import TraceSettings

MIB = 1024 * 1024
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """One worker process."""

    redis_url: str = "unix://.turnout/redis/redis.sock"
    log_format: LogFormat = "auto"
    traces: TraceSettings = field(default_factory=TraceSettings)
    artifacts_dir: Path = Path(".turnout/artifacts")  # the store of model files: DIR/sha256/<2 hex>/<digest>
    artifacts_url: str = ""  # a store elsewhere, such as s3://bucket/models; the folder then holds copies
    host: str = "127.0.0.1"
    advertise_host: str = ""  # what gateways are told to connect to; empty = `host`
    allow_unauthenticated: bool = False  # needed to listen on anything but loopback
    weight: float = 1.0  # capacity beside the other workers of the pool; gateways send in proportion
    max_batch_rows: int = 64  # 1 = no batching; beyond 64 rows small models gain little and callers wait
    # 0 = an idle runtime never waits. Batches form by themselves while it is busy, so waiting only helps a
    # model for which two rows cost hardly more than one.
    max_delay_ms: float = 0.0
    max_queue_requests: int = 1024  # at 1 ms each the last one waits a second; more are answered 503
    max_queue_rows: int = 16_384  # so that a few big batches cannot hide behind the count of requests
    # A hand-over to the thread and back costs 40 to 80 µs of CPU, and 300 µs on the loop delay the reply of
    # another connection by no more than that.
    inline_limit_us: float = 300.0
    intra_op_threads: int = 1  # more pay only for large models on idle cores; pools grow by workers instead
    drain_grace_s: float = 1.0  # still accepting: gateways hear at once, or with the next poll, 1 s later
    drain_deadline_s: float = 30.0  # the longest request that a drain waits for
    max_body_bytes: int = 32 * MIB  # a 16 MiB tensor as JSON or raw bytes
    max_artifact_bytes: int = 2048 * MIB - 1  # the largest protobuf message, so the largest ONNX file


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """The supervisor of one machine's workers."""

    redis_url: str = "unix://.turnout/redis/redis.sock"
    log_format: LogFormat = "auto"
    # How long a version keeps its workers after nothing names it any more: what a rollback finds ready.
    keep_warm_s: float = 300.0
    max_workers: int = 32  # of this machine, whatever is needed: a worker of a small model takes 100 MB
    control_url: str = ""  # where model files come from that are not in the folder here; empty = nowhere
    control_key: str = field(default="", repr=False)  # a viewer's, where keys are on
    poll_s: float = 0.5  # how soon a changed need is seen; one small read of Redis
    quick_failures: int = 5  # so many in a row are a crash loop: then a long pause, and it is reported
    quarantine_s: float = 300.0  # that pause; asking for the version again ends it
    first_backoff_s: float = 0.2  # a worker that was killed once is back before its lease has ended
    max_backoff_s: float = 10.0  # a worker that cannot start tries, and logs, six times a minute
    healthy_after_s: float = 30.0  # alive for so long, its next crash counts as the first
    stop_deadline_s: float = 35.0  # after SIGTERM: a worker's own drain deadline and 5 s; then SIGKILL


_WORKER = TypeAdapter(WorkerSettings)


def dump(settings: WorkerSettings) -> str:
    """As JSON, for a child process."""
    return _WORKER.dump_json(settings).decode()


def load(text: str) -> WorkerSettings:
    return _WORKER.validate_json(text)
