"""What is installed, read by the control API, in the form of a folder: only the parts that are asked for.

Keys are for admins to see: for others `roles` is None. Called by `turnout export|diff|apply --dir`.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gateway.cli.client import ControlClient
from gateway.cli.folder.layout import Folder
from gateway.contract.errors import TurnoutError
from gateway.contract.folder import RoleEntry, VersionEntry
from gateway.contract.policy import Policy

ALL = ("routes", "policies", "versions", "aliases", "roles")
_OF_VERSION = ("version", "digest", "source", "owner", "metrics", "tags", "lineage")
_OF_KEY = ("name", "role", "models", "pin", "rate_per_s")


@dataclass(frozen=True, slots=True)
class Installed:
    """`problems`: what could not be read. Revisions are those of routes, and of each model's aliases;
    `rolling`: models whose rollout goes on, with its id; `key_ids` by name."""

    folder: Folder
    problems: tuple[str, ...]
    route_revisions: Mapping[str, int]
    alias_revisions: Mapping[str, int]
    rolling: Mapping[str, str]
    key_ids: Mapping[str, str]


def installed(client: ControlClient, parts: Collection[str] = ALL) -> Installed:
    problems: list[str] = []
    routes = policies = roles = None
    key_ids: dict[str, str] = {}
    revisions: dict[str, int] = {}
    rolling: dict[str, str] = {}
    if "routes" in parts:
        routes = _routes(client, problems)
        revisions = {item["model"]: item["revision"] for item in client.get("routes")["routes"]}
        rolling = {
            item["model"]: item.get("rollout_id", "")
            for item in client.get("rollouts")["rollouts"]
            if not item["is_over"]
        }
    if "policies" in parts:
        policies = _policies(client, problems)
    versions: dict[tuple[str, str], VersionEntry] = {}
    aliases: dict[tuple[str, str], str] = {}
    alias_revisions: dict[str, int] = {}
    for model in _models(client) if {"versions", "aliases"} & set(parts) else ():
        if "versions" in parts:
            versions |= _versions(client, model)
        if "aliases" in parts:
            found = client.get("models", model, "aliases")
            alias_revisions[model] = found["revision"]
            aliases |= {(model, alias): version for alias, version in found["aliases"].items()}
    if "roles" in parts:
        roles, key_ids = _roles(client, problems)
    folder = Folder(
        routes=routes,
        policies=policies,
        versions=versions if "versions" in parts else None,
        aliases=aliases if "aliases" in parts else None,
        roles=roles,
    )
    return Installed(folder, tuple(problems), revisions, alias_revisions, rolling, key_ids)


def _routes(client: ControlClient, problems: list[str]) -> dict[str, dict[str, Any]]:
    found = client.get("export")
    problems += [f"route {problem}" for problem in found["problems"]]
    return {document["model"]: document for document in found["documents"]}


def _policies(client: ControlClient, problems: list[str]) -> dict[str, Policy]:
    found = client.get("policies")
    problems += [f"policy {problem}" for problem in found["problems"]]
    return {item["policy"]: Policy.model_validate(item) for item in found["policies"]}


def _models(client: ControlClient) -> Iterator[str]:
    after = None
    while True:
        page = client.get("models", after=after)
        yield from (item["model"] for item in page["models"])
        after = page["next"]
        if after is None:
            return


def _versions(client: ControlClient, model: str) -> dict[tuple[str, str], VersionEntry]:
    found = {}
    for item in client.get("models", model)["versions"]:
        told = {name: item[name] for name in _OF_VERSION} | {"workers": item["pool"]["size"]}
        found[model, item["version"]] = VersionEntry.model_validate(told)
    return found


def _roles(client: ControlClient, problems: list[str]) -> tuple[dict[str, RoleEntry] | None, dict[str, str]]:
    try:
        keys = client.get("keys")["keys"]
    except TurnoutError as error:
        if error.code != "forbidden":
            raise
        return None, {}
    entries: dict[str, RoleEntry] = {}
    key_ids: dict[str, str] = {}
    for item in keys:
        try:
            entry = RoleEntry.model_validate({name: item[name] for name in _OF_KEY})
        except (ValidationError, KeyError):
            problems.append(f"key {item['key_id']}: {item.get('problem', 'it cannot be read')}")
        else:
            entries[entry.name], key_ids[entry.name] = entry, item["key_id"]
    return dict(sorted(entries.items())), key_ids
