"""Demo traffic against a gateway that is played here: what it sends, and that nothing stops it."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import httpx2

from gateway.cli.demo.traffic import Traffic, read_samples
from gateway.settings import config_dir

SAMPLES = read_samples(config_dir() / "demo")


class PlayedGateway:
    """Answers every prediction with an id, takes labels once `takes_labels` is set, and notes all."""

    def __init__(self) -> None:
        self.takes_labels = True
        self.is_away = False
        self.units: Counter[str] = Counter()
        self.predictions: dict[str, tuple[str, bytes]] = {}
        self.labels: dict[str, float] = {}
        self.refused_labels = 0

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if self.is_away:
            raise httpx2.ConnectError("refused", request=request)
        _, _, _, model, action = request.url.path.split("/")
        if action == "feedback":
            return self._take_label(json.loads(request.content))
        self.units[request.headers["turnout-unit"]] += 1
        prediction_id = f"p-{len(self.predictions)}"
        self.predictions[prediction_id] = (model, request.content)
        return httpx2.Response(200, headers={"turnout-prediction-id": prediction_id}, json={"outputs": []})

    def _take_label(self, feedback: dict[str, object]) -> httpx2.Response:
        if not self.takes_labels:
            self.refused_labels += 1
            return httpx2.Response(503, json={"error": "Redis is away"})
        assert isinstance(feedback["prediction_id"], str)
        assert isinstance(feedback["label"], (int, float))
        self.labels[feedback["prediction_id"]] = feedback["label"]
        return httpx2.Response(200, json={"result": "joined"})


@asynccontextmanager
async def sending(gateway: PlayedGateway, *, label_delay_s: float = 0.01) -> AsyncIterator[Traffic]:
    traffic = Traffic("http://gateway", SAMPLES, 500, label_delay_s, lambda line: None)
    traffic.transport = httpx2.MockTransport(gateway.answer)
    task = asyncio.create_task(traffic.run())
    yield traffic
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.005)


async def test_every_prediction_gets_its_true_label() -> None:
    gateway = PlayedGateway()
    async with sending(gateway):
        await until(lambda: len(gateway.labels) >= 200)
    truth = {(sample.model, sample.body): set[float]() for group in SAMPLES.values() for sample in group}
    for group in SAMPLES.values():
        for sample in group:
            truth[sample.model, sample.body].add(sample.label)
    assert all(label in truth[gateway.predictions[found]] for found, label in gateway.labels.items())


async def test_a_label_waits_for_its_delay_and_is_not_lost_at_the_end() -> None:
    gateway = PlayedGateway()
    async with sending(gateway, label_delay_s=3600):
        await until(lambda: len(gateway.predictions) >= 50)
        assert gateway.labels == {}
    assert gateway.labels.keys() == gateway.predictions.keys()


async def test_some_units_call_often_and_both_models_are_asked() -> None:
    gateway = PlayedGateway()
    async with sending(gateway):
        await until(lambda: len(gateway.predictions) >= 300)
    assert gateway.units["unit-0"] > 5 * 300 / 500
    assert len(gateway.units) > 50
    models = Counter(model for model, _ in gateway.predictions.values())
    assert models["digits"] > models["diabetes"] > 0


async def test_labels_that_were_not_taken_are_sent_again() -> None:
    gateway = PlayedGateway()
    gateway.takes_labels = False
    async with sending(gateway) as traffic:
        await until(lambda: gateway.refused_labels >= 20)
        gateway.takes_labels = True
        for label in traffic.waiting:
            label.due_s = 0
        await until(lambda: len(gateway.labels) >= 20)


async def test_it_goes_on_when_the_gateway_was_away() -> None:
    gateway = PlayedGateway()
    gateway.is_away = True
    async with sending(gateway) as traffic:
        await until(lambda: traffic.counts["no answer"] >= 20)
        assert "no answer" in traffic.told()
        gateway.is_away = False
        await until(lambda: len(gateway.predictions) >= 20)
