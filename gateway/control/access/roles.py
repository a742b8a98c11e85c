"""Which role each address of the control API asks for: one table, and nothing is served that is not in it.

Where a path names a `{model}`, the caller's scope must have it. `OPEN` needs no key at all: it says nothing
about the installation. Read by `door`; a test holds the table against the routes that there are.
"""

import re
from dataclasses import dataclass
from typing import Final

from gateway.contract.access import Role

OPEN: Final = None
READ, CHANGE, KEYS = Role.VIEWER, Role.OPERATOR, Role.ADMIN
PREFIX = "/api/v1"

ROLE_OF: dict[tuple[str, str], Role | None] = {
    ("GET", "/healthz"): OPEN,
    ("GET", f"{PREFIX}/openapi.json"): OPEN,
    ("HEAD", f"{PREFIX}/openapi.json"): OPEN,
    ("GET", f"{PREFIX}/status"): READ,
    ("GET", f"{PREFIX}/overview"): READ,
    ("GET", f"{PREFIX}/doctor"): READ,
    ("GET", f"{PREFIX}/pools"): READ,
    ("GET", f"{PREFIX}/gateways"): READ,
    ("GET", f"{PREFIX}/whoami"): Role.CLIENT,
    ("GET", "/metrics"): READ,
    ("GET", f"{PREFIX}/observed/workers"): READ,
    # routes
    ("GET", f"{PREFIX}/routes"): READ,
    ("GET", f"{PREFIX}/export"): READ,
    ("GET", f"{PREFIX}/routes/{{model}}"): READ,
    ("GET", f"{PREFIX}/routes/{{model}}/history"): READ,
    ("POST", f"{PREFIX}/routes/{{model}}/edit"): CHANGE,
    ("POST", f"{PREFIX}/models/{{model}}/cutover"): CHANGE,
    ("POST", f"{PREFIX}/apply"): CHANGE,
    ("POST", f"{PREFIX}/diff"): READ,
    # models
    ("GET", f"{PREFIX}/models"): READ,
    ("GET", f"{PREFIX}/models/{{model}}"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/versions/{{version}}"): READ,
    ("POST", f"{PREFIX}/artifacts"): CHANGE,
    ("POST", f"{PREFIX}/artifacts/collect"): Role.ADMIN,  # files of all models, and there is no way back
    ("PUT", f"{PREFIX}/models/{{model}}/versions/{{version}}"): CHANGE,
    ("PUT", f"{PREFIX}/models/{{model}}/versions/{{version}}/workers"): CHANGE,
    ("POST", f"{PREFIX}/models/{{model}}/versions/{{version}}/start"): CHANGE,
    ("DELETE", f"{PREFIX}/models/{{model}}/versions/{{version}}"): CHANGE,
    ("PUT", f"{PREFIX}/models/{{model}}/versions/{{version}}/tags"): CHANGE,
    ("GET", f"{PREFIX}/models/{{model}}/versions/{{version}}/artifact"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/aliases"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/aliases/history"): READ,
    ("PUT", f"{PREFIX}/models/{{model}}/aliases/{{alias}}"): CHANGE,
    # evidence
    ("GET", f"{PREFIX}/models/{{model}}/compare"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/traffic"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/explain"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/predictions/{{prediction_id}}"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/predictions/{{prediction_id}}/explain"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/slices"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/confusion"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/distributions"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/drift"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/disagreements"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/samples"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/corrections"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/series"): READ,
    # rollouts
    ("GET", f"{PREFIX}/rollouts"): READ,
    ("GET", f"{PREFIX}/rollouts/plans"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/rollout"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/rollouts/history"): READ,
    ("POST", f"{PREFIX}/models/{{model}}/rollouts"): CHANGE,
    ("POST", f"{PREFIX}/models/{{model}}/rollouts/rehearse"): READ,
    ("POST", f"{PREFIX}/models/{{model}}/rollout/{{verb}}"): CHANGE,
    ("GET", f"{PREFIX}/events"): READ,
    # governance
    ("GET", f"{PREFIX}/policies"): READ,
    ("GET", f"{PREFIX}/policies/{{name}}"): READ,
    ("PUT", f"{PREFIX}/policies/{{name}}"): Role.ADMIN,
    ("DELETE", f"{PREFIX}/policies/{{name}}"): Role.ADMIN,
    ("POST", f"{PREFIX}/policies/check"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/policies"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/standings"): READ,
    ("GET", f"{PREFIX}/models/{{model}}/pins"): READ,
    ("POST", f"{PREFIX}/models/{{model}}/versions/{{version}}/dossier"): READ,
    ("POST", f"{PREFIX}/models/{{model}}/versions/{{version}}/approve"): Role.APPROVER,
    ("POST", f"{PREFIX}/models/{{model}}/versions/{{version}}/state"): CHANGE,
    ("POST", f"{PREFIX}/models/{{model}}/erasure"): Role.ADMIN,
    # people: whoever logs in has no role before
    ("GET", f"{PREFIX}/login"): OPEN,
    ("POST", f"{PREFIX}/login"): OPEN,
    ("POST", f"{PREFIX}/login/finish"): OPEN,
    ("DELETE", f"{PREFIX}/login"): Role.CLIENT,
    # keys
    ("GET", f"{PREFIX}/keys"): KEYS,
    ("POST", f"{PREFIX}/keys"): KEYS,
    ("DELETE", f"{PREFIX}/keys/{{key_id}}"): KEYS,
    # audit
    ("GET", f"{PREFIX}/audit"): READ,
    ("GET", f"{PREFIX}/audit/at"): READ,
    ("GET", f"{PREFIX}/audit/export"): READ,
    ("GET", f"{PREFIX}/audit/entries/{{revision}}"): READ,
    ("POST", f"{PREFIX}/audit/head"): READ,
    ("POST", f"{PREFIX}/audit/verify"): READ,
}

# Addresses that change nothing but documents, each by one commit: a dry run ends where it would write. What
# writes anything else (files, predictions) must not be listed: the header would not hold it back.
DRY_RUNNABLE: frozenset[tuple[str, str]] = frozenset(
    {
        ("PUT", f"{PREFIX}/models/{{model}}/versions/{{version}}/workers"),
        ("DELETE", f"{PREFIX}/models/{{model}}/versions/{{version}}"),
        ("PUT", f"{PREFIX}/models/{{model}}/versions/{{version}}/tags"),
        ("POST", f"{PREFIX}/models/{{model}}/versions/{{version}}/start"),
        ("POST", f"{PREFIX}/models/{{model}}/rollout/{{verb}}"),
        ("PUT", f"{PREFIX}/policies/{{name}}"),
        ("DELETE", f"{PREFIX}/policies/{{name}}"),
        ("POST", f"{PREFIX}/models/{{model}}/versions/{{version}}/dossier"),
        ("POST", f"{PREFIX}/models/{{model}}/versions/{{version}}/approve"),
        ("POST", f"{PREFIX}/models/{{model}}/versions/{{version}}/state"),
        ("POST", f"{PREFIX}/keys"),
        ("DELETE", f"{PREFIX}/keys/{{key_id}}"),
    }
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a request's method and path come to; `model` is the one in the path."""

    role: Role | None
    model: str | None
    is_dry_runnable: bool = False


def _regex(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))


_PATHS: dict[str, tuple[re.Pattern[str], dict[str, Role | None]]] = {}
for (_method, _path), _role in ROLE_OF.items():
    _PATHS.setdefault(_path, (_regex(_path), {}))[1][_method] = _role


def rule_for(method: str, path: str) -> Rule | str:
    """The rule, or the code of the error: `not_found`, `method_not_allowed`."""
    if path in ("/", "/console") or path.startswith("/console/"):
        return Rule(OPEN, None)  # pages, which ask this API in the name of whoever signed in to them
    code = "not_found"
    for template, (regex, roles) in _PATHS.items():
        found = regex.fullmatch(path)
        if found is not None:
            if method in roles:
                may_be_dry = (method, template) in DRY_RUNNABLE
                return Rule(roles[method], found.groupdict().get("model"), may_be_dry)
            code = "method_not_allowed"
    return code
