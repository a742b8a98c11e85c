"""`turnout bench versions` from end to end: a gateway, two versions, a control API."""

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.bench.command import WARM_UP
from gateway.cli.main import main
from tests.dataplane.conftest import Turnout, turnout
from tests.scripted import Call, Script, ScriptedWorker

__all__ = ["turnout"]


def model(label: int, *, cpu_ms: float, others: int = 0) -> Script:
    """Answers `label` to all, says that each request costs so much CPU, and that others ask each time that
    somebody looks at its metrics."""
    seen = {"requests": 0, "looks": 0}

    async def script(call: Call) -> None:
        if call.head.startswith(b"GET /metrics"):
            seen["looks"] += 1
            text = (
                f'turnout_worker_requests_total{{outcome="ok"}} {seen["requests"] + others * seen["looks"]}\n'
                f"turnout_worker_process_cpu_seconds_total {seen['requests'] * cpu_ms / 1000}\n"
            ).encode()
            call.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text))
            return
        seen["requests"] += 1
        body = b'{"outputs":[{"name":"label","datatype":"INT64","shape":[1],"data":[%d]}]}' % label
        call.writer.write(call.answer(body, output=b"%d" % label))

    return script


async def control(workers: list[ScriptedWorker]) -> ScriptedWorker:
    pools = [
        {
            "model": "digits",
            "version": worker.version,
            "ready": 1,
            "workers": [{"worker_id": worker.name, "address": f"127.0.0.1:{worker.port}"}],
        }
        for worker in workers
    ]
    text = json.dumps({"pools": pools}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(text)

    async def script(call: Call) -> None:
        call.writer.write(head + text)

    return await ScriptedWorker(script).start()


async def bench(turnout: Turnout, tmp_path: Path, *scripts: Script, options: tuple[str, ...] = ()) -> int:
    await turnout.route()
    for version, script in enumerate(scripts, 1):
        await turnout.worker(script, version=str(version))
    await turnout.start()
    for version in range(1, len(scripts) + 1):
        await turnout.has_workers(1, version=str(version))
    api = await control(turnout.workers)
    inputs = tmp_path / "inputs.ndjson"
    lines = [json.dumps({"body": {"inputs": []}, "label": label}) for label in (7, 7, 8)]
    inputs.write_text("\n".join(lines))
    arguments = [
        *("bench", "versions", "digits", *(str(version) for version in range(1, len(scripts) + 1))),
        *("--url", f"http://127.0.0.1:{turnout.port}", "--control-url", f"http://127.0.0.1:{api.port}"),
        *("--inputs", str(inputs), "--rounds", "4", "--requests", "12", *options),
    ]
    try:
        return await asyncio.to_thread(main, arguments)
    finally:
        await api.stop()


async def test_versions_are_told_apart_by_cost_accuracy_and_agreement(
    turnout: Turnout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "versions.svg"
    scripts = model(7, cpu_ms=1.0), model(8, cpu_ms=3.0)
    code = await bench(turnout, tmp_path, *scripts, options=("--json", "--plot", str(picture)))
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [(row["version"], round(row["cpu_us"])) for row in found["versions"]] == [("1", 1000), ("2", 3000)]
    assert [round(row["accuracy"]["value"], 2) for row in found["versions"]] == [0.67, 0.33]
    cost = next(ratio for ratio in found["ratios"] if ratio["measure"] == "cpu_us")
    assert (round(cost["value"], 3), cost["is_noise"], cost["rounds"]) == (3.0, False, 4)
    assert found["agreements"][0]["share"]["value"] == 0.0
    assert not any("besides" in warning for warning in found["warnings"])
    assert picture.read_text().startswith("<?xml")


async def test_workers_that_answer_others_are_refused_or_told(
    turnout: Turnout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = model(7, cpu_ms=1.0), model(7, cpu_ms=1.0, others=5)
    assert await bench(turnout, tmp_path, *scripts) == 3
    assert "version 2 (5 a second)" in capsys.readouterr().err
    assert len([call for call in turnout.workers[0].calls if not call.head.startswith(b"GET")]) == 0


async def test_with_force_the_requests_of_others_are_counted(
    turnout: Turnout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await bench(turnout, tmp_path, model(7, cpu_ms=1.0, others=5), options=("--force",)) == 0
    told = capsys.readouterr()
    assert "workers of version 1 got 45 requests besides" in told.err  # nine looks since the first
    assert "66.7%" in told.out


def slow(script: Script) -> Script:
    async def later(call: Call) -> None:
        await asyncio.sleep(0.02)
        await script(call)

    return later


async def test_a_bench_ends_in_its_time_with_the_rounds_that_it_had(
    turnout: Turnout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All 100 rounds would take six seconds at least."""
    options = ("--json", "--rounds", "100", "--max-duration", "1")
    assert await bench(turnout, tmp_path, slow(model(7, cpu_ms=1.0)), options=options) == 0
    assert 1 <= json.loads(capsys.readouterr().out)["rounds"] < 100


async def test_a_version_that_answers_nothing_is_not_measured(
    turnout: Turnout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    idle = model(7, cpu_ms=1.0)

    async def broken(call: Call) -> None:
        if call.head.startswith(b"GET"):
            await idle(call)
        else:
            call.writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    assert await bench(turnout, tmp_path, broken) == 1
    told = capsys.readouterr()
    assert (told.out, "version 1 of digits answered no request: 502" in told.err) == ("", True)


async def test_requests_that_fail_while_it_measures_are_counted_and_end_with_1(
    turnout: Turnout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    idle, asked = model(7, cpu_ms=1.0), itertools.count()

    async def weary(call: Call) -> None:
        if call.head.startswith(b"GET") or next(asked) < WARM_UP + 20:
            await idle(call)
        else:
            call.writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    assert await bench(turnout, tmp_path, weary, options=("--json",)) == 1
    assert json.loads(capsys.readouterr().out)["versions"][0]["failed"] == 28
