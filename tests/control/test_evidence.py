"""Evidence and single predictions over the control API."""

from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.store.predictions import Batch, Predictions
from tests.control.world import add_versions

CALLERS_ID = "order-4711"


@pytest.fixture
async def minute(redis: Redis) -> int:
    """One labelled prediction of version 1 with a shadow of version 2; gives the present minute."""
    await add_versions(redis, "1", "2")
    now_s, _ = await redis.time()
    minute: int = now_s // 60
    records = [(b"=", b'["1",7,%d,420,"c",3]' % now_s), (b"=0", b'["2",7,%d,900,"c",4]' % now_s)]
    counts: dict[str, int | float] = {
        "p|1|n": 1, "p|1|ok": 1, "p|1|us": 420, "p|1|h13": 1, "p|1|recorded": 1,
        "s|2|n": 1, "s|2|ok": 1, "s|2|us": 900, "s|2|h17": 1, "s|2|recorded": 1,
    }  # fmt: skip
    predictions = Predictions(redis)
    await predictions.write("digits", "gw-1", Batch(1, [(f"={CALLERS_ID}", 600, records)], {minute: counts}))
    await predictions.feedback("digits", [(CALLERS_ID, "3", None)], ttl_s=600)
    return minute


async def compare(api: httpx2.AsyncClient, **params: Any) -> Any:
    reply = await api.get("/models/digits/compare", params=params)
    return {"status": reply.status_code, **reply.json()}


async def test_versions_are_laid_side_by_side(api: httpx2.AsyncClient, minute: int) -> None:
    found = await compare(api)
    rows = {(row["version"], row["role"]): row for row in found["versions"]}
    assert rows["1", "primary"]["accuracy"]["value"] == 1
    assert rows["2", "shadow"]["accuracy"]["value"] == 0
    assert (found["last_minute"] >= minute, found["baseline"]) == (True, "1")


async def test_versions_can_be_chosen_and_the_first_is_the_baseline(
    api: httpx2.AsyncClient, minute: int
) -> None:
    found = await compare(api, versions="2,1")
    assert (found["baseline"], [row["version"] for row in found["versions"]]) == ("2", ["2", "1"])


async def test_a_margin_is_asked_of_every_verdict(api: httpx2.AsyncClient, minute: int) -> None:
    (verdict,) = (await compare(api, margin="0.02"))["verdicts"]
    assert (verdict["margin"], verdict["within_margin"]) == (0.02, None)
    assert "by more than 2 points of accuracy" in verdict["sentence"]


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"margin": "-1"}, 400, "bad_request"),
        ({"versions": "9"}, 404, "unknown_version"),
        ({"since_s": "1"}, 400, "bad_request"),
        ({"since_s": "x"}, 400, "bad_request"),
    ],
)
async def test_a_wrong_question_is_refused(
    api: httpx2.AsyncClient, minute: int, params: dict[str, str], status: int, code: str
) -> None:
    found = await compare(api, **params)
    assert (found["status"], found["code"]) == (status, code)


async def test_an_unknown_model_is_told(api: httpx2.AsyncClient) -> None:
    assert (await compare(api))["code"] == "unknown_model"


async def test_a_prediction_is_shown_with_its_shadows_and_label(api: httpx2.AsyncClient, minute: int) -> None:
    found = (await api.get(f"/models/digits/predictions/{CALLERS_ID}")).json()
    assert found["label"] == 3
    told = [(item["version"], item["role"], item["output"], item["kind"]) for item in found["records"]]
    assert told == [("1", "primary", 3, "class"), ("2", "shadow", 4, "class")]


@pytest.mark.parametrize(("prediction", "status"), [("order-4712", 404), ("-", 400), ("a%20b", 400)])
async def test_an_unknown_prediction_is_told(
    api: httpx2.AsyncClient, minute: int, prediction: str, status: int
) -> None:
    reply = await api.get(f"/models/digits/predictions/{prediction}")
    assert reply.status_code == status


