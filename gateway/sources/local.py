"""`file:` sources: an ONNX file, a folder that holds one, or one model of an MLServer or Triton repository.

A path is resolved first; what lies outside of the named folder (by a symbolic link or `..`) is refused, and
so is what is not a regular file. Called by `sources.fetch`.
"""

import json
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.contract.errors import CallerError
from gateway.contract.lineage import Lineage, clean, clean_texts
from gateway.sources.fetched import Fetched, Limits, not_found, refused
from gateway.sources.worktree import with_work_tree

MAX_SETTINGS_BYTES = 1 << 20
# Triton's text format: `name: "x"`, at the beginning of a line as its own examples have it.
_TRITON_FIELD = re.compile(r'^\s*(name|platform|backend|default_model_filename)\s*:\s*"([^"\n]*)"', re.M)


def fetch_local(text: str, *, limits: Limits) -> Fetched:
    named = Path(text).expanduser()
    try:
        path = named.resolve(strict=True)
    except (OSError, RuntimeError):
        raise CallerError("bad_request", f"{text}: there is no such file or folder") from None
    roots = [root.resolve() for root in limits.roots]
    if roots and not any(path.is_relative_to(root) for root in roots):
        raise refused(f"{text}: it lies outside of the allowed folders ({', '.join(map(str, roots))})")
    found = _found(path, limits=limits)
    return replace(found, lineage=with_work_tree(found.lineage, found.path))


def _found(path: Path, *, limits: Limits) -> Fetched:
    if not path.is_dir():
        return Fetched(checked_file(path, limits=limits), f"file:{path}", Lineage(kind="file"))
    if (path / "model-settings.json").is_file():
        return _mlserver(path, limits=limits)
    if (path / "config.pbtxt").is_file():
        return _triton(path, version=None, limits=limits)
    if path.name.isdecimal() and (path.parent / "config.pbtxt").is_file():
        return _triton(path.parent, version=path.name, limits=limits)
    return Fetched(_only_model(path, limits=limits), f"file:{path}", Lineage(kind="file"))


def checked_file(path: Path, *, limits: Limits, root: Path | None = None) -> Path:
    """The resolved path of a regular file within `root`; its size is judged without reading it."""
    try:
        real = path.resolve(strict=True)
        found = real.stat()
    except (OSError, RuntimeError):
        raise not_found(f"{path}: there is no such file") from None
    if root is not None and not real.is_relative_to(root.resolve()):
        raise refused(f"{path}: it leads out of {root}")
    if not stat.S_ISREG(found.st_mode):
        raise refused(f"{path}: it is not a regular file")
    if found.st_size > limits.max_bytes:
        raise CallerError("too_large", f"{path} is longer than {limits.max_bytes} bytes")
    return real


def _only_model(folder: Path, *, limits: Limits) -> Path:
    found = sorted(folder.glob("*.onnx"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise CallerError("bad_request", f"{folder}: it must hold one .onnx file, and holds {names}")
    return checked_file(found[0], limits=limits, root=folder)


def _mlserver(folder: Path, *, limits: Limits) -> Fetched:
    """`parameters.uri` names the file, relative to the settings."""
    settings = _json(checked_file(folder / "model-settings.json", limits=limits, root=folder))
    parameters = settings.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    uri = str(parameters.get("uri") or "")
    if "://" in uri:
        raise refused(f"{folder}: its parameters.uri {uri!r} is not a file of the folder")
    path = (
        checked_file(folder / uri, limits=limits, root=folder) if uri else _only_model(folder, limits=limits)
    )
    lineage = Lineage(
        kind="mlserver",
        framework=clean(settings.get("implementation", "")),
        parameters=clean_texts(
            {key: parameters[key] for key in ("version", "environment_tarball") if key in parameters}
        ),
    )
    return Fetched(path, f"file:{folder}", lineage, tags={"mlserver-name": clean(settings.get("name", ""))})


def _triton(folder: Path, *, version: str | None, limits: Limits) -> Fetched:
    """The named version folder, else the highest number, which is what Triton serves by default."""
    config = checked_file(folder / "config.pbtxt", limits=limits, root=folder)
    fields = dict(_TRITON_FIELD.findall(_text(config)))
    platform = fields.get("platform") or fields.get("backend") or "onnxruntime"
    if not platform.startswith("onnxruntime"):
        raise refused(f"{folder}: its platform is {platform!r}; only ONNX models can be served")
    if version is None:
        numbers = [path.name for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()]
        if not numbers:
            raise not_found(f"{folder}: it has no numbered version folder")
        version = max(numbers, key=int)
    file = folder / version / fields.get("default_model_filename", "model.onnx")
    lineage = Lineage(kind="triton", framework=clean(platform), parameters={"version": version})
    path = checked_file(file, limits=limits, root=folder)
    name = clean(fields.get("name", folder.name))
    return Fetched(path, f"file:{folder / version}", lineage, tags={"triton-name": name})


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except (ValueError, RecursionError):
        raise CallerError("invalid_json", f"{path}: it is not JSON") from None
    if not isinstance(value, dict):
        raise CallerError("invalid_json", f"{path}: it is not a JSON object")
    return value


def _text(path: Path) -> str:
    if path.stat().st_size > MAX_SETTINGS_BYTES:
        raise CallerError("too_large", f"{path} is longer than {MAX_SETTINGS_BYTES} bytes")
    return path.read_text("utf-8", "replace")
