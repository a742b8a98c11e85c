"""What the shell is told may come next."""

import socket
import subprocess
import time
from collections.abc import Callable

import pytest

from gateway.cli import completion
from tests.cli.conftest import Installation, Run
from tests.sockets import free_port

Complete = Callable[[str, str], list[str]]


@pytest.fixture
def complete(run: Run, monkeypatch: pytest.MonkeyPatch) -> Complete:
    """What bash would be told for this line, with the control API at this address."""

    def completed(line: str, url: str) -> list[str]:
        monkeypatch.setenv("_TURNOUT_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        monkeypatch.setenv("TURNOUT_CONTROL_URL", url)
        done = run()
        assert done.err == ""
        return [answer.partition(",")[2] for answer in done.out.splitlines() if answer]

    return completed


def test_nouns_verbs_options_and_live_names(
    complete: Complete, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "PATIENCE_S", 10.0)  # tests share their machine
    url = installation.url
    assert complete("turnout rou", url) == ["route"]
    assert complete("turnout route sp", url) == ["split"]
    assert "--dry-run" in complete("turnout route split digits 1=90 --d", url)
    assert complete("turnout route split ", url) == ["digits"]
    assert complete("turnout cutover digits --to ", url) == ["1", "2", "3"]
    assert complete("turnout route split digits ", url) == ["1=", "2=", "3="]
    assert "standard" in complete("turnout rollout start digits --to 2 --plan ", url)


def test_without_control_there_are_no_names_and_no_words(complete: Complete) -> None:
    assert complete("turnout route split ", f"http://127.0.0.1:{free_port()}") == []


def test_names_of_scenarios_need_no_control(complete: Complete) -> None:
    assert complete("turnout loadtest digits --scenario s", "http://127.0.0.1:1") == [
        "smoke",
        "soak",
        "spike",
    ]


def test_a_control_that_hangs_is_given_up(complete: Complete) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began_s = time.monotonic()
        assert complete("turnout route split ", f"http://127.0.0.1:{silent.getsockname()[1]}") == []
        assert time.monotonic() - began_s < 14  # and not the 15 s of other commands


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(run: Run, shell: str) -> None:
    script = run("completion", shell)
    assert script.code == 0
    assert f"_TURNOUT_COMPLETE={shell}_complete" in script.out
    if shell == "bash":
        assert "compopt -o nospace" in script.out
        assert subprocess.run(["bash", "-n"], input=script.out, text=True, check=False).returncode == 0
