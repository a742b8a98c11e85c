"""Why workers are missing, in a sentence that says what to do."""

from typing import Any

from gateway.contract.pool import Lack
from workers.lacks import FETCHING, Failure, lacks
from workers.staffing import Backoff, Pool

ONE, TWO = ("digits", "1"), ("digits", "2")


def told(working: dict[Pool, int], **given: Any) -> dict[Pool, Lack]:
    usual: dict[str, Any] = {
        "failures": {}, "refused": set(), "fetching": set(), "most": 8, "is_draining": False,
        "starting": set(), "now_s": 10.0,
    }  # fmt: skip
    return lacks({ONE: 2, TWO: 1}, working, **{**usual, **given})


def test_who_has_enough_or_is_about_to_start_lacks_nothing() -> None:
    over = Failure("exit code 1", Backoff(1, 9.9), asked_at=0)
    assert told({ONE: 2}, failures={ONE: over, TWO: over}, refused={ONE}) == {}


def test_a_crash_loop_tells_the_last_words_and_the_way_out() -> None:
    failure = Failure("exit code 1: no such file", Backoff(5, 130.0, is_loop=True), asked_at=0)
    lack = told({ONE: 2}, failures={TWO: failure})[TWO]
    assert lack.is_stuck
    assert lack.sentence == (
        "crash loop: failed 5 times in a row (exit code 1: no such file); next try in 120 s, or with "
        "`turnout pools start digits 2`"
    )


def test_what_goes_on_is_not_stuck() -> None:
    failure = Failure("SIGKILL", Backoff(1, 10.2), asked_at=0)
    found = told({ONE: 1}, failures={ONE: failure}, fetching={TWO})
    assert found[ONE] == Lack(sentence="failed once (SIGKILL); next try in 0 s")
    assert found[TWO] == FETCHING


def test_a_full_machine_is_stuck_unless_somebody_leaves_or_has_just_been_started() -> None:
    assert told({ONE: 2}, refused={TWO})[TWO].is_stuck
    assert not told({ONE: 2}, refused={TWO}, is_draining=True)[TWO].is_stuck
    assert not told({ONE: 1}, refused={ONE}, starting={ONE})[ONE].is_stuck
