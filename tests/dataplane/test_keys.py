"""Keys at the gateway: who may predict what, without Redis on the way, until a revocation has come."""

import os
import signal
import time
from typing import Any

import pytest

from gateway.contract.access import AccessSettings, Key, Role, digest_of, new_token
from gateway.contract.errors import CallerError
from gateway.core.compile import EMPTY, compile_changes
from gateway.dataplane.door import MOST_KNOWN, Door
from gateway.store.embedded import EmbeddedServer
from tests.dataplane.conftest import LONG_S, Turnout
from tests.sockets import eventually

PATH = "/v2/models/digits/infer"


class Keys:
    """Keys as the control API commits them."""

    def __init__(self, turnout: Turnout) -> None:
        self.turnout = turnout

    async def make(self, role: str = "client", **parts: Any) -> tuple[str, str]:
        """Id and secret; every gateway knows it when this returns."""
        token = new_token()
        text = token.text.decode()
        key = {"name": f"k-{token.key_id}", "role": role, "digest": digest_of(token.text), **parts}
        documents = {f"key/{token.key_id}": key}
        if role == "admin":
            documents["access"] = {"admins": 1}
        await self.turnout.serves((await self.turnout.commit(documents)).revision)
        return token.key_id, text

    async def revoke(self, key_id: str) -> int:
        return (await self.turnout.commit({f"key/{key_id}": None})).revision


@pytest.fixture
async def keys(turnout: Turnout) -> Keys:
    """A gateway with a worker of each version and an admin key: keys are on."""
    await turnout.route()
    for version in "12":
        await turnout.worker(version=version)
    await turnout.start()
    await turnout.has_workers(1)
    await turnout.has_workers(1, version="2")
    made = Keys(turnout)
    await made.make("admin")
    return made


async def post(
    turnout: Turnout, path: str, key: str | None, body: bytes = b"{}", *, version: str = ""
) -> Any:
    headers: dict[str, Any] = {} if key is None else {"authorization": f"Bearer {key}"}
    if version:
        headers["turnout_version"] = version
    return await turnout.post(path, body, **headers)


async def test_without_an_admin_key_nobody_needs_one(turnout: Turnout) -> None:
    await turnout.route()
    await turnout.worker()
    await turnout.start()
    await turnout.has_workers(1)
    await Keys(turnout).make("client")
    assert (await turnout.infer())[0] == 200


async def test_predictions_need_a_key_whose_scope_has_the_model(turnout: Turnout, keys: Keys) -> None:
    _, mine = await keys.make(models=["digits"])
    _, other = await keys.make(models=["fraud"])
    status, headers, body = await post(turnout, PATH, None)
    assert (status, headers["turnout-error"], headers["www-authenticate"]) == (
        401,
        "unauthenticated",
        "Bearer",
    )
    assert "Authorization: Bearer" in body["error"]
    assert (await post(turnout, PATH, mine))[0] == 200
    assert (await post(turnout, PATH, other))[1]["turnout-error"] == "forbidden"
    for role in Role:
        _, key = await keys.make(role)
        assert (await post(turnout, PATH, key))[0] == 200


async def test_choosing_a_version_is_a_permission_of_the_key(turnout: Turnout, keys: Keys) -> None:
    _, plain = await keys.make()
    _, pinning = await keys.make(pin=True)
    pinned = "/v2/models/digits/versions/2/infer"
    for path, version in ((pinned, ""), (PATH, "2")):
        assert (await post(turnout, path, plain, version=version))[0] == 403
        status, told, _ = await post(turnout, path, pinning, version=version)
        assert (status, told["turnout-version"]) == (200, "2")


async def test_everything_but_health_needs_a_key(turnout: Turnout, keys: Keys) -> None:
    _, mine = await keys.make(models=["digits"])
    _, other = await keys.make(models=["fraud"])
    feedback = "/v2/models/digits/feedback"
    label = b'{"prediction_id": "none", "label": 1}'
    assert (await post(turnout, feedback, None, label))[0] == 401
    assert (await post(turnout, feedback, other, label))[0] == 403
    assert (await post(turnout, feedback, mine, label))[0] == 202
    for path in ("/v2/models", "/v2/models/digits", "/v2/models/digits/ready", "/nothing", PATH):
        assert (await turnout.get(path))[0] == 401
    for path in ("/v2/health/live", "/v2/health/ready", "/v2"):
        assert (await turnout.get(path))[0] == 200
    assert (await post(turnout, "/v2/models/none/infer", None))[0] == 401
    assert (await post(turnout, "/v2/models/none/infer", mine))[0] == 403


