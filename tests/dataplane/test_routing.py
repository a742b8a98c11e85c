"""Every prediction finds its version, and the reply says which one answered and why."""

import re
from collections import Counter

import pytest

from gateway.contract.route import Route
from gateway.core.decide import compile_route, decide
from tests.dataplane.conftest import Turnout

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture
async def served(turnout: Turnout) -> Turnout:
    """Workers of versions 1 and 2; everything goes to 1."""
    await turnout.route()
    for version in "12":
        await turnout.worker(version=version)
    await turnout.start()
    return turnout


async def test_a_reply_says_who_answered_and_why(served: Turnout) -> None:
    status, headers, body = await served.infer()
    assert status == 200
    assert body == {"outputs": []}
    assert headers["turnout-version"] == "1"
    assert headers["turnout-reason"] == "weight"
    assert headers["turnout-revision"] == str(served.process.table.snapshot.revision)
    assert UUID7.fullmatch(headers["turnout-prediction-id"])
    assert re.fullmatch(r"gateway;dur=\d+\.\d{3}, worker;dur=0\.100", headers["server-timing"])


async def test_the_body_and_named_headers_reach_the_worker_unchanged(served: Turnout) -> None:
    body = bytes(range(256))
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await served.post(
        "/v2/models/digits/infer",
        body,
        content_type="application/octet-stream",
        traceparent=trace,
        cookie="a=b",
    )
    call = served.workers[0].calls[0]
    assert call.body == body
    assert b"traceparent: " + trace.encode() in call.head
    assert b"content-type: application/octet-stream" in call.head
    assert b"cookie" not in call.head


async def test_a_version_is_pinned_by_path_or_header(served: Turnout) -> None:
    for answer in (
        await served.post("/v2/models/digits/versions/2/infer"),
        await served.infer(turnout_version="2"),
    ):
        assert answer[0] == 200
        assert (answer[1]["turnout-version"], answer[1]["turnout-reason"]) == ("2", "pin")


async def test_unknown_names_are_404_with_the_known_ones(served: Turnout) -> None:
    status, headers, body = await served.infer(turnout_version="9")
    assert (status, headers["turnout-error"]) == (404, "unknown_version")
    assert body == {"error": "digits has no version 9; it has: 1, 2, 3."}
    status, headers, _ = await served.post("/v2/models/nothing/infer")
    assert (status, headers["turnout-error"]) == (404, "unknown_model")
    status, headers, _ = await served.post("/v2/models/digits/versions/9/infer")
    assert (status, headers["turnout-error"]) == (404, "unknown_version")
    status, headers, _ = await served.get("/elsewhere")
    assert (status, headers["turnout-error"]) == (404, "not_found")


async def test_a_model_without_a_route_can_be_asked_by_version_only(served: Turnout) -> None:
    revision = (await served.commit({"route/digits": None})).revision
    await served.serves(revision)
    assert (await served.post("/v2/models/digits/versions/1/infer"))[0] == 200
    status, headers, body = await served.infer()
    assert (status, headers["turnout-error"]) == (404, "no_route")
    assert "turnout route split digits" in body["error"]


async def test_a_rule_sends_its_requests_to_its_version(served: Turnout) -> None:
    rule = {
        "name": "beta",
        "match": [{"header": "x-tenant", "exact": "beta"}],
        "split": [{"version": "2", "weight": 100}],
    }
    await served.route(rules=[rule])
    _, headers, _ = await served.infer(x_tenant="beta")
    assert (headers["turnout-version"], headers["turnout-reason"]) == ("2", "rule:beta")
    assert (await served.infer(x_tenant="other"))[1]["turnout-version"] == "1"


