"""`turnout deploy`: what a pipeline calls, and with which exit code it comes back."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from gateway.cli.rollout import deploy
from gateway.cli.rollout import once as roll_out
from gateway.cli.rollout.summary import deployed_page
from gateway.contract.rollout import ENDED, Phase
from gateway.core.page import markdown
from tests.cli.conftest import Installation, Result, Run
from tests.control.test_models import model_file
from tests.control.world import add_worker

pytestmark = pytest.mark.usefixtures("installation")

QUICK: dict[str, Any] = {"steps": [{"weight": 10}, {"weight": 100}]}
SLOW: dict[str, Any] = {"steps": [{"weight": 10, "hold": {"min_s": 3600}}, {"weight": 100}]}
DIGEST = hashlib.sha256(model_file()).hexdigest()


class Pipeline:
    """Deploys versions of `identity`, whose version a answers; b has a worker, too."""

    def __init__(self, run: Run, directory: Path) -> None:
        self.run = run
        self.file = directory / "model.onnx"
        self.file.write_bytes(model_file())
        self.plan = directory / "plan.yaml"
        self.summary = directory / "summary.md"
        self.use(QUICK)

    def use(self, plan: dict[str, Any]) -> None:
        self.plan.write_text(yaml.safe_dump(plan))

    def deploy(self, version: str, *options: str) -> Result:
        return self.run(
            "deploy", "identity", "--version", version, "--from", self.file, "--plan", self.plan,
            "--summary", self.summary, "--ready-s", "0.1", "--owner", "ana", *options,
        )  # fmt: skip

    def rollout(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("rollout", "status", "identity", "--json").out)
        return found


@pytest.fixture
def pipeline(run: Run, installation: Installation, tmp_path: Path) -> Pipeline:
    async def add(redis: Redis) -> None:
        for name in ("a", "b"):
            await add_worker(redis, name, model="identity", digest=DIGEST)

    made = Pipeline(run, tmp_path)
    assert run("model", "register", "identity", "--version", "a", "--from", made.file, "--no-wait").code == 0
    installation.call(add)
    assert run("route", "split", "identity", "a=100").code == 0
    return made


def test_a_version_is_registered_and_rolled_out_and_the_summary_says_all(pipeline: Pipeline) -> None:
    done = pipeline.deploy("b", "--wait", "--reason", "merge 7")
    assert done.code == 0, done.err
    assert "identity b: succeeded" in done.out
    summary = pipeline.summary.read_text()
    assert summary.startswith("# identity b: succeeded\n")
    for words in ("merge 7", DIGEST[:12], "ana", "all 2 steps passed", "| started |", "No gate has said"):
        assert words in summary


def test_a_dry_run_says_what_would_be_done_and_does_nothing(pipeline: Pipeline, run: Run) -> None:
    before = json.loads(run("audit", "log", "--json").out)
    new, old = (pipeline.deploy(version, "--dry-run") for version in ("b", "a"))
    assert new.out.startswith("dry run, nothing was changed: identity b would be registered"), new.err
    assert old.out.startswith("dry run, nothing was changed: identity a is registered already"), old.err
    assert "it answers all requests already" in old.out
    told = json.loads(pipeline.deploy("b", "--dry-run", "--json").out)
    assert (told["dry_run"], told["rollout"]["steps"]) == (True, ["weight 10 %", "weight 100 %"])
    assert json.loads(run("audit", "log", "--json").out) == before
    assert not pipeline.summary.exists()
    pipeline.use(SLOW)
    assert pipeline.deploy("b").code == 0
    assert "is this one already: running" in pipeline.deploy("b", "--dry-run").out
    pipeline.use(QUICK)
    assert "turnout rollout abort identity" in pipeline.deploy("b", "--dry-run").err


def test_a_new_version_gets_as_many_workers_as_the_one_that_it_replaces(
    pipeline: Pipeline, installation: Installation
) -> None:
    async def add(redis: Redis) -> None:
        for name in ("a", "b"):
            await add_worker(redis, name, model="identity", digest=DIGEST, port=10)

    installation.call(add)
    assert pipeline.run("pools", "scale", "identity", "a", 2).code == 0
    done = pipeline.deploy("b", "--wait")
    assert done.code == 0, done.err
    shown = json.loads(pipeline.run("model", "show", "identity", "b", "--json").out)
    assert shown["pool"]["wanted"] == 2
    pipeline.run("pools", "scale", "identity", "b", 1, "--no-wait")
    assert pipeline.deploy("b", "--wait").code == 0
    assert json.loads(pipeline.run("model", "show", "identity", "b", "--json").out)["pool"]["wanted"] == 1


def test_a_repeated_deployment_changes_nothing_and_ends_as_the_first(pipeline: Pipeline) -> None:
    assert pipeline.deploy("b", "--wait").code == 0
    first = pipeline.rollout()
    again = pipeline.deploy("b", "--wait")
    assert (again.code, "is this one already" in again.out) == (0, True)
    assert pipeline.rollout() == first
    pipeline.run("route", "split", "identity", "a=100")
    assert pipeline.deploy("b", "--wait").code == 0
    assert pipeline.rollout()["rollout_id"] != first["rollout_id"]


def test_a_rollout_that_goes_on_is_found_again_and_followed(pipeline: Pipeline) -> None:
    pipeline.use(SLOW)
    started = pipeline.deploy("b")
    assert (started.code, "identity b: running" in started.out) == (0, True)
    found = pipeline.rollout()["rollout_id"]
    assert pipeline.deploy("b").code == 0
    assert pipeline.rollout()["rollout_id"] == found
    pipeline.run("rollout", "promote", "identity")
    followed = pipeline.deploy("b", "--wait")
    assert (followed.code, found in followed.out) == (0, True)


def test_of_two_that_start_at_once_the_slower_follows_the_rollout_of_the_faster(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.use(SLOW)
    assert pipeline.deploy("b").code == 0
    known, looks = roll_out._known, []

    def not_yet(*wanted: Any) -> Any:
        looks.append(wanted)
        return None if len(looks) == 1 else known(*wanted)

    monkeypatch.setattr(roll_out, "_known", not_yet)
    slower = pipeline.deploy("b")
    assert (slower.code, len(looks)) == (0, 2), slower.err


def test_another_plan_or_candidate_meanwhile_is_a_conflict(pipeline: Pipeline) -> None:
    pipeline.use(SLOW)
    assert pipeline.deploy("b").code == 0
    pipeline.use(QUICK)
    refused = pipeline.deploy("b", "--wait")
    assert (refused.code, "is running already" in refused.err) == (4, True)
    assert pipeline.summary.read_text().startswith("# identity b: conflict\n")


def test_other_content_under_the_name_of_a_version_is_a_conflict(pipeline: Pipeline) -> None:
    assert pipeline.deploy("b", "--wait").code == 0
    pipeline.file.write_bytes(model_file(width=5))
    assert pipeline.deploy("b", "--wait").code == 4


def test_what_was_aborted_is_not_tried_again_by_itself(pipeline: Pipeline) -> None:
    pipeline.use(SLOW)
    pipeline.deploy("b")
    pipeline.run("rollout", "abort", "identity", "--reason", "no")
    first = pipeline.rollout()["rollout_id"]
    stopped = pipeline.deploy("b", "--wait")
    assert (stopped.code, "identity b: aborted" in stopped.err) == (1, True)
    assert pipeline.rollout()["rollout_id"] == first
    assert pipeline.deploy("b", "--again").code == 0
    assert pipeline.rollout()["rollout_id"] != first
    pipeline.run("rollout", "pause", "identity")
    assert pipeline.deploy("b", "--wait").code == 1


def test_a_refusal_by_policy_is_exit_code_3_and_in_the_summary(pipeline: Pipeline, tmp_path: Path) -> None:
    policy = tmp_path / "strict.yaml"
    policy.write_text("policy: strict\nanswers: [approved]\n")
    assert pipeline.run("policy", "apply", "-f", policy).code == 0
    refused = pipeline.deploy("b", "--wait")
    assert (refused.code, "strict.answers" in refused.err) == (3, True), refused.err
    assert "strict.answers" in pipeline.summary.read_text()


def test_a_version_without_a_worker_is_not_rolled_out(pipeline: Pipeline) -> None:
    failed = pipeline.deploy("c", "--wait")
    assert (failed.code, "no supervisor is running" in failed.err) == (1, True)
    assert "never had a rollout" in pipeline.run("rollout", "status", "identity").err


def test_a_model_without_a_route_is_not_rolled_out_and_told_how_to_get_one(pipeline: Pipeline) -> None:
    pipeline.run("route", "delete", "identity", "--yes")
    refused = pipeline.deploy("b", "--wait")
    assert (refused.code, "turnout route" in refused.err) == (2, True), refused.err


EXIT_CODES = {
    Phase.RUNNING: 0, Phase.SUCCEEDED: 0, Phase.ROLLED_BACK: 1, Phase.ABORTED: 1, Phase.FROZEN: 1,
    Phase.PAUSED: 1,
}  # fmt: skip


@pytest.mark.parametrize("phase", Phase)
def test_the_exit_code_of_every_phase(phase: Phase) -> None:
    code, words = deploy._ending({"phase": phase.value, "is_over": phase in ENDED})
    assert (code, words) == (EXIT_CODES[phase], phase.value.replace("_", " "))


def test_the_summary_has_every_verdict_with_its_numbers() -> None:
    fail = {"outcome": "FAIL", "sentence": "accuracy of 4 is at least 31.4 points worse"}
    hold = {"outcome": "HOLD", "sentence": "not decided: 12 labels"}
    event = {"at_ms": 0, "step": 1, "what": "rolled_back", "author": "rollout/r1", "sentence": "bad"}
    rollout = {
        "rollout_id": "r1", "baseline": "2", "candidate": "4", "author": "ci", "reason": "merge | 7",
        "started_ms": 0, "sentence": "a gate said FAIL", "is_over": True, "step": 1, "steps": [{}, {}],
        "events": [{**event, "verdicts": [fail]}], "progress": {"step": 1, "verdicts": [hold]},
    }  # fmt: skip
    text = markdown(deployed_page("digits", "4", "rolled back", rollout=rollout, versions=[]))
    for words in ("31.4 points worse", "| rolled back | rollout/r1 |", "merge \\| 7", "a gate said FAIL"):
        assert words in text
    assert "12 labels" not in text
    goes_on = {**rollout, "is_over": False}
    assert "12 labels" in markdown(deployed_page("digits", "4", "running", rollout=goes_on, versions=[]))


def test_what_answers_everything_already_needs_no_rollout(pipeline: Pipeline) -> None:
    done = pipeline.run(
        "deploy", "identity", "--version", "a", "--from", pipeline.file, "--plan", "fast", "--json", "--wait"
    )
    assert (done.code, json.loads(done.out)["rollout"]) == (0, None)


def test_without_control_the_exit_code_is_5_and_the_summary_says_so(pipeline: Pipeline) -> None:
    away = pipeline.deploy("b", "--control-url", "http://127.0.0.1:9")
    assert away.code == 5
    assert "unreachable" in pipeline.summary.read_text()


def test_wrong_use_is_told_before_anything_is_done(pipeline: Pipeline, tmp_path: Path) -> None:
    assert pipeline.deploy("b/c").code == 2
    assert pipeline.deploy("b", "--summary", str(tmp_path / "none" / "s.md")).code == 2
    pipeline.use({"steps": [{"weight": 10, "colour": "red"}]})
    assert pipeline.deploy("b").code == 2
    assert pipeline.run("model", "show", "identity", "b").code == 1
