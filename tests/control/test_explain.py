"""Why a request goes where it goes, and why one went where it went, over the control API."""

from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.record import place_of
from gateway.store import documents as documents_module
from gateway.store.predictions import Batch, Predictions
from tests.control.world import add_ready_versions, add_versions, announce, document, split
from tests.store.samples import entry, new_id, record

STICKY = {"header": "turnout-unit"}
BETA = {"name": "beta", "match": [{"header": "x-tenant", "exact": "beta"}], "split": split(("2", 100))}


async def asked(api: httpx2.AsyncClient, path: str = "explain", **params: Any) -> Any:
    reply = await api.get(f"/models/digits/{path}", params=params)
    return {"status": reply.status_code, **reply.json()}


async def routed(api: httpx2.AsyncClient, reason: str = "", **fields: Any) -> int:
    """Commits a route of digits, whatever the pools say; gives its revision."""
    edit = {"kind": "replace", "route": document(**fields)}
    reply = await api.post("/routes/digits/edit", json={"edit": edit, "reason": reason, "force": True})
    assert reply.status_code == 200, reply.text
    revision: int = reply.json()["revision"]
    return revision


async def write(redis: Redis, prediction_id: str, *records: bytes, number: int = 1) -> None:
    """The primary's record, then those of the shadows in slot 0, 1, ..."""
    entries = [entry(prediction_id, raw, slot=None if at == 0 else at - 1) for at, raw in enumerate(records)]
    written = [(place_of(prediction_id).bucket, 600, [(field, raw) for _, field, raw in entries])]
    await Predictions(redis).write("digits", "gw-1", Batch(number, written, {}))


def at(raw: bytes, revision: int) -> bytes:
    return raw.replace(b",42,", b",%d," % revision, 1)


# -- what would happen now ------------------------------------------------------------------------------


async def test_a_request_is_explained_with_the_route_that_decides(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_ready_versions(redis, "1", "2", "3")
    revision = await routed(
        api, "canary", weights=(("1", 90), ("2", 10)), sticky=STICKY, rules=[BETA],
        shadows=[{"version": "3", "percent": 20}],
    )  # fmt: skip
    await announce(redis, "gw-1", revision)
    await announce(redis, "gw-2", revision - 1)
    found = await asked(api, unit="alice", header=["x-tenant=a=b", "x-other=1"])
    assert found["route"]["author"] == "ana@desk"
    assert (found["route"]["revision"], found["route"]["reason"]) == (revision, "canary")
    [tried] = found["rules"]
    assert tried["unmet"] == {"condition": {"header": "x-tenant", "exact": "beta"}, "value": "a=b"}
    assert (found["sticky"], found["unit"]) == ("header turnout-unit", "alice")
    assert found["split"] == split(("1", 90), ("2", 10))
    nearest = min(found["distances"], key=lambda near: near["distance"])["version"]
    [outcome] = found["outcomes"]
    assert (outcome["version"], outcome["reason"]) == (nearest, "sticky")
    assert outcome["workers"] == [f"digits-{nearest}-9"]
    assert [(shadow["version"], shadow["percent"]) for shadow in found["shadows"]] == [("3", 20)]
    assert found["gateways"] == {"of": 2, "behind": 1}
    by_rule = await asked(api, header="X-Tenant=beta")
    assert by_rule["outcomes"][0]["reason"] == "rule:beta"


async def test_a_version_whose_workers_are_gone_is_explained_by_the_fallback(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_ready_versions(redis, "1")
    await add_versions(redis, "2")
    await routed(api, weights=(("2", 100),), fallback="1")
    [outcome] = (await asked(api))["outcomes"]
    assert (outcome["version"], outcome["answered_by"], outcome["reason"]) == ("2", "1", "fallback")


async def test_a_model_without_a_route_answers_only_pins(api: httpx2.AsyncClient, redis: Redis) -> None:
    assert (await asked(api))["code"] == "unknown_model"
    await add_ready_versions(redis, "1", "2")
    assert (await asked(api))["code"] == "no_route"
    found = await asked(api, pin="2")
    assert (found["route"], found["outcomes"][0]["workers"]) == (None, ["digits-2-9"])
    unknown = await asked(api, pin="9")
    assert (unknown["status"], unknown["error"]) == (404, "digits has no version 9 (it has: 1, 2)")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"header": "x-tenant"}, "bad_request"),
        ({"header": "=x"}, "bad_request"),
        ({"header": ["x-a=1", "x-a=2"]}, "bad_request"),
        ({"unit": "a", "header": "turnout-unit=b"}, "bad_request"),
        ({"unit": ""}, "bad_request"),
        ({"pin": "a b"}, "bad_request"),
        ({"header": "turnout-version=9"}, "unknown_version"),
    ],
)
async def test_a_question_that_means_nothing_is_refused(
    api: httpx2.AsyncClient, redis: Redis, params: dict[str, Any], code: str
) -> None:
    await add_ready_versions(redis, "1")
    await routed(api, sticky=STICKY)
    assert (await asked(api, **params))["code"] == code


