"""Which rules would a change break? Every one of them, with the rule's name and what to do.

Pure: the control API reads the policies, versions and standings, and asks here before every commit of a
route, before a rollout starts and before an alias moves. Taking traffic away is never refused, and of a
rollback only what would bring a dead version back: a rule that stands in the way of a rollback does harm.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import AwareDatetime

from gateway.contract.access import Role
from gateway.contract.plan import Plan
from gateway.contract.policy import AliasRule, Approvals, Policy
from gateway.contract.route import Route
from gateway.contract.standing import Standing, State
from gateway.contract.version import Version
from gateway.core.broken import Broken, broken
from gateway.core.check import shares
from gateway.core.freeze import is_frozen
from gateway.core.retention import judge_records

_DEAD = frozenset({State.RETIRED, State.REJECTED, State.QUARANTINED})


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model's versions. `dossiers` are the hashes of what an approver would see now."""

    versions: Mapping[str, Version]
    standings: Mapping[str, Standing]
    authors: Mapping[str, str]  # version -> who registered it
    dossiers: Mapping[str, str]

    def state(self, version: str) -> State:
        standing = self.standings.get(version)
        return State.REGISTERED if standing is None else standing.state


def judge_change(
    policies: Sequence[Policy],
    *,
    before: Route | None,
    after: Route,
    known: ModelFacts,
    now: AwareDatetime,
    is_return: bool = False,
) -> tuple[Broken, ...]:
    """`is_return`: the route was like this before (a rollback, a switch back), so only a dead version is
    refused. Steps of a rollout are not judged here: their plan was, when it started."""
    gained = _gained(before, after)
    copied = {shadow.version for shadow in after.shadows} - _shadows(before)
    found = [*_dead(gained, copied, known, after.model)]
    for policy in () if is_return else policies:
        if not policy.is_about(after.model):
            continue
        found += _states(policy, gained, copied, known)
        found += _requirements(policy, gained, known)
        found += _approvals(policy, gained, known)
        if gained or copied:
            found += _freezes(policy, now)
        found += _steps(policy, before, after, gained)
        found += judge_records(policy, before, after)
    return tuple(found)


def judge_plan(
    policies: Sequence[Policy], plan: Plan, *, known: ModelFacts, now: AwareDatetime
) -> tuple[Broken, ...]:
    """Of a whole plan, before its first step: `plan.model` and `plan.candidate` are set."""
    assert plan.model is not None
    assert plan.candidate is not None
    candidate = {plan.candidate}
    answers = any(step.weight or step.cutover for step in plan.steps)
    copied = {plan.candidate} if any(step.shadow for step in plan.steps) else set()
    gained = candidate if answers else set()
    found = [*_dead(gained, copied, known, plan.model)]
    for policy in policies:
        if not policy.is_about(plan.model):
            continue
        found += _states(policy, gained, copied, known)
        found += _requirements(policy, gained, known)
        found += _approvals(policy, gained, known)
        found += _freezes(policy, now)
        found += _plan_steps(policy, plan)
    return tuple(found)


def judge_alias(
    policies: Sequence[Policy],
    *,
    model: str,
    alias: str,
    version: str,
    known: ModelFacts,
    now: AwareDatetime,
    is_return: bool = False,
) -> tuple[Broken, ...]:
    """Of an alias that shall name this version. `is_return`: it named it just before, so only a dead version
    is refused. A removal is not judged: it moves nobody."""
    found = [*_dead({version}, set(), known, model)]
    for policy in () if is_return else policies:
        rules = [rule for rule in policy.aliases if rule.is_about(alias)] if policy.is_about(model) else []
        for rule in rules:
            found += _alias_rule(policy, rule, alias, version, known)
        if rules:
            found += _freezes(policy, now)
    return tuple(found)


def _alias_rule(
    policy: Policy, rule: AliasRule, alias: str, version: str, known: ModelFacts
) -> Iterator[Broken]:
    state = known.state(version)
    if state not in rule.states and state not in _DEAD:
        names = ", ".join(item.value for item in rule.states)
        said = f"version {version} is {state.value}; what {alias} names must be one of: {names}"
        yield broken(policy, "aliases.states", said)
    is_enough, missing = is_approved(rule.approvals, version, known)
    if not is_enough:
        yield broken(policy, "aliases.approvals", f"version {version} has {missing}, which {alias} asks for")


def is_approved(wanted: Approvals | None, version: str, known: ModelFacts) -> tuple[bool, str]:
    """And what is missing, in words."""
    if wanted is None:
        return True, ""
    standing = known.standings.get(version)
    given = () if standing is None else standing.approvals
    fitting = [
        approval
        for approval in given
        if approval.role.includes(Role(wanted.role)) and approval.by != known.authors.get(version)
    ]
    valid = {approval.by for approval in fitting if approval.dossier == known.dossiers.get(version)}
    if len(valid) >= wanted.count:
        return True, ""
    lapsed = sorted({approval.by for approval in fitting} - valid)
    said = f" (what {', '.join(lapsed)} approved has changed since)" if lapsed else ""
    return False, f"{len(valid)} of {wanted.count} approvals by role {wanted.role}{said}"


