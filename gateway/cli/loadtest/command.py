"""`turnout loadtest`: send real requests at a chosen rate or with so many users, and say what came of them.

Reads the scenario and the inputs, has `run` perform them, and reports: lines and a table, JSON, and
a folder with a page of plots. Only loopback unless a host is allowed by name, and bounded in time.
"""

import importlib.util
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from gateway.cli.loadtest.inputs import inputs_of, recorded_inputs
from gateway.cli.loadtest.report import Progress, show, write
from gateway.cli.loadtest.run import drive, join, why_closed
from gateway.cli.loadtest.scenario import scenario_of, seconds
from gateway.cli.loadtest.target import check_names, target_of
from gateway.cli.session import Session, operator
from gateway.contract.errors import TurnoutError
from gateway.loadtest import earlier
from gateway.loadtest.results import result
from gateway.loadtest.scenario import Run
from gateway.loadtest.schedule import total_s
from gateway.loadtest.thresholds import Threshold, parse

STOPPED = 130
MAX_REQUESTS = 20_000_000  # a day at 230 a second


@click.command()
@click.argument("model", required=False)
@click.option("--scenario", metavar="NAME|FILE.yaml",
    help="A file, or the name of one in config/loadtests: smoke, ramp, spike, soak, users.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(0.1, 100_000), metavar="PER_SECOND",
    help="Open loop: so many requests a second, whatever the answers do.")  # fmt: skip
@click.option("--users", type=click.IntRange(1, 10_000), metavar="N",
    help="Closed loop: so many users, each waiting for its answer.")  # fmt: skip
@click.option("--for", "for_", metavar="TIME", help="With --rate or --users: 30s, 5m. Default: 30s.")
@click.option(
    "--think", type=click.FloatRange(0, 3600), metavar="SECONDS", help="Pause of a user after each answer."
)
@click.option("--scale", type=click.FloatRange(0.001, 1000), default=1.0, metavar="FACTOR",
    help="Multiplies every level of the scenario.")  # fmt: skip
@click.option("--inputs", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="NDJSON: {\"body\": {...}, \"label\": 7} a line. Default: the demo's, for its models.")  # fmt: skip
@click.option(
    "--recorded", is_flag=True, help="Send requests that gateways kept (`record.bodies`); no labels."
)
@click.option(
    "--version", "pin", metavar="VERSION", help="Pin every request to it. Default: the route decides."
)
@click.option("--skew", type=click.Choice(["zipf", "uniform", "none"]),
    help="How often units ask: a few often, all alike, or requests name no unit.")  # fmt: skip
@click.option(
    "--units", type=click.IntRange(1, 1_000_000), metavar="N", help="How many units. Default: 5000."
)
@click.option("--label-delay", metavar="TIME|none", help="When labels are sent: 5s, 2m; `none` sends none.")
@click.option(
    "--timeout", type=click.FloatRange(0.01, 600), metavar="SECONDS", help="Of a request. Default: 5."
)
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, metavar="N",
    help="Processes that send; more where one is the bottleneck.")  # fmt: skip
@click.option("--listen", metavar="HOST:PORT", help="Let --processes workers join from elsewhere.")
@click.option(
    "--join", "join_", metavar="HOST:PORT", help="Be one of the workers of a run that has --listen."
)
@click.option("--fail-if", multiple=True, metavar="CONDITION",
    help="Exit code 1 if so: 'p99>20ms', 'accuracy[2]<0.95'. Default: 'error_rate>1%'.")  # fmt: skip
@click.option("--compare", "compare_", type=click.Path(path_type=Path), metavar="result.json",
    help="Lay an earlier run beside this one.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
    help="Write result.json and report.html into it.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Say only what fails.")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="Where the gateway is.")
