"""What `turnout explain` tells about requests to come and predictions of the past."""

import json
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from tests.cli.conftest import Installation, Run
from tests.control.test_explain import at, write
from tests.control.world import document, split
from tests.store.samples import record

pytestmark = pytest.mark.usefixtures("installation")


def current(run: Run) -> int:
    revision: int = json.loads(run("route", "show", "digits", "--json").out)["revision"]
    return revision


@pytest.fixture
def revision(run: Run, tmp_path: Path) -> int:
    """10 % to version 2, sticky, a rule for beta, two shadows."""
    beta = {"name": "beta", "match": [{"header": "x-tenant", "exact": "beta"}], "split": split(("2", 100))}
    shadows = [{"version": "3"}, {"version": "2", "percent": 5}]
    route = document(
        weights=(("1", 90), ("2", 10)), sticky={"header": "turnout-unit"}, rules=[beta], shadows=shadows
    )
    path = tmp_path / "route.json"
    path.write_text(json.dumps(route))
    assert run("route", "set", "-f", path).code == 0
    return current(run)


def test_a_request_to_come_is_told_step_by_step(run: Run, revision: int) -> None:
    told = run("explain", "--model", "digits", "--unit", "alice", "--header", "x-tenant=gamma")
    assert told.code == 0
    lines = told.out.splitlines()
    assert lines[0].startswith(f"digits at revision {revision}, by ")
    assert "rule       beta does not hold: x-tenant = beta, but the request has x-tenant: gamma" in told.out
    for words in ("VERSION", "HASH", "DISTANCE", "least distance wins", "(sticky)", "alice, from header"):
        assert words in told.out
    assert "shadow     3 gets a copy of it" in told.out
    by_rule = run("explain", "--model", "digits", "--header", "x-tenant=beta").out
    assert "rule       beta holds" in by_rule
    assert "version 2 answers (rule:beta)" in by_rule
    assert "shadow     2 gets no copy" in by_rule
    assert "workers    digits-2-9\n" in by_rule


def test_a_drawn_request_is_told_with_the_odds(run: Run, revision: int) -> None:
    told = run("explain", "--model", "digits").out.splitlines()
    rows = [line.split() for line in told if line[:1].isdigit()]
    assert rows == [["1", "90%", "1", "weight", "digits-1-9"], ["2", "10%", "2", "weight", "digits-2-9"]]


def test_a_pin_and_workers_that_are_gone_are_told(
    run: Run, installation: Installation, revision: int
) -> None:
    pinned = run("explain", "--model", "digits", "--pin", "3").out
    assert "the request names version 3" in pinned
    assert "version 3 answers (pin)" in pinned

    async def kill(redis: Redis) -> None:
        await redis.hdel(keys.WORKERS, "digits-2-9")

    installation.call(kill)
    beta = ("explain", "--model", "digits", "--header", "x-tenant=beta")
    assert "version 2 is chosen, but has no ready worker: 503" in run(*beta).out
    run("route", "fallback", "digits", "1")
    assert "version 1 answers (fallback)" in run(*beta).out


def test_a_prediction_of_the_past_is_told_with_the_route_of_then(
    run: Run, installation: Installation, revision: int
) -> None:
    records: list[Any] = [
        at(record("2", "c", 7, way="0/1ab2cd34/2"), revision),
        at(record("3", "c", 8, way=""), revision),
    ]

    async def recorded(redis: Redis) -> None:
        await write(redis, "order-1", *records)
        await write(redis, "order-2", at(record("1", "n", None, way=""), revision), number=2)

    installation.call(recorded)
    run("route", "split", "digits", "3=100")
    told = run("explain", "--model", "digits", "--prediction-id", "order-1", "--unit", "alice")
    assert told.code == 0
    for words in (
        "version 2 of digits answered order-1 at ",
        "reason     rule:beta",
        "worker     ...1ab2cd34, 2 attempts",
        "latency    1.23 ms",
        "output     7",
        "unit alice leads to version 2",
        "shadow     3: 8, 1.23 ms",
        "label      none yet",
        f"decided by revision {revision}, by ",
        f"(now: {current(run)})",
        "beta: x-tenant = beta => 2=100",
    ):
        assert words in told.out
    old = run("explain", "--model", "digits", "--prediction-id", "order-2").out
    assert "reason     not recorded" in old
    assert "output     not recorded" in old
    assert "shadow     2: no answer is recorded" in old
    as_json = json.loads(run("explain", "--model", "digits", "--prediction-id", "order-1", "--json").out)
    assert as_json["records"][0]["worker"] == "1ab2cd34"


def test_wrong_questions_are_told_apart(run: Run, revision: int) -> None:
    assert run("explain").code == 2
    unasked = run("explain", "--model", "digits", "--prediction-id", "order-1", "--pin", "2")
    assert (unasked.code, "not recorded" in unasked.err) == (2, True)
    assert run("explain", "--model", "digits", "--header", "x-tenant").code == 2
    unknown = run("explain", "--model", "digits", "--prediction-id", "order-9")
    assert (unknown.code, unknown.err.count("\n")) == (1, 1)
    assert run("explain", "--model", "digits", "--pin", "9").code == 1
