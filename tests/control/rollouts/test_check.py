"""Before all traffic goes to a version, its workers are tried with what they are to answer."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.contract.plan import Golden
from gateway.contract.rollout import Phase
from gateway.control.rollouts.check import unlike
from tests.control.rollouts.world import World
from tests.control.world import answering_worker

X = {"name": "X", "shape": [1, 64], "datatype": "FP32", "data": [0.0] * 64}


def cutover_plan(**cutover: Any) -> dict[str, Any]:
    return {"steps": [{"cutover": {"watch_s": 1, **cutover}}]}


async def _ready(world: World) -> None:
    """Only workers that really answer have a lease."""
    await world.redis.delete("{turnout}:workers")


async def test_a_candidate_that_answers_as_expected_is_warmed_and_goes_live(world: World) -> None:
    await _ready(world)
    async with answering_worker(world.redis, "1"), answering_worker(world.redis, "2", data=[7]) as bodies:
        await world.start(cutover_plan(warm_requests=5, golden=[{"inputs": [X], "expect": [7]}]))
        controller = world.controller()
        await world.look(controller)
        rollout = await world.rollout()
        assert rollout.switched
        assert rollout.events[-1].report is not None
        assert rollout.events[-1].report["checked"] == {
            "workers": 1, "warmed_requests": 5, "golden_passed": 1, "golden_of": 1, "problems": [],
        }  # fmt: skip
        assert len(bodies) == 1 + 5 + 1
        assert await world.weights() == {"1": 0, "2": 100}


@pytest.mark.parametrize(
    ("worker", "said"),
    [({"data": [3]}, "row 0 is 3, expected 7"), ({"infer_status": 500}, "answers a test inference with 500")],
)
async def test_a_candidate_that_answers_wrongly_never_goes_live(
    world: World, worker: dict[str, Any], said: str
) -> None:
    await _ready(world)
    async with answering_worker(world.redis, "1"), answering_worker(world.redis, "2", **worker):
        before = await world.weights()
        await world.start(cutover_plan(warm_requests=0, golden=[{"inputs": [X], "expect": [7]}]))
        controller = world.controller()
        await world.look(controller)
        rollout = await world.rollout()
        assert rollout.phase is Phase.ROLLED_BACK
        assert said in rollout.sentence
        assert await world.weights() == before
        assert {entry["author"] for entry in await world.parts.documents.audit(1)} == {rollout.route_author}


@pytest.mark.parametrize(
    ("data", "shape", "tolerance", "problem"),
    [
        ([7.05], [1], 0.1, None),
        ([7.2], [1], 0.1, "row 0 is 7.2, expected 7"),
        ([7, 8], [2], 0, "2 rows instead of 1"),
        ([float("nan")], [1], 1e9, "row 0 is nan, expected 7"),
        (["7"], [1], 0, "row 0 is '7', expected 7"),
    ],
)
def test_a_golden_answer_is_compared_within_its_tolerance(
    data: list[Any], shape: list[int], tolerance: float, problem: str | None
) -> None:
    golden = Golden.model_validate({"inputs": [X], "expect": [7], "tolerance": tolerance})
    assert unlike(golden, [{"name": "y", "data": data, "shape": shape}], "y") == problem


def test_a_flat_tensor_is_compared_row_by_row() -> None:
    golden = Golden.model_validate({"inputs": [X], "expect": [[1, 2], [3, 4]]})
    assert unlike(golden, [{"name": "y", "data": [1, 2, 3, 4], "shape": [2, 2]}], "y") is None
    assert unlike(golden, [{"name": "z", "data": []}], "y") == "the answer has no output y"


async def test_workers_are_warmed_with_recorded_requests_where_there_are_any(world: World) -> None:
    async def samples(model: str, limit: int) -> list[dict[str, Any]]:
        assert (model, limit) == ("digits", 3)
        return [{"inputs": [X | {"data": [float(number)] * 64}]} for number in (5, 6)]

    await _ready(world)
    async with answering_worker(world.redis, "1"), answering_worker(world.redis, "2") as bodies:
        await world.start(cutover_plan(warm_requests=3))
        controller = world.controller()
        controller.check = replace(controller.check, samples=samples)
        await world.look(controller)
        assert [body["inputs"][0]["data"][0] for body in bodies] == [0, 5, 6, 5]
