"""A request that is sent again with its Idempotency-Key changes nothing twice and gets the first answer."""

import asyncio
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.store.documents import Documents
from tests.control.test_access import bearer, make
from tests.control.world import add_ready_versions, split


@pytest.fixture(autouse=True)
async def versions(redis: Redis) -> None:
    await add_ready_versions(redis, "1", "2")


async def send(api: httpx2.AsyncClient, percent: int, key: str, **headers: str) -> httpx2.Response:
    edit = {"kind": "split", "split": split(("1", 100 - percent), ("2", percent))}
    return await api.post(
        "/routes/digits/edit", json={"edit": edit}, headers={"idempotency-key": key} | headers
    )


async def revision(redis: Redis) -> int:
    return (await Documents(redis).follow(2**53)).revision


async def forget_answers(redis: Redis) -> None:
    for key in await redis.keys(keys.answered("*")):
        await redis.delete(key)


async def test_a_repetition_gets_the_first_answer_even_after_another_change(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    first = await send(api, 10, "a")
    assert first.json()["changed"]
    await send(api, 20, "b")
    again = await send(api, 10, "a")
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert (await api.get("/routes/digits")).json()["document"]["split"] == split(("1", 80), ("2", 20))


async def test_ten_at_once_are_one_change(api: httpx2.AsyncClient, redis: Redis) -> None:
    before = await revision(redis)
    replies = await asyncio.gather(*(send(api, 10, "same") for _ in range(10)))
    assert {reply.status_code for reply in replies} <= {200, 409}
    assert await revision(redis) == before + 1


async def test_an_answer_that_was_never_kept_does_not_apply_the_change_again(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await send(api, 10, "a")
    await forget_answers(redis)
    before = await revision(redis)
    assert not (await send(api, 10, "a")).json()["changed"]
    await forget_answers(redis)
    await send(api, 20, "b")
    assert (await send(api, 10, "a")).status_code == 409  # rather than over somebody's head
    assert await revision(redis) == before + 1


async def test_another_request_under_the_same_key_is_a_conflict(api: httpx2.AsyncClient) -> None:
    await send(api, 10, "a")
    assert (await send(api, 20, "a")).status_code == 409
    assert (await send(api, 10, "a", **{"if-match": '"7"'})).status_code == 409


async def test_what_was_refused_may_be_tried_again(api: httpx2.AsyncClient, redis: Redis) -> None:
    edit: Any = {"edit": {"kind": "split", "split": split(("9", 100))}}
    headers = {"idempotency-key": "a"}
    refused = await api.post("/routes/digits/edit", json=edit, headers=headers)
    assert refused.status_code == 422
    await add_ready_versions(redis, "9")
    assert (await api.post("/routes/digits/edit", json=edit, headers=headers)).status_code == 200


@pytest.mark.parametrize("key", ["", "a b", "x" * 129])
async def test_a_key_that_is_none_is_refused(api: httpx2.AsyncClient, key: str) -> None:
    assert (await send(api, 10, key)).status_code == 400


async def test_one_callers_key_is_not_anothers(api: httpx2.AsyncClient, redis: Redis) -> None:
    admin = (await make(api, "root", "admin"))["key"]
    other = (await make(api, "other", "operator", by=admin))["key"]
    await send(api, 10, "a", **bearer(admin))
    assert (await send(api, 20, "a", **bearer(other))).status_code == 200


async def test_no_secret_is_kept_for_a_repetition(api: httpx2.AsyncClient, redis: Redis) -> None:
    wish = {"name": "root", "role": "admin"}
    made = await api.post("/keys", json=wish, headers={"idempotency-key": "a"})
    assert made.status_code == 201
    assert await redis.keys(keys.answered("*")) == []
