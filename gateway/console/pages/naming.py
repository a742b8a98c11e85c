"""Aliases: what each means, how the route follows one, and moving them through policy.

Called by the pages of versions and of a model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

from gateway.console.api import ApiError, path_of
from gateway.console.ask import Question, ask, refuse
from gateway.console.change import LOOKING, Look, look_at, show_verdict, show_warnings
from gateway.console.pieces import Moment, badge, button, command_line, set_command, text
from gateway.console.place import Watch
from gateway.console.words import command, with_options

USUAL = "champion"  # what the first alias of a model is mostly called
_KIND_OF_STATE = {"arrived": "good", "rolling": "good", "refused": "bad"}


class Naming:
    """The controls for moving one; `changed` is told how a move went."""

    def __init__(
        self,
        watch: Watch,
        model: str,
        *,
        aliases: Mapping[str, str],
        revision: int,
        versions: Sequence[str],
        changed: Callable[[str], None],
    ) -> None:
        self._watch, self._model, self._changed = watch, model, changed
        self._aliases, self._revision, self._versions = aliases, revision, list(versions)

    def build(self) -> None:
        aliases = self._aliases
        first = sorted(aliases)[0] if aliases else USUAL
        with ui.element("div").classes("row-of"):
            self._name = ui.input("Alias", value=first).props("dense outlined maxlength=64")
            self._to = ui.select(self._versions, label="Version").props("dense outlined")
            self._move = button("Move it …", self._propose, "quiet")
        self._line = command_line(self._command())
        for field in (self._name, self._to):
            field.on_value_change(self._check)
        self._check()

    def _check(self) -> None:
        self._move.set_enabled(bool(self._alias_name() and self._to.value))
        set_command(self._line, self._command())

    def _command(self) -> str:
        return command(
            "alias", "set", self._model, self._alias_name() or "ALIAS", self._to.value or "VERSION"
        )

    def _alias_name(self) -> str:
        return (self._name.value or "").strip()

    async def _propose(self) -> None:
        name, version, line = self._alias_name(), str(self._to.value), self._command()
        title = f"Let {name} mean version {version}"
        path = path_of("models", self._model, "aliases", name)

        def body(*, is_forced: bool, reason: str, dry_run: bool) -> dict[str, Any]:
            common = {"version": version, "expected_revision": self._revision, "reason": reason}
            return {**common, "dry_run": dry_run, "force": is_forced}

        async def dry_run(force: bool) -> Any:
            return await self._watch.put(path, body(is_forced=force, reason=LOOKING, dry_run=True))

        try:
            look = await look_at(self._watch, self._model, dry_run)
        except ApiError as error:
            refuse(title, error, line)
            return

        async def move(reason: str) -> str:
            done = await self._watch.put(path, body(is_forced=look.is_forced, reason=reason, dry_run=False))
            return f"{name} of {self._model} is version {version} at revision {done['revision']}"

        ask(
            self._watch,
            Question(
                title=title,
                draw=lambda: self._draw(name, version, look),
                perform=move,
                command=lambda reason: with_options(line, reason=reason, force=look.is_forced),
                verb="Move it against the rules" if look.is_forced else "Move it",
                confirm=self._model if look.is_forced else "",
                is_risky=look.is_forced,
                needs_reason=look.is_forced,
                is_possible=bool(look.found["changed"]),
                after=self._changed,
            ),
        )

    def _draw(self, name: str, version: str, look: Look) -> None:
        before = self._aliases.get(name)
        if not look.found["changed"]:
            text(f"{name} means version {version} already: nothing would change.", "", "p")
            return
        was = f"It means version {before} now." if before else "There is no alias of this name yet."
        text(was, "", "p")
        following = self._watch.want(path_of("models", self._model, "aliases")).data["following"]
        if following is None or following["alias"] != name:  # else a warning says what the route will do
            text(f"The route does not follow {name}: no request moves.", "soft", "p")
        show_verdict(look.policies, look.against)
        show_warnings(look)


def show_aliases(found: Mapping[str, Any] | None) -> None:
    """What each means, since when and by whom; and how the route follows one of them."""
    if found is None:
        return
    for name, version in sorted(found["aliases"].items()):
        moved = found["moved"].get(name)
        with ui.element("p"):
            text(f"{name} is version {version}", "strong")
            if moved is not None:
                text(f", since revision {moved['revision']} by {moved['author']}, ", "soft")
                Moment(moved["at_ms"], age=True)
                text(f" – {moved['reason']}", "soft")
    if found["following"] is not None:
        show_following(found["model"], found["following"])
    else:
        text("The route follows none of them: moving one moves no request. To let it follow:", "soft", "p")
        name = next(iter(sorted(found["aliases"])), USUAL)
        command_line(command("route", "follow", found["model"], name, "--plan", "standard"))


def show_following(model: str, following: Mapping[str, Any]) -> None:
    """How the route stands towards its alias, and what to do where it waits."""
    state = following["state"]
    with ui.element("p"):
        plan = f"by plan {following['plan']}" if following["plan"] else "at once"
        named = f"version {following['version']}" if following["version"] else "no version"
        text(f"The route follows {following['alias']} ({named}) {plan}: ")
        badge(state.replace("_", " "), _KIND_OF_STATE.get(state, "warn"))
        text(f" {following['sentence']}")
    with ui.element("div").classes("row-of"):
        command_line(command("alias", "show", model))
        if state == "waiting" and "has no ready worker" in following["sentence"]:
            command_line(command("pools", "start", model, following["version"]))