async def test_a_route_that_cannot_be_read_is_explained_by_the_form_that_gateways_keep(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_ready_versions(redis, "1")
    revision = await routed(api)
    await redis.hset(keys.DOCUMENTS, "route/digits", '{"field": "x", "doc": 7')
    found = await asked(api)
    assert (found["route"]["revision"], found["outcomes"][0]["version"]) == (revision, "1")
    assert "not a document of Turnout" in found["route"]["problems"][0]


# -- what did happen ------------------------------------------------------------------------------------


async def test_a_prediction_is_explained_by_the_route_of_its_revision(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_ready_versions(redis, "1", "2", "3")
    shadows = [{"version": "3"}, {"version": "1", "percent": 5}]
    then = await routed(api, "beta test", rules=[BETA], sticky=STICKY, shadows=shadows)
    now = await routed(api, weights=(("3", 100),))
    made = new_id()
    await write(
        redis, made, at(record("2", "c", 7, way="0/1ab2cd34/2"), then), at(record("3", "c", 8, way=""), then)
    )
    await Predictions(redis).feedback("digits", [(made, "8", None)], ttl_s=600)
    found = await asked(api, f"predictions/{made}/explain", unit="alice")
    primary, shadow = found["records"]
    assert (primary["version"], primary["reason"]) == ("2", "rule:beta")
    assert (primary["worker"], primary["attempts"], primary["output"]) == ("1ab2cd34", 2, 7)
    assert (shadow["version"], shadow["role"], shadow["output"]) == ("3", "shadow", 8)
    assert (shadow["reason"], shadow["worker"]) == (None, None)
    assert found["label"] == 8
    assert [silent["version"] for silent in found["silent_shadows"]] == ["1"]
    assert (found["route"]["revision"], found["route"]["reason"]) == (then, "beta test")
    assert found["route"]["document"]["rules"][0]["name"] == "beta"
    assert (found["present_revision"], found["route_problem"]) == (now, None)
    assert (found["unit"]["version"], found["unit"]["agrees"]) == ("2", True)
    shown = await asked(api, f"predictions/{made}")
    told = shown["records"][0]
    assert (told["reason"], told["worker"], told["attempts"]) == ("rule:beta", "1ab2cd34", 2)
    assert "rule" not in told


async def test_an_old_record_is_explained_as_far_as_it_goes(api: httpx2.AsyncClient, redis: Redis) -> None:
    await add_ready_versions(redis, "1")
    revision = await routed(api)
    await write(redis, "order-1", at(record("1", "c", 7, way=""), revision))
    found = await asked(api, "predictions/order-1/explain")
    primary = found["records"][0]
    assert (primary["reason"], primary["worker"], primary["attempts"]) == (None, None, None)
    assert (found["route"]["revision"], found["unit"]) == (revision, None)


async def test_a_unit_that_leads_elsewhere_is_told(api: httpx2.AsyncClient, redis: Redis) -> None:
    await add_ready_versions(redis, "1", "2")
    revision = await routed(api, weights=(("1", 50), ("2", 50)), sticky=STICKY)
    leads_to = (await asked(api, unit="alice"))["outcomes"][0]["version"]
    other = "2" if leads_to == "1" else "1"
    await write(redis, "order-1", at(record(other, "c", 7), revision))
    unit = (await asked(api, "predictions/order-1/explain", unit="alice"))["unit"]
    assert (unit["version"], unit["agrees"], len(unit["distances"])) == (leads_to, False, 2)
    assert unit["sentence"] == (
        f"unit alice leads to version {leads_to} at revision {revision}, but version {other} answered: "
        "the request had another unit"
    )


async def test_a_revision_that_the_history_has_lost_is_told(
    api: httpx2.AsyncClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_ready_versions(redis, "1", "2")
    lost = await routed(api, rules=[BETA])
    monkeypatch.setattr(documents_module, "HISTORY_LENGTH", 2)
    for weight in (10, 20, 30):
        await routed(api, weights=(("1", 100 - weight), ("2", weight)))
    await write(redis, "order-1", at(record("2", "c", 7, way="0/1ab2cd34"), lost))
    found = await asked(api, "predictions/order-1/explain", unit="alice")
    assert found["records"][0]["reason"] == "rule:#0"
    assert found["route"] is None
    assert f"revision {lost} is not in the route history of digits any more" in found["route_problem"]
    assert (found["unit"]["agrees"], "cannot be checked" in found["unit"]["sentence"]) == (None, True)
    assert (await asked(api, "predictions/order-1"))["records"][0]["reason"] == "rule:#0"


async def test_a_pin_without_a_route_has_no_route_to_show(api: httpx2.AsyncClient, redis: Redis) -> None:
    await add_ready_versions(redis, "1")
    await write(redis, "order-1", record("1", "c", 7, way="p/1ab2cd34"))
    found = await asked(api, "predictions/order-1/explain")
    assert (found["route"], found["present_revision"]) == (None, None)
    assert found["route_problem"].startswith("digits had no route at revision 42")


async def test_a_revision_far_back_in_the_history_is_found(api: httpx2.AsyncClient, redis: Redis) -> None:
    await add_ready_versions(redis, "1", "2")
    first = await routed(api, "the first")
    for weight in range(1, 2 * documents_module.HISTORY_AT_ONCE + 2):
        await routed(api, weights=(("1", 100 - weight), ("2", weight)))
    await write(redis, "order-1", at(record("1", "c", 7), first))
    assert (await asked(api, "predictions/order-1/explain"))["route"]["reason"] == "the first"


async def test_an_id_that_leads_nowhere_is_told_in_one_sentence(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    fresh, old, own = new_id(), new_id(age_s=700), "order-9"
    for suffix in ("", "/explain"):
        assert (await asked(api, f"predictions/{own}{suffix}"))["code"] == "unknown_model"
    await add_ready_versions(redis, "1")
    await routed(api, record={"ttl_s": 600, "percent": 50})
    for suffix in ("", "/explain"):
        expired = await asked(api, f"predictions/{old}{suffix}")
        assert (expired["status"], expired["code"]) == (410, "expired")
        assert "digits keeps them for 600 s" in expired["error"]
        unknown = await asked(api, f"predictions/{fresh}{suffix}")
        assert (unknown["status"], unknown["code"]) == (404, "unknown_prediction")
        assert unknown["error"].endswith("or it belongs to the 50 % not recorded")
        callers = await asked(api, f"predictions/{own}{suffix}")
        assert (callers["status"], "is kept for 600 s" in callers["error"]) == (404, True)
