"""`dvc+git+…@revision#path`: a file that DVC tracks, from DVC's remote, checked against DVC's own hash.

`path.dvc`, else `dvc.lock` of the path's folder or of the root, says the MD5 at that revision; the default
remote of `.dvc/config` must be a local folder (an address of another kind is refused by name). The remote's
layout is that of DVC 3 (`files/md5/ab/cdef…`), else that of DVC 2 (`ab/cdef…`). Called by `sources.fetch`.
"""

import configparser
import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import yaml

from gateway.contract.errors import CallerError
from gateway.sources.fetched import Fetched, Limits, keep, not_found, refused
from gateway.sources.git import Address, Repository, parse_address
from gateway.sources.local import checked_file

MAX_METAFILE_BYTES = 4 << 20
_MD5 = re.compile(r"^[0-9a-f]{32}$")


def fetch_dvc(text: str, into: Path, *, limits: Limits) -> Fetched:
    address = parse_address(text.removeprefix("dvc+"))
    repository = Repository(address.url, into / "repository", limits=limits)
    commit, revision = repository.resolve(address.revision)
    md5 = _tracked(repository, commit, address.path)
    remote = _remote(repository, commit, address)
    if limits.roots and not any(remote.resolve().is_relative_to(root.resolve()) for root in limits.roots):
        raise refused(f"the DVC remote {remote} lies outside of the allowed folders")
    kept = [remote / "files" / "md5" / md5[:2] / md5[2:], remote / md5[:2] / md5[2:]]
    found = next((path for path in kept if path.is_file()), None)
    if found is None:
        raise not_found(f"the DVC remote {remote} lacks {md5}: run `dvc push` where the file is")
    path = _checked_copy(
        checked_file(found, limits=limits, root=remote), into / "model.onnx", md5, limits=limits
    )
    again = f"dvc+{Address(address.url, commit, address.path).again}"
    lineage = repository.lineage(commit, revision).model_copy(
        update={"kind": "dvc", "data_digest": f"md5:{md5}"}
    )
    return Fetched(path, again, lineage)


def _tracked(repository: Repository, commit: str, path: str) -> str:
    """The MD5 of a tracked file."""
    if repository.has(commit, f"{path}.dvc"):
        document = _yaml(repository.read(commit, f"{path}.dvc", max_bytes=MAX_METAFILE_BYTES))
        if md5 := _hash_of(document.get("outs"), PurePosixPath(path).name):
            return md5
    for folder in dict.fromkeys((PurePosixPath(path).parent, PurePosixPath())):
        lock = str(folder / "dvc.lock")
        if not repository.has(commit, lock):
            continue
        stages = _yaml(repository.read(commit, lock, max_bytes=MAX_METAFILE_BYTES)).get("stages")
        within = str(PurePosixPath(path).relative_to(folder))
        for stage in stages.values() if isinstance(stages, dict) else ():
            if isinstance(stage, dict) and (md5 := _hash_of(stage.get("outs"), within)):
                return md5
    raise not_found(f"DVC does not track {path!r} as a file at commit {commit[:12]}")


def _hash_of(outs: Any, name: str) -> str | None:
    for out in outs if isinstance(outs, list) else ():
        if isinstance(out, dict) and out.get("path") == name:
            md5 = str(out.get("md5", ""))
            if not _MD5.match(md5):
                raise CallerError("invalid_document", f"DVC knows no MD5 of a single file for {name!r}")
            return md5
    return None


def _remote(repository: Repository, commit: str, address: Address) -> Path:
    config = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        config.read_string(
            repository.read(commit, ".dvc/config", max_bytes=MAX_METAFILE_BYTES).decode("utf-8", "replace")
        )
    except configparser.Error:
        raise CallerError("invalid_document", "the repository's .dvc/config cannot be read") from None
    name = config.get("core", "remote", fallback="")
    url = next(
        (
            config.get(section, "url", fallback="")
            for section in config.sections()
            if section.strip("'") == f'remote "{name}"'
        ),
        "",
    )
    if not url:
        raise not_found("the repository's .dvc/config names no default remote")
    if "://" in url and not url.startswith("file://"):
        raise refused(f"the DVC remote {url} is not a local folder: pull it, and register the file")
    path = Path(unquote(url.removeprefix("file://")))
    if not path.is_absolute():
        if not address.url.startswith("file://"):
            raise refused(f"the DVC remote {url} is relative to a repository that is not on this machine")
        path = Path(unquote(address.url.removeprefix("file://"))) / ".dvc" / path
    return path


def _checked_copy(source: Path, target: Path, md5: str, *, limits: Limits) -> Path:
    hashed = hashlib.md5(usedforsecurity=False)
    with source.open("rb") as file:

        def chunks() -> Any:
            while chunk := file.read(1 << 20):
                hashed.update(chunk)
                yield chunk

        keep(chunks(), target, limits=limits)
    if hashed.hexdigest() != md5:
        raise refused(
            f"{source} is not what DVC recorded: its MD5 is {hashed.hexdigest()}, recorded is {md5}"
        )
    return target


def _yaml(data: bytes) -> dict[str, Any]:
    try:
        value = yaml.safe_load(data)
    except (yaml.YAMLError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CallerError("invalid_document", "a file of DVC in the repository cannot be read")
    return value
