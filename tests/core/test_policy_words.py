"""Every rule that a policy can have is told in a sentence of its own."""

import pytest
import yaml

from gateway.contract.policy import Policy
from gateway.core.policy_words import rules_of
from gateway.settings import config_dir

EVERYTHING = """
policy: strict
answers: [approved]
requires:
  owner: true
  lineage: [git_commit]
  tags: [team]
  metrics: [{name: accuracy, at_least: 0.9, at_most: 1}]
approvals: {count: 2, role: approver}
aliases: [{names: [champion], states: [approved], approvals: {}}]
freezes:
  - {name: friday, from_day: fri, from_time: "16:00", to_day: mon, zone: Europe/Zurich}
largest_step: 25
min_shadow_s: 600
retention: {records_days: 30, records_min_days: 7, artefacts_days: 365}
override: null
"""


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("answers", "a version answers only while it is approved"),
        ("requires", "it was registered with owner, lineage git_commit, tag team"),
        ("metrics", "its registered accuracy is at least 0.9 and at most 1"),
        (
            "approvals",
            "2 people of role approver approved it, never its author, for the plan and evidence of now",
        ),
        ("aliases.states", "an alias champion names only what is approved"),
        ("freezes", "nothing moves every week from fri 16:00 to mon 00:00, Europe/Zurich (friday)"),
        ("largest_step", "a version gains at most 25 points of weight at once"),
        ("min_shadow_s", "a plan shadows for 600 s before the candidate answers"),
        ("retention", "a version that ended stays registered for 365 days"),
        ("override", "nobody may force a change"),
    ],
)
def test_a_rule_is_told(rule: str, sentence: str) -> None:
    policy = Policy.model_validate(yaml.safe_load(EVERYTHING))
    assert (rule, sentence) in list(rules_of(policy))


def test_the_policy_to_start_from_has_a_sentence_for_each_field_that_it_sets() -> None:
    document = yaml.safe_load((config_dir() / "policies" / "production.yaml").read_text())
    told = {rule.partition(".")[0] for rule, _ in rules_of(Policy.model_validate(document))}
    assert document.keys() - {"policy", "description", "models"} <= told