async def test_slices_distributions_and_corrections_are_shown(
    api: httpx2.AsyncClient, redis: Redis, minute: int
) -> None:
    counts: dict[str, int | float] = {
        "x|x-tenant|beta|p|1|n": 4, "x|x-tenant|beta|p|1|e:no_workers": 1,
        "x|x-tenant|(none)|p|1|n": 9,
    }  # fmt: skip
    predictions = Predictions(redis)
    await predictions.write("digits", "gw-2", Batch(1, [], {minute: counts}))
    await predictions.feedback("digits", [(CALLERS_ID, "4", None)], ttl_s=600)
    slices = (await api.get("/models/digits/slices")).json()["slices"]
    assert [(part["value"], part["versions"][0]["requests"]) for part in slices] == [
        ("(none)", 9),
        ("beta", 4),
    ]
    assert slices[1]["versions"][0]["errors"] == {"no_workers": 1}
    outputs = (await api.get("/models/digits/distributions")).json()["outputs"]
    assert [(found["version"], found["counts"]) for found in outputs] == [("1", {"3": 1}), ("2", {"4": 1})]
    [noted] = (await api.get("/models/digits/corrections")).json()["corrections"]
    assert (noted["what"], noted["before"], noted["now"]) == ("corrected", "3", "4")


async def test_a_slice_in_which_a_version_does_worse_is_named_though_it_does_well_on_the_whole(
    api: httpx2.AsyncClient, redis: Redis, minute: int
) -> None:
    counts: dict[str, int | float] = {"p|1|n": 5000}
    for value, gained, lost in (("de", 90, 10), ("fr", 5, 60)):
        of = f"x|x-country|{value}|"
        counts |= {f"{of}{who}|rows": 400 for who in ("p|1", "s|2", "d|1|2")}
        counts |= {f"{of}p|1|right": 300, f"{of}s|2|right": 300 + gained - lost}
        counts |= {f"{of}d|1|2|c": gained, f"{of}d|1|2|b": lost}
    counts |= {"p|1|rows": 800, "s|2|rows": 800}
    await Predictions(redis).write("digits", "gw-2", Batch(1, [], {minute: counts}))
    found = (await api.get("/models/digits/slices")).json()
    assert found["worse"] == [{"header": "x-country", "value": "fr", "version": "2", "than": "1"}]


async def test_a_series_runs_on_with_its_interval(api: httpx2.AsyncClient, redis: Redis, minute: int) -> None:
    predictions = Predictions(redis)
    for back in range(1, 4):
        counts: dict[str, int | float] = {"p|1|n": 100, "p|1|l": 100, "p|1|rows": 100, "p|1|right": 90}
        await predictions.write("digits", f"back-{back}", Batch(1, [], {minute - back: counts}))
    reply = (await api.get("/models/digits/series", params={"since_s": 600})).json()
    line = next(line for line in reply["series"] if line["version"] == "1")
    assert [point["labels"] for point in line["points"]] == [100, 200, 300, 301]
    widths = [point["high"] - point["low"] for point in line["points"]]
    assert widths == sorted(widths, reverse=True)
    assert all(point["low"] < 0.9 < point["high"] for point in line["points"][:3])


async def test_drift_lays_the_present_beside_the_time_before(
    api: httpx2.AsyncClient, redis: Redis, minute: int
) -> None:
    predictions = Predictions(redis)
    before: dict[str, int | float] = {"p|1|o:1": 500, "p|1|o:2": 500, "p|2|o:1": 500, "p|2|o:2": 500}
    now: dict[str, int | float] = {"p|1|o:1": 100, "p|1|o:2": 400, "p|2|o:1": 250, "p|2|o:2": 250}
    await predictions.write("digits", "far", Batch(1, [], {minute - 120: before}))
    await predictions.write("digits", "near", Batch(1, [], {minute - 1: now}))
    reply = (await api.get("/models/digits/drift")).json()
    found = {(item["version"], item["role"]): item for item in reply["drift"]}
    moved, same = found["1", "primary"], found["2", "primary"]
    assert (moved["is_alarm"], same["is_alarm"]) == (True, False)
    assert moved["low"] < 0.3 < moved["high"]
    assert moved["largest"][0]["bin"] in ("1", "2")


async def test_confusion_tells_what_each_version_took_for_what(api: httpx2.AsyncClient, minute: int) -> None:
    found = (await api.get("/models/digits/confusion")).json()["confusion"]
    by_version = {item["version"]: item for item in found}
    assert by_version["1"]["classes"] == ["3"]
    assert (by_version["2"]["role"], by_version["2"]["rows"]) == ("shadow", [[0, 1], [0, 0]])


async def test_traffic_is_counted_by_version_and_role(api: httpx2.AsyncClient, minute: int) -> None:
    counts = [
        {"version": "1", "role": "primary", "requests": 1, "errors": {}},
        {"version": "2", "role": "shadow", "requests": 1, "errors": {}},
    ]
    one = (await api.get("/models/digits/traffic")).json()
    assert one["versions"] == counts
    assert minute - 1 <= one["first_minute"] <= minute
