"""`turnout export|diff|apply --dir`: the installation as a folder."""

import json
from pathlib import Path

import pytest
import yaml
from redis.asyncio import Redis

from gateway.cli.folder import apply as folder_apply
from gateway.cli.folder.files import read_documents, write_documents
from gateway.cli.folder.layout import Folder
from gateway.cli.session import Session
from tests.cli.conftest import Installation, Result, Run
from tests.control.world import add_ready_versions, digest_of

pytestmark = pytest.mark.usefixtures("installation")
POLICY = "policy: calm\nlargest_step: 50\n"


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    """What was exported of an installation with a route, a policy, an alias and a key."""
    run("route", "split", "digits", "1=90", "2=10")
    (tmp_path / "calm.yaml").write_text(POLICY)
    assert run("policy", "apply", "-f", tmp_path / "calm.yaml").code == 0
    assert run("alias", "set", "digits", "champion", "1").code == 0
    made = run("key", "create", "shop", "--role", "client", "--models", "digits", "--pin")
    assert made.code == 0
    directory = tmp_path / "deploy"
    exported = run("export", "--dir", directory)
    assert exported.code == 0, exported.err
    assert "1 route, 1 policy, 3 versions, 1 alias, 1 key" in exported.out
    for file in directory.rglob("*.yaml"):
        assert made.out.strip() not in file.read_text()
    return directory


def write(file: Path, *documents: object) -> None:
    file.write_text(yaml.safe_dump_all(documents))


def route(version: str, model: str = "digits") -> dict[str, object]:
    return {"model": model, "split": [{"version": version, "weight": 100.0}]}


def drifts(result: Result) -> dict[str, str]:
    return {f"{item['part']} {item['name']}": item["kind"] for item in json.loads(result.out)["items"]}


def test_what_was_exported_is_no_drift_and_applying_it_changes_nothing(run: Run, folder: Path) -> None:
    same = run("diff", "--dir", folder)
    assert (same.code, "is as" in same.out) == (0, True), same.out
    applied = run("apply", "--dir", folder, "--prune")
    assert (applied.code, "nothing to change" in applied.out) == (0, True)
    files = {str(file.relative_to(folder)) for file in folder.rglob("*.yaml")}
    expected = {"routes/digits.yaml", "policies/calm.yaml", "versions.yaml", "aliases.yaml", "roles.yaml"}
    assert files == expected
    (versions,) = read_documents(str(folder / "versions.yaml"))
    assert [entry["digest"] for entry in versions["versions"]] == [digest_of(name) for name in "123"]
    assert read_documents(str(folder / "roles.yaml")) == [
        {"name": "shop", "role": "client", "models": ["digits"], "pin": True}
    ]


def test_every_part_that_differs_is_told_and_applied(run: Run, folder: Path) -> None:
    write(folder / "routes" / "digits.yaml", route("2"))
    write(folder / "policies" / "calm.yaml", {"policy": "calm", "largest_step": 100})
    write(
        folder / "aliases.yaml",
        {"model": "digits", "aliases": [{"alias": name, "version": "2"} for name in ("champion", "new")]},
    )
    expected = {
        "policy calm": "differs", "route digits": "differs", "alias digits champion": "differs",
        "alias digits new": "missing",
    }  # fmt: skip
    before = run("diff", "--dir", folder, "--json")
    assert (before.code, drifts(before)) == (2, expected)
    told = run("diff", "--dir", folder).out
    for words in ("largest_step: 50.0 -> 100.0", "split.1: 90 -> none", "1 -> 2", "none -> 2"):
        assert words in told
    tried = run("apply", "--dir", folder, "--dry-run")
    assert (tried.code, "4 changes would be made" in tried.out) == (3, False)  # the old policy is against it
    done = run("apply", "--dir", folder, "--reason", "merge 7")
    assert (done.code, "4 changes made" in done.out) == (0, True), done.err
    assert run("diff", "--dir", folder).code == 0
    assert "merge 7" in run("route", "history", "digits").out


def test_a_dry_run_of_a_folder_changes_nothing(run: Run, folder: Path) -> None:
    write(folder / "routes" / "digits.yaml", route("1"))
    tried = run("apply", "--dir", folder, "--dry-run")
    assert (tried.code, "1 changes would be made" in tried.out) == (0, True), tried.err
    assert run("diff", "--dir", folder).code == 2


