"""Plans, evidence and looks for the tests of rollouts: everything has a default that lets a step pass."""

from collections.abc import Mapping
from typing import Any

from gateway.contract.latency import bucket_of
from gateway.contract.plan import Plan
from gateway.contract.rollout import Progress, Rollout
from gateway.contract.route import Route
from gateway.core.evidence.sums import Sums, Table
from gateway.core.rollouts.rollout_actions import Commit
from gateway.core.rollouts.rollout_commands import started
from gateway.core.rollouts.seen import Evidence, Seen

MODEL = "digits"
OURS = "rollout/r1"


def route(*split: tuple[str, float], **fields: Any) -> Route:
    weights = [{"version": version, "weight": weight} for version, weight in split or [("2", 100)]]
    return Route.model_validate({"model": MODEL, "split": weights, **fields})


def plan(*steps: dict[str, Any], **fields: Any) -> Plan:
    return Plan.model_validate({"model": MODEL, "candidate": "4", "steps": steps, **fields})


def sums(
    n: float = 0,
    *,
    failed: float = 0,
    latency_ms: float = 5,
    rows: float = 0,
    right: float = 0,
    **more: float,
) -> Sums:
    found = {"n": n, "ok": n - failed, **more}
    if failed:
        found["e:bad_upstream"] = failed
    if n > failed:
        found[f"h{bucket_of(1000 * latency_ms)}"] = n - failed
    if rows:
        found |= {"rows": rows, "right": right}
    return Sums(found)


def table(
    roles: Mapping[str, Sums] | None = None,
    *,
    paired: Sums | None = None,
    agreement: Sums | None = None,
    slices: Mapping[tuple[str, str], Table] | None = None,
    outputs: Mapping[tuple[str, str], Mapping[str, float]] | None = None,
) -> Table:
    """`roles` by `p2`, `p4`, `s4`; pairs are (2, 4)."""
    return Table(
        {(name[0], name[1:]): found for name, found in (roles or {}).items()},
        {} if agreement is None else {("2", "4"): agreement},
        {} if paired is None else {("2", "4"): paired},
        slices or {},
        outputs or {},
    )


def begun(of: Plan, *, present: Route | None = None, revision: int = 10) -> tuple[Rollout, Route, int]:
    """A started rollout, the route that it made and that route's revision."""
    present = present or route()
    commit = started(of, route=present, route_revision=revision, rollout_id="r1", author="ann", now_ms=1000)
    return commit.rollout.as_of(revision + 1), commit.route or present, revision + (commit.route is not None)


def look(
    rollout: Rollout,
    at: Route | None,
    revision: int,
    *,
    counted_s: float = 0,
    whole: Table | None = None,
    step: Table | None = None,
    **fields: Any,
) -> Seen:
    whole = whole or table()
    values: dict[str, Any] = {
        "now_ms": 2000,
        "route": at,
        "route_revision": revision,
        "route_author": OURS,
        "gateways": 2,
        "gateways_behind": 0,
        "ready": {"2": 1, "4": 1},
        "progress": Progress(rollout_id="r1", step=rollout.step, counted_s=counted_s),
        "elapsed_s": 1.0,
        "evidence": Evidence(rollout=whole, step=step or whole),
    }
    return Seen(**{**values, **fields})


def performed(commit: Commit, at: Route, revision: int) -> tuple[Rollout, Route, int]:
    """What the store holds after a commit."""
    revision += 1
    if commit.route is None:
        return commit.rollout.as_of(revision), at, commit.rollout.step_revision or revision
    return commit.rollout.as_of(revision), commit.route, revision


def whats(rollout: Rollout) -> list[str]:
    return [event.what for event in rollout.events]


def weights(of: Route | None) -> dict[str, float]:
    assert of is not None
    return {entry.version: entry.weight for entry in of.split if entry.weight > 0}


def shadows(of: Route | None) -> dict[str, float]:
    assert of is not None
    return {shadow.version: shadow.percent for shadow in of.shadows}
