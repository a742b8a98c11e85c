"""Every Redis key, named once.

Control keys share the hash tag `{turnout}`; what belongs to predictions of one model carries that model's
tag, so that a Redis Cluster keeps each script's keys in one slot. Names of models and versions are
validated (`names`) before they come here.
"""

# Control: one slot.
REVISION = "{turnout}:revision"  # integer; grows by one with every commit of the installation
DOCUMENTS = "{turnout}:documents"  # hash: field (see `*_field`) -> envelope JSON
CHANGED = "{turnout}:changed"  # sorted set: field -> revision of its last change (tombstones stay)
AUDIT = "{turnout}:audit"  # stream: one entry a commit, chained to the one before, written by the same script
WORKERS = "{turnout}:workers"  # hash: worker id -> lease JSON, `seen_ms` by Redis' clock
GATEWAYS = "{turnout}:gateways"  # hash: gateway id -> presence JSON, `seen_ms` by Redis' clock
SUPERVISORS = "{turnout}:supervisors"  # hash: supervisor id -> `Supervision` JSON, by Redis' clock
CHANGES = "{turnout}:changes"  # channel: "commit <revision>", "workers", "tick <ms>"


def history(field: str) -> str:
    """List of envelopes of one document, newest first."""
    return "{turnout}:history:" + field


def operation(op_id: str) -> str:
    """String: the stored result of a commit, so that a repeated attempt is answered, not applied twice."""
    return "{turnout}:op:" + op_id


# Fields of DOCUMENTS.
def route_field(model: str) -> str:
    return f"route/{model}"


def version_field(model: str, version: str) -> str:
    return f"version/{model}/{version}"


def rollout_field(model: str) -> str:
    """The newest rollout of a model: `contract.rollout.Rollout`; earlier ones are in its history."""
    return f"rollout/{model}"


def standing_field(model: str, version: str) -> str:
    """State, approvals and end of a version: `contract.standing.Standing`."""
    return f"standing/{model}/{version}"


def policy_field(name: str) -> str:
    return f"policy/{name}"


def wanted_field(model: str, version: str) -> str:
    """How many workers this version should have: `contract.pool.Wanted`."""
    return f"wanted/{model}/{version}"


def erasure_field(model: str) -> str:
    """The newest erasure of a unit's data; those before it are in its history: `contract.erasure`."""
    return f"erasure/{model}"


ACCESS_FIELD = "access"  # `contract.access.Access`


def key_field(key_id: str) -> str:
    """A key without its secret: `contract.access.Key`."""
    return f"key/{key_id}"


COLLECTED_FIELD = (
    "collected"  # what was removed last from the store of model files: `control.registry.collect`
)
KEY_USES = "{turnout}:key-uses"  # hash: key id -> ms of its last use, written at most once a minute
AUDIT_HEADS = "{turnout}:audit-heads"  # list, newest last: signed heads of the audit chain, JSON


def answered(op_id: str) -> str:
    """String: digest of a request and its answer, so that its repetition is answered alike."""
    return "{turnout}:answered:" + op_id


LEASE = "{turnout}:lease"  # hash: `holder`, `fence` (grows with each new holder), `until_ms` by Redis' clock


NOTIFIED = "{turnout}:notified"  # string: revision up to which webhooks were told of rollouts


def progress(model: str) -> str:
    """String: JSON of `contract.rollout.Progress`, written under the lease."""
    return "{turnout}:progress:" + model


def alias_field(model: str) -> str:
    """All aliases of a model: `contract.alias.Aliases`."""
    return f"alias/{model}"


def following_field(model: str) -> str:
    """How the route answered the last move of the alias that it follows: `contract.alias.Following`."""
    return f"following/{model}"


# Data of one model: one slot each.
def predictions(model: str, bucket: str) -> str:
    """Hash: prediction field -> record (`contract.record`); lives for the route's `record.ttl_s`."""
    return f"turnout:{{{model}}}:p:{bucket}"


def evidence(model: str, minute: int) -> str:
    """Hash of additive statistics of one minute (Unix time // 60): `contract.evidence`."""
    return f"turnout:{{{model}}}:e:{minute}"


def evidence_of_hour(model: str, hour: int) -> str:
    """The sums of the 60 minutes of one hour (Unix time // 3600), from which long windows are read."""
    return f"turnout:{{{model}}}:e:h{hour}"


def flushed(model: str, recorder_id: str) -> str:
    """String: the last batch number of one recorder that was applied: a repeated batch changes nothing."""
    return f"turnout:{{{model}}}:f:{recorder_id}"


def waiting(model: str) -> str:
    """Hash: bucket and field -> time, id and label of feedback that came before its prediction."""
    return f"turnout:{{{model}}}:waiting"


def samples(model: str) -> str:
    """List, newest first: "<ms> <JSON body>" of a few recent requests."""
    return f"turnout:{{{model}}}:samples"


def of_model(model: str) -> str:
    """A pattern of the keys of one model's data."""
    return f"turnout:{{{model}}}:*"


def disagreements(model: str, primary: str, shadow: str) -> str:
    """Sorted set of JSON: requests where the shadow differed most (numbers) or last (classes)."""
    return f"turnout:{{{model}}}:apart:{primary}:{shadow}"


def units(model: str, rollout_id: str, version: str) -> str:
    """HyperLogLog: the units that this version answered while the route counted for this rollout."""
    return f"turnout:{{{model}}}:u:{rollout_id}:{version}"


def pins(model: str, day: int) -> str:
    """Hash: `<version>|<caller>` -> how often versions that end were pinned on a day (Unix time // 86400)."""
    return f"turnout:{{{model}}}:pins:{day}"


def corrections(model: str) -> str:
    """List, newest first: labels that replaced another label."""
    return f"turnout:{{{model}}}:corrections"