def test_only_prune_removes_what_is_in_no_file(run: Run, folder: Path) -> None:
    (folder / "routes" / "digits.yaml").unlink()
    (folder / "policies" / "calm.yaml").unlink()
    (folder / "aliases.yaml").write_text("")
    surplus = {"policy calm": "surplus", "route digits": "surplus", "alias digits champion": "surplus"}
    found = run("diff", "--dir", folder, "--json")
    assert (found.code, drifts(found)) == (2, surplus)
    kept = run("apply", "--dir", folder)
    assert (kept.code, kept.err.count("--prune would remove it")) == (0, 3)
    assert run("route", "show", "digits").code == 0
    assert run("apply", "--dir", folder, "--prune").code == 0
    assert run("route", "show", "digits").code == 1
    assert run("diff", "--dir", folder).code == 0


def test_a_part_that_is_not_in_the_folder_is_left_alone(run: Run, folder: Path) -> None:
    for name in ("aliases.yaml", "versions.yaml", "roles.yaml", "policies/calm.yaml"):
        (folder / name).unlink()
    (folder / "policies").rmdir()
    assert run("apply", "--dir", folder, "--prune").code == 0
    assert "champion" in run("alias", "list", "digits").out
    assert "calm" in run("policy", "list").out


def test_versions_and_keys_are_only_compared_and_the_command_that_helps_is_told(
    run: Run, folder: Path
) -> None:
    file = folder / "versions.yaml"
    (said,) = read_documents(str(file))
    first, second, third = said["versions"]
    new = {"version": "1e3", "digest": "e" * 64, "source": "models/new one.onnx", "owner": "ana"}
    write(file, {**said, "versions": [first, {**second, "digest": "f" * 64}, new]})
    roles = folder / "roles.yaml"
    write(roles, {"name": "bot", "role": "operator", "models": ["digits"]})
    found = run("diff", "--dir", folder)
    assert found.code == 2
    for words in (
        "version digits 2 differs",
        "turnout model register digits --version 1e3 --from 'models/new one.onnx' --owner ana",
        "version digits 3 is installed and not in the folder",
        "turnout key create bot --role operator --models digits",
        "turnout key revoke ",
    ):
        assert words in found.out
    applied = run("apply", "--dir", folder)
    assert applied.code == 2
    assert "a version never changes" in applied.err
    assert "turnout key create bot" in applied.err
    assert run("model", "show", "digits", third["version"]).code == 0
    assert "shop" in run("key", "list").out


def test_where_it_stops_half_way_it_says_so_and_the_same_command_goes_on(
    run: Run, installation: Installation, folder: Path
) -> None:
    write(folder / "policies" / "calm.yaml", {"policy": "calm", "largest_step": 80})
    write(folder / "routes" / "iris.yaml", route("1", "iris"))
    write(
        folder / "aliases.yaml",
        {"model": "digits", "aliases": [{"alias": "champion", "version": "3"}]},
    )
    stopped = run("apply", "--dir", folder)
    assert stopped.code == 2
    for words in (
        "stopped at: write routes iris",
        "done before it: write policy calm",
        "not tried: move alias champion of digits",
        "the same command again goes on from here",
        "iris",
    ):
        assert words in stopped.err
    as_json = run("apply", "--dir", folder, "--json")
    assert json.loads(as_json.out)["stopped_at"] == "write routes iris"

    async def add(redis: Redis) -> None:
        await add_ready_versions(redis, "1", model="iris")

    installation.call(add)
    (folder / "versions.yaml").unlink()
    again = run("apply", "--dir", folder, "--force", "--reason", "first route")
    assert again.code == 0, again.err
    assert "2 changes made" in again.out
    assert run("diff", "--dir", folder).code == 0


def test_what_somebody_else_changes_meanwhile_is_a_conflict_and_not_lost(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "routes" / "digits.yaml", route("1"))
    compare = folder_apply.compare_with_installed

    def and_then_another(session: Session, wanted: Folder) -> folder_apply.Comparison:
        found = compare(session, wanted)
        body = {
            "edit": {
                "kind": "split",
                "split": [{"version": "2", "weight": 50}, {"version": "1", "weight": 50}],
            }
        }
        session.client.post("routes", "digits", "edit", body=body)
        return found

    monkeypatch.setattr(folder_apply, "compare_with_installed", and_then_another)
    lost = run("apply", "--dir", folder)
    assert (lost.code, "stopped at: write routes digits" in lost.err) == (4, True)
    assert "2=50" in run("route", "list").out


