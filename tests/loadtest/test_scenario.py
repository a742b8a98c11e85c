"""Scenario files: the ones that come with Turnout are right, and mistakes are told."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.cli.folder.files import read_documents
from gateway.loadtest.scenario import Scenario
from gateway.loadtest.thresholds import parse

FILES = sorted((Path(__file__).resolve().parents[2] / "config" / "loadtests").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_scenario_of_the_folder_is_right(file: Path) -> None:
    (document,) = read_documents(str(file))
    scenario = Scenario.model_validate(document)
    assert scenario.description
    assert [parse(text) for text in scenario.fail_if]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"phases": []}, "at least 1"),
        ({"phases": [{"for_s": 1}]}, "either `at`"),
        ({"phases": [{"for_s": 1, "at": 1, "to": 2}]}, "either `at`"),
        ({"phases": [{"for_s": 1, "from": 1}]}, "either `at`"),
        ({"phases": [{"for_s": 0, "at": 1}]}, "greater than 0"),
        ({"phases": [{"for_s": 1, "at": 0}]}, "nothing would be sent"),
        ({"phases": [{"for_s": 1, "at": 20_000}], "loop": "closed"}, "at most 10000 users"),
        ({"phases": [{"for_s": 1, "at": 1}], "rate": 3}, "Extra inputs"),
        ({"phases": [{"for_s": 1, "at": 1}], "max_in_flight": 901}, "equal to 900"),  # select(2) ends at 1024
    ],
)
def test_a_wrong_scenario_says_what_is_wrong(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Scenario.model_validate(wrong)
