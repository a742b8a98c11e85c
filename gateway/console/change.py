"""How an operator changes a route: sees what would change and what policy says of it, and then does it.

A dry run against the control API gives the differences, the warnings and every rule that stands against it.
The commit expects the revision that the dry run saw, so of two operators at once one is told. Where only
workers are missing they are started first (`console.starting`). What is refused but may be overridden by this
viewer can be done all the same, with a reason. Called by pages.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from nicegui import ui

from gateway.console.api import ApiError, path_of
from gateway.console.ask import Question, ask, refuse
from gateway.console.pieces import sentence, text
from gateway.console.place import Watch
from gateway.console.starting import Lacking, Starting, lacking_of
from gateway.console.words import served, with_options
from gateway.contract.policy import Policy

WAIT_S = 10  # for every gateway to serve the change
LOOKING = "a look at what would change"  # the reason of a dry run; no history keeps it
OVERRIDDEN = "overridden: "  # how a forced dry run begins what policy has against it


@dataclass(frozen=True, slots=True)
class Change:
    """`path` takes `body` with `dry_run`, `reason` and `expected_revision` beside it; `after` is told how it
    went, in a sentence."""

    title: str
    model: str
    path: str
    body: dict[str, Any]
    revision: int
    command: str
    is_risky: bool = False
    after: Callable[[str], None] = field(default=lambda _: None)

    def asked(self, *, dry_run: bool, reason: str, force: bool) -> dict[str, Any]:
        wait_s = 0 if dry_run else WAIT_S
        common = {"expected_revision": self.revision, "dry_run": dry_run, "reason": reason, "wait_s": wait_s}
        return {**self.body, **common, **({"force": True} if force else {})}


@dataclass(frozen=True, slots=True)
class Look:
    """What a dry run said; `against` is what refuses the change unless it is forced, `lacking` the versions
    whose workers are to be started first."""

    found: dict[str, Any]
    against: tuple[str, ...]
    policies: tuple[str, ...]
    lacking: Lacking | None = None

    @property
    def is_forced(self) -> bool:
        return bool(self.against)


def edit(model: str, edit_body: dict[str, Any], **rest: Any) -> Change:
    return Change(model=model, path=path_of("routes", model, "edit"), body={"edit": edit_body}, **rest)


async def propose(watch: Watch, change: Change) -> None:
    """Shows the differences; commits when the operator says so."""

    async def dry_run(force: bool) -> Any:
        return await watch.post(change.path, change.asked(dry_run=True, reason=LOOKING, force=force))

    try:
        look = await look_at(watch, change.model, dry_run)
    except ApiError as error:
        refuse(change.title, error, change.command)
        return
    is_forced, verb = look.is_forced, "Commit against the rules" if look.is_forced else "Commit"
    starting = None if look.lacking is None else Starting(watch, look.lacking)

    async def commit(reason: str) -> str:
        if starting is not None:
            await starting.perform()
        done = await watch.post(change.path, change.asked(dry_run=False, reason=reason, force=is_forced))
        return f"{change.model} is at revision {done['revision']}{served(done.get('applied'))}"

    ask(
        watch,
        Question(
            title=change.title,
            draw=lambda: _draw(change, look, starting),
            perform=commit,
            command=lambda reason: with_options(change.command, reason=reason, force=is_forced),
            verb=verb
            if look.lacking is None
            else f"Start workers of {look.lacking.names}, then {verb.lower()}",
            confirm=change.model if change.is_risky or is_forced else "",
            is_risky=change.is_risky or is_forced,
            needs_reason=is_forced,
            is_possible=bool(look.found.get("changed")),
            after=change.after,
        ),
    )


async def look_at(watch: Watch, model: str, dry_run: Callable[[bool], Awaitable[Any]]) -> Look:
    """`dry_run` is told whether to force. Raises what cannot be overridden, or not by this viewer."""
    against: tuple[str, ...] = ()
    lacking = None
    try:
        found = await dry_run(False)
    except ApiError as error:
        if error.code != "refused":
            raise
        found = await dry_run(True)
        lacking = await lacking_of(watch, error)
        if lacking is not None and lacking.is_startable:  # then only policy is in the way
            warnings = map(str, found.get("warnings", ()))
            against = tuple(
                words.removeprefix(OVERRIDDEN) for words in warnings if words.startswith(OVERRIDDEN)
            )
        else:
            lacking = None
            against = tuple(map(str, error.data.get("refusals", ()))) or (error.message,)
    return Look(found, against, await policies_about(watch, model), lacking)


async def policies_about(watch: Watch, model: str) -> tuple[str, ...]:
    """Names of those that are asked before this model's traffic moves."""
    found = map(Policy.model_validate, (await watch.get("/policies"))["policies"])
    return tuple(policy.policy for policy in found if policy.is_about(model))


def _draw(change: Change, look: Look, starting: Starting | None) -> None:
    found = look.found
    if not found.get("changed"):
        text("Nothing would change.", "", "p")
        return
    text(f"This changes revision {change.revision} of {change.model}:", "soft", "p")
    with ui.element("ul").classes("diff").props('aria-label="What changes"'):
        for difference in found["differences"]:
            text(difference, "", "li")
    for worker in found.get("checked", ()):
        said = worker["problem"] or f"answered a test inference in {worker['ms']:.1f} ms"
        text(f"Worker {worker['address']} {said}", "soft", "p")
    show_verdict(look.policies, look.against)
    if starting is not None:
        starting.show()
    show_warnings(look)


def show_warnings(look: Look) -> None:
    """What the operator should know besides."""
    for warning in look.found.get("warnings", ()):
        is_told = warning.removeprefix(OVERRIDDEN) in look.against
        if not is_told and (look.lacking is None or not look.lacking.says(warning)):
            sentence(warning, "warning")


def show_verdict(policies: tuple[str, ...], against: tuple[str, ...] = ()) -> None:
    """What the rules say, before anything is done."""
    if against:
        with ui.element("div").classes("error").props('role="alert"'):
            text("Refused, unless you override it with a reason:", "strong", "p")
            with ui.element("ul").classes("list").props('aria-label="What stands against it"'):
                for refusal in against:
                    text(refusal, "", "li")
    elif policies:
        text(f"Policy allows it ({', '.join(policies)}).", "good-words", "p")
    else:
        text("No policy is about this model.", "soft", "p")
