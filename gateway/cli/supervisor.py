"""`turnout supervisor`: keeps the wanted number of workers of each version alive on this machine."""

from pathlib import Path
from typing import Any

import click

from gateway.cli.observing import observing_flags, observing_options
from gateway.contract.logs import AS_JSON


@click.command("supervisor")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Settings (YAML)."
)
@click.option(
    "--redis-url", metavar="URL", help="redis://, rediss:// or unix://; TURNOUT_REDIS_URL says the same."
)
@click.option(
    "--artifacts", "artifacts_dir", type=click.Path(path_type=Path), help="Where model files are kept."
)
@click.option("--host", help="Address that its workers listen on. [default: 127.0.0.1]")
@click.option("--advertise-host", help="Where gateways reach them, if that is elsewhere.")
@click.option(
    "--allow-unauthenticated", is_flag=True, default=None, help="Allow an address other than loopback."
)
@observing_options
def supervisor(
    config: Path | None,
    redis_url: str | None,
    log_format: str | None,
    otlp_endpoint: str | None,
    **worker_flags: Any,
) -> None:
    """Keep the wanted workers of this machine alive."""
    # Imported here: `turnout supervisor --help` needs none of it.
    from gateway.observe.logs import configure
    from gateway.settings import load
    from workers.supervisor import run_supervisor

    settings = load(
        config,
        flags={
            "supervisor": {"redis_url": redis_url},
            "worker": {"redis_url": redis_url} | worker_flags,
            **observing_flags(log_format, otlp_endpoint),
        },
    )
    configure(process="supervisor", json=AS_JSON[settings.log_format])
    run_supervisor(settings.supervisor, settings.worker)
