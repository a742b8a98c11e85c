"""docs/reference/api.md: every address of the control API, from its OpenAPI document and the roles."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.control.access.roles import DRY_RUNNABLE, PREFIX, ROLE_OF
from gateway.control.app import build_app
from gateway.control.settings import ControlSettings

OURS = {"x-turnout-author", "if-match", "last-event-id"}  # headers, told in the page's head
UNLISTED = {
    ("GET", f"{PREFIX}/openapi.json"): "This API as an OpenAPI document.",
    ("HEAD", f"{PREFIX}/openapi.json"): "The same without its body.",
    ("GET", "/metrics"): "Metrics for Prometheus.",
}


def page() -> str:
    document = build_app(ControlSettings("unix:///nowhere", Path("/nowhere"), console=False)).openapi()
    return "\n".join([*_head(), *_rows(document), ""])


def _head() -> Iterator[str]:
    yield from (
        "# Reference: the control API",
        "",
        "Written by `scripts/reference` from `GET /api/v1/openapi.json`, which has all types: do not edit.",
        "Errors, retries and how to use it: [http-api.md](../http-api.md). The role is the least that may,",
        "where keys are on ([access.md](../access.md)); *dry*: takes `turnout-dry-run: true`. Changes",
        "take `x-turnout-author` (who, without keys) and `Idempotency-Key`; of a route also `if-match`;",
        "`/events` takes `last-event-id`. Of a body, fields with `*` must be given.",
        "",
        "| address | role | dry | parameters | body | what it does |",
        "| --- " * 6 + "|",
    )


def _rows(document: dict[str, Any]) -> Iterator[str]:
    """In the order of the table of roles."""
    for (method, path), role in ROLE_OF.items():
        operation = document["paths"].get(path, {}).get(method.lower())
        dry = "x" if (method, path) in DRY_RUNNABLE else ""
        cells = ("", "", UNLISTED[method, path]) if operation is None else _told(operation, document)
        yield f"| `{method} {path}` | {role or 'none'} | {dry} | {' | '.join(cells)} |"


def _told(operation: dict[str, Any], document: dict[str, Any]) -> tuple[str, str, str]:
    given = [
        f"`{each['name']}`"
        for each in operation.get("parameters", [])
        if each["in"] != "path" and each["name"] not in OURS
    ]
    return ", ".join(given), ", ".join(_fields(operation, document)), _words(operation)


def _fields(operation: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    reference = content.get("schema", {}).get("$ref")
    if reference is not None:
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
        for name in schema.get("properties", {}):
            yield f"`{name}`{'*' if name in schema.get('required', ()) else ''}"


def _words(operation: dict[str, Any]) -> str:
    """The first paragraph of the handler's docstring."""
    text = operation.get("description", "").split("\n\n")[0]
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
