"""What an operator types, what comes back, and with which exit code."""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from gateway.cli.client import ControlClient
from gateway.contract import keys
from gateway.store.embedded import EmbeddedServer
from tests.cli.conftest import Installation, Result, Run
from tests.control.test_models import model_file
from tests.control.world import add_versions, announce, answering_worker, document

pytestmark = pytest.mark.usefixtures("installation")


def lines(result: Result) -> list[str]:
    return result.out.splitlines()


def written(path: Path, *documents: Any) -> Path:
    path.write_text(yaml.safe_dump_all(documents))
    return path


def test_a_split_says_what_changed_and_when_all_gateways_serve_it(run: Run) -> None:
    assert run("route", "split", "digits", "1=100").code == 0
    done = run("route", "split", "digits", "1=90", "2=10", "--reason", "canary")
    assert done.code == 0
    assert lines(done)[0].startswith("digits at revision ")
    assert lines(done)[1:3] == ["  split.1: 100 -> 90", "  split.2: none -> 10"]
    told = lines(done)[-1]
    assert told.startswith("1/1 gateways at revision ")
    assert told.endswith(" ms")


def test_show_tells_everything_about_a_route(run: Run) -> None:
    run("route", "split", "digits", "1=90", "2=10", "--reason", "canary")
    run("route", "pin", "digits", "2", "--header", "x-tenant=beta", "--name", "beta")
    run("route", "shadow", "digits", "3=100")
    run("route", "fallback", "digits", "1")
    shown = run("route", "show", "digits")
    for words in (
        "1=90 2=10",
        "beta: x-tenant = beta => 2=100",
        "3=100",
        "fallback   1",
        "1/1 serve it",
        "ago",
    ):
        assert words in shown.out
    as_json = json.loads(run("route", "show", "digits", "--json").out)
    assert as_json["document"]["rules"][0]["name"] == "beta"
    assert run("route", "list").out.splitlines()[1].startswith("digits  1=90 2=10  3=100")


def test_rules_and_shadows_are_taken_off_again(run: Run) -> None:
    run("route", "split", "digits", "1=100")
    before = json.loads(run("route", "show", "digits", "--json").out)["document"]
    run("route", "pin", "digits", "2", "--header", "x-debug", "--name", "debug")
    run("route", "shadow", "digits", "3=20")
    assert run("route", "pin", "digits", "--off", "debug").code == 0
    assert run("route", "shadow", "digits", "--off").code == 0
    assert json.loads(run("route", "show", "digits", "--json").out)["document"] == before


def test_a_rollback_and_a_deletion_are_undone(run: Run) -> None:
    run("route", "split", "digits", "1=100")
    run("route", "split", "digits", "2=100")
    assert "split.1: none -> 100" in run("route", "rollback", "digits").out
    again = run("route", "rollback", "digits")
    assert (again.code, "returns to what it left" in again.err) == (3, True)
    assert run("route", "delete", "digits", "--yes").code == 0
    assert run("route", "show", "digits").code == 1
    assert run("route", "rollback", "digits").code == 0
    history = run("route", "history", "digits")
    assert history.code == 0
    assert "deleted" in history.out


