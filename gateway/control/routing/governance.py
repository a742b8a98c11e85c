"""What policy says to a change of this installation: reads what `core.policy` judges by, and nothing else.

A policy that cannot be read refuses whatever it might be about: silence must not open a door. Approvals are
compared with the dossier as it is now, which takes the model's evidence, so it is built only where a policy
asks for approvals. Called by `control.routing.change`, when a rollout starts, when an alias moves
(`control.registry.aliases`), and by `api.policies` and `api.standings`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from gateway.contract import keys
from gateway.contract.access import Role
from gateway.contract.envelope import Envelope
from gateway.contract.errors import CallerError
from gateway.contract.plan import Plan
from gateway.contract.policy import Policy
from gateway.contract.route import Route, problems_of
from gateway.contract.standing import Standing
from gateway.contract.version import Version
from gateway.control.parts import Parts
from gateway.core.broken import Broken
from gateway.core.dossier import dossier, dossier_hash
from gateway.core.evidence.compare import compare
from gateway.core.policy import ModelFacts, judge_alias, judge_change, judge_plan
from gateway.core.retention import judge_removal, routes_against

EVIDENCE_MINUTES = 1440  # what a dossier says of the last day


@dataclass(frozen=True, slots=True)
class Policies:
    """`unreadable`: name -> what is wrong."""

    readable: tuple[Policy, ...]
    unreadable: Mapping[str, str]


async def policies_of(parts: Parts) -> Policies:
    readable: list[Policy] = []
    unreadable: dict[str, str] = {}
    for field, envelope in (await parts.documents.all(keys.policy_field(""))).items():
        try:
            readable.append(Policy.model_validate(envelope.doc))
        except ValidationError as error:
            unreadable[field.removeprefix(keys.policy_field(""))] = problems_of(error)[0]
    return Policies(tuple(readable), unreadable)


async def broken_by_change(
    parts: Parts, *, before: Route | None, after: Route, is_return: bool
) -> tuple[Broken, ...]:
    """Every rule that the new form of a route would break."""
    found = await policies_of(parts)
    known = await known_of(parts, after.model, found.readable)
    judged = judge_change(
        found.readable, before=before, after=after, known=known, now=_now(), is_return=is_return
    )
    return judged if is_return else judged + _of_unreadable(found)


async def broken_by_plan(parts: Parts, plan: Plan) -> tuple[Broken, ...]:
    """Every rule that a rollout of this plan would break."""
    assert plan.model is not None
    found = await policies_of(parts)
    known = await known_of(parts, plan.model, found.readable, plan=plan)
    return judge_plan(found.readable, plan, known=known, now=_now()) + _of_unreadable(found)


async def broken_by_removal(parts: Parts, model: str, version: str) -> tuple[Broken, ...]:
    """Every rule that taking a version out of the registry would break."""
    found = await policies_of(parts)
    envelope = await parts.documents.get(keys.standing_field(model, version))
    standing = read_standing(model, version, envelope)
    now, since = _now(), standing.ended_at
    if since is None and envelope is not None:  # it was decided before this was noted: by its last decision
        since = datetime.fromtimestamp(envelope.at_ms / 1000, UTC)
    ended_days = (now - since).total_seconds() / 86_400 if since else 0.0
    judged = judge_removal(
        found.readable, model=model, version=version, state=standing.state, ended_days=ended_days
    )
    return judged + _of_unreadable(found)


async def kept_against(parts: Parts, policy: Policy) -> list[str]:
    """Routes that keep records as this policy does not allow, from before it was written."""
    return routes_against(policy, list((await parts.steerings.read()).readable_routes().values()))


async def broken_by_alias(
    parts: Parts, model: str, alias: str, version: str, *, is_return: bool
) -> tuple[Broken, ...]:
    """Every rule that an alias would break that names this version."""
    found = await policies_of(parts)
    known = await known_of(parts, model, found.readable)
    judged = judge_alias(
        found.readable,
        model=model,
        alias=alias,
        version=version,
        known=known,
        now=_now(),
        is_return=is_return,
    )
    return judged if is_return else judged + _of_unreadable(found)


def refuse(broken: Sequence[Broken], *, force: bool, reason: str, role: Role = Role.ADMIN) -> tuple[str, ...]:
    """Warnings for rules that were overridden; raises `refused`, with every rule's name, for the others."""
    if not broken:
        return ()
    final = [
        item for item in broken if item.override is None or not (force <= role.includes(Role(item.override)))
    ]
    if force and not final and reason.strip():
        return tuple(f"overridden: {item}" for item in broken)
    if force and not final:
        how = "; an override needs a reason: add --reason"
    elif final:
        who = {item.override for item in final}
        how = "" if None in who else f"; to override it takes the role {' or '.join(sorted(map(str, who)))}"
    else:
        how = "; in an emergency add --force and --reason: it is written into the audit log"
    raise CallerError(
        "refused",
        "; ".join(map(str, final if force and final else broken)) + how,
        refusals=[str(item) for item in broken],
        rules=[item.rule for item in broken],
    )


