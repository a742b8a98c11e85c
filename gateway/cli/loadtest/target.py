"""What may be loaded: this machine, hosts that are named on purpose, models and versions by name."""

from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

import click

from gateway.contract.names import is_model_name, is_version_name

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def target_of(url: str, allowed: Sequence[str]) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.UsageError(f"{url} is not a URL: give one like http://127.0.0.1:8080")
    if parts.hostname not in LOOPBACK and parts.hostname not in allowed:
        raise click.UsageError(
            f"{parts.hostname} is not this machine: if it is yours to load, say --allow-host {parts.hostname}"
        )
    return parts


def check_names(model: str, versions: Sequence[str]) -> None:
    """Names become parts of an address."""
    if not is_model_name(model):
        raise click.UsageError(f"{model!r} is no name of a model")
    for version in versions:
        if not is_version_name(version):
            raise click.UsageError(f"{version!r} is no name of a version")
