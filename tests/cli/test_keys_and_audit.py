"""What an operator types about keys and the audit, what comes back, and with which exit code."""

import json
import os
import re
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from tests.cli.conftest import Installation, Run

pytestmark = pytest.mark.usefixtures("installation")


@pytest.fixture
def admin(run: Run, monkeypatch: pytest.MonkeyPatch) -> str:
    """The first admin's key, in TURNOUT_KEY."""
    made = run("key", "create", "root", "--role", "admin")
    assert made.code == 0
    key = made.out.strip()
    monkeypatch.setenv("TURNOUT_KEY", key)
    return key


def key_id(key: str) -> str:
    return key.split("_")[1]


def test_the_first_admin_key_closes_the_door_and_opens_it(
    run: Run, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert re.fullmatch(r"tk_[0-9a-f]{10}_[A-Za-z0-9_-]{43}", admin)
    assert run("route", "list").code == 0
    assert run("key", "whoami").out.startswith("root: admin of *")
    monkeypatch.delenv("TURNOUT_KEY")
    refused = run("route", "list")
    assert (refused.code, "TURNOUT_KEY" in refused.err) == (3, True)
    assert run("route", "list", "--key", admin).code == 0
    assert run("route", "list", "--key", admin[:-1]).code == 3
    assert run("route", "list", "--key", "é").code == 2


def test_a_key_is_made_listed_used_and_revoked(run: Run, admin: str) -> None:
    options = ("--models", "digits,fraud", "--expires", "30d", "--pin", "--rate", 5)
    made = run("key", "create", "bot", "--role", "operator", *options)
    assert "shown only now" in made.err
    bot = made.out.strip()
    listed = run("key", "list").out
    for words in (key_id(bot), "bot", "operator", "digits, fraud", "pin 5/s", "never", "root"):
        assert words in listed
    assert bot not in listed
    assert run("route", "split", "digits", "1=100", "--key", bot).code == 0
    refused = run("route", "show", "diabetes", "--key", bot)
    assert (refused.code, "not for diabetes" in refused.err) == (3, True)
    assert run("key", "list", "--key", bot).code == 3
    done = run("key", "revoke", key_id(bot), "--yes")
    assert (done.code, "1/1 gateways" in done.out) == (0, True)
    assert run("route", "list", "--key", bot).code == 3
    assert run("key", "revoke", key_id(bot), "--yes").code == 1


def test_the_last_admin_key_stays_and_recovery_needs_redis(run: Run, admin: str, redis_url: str) -> None:
    assert run("key", "revoke", key_id(admin), "--yes").code == 3
    rescue = run("key", "recover", "rescue", "--redis-url", redis_url)
    assert rescue.code == 0
    assert run("key", "revoke", key_id(admin), "--yes", "--key", rescue.out.strip()).code == 0


@pytest.mark.parametrize("text", ["30", "x", "d", "30 d", "-1d"])
def test_an_expiry_that_is_none_is_wrong_use(run: Run, text: str) -> None:
    assert run("key", "create", "a", "--role", "viewer", "--expires", text).code == 2


def test_the_audit_tells_who_what_why_and_what_was_live(run: Run, admin: str) -> None:
    run("route", "split", "digits", "1=100", "--reason", "first")
    run("route", "split", "digits", "1=60", "2=40", "--reason", "more")
    logged = run("audit", "log", "--model", "digits", "--author", "root")
    assert [words in logged.out for words in ("first", "more", "route/digits")] == [True] * 3
    assert run("audit", "--limit", "1").out.count("\n") == 2  # `log` is what `audit` alone means
    assert run("audit", "log", "--since", "1s").code == 0
    assert run("audit", "log", "--since", "yesterday").code == 2
    newest = json.loads(run("audit", "log", "--json").out)["entries"][0]
    shown = run("audit", "show", newest["revision"])
    for words in ("by root (key", "more", "split.1: 100 -> 60"):
        assert words in shown.out
    live = run("audit", "at", "0s", "--model", "digits")
    assert "1=60 2=40" in live.out
    assert "no route yet" in run("audit", "at", "2020-01-01", "--model", "digits").out


def test_forced_changes_are_listed(run: Run, installation: Installation) -> None:
    async def end_workers(redis: Redis) -> None:
        await redis.delete(keys.WORKERS)

    installation.call(end_workers)
    assert run("route", "split", "digits", "1=100").code == 3
    assert run("route", "split", "digits", "1=100", "--force").code == 0
    told = run("audit", "overrides")
    assert (told.code, "forced:" in told.out) == (0, True)


async def trim(redis: Redis) -> None:
    await redis.xtrim(keys.AUDIT, maxlen=1, approximate=False)


def test_a_kept_head_and_an_export_convict_a_changed_stream(
    run: Run, installation: Installation, tmp_path: Path
) -> None:
    run("route", "split", "digits", "1=100")
    kept, exported = tmp_path / "head.json", tmp_path / "audit.jsonl"
    kept.write_text(run("audit", "head").out)
    assert run("audit", "export", exported).code == 0
    assert run("audit", "export", exported).code == 2  # never over a file that is there
    lines = exported.read_text().splitlines()
    assert json.loads(lines[-1])["head"] == json.loads(kept.read_text())
    for options in ((), ("--head", kept), ("--head", exported)):
        assert run("audit", "verify", *options).code == 0
    installation.call(trim)
    for options in ((), ("--head", kept), ("--head", exported)):
        verified = run("audit", "verify", *options)
        assert (verified.code, "missing" in verified.err) == (1, True)
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[]")
    assert run("audit", "verify", "--head", wrong).code == 2
    assert run("audit", "verify", "--head", os.devnull).code == 2


def test_an_exported_file_is_verified_by_itself(run: Run, tmp_path: Path) -> None:
    run("route", "split", "digits", "1=100", "--reason", "base64: übrigens")
    exported, kept = tmp_path / "audit.jsonl", tmp_path / "head.json"
    run("audit", "export", exported)
    kept.write_text(run("audit", "head").out)
    nowhere = ("--control-url", "http://127.0.0.1:9")
    assert run("audit", "verify", "--file", exported, *nowhere).code == 0
    text = exported.read_text()
    lines = text.splitlines()
    for changed in (text.replace("übrigens", "x"), "\n".join(lines[1:]), "\n".join([*lines[:-2], lines[-1]])):
        exported.write_text(changed)
        assert run("audit", "verify", "--file", exported, "--head", kept, *nowhere).code == 1
        assert run("audit", "verify", "--file", exported, *nowhere).code == 1
    exported.write_text("{}")
    assert run("audit", "verify", "--file", exported, *nowhere).code == 2
