"""Input columns are counted where a route asks for it, from JSON and binary bodies alike."""

import json
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.bins import LEAST, bin_of, middle_of
from gateway.contract.route import Features
from gateway.core.evidence.sums import read
from gateway.dataplane.features import fields_of
from gateway.store.predictions import Predictions
from tests.dataplane.conftest import Turnout
from tests.store.samples import until

ASKED = Features(input="X", columns=(0, 2, 9))


def tensor(data: object, *, shape: list[int], name: str = "X") -> dict[str, object]:
    return {"name": name, "shape": shape, "datatype": "FP32", "data": data}


@pytest.mark.parametrize("data", [[1, 5, 4, 8, 8, 8], [[1, 5, 4], [8, 8, 8]]])
def test_the_first_row_of_a_json_body_is_read_nested_or_flat(data: object) -> None:
    body = json.dumps({"inputs": [tensor([0.5], shape=[1], name="A"), tensor(data, shape=[2, 3])]}).encode()
    assert list(fields_of("1", body, None, ASKED)) == ["p|1|f:0:+0", "p|1|f:2:+8"]


def test_a_binary_body_is_read_behind_the_tensors_before_it() -> None:
    def told(name: str, shape: list[int], size: int) -> dict[str, object]:
        return {"name": name, "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": size}}

    head = json.dumps({"inputs": [told("A", [1, 1], 4), told("X", [1, 3], 12)]}).encode()
    body = head + struct.pack("<4f", 9, -1, 0, 4)
    assert list(fields_of("1", body, b"%d" % len(head), ASKED)) == ["p|1|f:0:-0", "p|1|f:2:+8"]


@given(st.binary(max_size=60), st.sampled_from([None, b"0", b"10", b"x", b"-3"]))
def test_a_body_that_cannot_be_read_is_left_out(body: bytes, json_length: bytes | None) -> None:
    assert list(fields_of("1", body, json_length, ASKED)) == []


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e8, max_value=1e8))
def test_a_bin_stands_for_numbers_near_it(value: float) -> None:
    middle = middle_of(bin_of(value))
    assert middle is not None
    if abs(value) < LEAST:
        assert middle == 0
    else:
        assert 0.91 < value / middle < 1.1


async def test_columns_of_a_routes_requests_are_counted(turnout: Turnout) -> None:
    await turnout.route(record={"features": {"columns": [1], "percent": 100}})
    await turnout.worker()
    await turnout.start()
    for value in (4, 4, 1):
        await turnout.post(
            "/v2/models/digits/infer", json.dumps({"inputs": [tensor([0, value], shape=[1, 2])]}).encode()
        )
    minute = int(time.time() // 60)

    async def are_counted() -> bool:
        table = read(await Predictions(turnout.redis).evidence("digits", minute - 1, minute + 1))
        return table.features == {("1", 1): {"+8": 2, "+0": 1}}

    await until(are_counted)
