"""`turnout worker`: one process that serves one version; with `--model-file` alone, without Redis."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from gateway.cli.grammar import running
from gateway.cli.processes.observing import observing_flags, observing_options
from gateway.contract.errors import TurnoutError
from gateway.contract.lifeline import SETTINGS
from gateway.contract.logs import AS_JSON
from gateway.contract.names import is_model_name, is_version_name


def _name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    is_fine = is_model_name(value) if param.name == "model" else is_version_name(value)
    if not is_fine:
        raise click.BadParameter(f"{value!r} is not a name: letters, digits and ._- (models: lower case)")
    return value


@click.command("worker")
@click.option("--model", required=True, callback=_name)
@click.option("--version", required=True, callback=_name)
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
    "--model-file",
    type=click.Path(path_type=Path),
    help="Serve this ONNX file alone: no registry, no Redis, no lease.",
)
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--advertise-host", help="Where gateways reach it, if that is elsewhere.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="[default: any free one]")
@click.option("--worker-id", default="", help="Name of its lease. [default: made up]")
@click.option(
    "--allow-unauthenticated", is_flag=True, default=None, help="Allow an address other than loopback."
)
@click.option(
    "--max-batch-rows", type=click.IntRange(1, 65536), help="Most rows in one run; 1 = no batching. [64]"
)
@click.option(
    "--max-delay-ms", type=click.FloatRange(0, 1000), help="How long an idle model waits for rows. [0]"
)
@click.option("--max-queue-requests", type=click.IntRange(1), help="Requests that may wait. [1024]")
@click.option("--inline-limit-us", type=click.FloatRange(0), help="Longer runs leave the event loop. [300]")
@click.option("--intra-op-threads", type=click.IntRange(1, 256), help="Threads inside one run. [1]")
@click.option(
    "--drain-grace-s", type=click.FloatRange(0, 600), help="How long it still accepts at the end. [1]"
)
@observing_options
@click.option("--settings", "settings_json", envvar=SETTINGS, hidden=True)
@running
def worker(
    model: str,
    version: str,
    config: Path | None,
    port: int,
    worker_id: str,
    model_file: Path | None,
    settings_json: str | None,
    artifacts: str | None,
    log_format: str | None,
    otlp_endpoint: str | None,
    **flags: Any,
) -> int:
    """Run one worker of one version."""
    # Imported here: `turnout worker --help` needs no model runtime.
    from gateway.observe.logs import configure
    from workers.app import Assignment, run_worker
    from workers.settings import load
    from workers.stores import settings_of

    given = {name: value for name, value in flags.items() if value is not None} | settings_of(artifacts)
    observing = observing_flags(log_format, otlp_endpoint)
    if settings_json is None:
        settings = _settings(config, given, observing)
    else:
        settings = replace(load(settings_json), **given)
    configure(process=f"worker {model} {version}", json=AS_JSON[settings.log_format])
    try:
        run_worker(Assignment(model, version, worker_id, port, model_file), settings)
    except TurnoutError as error:
        click.echo(f"turnout: worker of {model} {version}: {error.message}", err=True)
        return 1
    return 0


def _settings(config: Path | None, flags: dict[str, Any], observing: dict[str, Any]) -> Any:
    from gateway.settings import load

    return load(config, flags={"worker": flags, **observing}).worker
