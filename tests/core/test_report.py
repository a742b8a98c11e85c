"""`gateway.core.report`: values in, a page out."""

from dataclasses import replace

import pytest

from gateway.core.page import markdown
from gateway.core.report import (
    ApprovalSaid,
    Entry,
    EventSaid,
    Live,
    Report,
    RolloutSaid,
    VersionSaid,
    mean_shares,
    page_of,
)

VERSION = VersionSaid(
    version="2", digest="ab" * 32, owner="ana", source="models/2.onnx", commit="c0c0c0c0c0c0", run_id="run-7",
    data_digest="d5", by="ci", at_ms=5, state="approved", state_by="bo", state_reason="", sunset="",
)  # fmt: skip
FAILED = EventSaid(
    30, 1, "rolled_back", "rollout/r1", "a gate said FAIL",
    (("FAIL", "accuracy is 5 points worse"), ("PASS", "errors are fine")),
)  # fmt: skip
ROLLOUT = RolloutSaid(
    "r1", "1", "2", "rolled back", "a gate said FAIL", "ci", "merge 7", 20,
    (EventSaid(20, 0, "started", "ci", "2 against 1", ()), FAILED),
)  # fmt: skip
REPORT = Report(
    model="digits", since_ms=0, until_ms=100, asked_by="eve", versions=(VERSION,),
    approvals=(ApprovalSaid("2", "bo", "approver", 9, "ee" * 32, "seen"),),
    decisions=(Entry(4, 9, "bo", "approve 2", "", ("standing/digits/2",)),),
    live=(Live(0, 3, "ana", "first", (("1", 100.0),), ("3=20",), ("beta: x = y => 2=100",)),
          Live(50, 8, "rollout/r1", "", (("1", 90.0), ("2", 10.0)), (), ())),
    rollouts=(ROLLOUT,), overrides=(Entry(7, 40, "root", "incident 7", "strict.answers", ("route/digits",)),),
    chain=("Yes: whole.",),
)  # fmt: skip


def told(report: Report) -> str:
    return markdown(page_of(report, lambda at_ms: f"t{at_ms}"))


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_question_of_an_auditor_has_its_section() -> None:
    text = told(REPORT)
    for title, words in (
        ("Versions", ("ana", "abababababab", "c0c0c0c0c0c0", "run-7", "ci, t5", "approved, by bo")),
        ("Approvals", ("bo", "approver", "t9", "ee" * 32, "seen")),
        ("Decisions about versions", ("approve 2", "standing/digits/2")),
        ("Traffic shares over time", ("1=100", "1=90 2=10", "3=20", "beta: x = y =&gt; 2=100", "t50")),
        ("Rollouts and verdicts", ("merge 7", "accuracy is 5 points worse", "errors are fine")),
        ("Overrides", ("incident 7", "strict.answers")),
        ("Incidents", ("rolled back", "accuracy is 5 points worse")),
        ("Is the audit whole?", ("Yes: whole.",)),
    ):
        for word in words:
            assert word in section(text, title), (title, word)


def test_what_passed_is_no_incident() -> None:
    assert "errors are fine" not in section(told(REPORT), "Incidents")
    calm = replace(REPORT, rollouts=(replace(ROLLOUT, events=ROLLOUT.events[:1]),))
    assert "No rollout failed" in section(told(calm), "Incidents")


def test_a_model_without_any_history_says_so_everywhere() -> None:
    bare = replace(REPORT, versions=(), approvals=(), decisions=(), live=(), rollouts=(), overrides=())
    text = told(bare)
    assert section(text, "Approvals").strip() == "No version is approved."
    assert section(text, "Overrides").strip() == "Nothing was forced."
    assert section(text, "Traffic shares over time").strip() == "There was no route."


def test_mean_shares_weigh_each_form_by_the_time_it_was_live() -> None:
    assert mean_shares(REPORT.live, since_ms=0, until_ms=100) == pytest.approx({"1": 95.0, "2": 5.0})
    # What was live before the time counts from its beginning; a deleted route is nobody's.
    live = (*REPORT.live, Live(75, 9, "ana", "", (), (), ()))
    assert mean_shares(live, since_ms=25, until_ms=125) == pytest.approx({"1": 47.5, "2": 2.5})
    assert mean_shares((), since_ms=0, until_ms=0) == {}
