"""`gateway.core.rollouts.plans`, and the templates that come with Turnout."""

from pathlib import Path

import pytest
import yaml

from gateway.contract.errors import CallerError
from gateway.contract.plan import LABELLED, Plan
from gateway.core.rollouts.plans import plan_for
from gateway.core.rollouts.rollout_route import share_of
from tests.core.rollouts.examples import begun, route

ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = sorted((ROOT / "config" / "rollouts").glob("*.yaml"))


def template(file: Path) -> Plan:
    return Plan.model_validate(yaml.safe_load(file.read_text()))


def test_there_are_the_templates_that_are_promised() -> None:
    promised = {"careful", "standard", "fast", "shadow-only", "blue-green", "demo", "demo-numbers"}
    assert {file.stem for file in TEMPLATES} == promised
    text = (ROOT / "docs" / "rollouts.md").read_text()
    for name in promised:
        assert f"`{name}`" in text


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.stem)
def test_a_template_is_valid_and_can_be_started(file: Path) -> None:
    found = template(file)
    assert found.description
    assert found.model is None
    rollout, at, _ = begun(plan_for(found, model="digits", candidate="4"))
    assert rollout.baseline == "2"
    assert share_of(at, "4") == 0, "a template begins without answers of the candidate"


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.stem)
def test_a_step_that_moves_something_is_gated_and_cannot_wait_for_ever(file: Path) -> None:
    found = template(file)
    for step in found.steps:
        if step.pause is None and step.shadow != 0:
            assert found.gates + step.gates
            assert step.hold.max_s is not None


def test_gates_on_labels_that_may_not_exist_do_not_block_where_the_template_says_so() -> None:
    for name in ("standard", "fast", "blue-green"):
        found = template(ROOT / "config" / "rollouts" / f"{name}.yaml")
        assert not any(gate.blocks for gate in found.gates if gate.metric in LABELLED)


def test_a_plan_keeps_what_the_template_says_and_refuses_a_candidate_that_is_the_baseline() -> None:
    found = Plan.model_validate({"steps": [{"weight": 5}], "on_fail": "freeze", "baseline": "1"})
    made = plan_for(found, model="digits", candidate="4")
    assert (made.model, made.candidate, made.baseline, made.on_fail) == ("digits", "4", "1", "freeze")
    with pytest.raises(CallerError, match="same version"):
        plan_for(found, model="digits", candidate="1")
    assert begun(plan_for(found, model="digits", candidate="4", baseline="2"), present=route())
