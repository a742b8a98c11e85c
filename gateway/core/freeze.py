"""Is a change frozen now? Windows once and every week, by the wall clock of their own time zone.

A weekly window is compared in local minutes of the week, so that "Friday 18:00" stays 18:00 when summer time
begins or ends. Called by `core.policy`.
"""

from zoneinfo import ZoneInfo

from pydantic import AwareDatetime

from gateway.contract.policy import Freeze

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 24 * 60


def is_frozen(freeze: Freeze, now: AwareDatetime) -> bool:
    """`now` with its zone. The first minute belongs to the window, the last does not."""
    if freeze.begins is not None and freeze.ends is not None:
        return freeze.begins <= now < freeze.ends
    assert freeze.from_day is not None
    assert freeze.to_day is not None
    local = now.astimezone(ZoneInfo(freeze.zone))
    at = local.weekday() * _DAY + local.hour * 60 + local.minute
    first, last = _minute(freeze.from_day, freeze.from_time), _minute(freeze.to_day, freeze.to_time)
    if first < last:
        return first <= at < last
    return at >= first or at < last  # over the end of the week; the whole week where both are the same


def _minute(day: str, clock: str) -> int:
    hours, minutes = clock.split(":")
    return _DAYS.index(day) * _DAY + int(hours) * 60 + int(minutes)