def _gained(before: Route | None, after: Route) -> set[str]:
    """Versions that shall answer more than before, somewhere."""
    had = shares(before)
    return {
        version for (place, version), share in shares(after).items() if share > had.get((place, version), 0.0)
    }


def _shadows(route: Route | None) -> set[str]:
    return set() if route is None else {shadow.version for shadow in route.shadows}


def _dead(gained: set[str], copied: set[str], known: ModelFacts, model: str) -> Iterator[Broken]:
    """Not policy: such a version answers nobody, and no force helps."""
    for version in sorted(gained | copied):
        standing = known.standings.get(version)
        if standing is not None and standing.state in _DEAD:
            instead = f"; use its successor {standing.successor}" if standing.successor else ""
            why = f" ({standing.reason})" if standing.reason else ""
            yield Broken(
                "state",
                f"version {version} of {model} is {standing.state.value}{why}{instead}",
                override=None,
            )


def _states(policy: Policy, gained: set[str], copied: set[str], known: ModelFacts) -> Iterator[Broken]:
    for rule, versions, allowed in (("answers", gained, policy.answers), ("copies", copied, policy.copies)):
        for version in sorted(versions):
            state = known.state(version)
            if state not in allowed and state not in _DEAD:
                names = ", ".join(item.value for item in allowed)
                act = "answer" if rule == "answers" else "be a shadow"
                yield broken(
                    policy, rule, f"version {version} is {state.value}; to {act} it must be one of: {names}"
                )


def _requirements(policy: Policy, gained: set[str], known: ModelFacts) -> Iterator[Broken]:
    asked = policy.requires
    for name in sorted(gained & known.versions.keys()):
        version = known.versions[name]
        lineage = getattr(version, "lineage", None)
        filled = {} if lineage is None else lineage.model_dump(exclude_none=True)
        missing = [part for part in ("owner", "notes") if getattr(asked, part) and not getattr(version, part)]
        missing += [f"lineage {part}" for part in asked.lineage if not filled.get(part)]
        missing += [f"tag {tag}" for tag in asked.tags if tag not in version.tags]
        if missing:
            yield broken(
                policy,
                "requires",
                f"version {name} was registered without {', '.join(missing)}: register it anew, completely",
            )
        for bound in asked.metrics:
            value = version.metrics.get(bound.name)
            if value is None:
                yield broken(policy, "metrics", f"version {name} has no registered metric {bound.name}")
            elif bound.at_least is not None and not value >= bound.at_least:
                yield broken(
                    policy,
                    "metrics",
                    f"{bound.name} of version {name} is {value:g}, below {bound.at_least:g}",
                )
            elif bound.at_most is not None and not value <= bound.at_most:
                yield broken(
                    policy, "metrics", f"{bound.name} of version {name} is {value:g}, above {bound.at_most:g}"
                )


def _approvals(policy: Policy, gained: set[str], known: ModelFacts) -> Iterator[Broken]:
    for version in sorted(gained):
        is_enough, missing = is_approved(policy.approvals, version, known)
        if not is_enough:
            yield broken(policy, "approvals", f"version {version} has {missing}")


def _freezes(policy: Policy, now: AwareDatetime) -> Iterator[Broken]:
    for freeze in policy.freezes:
        if is_frozen(freeze, now):
            until = f" until {freeze.ends.isoformat()}" if freeze.ends else ""
            weekly = f" until {freeze.to_day} {freeze.to_time} {freeze.zone}" if freeze.to_day else ""
            yield broken(policy, "freezes", f"changes are frozen by {freeze.name}{until}{weekly}")


def _steps(policy: Policy, before: Route | None, after: Route, gained: set[str]) -> Iterator[Broken]:
    if policy.largest_step is None or before is None:
        return
    had = shares(before)
    for (place, version), share in sorted(shares(after).items()):
        step = share - had.get((place, version), 0.0)
        if version in gained and place != "fallback" and step > policy.largest_step:
            yield broken(
                policy,
                "largest_step",
                f"version {version} would gain {step:g} points at once; {policy.largest_step:g} are allowed: "
                "go in smaller steps, or start a rollout",
            )


def _plan_steps(policy: Policy, plan: Plan) -> Iterator[Broken]:
    weight = shadowed_s = 0.0
    for index, step in enumerate(plan.steps):
        target = 100.0 if step.cutover is not None else step.weight
        if target is None:
            shadowed_s += step.hold.min_s if step.shadow else 0.0
            continue
        if target > weight == 0 and policy.min_shadow_s is not None and shadowed_s < policy.min_shadow_s:
            yield broken(
                policy,
                "min_shadow_s",
                f"steps.{index}: the candidate is a shadow for {shadowed_s:g} s before it answers; "
                f"{policy.min_shadow_s:g} s are asked for",
            )
        if policy.largest_step is not None and target - weight > policy.largest_step:
            yield broken(
                policy,
                "largest_step",
                f"steps.{index}: {target - weight:g} points at once; {policy.largest_step:g} are allowed",
            )
        weight = target
