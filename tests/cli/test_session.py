"""What all commands share, against a real control server: dry runs, watching, questions, hints."""

import contextlib
import io
import json
import sys
import time

import pytest
from redis.asyncio import Redis

from gateway.cli import grammar
from gateway.cli.client import ControlClient
from gateway.cli.hints import hint
from gateway.contract import keys
from gateway.contract.errors import CallerError
from gateway.store.connection import ask
from tests.cli.conftest import Installation, Run
from tests.sockets import free_port

# Every change that the control process tries by header, in a state where it would do something.
TRIED = [
    ("alias", "set", "digits", "champion", "1"),
    ("alias", "rm", "digits", "old"),
    ("model", "rm", "digits", "3"),
    ("model", "tag", "digits", "2", "team=a"),
    ("model", "validate", "digits", "2"),
    ("model", "quarantine", "digits", "3"),
    ("pools", "scale", "digits", "2", "3"),
    ("key", "create", "ci", "--role", "operator"),
    ("policy", "rm", "owners"),
]


def test_a_dry_run_of_any_change_says_what_would_change_and_writes_nothing(
    run: Run, installation: Installation
) -> None:
    run("alias", "set", "digits", "old", "2")
    policy = {"policy": "owners", "requires": {"owner": True}}
    path = installation.folder / "policy.yaml"
    path.write_text(json.dumps(policy))
    assert run("policy", "apply", "-f", path).code == 0

    async def revision(redis: Redis) -> bytes:
        return bytes(await ask(redis, "GET", keys.REVISION))

    before = installation.call(revision)
    for words in TRIED:
        tried = run(*words, "--dry-run")
        assert (tried.code, tried.out.startswith("dry run, nothing was changed: ")) == (0, True), (
            words,
            tried,
        )
        told = json.loads(run(*words, "--dry-run", "--json").out)
        assert told["dry_run"] is True
        assert told.get("would_change") or told["changed"]  # an alias tells more: what routes would do
    assert installation.call(revision) == before
    assert run("model", "rm", "digits", "2", "--dry-run").code == 4  # the alias names it: checks are real


TAKES_AWAY = [
    ("alias", "rm", "digits", "old"),
    ("model", "rm", "digits", "3"),
    ("policy", "rm", "owners"),
    ("key", "revoke", "0123456789"),
    ("route", "delete", "digits"),
]


@pytest.mark.parametrize("words", TAKES_AWAY)
def test_what_takes_something_away_asks_first(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Neither is there a control API: whoever did not ask would say so."""
    away = ("--control-url", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    refused = run(*words, *away)
    assert (refused.code, "add --yes" in refused.err) == (2, True)
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert run(*words, *away).code == 130
    assert run(*words, *away, "--yes").code == 5


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def ends_after_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at the second pause."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(grammar, "time", type("Clock", (), {"sleep": sleep, "strftime": time.strftime}))


@pytest.mark.usefixtures("ends_after_two", "installation")
def test_watching_prints_again_only_what_differs_and_ends_in_good_order(run: Run) -> None:
    watched = run("alias", "list", "digits", "--watch")
    assert (watched.code, watched.out) == (0, "digits has no alias\n")


@pytest.mark.usefixtures("ends_after_two", "installation")
def test_watching_as_json_is_one_value_a_line(run: Run) -> None:
    watched = run("pools", "--watch", "--json")
    assert {json.loads(line)["pools"][0]["model"] for line in watched.out.splitlines()} == {"digits"}


@pytest.mark.usefixtures("installation")
def test_a_model_that_is_nearly_right_is_named(run: Run) -> None:
    wrong = run("model", "show", "digts")
    assert (wrong.code, "did you mean digits?" in wrong.err) == (1, True)
    split = run("route", "split", "digts", "1=100")
    assert (split.code, "did you mean digits?" in split.err) == (2, True)
    other = run("model", "show", "x9")
    assert "models are: digits" in other.err


def test_the_address_of_something_else_is_doubted() -> None:
    error = CallerError("not_found", "Nothing is at /api/v1/status.")
    with contextlib.closing(ControlClient("http://127.0.0.1:8080", wait_s=0, key=None)) as client:
        assert "is http://127.0.0.1:8080 a control API?" in (hint(error, client) or "")


MISTAKES = [
    (("stauts",), "turnout status"),
    (("route", "splt", "digits", "1=90"), "turnout route split digits 1=90"),
    (("split", "digits", "1=90", "2=10"), "turnout route split digits 1=90 2=10"),
    (("list", "models"), "turnout model list"),
    (("split", "route", "digits"), "turnout route split digits"),
    (("key", "rm", "0123456789"), "turnout key revoke 0123456789"),
    (("route", "remove", "digits"), "turnout route delete digits"),
    (("status", "--jsno"), "turnout status --json"),
    (("pools", "scal", "digits", "2", "3"), "turnout pools scale digits 2 3"),
    (("pools", "scale", "digits", "2", "3", "--wait-ss=4"), "turnout pools scale digits 2 3 --wait-s=4"),
]


@pytest.mark.parametrize(("typed", "meant"), MISTAKES)
def test_a_wrong_line_is_answered_with_the_corrected_one(
    run: Run, typed: tuple[str, ...], meant: str
) -> None:
    wrong = run(*typed)
    assert (wrong.code, wrong.out) == (2, "")
    assert f"  {meant}" in wrong.err.splitlines()
