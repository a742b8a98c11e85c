"""Nobody ever gets another's answer, whatever happens on the way.

Every request carries a number, and its only right answer is twice that number. Clients leave, run out of
time and pipeline; workers hang, break off, answer twice, and answer a request with the answer to the one
before; the network between them cuts, delays, repeats and corrupts. Same seed, same trouble. What arrives as
200 must be the answer to the request that it answers. The same run with verification switched off has to
find answers in wrong hands, else it would prove nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import pytest

from gateway.upstream.connection import Connection
from gateway.upstream.outcome import Failure
from tests.dataplane.conftest import Turnout
from tests.faults.conftest import all_end, proxied, request
from tests.proxy import PLAIN, End, Proxy, Way, Ways
from tests.scripted import Call, Script, doubled, hang
from tests.sockets import Raw, eventually

CLIENTS = 24


@dataclass
class Judge:
    """What clients were told, and every answer that was not theirs."""

    outcomes: Counter[str] = field(default_factory=Counter)
    strays: list[tuple[int, bytes]] = field(default_factory=list)

    def hear(self, number: int, status: int, body: bytes) -> None:
        self.outcomes[str(status)] += 1
        if status == 200 and body != doubled(b"%d" % number):
            self.strays.append((number, body))


def evil_worker(random: Random) -> Script:
    """Mostly right; sometimes wrong in one of the ways that put answers into wrong hands."""
    owed: dict[int, bytes] = {}  # by connection: what is written in front of the next answer

    async def script(call: Call) -> None:
        answer = call.answer(doubled(call.body))
        write = call.writer.write
        draw = random.random()
        write(owed.pop(id(call.writer), b""))
        if draw < 0.01:
            await hang(call)
        elif draw < 0.03:
            call.reset()
        elif draw < 0.05:
            write(answer[: random.randrange(len(answer))])
            call.writer.close()
        elif draw < 0.08:
            write(answer + answer)
        elif draw < 0.11:
            write(answer)
            owed[id(call.writer)] = answer
        elif draw < 0.13:
            write(answer)
            await asyncio.sleep(0.001 * random.random())
            write(answer)
        elif draw < 0.15:
            await asyncio.sleep(0.06)  # later than some clients wait
            write(answer)
        elif draw < 0.17:
            at = random.randrange(len(answer))
            write(answer[:at])
            await asyncio.sleep(0)
            write(answer[at:])
        else:
            write(answer)

    return script


def to_worker(number: int, random: Random) -> Ways:
    """A third of the connections to workers are mistreated, once."""
    match random.randrange(18):
        case 0:
            return PLAIN, Way(end_after_bytes=random.randrange(2000), end=random.choice(list(End)))
        case 1:
            return Way(end_after_bytes=random.randrange(2000), end=End.RESET), PLAIN
        case 2:
            return PLAIN, Way(duplicate_piece=random.randrange(8))
        case 3:
            return Way(duplicate_piece=random.randrange(8)), PLAIN
        case 4:
            return PLAIN, Way(delay_s=0.02)
        case 5:  # in the head: nobody can see that a body was changed
            return PLAIN, Way(corrupt_byte=random.randrange(84))
        case _:
            return PLAIN, PLAIN


def to_gateway(number: int, random: Random) -> Ways:
    match random.randrange(8):
        case 0:
            return Way(end_after_bytes=random.randrange(3000), end=random.choice(list(End))), PLAIN
        case 1:
            return PLAIN, Way(end_after_bytes=random.randrange(6000), end=End.RESET)
        case 2:
            return Way(delay_s=0.002), Way(delay_s=0.002)
        case 3:
            return Way(bytes_per_s=100_000), Way(bytes_per_s=100_000)
        case _:
            return PLAIN, PLAIN


async def client(port: int, numbers: Iterator[int], judge: Judge, random: Random) -> None:
    """Keeps its connection until it breaks; every request gets one answer, or the connection its end."""
    raw: Raw | None = None
    for number in numbers:
        raw = raw or await Raw.open(port)
        draw = random.random()
        mine = [number, *(next(numbers, number) for _ in range(3 if draw < 0.1 else 0))]
        more = b"turnout-timeout-ms: 50\r\n" if 0.1 < draw < 0.2 else b""
        raw.send(b"".join(request(b"%d" % each, more=more) for each in mine))
        if 0.2 < draw < 0.24:
            await asyncio.sleep(0.004 * random.random())
            judge.outcomes["left"] += 1
            raw.reset()
            raw = None
            continue
        try:
            for each in mine:
                status, headers, body = await raw.reply()
                judge.hear(each, status, body)
                if headers.get("connection") == "close":
                    raise ConnectionError
        except (ConnectionError, asyncio.IncompleteReadError):
            judge.outcomes["broken"] += 1
            raw.close()
            raw = None
    if raw is not None:
        raw.close()


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> Counter[Failure]:
    """How attempts failed, to show that the trouble came."""
    counted: Counter[Failure] = Counter()
    fail = Connection._fail

    def count(self: Connection, failure: Failure) -> None:
        if self.receiver is not None:
            counted[failure] += 1
        fail(self, failure)

    monkeypatch.setattr(Connection, "_fail", count)
    return counted


async def trouble(
    turnout: Turnout, proxies: list[Proxy], *, seed: int, requests: int, verified: bool
) -> Judge:
    await turnout.route(timeout_s=0.4, retry={"attempts": 3, "budget_percent": 100})
    for number in range(3):
        await proxied(
            turnout,
            proxies,
            evil_worker(Random(seed + number)),
            to_worker,
            seed=seed,
            is_foreign=not verified,
        )
    await turnout.start()
    await turnout.has_workers(3)
    entrance = await Proxy(turnout.port, to_gateway, seed=seed).start()
    proxies.append(entrance)
    judge, numbers = Judge(), iter(range(requests))
    tasks = [
        asyncio.create_task(client(entrance.port, numbers, judge, Random(seed + 100 + each)))
        for each in range(CLIENTS)
    ]
    await all_end(tasks)
    for task in tasks:
        task.result()
    return judge


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_answer_belongs_to_its_request(
    turnout: Turnout, proxies: list[Proxy], failures: Counter[Failure], seed: int
) -> None:
    judge = await trouble(turnout, proxies, seed=seed, requests=4000, verified=True)
    pool = turnout.process.pools.get("digits", "1")
    assert judge.strays == []
    assert judge.outcomes["200"] > 1000
    assert min(judge.outcomes["left"], judge.outcomes["broken"], judge.outcomes["504"]) > 0
    assert {Failure.RESET, Failure.GARBAGE, Failure.MISMATCH} <= set(failures)
    assert pool.unsolicited > 0
    await eventually(lambda: pool.in_flight == 0 and not turnout.process.lane.in_flight)


async def test_the_same_trouble_without_verification_puts_answers_into_wrong_hands(
    turnout: Turnout, proxies: list[Proxy]
) -> None:
    judge = await trouble(turnout, proxies, seed=1, requests=1000, verified=False)
    assert judge.strays
