"""The queue in front of a model, with a model of the test's own."""

import asyncio
import threading
from collections.abc import Iterator
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from gateway.contract.errors import CallerError, TurnoutError
from tests.sockets import eventually
from workers.batcher import Batcher, Bounds, Entry
from workers.batching import Costs, Outcome
from workers.shares import Outputs
from workers.tally import Tally

FAST = Costs(5.0, 0.1)
SLOW = Costs(1e6, 0.0)


class Asked:
    """A caller; `outcome` once it was told."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.times_told = 0

    def told(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.times_told += 1

    @property
    def values(self) -> Any:
        assert isinstance(self.outcome, Outputs), self.outcome
        return self.outcome.array(0).tolist()

    @property
    def code(self) -> str:
        assert isinstance(self.outcome, TurnoutError)
        return self.outcome.code


class Model:
    """Doubles its input; remembers the rows of each run. Holds every run while `gate` is closed."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.thread: str = ""

    def run(self, inputs: list[Any]) -> list[Any]:
        self.runs.append(len(inputs[0]))
        self.thread = threading.current_thread().name
        assert self.gate.wait(60)
        if (inputs[0] < 0).any():
            raise CallerError("invalid_input", "poison")
        return [inputs[0] * 2]


def bounds(**changes: Any) -> Bounds:
    usual: dict[str, Any] = {
        "max_rows": 8,
        "max_delay_s": 0.0,
        "max_queue_requests": 4,
        "max_queue_rows": 100,
        "inline_limit_us": 300.0,
        "is_uniform": True,
    }
    return Bounds(**(usual | changes))


class Bench:
    """A model with its batcher."""

    def __init__(self, costs: Costs = FAST, **changes: Any) -> None:
        self.model = Model()
        self.tally = Tally()
        self.batcher = Batcher(self.model.run, costs, bounds(**changes), self.tally)

    def send(self, *values: int, caller: Asked | None = None, expires_at: float = 0.0) -> tuple[Asked, Entry]:
        asked = caller or Asked()
        inputs = [np.array(values, np.int64)]
        return asked, self.batcher.submit(asked, inputs, arrived=perf_counter(), expires_at=expires_at)

    async def hold(self) -> Asked:
        """A run that is on until `release`."""
        self.model.gate.clear()
        first, _ = self.send(0)
        await eventually(lambda: self.model.runs)
        return first

    def release(self) -> None:
        self.model.gate.set()


@pytest.fixture
def opened() -> Iterator[list[Bench]]:
    benches: list[Bench] = []
    yield benches
    for bench in benches:
        bench.release()
        bench.batcher.close()


async def test_a_lone_request_runs_in_the_next_turn_of_the_loop() -> None:
    bench = Bench()
    asked, _ = bench.send(3)
    await asyncio.sleep(0)
    assert asked.values == [6]


async def test_requests_that_come_together_share_a_run_and_each_gets_its_own() -> None:
    bench = Bench(max_queue_requests=10)
    together = [bench.send(value, value + 10)[0] for value in range(4)]
    await asyncio.sleep(0)
    assert bench.model.runs == [8]
    assert [asked.values for asked in together] == [[value * 2, value * 2 + 20] for value in range(4)]


async def test_what_does_not_fit_runs_at_once_after() -> None:
    bench = Bench(max_queue_requests=10)
    together = [bench.send(*range(5))[0] for _ in range(3)]
    await eventually(lambda: all(asked.outcome for asked in together))
    assert bench.model.runs == [5, 5, 5]


async def test_a_short_run_stays_on_the_loop_and_a_long_one_leaves_it(opened: list[Bench]) -> None:
    fast, slow = Bench(FAST), Bench(SLOW)
    opened += [fast, slow]
    asked = [fast.send(1)[0], slow.send(1)[0]]
    await eventually(lambda: all(each.outcome for each in asked))
    assert fast.model.thread == threading.main_thread().name
    assert slow.model.thread.startswith("inference")


async def test_many_rows_of_a_fast_model_leave_the_loop(opened: list[Bench]) -> None:
    bench = Bench(Costs(5.0, 10.0))
    opened.append(bench)
    asked, _ = bench.send(*range(50))
    await eventually(lambda: asked.outcome)
    assert bench.model.thread.startswith("inference")