def test_a_deletion_asks_first(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("route", "split", "digits", "1=100")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    refused = run("route", "delete", "digits")
    assert (refused.code, "--yes" in refused.err) == (2, True)


def test_of_two_operators_at_once_one_gets_exit_code_4_and_a_name(
    run: Run, installation: Installation
) -> None:
    base = json.loads(run("route", "split", "digits", "1=100", "--json").out)["revision"]
    other = run("route", "split", "digits", "1=80", "2=20", "--expect", base, "--reason", "mine")
    assert other.code == 0
    lost = run("route", "split", "digits", "1=100", "--expect", base)
    assert lost.code == 4
    assert f"@{os.uname().nodename} changed digits in revision" in lost.err
    assert "(mine)" in lost.err
    assert "split.1: 100 -> 80" in lost.err
    assert (
        json.loads(run("route", "split", "digits", "1=100", "--expect", base, "--json").out)["code"]
        == "conflict"
    )


def test_a_dry_run_changes_nothing(run: Run) -> None:
    first = json.loads(run("route", "split", "digits", "1=100", "--json").out)["revision"]
    tried = run("route", "split", "digits", "2=100", "--dry-run")
    assert (tried.code, "dry run" in tried.out) == (0, True)
    assert json.loads(run("route", "show", "digits", "--json").out)["revision"] == first


WRONG_SPLITS = [
    (("1=90", "2=5"), "weights sum to 95, not to 100"),
    (("1=110", "2=-10"), "split.1.weight"),
    (("1",), "is not VERSION=PERCENT"),
    (("1=nan",), "is not VERSION=PERCENT"),
    (("9=100",), "version 9 of digits is not registered (registered: 1, 2, 3)"),
]


def test_a_wrong_split_is_wrong_use_with_the_reason(run: Run) -> None:
    for weights, words in WRONG_SPLITS:
        refused = run("route", "split", "digits", "--", *weights)
        assert (refused.code, refused.out) == (2, "")
        assert words in refused.err


def test_a_version_without_worker_is_refused_with_what_to_type(run: Run, installation: Installation) -> None:
    async def add(redis: Redis) -> None:
        await add_versions(redis, "4")

    installation.call(add)
    refused = run("route", "split", "digits", "1=90", "4=10")
    assert refused.code == 3
    assert "turnout pools start digits 4" in refused.err
    forced = run("route", "split", "digits", "1=90", "4=10", "--force")
    assert (forced.code, "warning: version 4" in forced.err) == (0, True)


def test_a_gateway_that_stays_behind_makes_waiting_fail(run: Run, installation: Installation) -> None:
    async def hang(redis: Redis) -> None:
        await announce(redis, "gw-9", 0)

    installation.call(hang)
    done = run("route", "split", "digits", "1=100", "--wait-s", "0.1")
    assert done.code == 1
    assert "1/2 gateways" in done.err
    assert "127.0.0.1:9080 (revision 0)" in done.err
    assert run("route", "split", "digits", "2=100", "--no-wait").code == 0
    assert run("status").code == 1
    assert "behind" in run("gateways").out


def test_files_are_applied_together_and_drift_is_exit_code_2(
    run: Run, installation: Installation, tmp_path: Path
) -> None:
    async def add(redis: Redis) -> None:
        await add_versions(redis, "1", model="iris")

    installation.call(add)
    good = written(tmp_path / "good.yaml", document(), document("iris"))
    assert run("diff", "-f", good).code == 2
    refused = run("apply", "-f", good)
    assert (refused.code, "version 1 of iris has no ready worker" in refused.err) == (3, True)
    assert run("route", "show", "digits").code == 1
    applied = run("apply", "-f", good, "--force")
    assert applied.code == 0
    assert [line.split()[0] for line in lines(applied) if " at revision " in line][:2] == ["digits", "iris"]
    assert run("diff", "-f", good).code == 0
    exported = tmp_path / "exported.yaml"
    exported.write_text(run("export").out)
    assert run("diff", "-f", exported).code == 0
    assert "nothing to change" in run("apply", "-f", exported).out
    one = tmp_path / "one.yaml"
    one.write_text("model: digits\nsplit: [{version: 2, weight: 100}]\n")
    assert run("route", "set", "-f", one).code == 0
    assert "split.2: 100 -> none" in run("diff", "-f", good).out


BAD_FILES = [
    ("model: digits\nsplit: [{version: 1, weight: 60}]\ncolour: red\n", "digits.colour: Extra inputs"),
    ("model: digits\nsplit: [{version: 1, weight: .nan}]\n", "split.0.weight: not a number"),
    ("model: digits\nmodel: iris\n", "the key model appears twice"),
    ("model: [digits\n", "line 2"),
    ("- 1\n", "a document is a mapping"),
    ("", "there is no document in it"),
    ("x: " + "y" * 5_000_000, "longer than 4 MiB"),
]


def test_a_bad_file_is_wrong_use_with_the_place(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    for text, words in BAD_FILES:
        path.write_text(text)
        refused = run("apply", "-f", path)
        assert (refused.code, words in refused.err) == (2, True), refused.err


def test_a_document_edited_by_hand_is_shown_with_the_way_out(run: Run, installation: Installation) -> None:
    run("route", "split", "digits", "1=100")

    async def spoil(redis: Redis) -> None:
        await redis.hset(keys.DOCUMENTS, "route/digits", '{"field": "x", "doc": 7')

    installation.call(spoil)
    shown = run("route", "show", "digits")
    assert shown.code == 0
    assert "not a document of Turnout" in shown.out
    assert "gateways keep serving the last good form" in shown.out
    assert "turnout route rollback digits" in shown.out
    assert run("status").code == 1
    assert run("route", "rollback", "digits").code == 0
    assert "problems" not in run("route", "show", "digits").out


def test_a_cutover_tells_what_was_checked_and_how_to_undo_it(run: Run, installation: Installation) -> None:
    run("route", "split", "digits", "1=100")
    refused = run("cutover", "digits", "--to", "2")
    assert (refused.code, "not fit to go live" in refused.err) == (3, True)

    fresh = answering_worker(installation.redis, "2")

    async def start(redis: Redis) -> None:
        await redis.hdel(keys.WORKERS, "digits-2-9")
        await fresh.__aenter__()

    async def stop(redis: Redis) -> None:
        await fresh.__aexit__(None, None, None)

    installation.call(start)
    done = run("cutover", "digits", "--to", "2", "--observe-s", "0")
    installation.call(stop)
    assert done.code == 0, done.err
    for words in (
        "answered a test inference in",
        "version 2 of digits is live instead of 1",
        "0 requests, 0 failed",
        "turnout cutover digits --back",
        "1/1 gateways at revision",
    ):
        assert words in done.out
    back = run("cutover", "digits", "--back", "--force", "--observe-s", "0", "--json")
    assert (back.code, json.loads(back.out)["to"]) == (0, "1")


def test_a_model_is_registered_from_a_file_once(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_file())
    arguments = (
        "model",
        "register",
        "identity",
        "--version",
        "a",
        "--from",
        path,
        "--metric",
        "accuracy=0.5",
    )
    made = run(*arguments, "--no-wait")
    assert made.code == 0, made.err
    assert "x FP32 [n, 4]" in made.out
    assert "already" in run(*arguments, "--no-wait").out
    path.write_bytes(model_file(width=5))
    other = run(*arguments, "--no-wait")
    assert (other.code, "never changes" in other.err) == (4, True)
    shown = run("model", "show", "identity", "a")
    assert "accuracy=0.5" in shown.out
    assert "identity" in run("model", "list").out
    assert run("model", "show", "identity").code == 0
    waited = run(*arguments[:5], "--from", _file(tmp_path), "--metric", "accuracy=0.5", "--wait-s", "0.1")
    assert (waited.code, "no supervisor is running" in waited.err) == (1, True)


def _file(directory: Path) -> Path:
    path = directory / "model.onnx"
    path.write_bytes(model_file())
    return path


def test_a_file_that_is_no_model_is_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04nonsense")
    refused = run("model", "register", "x", "--version", "1", "--from", path)
    assert (refused.code, "pickle" in refused.err) == (2, True)
    assert run("model", "register", "x", "--version", "1", "--from", tmp_path / "none").code == 2
    assert run("model", "show", "x").code == 1


def test_pools_are_listed_and_scaled(run: Run) -> None:
    assert run("pools", "scale", "digits", "1", "1").code == 0
    short = run("pools", "scale", "digits", "1", "2", "--wait-s", "0.1")
    assert (short.code, "1/2 workers of digits 1 ready" in short.err) == (1, True)
    assert run("pools").out.splitlines()[1].split()[:4] == ["digits", "1", "2", "1"]
    assert json.loads(run("pools", "list", "--json").out)["pools"][0]["is_short"] is True


def test_evidence_predictions_and_audit_are_reachable(run: Run) -> None:
    run("route", "split", "digits", "1=100", "--reason", "first")
    assert "nothing is known yet" in run("compare", "digits", "--since", "1h").out
    assert "no labels of classes for digits" in run("compare", "digits", "--confusion").out
    assert run("compare", "digits", "--since", "soon").code == 2
    assert run("compare", "digits", "9").code == 1
    assert run("explain", "--model", "digits", "--prediction-id", "order-1").code == 1
    audit = run("audit")
    assert (audit.code, "route/digits" in audit.out, "first" in audit.out) == (0, True, True)


def test_without_redis_the_exit_code_is_5(run: Run, redis_server: EmbeddedServer) -> None:
    os.kill(redis_server.pid, signal.SIGKILL)
    away = run("route", "split", "digits", "1=100")
    assert (away.code, "Redis" in away.err) == (5, True)
    assert json.loads(run("status", "--json").out)["code"] == "store_away"


def test_a_version_comes_from_git_with_its_commit_and_goes_when_nobody_uses_it(
    run: Run, tmp_path: Path
) -> None:
    from tests.sources.test_sources import commit

    made = commit(tmp_path / "repo", {"m.onnx": model_file()}, "Train it", "v1")
    (tmp_path / "card.md").write_text("# Identity")
    address = f"git+file://{tmp_path}/repo@v1#m.onnx"
    options = ("--from", address, "--card", tmp_path / "card.md", "--workers", 0)
    assert run("model", "register", "identity", "--version", "a", *options).code == 0
    twin = run("model", "register", "identity", "--version", "b", *options)
    assert "the same file is registered as identity a" in twin.out + twin.err
    shown = run("model", "show", "identity", "a").out
    assert made[:12] in shown
    assert "Train it" in shown
    assert "# Identity" in run("model", "card", "identity", "a").out
    assert run("model", "tag", "identity", "a", "stage=good").code == 0
    assert "tags.stage: good -> None" in run("model", "diff", "identity", "a", "b").out
    assert "identity" in run("model", "list", "--search", "tag:stage=good").out
    got = tmp_path / "got.onnx"
    assert run("model", "download", "identity", "a", "--to", got).code == 0
    assert got.read_bytes() == model_file()
    assert run("model", "download", "identity", "a", "--to", got).code == 2
    assert run("alias", "set", "identity", "champion", "a", "--reason", "first").code == 0
    assert "champion" in run("alias", "list", "identity").out
    assert "first" in run("alias", "history", "identity").out
    in_use = run("model", "rm", "identity", "a", "--yes")
    assert (in_use.code, "alias champion" in in_use.err) == (4, True)
    assert run("model", "rm", "identity", "b", "--yes").code == 0
    assert run("model", "show", "identity", "b").code == 1


def test_a_split_may_name_an_alias_and_keeps_its_version(run: Run) -> None:
    assert run("alias", "set", "digits", "champion", "2").code == 0
    assert run("route", "split", "digits", "1=10", "@champion=90").code == 0
    assert "2=90" in run("route", "list").out
    assert run("route", "split", "digits", "@none=100").code == 2


@pytest.mark.parametrize("version", ["a/b", "..", "1\n", "ⅷ", "-1"])
def test_a_bad_name_is_refused_before_anything_is_fetched(run: Run, version: str) -> None:
    refused = run("model", "register", "x", f"--version={version}", "--from", "git+file:///none#m.onnx")
    assert (refused.code, "no name for a version" in refused.err) == (2, True)


def test_unused_model_files_are_shown_first_and_then_gone(run: Run, tmp_path: Path) -> None:
    for width, version in ((4, "1"), (5, "2")):
        (tmp_path / "m.onnx").write_bytes(model_file(width=width))
        run("model", "register", "scans", "--version", version, "--from", tmp_path / "m.onnx", "--no-wait")
    run("model", "rm", "scans", "2", "--yes")
    would = run("model", "gc", "--older-than-h", "0", "--dry-run")
    assert (would.code, lines(would)[-1]) == (
        0,
        "dry run, nothing was changed: 1 unused files, 82 B, would go",
    )
    assert lines(run("model", "gc", "--yes"))[-1] == "gone: 0 unused files, 0 B"
    assert lines(run("model", "gc", "--older-than-h", "0", "--yes"))[-1] == "gone: 1 unused files, 82 B"
    assert lines(run("model", "gc", "--older-than-h", "0", "--yes"))[-1] == "gone: 0 unused files, 0 B"


def test_a_download_of_other_bytes_and_a_file_that_changes_meanwhile_are_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "m.onnx", tmp_path / "copy.onnx"
    source.write_bytes(model_file())
    register = ("model", "register", "scans", "--version", "1", "--from", source, "--no-wait")
    with monkeypatch.context() as patched:
        upload = ControlClient.upload

        def late(self: ControlClient, file: Path) -> dict[str, Any]:
            source.write_bytes(model_file(width=9))
            return upload(self, file)

        patched.setattr(ControlClient, "upload", late)
        swapped = run(*register)
        assert (swapped.code, "changed while it was read" in swapped.err) == (4, True)
        assert run("model", "show", "scans", "1").code != 0
    assert run(*register).code == 0
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    kept = tmp_path / "artifacts" / "sha256" / digest[:2] / digest
    kept.write_bytes(kept.read_bytes()[:-1] + b"\xff")
    refused = run("model", "download", "scans", "1", "--to", target)
    assert (refused.code, "changed in the store" in refused.err) == (1, True)
    assert not target.exists()
    assert list(tmp_path.glob(".*.part")) == []
