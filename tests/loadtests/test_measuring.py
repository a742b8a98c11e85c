"""The arithmetic of the benchmark: CPU times, ratios within rounds, and what wrk says."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from gateway.contract.envelope import Envelope
from gateway.core.compile import EMPTY, compile_changes
from loadtests import many
from loadtests.cpu import CpuTime, busy_time, parse_stat, tree_time
from loadtests.drive import BODY, parse
from loadtests.installation import documents
from loadtests.machine import describe
from loadtests.measure import times
from loadtests.rounds import Measurement, summarise, table
from loadtests.systems import System

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
ONE = Measurement(
    scenario="split",
    system="nginx",
    round=1,
    requests=1000,
    failed=0,
    per_second=1000.0,
    p50_us=500.0,
    p99_us=900.0,
    cpu_us=20.0,
    user_us=8.0,
    system_us=12.0,
    parts_us={"nginx": 20.0},
    upstream_requests=1.0,
    redis_us=0.0,
    elsewhere_cores=0.1,
)


def test_cpu_times_are_read_past_any_process_name() -> None:
    numbers = " ".join(str(number) for number in range(4, 53))
    parent, used = parse_stat(f"77 (a) b (c) S 42 {numbers}\n")
    # After the name: state, parent, then fields 5 to 52; 14 to 17 are the four times in ticks.
    assert parent == 42
    assert used == CpuTime((13 + 15) * TICK_S, (14 + 16) * TICK_S)


def test_the_time_of_a_tree_includes_running_children() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: sum(range(1000))\nprint(1, flush=True)\ninput()"
    child = subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    with_child, alone = tree_time(os.getpid()), tree_time(child.pid)
    assert alone.total_s >= 0.18
    assert with_child.total_s >= alone.total_s
    child.communicate("\n")
    assert (tree_time(os.getpid()) - with_child).total_s > -2 * TICK_S  # it stays counted once it has ended


def test_the_busy_time_of_the_machine_covers_our_own() -> None:
    before, ours = busy_time(), time.process_time()
    while time.process_time() - ours < 0.1:
        sum(range(1000))
    assert busy_time() - before >= 0.1 - 3 * TICK_S


def test_ratios_are_formed_within_rounds_so_that_a_slow_round_does_not_count() -> None:
    costs = {"nginx": [20.0, 60.0, 20.0], "turnout": [30.0, 90.0, 32.0]}
    found = summarise(
        [
            replace(ONE, system=system, round=number, cpu_us=cost)
            for system, of_system in costs.items()
            for number, cost in enumerate(of_system, 1)
        ],
        reference="nginx",
    )
    nginx, turnout = found
    assert nginx.ratio is None
    assert turnout.ratio == 1.5
    assert (turnout.cpu_us, turnout.cpu_us_least, turnout.cpu_us_most) == (32.0, 30.0, 90.0)


def test_turnout_is_compared_with_every_peer_whatever_the_reference() -> None:
    costs = {"nginx": [20.0, 60.0, 20.0], "envoy": [60.0, 200.0, 64.0], "turnout": [30.0, 90.0, 32.0]}
    found = summarise(
        [
            replace(ONE, system=system, round=number, cpu_us=cost)
            for system, of_system in costs.items()
            for number, cost in enumerate(of_system, 1)
        ],
        reference="nginx",
    )
    assert [(summary.ratio, summary.turnout_ratio) for summary in found] == [
        (None, 1.5),
        (3.2, 0.5),
        (1.5, None),
    ]
    assert [line.split()[7:9] for line in table(found, reference="nginx").splitlines()[1:]] == [
        ["–", "1.50"],
        ["3.20", "0.50"],
        ["1.50", "–"],
    ]


def test_user_and_system_time_stay_apart() -> None:
    (found,) = summarise([ONE, replace(ONE, round=2, user_us=10.0, system_us=14.0)], reference="nginx")
    assert (found.user_us, found.system_us) == (9.0, 13.0)


def test_the_time_of_each_of_a_systems_processes_is_read() -> None:
    ours, parents = os.getpid(), os.getppid()
    before = tree_time(ours)
    found = times(System("turnout", 1, {"gateway": ours, "worker": parents}))
    assert list(found) == ["gateway", "worker"]
    assert found["gateway"].total_s >= before.total_s


def test_the_parts_of_a_system_are_told_below_the_table() -> None:
    both = replace(ONE, system="turnout", parts_us={"gateway": 12.0, "worker": 8.0})
    rounds = [both, replace(both, round=2, parts_us={"gateway": 14.0, "worker": 9.0}), ONE]
    text = table(summarise(rounds, reference="nginx"), reference="nginx")
    assert text.splitlines()[-1] == "split, turnout: gateway 13.0, worker 8.5 µs/request"
    assert len(text.splitlines()) == 4


def test_scenarios_are_kept_apart() -> None:
    measured = [
        replace(ONE, scenario=scenario, system=system, cpu_us=cost)
        for scenario, system, cost in [
            ("split", "nginx", 10.0),
            ("split", "turnout", 20.0),
            ("shadow", "nginx", 40.0),
            ("shadow", "turnout", 40.0),
        ]
    ]
    ratios = {(found.scenario, found.system): found.ratio for found in summarise(measured, reference="nginx")}
    assert ratios == {
        ("split", "nginx"): None,
        ("split", "turnout"): 2.0,
        ("shadow", "nginx"): None,
        ("shadow", "turnout"): 1.0,
    }


def test_failed_requests_stand_out_in_the_table() -> None:
    summaries = summarise([ONE, replace(ONE, system="turnout", failed=3)], reference="nginx")
    lines = table(summaries, reference="nginx").splitlines()
    assert "FAILED" not in lines[1]
    assert lines[2].endswith("3 FAILED")


def test_what_wrk_says_is_read_from_its_last_line() -> None:
    said = (
        "Running 4s test @ http://127.0.0.1:1\n  {not this}\n"
        '{"requests": 100, "duration_us": 4000000, "bytes": 5, "connect_errors": 1, "read_errors": 2, '
        '"write_errors": 3, "status_errors": 4, "timeouts": 5, "p50_us": 10, "p90_us": 20, "p99_us": 30}\n'
    )
    driven = parse(said)
    assert (driven.requests, driven.failed, driven.duration_s, driven.p99_us) == (100, 15, 4.0, 30)


def test_the_body_is_as_long_as_it_says() -> None:
    assert len(BODY) == 100


@pytest.mark.parametrize("shadow", [None, "3"])
def test_a_gateway_accepts_the_documents_of_the_benchmark(shadow: str | None) -> None:
    wanted = documents("bench", shadow=shadow)
    envelopes = {
        field: Envelope(field=field, revision=1, at_ms=0, author="bench", reason="", doc=doc)
        .model_dump_json()
        .encode()
        for field, doc in wanted.items()
    }
    snapshot = compile_changes(EMPTY, revision=1, changed=envelopes)
    assert not snapshot.problems
    assert set(snapshot.versions["bench"]) == {"1", "2", "3"}
    assert [found.version for found in snapshot.routes["bench"].route.shadows] == ([shadow] if shadow else [])


def test_a_result_says_what_it_was_measured_on() -> None:
    machine = describe()
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert machine["python"].startswith("3.")
    assert set(machine) >= {"commit", "kernel", "packages", "programs", "at"}


def test_a_gateway_accepts_the_documents_of_many_models() -> None:
    envelopes = {field: many.envelope(field, 1, doc) for field, doc in many.documents(7)}
    snapshot = compile_changes(EMPTY, revision=1, changed=envelopes)
    assert not snapshot.problems
    assert list(snapshot.versions["model-00007"]) == list(many.VERSIONS)
    assert snapshot.routes["model-00007"].route.versions() == {"1", "2"}
