"""Policies, standings and approvals over the control API: a refusal names its rule, nothing is half-done."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from redis.asyncio import Redis

from gateway.contract import keys
from tests.control.world import add_ready_versions, document

pytestmark = pytest.mark.usefixtures("versions")
PRODUCTION = Path(__file__).parents[2] / "config" / "policies" / "production.yaml"


@pytest.fixture
async def versions(redis: Redis) -> None:
    await add_ready_versions(redis, "1", "2", "3")  # registered by `test`


async def put_policy(api: httpx2.AsyncClient, **fields: Any) -> Any:
    reply = await api.put("/policies/strict", json={"policy": {"policy": "strict", **fields}})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def apply(api: httpx2.AsyncClient, route: Any, **how: Any) -> Any:
    reply = await api.post("/apply", json={"documents": [route], **how})
    return {"status": reply.status_code, **reply.json()}


async def post(api: httpx2.AsyncClient, path: str, **body: Any) -> Any:
    reply = await api.post(path, json=body)
    return {"status": reply.status_code, **reply.json()}


async def approve(api: httpx2.AsyncClient, version: str, *, by: str = "bob@desk") -> Any:
    seen = await post(api, f"/models/digits/versions/{version}/dossier")
    reply = await api.post(
        f"/models/digits/versions/{version}/approve",
        json={"dossier": seen["hash"]},
        headers={"x-turnout-author": by},
    )
    return {"status": reply.status_code, **reply.json()}


async def test_a_policy_refuses_what_it_forbids_and_names_its_rule(api: httpx2.AsyncClient) -> None:
    await apply(api, document(weights=(("1", 100),)))
    await put_policy(api, answers=["approved"])
    refused = await apply(api, document(weights=(("1", 90), ("2", 10))))
    assert (refused["status"], refused["rules"]) == (403, ["strict.answers"])
    assert "[strict.answers]" in refused["error"]
    assert (await api.get("/routes/digits")).json()["document"]["split"] == [{"version": "1", "weight": 100}]


async def test_an_override_needs_a_reason_and_leaves_a_warning(api: httpx2.AsyncClient) -> None:
    await put_policy(api, answers=["approved"])
    wanted = document(weights=(("2", 100),))
    assert (await apply(api, wanted, force=True))["status"] == 403
    forced = await apply(api, wanted, force=True, reason="fire")
    assert forced["status"] == 200
    assert "overridden" in forced["results"][0]["warnings"][0]


async def test_where_nobody_may_override_force_does_not_help(api: httpx2.AsyncClient) -> None:
    await put_policy(api, answers=["approved"], override=None)
    assert (await apply(api, document(weights=(("2", 100),)), force=True, reason="x"))["status"] == 403


async def test_an_approval_lets_a_version_in_and_never_by_its_author(api: httpx2.AsyncClient) -> None:
    await put_policy(api, answers=["approved"], approvals={"count": 1})
    own = await approve(api, "2", by="test")
    assert (own["status"], own["rules"]) == (403, ["approvals.author"])
    approved = await approve(api, "2")
    assert (approved["status"], approved["state"]) == (200, "approved")
    assert (await apply(api, document(weights=(("2", 100),))))["status"] == 200


async def test_an_approval_of_something_else_than_what_is_there_is_refused(api: httpx2.AsyncClient) -> None:
    refused = await post(api, "/models/digits/versions/2/approve", dossier="0" * 64)
    assert (refused["status"], refused["rules"]) == (403, ["approvals.dossier"])


async def test_an_approval_lapses_when_the_plan_is_another(api: httpx2.AsyncClient) -> None:
    await put_policy(api, approvals={"count": 1})
    assert (await approve(api, "2"))["status"] == 200  # without a plan: for changes by hand
    plan = {"model": "digits", "candidate": "2", "steps": [{"weight": 10}]}
    found = await post(api, "/policies/check", plan=plan)
    assert [item["rule"] for item in found["broken"]] == ["strict.approvals"]
    seen = await post(api, "/models/digits/versions/2/dossier", plan=plan)
    template = await post(api, "/models/digits/versions/2/dossier", plan={"steps": [{"weight": 10}]})
    assert template["hash"] == seen["hash"], "a template is about the version that it is seen with"
    await api.post(
        "/models/digits/versions/2/approve",
        json={"dossier": seen["hash"], "plan": plan},
        headers={"x-turnout-author": "bob@desk"},
    )
    assert (await post(api, "/policies/check", plan=plan))["allowed"]


async def test_a_quarantined_version_answers_nobody_and_force_does_not_help(api: httpx2.AsyncClient) -> None:
    await post(api, "/models/digits/versions/2/state", state="quarantined", reason="leaks")
    wanted = document(weights=(("2", 100),))
    refused = await apply(api, wanted, force=True, reason="please")
    assert (refused["status"], refused["rules"]) == (403, ["state"])
    await post(api, "/models/digits/versions/2/state", state="registered")
    assert (await apply(api, wanted))["status"] == 200


async def test_a_routed_version_is_not_retired(api: httpx2.AsyncClient) -> None:
    await apply(api, document(weights=(("1", 100),)))
    await approve(api, "1")
    await post(api, "/models/digits/versions/1/state", state="deprecated", successor="2")
    refused = await post(api, "/models/digits/versions/1/state", state="retired")
    assert (refused["status"], refused["rules"]) == (403, ["state.routed"])


async def test_states_have_an_order(api: httpx2.AsyncClient) -> None:
    refused = await post(api, "/models/digits/versions/1/state", state="retired")
    assert (refused["status"], refused["rules"]) == (403, ["state.order"])
    assert "approved" in refused["error"]


async def test_a_rollback_is_not_stopped_by_a_freeze(api: httpx2.AsyncClient) -> None:
    await apply(api, document(weights=(("1", 100),)))
    await apply(api, document(weights=(("1", 50), ("2", 50))))
    always = {"name": "always", "begins": "2020-01-01T00:00:00Z", "ends": "2120-01-01T00:00:00Z"}
    await put_policy(api, freezes=[always])
    assert (await apply(api, document(weights=(("2", 100),))))["rules"] == ["strict.freezes"]
    assert (await post(api, "/routes/digits/edit", edit={"kind": "rollback"}))["status"] == 200


async def test_a_policy_that_cannot_be_read_opens_no_door(api: httpx2.AsyncClient, redis: Redis) -> None:
    await put_policy(api, answers=["approved"])
    await redis.hset(keys.DOCUMENTS, keys.policy_field("strict"), b"nonsense")
    refused = await apply(api, document(weights=(("1", 100),)))
    assert (refused["status"], refused["rules"]) == (403, ["strict.unreadable"])


async def test_a_policy_that_nobody_can_satisfy_locks_no_admin_out(api: httpx2.AsyncClient) -> None:
    """Nothing moves, not even with force; but policies are not judged by policies, and what harms goes."""
    await apply(api, document(weights=(("1", 50), ("2", 50))))
    whole_year = {"name": "for-ever", "begins": "2020-01-01T00:00:00Z", "ends": "2120-01-01T00:00:00Z"}
    await put_policy(
        api,
        answers=["approved"],
        approvals={"count": 8, "role": "admin"},
        freezes=[whole_year],
        override=None,
    )
    more = document(weights=(("1", 40), ("2", 60)))
    forced = await apply(api, more, force=True, reason="incident 7")
    assert (forced["status"], "strict.freezes" in forced["rules"]) == (403, True)
    told = await post(api, "/models/digits/versions/2/state", state="quarantined", reason="leaks")
    assert told["status"] == 200  # a version can be taken out in a hurry
    nobody = await api.put("/policies/strict", json={"policy": {"policy": "strict", "answers": []}})
    assert nobody.status_code == 422
    reply = await api.request("DELETE", "/policies/strict", headers={"content-type": "application/json"})
    assert reply.status_code == 200
    await post(api, "/models/digits/versions/2/state", state="registered")
    assert (await apply(api, more))["status"] == 200


async def test_two_approvals_at_once_are_both_kept_or_one_is_told(api: httpx2.AsyncClient) -> None:
    found = await asyncio.gather(approve(api, "2", by="bob@desk"), approve(api, "2", by="eve@desk"))
    assert sorted(item["status"] for item in found) in ([200, 200], [200, 409])
    kept = {
        item["by"] for item in (await api.get("/models/digits/standings")).json()["versions"][1]["approvals"]
    }
    assert len(kept) == sum(item["status"] == 200 for item in found)


async def test_the_policy_that_comes_with_turnout_is_taken(api: httpx2.AsyncClient) -> None:
    policy = yaml.safe_load(PRODUCTION.read_text())
    reply = await api.put("/policies/production", json={"policy": policy})
    assert reply.status_code == 200, reply.text
    again = await api.put("/policies/production", json={"policy": policy})
    assert again.json()["changed"] is False


async def test_a_rollout_starts_only_where_policy_lets_its_plan_pass(api: httpx2.AsyncClient) -> None:
    await apply(api, document(weights=(("1", 100),)))
    await put_policy(api, min_shadow_s=60)
    wish = {"plan": {"steps": [{"weight": 10}]}, "candidate": "2"}
    refused = await post(api, "/models/digits/rollouts", **wish)
    assert (refused["status"], refused["rules"]) == (403, ["strict.min_shadow_s"])
    assert (await api.get("/models/digits/rollout")).status_code == 404
    forced = await post(api, "/models/digits/rollouts", **wish, force=True, reason="fire")
    assert forced["status"] == 201


async def put_alias(api: httpx2.AsyncClient, version: str | None, **how: Any) -> Any:
    reply = await api.put("/models/digits/aliases/champion", json={"version": version, **how})
    return {"status": reply.status_code, **reply.json()}


async def test_an_alias_is_moved_as_policy_says_and_a_refusal_names_the_rule(api: httpx2.AsyncClient) -> None:
    assert (await put_alias(api, "1"))["status"] == 200
    await put_policy(api, aliases=[{"names": ["champion"], "states": ["approved"]}])
    refused = await put_alias(api, "2")
    assert (refused["status"], refused["rules"]) == (403, ["strict.aliases.states"])
    asked = {"model": "digits", "alias": "champion", "version": "2"}
    checked = await post(api, "/policies/check", alias=asked)
    assert [item["rule"] for item in checked["broken"]] == ["strict.aliases.states"]
    assert (await put_alias(api, "2", dry_run=True))["status"] == 403
    assert (await api.get("/models/digits/aliases")).json()["aliases"] == {"champion": "1"}
    await approve(api, "2")
    assert (await post(api, "/policies/check", alias=asked))["allowed"]
    assert (await put_alias(api, "2", dry_run=True))["changed"]
    assert (await api.get("/models/digits/aliases")).json()["aliases"] == {"champion": "1"}
    assert (await put_alias(api, "2"))["aliases"] == {"champion": "2"}
    assert (await put_alias(api, "1"))["status"] == 200  # back to what it named before
    assert (await put_alias(api, "3"))["status"] == 403
    assert (await put_alias(api, None))["aliases"] == {}  # moves nobody


async def test_an_alias_moved_against_policy_is_an_override_in_the_audit(api: httpx2.AsyncClient) -> None:
    await put_policy(api, aliases=[{"states": ["approved"]}])
    assert (await put_alias(api, "2", force=True))["status"] == 403
    forced = await put_alias(api, "2", force=True, reason="fire")
    assert (forced["status"], "overridden" in forced["warnings"][0]) == (200, True)
    newest = (await api.get("/audit")).json()["entries"][0]
    assert "strict.aliases.states" in str(newest)
