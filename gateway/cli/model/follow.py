"""`turnout model follow`: when an alias of an MLflow server moves, register what it means, and roll it out.

Without `--plan` only the command is said. With it the plan is proposed: kept with the version as its tag
`proposed-plan`. With `--start` the rollout begins; policy judges it as any. Every part may be repeated. A
server that does not answer is told once, and asked again; what was not done is done then.
"""

import time
from dataclasses import dataclass

import click

from gateway.cli.model.register import check_names, fetched, report, send
from gateway.cli.rollout.follow import PASSING
from gateway.cli.rollout.once import Wish, plan_of, roll_out, until_ready, workers_like_baseline
from gateway.cli.session import Session, operator
from gateway.contract.errors import TurnoutError
from gateway.sources.fetched import Limits
from gateway.sources.mlflow import Mlflow, Named, parse_mlflow

PROPOSED = "proposed-plan"  # the tag


@dataclass(frozen=True, slots=True)
class Job:
    """`plan` None: versions are only registered; `is_start`: their rollouts begin."""

    model: str
    named: Named
    plan: str | None
    is_start: bool
    ready_s: float


@click.command()
@click.argument("name", metavar="MODEL")
@click.argument("address", metavar="mlflow://HOST/models:/NAME")
@click.option("--alias", required=True, help="The alias of MLflow to follow, such as champion.")
@click.option("--plan", metavar="NAME", help="A template of rollouts (`turnout rollout plans`): propose it.")
@click.option("--start", is_flag=True, help="Start the rollout, as policy allows, instead of proposing it.")
@click.option("--ready-s", type=click.FloatRange(0, 3600), default=60.0, show_default=True, metavar="SECONDS",
    help="With --start: how long the first worker may take.")  # fmt: skip
@click.option("--every", "--every-s", "every_s", type=click.FloatRange(1, 86400), default=30.0,
    show_default=True, metavar="SECONDS", help="How often to look.")  # fmt: skip
@click.option("--once", is_flag=True, help="Look once and end; for a scheduler.")
@operator
def follow(
    session: Session,
    name: str,
    address: str,
    alias: str,
    plan: str | None,
    start: bool,
    ready_s: float,
    every_s: float,
    once: bool,
) -> int:
    """Register what an alias of MLflow means whenever it moves; propose or start its rollout."""
    if start and plan is None:
        raise click.UsageError("--start needs --plan NAME: by which plan shall it be rolled out?")
    job = Job(name, parse_mlflow(address, alias=alias), plan, start, ready_s)
    _check_plan(session, plan, is_patient=not once)
    done, trouble = "", ""
    while True:
        try:
            version = _named_now(job)
            if version != done:
                _answer(session, job, version)
                done = version
            if trouble:
                session.out.line("goes on: what was in the way is gone")
            trouble = ""
        except TurnoutError as error:
            if once:
                raise
            if error.message != trouble:
                session.out.error(error)
                session.out.line(f"tried again every {every_s:g} s; nothing is lost meanwhile")
            trouble = error.message
        if once:
            return 0
        time.sleep(every_s)


def _check_plan(session: Session, plan: str | None, *, is_patient: bool) -> None:
    """A misspelled plan is said before anything is done; a server that is away is no misspelling."""
    if plan is None:
        return
    try:
        plan_of(session, plan)
    except TurnoutError as error:
        if not is_patient or error.code not in PASSING:
            raise


def _named_now(job: Job) -> str:
    """The number of the version that the alias means."""
    server = Mlflow(job.named.url, limits=Limits())
    try:
        return str(server.version(job.named).get("version", ""))
    finally:
        server.close()


def _answer(session: Session, job: Job, version: str) -> None:
    check_names(job.model, version)
    wish = Wish(job.model, version, job.plan or "standard", reason=f"{job.named.alias} of MLflow names it")
    _register(session, job, wish)
    command = f"turnout rollout start {job.model} --to {version} --plan {wish.plan}"
    if job.plan is None:
        session.out.line(f"to roll it out: {command}")
    elif job.is_start:
        _start(session, job, wish)
    else:
        body = {"tags": {PROPOSED: job.plan}}
        session.client.put("models", job.model, "versions", version, "tags", body=body)
        session.out.line(f"proposed, kept as tag {PROPOSED}={job.plan}; to roll it out: {command}")


def _register(session: Session, job: Job, wish: Wish) -> None:
    address = job.named.at(wish.version)
    if _source_of(session, wish) == address:
        session.out.line(f"{wish.model} {wish.version} is registered already")
        return
    workers = workers_like_baseline(session, wish) if job.is_start else None
    with fetched(address, limits=Limits()) as found:
        sent = {"source": found.address, "workers": workers}
        report(session, send(session, wish.model, wish.version, found, sent))


def _source_of(session: Session, wish: Wish) -> str | None:
    """None: there is no such version."""
    try:
        return str(session.client.get("models", wish.model, "versions", wish.version)["source"])
    except TurnoutError as error:
        if error.code not in ("unknown_model", "unknown_version"):
            raise
        return None


def _start(session: Session, job: Job, wish: Wish) -> None:
    plan = plan_of(session, wish.plan)
    until_ready(session, wish, within_s=job.ready_s)
    rollout = roll_out(session, wish, plan)
    if rollout is None:
        session.out.line(f"{wish.model} {wish.version} answers all requests already")
    else:
        phase = rollout["phase"].replace("_", " ")
        session.out.line(f"rollout {rollout['rollout_id']} to {wish.version}: {phase}")
