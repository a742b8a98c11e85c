"""Options of every command that runs a process: how it logs, and where its traces go."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gateway.contract.logs import AS_JSON

Command = TypeVar("Command", bound=Callable[..., Any])

log_format_option = click.option(
    "--log-format",
    type=click.Choice(list(AS_JSON)),
    help="How log lines look. [default: auto, which is text on a terminal and JSON elsewhere]",
)
_endpoint_option = click.option(
    "--otlp-endpoint",
    envvar="TURNOUT_OTLP_ENDPOINT",
    metavar="URL",
    help="Send traces to this receiver of OTLP over HTTP, as http://127.0.0.1:4318. [default: none]",
)
trace_share_option = click.option(
    "--trace-share",
    type=click.FloatRange(0, 1),
    help="Trace this share of the requests that come without a trace. [default: 0]",
)


def observing_options(command: Command) -> Command:
    """Its arguments are `log_format` and `otlp_endpoint`."""
    return log_format_option(_endpoint_option(command))


def observing_flags(
    log_format: str | None, otlp_endpoint: str | None = None, trace_share: float | None = None
) -> dict[str, Any]:
    """As settings; what was not given is None."""
    return {"log_format": log_format, "traces": {"otlp_endpoint": otlp_endpoint, "share": trace_share}}
