"""`turnout supervisor`: keeps the workers alive on this machine that are needed."""

from pathlib import Path
from typing import Any

import click

from gateway.cli.grammar import running
from gateway.cli.processes.observing import observing_flags, observing_options
from gateway.contract.logs import AS_JSON


@click.command("supervisor")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Settings (YAML)."
)
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
    "--control-url",
    metavar="URL",
    help="Where model files come from that are not there. [default: nowhere]",
)
@click.option(
    "--key", envvar="TURNOUT_KEY", metavar="KEY", help="For that, where keys are on; TURNOUT_KEY is safer."
)
@click.option("--max-workers", type=click.IntRange(1, 4096), help="Of this machine. [default: 32]")
@click.option("--host", help="Address that its workers listen on. [default: 127.0.0.1]")
@click.option("--advertise-host", help="Where gateways reach them, if that is elsewhere.")
@click.option(
    "--allow-unauthenticated", is_flag=True, default=None, help="Allow an address other than loopback."
)
@observing_options
@running
def supervisor(
    config: Path | None,
    redis_url: str | None,
    artifacts: str | None,
    control_url: str | None,
    key: str | None,
    max_workers: int | None,
    log_format: str | None,
    otlp_endpoint: str | None,
    **worker_flags: Any,
) -> None:
    """Start workers for every version that is needed, and stop them when nothing needs it.

    Needed is what a route or a live rollout names, what somebody asked for (`turnout pools start`), and what
    shall be kept always; `turnout pools` says why.
    """
    # Imported here: `turnout supervisor --help` needs none of it.
    from gateway.observe.logs import configure
    from gateway.settings import load
    from workers.stores import settings_of
    from workers.supervisor import run_supervisor

    own = {
        "redis_url": redis_url,
        "control_url": control_url,
        "control_key": key,
        "max_workers": max_workers,
    }
    settings = load(
        config,
        flags={
            "supervisor": own,
            "worker": {"redis_url": redis_url} | worker_flags | settings_of(artifacts),
            **observing_flags(log_format, otlp_endpoint),
        },
    )
    configure(process="supervisor", json=AS_JSON[settings.log_format])
    run_supervisor(settings.supervisor, settings.worker)
