"""Documents about processes: workers asked for (`Wanted`), workers there (`Lease`), gateways (`Presence`)
and supervisors (`Supervision`).

The last three lie in hashes as `<ms by Redis' clock> <JSON>`, written by `STAMPED_HSET`, so that nobody's
expiry depends on two machines' clocks. Whether such a process is there is decided by `is_present` alone: for
gateways that choose workers, for commits that wait for gateways, and for whatever tells of them.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from gateway.contract.names import ModelName, VersionName

HEARTBEAT_S = 1.0  # a process says at least this often that it is there
# Who said nothing for so long (by Redis' clock) is gone. Five words missed, not one or two: on a busy machine
# a process that lives is late by a second or two, and to take its traffic for that would make it worse. One
# that was killed is noticed sooner where it matters: by its connections, and by whoever started it.
PRESENT_S = 5.0
FORGOTTEN_S = (
    600.0  # so long is kept, for `turnout doctor`, what a process said last that ended without a word
)

# KEYS[1] the hash (`keys.WORKERS`, `GATEWAYS` or `SUPERVISORS`); ARGV[1] the id, ARGV[2] the JSON, ARGV[3] a
# channel and ARGV[4] a message to publish, or two empty strings. Reply: Redis' time in ms.
STAMPED_HSET = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', now_ms) .. ' ' .. ARGV[2])
if ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
return now_ms
"""


def is_present(seen_ms: int, now_ms: int) -> bool:
    """Both by Redis' clock."""
    return seen_ms >= now_ms - PRESENT_S * 1000


class Keep(StrEnum):
    ALWAYS = "always"
    NEEDED = "needed"  # while a route or a rollout names the version, or somebody asked for it


class Wanted(BaseModel):
    """How many workers of a version each supervisor keeps alive, and when. What is needed: `core.need`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(ge=0, le=64)
    keep: Keep = Field(default=Keep.ALWAYS, description="documents of before this field mean always")
    asked_until_ms: int = Field(
        default=0, ge=0, description="of `needed`: until then whatever routes say, by Redis' clock"
    )


class WorkerState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Lease(BaseModel):
    """A worker's own word about itself; `seen_ms` is set by Redis when it is renewed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    worker_id: str
    model: ModelName
    version: VersionName
    digest: str
    host: str
    port: int = Field(ge=1, le=65535)
    pid: int
    state: WorkerState
    started_ms: int
    near: str = Field(
        default="",
        max_length=100,
        description="name of an abstract Unix socket (Linux, unix(7)) that answers as the port does, for "
        "gateways in the worker's own network namespace: cheaper than TCP over loopback",
    )
    weight: float = Field(default=1.0, ge=0.01, le=100, description="capacity beside the pool's others")
    is_foreign: bool = Field(
        default=False, description="another OIP server: does not echo attempts or name recorded outputs"
    )
    at_ms: int = Field(default=0, description="the worker's own clock as it said this; 0 = not said")
    seen_ms: int = 0


class Presence(BaseModel):
    """A gateway process' word about itself; `seen_ms` is set by Redis.

    `refused`: requests of its last minute that got no version, by error code."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    gateway_id: str
    pid: int
    address: str
    revision: int = Field(description="the revision that this process serves")
    started_ms: int
    problems: int = 0
    at_ms: int = Field(default=0, description="its own clock as it said this; 0 = not said")
    files_limit: int = Field(default=0, description="how many files it may open; 0 = not said")
    refused: dict[str, int] = Field(default_factory=dict)
    seen_ms: int = 0


class Lack(BaseModel):
    """Why a supervisor has fewer workers of a version than it should. `is_stuck`: waiting will not help."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sentence: str
    is_stuck: bool = False


class Supervision(BaseModel):
    """A supervisor's word about itself; `lacks` by "model version". On one `host` the `folder` of its model
    files is one supervisor's: who comes there anew takes the place of one that left without a word."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    supervisor_id: str
    host: str
    folder: str = ""
    pid: int
    started_ms: int
    workers: int
    max_workers: int
    lacks: dict[str, Lack] = Field(default_factory=dict)
    seen_ms: int = 0
