"""What is kept and what goes, by hand: `turnout unit erase`, `turnout model pins`, `turnout model rm`."""

import io
import json
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.store.pins import DAY_S, Pins
from tests.cli.conftest import Installation, Run
from tests.control.test_erasure import keep

UNIT = "ana@example.org"


def test_a_unit_from_standard_input_is_erased_and_printed_nowhere(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def three(redis: Redis) -> list[str]:
        return await keep(redis, UNIT, 3)

    ids = installation.call(three)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{UNIT}\n"))
    tried = run("unit", "erase", "digits", "-", "--reason", "by letter", "--dry-run")
    assert tried.out.startswith("dry run, nothing was changed: would erase 3 predictions"), tried.err
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{UNIT}\n"))
    done = run("unit", "erase", "digits", "-", "--reason", "by letter", "--yes")
    assert (done.code, "erased 3 predictions" in done.out) == (0, True), done.err
    assert "`record.units`" in done.err  # the route does not say it
    assert UNIT not in done.out + done.err + run("audit", "log", "--json").out
    assert "by letter" in run("audit", "log").out
    again = run("unit", "erase", "digits", "--prediction", ids[0], "--reason", "by letter", "--yes", "--json")
    assert json.loads(again.out)["predictions"] == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("digits", "--reason", "x"), 2),
        (("digits", UNIT), 2),
        (("digits", UNIT, "--reason", f"asked by {UNIT}"), 2),
        (("digits", "--prediction", "no id", "--reason", "x"), 2),
    ],
)
def test_an_erasure_that_is_not_told_well_is_refused(
    run: Run, installation: Installation, arguments: tuple[str, ...], code: int
) -> None:
    refused = run("unit", "erase", *arguments, "--yes")
    assert (refused.code, refused.out) == (code, "")
    assert refused.err.count("\n") < 8


def test_who_pins_a_version_that_ends_is_listed_by_the_name_of_the_key(
    run: Run, installation: Installation
) -> None:
    assert "nobody pinned" in run("model", "pins", "digits").out
    made = json.loads(run("key", "create", "shop", "--role", "client", "--pin", "--json").out)

    async def pinned(redis: Redis) -> None:
        today = int(time.time()) // DAY_S
        counts = {("1", f"key {made['key_id']}"): 7, ("1", "address 10.0.0.1"): 2}
        await Pins(redis).note("digits", today, counts)
        await Pins(redis).note("digits", today - 9, {("1", "key 0123456789"): 1})

    installation.call(pinned)
    shown = run("model", "dossier", "digits", "1").out
    run("model", "approve", "digits", "1", "--hash", shown.rsplit("--hash ", 1)[1].strip())
    assert run("model", "deprecate", "digits", "1", "--sunset", "2027-01-31").code == 0
    week = run("model", "pins", "digits").out.splitlines()
    assert [line.split()[0] for line in week[1:]] == ["1", "1"]
    assert all(words in week[1] for words in ("deprecated", "2027-01-31", made["key_id"], "shop", "7"))
    assert "0123456789" in run("model", "pins", "digits", "--days", 14).out


def test_a_version_that_a_policy_keeps_is_not_removed_and_says_for_how_long(
    run: Run, installation: Installation, tmp_path: Path
) -> None:
    file = tmp_path / "keeping.yaml"
    file.write_text("policy: keeping\nretention: {artefacts_days: 30}\n")
    assert run("policy", "apply", "-f", file).code == 0
    for words in ("has to come first [keeping.retention]", "may go in 30.0 days [keeping.retention]"):
        refused = run("model", "rm", "digits", "3", "--yes")
        assert refused.code == 3
        assert words in refused.err
        run("model", "reject", "digits", "3")
    forced = run("model", "rm", "digits", "3", "--yes", "--force", "--reason", "leaks names")
    assert (forced.code, "overridden" in forced.err) == (0, True)
    assert "keeping.retention" in run("audit", "overrides").out
