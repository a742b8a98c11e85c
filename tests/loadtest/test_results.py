"""A run's numbers: what was counted, thresholds on it, and the comparison with an earlier run."""

import json
from random import Random
from typing import Any

import pytest

from gateway.core.page import html
from gateway.loadtest import earlier
from gateway.loadtest.report import page, summary
from gateway.loadtest.results import result
from gateway.loadtest.scenario import Input, Run, Scenario
from gateway.loadtest.tally import NO_VERSION, Tally
from gateway.loadtest.thresholds import parse


def run(rate: float = 100, seconds: float = 10, **scenario: Any) -> Run:
    document = {"phases": [{"for_s": seconds, "at": rate}], **scenario}
    return Run(
        scenario=Scenario.model_validate(document),
        url="http://127.0.0.1:8080",
        model="digits",
        version=None,
        key="secret",
        inputs=(Input(body="{}", label=1),),
    )


def tally(requests: int = 1000, *, ms: float = 5.0, failed: int = 0, right: float = 0.9) -> Tally:
    """Half of the answers from each of two versions."""
    found = Tally(cpu_s={0: 1.0}, seconds={0: 10.0}, sent=requests, last_s=10.0)
    for number in range(requests - failed):
        version = found.of(str(1 + number % 2))
        version.response.add(ms * 1000)
        version.service.add(ms * 1000)
        version.scored += 1
    for version in found.versions.values():
        version.right = round(right * version.scored)
    if failed:
        found.of(NO_VERSION).errors["refused"] += failed
    return found


def told(counted: Tally, of: Run | None = None, *, interrupted: bool = False) -> dict[str, Any]:
    found = result(of or run(), counted, at_ms=0, interrupted=interrupted, problems=[])
    loaded = json.loads(json.dumps(found))
    assert isinstance(loaded, dict)
    return loaded


def test_a_run_is_told_by_version_and_in_all() -> None:
    found = told(tally(failed=10))
    assert found["requests"] == {
        "intended": 1000, "sent": 1000, "answered": 990, "failed": 10, "unsent": 0, "blocked": 0,
    }  # fmt: skip
    assert found["errors"] == {"refused": 10}
    assert found["error_rate"] == 0.01
    assert [row["version"] for row in found["versions"]] == ["1", "2"]
    assert found["accuracy"] == pytest.approx(0.9, abs=0.01)
    assert "secret" not in json.dumps(found)


def test_a_second_of_stall_is_in_the_p99_of_an_open_loop() -> None:
    """100 requests a second for 10 s; what was due in the second of the stall waited for its end."""
    counted = Tally(sent=1000, cpu_s={0: 1.0}, seconds={0: 10.0}, last_s=10.0)
    for number in range(1000):
        due_s = number / 100
        waited_ms = max(0.0, 6.0 - due_s) * 1000 if 5.0 <= due_s < 6.0 else 0.0
        counted.of("1").response.add((waited_ms + 2) * 1000)
        counted.of("1").service.add(2000)  # to a driver that sends one after another it looked like this
    found = told(counted)
    assert found["latency_ms"]["p99"] == pytest.approx(900, rel=0.03)
    assert found["service_ms"]["p99"] == pytest.approx(2, rel=0.03)


def test_what_users_left_out_in_a_stall_is_in_the_p99_of_a_closed_loop() -> None:
    """A user who asks every 100 ms asked nothing in a stall of 10 s: 99 questions are missing."""
    counted = Tally(sent=1000, cpu_s={0: 1.0}, seconds={0: 10.0}, last_s=10.0)
    for ms in [1.0] * 999 + [10_000.0]:
        counted.of("1").response.add(ms * 1000)
        counted.of("1").service.add(ms * 1000)
    found = told(counted, run(loop="closed", think_s=0.099))
    assert found["latency_ms"]["p99"] == pytest.approx(8_900, rel=0.03)
    assert found["versions"][0]["latency_ms"]["p99"] == found["latency_ms"]["p99"]
    assert found["service_ms"]["p99"] == pytest.approx(1, rel=0.03)
    assert found["latency_ms"]["p90"] == pytest.approx(1, rel=0.03)  # think time is part of the pace


def test_what_was_due_and_not_sent_counts_as_an_error() -> None:
    counted = tally(900)
    counted.unsent = 100
    found = told(counted)
    assert found["error_rate"] == 0.1
    assert any("never sent" in warning for warning in found["warnings"])


def test_a_gateway_that_is_not_there_is_told_with_its_address() -> None:
    where = "nothing listens at http://127.0.0.1:8080"
    assert where in told(tally(10, failed=10))["warnings"][0]
    assert not any(where in said for said in told(tally(1000, failed=10))["warnings"])
    other = Tally(sent=2)
    other.of(NO_VERSION).errors["404"] += 2  # a gateway's own 404 has a code
    assert "what listens is no gateway" in told(other)["warnings"][0]


def test_a_busy_or_late_driver_says_that_it_was_the_bottleneck() -> None:
    busy, late = tally(), tally()
    busy.cpu_s = {0: 1.0, 1: 9.0}
    busy.seconds = {0: 10.0, 1: 10.0}
    late.lag.add(50_000)
    assert told(busy)["driver"]["is_bottleneck"]
    assert "bottleneck" in told(busy)["warnings"][0]
    assert "late" in told(late)["warnings"][0]
    assert told(late)["driver"]["is_bottleneck"]
    assert not told(tally())["driver"]["is_bottleneck"]
    assert told(tally())["warnings"] == []


def test_what_befell_the_driver_itself_is_the_first_warning() -> None:
    lost = "1 of the driver's processes were lost"
    found = result(run(), tally(1030), at_ms=0, interrupted=False, problems=[lost])
    assert found["warnings"][0] == lost