async def known_of(
    parts: Parts, model: str, policies: Sequence[Policy] = (), *, plan: Plan | None = None
) -> ModelFacts:
    """`dossiers` are made where one of the policies asks for approvals."""
    prefix = keys.version_field(model, "")
    envelopes = await parts.documents.all(prefix)
    versions: dict[str, Version] = {}
    for envelope in envelopes.values():
        try:
            version = Version.model_validate(envelope.doc)
        except ValidationError:
            continue
        versions[version.version] = version
    needs_dossiers = any(_asks_for_approvals(policy) and policy.is_about(model) for policy in policies)
    return ModelFacts(
        versions=versions,
        standings=await standings_of(parts, model),
        authors={field.removeprefix(prefix): envelope.author for field, envelope in envelopes.items()},
        dossiers=await _hashes(parts, model, versions, plan) if needs_dossiers else {},
    )


def _asks_for_approvals(policy: Policy) -> bool:
    return policy.approvals is not None or any(rule.approvals is not None for rule in policy.aliases)


async def standings_of(parts: Parts, model: str) -> dict[str, Standing]:
    """Of those versions about which something was decided. One that cannot be read is quarantined."""
    found = {}
    for field, envelope in (await parts.documents.all(keys.standing_field(model, ""))).items():
        version = field.rpartition("/")[2]
        found[version] = read_standing(model, version, envelope)
    return found


def read_standing(model: str, version: str, envelope: Envelope | None) -> Standing:
    if envelope is None:
        return Standing(model=model, version=version)
    try:
        return Standing.model_validate(envelope.doc)
    except ValidationError:
        return Standing.model_validate(
            {
                "model": model,
                "version": version,
                "state": "quarantined",
                "reason": "its standing in Redis cannot be read: set its state again",
            }
        )


async def dossier_of(parts: Parts, version: Version, plan: Plan | None) -> tuple[dict[str, Any], str]:
    """What an approver of this version sees now, and its hash."""
    verdicts = await _verdicts(parts, version.model)
    seen = dossier(version, plan, verdicts)
    return seen, dossier_hash(seen)


async def _hashes(
    parts: Parts, model: str, versions: Mapping[str, Version], plan: Plan | None
) -> dict[str, str]:
    verdicts = await _verdicts(parts, model)
    return {name: dossier_hash(dossier(version, plan, verdicts)) for name, version in versions.items()}


async def _verdicts(parts: Parts, model: str) -> Any:
    minute = (await parts.fleet.workers()).now_ms // 60_000
    evidence = await parts.predictions.evidence(model, minute - EVIDENCE_MINUTES)
    return compare(evidence).verdicts


def _of_unreadable(found: Policies) -> tuple[Broken, ...]:
    return tuple(
        Broken(
            f"{name}.unreadable", f"policy {name} cannot be read ({problem}): write it again", override=None
        )
        for name, problem in found.unreadable.items()
    )


def _now() -> datetime:
    return datetime.now(UTC)