async def test_a_revocation_reaches_a_gateway_without_waiting_for_its_next_look(
    turnout: Turnout, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.dataplane.follower.POLL_S", LONG_S)
    key_id, key = await keys.make()
    assert (await post(turnout, PATH, key))[0] == 200
    await turnout.serves(await keys.revoke(key_id))
    assert (await post(turnout, PATH, key))[0] == 401


async def test_keys_and_revocations_survive_a_redis_that_is_away(
    turnout: Turnout, keys: Keys, redis_server: EmbeddedServer
) -> None:
    _, key = await keys.make()
    gone_id, gone = await keys.make()
    await turnout.serves(await keys.revoke(gone_id))
    os.kill(redis_server.pid, signal.SIGKILL)
    for _ in range(2):
        assert (await post(turnout, PATH, key))[0] == 200
        assert (await post(turnout, PATH, gone))[0] == 401
        assert (await post(turnout, PATH, None))[0] == 401
        await turnout.stop()  # and again by a process that knows the disk only
        await turnout.start()


async def test_an_expired_key_ends_by_itself(
    turnout: Turnout, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_minute_ms = int((time.time() + 60) * 1000)
    _, key = await keys.make(expires_at_ms=in_a_minute_ms)
    assert (await post(turnout, PATH, key))[0] == 200
    door = turnout.process.door
    forget = door.forget_expired
    monkeypatch.setattr(door, "forget_expired", lambda now_ms: forget(now_ms + 60_000))
    await eventually(lambda: all(grant.key.expires_at_ms is None for grant in door.grants.values()))
    assert (await post(turnout, PATH, key))[0] == 401


async def test_a_rate_is_kept_with_retry_after(turnout: Turnout, keys: Keys) -> None:
    _, key = await keys.make(rate_per_s=0.01)
    assert (await post(turnout, PATH, key))[0] == 200
    status, headers, _ = await post(turnout, PATH, key)
    assert (status, headers["turnout-error"]) == (429, "over_limit")
    assert 1 <= int(headers["retry-after"]) <= 100


async def test_a_wrong_key_a_thousand_times_costs_little_and_is_counted(turnout: Turnout, keys: Keys) -> None:
    _, key = await keys.make()
    answers = set()
    for number in range(1000):
        status, headers, body = await post(turnout, PATH, f"{key[:-5]}{number:05}")
        answers.add((status, headers["turnout-error"], body["error"]))
    assert len(answers) == 1
    assert turnout.process.tallies.rejected["unauthenticated"] == 1000
    assert turnout.process.door.known == {}


async def test_a_key_in_a_url_is_refused_with_a_sentence(turnout: Turnout, keys: Keys) -> None:
    _, key = await keys.make()
    for query in (f"key={key}", f"x={key}", "access_token=1"):
        status, _, body = await post(turnout, f"{PATH}?{query}", key)
        assert status == 400
        assert "Authorization: Bearer" in body["error"]
        assert key not in body["error"]


async def test_when_keys_were_used_is_written_off_the_path(turnout: Turnout, keys: Keys) -> None:
    key_id, key = await keys.make()
    await post(turnout, PATH, key)
    assert turnout.process.door.take_used() == [key_id]
    assert turnout.process.door.take_used() == []


def door_with(*made: tuple[str, Key], required: Any = "auto") -> Door:
    door = Door(AccessSettings(required=required))
    envelope = '{{"field":"key/{}","revision":1,"at_ms":1,"author":"","reason":"","doc":{}}}'
    changed: dict[str, bytes | None] = {
        f"key/{key_id}": envelope.format(key_id, key.model_dump_json()).encode() for key_id, key in made
    }
    door.switch(compile_changes(EMPTY, revision=1, changed=changed).access)
    return door


def test_what_is_remembered_of_headers_is_bounded() -> None:
    token = new_token()
    door = door_with((token.key_id, Key(name="a", role=Role.ADMIN, digest=digest_of(token.text))))
    assert door.is_on
    for number in range(MOST_KNOWN + 10):
        door.admit({b"authorization": b"Bearer" + b" " * (number % 60 + 1) + token.text}, "digits")
    assert len(door.known) <= 60
    assert door.admit({b"authorization": b"bearer " + token.text}, "digits").key_id == token.key_id


def test_any_change_of_a_key_empties_what_is_remembered() -> None:
    token = new_token()
    door = door_with((token.key_id, Key(name="a", role=Role.ADMIN, digest=digest_of(token.text))))
    headers = {b"authorization": b"Bearer " + token.text}
    door.admit(headers, "digits")
    door.switch(EMPTY.access)
    assert (door.known, door.grants) == ({}, {})
    with pytest.raises(CallerError):
        door.admit(headers, "digits")


def test_a_rate_is_divided_between_processes() -> None:
    token = new_token()
    door = Door(AccessSettings(required="on"), processes=4)
    key = Key(name="a", role=Role.CLIENT, digest=digest_of(token.text), rate_per_s=8)
    assert door._grant(token.key_id, key).rate_per_s == 2


def test_off_is_off_whatever_keys_there_are_and_on_is_on_without_any() -> None:
    token = new_token()
    admin = (token.key_id, Key(name="a", role=Role.ADMIN, digest=digest_of(token.text)))
    assert not door_with(admin, required="off").is_on
    assert door_with(required="on").is_on
    assert not door_with().is_on
