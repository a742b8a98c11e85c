"""What one prediction costs a worker: CPU per request over HTTP, beside the bare `InferenceSession.run`.

Starts `turnout worker --model-file` on a digits model, sends it JSON requests of one row over kept-alive
connections with wrk (a client light enough not to be what is measured), and reads the worker's own CPU time
from /proc before and after. Prints JSON. Run: `python -m loadtests.worker_cost --seconds 5`.
"""

import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import httpx2
import numpy as np
import onnxruntime

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "config" / "demo" / "models"
TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
START_S = 20.0

# The gateway's requests carry these; a worker answers a client that sends none for less.
HEADERS = {"turnout-attempt": "0123456789abcdef", "turnout-record": "label", "turnout-timeout-ms": "2000"}


def body_of(rows: int) -> str:
    """The JSON that the demo sends: pixels of 0 to 16."""
    pixels = np.random.default_rng(7).integers(0, 17, size=(rows, 64)).astype(float)
    tensor = {"name": "X", "shape": [rows, 64], "datatype": "FP32", "data": pixels.tolist()}
    return json.dumps({"inputs": [tensor]}, separators=(",", ":"))


def raw_run_us(model: Path, rows: int) -> float:
    """CPU µs of one `InferenceSession.run` on one thread, the median of several blocks."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    inputs = {"X": np.zeros((rows, 64), np.float32)}
    blocks = []
    for _ in range(9):
        started = time.process_time()
        for _ in range(500):
            session.run(None, inputs)
        blocks.append((time.process_time() - started) / 500 * 1e6)
    return statistics.median(blocks)


def cpu_us(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_US


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def start_worker(model: Path, options: tuple[str, ...]) -> tuple[subprocess.Popen[bytes], str]:
    """A worker that is ready, and its address."""
    port = free_port()
    command = [sys.executable, "-m", "gateway.cli.main", "worker", "--model", "digits", "--version", "1"]
    command += ["--model-file", str(model), "--port", str(port), "--drain-grace-s", "0", *options]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx2.get(f"{url}/v2/health/ready").status_code == 200:
                return process, url
        except httpx2.TransportError:
            time.sleep(0.02)
    process.kill()
    raise click.ClickException("the worker did not become ready")


def drive(url: str, body: str, *, connections: int, seconds: int) -> dict[str, Any]:
    """Requests, errors and latency of one run of wrk."""
    script = ['wrk.method = "POST"', f"wrk.body = [==[{body}]==]"]
    script += [f'wrk.headers["{name}"] = "{value}"' for name, value in HEADERS.items()]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write("\n".join(script))
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", file.name]
        text = subprocess.run(
            [*command, f"{url}/v2/models/digits/infer"], capture_output=True, text=True, check=True
        ).stdout
    requests = re.search(r"(\d+) requests in", text)
    assert requests is not None
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    latency = dict(re.findall(r"(50|99)%\s+(\S+)", text))
    return {"requests": int(requests[1]), "refused": int(refused[1]) if refused else 0, "latency": latency}


def measure(
    model: Path, *, rows: int, connections: int, seconds: int, options: tuple[str, ...]
) -> dict[str, Any]:
    process, url = start_worker(model, options)
    body = body_of(rows)
    try:
        drive(url, body, connections=connections, seconds=1)
        before = cpu_us(process.pid)
        seen = drive(url, body, connections=connections, seconds=seconds)
        spent = cpu_us(process.pid) - before
        metrics = httpx2.get(f"{url}/metrics").text
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    counted = dict(re.findall(r"^(\w+) (\S+)$", metrics, re.MULTILINE))
    runs = float(counted["turnout_worker_batch_rows_count"])
    predicted = float(counted["turnout_worker_predictions_total"])
    raw_us = raw_run_us(model, rows)
    each_us = spent / seen["requests"]
    return {
        "model": model.name,
        "rows": rows,
        "connections": connections,
        "body_bytes": len(body),
        "requests": seen["requests"],
        "refused": seen["refused"],
        "requests_per_s": round(seen["requests"] / seconds),
        "latency": seen["latency"],
        "rows_per_run": round(predicted / runs, 1),
        "worker_cpu_us": round(each_us, 1),
        "raw_run_us": round(raw_us, 1),
        "ratio": round(each_us / raw_us, 1),
    }


@click.command()
@click.option("--model", default=str(MODELS / "digits-2.onnx"), show_default=True)
@click.option("--rows", default=1, show_default=True)
@click.option("--connections", default=32, show_default=True)
@click.option("--seconds", default=5, show_default=True)
@click.argument("options", nargs=-1)
def main(model: str, rows: int, connections: int, seconds: int, options: tuple[str, ...]) -> None:
    """OPTIONS after `--` go to `turnout worker`."""
    if shutil.which("wrk") is None:
        raise click.ClickException("wrk is not installed: apt-get install wrk")
    result = measure(Path(model), rows=rows, connections=connections, seconds=seconds, options=options)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
