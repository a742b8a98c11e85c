"""Every Redis key, named once.

Control keys share the hash tag `{turnout}`; what belongs to predictions of one model carries that model's
tag, so that a Redis Cluster keeps each script's keys in one slot. Names of models and versions are
validated (`names`) before they come here.
"""

# Control: one slot.
REVISION = "{turnout}:revision"  # integer; grows by one with every commit of the installation
DOCUMENTS = "{turnout}:documents"  # hash: field (see `*_field`) -> envelope JSON
CHANGED = "{turnout}:changed"  # sorted set: field -> revision of its last change (tombstones stay)
AUDIT = "{turnout}:audit"  # stream: one entry a commit, written by the same script
WORKERS = "{turnout}:workers"  # hash: worker id -> lease JSON, `seen_ms` by Redis' clock
GATEWAYS = "{turnout}:gateways"  # hash: gateway id -> presence JSON, `seen_ms` by Redis' clock
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


def wanted_field(model: str, version: str) -> str:
    """How many workers this version should have: `contract.pool.Wanted`."""
    return f"wanted/{model}/{version}"


def alias_field(model: str) -> str:
    """All aliases of a model: `contract.alias.Aliases`."""
    return f"alias/{model}"


# Data of one model: one slot each.
def predictions(model: str, bucket: str) -> str:
    """Hash: prediction field -> record (`contract.record`); lives for the route's `record.ttl_s`."""
    return f"turnout:{{{model}}}:p:{bucket}"


def evidence(model: str, minute: int) -> str:
    """Hash of additive statistics of one minute (Unix time // 60): `contract.evidence`."""
    return f"turnout:{{{model}}}:e:{minute}"


def flushed(model: str, recorder_id: str) -> str:
    """String: the last batch number of one recorder that was applied: a repeated batch changes nothing."""
    return f"turnout:{{{model}}}:f:{recorder_id}"


def waiting(model: str) -> str:
    """Hash: bucket and field -> time, id and label of feedback that came before its prediction."""
    return f"turnout:{{{model}}}:waiting"


def corrections(model: str) -> str:
    """List, newest first: labels that replaced another label."""
    return f"turnout:{{{model}}}:corrections"
