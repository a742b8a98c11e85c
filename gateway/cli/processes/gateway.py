"""`turnout gateway`: the data plane, as a parent with N processes; `gateway-process` is one of them."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.grammar import running
from gateway.cli.processes.observing import observing_flags, observing_options, trace_share_option
from gateway.contract.errors import CallerError
from gateway.contract.lifeline import SETTINGS
from gateway.contract.logs import AS_JSON

if TYPE_CHECKING:
    from gateway.dataplane.settings import GatewaySettings

PORT = click.IntRange(0, 65535)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; raises CallerError with what to do when the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(2048)
    except OSError as error:
        raise CallerError(
            "bad_request",
            f"Cannot listen on {host}:{port} ({error.strerror}): free it or give another --port.",
        ) from None
    sock.setblocking(False)
    return sock


@click.command("gateway", help="Serve predictions and feedback (the data plane).")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Settings (YAML)."
)
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=PORT, help="[default: 8080]")
@click.option("--metrics-port", type=PORT, help="[default: 8082]")
@click.option("--processes", type=click.IntRange(1, 64), help="[default: 1]")
@click.option(
    "--redis-url",
    metavar="URL",
    help="redis://, rediss://, unix:// or redis+sentinel://; TURNOUT_REDIS_URL says the same.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keeps the last good routes. [default: .turnout]",
)
@click.option(
    "--allow-unauthenticated", "--insecure-no-auth", "allow_unauthenticated", is_flag=True, default=None,
    help="Listen on an address other than loopback although no key is needed.",
)  # fmt: skip
@observing_options
@trace_share_option
@running
def gateway(
    config: Path | None,
    redis_url: str | None,
    data_dir: Path | None,
    log_format: str | None,
    otlp_endpoint: str | None,
    trace_share: float | None,
    **flags: Any,
) -> None:
    # Imported here: `turnout gateway --help` needs no data plane.
    import uvloop

    from gateway.contract.access import AccessSettings
    from gateway.dataplane import lastgood
    from gateway.dataplane.parent import Parent, child_command, run_parent
    from gateway.dataplane.process import LAST_GOOD
    from gateway.observe.logs import configure
    from gateway.settings import load as load_settings
    from gateway.store.exposure import closed_access

    observing = observing_flags(log_format, otlp_endpoint, trace_share)
    given = {"redis_url": redis_url, "data_dir": data_dir, "gateway": flags, **observing}

    def read() -> "GatewaySettings":
        settings = load_settings(config, flags=given).gateway
        return replace(settings, access=AccessSettings(settings.access.required))  # no secrets of proxies

    settings = as_read = read()
    configure(process="gateway", json=AS_JSON[settings.log_format])
    access = closed_access(
        settings.access,
        host=settings.host,
        redis_url=settings.redis_url,
        allow_open=settings.allow_unauthenticated,
        was_closed=lastgood.had_admin(settings.data_dir / LAST_GOOD),
    )
    settings = replace(settings, access=access)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CallerError(
            "bad_request",
            f"{settings.data_dir} cannot be written ({error.strerror}): give a --data-dir that you own.",
        ) from None
    sock = listen(settings.host, settings.port)
    asked_port, port = settings.port, sock.getsockname()[1]

    def read_again() -> "GatewaySettings":
        again = read()
        if again.access == as_read.access:
            again = replace(again, access=access)
        return replace(again, port=port) if again.port == asked_port else again

    parent = Parent(child_command(), sock, replace(settings, port=port), read_again)
    try:
        uvloop.run(run_parent(parent, listen(settings.host, settings.metrics_port)))
    except RuntimeError as error:
        raise CallerError("bad_request", f"The gateway did not start: {error}.") from None


@click.command("gateway-process", hidden=True)
@click.option("--settings", "settings_json", envvar=SETTINGS, required=True)
@click.option("--fd", required=True, type=int)
@click.option("--index", required=True, type=int)
@click.option("--ready-fd", required=True, type=int)
def gateway_process(settings_json: str, fd: int, index: int, ready_fd: int) -> None:
    import uvloop

    from gateway.dataplane.process import GatewayProcess, serve_until_signal
    from gateway.dataplane.settings import load
    from gateway.observe.logs import configure

    settings = load(settings_json)
    configure(process=f"gateway[{index}]", json=AS_JSON[settings.log_format])

    def say_ready() -> None:
        os.write(ready_fd, b"R")
        os.close(ready_fd)

    async def main() -> None:
        process = GatewayProcess(settings, index=index)
        await serve_until_signal(process, socket.socket(fileno=fd), say_ready)

    uvloop.run(main())