async def test_units_stick_as_the_published_rule_says(served: Turnout) -> None:
    parts = {
        "split": [{"version": "1", "weight": 50}, {"version": "2", "weight": 50}],
        "sticky": {"header": "turnout-unit"},
    }
    await served.route(**parts)
    compiled = compile_route(Route.model_validate({"model": "digits"} | parts), revision=1)
    seen: Counter[str] = Counter()
    for number in range(60):
        unit = f"user-{number}"
        _, headers, _ = await served.infer(turnout_unit=unit)
        assert headers["turnout-reason"] == "sticky"
        assert headers["turnout-version"] == decide(compiled, {b"turnout-unit": unit.encode()}, 0.0)[0]
        seen[headers["turnout-version"]] += 1
    assert set(seen) == {"1", "2"}


async def test_the_fallback_answers_for_a_version_without_workers(served: Turnout) -> None:
    await served.route(split=[{"version": "3", "weight": 100}], fallback="1")
    status, headers, _ = await served.infer()
    assert (status, headers["turnout-version"], headers["turnout-reason"]) == (200, "1", "fallback")
    assert (await served.infer(turnout_version="3"))[0] == 503


async def test_without_fallback_a_version_without_workers_is_503(served: Turnout) -> None:
    await served.route(split=[{"version": "3", "weight": 100}])
    status, headers, body = await served.infer()
    assert (status, headers["turnout-error"], headers["retry-after"]) == (503, "no_workers", "1")
    assert body == {"error": "digits version 3 has no ready worker."}


async def test_a_cutover_of_slots_moves_everything_at_once(served: Turnout) -> None:
    slots = {"blue": "1", "green": "2"}
    await served.route(split=[], slots=slots | {"live": "blue"})
    assert (await served.infer())[1]["turnout-version"] == "1"
    await served.route(split=[], slots=slots | {"live": "green"})
    assert (await served.infer())[1]["turnout-version"] == "2"


async def test_two_routes_of_one_commit_switch_together(served: Turnout) -> None:
    documents = {
        f"version/other/{version}": {
            **(await served.documents.get(f"version/digits/{version}")).doc,  # type: ignore[union-attr, dict-item]
            "model": "other",
        }
        for version in "12"
    }
    for version in ("1", "2"):
        split = [{"version": version, "weight": 100}]
        committed = await served.commit(
            documents
            | {
                "route/digits": {"model": "digits", "split": split},
                "route/other": {"model": "other", "split": split},
            }
        )
        await served.serves(committed.revision)
        table = served.process.table
        for path in (b"/v2/models/digits/infer", b"/v2/models/other/infer"):
            found = table.find(path)
            assert found is not None
            assert found[0].compiled.split.single == version


@pytest.mark.parametrize("bad", ["-x", "a b", "x" * 65, "é"])
async def test_a_bad_prediction_id_is_refused(served: Turnout, bad: str) -> None:
    status, headers, _ = await served.infer(turnout_prediction_id=bad)
    assert (status, headers["turnout-error"]) == (400, "bad_request")


@pytest.mark.parametrize("bad", ["0", "-5", "1.5", "soon", "99999999999"])
async def test_a_bad_timeout_is_refused(served: Turnout, bad: str) -> None:
    status, _, body = await served.infer(turnout_timeout_ms=bad)
    assert status == 400
    assert "milliseconds" in body["error"]


async def test_a_compressed_body_is_refused(served: Turnout) -> None:
    assert (await served.infer(content_encoding="gzip"))[0] == 415


async def test_health_and_metadata_follow_the_protocol(served: Turnout) -> None:
    assert (await served.get("/v2/health/live"))[2] == {"live": True}
    assert (await served.get("/v2/health/ready"))[2] == {"ready": True}
    for path in ("/v2", "/v2/"):
        assert (await served.get(path))[2]["extensions"] == ["binary_tensor_data"]
    status, _, body = await served.get("/v2/models/digits")
    assert status == 200
    assert body == {
        "name": "digits",
        "versions": ["1", "2", "3"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
    }
    assert (await served.get("/v2/models/digits/versions/2/ready"))[2] == {"name": "digits", "ready": True}
    assert (await served.get("/v2/models/digits/versions/3/ready"))[0] == 503
    assert (await served.get("/v2/models/none"))[0] == 404
    assert (await served.get("/v2/models/digits/infer"))[0] == 405
