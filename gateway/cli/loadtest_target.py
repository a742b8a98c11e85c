"""Which address may be loaded: this machine, and hosts that are named on purpose."""

from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

import click

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
