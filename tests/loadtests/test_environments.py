"""A peer's environment is made once for the same requirements, and again when they change."""

import subprocess
import sys
from pathlib import Path

import pytest

from loadtests import environments
from loadtests.environments import Environment, name_of
from loadtests.started import StartFailed


def test_the_name_is_read_out_of_any_requirement() -> None:
    given = ["mlserver==1.7.1", "uvloop<0.22", "HttpTools", "uvicorn[standard]>=0.30", "a!=1"]
    assert [name_of(requirement) for requirement in given] == [
        "mlserver",
        "uvloop",
        "httptools",
        "uvicorn",
        "a",
    ]


def test_an_environment_that_is_there_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "HOME", tmp_path)
    commands: list[list[str]] = []

    class Done:
        returncode = 0

    def run(command: list[str], *, check: bool) -> Done:
        commands.append(command)
        (tmp_path / "peer").mkdir(exist_ok=True)
        return Done()

    monkeypatch.setattr(subprocess, "run", run)
    Environment("peer", ("a==1", "b"), 1).make()
    assert [command[-2:] for command in commands] == [
        ["--clear", str(tmp_path / "peer")],
        ["a==1", "b"],
    ]
    Environment("peer", ("a==1", "b"), 1).make()
    assert len(commands) == 2
    Environment("peer", ("a==2", "b"), 1).make()
    assert len(commands) == 4


def test_an_environment_that_cannot_be_made_is_not_taken_for_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "HOME", tmp_path)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    for _ in range(2):
        with pytest.raises(StartFailed, match="peer could not be installed"):
            Environment("peer", ("a==1",), 1).make()
