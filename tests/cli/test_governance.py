"""`turnout policy` and the states of versions, by hand."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("installation")
POLICY = """policy: strict
answers: [approved]
approvals: {count: 1}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "strict.yaml"
    file.write_text(POLICY)
    return file


def test_a_refusal_names_the_rule_and_how_to_override_it(run: Run, policy: Path) -> None:
    assert run("policy", "apply", "-f", policy).code == 0
    refused = run("route", "split", "digits", "1=100")
    assert refused.code == 3
    assert "strict.answers" in refused.err
    assert "--reason" in refused.err
    forced = run("route", "split", "digits", "1=100", "--force", "--reason", "incident 7")
    assert forced.code == 0, forced.err
    assert "overridden" in forced.err


def test_a_version_is_approved_by_the_hash_that_the_dossier_shows(run: Run, policy: Path) -> None:
    run("policy", "apply", "-f", policy)
    shown = run("model", "dossier", "digits", "2").out
    approved = run("model", "approve", "digits", "2", "--hash", shown.rsplit("--hash ", 1)[1].strip())
    assert approved.code == 0, approved.err
    assert "2 is approved" in approved.out
    assert run("route", "split", "digits", "2=100").code == 0
    assert "approved" in run("model", "standing", "digits").out


def test_a_hash_of_something_else_is_refused(run: Run) -> None:
    refused = run("model", "approve", "digits", "2", "--hash", "0" * 12)
    assert refused.code == 3
    assert "has changed since you looked, or the plan is another" in refused.err


def test_a_check_says_what_policy_would_say(run: Run, policy: Path, tmp_path: Path) -> None:
    run("policy", "apply", "-f", policy)
    wish = tmp_path / "route.yaml"
    wish.write_text("model: digits\nsplit: [{version: 1, weight: 100}]\n")
    checked = run("policy", "check", "-f", wish)
    assert checked.code == 3
    assert "strict.approvals" in checked.err
    run("policy", "rm", "strict", "--yes")
    assert run("policy", "check", "-f", wish).code == 0


def test_a_deprecated_version_has_an_end_and_a_successor(run: Run) -> None:
    shown = run("model", "dossier", "digits", "1").out
    run("model", "approve", "digits", "1", "--hash", shown.rsplit("--hash ", 1)[1].strip())
    assert run("model", "deprecate", "digits", "1", "--successor", "2", "--sunset", "2099-01-02").code == 0
    table = run("model", "standing", "digits").out
    assert "deprecated" in table
    assert "2099-01-02" in table


def test_a_date_that_is_none_is_wrong_use(run: Run) -> None:
    assert run("model", "deprecate", "digits", "1", "--sunset", "soon").code == 2


def test_explaining_tells_each_rule_and_what_stands_against_a_version(run: Run, policy: Path) -> None:
    assert "no policy is about digits" in run("policy", "explain", "digits").out
    run("policy", "apply", "-f", policy)
    told = run("policy", "explain", "digits", "2")
    assert told.code == 3
    assert "a version answers only while it is approved" in told.out
    assert "one person of role approver approved it, never its author" in told.out
    assert "[strict.answers]" in told.err
    assert "[strict.approvals]" in told.err
    shown = run("model", "dossier", "digits", "2").out
    run("model", "approve", "digits", "2", "--hash", shown.rsplit("--hash ", 1)[1].strip())
    settled = run("policy", "explain", "digits", "2")
    assert (settled.code, "nothing stands against digits 2" in settled.out) == (0, True), settled
    assert run("policy", "explain", "digits", "none").code == 1
