"""What is known of a plain file that lies in a git work tree, and that its repository runs nothing."""

import os
from pathlib import Path

import pytest

from gateway.contract.lineage import Lineage
from tests.sources.test_sources import ONE, TWO, commit, git, got


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    commit(path, {"train.py": b"1", "models/m.onnx": ONE}, "Train it")
    git(path, "remote", "add", "origin", "https://ana:secret@host/repo.git")
    return path


def lineage(path: Path) -> Lineage:
    return got(str(path), path.parent).lineage


def known(found: Lineage) -> tuple[str, bool | None]:
    return found.git_commit, found.git_clean


def test_a_file_in_a_clean_tree_has_its_repository_and_commit(repository: Path) -> None:
    found = lineage(repository / "models" / "m.onnx")
    assert known(found) == (git(repository, "rev-parse", "HEAD"), True)
    assert (found.kind, found.git_repository) == ("file", "https://host/repo.git")
    git(repository, "remote", "remove", "origin")
    assert lineage(repository / "models" / "m.onnx").git_repository == str(repository)


def test_a_tree_with_a_changed_file_is_not_clean_and_an_untracked_file_does_not_count(
    repository: Path,
) -> None:
    (repository / "models" / "n.onnx").write_bytes(TWO)
    assert lineage(repository / "models" / "n.onnx").git_clean is True
    (repository / "train.py").write_bytes(b"2")  # as long as before
    assert lineage(repository / "models" / "n.onnx").git_clean is False
    git(repository, "commit", "--quiet", "--all", "--message", "Tune")
    assert known(lineage(repository / "models" / "m.onnx")) == (git(repository, "rev-parse", "HEAD"), True)
    (repository / "train.py").write_bytes(b"3")
    git(repository, "add", "train.py")
    assert lineage(repository / "models" / "m.onnx").git_clean is False


def test_a_linked_work_tree_is_looked_into_as_well(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "--quiet", str(tmp_path / "linked"))
    found = lineage(tmp_path / "linked" / "models" / "m.onnx")
    assert (known(found), found.git_repository) == (
        (git(repository, "rev-parse", "HEAD"), True), "https://host/repo.git",
    )  # fmt: skip
    (tmp_path / "linked" / "train.py").write_bytes(b"22")
    assert lineage(tmp_path / "linked" / "models" / "m.onnx").git_clean is False


def test_a_repository_cannot_have_its_programs_run(repository: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    trap.chmod(0o755)
    (repository / ".gitattributes").write_text("*.py filter=evil diff=evil\n")
    for name in ("core.fsmonitor", "filter.evil.clean", "filter.evil.process", "diff.external", "core.pager"):
        git(repository, "config", name, str(trap))
    (repository / ".git" / "hooks").mkdir(exist_ok=True)
    (repository / ".git" / "hooks" / "post-index-change").symlink_to(trap)
    (repository / "train.py").write_bytes(b"2")
    os.utime(repository / "train.py", (1, 1))
    assert lineage(repository / "models" / "m.onnx").git_clean is False
    assert not (tmp_path / "sprung").exists()
    git(repository, "status")
    assert (tmp_path / "sprung").exists()  # it is a trap


@pytest.mark.parametrize("content", [None, b"gitdir: /nonexistent", b"nonsense", b"\xff"])
def test_what_is_no_repository_is_no_failure(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "m.onnx").write_bytes(ONE)
    if content is None:
        (tmp_path / ".git").mkdir()
    else:
        (tmp_path / ".git").write_bytes(content)
    assert lineage(tmp_path / "m.onnx") == Lineage(kind="file")


def test_without_git_nothing_is_known_and_nothing_fails(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert lineage(repository / "models" / "m.onnx") == Lineage(kind="file")
