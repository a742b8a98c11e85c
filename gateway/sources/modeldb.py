"""`modeldb://HOST:PORT/WORKSPACE/MODEL/VERSION`: a model version that ModelDB's registry keeps.

Speaks the JSON that ModelDB's gateway makes of its published RegistryService: find the model by its name, the
version by its own, then ask for the address of its model artifact. That address is followed where it leads to
the same host, to a public one or to one that the operator allowed (`sources.servers`); redirects are not.
`modeldb+https://` uses TLS. Called by `sources.fetch`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from gateway.contract.errors import CallerError, UpstreamError
from gateway.contract.lineage import Lineage, clean, clean_numbers, clean_texts
from gateway.sources.fetched import Fetched, Limits, not_found
from gateway.sources.servers import Server, download_from, items, pairs

_API = "/api/v1/registry"
_ADDRESS = re.compile(
    r"^modeldb(?P<tls>\+https)?://(?P<host>[A-Za-z0-9.\-\[\]:]+)"
    r"/(?P<workspace>[^/@#?]+)/(?P<model>[^/@#?]+)/(?P<version>[^/@#?]+)$"
)
_COMMIT = re.compile(r"^([0-9a-f]{40}|[0-9a-f]{64})$")


@dataclass(frozen=True, slots=True)
class Named:
    url: str
    workspace: str
    model: str
    version: str


def parse_modeldb(text: str) -> Named:
    found = _ADDRESS.match(text)
    if found is None:
        raise CallerError("bad_request", f"{text!r} is not modeldb://HOST:PORT/WORKSPACE/MODEL/VERSION")
    scheme = "https" if found["tls"] else "http"
    names = [unquote(found[part]) for part in ("workspace", "model", "version")]
    if any("/" in name or not name.isprintable() or name in (".", "..") for name in names):
        raise CallerError("bad_request", f"{text!r} names no workspace, model and version")
    return Named(f"{scheme}://{found['host']}", *names)


def fetch_modeldb(text: str, into: Path, *, limits: Limits) -> Fetched:
    named = parse_modeldb(text)
    server = Server(named.url, "ModelDB", limits=limits)
    try:
        version = _version(server, named)
        artifact = _mapping(version, "model")
        asked = {"key": str(artifact.get("key", "")), "method": "GET", "artifact_type": "MODEL"}
        path = f"{_API}/model_versions/{_id(version)}/getUrlForArtifact"
        url = str(server.json("POST", path, json=asked).get("url", ""))
    finally:
        server.close()
    own_host = _host(named.url)
    file = download_from(url, into / "model.onnx", what="ModelDB", own_host=own_host, limits=limits)
    attributes = pairs(items(version, "attributes"))
    labels = version.get("labels")
    tags = {str(label): "" for label in labels} if isinstance(labels, list) else {}
    stage = str(version.get("stage", ""))
    return Fetched(
        file,
        text,
        _lineage(version, attributes),
        metrics=clean_numbers(attributes),
        tags=clean_texts(tags | ({"stage": stage.lower()} if stage not in ("", "UNKNOWN") else {})),
    )


def _version(server: Server, named: Named) -> dict[str, Any]:
    """By name, which is unique within a model; the server filters, and what it gives is compared again."""
    of_model = (
        f"{_API}/workspaces/{quote(named.workspace, safe='')}/registered_models/{quote(named.model, safe='')}"
    )
    body = {"predicates": [{"key": "version", "value": named.version, "operator": "EQ"}]}
    found = items(server.json("POST", f"{of_model}/model_versions/find", json=body), "model_versions")
    for version in found:
        if version.get("version") == named.version:
            return version
    raise not_found(f"{named.model} has no version {named.version} in ModelDB")


def _lineage(version: dict[str, Any], attributes: dict[str, Any]) -> Lineage:
    git = _git(version)
    commit = str(git.get("hash", ""))
    dirty = {"TRUE": False, "FALSE": True}.get(str(git.get("is_dirty")))
    texts = {key: value for key, value in attributes.items() if isinstance(value, str)}
    texts |= {
        f"dataset-{entry.get('key', '')}": str(entry.get("path", "")) for entry in items(version, "datasets")
    }
    return Lineage(
        kind="modeldb",
        run_id=clean(version.get("experiment_run_id", ""), at_most=256),
        git_repository=clean(git.get("repo", "")),
        git_commit=commit if _COMMIT.match(commit) else "",
        git_clean=dirty if _COMMIT.match(commit) else None,
        subject=clean(str(version.get("description", "")).partition("\n")[0]),
        created_by=clean(version.get("owner", "")),
        created_at=_moment(version.get("time_created")),
        parameters=clean_texts(texts),
    )


def _git(version: dict[str, Any]) -> dict[str, Any]:
    """The first git snapshot of the code that made it."""
    code = version.get("code_version_from_blob")
    for entry in code.values() if isinstance(code, dict) else ():
        snapshot = entry.get("git_snapshot") if isinstance(entry, dict) else None
        if isinstance(snapshot, dict):
            return snapshot
    return {}


def _id(version: dict[str, Any]) -> int:
    """64 bits, which JSON of protobuf writes as text."""
    try:
        return int(version.get("id", ""))
    except (TypeError, ValueError):
        raise UpstreamError("bad_upstream", "ModelDB's answer names no id of the version") from None


def _mapping(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    if not isinstance(found, dict) or not found:
        raise not_found(f"this version has no {key} artifact in ModelDB")
    return found


def _host(url: str) -> str:
    return url.partition("://")[2].rpartition(":")[0] or url.partition("://")[2]


def _moment(ms: Any) -> str:
    try:
        return datetime.fromtimestamp(int(ms) / 1000, UTC).isoformat(timespec="seconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
