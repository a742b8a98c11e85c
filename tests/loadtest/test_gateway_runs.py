"""`turnout loadtest` and `turnout bench` against a real gateway process: stalls, a death, Ctrl-C, labels."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.dataplane.conftest import Turnout, turnout
from tests.faults.conftest import Gateway, StartGateway, start_gateway, until_predicts
from tests.scripted import Call
from tests.sockets import eventually

__all__ = ["start_gateway", "turnout"]
pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="needs the extra loadtest")

REPLY = b'{"outputs":[{"name":"label","datatype":"INT64","shape":[1],"data":[7]}]}'


async def seven(call: Call) -> None:
    call.writer.write(call.answer(REPLY, output=b"7"))


@dataclass
class Loading:
    """A running `turnout loadtest` whose worker has begun to answer."""

    process: asyncio.subprocess.Process
    out: Path

    async def ended(self) -> tuple[int, dict[str, Any], str]:
        """Exit code, result.json, and what it said."""
        async with asyncio.timeout(240):
            said, complaints = await self.process.communicate()
        assert (self.out / "report.html").read_text().startswith("<!doctype html>"), complaints
        result = json.loads((self.out / "result.json").read_text())
        return self.process.returncode or 0, result, (said + complaints).decode()


async def loading(turnout: Turnout, gateway: Gateway, folder: Path, *options: str) -> Loading:
    inputs, answered = folder / "inputs.ndjson", len(turnout.workers[0].calls)
    body = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 1], "data": [0]}]}
    inputs.write_text("".join(json.dumps({"body": body, "label": label}) + "\n" for label in (7, 7, 7, 8)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli.main", "loadtest", "digits", "--inputs", str(inputs)),
        *("--url", f"http://127.0.0.1:{gateway.port}", "--out", str(folder / "out"), *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("TURNOUT_")},
    )
    await eventually(lambda: len(turnout.workers[0].calls) > answered + 5 or process.returncode is not None)
    return Loading(process, folder / "out")


async def ready(turnout: Turnout, start_gateway: StartGateway) -> Gateway:
    await turnout.route()
    await turnout.worker(seven)
    gateway = await start_gateway()
    await until_predicts(gateway.port)
    return gateway


async def test_a_stall_is_in_the_quantiles_of_two_processes_that_add_up(
    turnout: Turnout, start_gateway: StartGateway, tmp_path: Path
) -> None:
    gateway = await ready(turnout, start_gateway)
    options = (
        "--rate",
        "60",
        "--for",
        "3s",
        "--processes",
        "2",
        "--label-delay",
        "0.5s",
        "--fail-if",
        "p90>300ms",
    )
    test = await loading(turnout, gateway, tmp_path, *options, "--fail-if", "accuracy[1]<0.5")
    os.kill(gateway.pid, signal.SIGSTOP)
    await asyncio.sleep(1.0)  # the length of the stall is what is measured
    os.kill(gateway.pid, signal.SIGCONT)
    code, found, said = await test.ended()
    assert code == 1, said
    assert found["requests"]["intended"] == found["requests"]["sent"] == found["requests"]["answered"] == 180
    assert found["latency_ms"]["p90"] > 500  # a third of the run was due in the stall
    assert found["latency_ms"]["max"] > 900
    assert found["latency_ms"]["p50"] < found["latency_ms"]["p90"]
    assert (
        found["labels"] == {"joined": 180}
        or found["labels"].get("waiting", 0) + found["labels"]["joined"] == 180
    )
    assert 0.5 < found["accuracy"] < 0.95  # three of four labels
    assert [each["is_failed"] for each in found["thresholds"]] == [True, False]
    assert "failed: p90>300ms" in said


async def test_a_gateway_that_dies_gives_errors_by_kind_and_a_report(
    turnout: Turnout, start_gateway: StartGateway, tmp_path: Path
) -> None:
    gateway = await ready(turnout, start_gateway)
    test = await loading(turnout, gateway, tmp_path, "--rate", "50", "--for", "4s", "--label-delay", "none")
    gateway.process.terminate()  # the parent, which takes its children along
    os.kill(gateway.pid, signal.SIGKILL)
    code, found, said = await test.ended()
    assert code == 1, said
    assert set(found["errors"]) <= {"refused", "broken"}
    assert found["errors"]["refused"] > 10
    assert found["requests"]["sent"] == 200
    assert found["error_rate"] == pytest.approx(found["requests"]["failed"] / 200)


async def test_ctrl_c_ends_a_run_of_users_with_what_was_done(
    turnout: Turnout, start_gateway: StartGateway, tmp_path: Path
) -> None:
    gateway = await ready(turnout, start_gateway)
    test = await loading(turnout, gateway, tmp_path, "--users", "100", "--think", "3", "--for", "5m")
    test.process.send_signal(signal.SIGINT)
    code, found, said = await test.ended()
    assert code == 130, said
    assert found["is_interrupted"]
    assert found["seconds"] < 60
    assert found["requests"]["answered"] == found["requests"]["sent"] > 5
    assert found["errors"] == {}  # users that were thinking are no timeouts
    assert "stopped before the end" in said
