"""Gentle traffic for the demo: held-out inputs of 500 units, and their true labels some seconds later.

An ordinary client application: it knows the gateway's address and the Open Inference Protocol, nothing else.
While the gateway is away it goes on, quietly, and labels that were not taken are sent again. It tells what
it did once a minute. Run by `turnout demo traffic`.
"""

import asyncio
import contextlib
import heapq
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import httpx2

UNITS = 500
MODELS = {"digits": 4, "diabetes": 1}  # model -> its share of the requests, in parts
IN_FLIGHT = 64  # requests at once; when that many wait, the next ones are left out
LABELS_KEPT = 20_000  # labels that wait for their time; more are left out
LABEL_TRIES = 20
LABEL_PAUSE_S = 3.0  # before a label that was not taken is sent again
TELL_S = 60.0
TIMEOUT_S = 5.0
FINISH_S = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One held-out row: the request's body, ready to send, and its true label."""

    model: str
    body: bytes
    label: float


@dataclass(order=True, slots=True)
class Label:
    """Feedback that is due at a time of the event loop's clock."""

    due_s: float
    model: str = field(compare=False)
    prediction_id: str = field(compare=False)
    label: float = field(compare=False)
    tries: int = field(default=0, compare=False)


@dataclass(slots=True)
class Traffic:
    """Sends until it is cancelled. `rate` in predictions a second."""

    url: str
    samples: dict[str, list[Sample]]
    rate: float
    label_delay_s: float
    say: Callable[[str], None]
    key: str | None = None
    transport: httpx2.AsyncBaseTransport | None = None  # None = real connections
    chance: random.Random = field(default_factory=random.Random)
    counts: Counter[str] = field(default_factory=Counter)
    waiting: list[Label] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        limits = httpx2.Limits(max_connections=IN_FLIGHT)
        async with httpx2.AsyncClient(
            base_url=self.url,
            timeout=TIMEOUT_S,
            limits=limits,
            transport=self.transport,
            trust_env=False,
            headers={} if not self.key else {"authorization": f"Bearer {self.key}"},
        ) as client:
            try:
                await self._keep_going(client)
            finally:
                await self._finish(client)
                for task in self.tasks:
                    task.cancel()
                await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _keep_going(self, client: httpx2.AsyncClient) -> None:
        units = list(accumulate(1 / rank for rank in range(1, UNITS + 1)))  # Zipf: a few units call often
        next_s = time.monotonic()
        tell_s = next_s + TELL_S
        while True:
            if len(self.tasks) < IN_FLIGHT:
                unit = self.chance.choices(range(UNITS), cum_weights=units)[0]
                self._own(self._predict(client, self._draw(), unit=f"unit-{unit}"))
            now_s = time.monotonic()
            while self.waiting and self.waiting[0].due_s <= now_s and len(self.tasks) < IN_FLIGHT:
                self._own(self._send_label(client, heapq.heappop(self.waiting)))
            if now_s >= tell_s:
                self.say(self.told())
                tell_s += TELL_S
            next_s = max(next_s + 1 / self.rate, now_s - 1.0)  # after a stall, no more than a second's worth
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))

    async def _finish(self, client: httpx2.AsyncClient) -> None:
        """Sends the labels that are not due yet, as long as there is time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FINISH_S):
                await asyncio.gather(*self.tasks)
                early, self.waiting = self.waiting, []
                for label in early:
                    await self._send_label(client, label)

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _draw(self) -> Sample:
        shares = {model: share for model, share in MODELS.items() if model in self.samples}
        (model,) = self.chance.choices(list(shares), weights=list(shares.values()))
        return self.chance.choice(self.samples[model])

    async def _predict(self, client: httpx2.AsyncClient, sample: Sample, *, unit: str) -> None:
        self.counts["sent"] += 1
        try:
            reply = await client.post(
                f"/v2/models/{sample.model}/infer",
                content=sample.body,
                headers={"content-type": "application/json", "turnout-unit": unit},
            )
        except httpx2.TransportError:
            self.counts["no answer"] += 1
            return
        if reply.status_code != 200:
            self.counts[f"status {reply.status_code} {reply.headers.get('turnout-error', '')}".rstrip()] += 1
            return
        self.counts["answered"] += 1
        if prediction_id := reply.headers.get("turnout-prediction-id"):
            self._keep(
                Label(time.monotonic() + self.label_delay_s, sample.model, prediction_id, sample.label)
            )

    async def _send_label(self, client: httpx2.AsyncClient, label: Label) -> None:
        with contextlib.suppress(httpx2.TransportError):
            reply = await client.post(
                f"/v2/models/{label.model}/feedback",
                json={"prediction_id": label.prediction_id, "label": label.label},
            )
            if reply.status_code < 500:
                self.counts["labels sent" if reply.status_code < 300 else "labels refused"] += 1
                return
        label.tries += 1
        if label.tries >= LABEL_TRIES:
            self.counts["labels given up"] += 1
            return
        label.due_s = time.monotonic() + LABEL_PAUSE_S
        self._keep(label)

    def _keep(self, label: Label) -> None:
        if len(self.waiting) < LABELS_KEPT:
            heapq.heappush(self.waiting, label)
        else:
            self.counts["labels given up"] += 1

    def told(self) -> str:
        """What happened since the last time, in one line."""
        line = ", ".join(f"{what} {count}" for what, count in self.counts.items()) or "nothing was sent"
        self.counts.clear()
        return line


def read_samples(demo_dir: Path) -> dict[str, list[Sample]]:
    """The held-out rows of every model that the demo sends."""
    found: dict[str, list[Sample]] = {}
    for model in MODELS:
        held_out = json.loads((demo_dir / f"{model}-heldout.json").read_text())
        found[model] = [
            Sample(model, request_body(row), label)
            for row, label in zip(held_out["inputs"], held_out["labels"], strict=True)
        ]
    return found


def request_body(row: list[float]) -> bytes:
    """One row as a request of the Open Inference Protocol."""
    tensor = {"name": "X", "shape": [1, len(row)], "datatype": "FP32", "data": row}
    return json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()
