"""git over HTTP, from git's own server program, and addresses that are never asked."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sources.servers import Served, git_backend, served
from tests.sources.test_sources import ONE, commit, git, got, refusal

LOOPBACK = ("127.0.0.1",)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    path = tmp_path / "into"
    path.mkdir()
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "root").mkdir()
    commit(tmp_path / "root" / "repo", {"models/m.onnx": ONE}, "Train it", "v1")
    with served(git_backend(tmp_path / "root")) as found:
        yield found


def test_a_file_comes_over_http_from_a_host_that_the_operator_named(
    server: Served, into: Path, tmp_path: Path
) -> None:
    address = f"git+http://{server.address}/repo/.git"
    found = got(f"{address}@v1#models/m.onnx", into, hosts=LOOPBACK)
    head = git(tmp_path / "root" / "repo", "rev-parse", "HEAD")
    assert (found.path.read_bytes(), found.address) == (ONE, f"{address}@{head}#models/m.onnx")
    assert (found.lineage.git_commit, found.lineage.subject) == (head, "Train it")
    assert found.lineage.git_repository == f"http://{server.address}/repo/.git"


def test_plain_http_is_refused_unasked_unless_the_host_was_named(server: Served, into: Path) -> None:
    for hosts in ((), ("localhost",)):
        code, message = refusal(f"git+http://{server.address}/repo/.git#models/m.onnx", into, hosts=hosts)
        assert (code, "--source-host 127.0.0.1" in message) == ("refused", True)
    assert server.asked == []


def test_git_connects_to_the_address_that_was_judged(
    server: Served, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name means nothing to the resolver that git itself would ask."""
    name, resolve = "models.invalid", socket.getaddrinfo

    def known(host: Any, *arguments: Any, **named: Any) -> Any:
        return resolve("127.0.0.1" if host == name else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", known)
    found = got(f"git+http://{name}:{server.port}/repo/.git#models/m.onnx", into, hosts=(name,))
    assert found.path.read_bytes() == ONE


def test_a_redirect_is_not_followed(server: Served, into: Path) -> None:
    def sends_on(method: str, path: str, *rest: object) -> Any:
        return 302, {"location": f"http://{server.address}{path}"}, b""

    with served(sends_on) as elsewhere:
        refusal(f"git+http://{elsewhere.address}/repo/.git#models/m.onnx", into, hosts=LOOPBACK)
        assert len(elsewhere.asked) >= 1
    assert server.asked == []


@pytest.mark.parametrize("host", [
    "169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "2852039166", "0xa9fea9fe", "0.0.0.0",
    "[::]", "224.0.0.1", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]",
])  # fmt: skip
@pytest.mark.parametrize("address", [
    "git+https://{}/repo#m.onnx", "git+http://{}/repo#m.onnx", "dvc+git+https://{}/repo#m.onnx",
    "mlflow://{}/models:/digits/1", "mlflow+https://{}/models:/digits/1", "modeldb://{}/team/digits/1",
])  # fmt: skip
def test_addresses_that_no_source_has_are_never_asked(address: str, host: str, into: Path) -> None:
    code, message = refusal(address.format(host), into, hosts=(host.strip("[]"),))
    assert (code, "never asked" in message) == ("refused", True), message


@pytest.mark.parametrize("host", ["0251.0376.0251.0376", "a..b", "%2e"])
def test_a_host_that_is_written_as_none_is_refused(host: str, into: Path) -> None:
    for address in ("mlflow://{}/models:/digits/1", "modeldb://{}/team/digits/1"):
        assert refusal(address.format(host), into)[0] in ("bad_request", "refused", "not_found")


def test_a_name_that_has_one_forbidden_address_is_refused(
    into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [(2, 1, 6, "", ("93.184.216.34", 0)), (2, 1, 6, "", ("169.254.169.254", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **named: both)
    assert refusal("git+https://models.example/repo#m.onnx", into)[0] == "refused"


@pytest.mark.parametrize("address", [
    "git+ssh://git@host/repo#m.onnx", "git+git@host:repo#m.onnx", "git+ext::sh -c id#m.onnx",
    "git+git://host/repo#m.onnx", "git+https://ana:secret@host/repo#m.onnx", "git+file://#m.onnx",
    "git+https://host/repo\n#m.onnx", "git+--upload-pack=id#m.onnx",
])  # fmt: skip
def test_other_ways_to_a_repository_are_refused(address: str, into: Path) -> None:
    code, message = refusal(address, into)
    assert code in ("bad_request", "refused")
    assert ("ssh would use your keys" in message) == ("git@host" in address)
