"""`turnout up`: all of Turnout on this machine, until Ctrl-C.

Options, words and the demo are here; what runs, and in which order, is in `gateway.app`.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Set
from contextlib import closing
from pathlib import Path
from types import FrameType

import click

from gateway.app import Ended, Installation, Place, place_of
from gateway.cli.client import ControlClient
from gateway.cli.demo.install import missing_routes, register_versions, set_routes, short_pools
from gateway.cli.grammar import running
from gateway.cli.processes.observing import observing_flags, observing_options, trace_share_option
from gateway.contract.errors import TurnoutError
from gateway.contract.redis_url import bare
from gateway.settings import config_dir, load

WORKERS_READY_S = 90.0  # eight model runtimes load at once on two cores
PASSING = frozenset({"store_away", "unreachable"})  # a busy disk or a restart: worth asking again
PASSING_S = 20.0
USUAL_CONTROL_URL = "http://127.0.0.1:8090"
PORT = click.IntRange(0, 65535)


@click.command()
@click.option("--data-dir", envvar="TURNOUT_DATA_DIR", metavar="DIR", type=click.Path(path_type=Path),
    help="Where everything is kept. [default: .turnout]")  # fmt: skip
@click.option("--host", help="Address to listen on: loopback. [default: 127.0.0.1]")
@click.option("--port", type=PORT, help="Predictions. [default: 8080]")
@click.option("--control-port", type=PORT, help="Control API. [default: 8090]")
@click.option("--metrics-port", type=PORT, help="Prometheus. [default: 8082]")
@click.option("--processes", type=click.IntRange(1, 64), help="Of the gateway. [default: 1]")
@click.option("--demo", is_flag=True, help="Register the demo's models, and send them gentle traffic.")
@click.option("--no-traffic", is_flag=True, help="With --demo: no traffic.")
@click.option("--redis-url", envvar="TURNOUT_REDIS_URL", metavar="URL", help="Use this Redis, start none.")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Settings (YAML)."
)
@running
@observing_options
@trace_share_option
def up(
    data_dir: Path | None,
    host: str | None,
    port: int | None,
    control_port: int | None,
    metrics_port: int | None,
    processes: int | None,
    demo: bool,
    no_traffic: bool,
    redis_url: str | None,
    config: Path | None,
    log_format: str | None,
    otlp_endpoint: str | None,
    trace_share: float | None,
) -> int:
    """Run everything on this machine: Redis, control, workers, gateway.

    A port of 0 takes a free one. Ctrl-C ends all of it in good order; the next `up` continues from the
    same data.
    """
    gateway = {"host": host, "port": port, "metrics_port": metrics_port, "processes": processes}
    flags = {
        "data_dir": data_dir,
        "redis_url": redis_url,
        "gateway": gateway,
        "control": {"host": host, "port": control_port},
        **observing_flags(log_format, otlp_endpoint, trace_share),
    }
    place = place_of(load(config, flags=flags), config)
    for_children = {
        "TURNOUT_LOG_FORMAT": log_format,
        "TURNOUT_OTLP_ENDPOINT": otlp_endpoint,
        "TURNOUT_TRACES__SHARE": trace_share,
    }
    os.environ.update({name: str(value) for name, value in for_children.items() if value is not None})
    installation = Installation(place, click.echo, _signalled())
    started_s = time.monotonic()
    code = 0
    try:
        installation.start()
        key = os.environ.get("TURNOUT_KEY")
        with closing(ControlClient(installation.place.control_url, key=key)) as client:
            if _may_look(client):
                if demo:
                    _install_demo(installation, client)
                _wait_for_workers(installation, client)
        if demo and not no_traffic:
            installation.start_traffic()
        _tell(installation, demo=demo, took_s=time.monotonic() - started_s)
        installation.watch()
    except Ended:
        click.echo("asked to stop")
    except TurnoutError as error:
        click.echo(f"turnout: {error.message}", err=True)
        code = 1
    finally:
        if installation.kept:
            click.echo("stopping ...")
        installation.stop()
    if code == 0:
        click.echo("stopped; the data are in " + _shown(place.data_dir))
    return code


def _may_look(client: ControlClient) -> bool:
    """Where keys are on, `up` is a caller like others."""
    try:
        client.get("whoami")
    except TurnoutError as error:
        if error.code == "unauthenticated":
            click.echo(
                "keys are on: with TURNOUT_KEY set, `up` installs the demo and waits for workers", err=True
            )
            return False
        if error.code not in PASSING:
            raise
    return True


def _signalled() -> Callable[[], bool]:
    """True once somebody asked to end. A second time ends at once: the kernel then ends the children."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            os._exit(130)
        asked.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note)
    return lambda: bool(asked)


