"""`turnout audit report`: what somebody who answers for a model shows to others."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from gateway.cli.words import commit_words
from gateway.contract import keys
from tests.cli.conftest import Installation, Run

pytestmark = pytest.mark.usefixtures("installation")


@pytest.fixture
def lived(installation: Installation, run: Run, tmp_path: Path) -> None:
    """A version approved, a rollout aborted, a route forced against a policy."""
    run("route", "split", "digits", "1=100", "--reason", "first")
    shown = run("model", "dossier", "digits", "2").out
    approved = run(
        "model", "approve", "digits", "2", "--note", "seen", "--hash", shown.rsplit("--hash ", 1)[1].strip()
    )
    assert approved.code == 0, approved.err
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump({"steps": [{"weight": 10, "hold": {"min_s": 3600}}, {"weight": 100}]}))
    assert run("rollout", "start", "digits", "--to", "2", "--plan", plan, "--reason", "merge 7").code == 0
    assert run("rollout", "abort", "digits", "--reason", "too slow").code == 0
    policy = tmp_path / "strict.yaml"
    policy.write_text("policy: strict\nanswers: [approved]\n")
    assert run("policy", "apply", "-f", policy).code == 0
    forced = run("route", "split", "digits", "3=100", "--force", "--reason", "incident <7>")
    assert forced.code == 0, forced.err


@pytest.mark.usefixtures("lived")
def test_a_report_tells_versions_approvals_traffic_rollouts_and_overrides(run: Run) -> None:
    done = run("audit", "report", "digits")
    assert done.code == 0, done.err
    dossier = json.loads(run("model", "standing", "digits", "--json").out)["versions"][1]["approvals"][0]
    for words in (
        "# Report on digits", dossier["dossier"], "seen", "merge 7", "too slow", "aborted",
        "incident &lt;7&gt;", "strict.answers", "1=90 2=10", "3=100", "standing/digits/2", "Yes: ",
    ):  # fmt: skip
        assert words in done.out, words
    overrides = done.out.partition("## Overrides")[2].partition("## ")[0]
    assert "merge 7" not in overrides


@pytest.mark.usefixtures("lived")
@pytest.mark.parametrize("has_matplotlib", [True, False])
def test_html_is_one_file_with_a_plot_where_that_is_possible(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_matplotlib: bool
) -> None:
    if not has_matplotlib:
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    out = tmp_path / "report.html"
    assert run("audit", "report", "digits", "--since", "1h", "--out", out).code == 0
    text = out.read_text()
    assert ("data:image/svg+xml;base64," in text) is has_matplotlib
    assert "incident &lt;7&gt;" in text
    assert "<td>1=90 2=10</td>" in text


def test_an_audit_that_is_not_whole_is_said_and_exit_code_1(
    run: Run, installation: Installation, tmp_path: Path
) -> None:
    run("route", "split", "digits", "1=100")
    run("route", "split", "digits", "2=100")

    async def forge(redis: Redis) -> None:
        entries: Any = await redis.xrange(keys.AUDIT, count=1)
        await redis.xdel(keys.AUDIT, entries[0][0])

    installation.call(forge)
    out = tmp_path / "report.md"
    done = run("audit", "report", "digits", "--out", out)
    assert (done.code, "not whole" in done.err) == (1, True)
    assert "\nNO.\n" in out.read_text()


def test_a_model_that_never_had_a_route_has_a_report_too(run: Run) -> None:
    done = run("audit", "report", "digits", "--json")
    assert done.code == 0, done.err
    assert "There was no route." in json.loads(done.out)["markdown"]
    assert run("audit", "report", "nobody").code == 1


def test_a_key_for_one_model_gets_a_report_without_verification(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNOUT_KEY", run("key", "create", "root", "--role", "admin").out.strip())
    run("route", "split", "digits", "1=100")
    viewer = run("key", "create", "eve", "--role", "viewer", "--models", "digits").out.strip()
    done = run("audit", "report", "digits", "--key", viewer)
    assert done.code == 0, done.err
    assert "made for eve" in done.out
    assert "Not verified: that needs a key for all models." in done.out


def test_wrong_use_is_told(run: Run, tmp_path: Path) -> None:
    assert run("audit", "report", "digits", "--out", tmp_path / "report.pdf").code == 2
    assert run("audit", "report", "digits", "--since", "ever").code == 2
    assert run("audit", "report", "digits", "--out", tmp_path / "none" / "report.md").code == 2


@pytest.mark.parametrize(
    ("clean", "told"),
    [(True, "c0c0c0c0c0c0"), (None, "c0c0c0c0c0c0"), (False, "c0c0c0c0c0c0 with changed files")],
)
def test_a_commit_is_told_with_what_had_changed_since(clean: bool | None, told: str) -> None:
    assert commit_words({"git_commit": "c0" * 20, "git_clean": clean}) == told
    assert commit_words({"git_commit": "", "git_clean": clean}) == ""
