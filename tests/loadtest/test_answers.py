"""What a reply said: kinds of errors, and answers beside labels."""

import json

import pytest

from gateway.loadtest.answers import answer_in, error_kind, score


def reply(*tensors: tuple[str, str, list[object]]) -> bytes:
    outputs = [{"name": name, "datatype": datatype, "data": data} for name, datatype, data in tensors]
    return json.dumps({"outputs": outputs}).encode()


@pytest.mark.parametrize(
    ("status", "code", "problem", "kind"),
    [
        (200, None, None, None),
        (503, "no_workers", None, "503 no_workers"),
        (502, None, None, "502"),
        (0, None, ConnectionRefusedError(111, "refused"), "refused"),
        (0, None, TimeoutError(), "timeout"),
        (0, None, OSError("timed out"), "timeout"),
        (0, None, ConnectionResetError(), "broken"),
        (0, None, None, "broken"),
    ],
)
def test_errors_are_told_apart(
    status: int, code: str | None, problem: Exception | None, kind: str | None
) -> None:
    assert error_kind(status, code, problem) == kind


def test_the_label_is_found_among_the_outputs() -> None:
    assert answer_in(reply(("p", "FP32", [0.1]), ("label", "INT64", [4]))) == (4, False)
    assert answer_in(reply(("y", "FP32", [0.5]))) == (0.5, True)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"outputs":[]}', b'{"outputs":[{"name":"label"}]}'])
def test_a_reply_without_an_answer_has_none(body: bytes) -> None:
    assert answer_in(body) is None
    assert score(body, 4) is None


def test_classes_are_right_or_wrong_and_numbers_are_apart() -> None:
    right, wrong = score(reply(("label", "INT64", [4])), 4.0), score(reply(("label", "BYTES", ["a"])), "b")
    number = score(reply(("y", "FP64", [2.5])), 4)
    assert right is not None
    assert wrong is not None
    assert number is not None
    assert (right.is_right, right.error, wrong.is_right) == (True, None, False)
    assert number.error == 1.5
