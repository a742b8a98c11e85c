"""One release from its sources to the auditor, by people with keys of their own, and ways around the rules
that somebody in a hurry would try."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Installation, Result, Run
from tests.control.test_models import model_file
from tests.control.world import add_worker
from tests.sources.test_sources import TWO, commit, tracked

POLICY = {
    "policy": "production", "models": ["*"], "answers": ["approved"], "copies": ["registered", "approved"],
    "requires": {"owner": True}, "approvals": {"count": 1, "role": "approver"}, "largest_step": 50,
    "override": "admin",
}  # fmt: skip
PLAN = {"steps": [{"weight": 50}, {"weight": 100}]}
PEOPLE = {"ana": "operator", "ben": "approver", "pipeline": "operator", "eve": "viewer", "shop": "client"}


@dataclass(frozen=True, slots=True)
class Team:
    """`ana("model", "list")` runs a command with Ana's key."""

    run: Run
    keys: Mapping[str, str]

    def by(self, who: str, *arguments: object) -> Result:
        return self.run(*arguments, "--key", self.keys[who])

    def done(self, who: str, *arguments: object) -> str:
        result = self.by(who, *arguments)
        assert result.code == 0, (arguments, result)
        return result.out

    def refused(self, who: str, *arguments: object, by: str, code: int = 3) -> None:
        result = self.by(who, *arguments)
        assert result.code == code, (arguments, result)
        assert by in result.err, (arguments, result)


@pytest.fixture
def team(run: Run, installation: Installation) -> Team:
    root = run("key", "create", "root", "--role", "admin").out.strip()
    made = {"root": root}
    for name, role in PEOPLE.items():
        made[name] = run("key", "create", name, "--role", role, "--key", root).out.strip()
    return Team(run, made)


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, str]:
    """Version -> where it comes from: a folder, a commit of git, a file that DVC tracks."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "scans.onnx").write_bytes(TWO)
    repository = tmp_path / "git"
    commit(repository, {"models/m.onnx": model_file(width=6)}, "Train", "v3")
    dvc = tracked(tmp_path / "dvc")
    return {
        "1": str(folder),
        "2": f"dvc+git+file://{dvc}@v1#models/m.onnx",
        "3": f"git+file://{repository}@v3#models/m.onnx",
    }


def release(team: Team, installation: Installation, sources: Mapping[str, str], directory: Path) -> None:
    """Ana brings three versions in, Ben approves the second for a plan, the pipeline deploys it."""
    policy, plan = directory / "policy.yaml", directory / "plan.yaml"
    policy.write_text(yaml.safe_dump(POLICY))
    plan.write_text(yaml.safe_dump(PLAN))
    for version, address in sources.items():
        team.done(
            "ana", "model", "register", "scans", "--version", version, "--from", address,
            "--owner", "ana", "--no-wait",
        )  # fmt: skip
        digest = hashlib.sha256(_content(team, version, directory)).hexdigest()
        installation.call(partial(add_worker, version=version, model="scans", digest=digest))
    team.done("ana", "route", "split", "scans", "1=100", "--reason", "before there were rules")
    team.done("root", "policy", "apply", "-f", policy)

    # Everything that leads around the rules ends with the name of the rule.
    team.refused("ana", "route", "split", "scans", "1=50", "2=50", by="production.answers")
    team.refused("ana", "cutover", "scans", "--to", "2", by="production.")
    team.refused("ana", "rollout", "start", "scans", "--to", "2", "--plan", plan, by="production.approvals")
    team.refused("pipeline", *_deployment(sources, plan), by="production.approvals")
    route = directory / "route.yaml"
    route.write_text("model: scans\nsplit: [{version: '2', weight: 100}]\n")
    team.refused("ana", "apply", "-f", route, by="production.")
    team.refused(
        "ana", "route", "split", "scans", "2=100", "--force", "--reason", "mine", by="it takes the role admin"
    )
    seen = team.done("ben", "model", "dossier", "scans", "2", "--plan", plan)
    approval = (
        "model",
        "approve",
        "scans",
        "2",
        "--plan",
        plan,
        "--hash",
        seen.rsplit("--hash ", 1)[1].split()[0],
    )
    team.refused("ana", *approval, by="approver")
    team.refused("eve", *approval, by="approver")
    team.refused("shop", "route", "list", by="viewer")
    team.refused("ana", "policy", "rm", "production", "--yes", by="admin")
    team.refused("ana", "key", "create", "mallory", "--role", "admin", by="admin")

    # An approval is for one plan: another one is another dossier.
    team.done("ben", *approval)
    bolder = directory / "bolder.yaml"
    bolder.write_text(yaml.safe_dump({"steps": [{"weight": 100}]}))
    team.refused("pipeline", *_deployment(sources, bolder), by="production.")

    done = team.by("pipeline", *_deployment(sources, plan), "--wait", "--summary", directory / "summary.md")
    assert done.code == 0, done
    assert "succeeded" in (directory / "summary.md").read_text()
    assert "2=100" in team.done("eve", "route", "list")
    again = team.by("pipeline", *_deployment(sources, plan), "--wait")
    assert (again.code, "is this one already" in again.out) == (0, True), again

    # The auditor, who may only read.
    report = team.done("eve", "audit", "report", "scans")
    for words in ("ben", "pipeline", "succeeded", "2=100"):
        assert words in report, (words, report)
    team.done("eve", "audit", "verify")
    team.refused("eve", "route", "split", "scans", "1=100", by="operator")


def _deployment(sources: Mapping[str, str], plan: Path) -> tuple[object, ...]:
    return (
        "deploy", "scans", "--version", "2", "--from", sources["2"], "--plan", plan, "--owner", "ana",
        "--ready-s", "5",
    )  # fmt: skip


def _content(team: Team, version: str, directory: Path) -> bytes:
    into = directory / f"{version}.onnx"
    team.done("eve", "model", "download", "scans", version, "--to", into)
    return into.read_bytes()


def test_a_release_goes_through_the_rules_and_nothing_goes_around_them(
    team: Team, installation: Installation, sources: dict[str, str], tmp_path: Path
) -> None:
    release(team, installation, sources, tmp_path)