@click.option(
    "--allow-host", multiple=True, metavar="HOST", help="Hosts that may be loaded, besides loopback."
)
@click.option(
    "--max-duration", default="10m", show_default=True, metavar="TIME", help="Longer runs are refused."
)
@click.option("--seed", type=int, default=0, metavar="N", help="Of all chance: the same requests again.")
@operator
def loadtest(
    session: Session,
    model: str | None,
    join_: str | None,
    listen: str | None,
    recorded: bool,
    inputs: Path | None,
    fail_if: tuple[str, ...],
    compare_: Path | None,
    out: Path | None,
    quiet: bool,
    **options: Any,
) -> int:
    """Load MODEL through a gateway, and report rates, errors, latency and accuracy by version.

    \b
    turnout loadtest digits --scenario smoke
    turnout loadtest digits --rate 200 --for 30s --fail-if 'p99>50ms' --out before
    turnout loadtest digits --rate 200 --for 30s --compare before/result.json

    Ctrl-C ends a run in good order, with a report of what was done (exit code 130).
    """
    if importlib.util.find_spec("locust") is None:
        raise click.UsageError("load tests need locust: install it with `pip install 'turnout[loadtest]'`")
    if join_ is not None:
        return join(*_address(join_), say=session.out.line)
    if model is None:
        raise click.UsageError("which model? turnout loadtest digits --scenario smoke")
    check_names(model, [] if options["pin"] is None else [options["pin"]])
    if recorded and inputs is not None:
        raise click.UsageError("give --inputs or --recorded, not both")
    scenario = scenario_of(options)
    thresholds = _thresholds(fail_if or scenario.fail_if)
    before = None if compare_ is None else _earlier(compare_)
    target_of(options["url"], options["allow_host"])
    run = Run(
        scenario=scenario,
        url=options["url"].rstrip("/"),
        model=model,
        version=options["pin"],
        key=click.get_current_context().params.get("key"),
        inputs=recorded_inputs(session.client, model) if recorded else inputs_of(model, inputs),
        scale=options["scale"],
        seed=options["seed"],
        processes=options["processes"],
    )
    _check_size(run, options["max_duration"])
    if listen is None:  # else the workers are elsewhere, and reach what is not reached from here
        _check_reached(run.url)
    if out is not None:
        _make_folder(out)
    return _perform(session, run, thresholds, listen=listen, before=before, out=out, is_quiet=quiet)


def _perform(
    session: Session,
    run: Run,
    thresholds: Sequence[Threshold],
    *,
    listen: str | None,
    before: Mapping[str, Any] | None,
    out: Path | None,
    is_quiet: bool,
) -> int:
    at_ms = time.time_ns() // 1_000_000
    progress = Progress(is_quiet=is_quiet)
    driven = drive(
        run, listen=None if listen is None else _address(listen), say=progress.say, progress=progress.show
    )
    progress.end()
    found = result(
        run, driven.tally, at_ms=at_ms, interrupted=driven.is_interrupted, problems=driven.problems
    )
    verdicts = [threshold.judge(found) for threshold in thresholds]
    found["thresholds"] = [{"is_failed": is_failed, "sentence": said} for is_failed, said in verdicts]
    changes = [] if before is None else earlier.changes(before, found)
    if before is not None:
        found["warnings"] += [
            f"not the same as in the earlier run: {what}" for what in earlier.differences(before, found)
        ]
    show(session.out, found, changes, is_quiet=is_quiet)
    if out is not None:
        write(out, found, changes)
        if not is_quiet:
            session.out.line(f"written to {out}: result.json, report.html")
    failed = [said for is_failed, said in verdicts if is_failed] + driven.problems
    for said in failed:
        session.out.failure(f"failed: {said}")
    if driven.is_interrupted:
        session.out.failure("stopped before the end; this is what was done")
        return STOPPED
    return 1 if failed else 0


def _thresholds(texts: Sequence[str]) -> list[Threshold]:
    try:
        return [parse(text) for text in texts]
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _earlier(path: Path) -> Mapping[str, Any]:
    file = path / "result.json" if path.is_dir() else path
    try:
        return earlier.check(json.loads(file.read_text()))
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise click.UsageError(f"{file}: {error}") from None


def _check_size(run: Run, most: str) -> None:
    if run.scenario.loop == "open" and (wanted := sum(phase.area for phase in run.phases)) > MAX_REQUESTS:
        raise click.UsageError(f"these are {wanted:,.0f} requests, and {MAX_REQUESTS:,} are the most")
    most_users = run.processes * run.scenario.max_in_flight
    users = max(max(phase.start, phase.end) for phase in run.phases)
    if run.scenario.loop == "closed" and users > most_users:
        raise click.UsageError(
            f"{run.processes} processes have {most_users:,} users at most: give --processes"
        )
    takes_s = total_s(run.phases)
    if takes_s > seconds(most):
        raise click.UsageError(
            f"this takes {takes_s:g} s, and at most {most} are allowed: give --max-duration"
        )


def _check_reached(url: str) -> None:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if (why := why_closed(parts.hostname or "", port)) is not None:
        raise TurnoutError(
            "unreachable",
            f"nothing listens at {url} ({why}): start `turnout up`, or say with --url where the gateway is",
        )


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise click.UsageError(f"{text!r} is not HOST:PORT")
    return host, int(port)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"{folder}: {error.strerror}") from None
