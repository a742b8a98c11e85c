"""Which role each address of the control API asks for: one table, and nothing is served that is not in it.

Where a path names a `{model}`, the caller's scope must have it. `OPEN` needs no key at all: it says nothing about
the installation. Read by `gate`; a test holds the table against the routes that there are.
"""

import re
from dataclasses import dataclass
from typing import Final

from gateway.contract.access import Role

OPEN: Final = None
V, O, A = Role.VIEWER, Role.OPERATOR, Role.ADMIN
PREFIX = "/api/v1"

ROLE_OF: dict[tuple[str, str], Role | None] = {
    ("GET", "/healthz"): OPEN,
    ("GET", f"{PREFIX}/openapi.json"): OPEN,
    ("HEAD", f"{PREFIX}/openapi.json"): OPEN,
    ("GET", f"{PREFIX}/status"): V,
    ("GET", f"{PREFIX}/pools"): V,
    ("GET", f"{PREFIX}/gateways"): V,
    ("GET", f"{PREFIX}/whoami"): Role.CLIENT,
    # routes
    ("GET", f"{PREFIX}/routes"): V,
    ("GET", f"{PREFIX}/export"): V,
    ("GET", f"{PREFIX}/routes/{{model}}"): V,
    ("GET", f"{PREFIX}/routes/{{model}}/history"): V,
    ("POST", f"{PREFIX}/routes/{{model}}/edit"): O,
    ("POST", f"{PREFIX}/models/{{model}}/cutover"): O,
    ("POST", f"{PREFIX}/apply"): O,
    ("POST", f"{PREFIX}/diff"): V,
    # models
    ("GET", f"{PREFIX}/models"): V,
    ("GET", f"{PREFIX}/models/{{model}}"): V,
    ("GET", f"{PREFIX}/models/{{model}}/versions/{{version}}"): V,
    ("POST", f"{PREFIX}/artifacts"): O,
    ("PUT", f"{PREFIX}/models/{{model}}/versions/{{version}}"): O,
    ("PUT", f"{PREFIX}/models/{{model}}/versions/{{version}}/workers"): O,
    # evidence
    ("GET", f"{PREFIX}/models/{{model}}/compare"): V,
    ("GET", f"{PREFIX}/models/{{model}}/explain"): V,
    ("GET", f"{PREFIX}/models/{{model}}/predictions/{{prediction_id}}"): V,
    ("GET", f"{PREFIX}/models/{{model}}/predictions/{{prediction_id}}/explain"): V,
    # keys
    ("GET", f"{PREFIX}/keys"): A,
    ("POST", f"{PREFIX}/keys"): A,
    ("DELETE", f"{PREFIX}/keys/{{key_id}}"): A,
    # audit
    ("GET", f"{PREFIX}/audit"): V,
    ("GET", f"{PREFIX}/audit/at"): V,
    ("GET", f"{PREFIX}/audit/export"): V,
    ("GET", f"{PREFIX}/audit/entries/{{revision}}"): V,
    ("POST", f"{PREFIX}/audit/head"): V,
    ("POST", f"{PREFIX}/audit/verify"): V,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a request's method and path come to; `model` is the one in the path."""

    role: Role | None
    model: str | None


def _regex(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))


_PATHS: dict[str, tuple[re.Pattern[str], dict[str, Role | None]]] = {}
for (_method, _path), _role in ROLE_OF.items():
    _PATHS.setdefault(_path, (_regex(_path), {}))[1][_method] = _role


def rule_for(method: str, path: str) -> Rule | str:
    """The rule, or the code of the error: `not_found`, `method_not_allowed`."""
    code = "not_found"
    for regex, roles in _PATHS.values():
        found = regex.fullmatch(path)
        if found is not None:
            if method in roles:
                return Rule(roles[method], found.groupdict().get("model"))
            code = "method_not_allowed"
    return code
