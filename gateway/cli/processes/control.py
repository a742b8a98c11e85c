"""`turnout control`: the process that serves the control API."""

import signal
import socket
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from gateway.cli.grammar import running
from gateway.cli.processes.observing import log_format_option, observing_flags
from gateway.contract.errors import CallerError
from gateway.contract.logs import AS_JSON

if TYPE_CHECKING:
    from fastapi import FastAPI

MAX_MESSAGE_BYTES = 1 << 20  # from a browser of the console
GRACE_S = 5  # how long requests in flight may take at the end; one that waits for gateways is cut off


@click.command()
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Settings (YAML)."
)
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="[default: 8090]")
@click.option(
    "--redis-url",
    metavar="URL",
    help="redis://, rediss://, unix:// or redis+sentinel://; TURNOUT_REDIS_URL says the same.",
)
@click.option(
    "--artifacts", metavar="FOLDER|URL",
    help="Where model files are kept: a folder, or a store such as s3://bucket/models.",
)  # fmt: skip
@click.option(
    "--allowed-host", "allowed_hosts", multiple=True, metavar="NAME", help="A further name of this API."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keeps the key that signs the audit, and the signed heads. [default: .turnout]",
)
@click.option(
    "--console/--no-console", default=None, help="Serve the web console at /console. [default: yes]"
)
@click.option(
    "--allow-unauthenticated", "--insecure-no-auth", "allow_unauthenticated", is_flag=True,
    help="Listen on an address other than loopback although no key is needed.",
)  # fmt: skip
@running
@log_format_option
def control(
    config: Path | None,
    host: str | None,
    port: int | None,
    redis_url: str | None,
    artifacts: str | None,
    allowed_hosts: tuple[str, ...],
    data_dir: Path | None,
    console: bool | None,
    allow_unauthenticated: bool,
    log_format: str | None,
) -> int:
    """Run the control API and the web console."""
    # Imported here: `turnout control --help` needs no server.
    from gateway.console.mount import mount
    from gateway.control.app import build_app, host_names
    from gateway.control.said import add_request_id
    from gateway.observe.logs import configure
    from gateway.settings import load
    from gateway.store.exposure import closed_access
    from workers.stores import settings_of

    flags = {
        "host": host,
        "port": port,
        "redis_url": redis_url,
        "allowed_hosts": allowed_hosts or None,
        "console": console,
        **settings_of(artifacts),
    }
    settings = load(
        config, flags={"data_dir": data_dir, "control": flags, **observing_flags(log_format)}
    ).control
    try:
        settings.artifacts_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CallerError(
            "bad_request",
            f"{settings.artifacts_dir} cannot be the folder of model files ({error.strerror}): give another "
            "--artifacts, or --data-dir",
        ) from None
    access = closed_access(
        settings.access,
        host=settings.host,
        redis_url=settings.redis_url,
        allow_open=allow_unauthenticated,
    )
    listening = _listen(settings.host, settings.port)
    configure(process="control", json=AS_JSON[settings.log_format], complete=add_request_id)
    settings = replace(settings, access=access)
    app = build_app(settings)
    if settings.console:
        mount(app, control_url=_own_url(listening), hosts=host_names(settings))
    _serve(app, listening, websockets=settings.console)
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise CallerError(
            "not_ready",
            f"cannot listen on {host}:{port} ({error.strerror}): end what uses it, or give another --port",
        ) from None
    return listening


def _own_url(listening: socket.socket) -> str:
    """Where this process reaches itself."""
    host, port = listening.getsockname()[:2]
    return f"http://{_bracketed({'0.0.0.0': '127.0.0.1', '::': '::1'}.get(host, host))}:{port}"


def _serve(app: "FastAPI", listening: socket.socket, *, websockets: bool) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.parts.readers.is_ending = True  # an event stream has no end of its own
            await super().shutdown(sockets)

    server = Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="websockets-sansio" if websockets else "none",
            ws_max_size=MAX_MESSAGE_BYTES,
            loop="uvloop",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=65,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    # uvicorn ends in good order on a signal and raises it again afterwards: that must not be a failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _already_ended)
    address = listening.getsockname()
    click.echo(f"control API at http://{_bracketed(address[0])}:{address[1]}/api/v1", err=True)
    server.run(sockets=[listening])


def _already_ended(number: int, frame: FrameType | None) -> None:
    """The server has ended when this runs."""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
