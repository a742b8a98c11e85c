"""Workers first, then the change: what the command line does by itself, offered in the dialog of a change.

The control API refuses traffic for versions without workers and names them. Here they are asked for and
waited for; until one of each is ready nothing has moved. Called by `console.change` and where rollouts begin.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nicegui.element import Element

from gateway.console.api import ApiError, path_of
from gateway.console.pieces import command_line, say, text
from gateway.console.place import Watch
from gateway.console.words import command, pool_words

POLL_S = 0.25
WITHIN_S = 60.0  # a large model takes so long to load
STUCK_S = 2.0  # what a supervisor says is half a second old at most: a new wish needs as long to be heard


@dataclass(frozen=True, slots=True)
class Lacking:
    """`versions` of models that have no ready worker, and whether somebody is there who could start one."""

    versions: tuple[tuple[str, str], ...]
    is_startable: bool

    @property
    def names(self) -> str:
        return " and ".join(version for _, version in self.versions)

    def says(self, warning: str) -> bool:
        """This warning is that there is no worker."""
        return any(
            warning.startswith(f"version {version} of {model} has no ready worker")
            for model, version in self.versions
        )


async def lacking_of(watch: Watch, error: ApiError) -> Lacking | None:
    """None where something else refuses."""
    told = error.data.get("without_workers", ())
    if not told:
        return None
    supervisors = (await watch.get("/pools", model=told[0]["model"]))["supervisors"]
    return Lacking(tuple((item["model"], item["version"]) for item in told), bool(supervisors))


class Starting:
    """What the dialog shows of it, and the waiting. `show` is called while the dialog is drawn."""

    def __init__(self, watch: Watch, lacking: Lacking) -> None:
        self._watch, self._lacking = watch, lacking
        self._told: Element | None = None

    def show(self) -> None:
        is_one = len(self._lacking.versions) == 1
        whose, them = ("version", "Its workers") if is_one else ("versions", "Their workers")
        text(
            f"No worker of {whose} {self._lacking.names} is ready. {them} are started first; nothing moves "
            "before one is.",
            "warning",
            "p",
        )
        for model, version in self._lacking.versions:
            command_line(command("pools", "start", model, version))
        self._told = text("", "soft", "p").props('role="status"')

    async def perform(self) -> None:
        """Raises ApiError unless each of them has a ready worker."""
        for model, version in self._lacking.versions:
            await self._start(model, version)

    async def _start(self, model: str, version: str) -> None:
        path = path_of("models", model, "versions", version)
        await self._watch.post(f"{path}/start", {})
        began_s = moving_s = time.monotonic()
        while True:
            pool = (await self._watch.get(path))["pool"]
            now_s = time.monotonic()
            moving_s = moving_s if pool["is_stuck"] else now_s
            self._say(f"Version {version}: {pool_words(pool)}, for {now_s - began_s:.0f} s")
            if pool["ready"]:
                return
            if now_s - began_s >= WITHIN_S or now_s - moving_s >= STUCK_S:
                raise ApiError("no_workers", _why_short(pool, model, version))
            await asyncio.sleep(POLL_S)

    def _say(self, words: str) -> None:
        if self._told is not None:
            say(self._told, words)


def _why_short(pool: dict[str, Any], model: str, version: str) -> str:
    lacks: Sequence[str] = pool["lacks"]
    why = "; ".join(lacks) or "it still starts; its supervisor's log says more"
    return f"version {version} of {model} has no ready worker: {why}. Nothing was changed."
