"""What one digits prediction costs a worker: Turnout's against MLServer's, with the same model and requests.

MLServer runs the same ONNX session (`peers/mlserver_onnx.py`) in an environment of its own, in three ways: as
it comes (inference in a second process), within one process, and with its adaptive batching. Called by
`scripts/bench mlserver`.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from gateway.cli.demo_traffic import read_samples
from loadtests.machine import ROOT
from loadtests.measure import in_turn, report, say
from loadtests.started import StartFailed, cores, free_port, missing, started, tail, wait_for_port
from loadtests.systems import PEERS, System, scratch

RELEASE = "1.7.1"
MODEL = ROOT / "config" / "demo" / "models" / "digits-2.onnx"
ENVIRONMENT = ROOT / ".turnout" / "bench" / "mlserver"
PATH = "/v2/models/digits/infer"
# name -> what differs from MLServer's defaults: settings of the server, settings of the model
WAYS: dict[str, tuple[dict[str, int], dict[str, float]]] = {
    "mlserver": ({}, {}),
    "mlserver 1 process": ({"parallel_workers": 0}, {}),
    "mlserver batching": ({"parallel_workers": 0}, {"max_batch_size": 64, "max_batch_time": 0.001}),
}


def prediction() -> str:
    """The first held-out image as an OIP request."""
    return read_samples(ROOT / "config" / "demo")["digits"][0].body.decode()


def install() -> None:
    """MLServer's own virtual environment, made once; raises StartFailed when that does not work."""
    stamp = ENVIRONMENT / f"mlserver-{RELEASE}"
    if stamp.exists():
        return
    say(f"Installing MLServer {RELEASE} into {ENVIRONMENT} (about 600 MB) ...")
    python = ENVIRONMENT / "bin" / "python"
    # Since 0.22 uvloop makes no event loop on demand, which MLServer's second process relies on.
    packages = [f"mlserver=={RELEASE}", "onnxruntime", "uvloop<0.22", "setuptools<81"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
    ):
        if subprocess.run(command, check=False).returncode != 0:
            raise StartFailed("MLServer could not be installed; the lines above say why")
    stamp.touch()


@contextlib.contextmanager
def turnout_worker(directory: Path, body: str) -> Iterator[System]:
    """One worker without Redis, batching on, as it comes."""
    port, log = free_port(), directory / "turnout.log"
    command = [
        *(sys.executable, "-m", "gateway.cli.main", "worker", "--model", "digits", "--version", "2"),
        *("--model-file", str(MODEL), "--port", str(port)),
    ]
    with started(command, core=cores()[1], log=log) as pid:
        wait_for_port(port, pid=pid, log=log)
        yield _checked(System("turnout", port, pid, path=PATH, body=body), log)


@contextlib.contextmanager
def mlserver(name: str, directory: Path, body: str) -> Iterator[System]:
    """MLServer with one model, set up one of the `WAYS`."""
    server, model = WAYS[name]
    port, home = free_port(), directory / name.replace(" ", "-")
    home.mkdir()
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    (home / "settings.json").write_text(json.dumps({**settings, "debug": False, **server}))
    parameters = {"uri": str(MODEL), "version": "2"}
    description = {"name": "digits", "implementation": "mlserver_onnx.OnnxModel", "parameters": parameters}
    (home / "model-settings.json").write_text(json.dumps({**description, **model}))
    log = home / "mlserver.log"
    command = [str(ENVIRONMENT / "bin" / "mlserver"), "start", str(home)]
    with started(command, core=cores()[1], log=log, environment={"PYTHONPATH": str(PEERS)}) as pid:
        wait_for_port(port, pid=pid, log=log)
        yield _checked(System(name, port, pid, path=PATH, body=body), log)


def _checked(system: System, log: Path) -> System:
    """One prediction by hand, tried until the model is loaded."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{system.port}{PATH}",
        data=system.body.encode(),
        headers={"content-type": "application/json"},
    )
    problem: Exception | None = None
    for _ in range(100):
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:
                outputs = {tensor["name"]: tensor for tensor in json.load(reply)["outputs"]}
                if "label" in outputs:
                    return system
                raise StartFailed(f"{system.name} answers without a label: {outputs}")
        except OSError as error:
            problem = error
            time.sleep(0.1)
    raise StartFailed(f"{system.name} does not answer ({problem}); {log.name} says:\n{tail(log)}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench mlserver")
    parser.add_argument("--quick", action="store_true", help="three short rounds: a look, not a result")
    options = parser.parse_args()
    rounds, seconds = (3, 1) if options.quick else (7, 4)
    if absent := missing(["wrk", "taskset", "setpriv"]):
        say(f"Not installed: {', '.join(absent)}. On Debian: apt-get install wrk util-linux")
        return 1
    body = prediction()
    try:
        install()
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(scratch()))
            systems = [stack.enter_context(turnout_worker(directory, body))]
            systems += [stack.enter_context(mlserver(name, directory, body)) for name in WAYS]
            found = in_turn(systems, scenario="digits 2", rounds=rounds, seconds=seconds)
        report("mlserver", found, reference="turnout", seconds=seconds)
    except StartFailed as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
