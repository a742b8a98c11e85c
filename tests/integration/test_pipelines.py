"""The steps of the examples in `docs/pipelines.md`, run by bash against a real `turnout up`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.running import FREE_PORTS, ROOT, Up

PAGE = ROOT / "docs" / "pipelines.md"
PLAN = "steps: [{weight: 50}, {weight: 100}]\n"
GIT = ("git", "-c", "user.name=ana", "-c", "user.email=ana@example.org")


@dataclass(frozen=True, slots=True)
class Project:
    """A repository with a model, a plan and the exported installation."""

    directory: Path
    control_url: str

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """As a runner does: bash, ending at the first command that fails."""
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self.directory,
            env={
                **os.environ,
                "PATH": programs,
                "TURNOUT_CONTROL_URL": self.control_url,
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    def commit(self, model: Path) -> str:
        """The commit with this model in it."""
        shutil.copyfile(model, self.directory / "models" / "digits.onnx")
        script = "git add -A && git commit -qm 'Train digits' && git rev-parse HEAD"
        done = self.run(script.replace("git ", " ".join(GIT) + " "))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    directory = tmp_path_factory.mktemp("project")
    running = Up(directory / "data", "--demo", "--no-traffic", *FREE_PORTS)
    try:
        made = Project(directory / "repo", running.until_up().address("control"))
        for name in ("models", "plans"):
            (made.directory / name).mkdir(parents=True)
        (made.directory / "plans" / "digits.yaml").write_text(PLAN)
        assert made.run("git init -q").returncode == 0
        exported = made.run("turnout export --dir deploy")
        assert exported.returncode == 0, exported.stderr
        yield made
    finally:
        running.destroy()


def example(heading: str) -> dict[str, Any]:
    block = PAGE.read_text().partition(f"## {heading}\n")[2].partition("```yaml\n")[2].partition("```")[0]
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def model(version: str) -> Path:
    (found,) = (ROOT / "config" / "demo" / "models").rglob(f"digits*{version}*.onnx")
    return found


def sync(project: Project) -> None:
    """What the page asks for after a rollout: the folder in git says what is live."""
    assert project.run("turnout export --dir deploy").returncode == 0


def test_the_steps_of_github_actions_deploy_a_commit(project: Project) -> None:
    steps = [step["run"] for step in example("GitHub Actions")["jobs"]["deploy"]["steps"] if "run" in step]
    assert len(steps) == 2
    sha = project.commit(model("2"))
    summary = project.directory.parent / "step-summary.md"
    variables = {
        "GITHUB_SHA": sha, "GITHUB_WORKSPACE": str(project.directory), "GITHUB_STEP_SUMMARY": str(summary),
    }  # fmt: skip
    for step in (*steps, *steps):  # a job that is run again ends the same way, and takes nothing back
        done = project.run(step, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"# digits {sha[:12]}: succeeded" in summary.read_text()
    assert sha[:12] in project.run("turnout route list").stdout
    assert project.run("turnout diff --dir deploy").returncode == 2
    sync(project)
    assert project.run("turnout diff --dir deploy").returncode == 0


def test_the_steps_of_gitlab_deploy_a_commit_and_find_drift(project: Project) -> None:
    jobs = example("GitLab CI")
    sync(project)
    sha = project.commit(model("3"))
    variables = {
        "CI_COMMIT_SHA": sha, "CI_COMMIT_SHORT_SHA": sha[:8], "CI_PROJECT_DIR": str(project.directory),
    }  # fmt: skip
    for step in jobs["deploy"]["script"]:
        done = project.run(step, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"digits {sha[:8]}: succeeded" in (project.directory / "summary.md").read_text()
    (drift,) = jobs["drift"]["script"]
    found = project.run(drift, **variables)
    assert (found.returncode, "route digits was moved by a rollout" in found.stdout) == (2, True)
    sync(project)
    assert project.run(drift, **variables).returncode == 0
