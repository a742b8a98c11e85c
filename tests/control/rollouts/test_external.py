"""What Prometheus, webhooks and receivers of events can do to a rollout, and what they cannot."""

import asyncio
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.contract.plan import Gate
from gateway.contract.rollout import Outcome, Phase, Verdict
from gateway.control.rollouts.controller import Controller
from gateway.control.rollouts.external import External, judge_answer, judge_value, value_of
from gateway.control.rollouts.outside import Outside, OutsideError
from gateway.control.rollouts.running import make_controller
from tests.control.rollouts.outside_world import Sent, outside_server
from tests.control.rollouts.world import MODEL, World

QUERY = Gate.model_validate({"metric": "prometheus", "url": "http://x", "query": "q", "at_most": 1})


def vector(*values: str) -> dict[str, Any]:
    result = [{"metric": {}, "value": [1.0, value]} for value in values]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (vector(), "0 series instead of one number"),
        (vector("1", "2"), "2 series instead of one number"),
        (vector("NaN"), "NaN, which is no number"),
        (vector("+Inf"), "Inf, which is no number"),
        (vector("many"), "not one of Prometheus"),
        ({"status": "error", "error": "bad query"}, "bad query"),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, "a matrix instead"),
        ([], "not one of Prometheus"),
        (None, "not one of Prometheus"),
    ],
)
def test_an_answer_that_is_not_one_number_is_no_value(answer: Any, said: str) -> None:
    with pytest.raises(OutsideError, match=said):
        value_of(answer)


def test_one_number_is_judged_by_the_bound() -> None:
    assert value_of(vector("0.5")) == 0.5
    assert value_of({"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}) == 2
    assert judge_value(QUERY, 1.0).outcome is Outcome.PASS
    assert judge_value(QUERY, 1.01).outcome is Outcome.FAIL
    at_least = QUERY.model_copy(update={"at_most": None, "at_least": 3.0})
    assert judge_value(at_least, 2.9).outcome is Outcome.FAIL


@pytest.mark.parametrize("answer", [{}, [], None, {"verdict": "PASS"}, {"verdict": 1}, {"verdict": ["pass"]}])
def test_a_webhook_that_says_none_of_its_three_words_gives_no_verdict(answer: Any) -> None:
    gate = Gate.model_validate({"metric": "webhook", "url": "http://x"})
    with pytest.raises(OutsideError):
        judge_answer(gate, answer)
    assert judge_answer(gate, {"verdict": "fail", "reason": "no\nway"}).sentence == "webhook: no way"


async def _asked(world: World, gate: dict[str, Any], *, timeout_s: float = 60.0) -> Verdict:
    """The verdict of a plan's only gate once it was asked."""
    await world.start({"steps": [{"weight": 10, "hold": {"min_s": 60}, "gates": [gate]}]})
    external = External(Outside(hosts=("127.0.0.1",), timeout_s=timeout_s), clock=world.clock)
    try:
        rollout = await world.rollout()
        first = external.newest(rollout)[0]
        assert first.outcome is Outcome.HOLD
        async with asyncio.timeout(60):
            while (verdict := external.newest(rollout)[0]) == first:
                await asyncio.sleep(0.01)
        return verdict
    finally:
        await external.aclose()


async def test_a_query_is_asked_about_these_versions(world: World) -> None:
    answer = json.dumps(vector("0.2")).encode()
    async with outside_server(lambda sent: (200, answer)) as server:
        gate = {
            "metric": "prometheus", "url": server.url, "at_most": 0.5,
            "query": 'errors{model="$model",version="$candidate"}',
        }  # fmt: skip
        verdict = await _asked(world, gate)
        assert (verdict.outcome, verdict.value, verdict.limit) == (Outcome.PASS, 0.2, 0.5)
        assert "version%3D%222%22" in server.sent[0].line


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "no answer within 0.3 s"),
        ((500, b"{}"), "status 500"),
        ((302, b""), "status 302"),
        ((200, b"{"), "not JSON"),
        ((200, b" " * 300_000), "longer than 256 KiB"),
    ],
)
async def test_a_webhook_that_misbehaves_is_an_error_and_never_a_pass(
    world: World, answer: tuple[int, bytes] | None, said: str
) -> None:
    async with outside_server(lambda sent: answer) as server:
        timeout_s = 0.3 if answer is None else 60.0
        verdict = await _asked(world, {"metric": "webhook", "url": server.url}, timeout_s=timeout_s)
        assert verdict.outcome is Outcome.ERROR
        assert said in verdict.sentence
        assert len(server.sent) <= 1  # a redirect is not followed; on a slow machine 0.3 s are over before


async def test_a_webhook_is_told_what_it_shall_judge_and_decides(world: World) -> None:
    says = json.dumps({"verdict": "fail", "reason": "the business says no"}).encode()
    async with outside_server(lambda sent: (200, says)) as server:
        gate = {"metric": "webhook", "url": server.url, "name": "business"}
        await world.start({"steps": [{"weight": 10, "hold": {"min_s": 60}, "gates": [gate]}]})
        controller = _controller(world)
        try:
            async with asyncio.timeout(60):
                while (await world.rollout()).phase is Phase.RUNNING:
                    await world.look(controller)
                    await asyncio.sleep(0.01)
        finally:
            await controller._end()
        rollout = await world.rollout()
        assert rollout.phase is Phase.ROLLED_BACK
        assert "the business says no" in rollout.sentence
        told = json.loads(server.sent[0].body)
        assert (told["model"], told["candidate"], told["step"]) == (MODEL, "2", 0)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/", "http://localhost:1/", "http://169.254.169.254/", "http://[::1]:1/", "http://0.0.0.0/",
     "http://[::ffff:127.0.0.1]/", "http://2130706433/"],
)  # fmt: skip
async def test_places_that_only_this_machine_reaches_are_not_called(url: str) -> None:
    outside = Outside(hosts=())
    with pytest.raises(OutsideError, match="outside_hosts"):
        await outside.get_json(url, {})
    await outside.aclose()


def _controller(world: World, **settings: Any) -> Controller:
    changed = replace(world.parts.settings, outside_hosts=("127.0.0.1",), **settings)
    old = world.parts
    parts = replace(old, settings=changed)
    controller = make_controller(parts)
    controller.clock = controller.observer.clock = world.clock
    return controller


async def test_receivers_are_told_every_event_once_signed_and_in_order(world: World) -> None:
    object.__setattr__(world.parts.settings, "webhook_secret", "s3cret")
    answers: list[tuple[int, bytes]] = [(500, b""), *[(200, b"")] * 20]
    async with outside_server(lambda sent: answers.pop(0)) as server:
        controller = _controller(world, webhook_secret="s3cret")
        assert await controller._leads()
        assert controller.fence is not None
        await controller.notifier._tell_new(controller.fence)  # from here on
        await world.start({"steps": [{"weight": 10}], "webhooks": [server.url]})
        await world.api.post(f"/models/{MODEL}/rollout/pause", json={})
        await world.api.post(f"/models/{MODEL}/rollout/abort", json={})
        for _ in range(2):
            await controller.notifier._tell_new(controller.fence)
        await controller._end()
        told = [json.loads(sent.body)["event"]["what"] for sent in server.sent]
        assert told == ["started", "started", "paused", "aborted"]  # the first was answered with an error
        _check_signature(server.sent[-1])


def _check_signature(sent: Sent) -> None:
    text = sent.headers["turnout-time"].encode() + b"." + sent.body
    digest = hmac.new(b"s3cret", text, hashlib.sha256).hexdigest()
    assert sent.headers["turnout-signature"] == f"sha256={digest}"
