"""The demo's versions and routes, registered through the control API like anybody's.

Only what was never there is written: what operators made of the demo since, deletions included, stays as it
is. Called by `turnout demo install` and by `turnout up --demo`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from gateway.cli.client import ControlClient
from gateway.contract.errors import TurnoutError

# Two workers where the tour kills one, and one elsewhere: the demo runs on two cores.
WORKERS = {("digits", "1"): 2, ("digits", "2"): 2}
Say = Callable[[str], None]


def register_versions(client: ControlClient, demo_dir: Path, *, say: Say) -> None:
    """Registers every version that is missing, with its workers."""
    models: dict[str, dict[str, Any]] = json.loads((demo_dir / "models.json").read_text())
    for model, versions in models.items():
        known = _known_versions(client, model)
        for version in sorted(versions.keys() - known):
            about = versions[version]
            artifact = client.upload(demo_dir / about["file"])
            client.put(
                "models", model, "versions", version,
                body={
                    "digest": artifact["digest"],
                    "source": f"config/demo/{about['file']}",
                    "owner": "demo",
                    "notes": about["description"],
                    "metrics": about["metrics"],
                    "workers": WORKERS.get((model, version), 1),
                    "keep": "always",  # the tour pins versions that no route names
                },
            )  # fmt: skip
            say(f"registered {model} version {version}: {about['description']}")


def missing_routes(client: ControlClient, demo_dir: Path) -> list[dict[str, Any]]:
    """The demo's routes of models that never had a route."""
    documents: list[dict[str, Any]] = yaml.safe_load((demo_dir / "routes.yaml").read_text())
    return [document for document in documents if not _ever_had_a_route(client, document["model"])]


def set_routes(client: ControlClient, documents: list[dict[str, Any]], *, say: Say) -> None:
    """All in one commit, if still none of them exists. Their workers must be ready."""
    models = [document["model"] for document in documents]
    client.post(
        "apply",
        body={
            "documents": documents,
            "expected_revisions": dict.fromkeys(models, 0),
            "reason": "demo",
        },
    )
    say(f"set the routes of {' and '.join(models)}")


def short_pools(client: ControlClient) -> list[str]:
    """Versions with fewer ready workers than wanted, as `model version`."""
    pools = client.get("pools")["pools"]
    return [f"{pool['model']} {pool['version']}" for pool in pools if pool["is_short"]]


def _known_versions(client: ControlClient, model: str) -> set[str]:
    known = {found["model"]: set(found["versions"]) for found in client.get("models")["models"]}
    return known.get(model, set())


def _ever_had_a_route(client: ControlClient, model: str) -> bool:
    try:
        client.get("routes", model, "history", limit=1)
    except TurnoutError as error:
        if error.code != "no_route":
            raise
        return False
    return True
