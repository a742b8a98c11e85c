"""What Prometheus gets from a control process: the installation's gauges, and where the workers are."""

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from gateway.contract.pool import WorkerState
from gateway.store.embedded import EmbeddedServer
from tests.control.world import add_ready_versions, add_versions, add_worker, announce, split

METRICS = "http://127.0.0.1:8090/metrics"
Samples = dict[tuple[str, ...], float]


async def scrape(api: httpx2.AsyncClient, **headers: str) -> Samples:
    """Name and label values -> value."""
    reply = await api.get(METRICS, headers=headers)
    assert reply.status_code == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


async def test_the_installation_is_told_in_gauges(api: httpx2.AsyncClient, redis: Redis) -> None:
    await add_ready_versions(redis, "1")
    await add_worker(redis, "1", port=10, state=WorkerState.DRAINING)
    await api.put("/models/digits/versions/1/workers", json={"workers": 3})
    edit = {"kind": "split", "split": split(("1", 100))}
    revision = (await api.post("/routes/digits/edit", json={"edit": edit})).json()["revision"]
    await announce(redis, "gw-1", revision)
    found = await scrape(api)
    assert found["turnout_committed_revision",] == revision
    assert found["turnout_gateways_live",] == 1
    assert found["turnout_workers_wanted", "digits", "1"] == 3
    assert found["turnout_workers_ready", "digits", "1"] == 1
    assert found["turnout_leader_present",] == 0
    assert found["turnout_store_memory_bytes",] > 100_000


async def test_versions_that_nothing_needs_are_not_measured(api: httpx2.AsyncClient, redis: Redis) -> None:
    await add_ready_versions(redis, "1")
    await add_versions(redis, "2")
    found = await scrape(api)
    assert {labels[2] for labels in found if labels[0] == "turnout_workers_ready"} == {"1"}


async def test_without_redis_a_scrape_fails_rather_than_show_what_may_be_old(
    api: httpx2.AsyncClient, redis_server: EmbeddedServer
) -> None:
    redis_server.stop()
    assert (await api.get(METRICS)).status_code == 503


async def test_prometheus_is_told_where_the_workers_are(api: httpx2.AsyncClient, redis: Redis) -> None:
    await add_ready_versions(redis, "1")
    assert (await api.get("/observed/workers")).json() == [
        {
            "targets": ["127.0.0.1:9"],
            "labels": {"model": "digits", "version": "1", "worker": "digits-1-9"},
        }
    ]


async def test_a_key_for_one_model_sees_no_other(api: httpx2.AsyncClient, redis: Redis) -> None:
    await add_ready_versions(redis, "1")
    await add_ready_versions(redis, "1", model="secret")
    admin = (await api.post("/keys", json={"name": "root", "role": "admin"})).json()["key"]
    asked = {"name": "prometheus", "role": "viewer", "models": ["digits"]}
    by = {"authorization": f"Bearer {admin}"}
    key = (await api.post("/keys", json=asked, headers=by)).json()["key"]
    assert (await api.get(METRICS)).status_code == 401
    found = await scrape(api, authorization=f"Bearer {key}")
    assert {labels[1] for labels in found if labels[0] == "turnout_workers_ready"} == {"digits"}
    targets = (await api.get("/observed/workers", headers={"authorization": f"Bearer {key}"})).json()
    assert [target["labels"]["model"] for target in targets] == ["digits"]
