"""`turnout rollout`: start, follow and steer rollouts. They are moved on by the control process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gateway.cli.folder.files import read_documents
from gateway.cli.grammar import REASON, Noun, changes_itself, changing, reading
from gateway.cli.rollout.follow import follow
from gateway.cli.rollout.words import event_line, lines, verdict_lines
from gateway.cli.session import Session, operator, report_applied
from gateway.cli.starting import with_workers
from gateway.cli.words import duration, parse_since
from gateway.contract.errors import TurnoutError


@click.group(cls=Noun)
def rollout() -> None:
    """Move traffic to a version by itself, on evidence.

    Exit code with --watch and --wait: 0 it succeeded, 1 it was rolled back, aborted, or stopped to wait for
    somebody.
    """


@rollout.command()
@click.argument("model")
@click.option("--to", required=True, metavar="VERSION", help="The candidate.")
@click.option("--plan", "plan", default="standard", show_default=True, metavar="NAME|FILE",
    help="A template (`turnout rollout plans`) or a YAML file.")  # fmt: skip
@click.option("--baseline", metavar="VERSION", help="Default: the version with most of the traffic.")
@click.option("--dry-run", is_flag=True, help="Check everything, start nothing.")
@click.option("--watch", is_flag=True, help="Tell what happens until it is over.")
@click.option("--wait", is_flag=True, help="The same without a word.")
@click.option("--start-s", type=click.FloatRange(0, 600), default=60.0, show_default=True, metavar="SECONDS",
    help="How long workers may take that must be started first; 0 starts none.")  # fmt: skip
@REASON
@changes_itself
@operator
def start(
    session: Session,
    model: str,
    to: str,
    plan: str,
    baseline: str | None,
    dry_run: bool,
    watch: bool,
    wait: bool,
    start_s: float,
    reason: str,
) -> int:
    """Start a rollout; the candidate's workers first, where it has none.

    turnout rollout start digits --to 2 --plan demo --watch
    """
    body = {"candidate": to, "baseline": baseline, "reason": reason, "dry_run": dry_run, **plan_body(plan)}
    found = with_workers(
        session,
        lambda: session.client.post("models", model, "rollouts", body=body),
        within_s=0.0 if dry_run else start_s,
    )
    is_followed = (watch or wait) and not dry_run
    if not is_followed:
        session.out.value(found)
    if dry_run:
        session.out.dry_run(
            f"a rollout of {model} from {found['baseline']} to {found['candidate']} would start"
        )
    for line in lines(found):
        session.out.line(line)
    if not (is_followed or dry_run):
        session.out.advise(
            ("follow:", f"turnout rollout watch {model}"), ("stop:", f"turnout rollout abort {model}")
        )
    return follow(session, model, found, is_told=watch) if is_followed else 0


@rollout.command()
@click.argument("model", required=False)
@reading
@operator
def status(session: Session, model: str | None) -> int:
    """How a rollout stands, or all of them in one line each."""
    if model is not None:
        found = session.client.get("models", model, "rollout")
        session.out.value(found)
        for line in lines(found):
            session.out.line(line)
        return 0
    listed = session.client.get("rollouts")
    session.out.value(listed)
    session.out.table(
        ("model", "rollout", "from", "to", "phase", "step", "why"),
        [_row(item) for item in listed["rollouts"]],
        empty="no rollout yet: `turnout rollout start MODEL --to VERSION` makes one",
    )
    return 0


@rollout.command()
@click.argument("model")
@operator
def watch(session: Session, model: str) -> int:
    """Tell what happens until the rollout is over."""
    found = session.client.get("models", model, "rollout")
    for line in lines(found):
        session.out.line(line)
    return follow(session, model, found, is_told=True)


def _steering(verb: str, summary: str) -> click.Command:
    @rollout.command(verb, help=summary)
    @click.argument("model")
    @click.option("--id", "rollout_id", metavar="ROLLOUT", help="Only if it is this one.")
    @click.option(
        "--wait-s", type=click.FloatRange(0, 60), default=10.0, show_default=True, metavar="SECONDS",
        help="How long to wait for gateways at most.",
    )  # fmt: skip
    @REASON
    @changing()
    @operator
    def steer(
        session: Session,
        model: str,
        rollout_id: str | None,
        wait_s: float,
        reason: str,
        keep_route: bool = False,
    ) -> int:
        body = {"rollout_id": rollout_id, "reason": reason, "wait_s": wait_s, "keep_route": keep_route}
        found = session.client.post("models", model, "rollout", verb, body=body)
        session.out.value(found)
        for line in lines(found):
            session.out.line(line)
        return report_applied(session, found["applied"], found["revision"])

    command: click.Command = steer
    if verb == "abort":
        command.params.append(
            click.Option(["--keep-route"], is_flag=True, help="Leave the traffic as it is.")
        )
    return command


pause = _steering("pause", "Stay in the present step until it is resumed.")
resume = _steering("resume", "Go on, from the route as it is now.")
promote = _steering("promote", "Let the present step pass, whatever its gates say.")
abort = _steering("abort", "End it and put the route back as it was before; works without a controller.")


@rollout.command()
@click.argument("model")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Draw the newest one: weight over time with its verdicts (PNG or SVG by suffix).")  # fmt: skip
@reading
@operator
def history(session: Session, model: str, plot: Path | None) -> int:
    """Every rollout of a model with its events, newest first."""
    found = session.client.get("models", model, "rollouts", "history")
    if plot is not None and found["rollouts"]:
        from gateway.cli.plots import plot_rollout

        plot_rollout(found["rollouts"][0], plot)
        session.out.line(f"drawn into {plot}")
    session.out.value(found)
    for item in found["rollouts"]:
        session.out.line(
            f"{item['rollout_id']}: {item['baseline']} -> {item['candidate']}, "
            f"{item['phase'].replace('_', ' ')}, by {item['author']}"
        )
        for event in item["events"]:
            session.out.line(f"  {event_line(event)}")
            for line in verdict_lines(event):
                session.out.line(line)
    if not found["rollouts"]:
        session.out.line(f"{model} never had a rollout")
    return 0


@rollout.command()
@click.argument("model")
@click.option("--to", required=True, metavar="VERSION", help="The candidate.")
@click.option("--plan", "plan", default="standard", show_default=True, metavar="NAME|FILE",
    help="A template or a YAML file.")  # fmt: skip
@click.option("--baseline", metavar="VERSION", help="Default: the version with most of the traffic.")
@click.option("--since", default="1d", show_default=True, metavar="TIME", help="How far back: 15m, 1h, 2d.")
@reading
@operator
def rehearse(session: Session, model: str, to: str, plan: str, baseline: str | None, since: str) -> int:
    """What would a plan have done with the evidence of the last hours? Changes nothing.

    The candidate must have been seen, as a shadow or with a share of the traffic.
    """
    body = {"candidate": to, "baseline": baseline, "since_s": parse_since(since), **plan_body(plan)}
    found = session.client.post("models", model, "rollouts", "rehearse", body=body)
    session.out.value(found)
    out = session.out
    minutes = f"{found['minutes']} minute{'' if found['minutes'] == 1 else 's'}"
    out.line(f"with {minutes} of evidence the rollout of {to} would have {_ending(found)}")
    for event in found["events"]:
        out.line(
            f"  after {duration(event['after_s']):>7}  {event['what'].replace('_', ' ')}: {event['sentence']}"
        )
    if not found["is_over"]:
        out.line(f"  waits for  {found['waits_for']}")
    return 0 if found["phase"] == "succeeded" else 1


def _ending(found: Mapping[str, Any]) -> str:
    if not found["is_over"]:
        return f"come to step {found['step'] + 1} of {found['steps']}"
    ended = {"succeeded": "succeeded", "rolled_back": "been rolled back"}.get(found["phase"], found["phase"])
    return f"{ended} after {duration(found['lasted_s'])}, {found['requests']:.0f} requests answered by it"


@rollout.command()
@click.argument("name", required=False)
@reading
@operator
def plans(session: Session, name: str | None) -> int:
    """The templates that --plan takes; with NAME its YAML, to copy and change."""
    found = session.client.get("rollouts", "plans")
    session.out.value(found)
    if name is None:
        session.out.table(
            ("name", "steps", "gates", "what for"),
            [
                (
                    item["name"],
                    ", ".join(item.get("steps", ())),
                    ", ".join(item.get("gates", ())),
                    item.get("problem") or item["description"],
                )
                for item in found["plans"]
            ],
        )
        return 0
    for item in found["plans"]:
        if item["name"] == name and "plan" in item:
            from gateway.cli.folder.files import write_documents

            session.out.line(write_documents([item["plan"]]).rstrip())
            return 0
    raise TurnoutError("not_found", f"there is no readable plan named {name}")


def plan_body(text: str) -> dict[str, Any]:
    """A name, or the content of a file."""
    if "/" not in text and not text.endswith((".yaml", ".yml", ".json")) and text != "-":
        return {"template": text}
    documents = read_documents(text)
    if len(documents) > 1:
        raise click.UsageError(f"{text} has {len(documents)} documents; a plan is one")
    return {"plan": documents[0]}


def _row(item: Mapping[str, Any]) -> tuple[Any, ...]:
    if "problem" in item:
        return (item["model"], "", "", "", item["problem"], "", "")
    step = f"{min(item['step'] + 1, item['steps'])}/{item['steps']} {item['step_title']}"
    return (
        item["model"], item["rollout_id"], item["baseline"], item["candidate"],
        item["phase"].replace("_", " "), step, item["sentence"],
    )  # fmt: skip
