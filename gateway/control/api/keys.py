"""HTTP: keys, and who the caller is. A key's secret is in the answer that makes it, and nowhere else."""

import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from gateway.contract.access import KEY_ID_PATTERN, Key
from gateway.contract.envelope import Envelope
from gateway.control.access.caller import Caller
from gateway.control.access.door import key_in
from gateway.control.access.key_changes import KeyWish, create, revoke
from gateway.control.body import StrictRoute
from gateway.control.parts import Author, Control, Parts
from gateway.control.routing.applied import wait_until_served

router = APIRouter(tags=["keys"], route_class=StrictRoute)

WAIT_S = 2.0  # in which every gateway that is alive follows
KeyId = Annotated[str, Path(pattern=KEY_ID_PATTERN)]


@router.get("/keys")
async def list_keys(control: Control) -> dict[str, Any]:
    """`failed_calls`: with a wrong key or none, at this control process since it started."""
    uses = await control.key_uses.read()
    found = []
    for field, envelope in (await control.documents.all("key/")).items():
        key_id = field.removeprefix("key/")
        key = key_in(envelope)
        told = {"problem": "this document is not a key: revoke it"} if key is None else _told(key)
        found.append({"key_id": key_id, **told, **_made(envelope), "used_ms": uses.get(key_id)})
    return {
        "keys": found,
        "required": control.settings.access.required,
        "failed_calls": control.failures.count,
    }


@router.post("/keys", status_code=201)
async def create_key(wish: KeyWish, control: Control, author: Author) -> dict[str, Any]:
    """`key` is the secret: it is shown this once."""
    since = time.perf_counter()
    made = await create(control.documents, wish, author=author, now_ms=_now_ms())
    applied = await _applied(control, made.committed.revision, since)
    return {
        "key_id": made.key_id,
        "key": made.token,
        **_told(made.key),
        "revision": made.committed.revision,
        "applied": applied,
    }


@router.delete("/keys/{key_id}")
async def revoke_key(
    key_id: KeyId,
    control: Control,
    author: Author,
    reason: Annotated[str, Query(max_length=512)] = "",
) -> dict[str, Any]:
    """Waits until every gateway that is alive refuses the key, for at most two seconds."""
    since = time.perf_counter()
    key, committed = await revoke(
        control.documents,
        key_id,
        author=author,
        reason=reason,
        now_ms=_now_ms(),
        may_be_last=control.settings.access.required == "off",
    )
    await control.key_uses.forget(key_id)
    applied = await _applied(control, committed.revision, since)
    name = "" if key is None else key.name
    return {"key_id": key_id, "name": name, "revision": committed.revision, "applied": applied}


@router.get("/whoami")
async def who_am_i(caller: Caller) -> dict[str, Any]:
    """`role` is admin where keys are off."""
    models = ["*"] if caller.models is None else sorted(caller.models)
    return {
        "keys_are_on": caller.has_key,
        "name": caller.name,
        "role": caller.role.value,
        "models": models,
        "key_id": caller.key_id,
    }


async def _applied(control: Parts, revision: int, since: float) -> dict[str, Any]:
    return asdict(await wait_until_served(control.fleet, revision, within_s=WAIT_S, since=since))


def _told(key: Key) -> dict[str, Any]:
    return key.model_dump(mode="json", exclude={"digest"})


def _made(envelope: Envelope) -> dict[str, Any]:
    return {"created_by": envelope.author, "created_ms": envelope.at_ms, "revision": envelope.revision}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
