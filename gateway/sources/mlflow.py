"""`mlflow://HOST:PORT/models:/NAME@ALIAS` (or `/NAME/VERSION`): a model that MLflow's server registered.

Speaks MLflow's REST API, so that nothing of MLflow is installed here. The file comes through the server's own
artifact proxy (`mlflow-artifacts:`), never from an address that the server names; redirects are not followed.
`mlflow+https://` uses TLS. Called by `sources.fetch` and `turnout model follow`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from gateway.contract.errors import CallerError, UpstreamError
from gateway.contract.lineage import Lineage, clean, clean_numbers, clean_texts
from gateway.sources.fetched import Fetched, Limits, not_found, refused
from gateway.sources.servers import Server, items, pairs

_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
MAX_FOLDERS = 32  # of one model, searched for its .onnx file
_ADDRESS = re.compile(
    r"^mlflow(?P<tls>\+https)?://(?P<host>[A-Za-z0-9.\-\[\]:]+)/models:/(?P<name>[^/@#?]+)"
    r"(?:@(?P<alias>[A-Za-z0-9_-]+)|/(?P<version>[0-9]+))$"
)


@dataclass(frozen=True, slots=True)
class Named:
    """One registered version of MLflow; `scheme` and `host` say the server."""

    scheme: str
    host: str
    name: str
    alias: str
    version: str

    @property
    def url(self) -> str:
        return f"{'https' if self.scheme == 'mlflow+https' else 'http'}://{self.host}"

    def at(self, version: str) -> str:
        return f"{self.scheme}://{self.host}/models:/{quote(self.name)}/{version}"


def parse_mlflow(text: str, *, alias: str = "") -> Named:
    found = _ADDRESS.match(text if not alias or "@" in text else f"{text}@{alias}")
    if found is None:
        raise CallerError(
            "bad_request", f"{text!r} is not mlflow://HOST:PORT/models:/NAME@ALIAS or …/NAME/VERSION"
        )
    scheme = f"mlflow{found['tls'] or ''}"
    return Named(scheme, found["host"], unquote(found["name"]), found["alias"] or "", found["version"] or "")


class Mlflow:
    """One connection to a tracking server."""

    def __init__(self, url: str, *, limits: Limits) -> None:
        self._server = Server(url, "MLflow", limits=limits)

    def close(self) -> None:
        self._server.close()

    def version(self, named: Named) -> dict[str, Any]:
        if named.alias:
            reply = self._ask("registered-models/alias", name=named.name, alias=named.alias)
        else:
            reply = self._ask("model-versions/get", name=named.name, version=named.version)
        return _mapping(reply, "model_version")

    def location(self, name: str, version: str) -> str:
        """The folder of the artifacts, as a path of the artifact proxy."""
        reply = self._ask("model-versions/get-download-uri", name=name, version=version)
        uri = urlsplit(str(reply.get("artifact_uri", "")))
        path = unquote(uri.path).strip("/")
        if uri.scheme != "mlflow-artifacts":
            raise refused(
                f"MLflow keeps this model at {clean(uri.geturl())}: only what its server hands out "
                "(--serve-artifacts) is taken"
            )
        if ".." in path.split("/"):
            raise refused(f"MLflow names the path {clean(path)!r}")
        return path

    def run(self, run_id: str) -> dict[str, Any]:
        return _mapping(self._ask("runs/get", run_id=run_id), "run") if run_id else {}

    def model_file(self, folder: str) -> str:
        """The one .onnx file in the folder or below."""
        folders, found, looked = [folder], list[str](), 0
        while folders and looked < MAX_FOLDERS:
            at, looked = folders.pop(), looked + 1
            for item in items(self._server.json("GET", _ARTIFACTS, params={"path": at}), "files"):
                name = str(item.get("path", ""))
                if not name or "/" in name or name in (".", "..") or not name.isprintable():
                    continue
                if item.get("is_dir"):
                    folders.append(f"{at}/{name}")
                elif name.endswith(".onnx"):
                    found.append(f"{at}/{name}")
        if len(found) != 1:
            raise CallerError(
                "bad_request", f"the MLflow model must hold one .onnx file, and holds {len(found)}"
            )
        return found[0]

    def download(self, path: str, into: Path) -> Path:
        return self._server.download(f"{_ARTIFACTS}/{quote(path)}", into)

    def _ask(self, what: str, **params: str) -> dict[str, Any]:
        return self._server.json("GET", f"/api/2.0/mlflow/{what}", params=params)


def fetch_mlflow(text: str, into: Path, *, limits: Limits) -> Fetched:
    named = parse_mlflow(text)
    server = Mlflow(named.url, limits=limits)
    try:
        version = server.version(named)
        number = str(version.get("version", ""))
        if version.get("status", "READY") != "READY" or not number.isdecimal():
            raise not_found(f"{named.name} {clean(number)} is not ready in MLflow")
        run_id = clean(version.get("run_id", ""), at_most=256)
        run = server.run(run_id)
        path = server.download(server.model_file(server.location(named.name, number)), into / "model.onnx")
    finally:
        server.close()
    data = run.get("data") if isinstance(run.get("data"), dict) else {}
    tags = pairs(items(data, "tags")) | pairs(items(version, "tags"))
    commit = str(tags.get("mlflow.source.git.commit", ""))
    lineage = Lineage(
        kind="mlflow",
        run_id=run_id,
        git_commit=commit if re.fullmatch(r"[0-9a-f]{40}", commit) else "",
        git_ref=f"{clean(named.name)}@{named.alias}" if named.alias else "",
        subject=clean(version.get("description", "")),
        created_by=clean(version.get("user_id") or tags.get("mlflow.user", "")),
        created_at=_moment(version.get("creation_timestamp")),
        parameters=clean_texts(pairs(items(data, "params"))),
        data_digest=_data_digest(run),
    )
    own = {key: value for key, value in tags.items() if not key.startswith("mlflow.")}
    metrics = clean_numbers(pairs(items(data, "metrics")))
    return Fetched(path, named.at(number), lineage, metrics, clean_texts(own))


def _data_digest(run: dict[str, Any]) -> str:
    """Of the first data set that the run says it read."""
    inputs = run.get("inputs")
    for item in items(inputs, "dataset_inputs"):
        dataset = item.get("dataset")
        if isinstance(dataset, dict):
            return clean(dataset.get("digest", ""), at_most=256)
    return ""


def _mapping(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    if not isinstance(found, dict):
        raise UpstreamError("bad_upstream", f"MLflow's answer lacks {key}")
    return found


def _moment(ms: Any) -> str:
    try:
        return datetime.fromtimestamp(int(ms) / 1000, UTC).isoformat(timespec="seconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
