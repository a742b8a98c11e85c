"""The table of targets says what was reached, what was missed, and what was never measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadtests import targets


def line(scenario: str, system: str, ratio: float) -> dict[str, Any]:
    return {"scenario": scenario, "system": system, "turnout_ratio": ratio}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(targets, "RESULTS", tmp_path)
    return tmp_path


def write(path: Path, at: str, summary: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps({"machine": {"at": at}, "summary": summary}))


def test_the_newest_result_counts_and_a_missed_target_is_said(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        results / "proxy-kept.json", "2026-01-02", [line("split", "nginx", 1.6), line("split", "envoy", 0.5)]
    )
    write(results / "proxy-old.local.json", "2026-01-01", [line("split", "nginx", 9.0)])
    targets.main()
    told = capsys.readouterr().out.splitlines()
    assert told[1].split()[-4:] == ["1.5", "1.6", "×", "MISSED"]
    assert told[2].split()[-3:] == ["0.8", "0.5", "×"]
    assert told[3].endswith("left out of the last run")  # Traefik
    assert "not measured: scripts/bench shadow" in told[4]


def test_broken_promises_are_listed(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    promises = [{"promise": "nothing is lost", "kept": False}, {"promise": "p99 holds", "kept": True}]
    (results / "promises-1.json").write_text(json.dumps({"machine": {"at": "1"}, "promises": promises}))
    targets.main()
    assert capsys.readouterr().out.splitlines()[-2:] == ["BROKEN: nothing is lost", "kept: p99 holds"]
