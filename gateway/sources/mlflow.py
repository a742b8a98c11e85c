"""`mlflow://HOST:PORT/models:/NAME@ALIAS` (or `/NAME/VERSION`): a model that MLflow's server registered.

Speaks MLflow's REST API, so that nothing of MLflow is installed here. The file comes through the server's own
artifact proxy (`mlflow-artifacts:`), never from an address that the server names; redirects are not followed.
`mlflow+https://` uses TLS. Called by `sources.fetch` and `turnout model follow`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx2

from gateway.contract.errors import CallerError, TurnoutError, UpstreamError
from gateway.contract.lineage import Lineage, clean, clean_numbers, clean_texts
from gateway.sources.fetched import Fetched, Limits, keep, not_found, refused

MAX_REPLY_BYTES = 4 << 20
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
        self._limits = limits
        self._url = url
        self._client = httpx2.Client(
            base_url=url,
            timeout=min(limits.timeout_s, 30.0),
            follow_redirects=False,
            trust_env=False,
            verify=url.startswith("https:"),
        )

    def close(self) -> None:
        self._client.close()

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
            for item in _items(self._json("/api/2.0/mlflow-artifacts/artifacts", {"path": at}), "files"):
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
        with (
            _translated(self._url),
            self._client.stream("GET", f"/api/2.0/mlflow-artifacts/artifacts/{quote(path)}") as reply,
        ):
            if reply.status_code != 200:
                raise UpstreamError("bad_upstream", f"MLflow answered {reply.status_code} for {clean(path)}")
            return keep(reply.iter_bytes(1 << 20), into, limits=self._limits)

    def _ask(self, what: str, **params: str) -> dict[str, Any]:
        return self._json(f"/api/2.0/mlflow/{what}", params)

    def _json(self, path: str, params: dict[str, str]) -> dict[str, Any]:
        body = bytearray()
        with _translated(self._url), self._client.stream("GET", path, params=params) as reply:
            for chunk in reply.iter_bytes():
                body += chunk
                if len(body) > MAX_REPLY_BYTES:
                    raise UpstreamError("bad_upstream", f"the answer of {self._url} is too long")
            status = reply.status_code
        try:
            value = httpx2.Response(200, content=bytes(body)).json()
        except ValueError:
            value = None
        if status != 200 or not isinstance(value, dict):
            said = value.get("message", "") if isinstance(value, dict) else ""
            code = "not_found" if status == 404 else "bad_upstream"
            raise TurnoutError(code, f"MLflow at {self._url} answered {status}: {clean(said) or 'no JSON'}")
        return value


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        raise TurnoutError(
            "unreachable", f"the MLflow server {url} did not answer ({type(error).__name__})"
        ) from None


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
    tags = _pairs(run and data, "tags") | _pairs(version, "tags")
    commit = str(tags.get("mlflow.source.git.commit", ""))
    lineage = Lineage(
        kind="mlflow",
        run_id=run_id,
        git_commit=commit if re.fullmatch(r"[0-9a-f]{40}", commit) else "",
        git_ref=f"{clean(named.name)}@{named.alias}" if named.alias else "",
        subject=clean(version.get("description", "")),
        created_by=clean(version.get("user_id") or tags.get("mlflow.user", "")),
        created_at=_moment(version.get("creation_timestamp")),
        parameters=clean_texts(_pairs(data, "params")),
        data_digest=_data_digest(run),
    )
    own = {key: value for key, value in tags.items() if not key.startswith("mlflow.")}
    return Fetched(path, named.at(number), lineage, clean_numbers(_pairs(data, "metrics")), clean_texts(own))


def _data_digest(run: dict[str, Any]) -> str:
    """Of the first data set that the run says it read."""
    inputs = run.get("inputs")
    for item in _items(inputs if isinstance(inputs, dict) else {}, "dataset_inputs"):
        dataset = item.get("dataset")
        if isinstance(dataset, dict):
            return clean(dataset.get("digest", ""), at_most=256)
    return ""


def _items(value: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = value.get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _pairs(value: Any, key: str) -> dict[str, Any]:
    found = _items(value if isinstance(value, dict) else {}, key)
    return {str(item.get("key", "")): item.get("value", "") for item in found if item.get("key")}


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
