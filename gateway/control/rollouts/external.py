"""Gates that others measure: a query to Prometheus, a webhook. Each becomes a verdict.

They are asked in the background every few seconds, so that a slow one never holds up the decisions of a
rollout; a look takes the newest answer. One that could not be measured is an ERROR with its reason, which is
neither PASS nor FAIL. Called by `control.rollouts.controller`.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from gateway.contract.evidence import PRIMARY, SHADOW
from gateway.contract.plan import Gate, Metric
from gateway.contract.rollout import Outcome, Rollout, Verdict
from gateway.control.rollouts.outside import Outside, OutsideError
from gateway.core.evidence.sums import NOTHING, Table
from gateway.core.rollouts.gates import gates_of
from gateway.core.rollouts.seen import Evidence

ASK_EVERY_S = 5.0
MAX_REASON = 512
EXTERNAL = frozenset({Metric.PROMETHEUS, Metric.WEBHOOK})
_SAID_BY_WEBHOOK = {"pass": Outcome.PASS, "fail": Outcome.FAIL, "hold": Outcome.HOLD}

Key = tuple[str, str, int, int]  # model, rollout, step, position among the step's gates


@dataclass(slots=True)
class _Asked:
    verdict: Verdict
    at_s: float = -math.inf
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class External:
    """`evidence`: what was read of each model last; webhooks are told of it."""

    outside: Outside
    clock: Callable[[], float] = time.monotonic
    evidence: dict[str, Evidence | str] = field(default_factory=dict)
    _asked: dict[Key, _Asked] = field(default_factory=dict)

    def newest(self, rollout: Rollout) -> dict[int, Verdict]:
        """By the gate's position; asks again, in the background, what is old."""
        found = {}
        for index, gate in enumerate(gates_of(rollout.plan, rollout.plan.steps[rollout.step])):
            if gate.metric in EXTERNAL:
                key = (rollout.model, rollout.rollout_id, rollout.step, index)
                asked = self._asked.setdefault(key, _Asked(_verdict(gate, Outcome.HOLD, "is being asked")))
                self._ask_again(asked, gate, rollout)
                found[index] = asked.verdict
        return found

    def forget(self, *, but: Iterable[str]) -> None:
        kept = set(but)
        for key in [key for key in self._asked if key[0] not in kept]:
            if task := self._asked.pop(key).task:
                task.cancel()
        self.evidence = {model: seen for model, seen in self.evidence.items() if model in kept}

    async def aclose(self) -> None:
        tasks = [asked.task for asked in self._asked.values() if asked.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.outside.aclose()

    def _ask_again(self, asked: _Asked, gate: Gate, rollout: Rollout) -> None:
        is_asking = asked.task is not None and not asked.task.done()
        if not is_asking and self.clock() >= asked.at_s + ASK_EVERY_S:
            asked.at_s = self.clock()
            asked.task = asyncio.create_task(self._ask(asked, gate, rollout), name=f"gate {gate.title}")

    async def _ask(self, asked: _Asked, gate: Gate, rollout: Rollout) -> None:
        assert gate.url is not None
        try:
            if gate.metric is Metric.PROMETHEUS:
                asked.verdict = await self._query(gate, rollout)
            else:
                asked.verdict = await self._call(gate, rollout)
        except OutsideError as error:
            asked.verdict = _verdict(gate, Outcome.ERROR, f"{gate.url}: {error}")

    async def _query(self, gate: Gate, rollout: Rollout) -> Verdict:
        query = gate.query or ""
        for name, value in (
            ("$model", rollout.model), ("$candidate", rollout.candidate), ("$baseline", rollout.baseline),
        ):  # fmt: skip
            query = query.replace(name, value)
        url = f"{(gate.url or '').rstrip('/')}/api/v1/query"
        return judge_value(gate, value_of(await self.outside.get_json(url, {"query": query})))

    async def _call(self, gate: Gate, rollout: Rollout) -> Verdict:
        body = {
            "rollout_id": rollout.rollout_id,
            "model": rollout.model,
            "baseline": rollout.baseline,
            "candidate": rollout.candidate,
            "step": rollout.step,
            "evidence": _told(self.evidence.get(rollout.model), rollout),
        }
        return judge_answer(gate, await self.outside.post_json(gate.url or "", body))


def value_of(answer: Any) -> float:
    """The one number of Prometheus' answer; raises OutsideError where it is not exactly one."""
    try:
        if answer["status"] != "success":
            raise OutsideError(f"the query failed: {str(answer.get('error', ''))[:MAX_REASON]}")
        kind, result = answer["data"]["resultType"], answer["data"]["result"]
        if kind == "scalar":
            text = result[1]
        elif kind == "vector":
            if len(result) != 1:
                raise OutsideError(f"the query gave {len(result)} series instead of one number")
            text = result[0]["value"][1]
        else:
            raise OutsideError(f"the query gave a {kind} instead of one number")
        value = float(text)
    except (KeyError, IndexError, TypeError, ValueError):
        raise OutsideError("its answer is not one of Prometheus") from None
    if not math.isfinite(value):
        raise OutsideError(f"the query gave {text}, which is no number to judge by")
    return value


def judge_value(gate: Gate, value: float) -> Verdict:
    if gate.at_most is not None:
        limit, is_good, words = gate.at_most, value <= gate.at_most, "at most"
    else:
        assert gate.at_least is not None
        limit, is_good, words = gate.at_least, value >= gate.at_least, "at least"
    sentence = f"is {value:.6g}, {'' if is_good else 'not '}{words} {limit:.6g}"
    verdict = _verdict(gate, Outcome.PASS if is_good else Outcome.FAIL, sentence)
    return verdict.model_copy(update={"value": value, "limit": limit, "observations": 1})


def judge_answer(gate: Gate, answer: Any) -> Verdict:
    said = answer.get("verdict") if isinstance(answer, dict) else None
    outcome = _SAID_BY_WEBHOOK.get(said) if isinstance(said, str) else None
    if outcome is None:
        raise OutsideError('its answer has no "verdict" that is "pass", "fail" or "hold"')
    reason = str(answer.get("reason") or f"says {said}")
    return _verdict(gate, outcome, " ".join(reason.split())[:MAX_REASON])


def _verdict(gate: Gate, outcome: Outcome, sentence: str) -> Verdict:
    return Verdict(gate=gate.title, outcome=outcome, sentence=f"{gate.title}: {sentence}", blocks=gate.blocks)


def _told(evidence: Evidence | str | None, rollout: Rollout) -> dict[str, Any]:
    if not isinstance(evidence, Evidence):
        return {}
    return {
        window: {
            version: {
                name: _sums(table, role, version) for name, role in (("primary", PRIMARY), ("shadow", SHADOW))
            }
            for version in (rollout.baseline, rollout.candidate)
        }
        for window, table in (("rollout", evidence.rollout), ("step", evidence.step))
    }


def _sums(table: Table, role: str, version: str) -> dict[str, Any]:
    sums = table.roles.get((role, version), NOTHING)
    return {
        "requests": round(sums["n"]),
        "errors": {code: round(count) for code, count in sums.errors().items()},
        "labels": round(sums["l"]),
        "right": round(sums["right"]),
        "scored": round(sums["rows"]),
    }
