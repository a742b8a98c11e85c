"""Which commit a file lies beside, and whether the tree still is that commit: read for plain files.

The repository belongs to whoever made it: its own configuration could name programs that `git status` runs
(filters, a file system monitor). So git is pointed at an empty repository of ours that borrows the objects
and a copy of the index, and takes over of their configuration only what changes how files are compared.
"Clean" speaks of tracked files; submodules are not looked into. Where git is missing, slow or at a loss
nothing is known, and nothing fails. Called by `sources.local`.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from gateway.contract.lineage import Lineage, clean

GIT_TIMEOUT_S = 10.0
MAX_INDEX_BYTES = 64 << 20
_COMMIT = re.compile(r"^([0-9a-f]{40}|[0-9a-f]{64})$")
_HARMLESS = frozenset({"core.autocrlf", "core.eol", "core.filemode", "core.symlinks", "core.ignorecase"})


def with_work_tree(lineage: Lineage, path: Path) -> Lineage:
    """The lineage of a file at `path`, with repository, commit and cleanness if it lies in a work tree."""
    top = next((folder for folder in path.parents if (folder / ".git").exists()), None)
    if top is None:
        return lineage
    try:
        own = _git_folder(top / ".git")
        common = _common(own)
        settings = _settings(common / "config")
        commit = _git(["--git-dir", str(own), "rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).strip()
        is_clean = _is_clean(top, own, common, commit, settings) if _COMMIT.match(commit) else None
    except (OSError, subprocess.SubprocessError, UnicodeError, ValueError):
        return lineage
    if not _COMMIT.match(commit):
        return lineage
    return lineage.model_copy(
        update={
            "git_repository": clean(_without_password(settings.get("remote.origin.url", "")) or top),
            "git_commit": commit,
            "git_clean": is_clean,
        }
    )


def _git_folder(path: Path) -> Path:
    """`.git` is a folder, or in linked work trees and submodules a file that names one."""
    if path.is_dir():
        return path
    with path.open(encoding="utf-8") as file:
        named = file.read(4096).strip()
    if not named.startswith("gitdir: "):
        raise ValueError(f"{path} names no folder")
    return path.parent / named.removeprefix("gitdir: ")


def _common(own: Path) -> Path:
    """Where a linked work tree has its objects and configuration."""
    named = own / "commondir"
    return own / named.read_text("utf-8").strip() if named.is_file() else own


def _settings(config: Path) -> dict[str, str]:
    text = _git(["config", "--file", str(config), "--no-includes", "--list", "-z"])
    return dict(entry.partition("\n")[::2] for entry in text.split("\0") if entry)


def _is_clean(top: Path, own: Path, common: Path, commit: str, settings: dict[str, str]) -> bool:
    index = own / "index"
    if index.stat().st_size > MAX_INDEX_BYTES:
        raise ValueError(f"{index} is too long")
    with tempfile.TemporaryDirectory(prefix="turnout-git-") as folder:
        ours = Path(folder)
        for name in ("objects/info", "refs"):
            (ours / name).mkdir(parents=True)
        (ours / "HEAD").write_text(f"{commit}\n")
        (ours / "objects/info/alternates").write_text(f"{(common / 'objects').resolve()}\n")
        shutil.copy2(index, ours / "index")  # with its times: git trusts what is older than the index
        for shared in own.glob("sharedindex.*"):
            shutil.copy2(shared, ours / shared.name)
        kept = [
            part
            for name, value in settings.items()
            if name in _HARMLESS
            for part in ("-c", f"{name}={value}")
        ]
        is_sha256 = len(commit) == 64
        (ours / "config").write_text(
            f"[core]\nrepositoryformatversion = {int(is_sha256)}\n"
            + ("[extensions]\nobjectFormat = sha256\n" if is_sha256 else "")
        )
        where = ["--git-dir", folder, "--work-tree", str(top)]
        status = ["status", "--porcelain", "-z", "--untracked-files=no", "--ignore-submodules=all"]
        return _git([*kept, *where, *status]) == ""


def _git(arguments: list[str]) -> str:
    done = subprocess.run(
        ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments],
        capture_output=True, stdin=subprocess.DEVNULL, timeout=GIT_TIMEOUT_S, check=True,
        env={
            "PATH": os.environ.get("PATH", os.defpath), "HOME": os.devnull, "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_ATTR_NOSYSTEM": "1",
            "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0",
        },
    )  # fmt: skip
    return done.stdout.decode()


def _without_password(url: str) -> str:
    return re.sub(r"^([a-z][a-z0-9+.-]*://)[^/@]*@", r"\1", url)
