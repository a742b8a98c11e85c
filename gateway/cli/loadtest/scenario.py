"""A load test's scenario, as its options say it: a file's or one made of flags, and flags overrule it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from gateway.cli.folder.files import read_documents
from gateway.cli.words import parse_since
from gateway.loadtest.scenario import Scenario
from gateway.settings import config_dir


def scenario_of(options: Mapping[str, Any]) -> Scenario:
    """The file's, or one made of the flags; flags overrule it."""
    name, rate, users = options["scenario"], options["rate"], options["users"]
    if rate is not None and users is not None:
        raise click.UsageError("give --rate (open loop) or --users (closed loop), not both")
    if name is None and rate is None and users is None:
        raise click.UsageError("how much load? --scenario smoke, or --rate 100 --for 30s, or --users 20")
    if options["for_"] is not None and rate is None and users is None:
        raise click.UsageError("--for goes with --rate or --users: a scenario's phases have their own times")
    document: dict[str, Any] = {} if name is None else read_documents(str(_scenario_file(name)))[0]
    if rate is not None or users is not None:
        for_s = seconds(options["for_"] or "30s")
        phase = {"for_s": for_s, "at": rate if rate is not None else users}
        document |= {"loop": "open" if users is None else "closed", "phases": [phase]}
    if options["think"] is not None:
        document["think_s"] = options["think"]
    if options["timeout"] is not None:
        document["timeout_s"] = options["timeout"]
    if options["label_delay"] is not None:
        delay = options["label_delay"]
        document["label_delay_s"] = None if delay == "none" else seconds(delay)
    if options["skew"] is not None or options["units"] is not None:
        document["units"] = _units(document.get("units") or {}, options)
    try:
        return Scenario.model_validate(document)
    except ValidationError as error:
        told = "\n".join(f"  {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise click.UsageError(f"the scenario {name or 'of these options'} is wrong:\n{told}") from None


def _units(found: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    if options["skew"] == "none":
        return {"count": 0}
    asked = {"skew": options["skew"], "count": options["units"]}
    return {**found, **{name: value for name, value in asked.items() if value is not None}}


def _scenario_file(name: str) -> Path:
    if name.endswith((".yaml", ".yml", ".json")) or "/" in name:
        return Path(name)
    known = scenario_names()
    if name not in known:
        raise click.UsageError(
            f"no scenario is called {name} (there are: {', '.join(known)}); a file's name ends in .yaml"
        )
    return _folder() / f"{name}.yaml"


def scenario_names() -> list[str]:
    """Of those that come with Turnout."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def _folder() -> Path:
    return config_dir() / "loadtests"


def seconds(text: str) -> float:
    """`30s`, `2.5s`, `5m`, `1h`; a bare number is seconds."""
    bare = text.removesuffix("s")
    if bare.replace(".", "", 1).isdecimal():
        return float(bare)
    try:
        return parse_since(text)
    except click.UsageError:
        raise click.UsageError(f"{text!r} is not a time such as 30s, 5m or 1h") from None
