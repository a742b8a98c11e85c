"""May this route be committed now: do its versions exist, and can they answer?

Two kinds of findings. A *problem* makes the route wrong whatever the operator wants (an unregistered version,
an output that no model has). A *refusal* is a state of the pools in which committing would fail requests; the
operator may insist. Only what the edit adds is refused: taking traffic away from a dead version is always
allowed.

Pure. Called by `control.routing.change` before every commit of routes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.contract.route import Route
from gateway.contract.version import Version


@dataclass(frozen=True, slots=True)
class Findings:
    problems: tuple[str, ...]
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]
    without_workers: tuple[str, ...] = ()  # the versions that are refused for it


def check_route(
    route: Route, *, before: Route | None, versions: Mapping[str, Version], ready: Mapping[str, int]
) -> Findings:
    """`versions` are the registered ones of this model, `ready` the number of ready workers of each."""
    problems = (*_unregistered(route, versions), *_missing_outputs(route, versions))
    if problems:
        return Findings(problems, (), ())
    lacking = tuple(_without_workers(route, before, ready))
    refusals = tuple(no_worker(route.model, version) + ", or add --force" for version in lacking)
    return Findings((), refusals, tuple(_doubtful(route, versions, ready)), lacking)


def no_worker(model: str, version: str) -> str:
    return f"version {version} of {model} has no ready worker: `turnout pools start {model} {version}` first"


def named_versions(route: Route) -> Iterator[tuple[str, str]]:
    """Every version that the route names, with the path where it stands."""
    for index, entry in enumerate(route.split):
        if route.slots is None:
            yield f"split.{index}.version", entry.version
    for place, rule in enumerate(route.rules):
        for index, entry in enumerate(rule.split):
            yield f"rules.{place}.split.{index}.version", entry.version
    for index, shadow in enumerate(route.shadows):
        yield f"shadows.{index}.version", shadow.version
    if route.slots is not None:
        for slot, version in (("blue", route.slots.blue), ("green", route.slots.green)):
            if version is not None:
                yield f"slots.{slot}", version
    if route.fallback is not None:
        yield "fallback", route.fallback


def shares(route: Route | None) -> dict[tuple[str, str], float]:
    """(place, version) -> percent that this version must be able to answer there."""
    if route is None:
        return {}
    asked = {("split", entry.version): entry.weight for entry in route.split}
    for rule in route.rules:
        asked |= {(f"rule {rule.name}", entry.version): entry.weight for entry in rule.split}
    if route.fallback is not None:
        asked["fallback", route.fallback] = 100.0
    return {place: share for place, share in asked.items() if share > 0}


def _unregistered(route: Route, versions: Mapping[str, Version]) -> Iterator[str]:
    known = ", ".join(sorted(versions)) or "none"
    for path, version in named_versions(route):
        if version not in versions:
            yield f"{path}: version {version} of {route.model} is not registered (registered: {known})"


def _missing_outputs(route: Route, versions: Mapping[str, Version]) -> Iterator[str]:
    output = route.record.output
    if output is None:
        return
    for version in sorted(route.versions() & versions.keys()):
        names = [spec.name for spec in versions[version].signature.outputs]
        if output not in names:
            yield f"record.output: version {version} has no output named {output} (it has {', '.join(names)})"


def _without_workers(route: Route, before: Route | None, ready: Mapping[str, int]) -> Iterator[str]:
    had = shares(before)
    needed = {
        version for (place, version), share in shares(route).items() if share > had.get((place, version), 0.0)
    }
    yield from (version for version in sorted(needed) if not ready.get(version))


def _doubtful(route: Route, versions: Mapping[str, Version], ready: Mapping[str, int]) -> Iterator[str]:
    for shadow in route.shadows:
        if not ready.get(shadow.version):
            yield f"shadow {shadow.version} has no ready worker: nothing is copied to it yet"
        if [entry.version for entry in route.split if entry.weight > 0] == [shadow.version]:
            yield f"shadow {shadow.version} is also the version that answers: it is compared with itself"
    answering = sorted(
        {version for _, version in shares(route)} | {shadow.version for shadow in route.shadows}
    )
    first = versions[answering[0]]
    for version in answering[1:]:
        if versions[version].signature.inputs != first.signature.inputs:
            yield f"versions {first.version} and {version} take different inputs: one will refuse requests"
