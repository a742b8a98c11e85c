"""What a reply said: which kind of error it was, and how its answer compares with the true label.

Pure; called by the driver and by `turnout bench`.
"""

from dataclasses import dataclass

import orjson

OUTPUT = "label"  # the output that is compared, if a reply has it; else its first


def error_kind(status: int, code: str | None, problem: BaseException | None) -> str | None:
    """`503 no_workers`, `timeout`, `refused`, `broken`; None of an answer."""
    if status == 200:
        return None
    if status:
        return f"{status} {code}" if code else str(status)
    if isinstance(problem, ConnectionRefusedError):
        return "refused"
    if isinstance(problem, TimeoutError) or "timed out" in str(problem):
        return "timeout"
    return "broken"


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer beside its label; `error` is None where the label is a class."""

    is_right: bool
    error: float | None


def answer_in(body: bytes) -> tuple[object, bool] | None:
    """The first value of the output, and whether it is a measured number (floating point); None if there
    is none."""
    try:
        reply = orjson.loads(body)
        outputs = reply["outputs"]
        found = next((tensor for tensor in outputs if tensor["name"] == OUTPUT), outputs[0])
        return found["data"][0], str(found["datatype"]).startswith(("FP", "BF"))
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        return None


def score(body: bytes, label: object) -> Scored | None:
    """None where the reply has no value to compare."""
    answer = answer_in(body)
    if answer is None:
        return None
    value, is_measured = answer
    if is_measured and isinstance(value, int | float) and isinstance(label, int | float):
        return Scored(False, abs(value - label))
    return Scored(value == label, None)
