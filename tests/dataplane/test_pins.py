"""Who still pins a version that ends is known by key and by day, and nobody else pays for it."""

import time

from redis.asyncio import Redis

from gateway.contract import keys as names
from gateway.store.pins import DAY_S, MOST_CALLERS, OTHERS, Pins
from tests.dataplane.conftest import Turnout
from tests.dataplane.test_ending import ENDS, stand
from tests.dataplane.test_keys import Keys, keys
from tests.store.samples import until

__all__ = ["keys"]  # a fixture
PINNED = "/v2/models/digits/versions/1/infer"


async def pinned(turnout: Turnout) -> dict[tuple[str, str], int]:
    today = int(time.time()) // DAY_S
    found = await Pins(turnout.redis).read("digits", range(today - 1, today + 1))
    return {who: number for who, (number, _) in found.items()}


async def test_a_pin_of_a_deprecated_version_is_counted_for_its_address(turnout: Turnout) -> None:
    await turnout.route()
    await turnout.worker()
    await turnout.start()
    await turnout.post(PINNED)
    assert turnout.process.pin_counts.totals == {}  # it does not end yet
    await stand(turnout, state="deprecated", **ENDS)
    assert (await turnout.infer())[0] == 200  # not a pin
    for reply in (
        await turnout.post(PINNED),
        await turnout.infer(turnout_version="1"),
        await turnout.post(PINNED),
    ):
        assert (reply[0], reply[1]["sunset"][:16]) == (200, "Thu, 31 Dec 2026")

    async def is_written() -> bool:
        return await pinned(turnout) == {("1", "address 127.0.0.1"): 3}

    await until(is_written)
    counters = turnout.process.metrics().counters
    assert counters["turnout_deprecated_pins_total", ("digits", "1")] == 3
    today = int(time.time()) // DAY_S
    lives_s = [await turnout.redis.ttl(names.pins("digits", day)) for day in (today - 1, today)]
    assert 0 < max(lives_s) <= 15 * DAY_S


async def test_with_keys_on_it_is_counted_for_the_key(turnout: Turnout, keys: Keys) -> None:
    await stand(turnout, state="deprecated", **ENDS)
    key_id, secret = await keys.make(pin=True)
    for _ in range(2):
        assert (await turnout.post(PINNED, authorization=f"Bearer {secret}"))[0] == 200

    async def is_written() -> bool:
        return await pinned(turnout) == {("1", f"key {key_id}"): 2}

    await until(is_written)


async def test_callers_are_bounded(turnout: Turnout) -> None:
    pins, redis = Pins(turnout.redis), turnout.redis
    many = {("1", f"address {number}"): 1 for number in range(MOST_CALLERS + 5)}
    await pins.note("digits", 7, many)
    await pins.note("digits", 7, {("1", "address 0"): 1, ("2", "address new"): 4})
    found = await pins.read("digits", range(7, 8))
    assert found["1", OTHERS][0] == 5
    assert found["2", OTHERS][0] == 4
    assert found["1", "address 0"][0] == 2
    assert await size(redis) == MOST_CALLERS + 2


async def size(redis: Redis) -> int:
    return len(await redis.hgetall(names.pins("digits", 7)))


async def test_days_add_up_and_the_last_is_told(turnout: Turnout) -> None:
    pins = Pins(turnout.redis)
    await pins.note("digits", 7, {("1", "key a"): 2})
    await pins.note("digits", 8, {("1", "key a"): 3})
    assert await pins.read("digits", range(7, 9)) == {("1", "key a"): (5, 8)}