def test_a_route_that_a_rollout_moves_is_no_drift_and_left_alone(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    run("policy", "rm", "calm", "--yes")
    (folder / "policies" / "calm.yaml").unlink()
    plan = tmp_path / "plan.yaml"
    write(plan, {"steps": [{"weight": 30, "hold": {"min_s": 3600}}, {"weight": 100}]})
    assert run("rollout", "start", "digits", "--to", "2", "--plan", plan).code == 0
    found = run("diff", "--dir", folder)
    assert (found.code, "its rollout goes on" in found.out) == (0, True), found.out
    assert run("apply", "--dir", folder, "--prune").code == 0
    assert json.loads(run("rollout", "status", "digits", "--json").out)["phase"] == "running"


def test_what_a_rollout_has_moved_is_drift_that_apply_does_not_take_back(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    run("policy", "rm", "calm", "--yes")
    (folder / "policies" / "calm.yaml").unlink()
    plan = tmp_path / "plan.yaml"
    write(plan, {"steps": [{"weight": 30}, {"weight": 100}]})
    assert run("rollout", "start", "digits", "--to", "2", "--plan", plan, "--wait").code == 0
    found = run("diff", "--dir", folder)
    assert (found.code, "was moved by a rollout" in found.out) == (2, True), found.out
    applied = run("apply", "--dir", folder, "--prune")
    assert (applied.code, "stays as its rollout or alias made it" in applied.err) == (0, True)
    assert "2=100" in run("route", "list").out
    write(folder / "routes" / "digits.yaml", route("3"))
    assert run("apply", "--dir", folder).code == 0
    assert "3=100" in run("route", "list").out


def test_an_export_removes_only_what_an_export_wrote(run: Run, folder: Path) -> None:
    mine = folder / "routes" / "mine.yaml"
    write(mine, route("1", "iris"))
    run("route", "delete", "digits", "--yes")
    again = run("export", "--dir", folder)
    assert again.code == 0
    assert mine.exists()
    assert not (folder / "routes" / "digits.yaml").exists()
    assert "was not written by `turnout export`" in again.err


def test_only_admins_see_keys(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_KEY", run("key", "create", "root", "--role", "admin").out.strip())
    bot = run("key", "create", "bot", "--role", "operator").out.strip()
    (folder / "roles.yaml").write_text("")
    found = run("diff", "--dir", folder, "--key", bot)
    assert (found.code, "only admins see them" in found.err) == (0, True)
    exported = run("export", "--dir", folder, "--key", bot)
    assert (exported.code, "roles.yaml is left as it was" in exported.err) == (0, True)


BAD_FOLDERS = [
    ("routes/a.yaml", "split: []\n", "begins with `model:`"),
    ("routes/a.yaml", "model: digits\nsplit: []\n", "another file is about digits"),
    ("policies/a.yaml", "policy: a\nanswers: []\n", "no state allowed"),
    ("aliases.yaml", "model: digits\naliases: [{alias: a, version: 1}, {alias: a, version: 2}]\n", "twice"),
    ("versions.yaml", "model: digits\nversions: [{version: 1, digest: 5}]\n", "versions.0.digest"),
    ("roles.yaml", "name: a\nrole: king\n", "role: "),
    ("roles.yaml", "name: a\nrole: admin\ndigest: abc\n", "Extra inputs"),
]


@pytest.mark.parametrize(("name", "text", "words"), BAD_FOLDERS)
def test_a_bad_folder_is_wrong_use_and_changes_nothing(
    run: Run, folder: Path, name: str, text: str, words: str
) -> None:
    write(folder / "policies" / "calm.yaml", {"policy": "calm", "largest_step": 80})
    (folder / name).write_text(text)
    refused = run("apply", "--dir", folder)
    assert (refused.code, words in refused.err) == (2, True), refused.err
    assert "largest_step: 50" in run("policy", "show", "calm").out


def test_options_that_do_not_go_together_are_wrong_use(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "route.yaml"
    write(file, route("1"))
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments in (
        ("apply",),
        ("diff",),
        ("apply", "-f", file, "--dir", tmp_path),
        ("apply", "-f", file, "--prune"),
        ("apply", "--dir", tmp_path, "--expect", 1),
        ("export", "digits", "--dir", tmp_path / "x"),
        ("diff", "--dir", tmp_path / "none"),
        ("diff", "--dir", empty),
    ):
        assert run(*arguments).code == 2


def test_a_word_that_looks_like_a_number_is_written_as_a_word(tmp_path: Path) -> None:
    document = {"tags": {"run": "1e3", "when": "12:30", "is": "yes", "hex": "0x10"}, "weight": 5.0}
    (tmp_path / "a.yaml").write_text(write_documents([document]))
    assert read_documents(str(tmp_path / "a.yaml")) == [document]
