"""`turnout demo`: register the demo's models, and send them gentle traffic with delayed labels."""

import asyncio
import contextlib
import signal

import click

from gateway.cli.demo.install import missing_routes, register_versions, set_routes
from gateway.cli.demo.traffic import Traffic, read_samples
from gateway.cli.grammar import running
from gateway.cli.session import Session, operator
from gateway.settings import config_dir


@click.group("demo", help="Register the demo's models, and send them traffic.")
def demo() -> None:
    """Only groups its commands."""


@demo.command("install")
@operator
def install(session: Session) -> int:
    """Register the demo's versions and routes, those that were never there."""
    demo_dir = config_dir() / "demo"
    register_versions(session.client, demo_dir, say=session.out.line)
    if documents := missing_routes(session.client, demo_dir):
        set_routes(session.client, documents, say=session.out.line)
    session.out.value({"installed": [document["model"] for document in documents]})
    return 0


@demo.command("traffic")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="Where the gateway is.")
@click.option(
    "--rate", default=20.0, show_default=True, type=click.FloatRange(0.1, 1000), help="Predictions a second."
)
@click.option(
    "--label-delay",
    default=3.0,
    show_default=True,
    type=click.FloatRange(0, 3600),
    help="Seconds until the label.",
)
@click.option("--key", envvar="TURNOUT_KEY", metavar="KEY", help="Where keys are on; or TURNOUT_KEY.")
@running
def traffic(url: str, rate: float, label_delay: float, key: str | None) -> int:
    """Send held-out inputs, and their true labels after a delay, until stopped."""
    sender = Traffic(url, read_samples(config_dir() / "demo"), rate, label_delay, say=click.echo, key=key)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_until_signal(sender))
    click.echo(sender.told())
    return 0


async def _until_signal(sender: Traffic) -> None:
    loop = asyncio.get_running_loop()
    sending = asyncio.current_task()
    assert sending is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, sending.cancel)
    await sender.run()
