"""`turnout rollout`: what an operator types, what comes back, and with which exit code."""

import json
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from gateway.cli import plots
from tests.cli.conftest import Installation, Run

pytestmark = pytest.mark.usefixtures("installation")

QUICK: dict[str, Any] = {"steps": [{"weight": 10}, {"weight": 100}]}
SLOW: dict[str, Any] = {"steps": [{"weight": 10, "hold": {"min_s": 3600}}, {"weight": 100}]}


@pytest.fixture
def quick(tmp_path: Path, run: Run) -> Path:
    run("route", "split", "digits", "1=100")
    return _written(tmp_path / "quick.yaml", QUICK)


@pytest.fixture
def slow(tmp_path: Path, run: Run) -> Path:
    run("route", "split", "digits", "1=100")
    return _written(tmp_path / "slow.yaml", SLOW)


def _written(file: Path, plan: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump(plan))
    return file


def test_a_rollout_is_watched_to_its_end(run: Run, quick: Path) -> None:
    done = run("rollout", "start", "digits", "--to", "2", "--plan", quick, "--watch", "--reason", "better")
    assert done.code == 0, done.err
    assert "version 2 instead of 1 is running" in done.out
    assert "succeeded: all 2 steps passed" in done.out
    assert "2=100" in run("route", "list").out


def test_waiting_without_words_gives_the_end_as_json(run: Run, quick: Path) -> None:
    done = run("rollout", "start", "digits", "--to", "2", "--plan", quick, "--wait", "--json")
    assert json.loads(done.out)["phase"] == "succeeded"
    assert done.code == 0


def test_an_aborted_rollout_is_told_with_its_steps_and_ends_with_1(run: Run, slow: Path) -> None:
    assert run("rollout", "start", "digits", "--to", "2", "--plan", slow).code == 0
    status = run("rollout", "status", "digits").out
    assert "▶  1. weight 10 %" in status
    assert "·  2. weight 100 %" in status
    for verb in ("pause", "resume", "abort"):
        steered = run("rollout", verb, "digits", "--reason", "lunch")
        assert steered.code == 0, steered.err
        assert "gateways at revision" in steered.out
    assert run("rollout", "watch", "digits").code == 1
    assert "aborted" in run("rollout", "status").out
    history = run("rollout", "history", "digits").out
    assert [word in history for word in ("started:", "paused:", "resumed:", "aborted:")] == [True] * 4


def test_a_promoted_step_goes_on(run: Run, slow: Path) -> None:
    run("rollout", "start", "digits", "--to", "2", "--plan", slow)
    assert run("rollout", "promote", "digits").code == 0
    assert run("rollout", "watch", "digits").code == 0


def test_wrong_plans_are_wrong_use_and_a_second_rollout_is_a_conflict(run: Run, slow: Path) -> None:
    assert run("rollout", "start", "digits", "--to", "9", "--plan", slow).code == 2
    assert run("rollout", "start", "digits", "--to", "2", "--plan", "no-such").code == 1
    assert run("rollout", "start", "digits", "--to", "2", "--plan", slow, "--dry-run").code == 0
    assert "never had a rollout" in run("rollout", "status", "digits").err
    run("rollout", "start", "digits", "--to", "2", "--plan", slow)
    assert run("rollout", "start", "digits", "--to", "3", "--plan", slow).code == 4


def test_an_edit_of_the_route_warns_that_it_pauses_the_rollout(run: Run, slow: Path) -> None:
    run("rollout", "start", "digits", "--to", "2", "--plan", slow)
    edited = run("route", "split", "digits", "1=50", "2=50")
    assert "warning: a rollout of digits to 2 is running: this change pauses it" in edited.err
    assert run("rollout", "watch", "digits").code == 1


def test_every_plan_that_comes_with_turnout_can_be_started(run: Run) -> None:
    run("route", "split", "digits", "1=100")
    plans = json.loads(run("rollout", "plans", "--json").out)["plans"]
    assert len(plans) >= 5
    for plan in plans:
        assert "problem" not in plan
        done = run("rollout", "start", "digits", "--to", "2", "--plan", plan["name"], "--dry-run")
        assert done.code == 0, done.err
    printed = run("rollout", "plans", plans[0]["name"])
    assert yaml.safe_load(printed.out)["steps"]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_history_draws_the_newest_rollout(run: Run, slow: Path, tmp_path: Path, suffix: str) -> None:
    run("rollout", "start", "digits", "--to", "2", "--plan", slow)
    run("rollout", "abort", "digits")
    picture = tmp_path / f"rollout{suffix}"
    assert run("rollout", "history", "digits", "--plot", picture).code == 0
    assert picture.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")


def test_a_picture_without_matplotlib_says_how_to_get_it(
    run: Run, slow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("rollout", "start", "digits", "--to", "2", "--plan", slow)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = run("rollout", "history", "digits", "--plot", tmp_path / "x.png")
    assert done.code == 2
    assert "turnout[plots]" in done.err


def test_accuracy_is_drawn_with_what_is_still_possible(tmp_path: Path) -> None:
    points = [{"at_ms": 60_000 * minute, "value": 0.9, "low": 0.8, "high": 0.95} for minute in range(5)]
    empty: dict[str, Any] = {"at_ms": 0, "value": None, "low": None, "high": None}
    series: list[dict[str, Any]] = [
        {"version": "1", "points": [empty, *points]},
        {"version": "2", "points": points},
    ]
    plots.plot_series("digits", series, tmp_path / "a.svg")
    assert "version 2" in (tmp_path / "a.svg").read_text() or (tmp_path / "a.svg").stat().st_size > 1000


def test_the_stream_tells_what_happens_as_it_happens(
    run: Run, installation: Installation, slow: Path
) -> None:
    with (
        httpx2.Client(trust_env=False, timeout=60) as client,
        client.stream("GET", f"{installation.url}/api/v1/events") as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert next(lines) == ": hello"
        run("rollout", "start", "digits", "--to", "2", "--plan", slow)
        told = []
        while "event: commit" not in told:
            told.append(next(lines))
        assert told[1] == "event: rollout"
        event = json.loads(told[2].removeprefix("data: "))
        assert (event["model"], event["event"]["what"]) == ("digits", "started")
        assert next(lines).startswith("id: ")
    run("rollout", "abort", "digits")
    with (
        httpx2.Client(trust_env=False, timeout=60) as client,
        client.stream("GET", f"{installation.url}/api/v1/events", headers={"last-event-id": "1"}) as stream,
    ):
        events: list[str] = []
        for line in stream.iter_lines():
            if line.startswith("data: ") and "rollout_id" in line:
                events.append(json.loads(line.removeprefix("data: "))["event"]["what"])
            if events[-1:] == ["aborted"]:
                break
        assert events == ["started", "aborted"]