def _install_demo(installation: Installation, client: ControlClient) -> None:
    demo_dir = config_dir() / "demo"
    _repeat(installation, lambda: register_versions(client, demo_dir, say=click.echo))

    def set_missing_routes() -> None:
        routes = missing_routes(client, demo_dir)
        if not routes:
            return
        named = {f"{route['model']} {entry['version']}" for route in routes for entry in route["split"]}
        if not installation.wait_until(_are_whole(client, named), limit_s=WORKERS_READY_S):
            raise TurnoutError(
                "not_ready",
                f"the workers of {' and '.join(sorted(named))} did not become ready in "
                f"{WORKERS_READY_S:.0f} s; {installation.place.log_dir / 'supervisor.log'} says why",
            )
        set_routes(client, routes, say=click.echo)

    click.echo("waiting for the demo's workers ...")
    _repeat(installation, set_missing_routes)


def _wait_for_workers(installation: Installation, client: ControlClient) -> None:
    """A version whose workers do not come up is no reason to end: it is said, and the rest serves."""
    if not installation.wait_until(_are_whole(client), limit_s=WORKERS_READY_S):
        click.echo("some workers are still missing: `turnout status` says which", err=True)


def _are_whole(client: ControlClient, named: Set[str] | None = None) -> Callable[[], bool]:
    """Do these versions, or all, have the workers that they should have?"""

    def are_whole() -> bool:
        try:
            short = short_pools(client)
        except TurnoutError as error:
            if error.code not in PASSING:
                raise
            return False
        return not short if named is None else not named & set(short)

    return are_whole


def _repeat(installation: Installation, act: Callable[[], None]) -> None:
    """Again when Redis or control did not answer: what is repeated writes only what is missing."""
    last: list[TurnoutError] = []

    def succeeds() -> bool:
        try:
            act()
        except TurnoutError as error:
            if error.code not in PASSING:
                raise
            last[:] = [error]
            return False
        return True

    if not installation.wait_until(succeeds, limit_s=PASSING_S):
        raise last[0]


def _tell(installation: Installation, *, demo: bool, took_s: float) -> None:
    place = installation.place
    addresses = {
        "redis": installation.redis_url,
        "control": f"{place.control_url}/api/v1/status",
        "supervisor": "keeps the workers alive: `turnout pools`",
        "gateway": f"{place.gateway_url}  metrics at http://{place.host}:{place.metrics_port}/metrics",
        "traffic": "20 predictions a second, labels 3 s later",
    }
    click.echo(f"\nTurnout is up ({took_s:.1f} s). Data and logs are in {_shown(place.data_dir)}.\n")
    if place.redis_url is not None:
        click.echo(f"  {'redis':<11}{'':<9}{bare(place.redis_url)}")
    for kept in installation.kept:
        click.echo(f"  {kept.name:<11}{kept.running.pid:<9}{addresses[kept.name]}")
    if demo:
        _tell_what_to_try(place)
    click.echo("\nCtrl-C ends all of it in good order; the next `up` continues from the same data.")


def _tell_what_to_try(place: Place) -> None:
    command = _command_name()
    model = f"{place.gateway_url}/v2/models/digits"
    request = _shown(config_dir() / "demo" / "digits-request.json")
    truth = json.loads((config_dir() / "demo" / "digits-heldout.json").read_text())["labels"][0]
    own_id = f"try-{int(time.time())}"
    if place.control_url != USUAL_CONTROL_URL:
        command = f"TURNOUT_CONTROL_URL={place.control_url} {command}"
    click.echo(f"""
Ask for a prediction (the route chooses the version), then for one of version 2, then tell the truth:

  curl -i {model}/infer -d @{request} -H 'turnout-unit: alice' -H 'turnout-prediction-id: {own_id}'
  curl -i {model}/versions/2/infer -d @{request}
  curl -i {model}/feedback -d '{{"prediction_id": "{own_id}", "label": {truth}}}'

In another terminal:

  {command} status
  {command} route split digits 1=90 2=10
  {command} route shadow digits 3=100
  {command} compare digits""")


def _command_name() -> str:
    """How this very command is called from here."""
    called = Path(sys.argv[0]).absolute()
    on_path = shutil.which("turnout")
    if called.name != "turnout" or (on_path and Path(on_path).absolute() == called):
        return "turnout"
    return _shown(called)


def _shown(path: Path) -> str:
    """Relative where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) and not relative.startswith("..") else str(path)
