"""`turnout completion`: a script for the shell, which asks `turnout` what may come next.

The scripts and the finding of what is to be completed are click's. Ours are the names that the control API
knows: models, versions, aliases, policies, plans, keys. They are asked for with the standard library alone
and given up after `PATIENCE_S`, since somebody waits with a finger on the key. Without control: no names.
"""

import http.client
import json
import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import click
from click.shell_completion import CompletionItem, get_completion_class

from gateway.cli.grammar import local

PATIENCE_S = 0.25
USUAL_URL = "http://127.0.0.1:8090"
SHELLS = ("bash", "zsh", "fish")
_ADDS = "COMPREPLY+=($value)"
_WITHOUT_SPACE = "\n            [[ $value == *= ]] && compopt -o nospace"  # after `2=` comes a number
WHERE = {
    "bash": "turnout completion bash > ~/.local/share/bash-completion/completions/turnout",
    "zsh": "turnout completion zsh > ~/.zfunc/_turnout   (and `fpath+=~/.zfunc` before compinit)",
    "fish": "turnout completion fish > ~/.config/fish/completions/turnout.fish",
}


@click.command(
    epilog="\b\n" + "\n".join(f"{line}" for line in WHERE.values()),
)
@click.argument("shell", type=click.Choice(SHELLS))
@local
def completion(shell: str) -> int:
    """Print what completes `turnout` in bash, zsh or fish. Once: eval "$(turnout completion bash)"."""
    from gateway.cli.main import VARIABLE, turnout

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(turnout, {}, "turnout", VARIABLE)
    script = made.source_template % made.source_vars()  # `source` would start bash to ask its version
    click.echo(script.replace(_ADDS, _ADDS + _WITHOUT_SPACE))
    return 0


class Name(click.types.StringParamType):
    """A word that the control API can complete; else it is any text."""

    def __init__(self, find: Callable[[click.Context], Iterator[str]]) -> None:
        self._find = find

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        return [CompletionItem(name) for name in self._find(ctx) if name.startswith(incomplete)]


def teach(command: click.Command) -> None:
    """Gives every parameter that names something the way to complete it; others stay as they are."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            teach(inner)
        return
    for param in command.params:
        if param.type is click.STRING and (find := _finder(param)) is not None:
            param.type = Name(find)


def _finder(param: click.Parameter) -> Callable[[click.Context], Iterator[str]] | None:
    said = str(param.metavar or param.name).strip("[].").upper()
    name = said if param.metavar else str(param.name).rstrip("s").upper()
    return _FINDERS.get(name)


def _models(ctx: click.Context) -> Iterator[str]:
    yield from (item["model"] for item in _listed(ctx, "models", "models"))


def _versions(ctx: click.Context) -> Iterator[str]:
    model = _model(ctx)
    for item in _listed(ctx, "models", "models"):
        if item["model"] == model:
            yield from item["versions"]


def _weights(ctx: click.Context) -> Iterator[str]:
    yield from (f"{version}=" for version in _versions(ctx))


def _aliases(ctx: click.Context) -> Iterator[str]:
    model = _model(ctx)
    yield from _asked(ctx, f"models/{quote(model, safe='')}/aliases").get("aliases", {}) if model else ()


def _policies(ctx: click.Context) -> Iterator[str]:
    yield from (item["policy"] for item in _listed(ctx, "policies", "policies"))


def _plans(ctx: click.Context) -> Iterator[str]:
    yield from (item["name"] for item in _listed(ctx, "rollouts/plans", "plans"))


def _keys(ctx: click.Context) -> Iterator[str]:
    yield from (item["key_id"] for item in _listed(ctx, "keys", "keys"))


def _scenarios(ctx: click.Context) -> Iterator[str]:
    from gateway.cli.loadtest.scenario import scenario_names  # takes a moment to load

    yield from scenario_names()


# What a parameter is called in the help of its command -> its names.
_FINDERS: dict[str, Callable[[click.Context], Iterator[str]]] = {
    "MODEL": _models,
    "VERSION": _versions,
    "ONE": _versions,
    "OTHER": _versions,
    "VERSION=PERCENT": _weights,
    "ALIAS": _aliases,
    "POLICY": _policies,
    "NAME|FILE": _plans,
    "ID": _keys,
    "NAME|FILE.YAML": _scenarios,
}


def _model(ctx: click.Context) -> str | None:
    """The model that stands in the line already; where an option still lacks its value, click has not read
    the line, and the first plain word after the command is it."""
    found = ctx.params.get("model") or ctx.params.get("name")
    if isinstance(found, str):
        return found
    words = os.environ.get("COMP_WORDS", "").split()
    command = ctx.command_path.split()
    rest = words[len(command) :] if len(words) > len(command) else []
    return next((word for word in rest if not word.startswith("-")), None)


def _listed(ctx: click.Context, path: str, member: str) -> list[dict[str, Any]]:
    found = _asked(ctx, path).get(member, [])
    return found if isinstance(found, list) else []


def _asked(ctx: click.Context, path: str) -> dict[str, Any]:
    """The answer of the control API, or nothing."""
    url = urlsplit(ctx.params.get("control_url") or os.environ.get("TURNOUT_CONTROL_URL") or USUAL_URL)
    key = ctx.params.get("key") or os.environ.get("TURNOUT_KEY")
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(url.hostname or "127.0.0.1", url.port, timeout=PATIENCE_S)
        try:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            connection.request("GET", f"{url.path.rstrip('/')}/api/v1/{path}", headers=headers)
            reply = connection.getresponse()
            found = json.loads(reply.read()) if reply.status == http.client.OK else {}
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    return found if isinstance(found, dict) else {}
