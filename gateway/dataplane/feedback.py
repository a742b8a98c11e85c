"""Feedback intake: labels and rewards from callers to the store, one or many lines at a time.

Every line gets its own result; a line that cannot be understood does not spoil the others. Nothing is
acknowledged that Redis has not taken: when it is away the answer is 503 and the caller sends again, which is
safe, since a label counts once.
"""

from typing import Any

import orjson
from pydantic import ValidationError
from starlette.responses import Response

from gateway.contract.errors import CallerError
from gateway.contract.feedback import Feedback, FeedbackResult
from gateway.contract.route import problems_of
from gateway.dataplane.table import Table
from gateway.dataplane.tally import Tallies
from gateway.store.predictions import Predictions

MAX_LINES = 10_000
MAX_LABEL_BYTES = 4096
_DEFAULT_TTL_S = 604_800

_STATUS = {
    FeedbackResult.WAITING: 202,
    FeedbackResult.UNKNOWN: 404,
    FeedbackResult.EXPIRED: 410,
    FeedbackResult.INVALID: 400,
}
_SENTENCE = {
    FeedbackResult.UNKNOWN: "No prediction has this id.",
    FeedbackResult.EXPIRED: "The prediction's record has been deleted by its time to live.",
    FeedbackResult.INVALID: "The label cannot be compared with the recorded output: give one value of the "
    "output's kind, or a list with one for each row.",
}
Item = tuple[str, str | None, float | None]  # id, label as canonical JSON, reward


class FeedbackIntake:
    def __init__(self, predictions: Predictions, table: Table, tallies: Tallies) -> None:
        self.predictions = predictions
        self.table = table
        self.tallies = tallies

    async def take(self, model: str, body: bytes, *, is_lines: bool) -> Response:
        """One JSON object, or NDJSON with one a line. Raises UpstreamError when Redis does not take it."""
        lines = [line for line in body.splitlines() if line.strip()] if is_lines else [body]
        if len(lines) > MAX_LINES:
            raise CallerError("too_large", f"At most {MAX_LINES} lines are taken at once.")
        if not lines:
            raise CallerError(
                "bad_request", "The body is empty: send an object with prediction_id and label."
            )
        read = [_read(line) for line in lines]
        items = [item for item in read if not isinstance(item, str)]
        compiled = self.table.snapshot.routes.get(model)
        ttl_s = _DEFAULT_TTL_S if compiled is None else compiled.route.record.ttl_s
        joined = iter(await self.predictions.feedback(model, items, ttl_s=ttl_s) if items else ())
        answers = [_answer(item, None if isinstance(item, str) else next(joined)) for item in read]
        for answer in answers:
            self.tallies.feedback[model, answer["status"]] += 1
        if is_lines:
            return Response(b"\n".join(map(orjson.dumps, answers)) + b"\n", media_type="application/x-ndjson")
        return _single(answers[0])


def _read(line: bytes) -> Item | str:
    """One line, or the sentence that says what is wrong with it."""
    try:
        item = Feedback.model_validate(orjson.loads(line))
    except orjson.JSONDecodeError as error:
        return f"This is not JSON: {error}"
    except ValidationError as error:
        return "; ".join(problems_of(error))
    if item.label is None:
        return item.prediction_id, None, item.reward
    label = orjson.dumps(item.label, option=orjson.OPT_SORT_KEYS)
    if len(label) > MAX_LABEL_BYTES:
        return f"label: longer than {MAX_LABEL_BYTES} bytes of JSON"
    return item.prediction_id, label.decode(), None


def _answer(item: Item | str, result: FeedbackResult | None) -> dict[str, Any]:
    if isinstance(item, str) or result is None:
        return {"prediction_id": None, "status": FeedbackResult.INVALID.value, "error": str(item)}
    answer: dict[str, Any] = {"prediction_id": item[0], "status": result.value}
    if result in _SENTENCE:
        answer["error"] = _SENTENCE[result]
    return answer


def _single(answer: dict[str, Any]) -> Response:
    result = FeedbackResult(answer["status"])
    codes = {
        FeedbackResult.UNKNOWN: "unknown_prediction",
        FeedbackResult.EXPIRED: "expired",
        FeedbackResult.INVALID: "invalid_input",
    }
    headers = {"turnout-error": codes[result]} if result in codes else {}
    return Response(
        orjson.dumps(answer),
        status_code=_STATUS.get(result, 200),
        media_type="application/json",
        headers=headers,
    )
