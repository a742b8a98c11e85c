"""`turnout control`: the process that serves the control API."""

import signal
import socket
from pathlib import Path
from types import FrameType

import click

from gateway.contract.errors import CallerError

MAX_MESSAGE_BYTES = 1 << 20  # from a browser of the console
GRACE_S = 5  # how long requests in flight may take at the end; one that waits for gateways is cut off


@click.command()
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Settings (YAML)."
)
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="[default: 8090]")
@click.option(
    "--redis-url", metavar="URL", help="redis://, rediss:// or unix://; TURNOUT_REDIS_URL says the same."
)
@click.option(
    "--artifacts", type=click.Path(path_type=Path, file_okay=False), help="Where model files are kept."
)
@click.option(
    "--allowed-host", "allowed_hosts", multiple=True, metavar="NAME", help="A further name of this API."
)
@click.option(
    "--console/--no-console", default=None, help="Serve the web console at /console. [default: yes]"
)
@click.option("--allow-unauthenticated", is_flag=True, help="Allow an address other than loopback.")
def control(
    config: Path | None,
    host: str | None,
    port: int | None,
    redis_url: str | None,
    artifacts: Path | None,
    allowed_hosts: tuple[str, ...],
    console: bool | None,
    allow_unauthenticated: bool,
) -> int:
    """Run the control API and the web console."""
    # Imported here: `turnout control --help` needs no server.
    from gateway.console.mount import mount
    from gateway.control.app import build_app, host_names
    from gateway.observe.logs import configure
    from gateway.settings import load

    flags = {
        "host": host,
        "port": port,
        "redis_url": redis_url,
        "artifacts_dir": artifacts,
        "allowed_hosts": allowed_hosts or None,
        "console": console,
    }
    settings = load(config, flags={"control": flags}).control
    if not settings.is_loopback and not allow_unauthenticated:
        raise CallerError(
            "refused",
            f"{settings.host} can be reached from elsewhere and there is no authentication: listen on "
            "127.0.0.1 behind a proxy that authenticates, or add --allow-unauthenticated",
        )
    listening = _listen(settings.host, settings.port)
    configure(process="control")
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


def _serve(app: object, listening: socket.socket, *, websockets: bool) -> None:
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]
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