def test_requests_that_waited_for_a_connection_are_told_where_that_is_in_their_latency() -> None:
    counted = tally()
    counted.blocked = 7
    assert "7 requests waited for a connection" in told(counted)["warnings"][0]
    assert told(counted, run(loop="closed"))["warnings"] == []


def test_answers_that_came_after_the_schedule_do_not_make_the_rate_look_kept() -> None:
    counted = tally()
    counted.last_s = 20.0
    assert (told(counted)["rate"]["sent"], told(counted)["rate"]["answered"]) == (100.0, 50.0)


def test_a_run_that_was_stopped_is_measured_by_the_time_that_it_had() -> None:
    counted = tally(500)
    counted.seconds = {0: 5.0}
    found = told(counted, interrupted=True)
    assert (found["seconds"], found["requests"]["intended"], found["rate"]["sent"]) == (5.0, 500, 100.0)


def test_a_rate_that_is_off_is_told_unless_chance_made_it() -> None:
    assert "+3.0% off" in told(tally(1030))["warnings"][0]
    assert told(tally(1030), run(arrivals="poisson"))["warnings"] == []


def test_processes_add_up() -> None:
    one, other = tally(400), tally(600, failed=6)
    other.cpu_s = {1: 2.0}
    total = Tally()
    for part in (one, other):
        total.merge(Tally.from_json(json.loads(json.dumps(part.to_json()))))
    assert (total.sent, total.answered, total.failed) == (1000, 994, 6)
    assert total.cpu_s == {0: 1.0, 1: 2.0}


@pytest.mark.parametrize(
    ("condition", "is_failed"),
    [
        ("p99>4ms", True), ("p99>6ms", False), ("p50 > 4000us", True), ("max>=1s", False), ("mean<1s", True),
        ("error_rate>0.1%", True), ("error_rate>2%", False), ("errors>9", True), ("rate<90", False),
        ("p99.9>6ms", False),
        ("rate<99.5", True), ("requests<1000", True), ("unsent>0", False), ("accuracy<0.95", True),
        ("accuracy[2]<85%", False), ("accuracy[2]<0.95", True), ("rate[1]<40", False), ("errors[1]>0", False),
        ("accuracy[3]<0.1", True), ("p99[nobody]>1s", True), ("mae>1000", True),
    ],
)  # fmt: skip
def test_a_threshold_fails_where_it_is_crossed_or_cannot_be_measured(condition: str, is_failed: bool) -> None:
    assert parse(condition).judge(told(tally(failed=10)))[0] is is_failed


@pytest.mark.parametrize("condition", ["p99>60s", "accuracy<0", "mae>9", "error_rate>50%"])
def test_no_threshold_passes_on_nothing(condition: str) -> None:
    assert parse(condition).judge(told(Tally()))[0]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("p99", "no condition"), ("p99>20", "unit"), ("p98>20ms", "not one of"), ("p999>20ms", "not one of"),
        ("error_rate>1ms", "no unit"), ("p99>20ms;x", "no condition"), ("accuracy[]<1", "no condition"),
        ("p99==2ms", "no condition"),
    ],
)  # fmt: skip
def test_a_condition_that_is_none_says_why(condition: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(condition)


def test_a_difference_beyond_chance_is_told_from_noise() -> None:
    before, slower, same = told(tally()), told(tally(ms=8)), told(tally(right=0.905))
    certain = {(change.what, change.version): change for change in earlier.changes(before, slower)}
    assert certain["p99 ms", None].is_certain
    assert certain["p99 ms", None].ratio == pytest.approx(1.6, rel=0.05)
    assert certain["p50 ms", "2"].is_certain
    assert not any(change.is_certain for change in earlier.changes(before, same))


def test_quantiles_of_the_same_spread_differ_by_noise() -> None:
    found = []
    for seed in (1, 2):
        chance, counted = Random(seed), Tally(sent=500, last_s=10.0)
        for _ in range(500):
            counted.of("1").response.add(chance.expovariate(1) * 1e4)
        found.append(told(counted))
    quantiles = [change for change in earlier.changes(*found) if change.what.endswith(" ms")]
    assert all(change.before != change.now for change in quantiles)
    assert not any(change.is_certain for change in quantiles)


@pytest.mark.parametrize(
    ("what", "other"),
    [
        ("phases", run(rate=200)), ("loop", run(loop="closed")), ("think time", run(think_s=1.0)),
        ("model", run().model_copy(update={"model": "fraud"})),
        ("pinned version", run().model_copy(update={"version": "2"})),
        ("scale", run().model_copy(update={"scale": 2.0})),
        ("processes", run().model_copy(update={"processes": 2})),
    ],
)  # fmt: skip
def test_runs_of_another_load_say_what_differs(what: str, other: Run) -> None:
    assert earlier.differences(told(tally()), told(tally())) == []
    assert earlier.differences(told(tally()), told(tally(), other)) == [what]


@pytest.mark.parametrize("found", [{}, [], {"turnout_loadtest": 99}])
def test_a_file_that_is_no_result_is_refused(found: object) -> None:
    with pytest.raises(ValueError, match="result"):
        earlier.check(found)


def test_the_page_needs_no_network_and_escapes_what_others_wrote() -> None:
    counted = tally(failed=10)
    counted.of("<script>").response.add(1.0)
    found = told(counted, run(description="<b>bold</b>"))
    text = html(page(found, when="now", verdicts=["FAILED p99"], changes=earlier.changes(found, found)), {})
    assert "<script>" not in text
    assert "<b>" not in text
    assert "&lt;b&gt;bold" in text
    assert "http" not in text.replace(found["url"], "")
    assert any("refused 10" in line for line in summary(found))
