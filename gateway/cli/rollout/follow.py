"""Follows a rollout until it is over or waits for somebody. Called by `turnout rollout` and `deploy`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.cli.progress import progress
from gateway.cli.rollout.words import event_line, radius, verdict_lines
from gateway.cli.session import Session
from gateway.contract.errors import TurnoutError

POLL_S = 1.0
SAY_S = 5.0  # what is waited for changes with every request
AWAY_S = 60.0  # how long it goes on while nobody answers
PASSING = frozenset({"store_away", "unreachable"})
STOPPED = frozenset({"paused", "frozen"})  # it does not go on by itself


def follow(session: Session, model: str, found: Mapping[str, Any], *, is_told: bool) -> int:
    """Tells how it ended; exit code 0 if it succeeded."""
    found = until_over(session, model, found, is_told=is_told)
    session.out.value(found)
    if is_told and found["progress"] is not None:
        session.out.line(f"exposed: {radius(found)}")
    if found["phase"] == "succeeded":
        session.out.line(f"succeeded: {found['sentence']}")
        return 0
    session.out.failure(f"{found['phase'].replace('_', ' ')}: {found['sentence']}")
    return 1


def until_over(session: Session, model: str, found: Mapping[str, Any], *, is_told: bool) -> Mapping[str, Any]:
    """The rollout as it was when it was over or waited for somebody."""
    if is_told:
        return _until_over(session, model, found, Teller(session, len(found["events"])))
    with progress(f"waiting for the rollout of {model} to {found['candidate']}"):
        return _until_over(session, model, found, None)


def _until_over(
    session: Session, model: str, found: Mapping[str, Any], teller: "Teller | None"
) -> Mapping[str, Any]:
    rollout_id = found["rollout_id"]
    away_since_s: float | None = None
    while not found["is_over"] and found["phase"] not in STOPPED:
        time.sleep(POLL_S)
        try:
            found = session.client.get("models", model, "rollout")
        except TurnoutError as error:
            away_since_s = away_since_s or time.monotonic()
            if error.code not in PASSING or time.monotonic() > away_since_s + AWAY_S:
                raise
            continue
        away_since_s = None
        if found["rollout_id"] != rollout_id:
            raise TurnoutError(
                "conflict", f"another rollout of {model} was started meanwhile: {found['rollout_id']}"
            )
        if teller is not None:
            teller.tell(found)
    return found


@dataclass(slots=True)
class Teller:
    """Tells each event once, and now and then what is waited for."""

    session: Session
    told: int  # events
    waits: str = ""
    said_s: float = 0.0

    def tell(self, found: Mapping[str, Any]) -> None:
        out = self.session.out
        for event in found["events"][self.told :]:
            out.line(event_line(event))
            for line in verdict_lines(event):
                out.line(line)
        self.told = len(found["events"])
        progress = found["progress"] or {}
        is_now = progress.get("step") == found["step"] and not found["is_over"]
        waits = progress.get("waits_for", "") if is_now else ""
        if waits and waits != self.waits and time.monotonic() > self.said_s + SAY_S:
            first, *others = waits.split("; ")
            more = f" (and {len(others)} more: `turnout rollout status {found['model']}`)" if others else ""
            out.line(f"  step {found['step'] + 1}/{len(found['steps'])} waits for: {first}{more}")
            self.waits, self.said_s = waits, time.monotonic()
