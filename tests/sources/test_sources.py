"""Sources against real repositories: files and folders on disk, git repositories made here, DVC's layout."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from gateway.contract.errors import TurnoutError
from gateway.sources.fetch import fetch
from gateway.sources.fetched import Fetched, Limits
from tests.control.test_models import model_file

ONE, TWO = model_file(), model_file(width=5)


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=Ana", "-c", "user.email=ana@desk", "-C", str(repository), *arguments],
        check=True, capture_output=True, text=True,
        env={
            "PATH": os.environ["PATH"], "HOME": "/",
            "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
        },
    )  # fmt: skip
    return done.stdout.strip()


def commit(repository: Path, files: dict[str, bytes], message: str, *tags: str) -> str:
    if not (repository / ".git").exists():
        repository.mkdir(exist_ok=True)
        git(repository, "init", "--quiet", "--initial-branch=main")
    for name, data in files.items():
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    git(repository, "add", "--all", "--force")
    git(repository, "commit", "--quiet", "--message", message)
    for tag in tags:
        git(repository, "tag", tag)
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    path = tmp_path / "into"
    path.mkdir()
    return path


def got(address: str, into: Path, **limits: object) -> Fetched:
    return fetch(address, into, limits=Limits(**limits))  # type: ignore[arg-type]


def refusal(address: str, into: Path, **limits: object) -> tuple[str, str]:
    with pytest.raises(TurnoutError) as raised:
        got(address, into, **limits)
    return raised.value.code, raised.value.message


# -- files and folders --------------------------------------------------------------------------------------


def test_a_file_and_a_folder_with_one_model_give_the_same_file(tmp_path: Path, into: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(ONE)
    assert got(f"file:{tmp_path}/m.onnx", into).path == got(str(tmp_path), into).path
    assert got(f"file://{tmp_path}/m.onnx", into).address == f"file:{tmp_path.resolve()}/m.onnx"
    (tmp_path / "n.onnx").write_bytes(TWO)
    assert refusal(str(tmp_path), into)[0] == "bad_request"


@pytest.mark.parametrize(
    "address", ["file:///etc", "file:/dev/zero", "file:///dev/null", "ftp://x/y", "http://x/y"]
)
def test_what_is_no_model_source_is_refused_unread(address: str, into: Path) -> None:
    assert refusal(address, into)[0] in ("refused", "bad_request")


def test_a_link_out_of_the_folder_and_a_file_out_of_the_roots_are_refused(tmp_path: Path, into: Path) -> None:
    (tmp_path / "outside.onnx").write_bytes(ONE)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "m.onnx").symlink_to(tmp_path / "outside.onnx")
    assert refusal(str(folder), into)[0] == "refused"
    assert refusal(str(tmp_path / "outside.onnx"), into, roots=(folder,))[0] == "refused"
    assert refusal(str(folder / "m.onnx"), into, roots=(folder,))[0] == "refused"
    assert refusal(str(folder / ".." / "outside.onnx"), into, roots=(folder,))[0] == "refused"
    assert refusal(f"git+file://{tmp_path}#m.onnx", into, roots=(folder,))[0] == "refused"


def test_a_file_of_five_gigabytes_is_refused_without_being_read(tmp_path: Path, into: Path) -> None:
    with (tmp_path / "m.onnx").open("wb") as file:
        file.truncate(5 << 30)
    assert refusal(str(tmp_path / "m.onnx"), into)[0] == "too_large"


def test_a_triton_repository_gives_its_highest_version_or_the_named_one(tmp_path: Path, into: Path) -> None:
    model = tmp_path / "digits"
    for number, data in (("2", ONE), ("10", TWO)):
        (model / number).mkdir(parents=True)
        (model / number / "model.onnx").write_bytes(data)
    (model / "config.pbtxt").write_text('name: "digits"\nplatform: "onnxruntime_onnx"\n')
    found = got(str(model), into)
    assert (found.path.read_bytes(), found.lineage.kind) == (TWO, "triton")
    assert found.lineage.parameters == {"version": "10"}
    assert got(str(model / "2"), into).path.read_bytes() == ONE
    (model / "config.pbtxt").write_text('default_model_filename: "../../secret"\n')
    (tmp_path / "secret").write_bytes(ONE)
    assert refusal(str(model), into)[0] == "refused"
    (model / "config.pbtxt").write_text('backend: "python"\n')
    assert refusal(str(model), into)[0] == "refused"


def test_an_mlserver_folder_names_its_file_and_cannot_name_another(tmp_path: Path, into: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "a.onnx").write_bytes(ONE)
    (folder / "b.onnx").write_bytes(TWO)
    settings = folder / "model-settings.json"
    settings.write_text(
        '{"name": "d", "implementation": "x.Onnx", "parameters": {"uri": "./b.onnx", "version": "7"}}'
    )
    found = got(str(folder), into)
    assert found.path.read_bytes() == TWO
    assert (found.lineage.framework, found.lineage.parameters, found.tags) == (
        "x.Onnx", {"version": "7"}, {"mlserver-name": "d"},
    )  # fmt: skip
    (tmp_path / "secret").write_bytes(ONE)
    for uri in ("../secret", "/etc/passwd", "s3://bucket/m"):
        settings.write_text(f'{{"parameters": {{"uri": "{uri}"}}}}')
        assert refusal(str(folder), into)[0] == "refused"
    settings.write_text("[" * 100_000)
    assert refusal(str(folder), into)[0] == "invalid_json"
    settings.write_text(" " * (2 << 20))
    assert refusal(str(folder), into)[0] == "too_large"


# -- git ----------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits: the first has the tags v1 and digits@v1.2.0, the second digits@v1.10.0."""
    path = tmp_path / "repo"
    commit(path, {"models/m.onnx": ONE}, "Train the first\n\nat length", "v1", "digits@v1.2.0")
    commit(path, {"models/m.onnx": TWO}, "Train the second", "digits@v1.10.0")
    return path


