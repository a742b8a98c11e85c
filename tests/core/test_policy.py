"""`gateway.core.policy`: which rules would a change break?"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.contract.access import Role
from gateway.contract.plan import Plan
from gateway.contract.policy import Freeze, Policy
from gateway.contract.route import Route
from gateway.contract.standing import NEXT, Approval, Standing, State
from gateway.contract.version import Version
from gateway.core.dossier import dossier, dossier_hash
from gateway.core.freeze import is_frozen
from gateway.core.policy import ModelFacts, judge_alias, judge_change, judge_plan
from tests.core.test_check import route, version

NOW = datetime(2026, 5, 6, 12, 0, tzinfo=UTC)  # a Wednesday


def policy(**fields: Any) -> Policy:
    return Policy.model_validate({"policy": "production", **fields})


def known(*standings: Standing, versions: tuple[Version, ...] = (), **dossiers: str) -> ModelFacts:
    return ModelFacts(
        versions={item.version: item for item in versions or (version("1"), version("2"))},
        standings={item.version: item for item in standings},
        authors={"1": "ann", "2": "ann"},
        dossiers={"1": "a" * 64, "2": "b" * 64} | dossiers,
    )


def standing(name: str, state: State = State.REGISTERED, **fields: Any) -> Standing:
    return Standing.model_validate({"model": "digits", "version": name, "state": state, **fields})


def approval(by: str, *, role: str = "approver", seen: str = "b" * 64) -> Approval:
    return Approval(by=by, role=Role(role), dossier=seen, at_ms=1)


def rules(
    rule: Policy,
    after: Route,
    *,
    before: Route | None = None,
    of: ModelFacts | None = None,
    now: datetime = NOW,
    is_return: bool = False,
) -> list[str]:
    found = judge_change(
        [rule], before=before, after=after, known=of or known(), now=now, is_return=is_return
    )
    return [item.rule for item in found]


OLD = route(("1", 100))
NEW = route(("1", 90), ("2", 10))


def test_an_empty_policy_allows_everything_but_dead_versions() -> None:
    assert rules(policy(), NEW, before=OLD) == []
    for state in (State.RETIRED, State.REJECTED, State.QUARANTINED):
        assert rules(policy(), NEW, before=OLD, of=known(standing("2", state))) == ["state"]


def test_a_dead_version_is_refused_with_its_successor_and_nobody_may_force_it() -> None:
    found = judge_change(
        [], before=OLD, after=NEW, known=known(standing("2", State.RETIRED, successor="3")), now=NOW
    )
    assert "use its successor 3" in found[0].sentence
    assert found[0].override is None


def test_a_policy_is_only_about_the_models_that_its_patterns_match() -> None:
    strict = {"answers": ["approved"]}
    assert rules(policy(models=["dig*"], **strict), NEW, before=OLD) == ["production.answers"]
    assert rules(policy(models=["fraud-*"], **strict), NEW, before=OLD) == []


def test_states_are_asked_of_versions_that_gain_traffic_and_not_of_those_that_lose_it() -> None:
    strict = policy(answers=["approved"])
    assert rules(strict, NEW, before=OLD) == ["production.answers"]
    assert rules(strict, route(("1", 100)), before=route(("1", 90), ("2", 10)), of=known(
        standing("1", State.APPROVED)
    )) == []  # fmt: skip


def test_a_shadow_may_have_states_that_an_answer_may_not() -> None:
    rule = policy(answers=["approved"], copies=["registered", "approved"])
    assert rules(rule, route(("1", 100), shadows=[{"version": "2"}]), before=OLD) == []


def test_missing_owner_tags_and_metrics_are_all_told() -> None:
    rule = policy(
        requires={"owner": True, "tags": ["team"], "metrics": [{"name": "accuracy", "at_least": 0.9}]}
    )
    assert rules(rule, NEW, before=OLD) == ["production.requires", "production.metrics"]
    good = version("2").model_copy(
        update={"owner": "ann", "tags": {"team": "x"}, "metrics": {"accuracy": 0.95}}
    )
    assert rules(rule, NEW, before=OLD, of=known(versions=(version("1"), good))) == []


@pytest.mark.parametrize("value", [0.8, float("nan")])
def test_a_metric_below_its_bound_or_not_a_number_is_refused(value: float) -> None:
    rule = policy(requires={"metrics": [{"name": "accuracy", "at_least": 0.9}]})
    bad = version("2").model_copy(update={"metrics": {"accuracy": value}})
    assert rules(rule, NEW, before=OLD, of=known(versions=(version("1"), bad))) == ["production.metrics"]


def test_an_approval_needs_another_person_the_role_and_the_same_dossier() -> None:
    rule = policy(approvals={"count": 1})
    for given, is_enough in (
        (approval("bob"), True),
        (approval("ann"), False),  # the author
        (approval("bob", role="operator"), False),
        (approval("bob", seen="c" * 64), False),  # lapsed
        (approval("eve", role="admin"), True),
    ):
        found = rules(rule, NEW, before=OLD, of=known(standing("2", approvals=[given])))
        assert found == ([] if is_enough else ["production.approvals"]), given


def test_two_approvals_of_one_person_count_once() -> None:
    rule = policy(approvals={"count": 2})
    twice = known(standing("2", approvals=[approval("bob"), approval("bob")]))
    assert rules(rule, NEW, before=OLD, of=twice) == ["production.approvals"]


def test_a_lapsed_approval_is_told_with_its_approver() -> None:
    lapsed = known(standing("2", approvals=[approval("bob", seen="c" * 64)]))
    found = judge_change([policy(approvals={})], before=OLD, after=NEW, known=lapsed, now=NOW)
    assert "what bob approved has changed since" in str(found[0])


def test_a_freeze_stops_what_gains_traffic_and_never_a_return() -> None:
    rule = policy(freezes=[{"name": "midweek", "from_day": "wed", "to_day": "thu"}])
    assert rules(rule, NEW, before=OLD) == ["production.freezes"]
    assert rules(rule, NEW, before=OLD, now=NOW + timedelta(days=1)) == []
    assert rules(rule, OLD, before=NEW, is_return=True) == []


def test_a_weekly_freeze_keeps_its_local_time_over_summer_time() -> None:
    weekend = Freeze(name="weekend", from_day="fri", from_time="18:00", to_day="mon", to_time="06:00",
                     zone="Europe/Zurich")  # fmt: skip
    assert not is_frozen(weekend, datetime(2026, 3, 27, 16, 59, tzinfo=UTC))  # 17:59, winter time
    assert is_frozen(weekend, datetime(2026, 3, 27, 17, 0, tzinfo=UTC))
    assert is_frozen(weekend, datetime(2026, 3, 30, 3, 59, tzinfo=UTC))  # 05:59, summer time
    assert not is_frozen(weekend, datetime(2026, 3, 30, 4, 0, tzinfo=UTC))


def test_a_step_larger_than_allowed_is_refused() -> None:
    rule = policy(largest_step=10)
    assert rules(rule, NEW, before=OLD) == []
    assert rules(rule, route(("1", 80), ("2", 20)), before=OLD) == ["production.largest_step"]


def test_longer_retention_than_allowed_is_refused_and_shorter_is_not() -> None:
    rule = policy(retention={"records_days": 7})
    long = route(("1", 100), record={"ttl_s": 8 * 86_400})
    assert rules(rule, long, before=OLD) == ["production.retention"]
    assert rules(rule, OLD, before=long) == []


def plan(*steps: dict[str, Any]) -> Plan:
    return Plan.model_validate({"model": "digits", "candidate": "2", "steps": list(steps)})


def test_a_plan_is_judged_whole() -> None:
    rule = policy(largest_step=50, min_shadow_s=60)
    found = judge_plan([rule], plan({"weight": 10}, {"cutover": {}}), known=known(), now=NOW)
    assert [item.rule for item in found] == ["production.min_shadow_s", "production.largest_step"]
    good = plan({"shadow": 100, "hold": {"min_s": 60}}, {"weight": 50}, {"weight": 100})
    assert judge_plan([rule], good, known=known(), now=NOW) == ()


def test_a_shadow_only_plan_needs_no_approval() -> None:
    rule = policy(approvals={"count": 1}, answers=["approved"])
    assert judge_plan([rule], plan({"shadow": 100}), known=known(), now=NOW) == ()


def test_a_dossier_changes_with_the_plan_and_the_version_and_with_nothing_else() -> None:
    first = dossier_hash(dossier(version("2"), None, ()))
    assert first == dossier_hash(dossier(version("2"), None, ()))
    assert first != dossier_hash(dossier(version("2"), plan({"weight": 10}), ()))
    assert first != dossier_hash(dossier(version("2").model_copy(update={"owner": "eve"}), None, ()))


@pytest.mark.parametrize(
    "document",
    [
        {"answers": []},
        {"answers": ["retired"]},
        {"freezes": [{"name": "a", "from_day": "fri"}]},
        {"freezes": [{"name": "a", "from_day": "fri", "to_day": "mon", "zone": "Mars/Olympus"}]},
        {"unknown": 1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        policy(**document)


def test_every_state_can_be_left() -> None:
    assert set(NEXT) == set(State)
    assert all(NEXT.values())


ALIASES = [{"names": ["champion"], "states": ["approved"], "approvals": {"count": 1}}]


def alias_rules(
    rule: Policy, alias: str = "champion", *, of: ModelFacts, is_return: bool = False
) -> list[str]:
    found = judge_alias(
        [rule], model="digits", alias=alias, version="2", known=of, now=NOW, is_return=is_return
    )
    return [item.rule for item in found]


def test_an_alias_names_only_what_its_rule_allows() -> None:
    rule = policy(aliases=ALIASES)
    assert alias_rules(rule, of=known()) == ["production.aliases.states", "production.aliases.approvals"]
    assert alias_rules(rule, "staging", of=known()) == []
    let_in = known(standing("2", State.APPROVED, approvals=(approval("bob"),)))
    assert alias_rules(rule, of=let_in) == []
    lapsed = known(standing("2", State.APPROVED, approvals=(approval("bob", seen="c" * 64),)))
    assert alias_rules(rule, of=lapsed) == ["production.aliases.approvals"]


def test_a_policy_without_rules_for_aliases_freezes_none() -> None:
    freezes = [{"name": "now", "begins": NOW - timedelta(hours=1), "ends": NOW + timedelta(hours=1)}]
    assert alias_rules(policy(freezes=freezes), of=known()) == []
    assert alias_rules(policy(freezes=freezes, aliases=[{}]), of=known()) == ["production.freezes"]


def test_an_alias_moves_back_always_but_never_to_a_dead_version() -> None:
    assert alias_rules(policy(aliases=ALIASES), of=known(), is_return=True) == []
    dead = known(standing("2", State.QUARANTINED))
    assert alias_rules(policy(), of=dead, is_return=True) == ["state"]
