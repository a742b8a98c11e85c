"""`git+file:///repository@revision#path` and `git+https://…`: one file of one commit, with who made it and
why.

The repository is fetched bare, without a work tree, so that no hook, filter or submodule of it runs; `git` is
called with argument lists, and only the protocols file and https are allowed, and http to hosts that the
operator named. A revision is a branch, a tag, a commit, or `gto:NAME@vX.Y.Z` for a tag as GTO writes it
(`gto:NAME` = its highest version). Called by `sources.fetch` and, for the files that it tracks, by
`sources.dvc`.
"""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gateway.contract.errors import CallerError, TurnoutError
from gateway.contract.lineage import Lineage, clean
from gateway.sources.fetched import Fetched, Limits, not_found, refused
from gateway.sources.servers import checked_addresses

# No @ in the address of a repository: a password there would be kept in the lineage.
_ADDRESS = re.compile(r"^git\+(?P<url>(?:file|https?)://[^#@]+)(?:@(?P<rev>[^#]+))?#(?P<path>.+)$")
_REVISION = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._/+=@#!-]{0,199}$")
_HOST_AND_PORT = re.compile(r"^(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(:[0-9]{1,5})?$")
_SSH = re.compile(r"^git\+(ssh://|git@|[^/:]+@[^/:]+:)")
_GTO_VERSION = re.compile(r"@v(\d+)\.(\d+)\.(\d+)(?:[-+][0-9A-Za-z.+-]+)?(?:!\d+)?$")
_HARMLESS = (
    "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never", "-c", "protocol.file.allow=always",
    "-c", "http.followRedirects=false", "-c", "fetch.fsckObjects=true",
    "-c", "credential.helper=", "-c", "submodule.recurse=false", "-c", "core.fsmonitor=false",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Address:
    url: str
    revision: str
    path: str

    @property
    def again(self) -> str:
        return f"git+{self.url}@{self.revision}#{self.path}"


def parse_address(text: str) -> Address:
    found = _ADDRESS.match(text)
    if found is None or not text.isprintable():
        ssh = ": ssh would use your keys; clone it, and take git+file:///CLONE" if _SSH.match(text) else ""
        raise CallerError(
            "bad_request", f"{text!r} is not git+file:///REPOSITORY@REVISION#PATH (or git+https://…){ssh}"
        )
    if not _HOST_AND_PORT.match(urlsplit(found["url"]).netloc):
        raise CallerError(
            "bad_request", "a repository's address needs a host, perhaps a port, and no password"
        )
    revision, path = found["rev"] or "HEAD", unquote(found["path"])
    name = revision.removeprefix("gto:")
    if not _REVISION.match(name) or ".." in name:
        raise CallerError("bad_request", f"{name!r} is not the name of a revision")
    if path.startswith(("/", "-", ":")) or ".." in Path(path).parts or not path.isprintable():
        raise refused(f"{path!r} is not a path inside the repository")
    return Address(found["url"], revision, str(Path(path)))


class Repository:
    """A bare copy of a remote one; everything is read out of its objects."""

    def __init__(self, url: str, into: Path, *, limits: Limits) -> None:
        self._url, self._into, self._limits = url, into, limits
        self._network = ["-c", "protocol.https.allow=never"]
        if url.startswith("file://"):
            _check_root(url, limits)
        else:
            self._network = _checked_network(url, limits)
        self._git("clone", "--quiet", "--bare", "--no-hardlinks", "--", url, str(into), at=None)

    def resolve(self, revision: str) -> tuple[str, str]:
        """The commit, and the name of the revision that led to it."""
        if revision.startswith("gto:"):
            revision = self._gto_tag(revision.removeprefix("gto:"))
        try:
            commit = self._git(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
            )
        except TurnoutError:
            raise not_found(f"the repository has no revision {revision!r}") from None
        return commit.decode().strip(), revision

    def lineage(self, commit: str, revision: str) -> Lineage:
        author, when, subject = (
            self._git("show", "--no-patch", "--no-show-signature", "--format=%an <%ae>%n%aI%n%s", commit)
            .decode("utf-8", "replace")
            .split("\n")[:3]
        )
        return Lineage(
            kind="git", git_repository=clean(self._url), git_commit=commit, git_clean=True,
            git_ref=clean(revision), created_by=clean(author), created_at=clean(when, at_most=64),
            subject=clean(subject),
        )  # fmt: skip

    def has(self, commit: str, path: str) -> bool:
        return bool(self._git("ls-tree", "-z", commit, "--", path))

    def read(self, commit: str, path: str, *, max_bytes: int) -> bytes:
        """A regular file; its size is asked before it is read."""
        entry = self._git("ls-tree", "-z", "-l", commit, "--", path).rstrip(b"\0")
        if not entry:
            raise not_found(f"commit {commit[:12]} has no file {path!r}")
        mode, kind, blob, size = entry.partition(b"\t")[0].split()
        if kind != b"blob" or mode == b"120000":
            raise refused(f"{path!r} is not a regular file of the repository")
        if int(size) > max_bytes:
            raise CallerError("too_large", f"{path} is longer than {max_bytes} bytes")
        return self._git("cat-file", "blob", blob.decode())

    def _gto_tag(self, name: str) -> str:
        if "@" in name:
            return f"refs/tags/{name}"
        tags = self._git("for-each-ref", "--format=%(refname:short)", "refs/tags").decode().split()
        found = {
            tag: match for tag in tags if (match := _GTO_VERSION.search(tag)) and tag[: match.start()] == name
        }
        if not found:
            raise not_found(f"the repository has no tag {name}@vX.Y.Z")
        return f"refs/tags/{max(found, key=lambda tag: tuple(map(int, found[tag].groups())))}"

    def _git(self, *arguments: str, at: str | None = "") -> bytes:
        where = [] if at is None else ["--git-dir", str(self._into)]
        environment = {
            "PATH": os.environ.get("PATH", os.defpath), "HOME": os.devnull, "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0",
            "GIT_LFS_SKIP_SMUDGE": "1", "GIT_NO_LAZY_FETCH": "1",
        }  # fmt: skip
        try:
            done = subprocess.run(
                ["git", *_HARMLESS, *self._network, *where, *arguments],
                capture_output=True, stdin=subprocess.DEVNULL, timeout=self._limits.timeout_s,
                env=environment, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise TurnoutError("internal", "the program git is not installed") from None
        except subprocess.TimeoutExpired:
            raise TurnoutError("deadline", f"git took longer than {self._limits.timeout_s:g} s") from None
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
            raise not_found(f"git {arguments[0]} failed: {clean(lines[-1])}")
        return done.stdout


def _check_root(url: str, limits: Limits) -> None:
    path = Path(unquote(url.removeprefix("file://"))).resolve()
    if limits.roots and not any(path.is_relative_to(root.resolve()) for root in limits.roots):
        raise refused(f"{path}: it lies outside of the allowed folders")


def _checked_network(url: str, limits: Limits) -> list[str]:
    """Options of git that allow this one server, at the addresses that were judged here."""
    parsed = urlsplit(url)
    host, is_open = parsed.hostname or "", parsed.scheme == "http"
    if is_open and host not in limits.hosts:
        raise refused(f"{url} is not encrypted: use git+https, or add --source-host {host} if that is meant")
    addresses = ",".join(checked_addresses(host, limits=limits))
    port = parsed.port or (80 if is_open else 443)
    pinned = ["-c", f"http.curloptResolve={host}:{port}:{addresses}"]
    return ["-c", f"protocol.{parsed.scheme}.allow=always", *pinned]


def fetch_git(text: str, into: Path, *, limits: Limits) -> Fetched:
    address = parse_address(text)
    repository = Repository(address.url, into / "repository", limits=limits)
    commit, revision = repository.resolve(address.revision)
    data = repository.read(commit, address.path, max_bytes=limits.max_bytes)
    path = into / "model.onnx"
    path.write_bytes(data)
    again = Address(address.url, commit, address.path).again
    return Fetched(path, again, repository.lineage(commit, revision))