@pytest.mark.parametrize(
    ("revision", "data"),
    [
        ("", TWO),
        ("@main", TWO),
        ("@v1", ONE),
        ("@digits@v1.2.0", ONE),
        ("@gto:digits@v1.2.0", ONE),
        ("@gto:digits", TWO),
    ],
    ids=["head", "branch", "tag", "tag with @", "GTO tag", "newest GTO tag"],
)
def test_a_revision_of_a_repository_gives_its_file_and_its_commit(
    repository: Path, tmp_path: Path, revision: str, data: bytes
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    found = got(f"git+file://{repository}{revision}#models/m.onnx", tmp_path / "a")
    assert found.path.read_bytes() == data
    lineage = found.lineage
    assert lineage.git_commit == git(repository, "rev-parse", "HEAD" if data == TWO else "v1")
    assert (lineage.created_by, lineage.git_clean) == ("Ana <ana@desk>", True)
    assert lineage.subject == ("Train the second" if data == TWO else "Train the first")
    again = got(found.address, tmp_path / "b")
    assert (again.path.read_bytes(), again.address) == (data, found.address)


@pytest.mark.parametrize(
    "rest",
    [
        "@--upload-pack=touch#models/m.onnx", "@none#models/m.onnx", "@a..b#models/m.onnx", "#../m.onnx",
        "#/etc/passwd", "#models", "#link", "#:(top)models/m.onnx", "#--help", "#models/m.onnx\n",
        "@gto:iris#models/m.onnx",
    ],
)  # fmt: skip
def test_what_is_no_file_of_a_revision_is_refused(repository: Path, into: Path, rest: str) -> None:
    (repository / "link").symlink_to("/etc/passwd")
    commit(repository, {}, "A link")
    assert refusal(f"git+file://{repository}{rest}", into)[0] in ("refused", "not_found", "bad_request")
    assert not (into / "model.onnx").exists()


@pytest.mark.parametrize("revision", ["HEAD~1", ":/Train", "v1^{/Train}", "--all", "a..b", "gto:--all"])
def test_a_revision_is_a_name_and_no_expression(repository: Path, into: Path, revision: str) -> None:
    code, message = refusal(f"git+file://{repository}@{revision}#models/m.onnx", into)
    assert (code, "not the name of a revision" in message) == ("bad_request", True)
    assert not list(into.iterdir()), "git was not even asked"


@pytest.mark.parametrize("url", ["ext::sh -c touch%20x", "ssh://host/x", "git://host/x", "--help"])
def test_only_two_protocols_of_git_are_spoken(url: str, into: Path) -> None:
    assert refusal(f"git+{url}#m.onnx", into)[0] == "bad_request"


def test_hooks_and_settings_of_a_repository_do_not_run(repository: Path, tmp_path: Path, into: Path) -> None:
    mark = tmp_path / "ran"
    for hook in ("post-checkout", "reference-transaction", "post-merge"):
        path = repository / ".git" / "hooks" / hook
        path.write_text(f"#!/bin/sh\ntouch {mark}\n")
        path.chmod(0o755)
    got(f"git+file://{repository}#models/m.onnx", into)
    assert not mark.exists()


def test_a_file_of_a_repository_that_is_too_long_is_refused(repository: Path, into: Path) -> None:
    assert refusal(f"git+file://{repository}#models/m.onnx", into, max_bytes=10)[0] == "too_large"


# -- DVC ----------------------------------------------------------------------------------------------------


def tracked(tmp_path: Path, *, data: bytes = ONE, old_layout: bool = False, lock: bool = False) -> Path:
    """A repository as DVC leaves it after `dvc add` (or a stage) and `dvc push`."""
    md5 = hashlib.md5(ONE, usedforsecurity=False).hexdigest()
    remote = tmp_path / "remote" / ("" if old_layout else "files/md5") / md5[:2]
    remote.mkdir(parents=True)
    (remote / md5[2:]).write_bytes(data)
    out = f"- md5: {md5}\n  size: {len(ONE)}\n  hash: md5\n  path: "
    config = f"[core]\n    remote = store\n['remote \"store\"']\n    url = {tmp_path}/remote\n"
    files = {".dvc/config": config.encode()}
    if lock:
        indented = ("    " + out).replace("\n", "\n    ")
        stages = f"stages:\n  train:\n    cmd: x\n    outs:\n{indented}models/m.onnx\n"
        files["dvc.lock"] = f"schema: '2.0'\n{stages}".encode()
    else:
        files["models/m.onnx.dvc"] = f"outs:\n{out}m.onnx\n".encode()
    path = tmp_path / "repo"
    commit(path, files, "Track it", "v1")
    return path


@pytest.mark.parametrize(
    "how", [{}, {"old_layout": True}, {"lock": True}], ids=["DVC 3", "DVC 2", "dvc.lock"]
)
def test_a_tracked_file_comes_from_the_remote_with_its_hash(
    tmp_path: Path, into: Path, how: dict[str, bool]
) -> None:
    repository = tracked(tmp_path, **how)  # type: ignore[arg-type]
    found = got(f"dvc+git+file://{repository}@v1#models/m.onnx", into)
    assert found.path.read_bytes() == ONE
    assert found.lineage.data_digest == f"md5:{hashlib.md5(ONE, usedforsecurity=False).hexdigest()}"
    assert (found.lineage.kind, found.lineage.subject) == ("dvc", "Track it")


def test_bytes_of_the_remote_that_are_not_the_recorded_ones_are_refused(tmp_path: Path, into: Path) -> None:
    repository = tracked(tmp_path, data=TWO)
    code, message = refusal(f"dvc+git+file://{repository}#models/m.onnx", into)
    assert (code, "not what DVC recorded" in message) == ("refused", True)
    assert refusal(f"dvc+git+file://{repository}#models/none.onnx", into / "..")[0] == "not_found"


def test_a_remote_that_is_far_or_out_of_the_roots_is_refused(tmp_path: Path, into: Path) -> None:
    repository = tracked(tmp_path)
    address = f"dvc+git+file://{repository}#models/m.onnx"
    code, message = refusal(address, into, roots=(repository,))
    assert (code, "DVC remote" in message) == ("refused", True)
    far = b"[core]\n    remote = store\n['remote \"store\"']\n    url = s3://bucket/x\n"
    commit(repository, {".dvc/config": far}, "Move it")
    (tmp_path / "again").mkdir()
    code, message = refusal(address, tmp_path / "again")
    assert (code, "is not a local folder" in message) == ("refused", True)