async def test_requests_queue_while_a_run_is_on_and_share_the_next(opened: list[Bench]) -> None:
    bench = Bench(SLOW)
    opened.append(bench)
    first = await bench.hold()
    waiting = [bench.send(value)[0] for value in (1, 2, 3)]
    assert len(bench.batcher) == 3
    bench.release()
    await eventually(lambda: all(asked.outcome for asked in (first, *waiting)))
    assert bench.model.runs == [1, 3]
    assert [asked.values for asked in waiting] == [[2], [4], [6]]


async def test_a_caller_that_goes_away_leaves_the_queue_and_harms_nobody(opened: list[Bench]) -> None:
    bench = Bench(SLOW)
    opened.append(bench)
    first = await bench.hold()
    (one, _), (gone, entry), (other, _) = (bench.send(value) for value in (1, 2, 3))
    bench.batcher.forget(entry)
    assert len(bench.batcher) == 2
    bench.release()
    await eventually(lambda: first.outcome and one.outcome and other.outcome)
    assert bench.model.runs == [1, 2]
    assert (one.values, other.values, gone.times_told) == ([2], [6], 0)


async def test_a_caller_that_goes_away_during_its_run_is_not_told(opened: list[Bench]) -> None:
    bench = Bench(SLOW)
    opened.append(bench)
    bench.model.gate.clear()
    gone, entry = bench.send(1)
    other, _ = bench.send(2)
    await eventually(lambda: bench.model.runs)
    bench.batcher.forget(entry)
    bench.release()
    await eventually(lambda: other.outcome)
    assert bench.model.runs == [2]
    assert (other.values, gone.times_told) == ([4], 0)


async def test_one_poisonous_input_fails_alone() -> None:
    bench = Bench()
    one, poison, other = (bench.send(value)[0] for value in (1, -1, 3))
    await asyncio.sleep(0)
    assert (one.values, poison.code, other.values) == ([2], "invalid_input", [6])


async def test_a_full_queue_refuses_by_requests_and_by_rows(opened: list[Bench]) -> None:
    bench = Bench(SLOW, max_queue_rows=10)
    opened.append(bench)
    await bench.hold()
    for value in range(4):
        bench.send(value)
    with pytest.raises(TurnoutError, match="queue is full") as raised:
        bench.send(5)
    assert raised.value.code == "overloaded"
    other = Bench(SLOW, max_queue_rows=10)
    opened.append(other)
    await other.hold()
    other.send(*range(9))
    with pytest.raises(TurnoutError, match="9 rows"):
        other.send(1, 2)
    bench.release()
    other.release()


async def test_rows_that_left_the_queue_make_room(opened: list[Bench]) -> None:
    bench = Bench(SLOW, max_queue_rows=10)
    opened.append(bench)
    await bench.hold()
    _, entry = bench.send(*range(9))
    bench.batcher.forget(entry)
    asked, _ = bench.send(*range(10))
    bench.release()
    await eventually(lambda: asked.outcome)


async def test_a_single_request_larger_than_the_queue_is_still_served() -> None:
    bench = Bench(max_queue_rows=10)
    asked, _ = bench.send(*range(50))
    await eventually(lambda: asked.outcome)
    assert bench.model.runs == [50]


async def test_a_request_past_its_deadline_is_answered_without_a_run(opened: list[Bench]) -> None:
    bench = Bench(Costs(0.01, 0.0), inline_limit_us=0.0)  # in the thread, and expected to be over at once
    opened.append(bench)
    first = await bench.hold()
    over_at = perf_counter() + 0.001
    late, _ = bench.send(1, expires_at=over_at)
    timely, _ = bench.send(2, expires_at=perf_counter() + 60)
    await eventually(lambda: perf_counter() > over_at)
    bench.release()
    await eventually(lambda: first.outcome and late.outcome and timely.outcome)
    assert (late.code, timely.values) == ("deadline", [4])
    assert bench.model.runs == [1, 1]


async def test_a_request_whose_time_would_be_over_before_its_turn_is_refused_at_once(
    opened: list[Bench],
) -> None:
    bench = Bench(Costs(1e8, 0.0), max_queue_requests=100, max_rows=1)  # 100 s a run
    opened.append(bench)
    await bench.hold()
    now = perf_counter()
    with pytest.raises(TurnoutError, match="turn would come in") as raised:
        bench.send(1, expires_at=now + 50)  # the run that is on takes longer
    assert raised.value.code == "overloaded"
    bench.send(1, expires_at=now + 150)
    bench.send(1)
    with pytest.raises(TurnoutError, match="turn would come in"):
        bench.send(1, expires_at=now + 250)  # one is on, two wait
    bench.send(1, expires_at=now + 6000)
    bench.send(1)  # without a deadline nothing but a full queue refuses
    assert len(bench.batcher) == 4


