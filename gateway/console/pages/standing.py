"""What a person decides of a version: approve it for what is shown, deprecate it, take it out in a hurry."""

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from gateway.console.api import ApiError, path_of
from gateway.console.ask import Question, ask, refuse
from gateway.console.pages.steps import show_steps
from gateway.console.pieces import Moment, badge, button, text
from gateway.console.place import Watch
from gateway.console.words import NOTHING, command, with_options
from gateway.contract.plan import Plan

DAY_S = 86_400  # the evidence that a dossier is about
HASH_SHOWN = 12
KIND_OF_STATE = {
    "approved": "good", "deprecated": "warn", "retired": "", "rejected": "bad", "quarantined": "bad",
}  # fmt: skip
# state -> (its command, its button, what it does)
_MOVES = {
    "validated": ("validate", "Validate …", "Its checks passed."),
    "registered": ("clear", "Clear …", "The quarantine or rejection is taken back."),
    "deprecated": (
        "deprecate",
        "Deprecate …",
        "It goes on answering; every reply says that it ends in 30 days.",
    ),
    "retired": ("retire", "Retire …", "It answers nobody any more; its route must not name it."),
    "rejected": ("reject", "Reject …", "It must not get traffic. What it has now stays until you move it."),
    "quarantined": (
        "quarantine",
        "Quarantine …",
        "No new traffic from now on. What it has stays until you roll back.",
    ),
}


def show_standing(standing: Mapping[str, Any]) -> None:
    """Who decided what, in words."""
    for given in standing["approvals"]:
        with ui.element("p").classes("soft"):
            text(f"Approved by {given['by']}, ")
            Moment(given["at_ms"])
            if given["note"]:
                text(f" – {given['note']}")
    if standing["state"] in ("deprecated", "retired"):
        ends = (standing["sunset_at"] or "")[:10] or NOTHING
        then = f"; after it: version {standing['successor']}" if standing["successor"] else ""
        text(f"It ends on {ends}{then}.", "warning", "p")
    if standing["reason"] and standing["state"] != "registered":
        text(f"{standing['by']}: {standing['reason']}", "soft", "p")


def state_badge(state: str) -> None:
    badge(state, KIND_OF_STATE.get(state, ""))


def decide(watch: Watch, model: str, standing: Mapping[str, Any], after: Callable[[str], None]) -> None:
    """Buttons for the states that it can be put into."""
    version = standing["version"]
    with ui.element("div").classes("row-of"):
        if "approved" in standing["next"] or standing["state"] == "approved":
            button("Approve …", lambda: approve(watch, model, version, after=after), "quiet")
        for state, (_, words, _) in _MOVES.items():
            if state in standing["next"]:
                question = _move(watch, model, version, state=state, after=after)
                button(words, lambda asked=question: ask(watch, asked), "quiet")


def _move(watch: Watch, model: str, version: str, *, state: str, after: Callable[[str], None]) -> Question:
    verb, words, effect = _MOVES[state]
    line = command("model", verb, model, version)

    async def perform(reason: str) -> str:
        path = path_of("models", model, "versions", version, "state")
        done = await watch.post(path, {"state": state, "reason": reason})
        return f"version {version} of {model} is {done['state']}"

    return Question(
        title=f"{words.removesuffix(' …')} version {version}",
        draw=lambda: text(effect, "", "p"),
        perform=perform,
        command=lambda reason: with_options(line, reason=reason),
        verb=words.removesuffix(" …"),
        is_risky=state in ("retired", "rejected", "quarantined"),
        after=after,
    )


async def approve(
    watch: Watch,
    model: str,
    version: str,
    *,
    plan: dict[str, Any] | None = None,
    plan_name: str = "",
    after: Callable[[str], None],
) -> None:
    """Shows what an approval is about, and holds for alone: the version, the plan, what evidence says."""
    base = path_of("models", model, "versions", version)
    file = f"{plan_name}.yaml"
    words = ("model", "approve", model, version, *(("--plan", file) if plan else ()))
    try:
        found = await watch.post(f"{base}/dossier", {"plan": plan})
        compared = await watch.get(path_of("models", model, "compare"), since_s=DAY_S)
    except ApiError as error:
        refuse(f"Approve version {version}", error, command(*words))
        return
    line = command(*words, "--hash", found["hash"][:HASH_SHOWN])
    before = f"{command('rollout', 'plans', plan_name)} > {file} && " if plan else ""

    async def perform(note: str) -> str:
        await watch.post(f"{base}/approve", {"dossier": found["hash"], "plan": plan, "note": note})
        return f"version {version} of {model} is approved"

    question = Question(
        title=f"Approve version {version}" + (f" by the plan {plan_name}" if plan else ""),
        draw=lambda: _draw(found, compared, plan),
        perform=perform,
        command=lambda note: before + with_options(line, reason=note, named="--note"),
        verb="Approve",
        why="What convinced you (the audit keeps it)",
        after=after,
    )
    ask(watch, question)


def _draw(found: dict[str, Any], compared: dict[str, Any], plan: dict[str, Any] | None) -> None:
    document = found["dossier"]["version"]
    measured = ", ".join(f"{name} {value:g}" for name, value in document["metrics"].items())
    owner, notes = document["owner"] or NOTHING, document["notes"] or NOTHING
    text(f"Registered by {found['author']}, owner {owner}: {notes}", "", "p")
    text(f"Measured when it was registered: {measured or NOTHING}.", "", "p")
    told = [
        verdict["sentence"]
        for verdict in compared["verdicts"]
        if document["version"] in (verdict["baseline"], verdict["candidate"])
    ]
    text("What the last day of traffic says:", "strong", "p")
    for sentence in told or ["nothing: it has had no labels beside another version"]:
        text(sentence, "verdict", "p")
    if plan is not None:
        text("How it would go live:", "strong", "p")
        show_steps(Plan.model_validate(plan), -1)
    text(
        f"You approve exactly this (hash {found['hash'][:HASH_SHOWN]}): another plan, another document or a "
        "verdict that turns, and the approval lapses.",
        "soft",
        "p",
    )
