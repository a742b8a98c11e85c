"""What a policy asks for, rule by rule, in sentences for whoever has to keep it.

Pure; called by the control API (`turnout policy explain`). It judges nothing: `core.policy` does.
"""

from collections.abc import Iterable, Iterator

from gateway.contract.policy import AliasRule, Approvals, Bound, Freeze, Policy
from gateway.contract.standing import State


def rules_of(policy: Policy) -> Iterator[tuple[str, str]]:
    """Name and sentence of each rule that it has, in the order in which they are judged."""
    yield "answers", f"a version answers only while it is {_states(policy.answers)}"
    yield "copies", f"it is a shadow only while it is {_states(policy.copies)}"
    wanted = policy.requires
    fields = [name for name in ("owner", "notes") if getattr(wanted, name)]
    fields += [f"lineage {name}" for name in wanted.lineage] + [f"tag {name}" for name in wanted.tags]
    if fields:
        yield "requires", f"it was registered with {', '.join(fields)}"
    for bound in wanted.metrics:
        yield "metrics", f"its registered {bound.name} is {_bound(bound)}"
    if policy.approvals is not None:
        yield "approvals", _approvals(policy.approvals)
    for rule in policy.aliases:
        yield from _alias(rule)
    for freeze in policy.freezes:
        yield "freezes", f"nothing moves {_freeze(freeze)} ({freeze.name})"
    if policy.largest_step is not None:
        yield "largest_step", f"a version gains at most {policy.largest_step:g} points of weight at once"
    if policy.min_shadow_s is not None:
        yield "min_shadow_s", f"a plan shadows for {policy.min_shadow_s:g} s before the candidate answers"
    kept = policy.retention
    if kept.records_days is not None:
        yield "retention", f"records are kept for at most {kept.records_days:g} days"
    if kept.records_min_days is not None:
        yield "retention", f"records are kept for at least {kept.records_min_days:g} days"
    if kept.artefacts_days is not None:
        yield "retention", f"a version that ended stays registered for {kept.artefacts_days:g} days"
    yield (
        "override",
        (
            f"role {policy.override} may force a change, with a reason that the audit keeps"
            if policy.override is not None
            else "nobody may force a change"
        ),
    )


def _states(states: Iterable[State]) -> str:
    return " or ".join(state.value for state in states)


def _bound(bound: Bound) -> str:
    ends = ((bound.at_least, "at least"), (bound.at_most, "at most"))
    return " and ".join(f"{words} {end:g}" for end, words in ends if end is not None)


def _approvals(wanted: Approvals) -> str:
    people = "one person" if wanted.count == 1 else f"{wanted.count} people"
    return f"{people} of role {wanted.role} approved it, never its author, for the plan and evidence of now"


def _alias(rule: AliasRule) -> Iterator[tuple[str, str]]:
    names = " ".join(rule.names)
    yield "aliases.states", f"an alias {names} names only what is {_states(rule.states)}"
    if rule.approvals is not None:
        yield "aliases.approvals", f"for an alias {names}: {_approvals(rule.approvals)}"


def _freeze(freeze: Freeze) -> str:
    if freeze.begins is not None and freeze.ends is not None:
        return f"from {freeze.begins.isoformat()} to {freeze.ends.isoformat()}"
    from_, to = f"{freeze.from_day} {freeze.from_time}", f"{freeze.to_day} {freeze.to_time}"
    return f"every week from {from_} to {to}, {freeze.zone}"