async def test_an_idle_model_refuses_nobody_for_want_of_time() -> None:
    bench = Bench(Costs(100.0, 0.0))
    asked, _ = bench.send(1, expires_at=perf_counter() + 1e-9)
    await eventually(lambda: asked.outcome)
    assert asked.code == "deadline"


async def test_requests_of_one_turn_are_refused_when_those_before_them_take_too_long() -> None:
    bench = Bench(Costs(100.0, 0.0), max_queue_requests=100, max_rows=1)
    for _ in range(50):
        bench.send(1, expires_at=perf_counter() + 60)
    with pytest.raises(TurnoutError, match="turn would come in"):
        bench.send(1, expires_at=perf_counter() + 0.004)
    assert len(bench.batcher) == 50


async def test_what_runs_really_take_counts_not_what_was_measured_before() -> None:
    bench = Bench(Costs(250.0, 0.0), max_queue_requests=100, max_rows=1)  # in truth a few
    for _ in range(100):
        bench.send(1)
        await asyncio.sleep(0)
    assert len(bench.model.runs) == 100
    for _ in range(50):
        bench.send(1)
    bench.send(1, expires_at=perf_counter() + 0.012)  # 50 times 250 us would be 12.5 ms


async def test_a_model_that_is_faster_than_it_was_measured_refuses_less(opened: list[Bench]) -> None:
    bench = Bench(SLOW, max_rows=1)
    opened.append(bench)
    bench.batcher._pace.factor = 0.01  # as after many runs of 10 ms
    await bench.hold()
    bench.send(1)
    bench.send(1, expires_at=perf_counter() + 0.5)
    with pytest.raises(TurnoutError, match="turn would come in"):
        bench.send(1, expires_at=perf_counter() + 0.005)


async def test_a_bug_in_the_model_is_told_to_every_caller(caplog: pytest.LogCaptureFixture) -> None:
    def run(inputs: list[Any]) -> list[Any]:
        return [inputs[1]]

    bench = Bench()
    bench.batcher._run = run
    together = [bench.send(value)[0] for value in (1, 2)]
    await asyncio.sleep(0)
    assert [asked.code for asked in together] == ["internal", "internal"]
    assert "nobody expected" in caplog.text


async def test_groups_take_turns_by_their_oldest_request(opened: list[Bench]) -> None:
    bench = Bench(SLOW, is_uniform=False, max_queue_requests=10)
    opened.append(bench)
    first = await bench.hold()
    callers = [Asked() for _ in range(4)]
    for caller, width in zip(callers, (1, 2, 1, 2), strict=True):
        bench.batcher.submit(caller, [np.ones((1, width), np.int64)], arrived=perf_counter(), expires_at=0)
    bench.release()
    await eventually(lambda: first.outcome and all(caller.outcome for caller in callers))
    assert bench.model.runs == [1, 2, 2]
    assert [caller.values for caller in callers] == [[[2]], [[2, 2]], [[2]], [[2, 2]]]


async def test_with_a_delay_a_lone_client_is_still_served_at_once() -> None:
    bench = Bench(max_delay_s=30.0)
    client = Asked()
    for value in range(3):
        client.outcome = None
        bench.send(value, caller=client)
        await asyncio.sleep(0)
        assert client.values == [value * 2]


async def test_with_a_delay_requests_of_several_clients_wait_for_each_other() -> None:
    bench = Bench(max_delay_s=0.5, max_queue_requests=20)
    first, _ = bench.send(0)
    await asyncio.sleep(0)
    assert first.outcome  # nobody else was active before it
    others = []
    for value in (1, 2, 3):
        others.append(bench.send(value)[0])
        await asyncio.sleep(0)
    assert [asked.outcome for asked in others] == [None, None, None]
    await eventually(lambda: all(asked.outcome for asked in others))
    assert bench.model.runs == [1, 3]


async def test_with_a_delay_a_full_batch_does_not_wait() -> None:
    bench = Bench(max_delay_s=30.0, max_queue_requests=20)
    bench.send(0)
    await asyncio.sleep(0)
    together = [bench.send(value)[0] for value in range(8)]
    await asyncio.sleep(0)
    assert all(asked.outcome for asked in together)
