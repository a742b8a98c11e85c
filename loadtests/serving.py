"""What a prediction costs end to end: Turnout's gateway and a worker, beside other model servers alone.

Each serves the same ONNX file on one intra-op thread and is sent the same row. Turnout is a gateway process
with a route, its Redis, and a worker with a lease: recording and metrics are on. `turnout worker` is a worker
without a gateway in front, as the other servers are. Called by `scripts/bench serving`.
"""

import argparse
import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from gateway.cli.demo.traffic import read_samples
from gateway.contract import keys
from gateway.contract.route import Route
from gateway.contract.version import Version
from loadtests.effort import add_options, chosen, effort
from loadtests.environments import make_all
from loadtests.installation import gateway, redis_with
from loadtests.machine import ROOT
from loadtests.measure import in_turn, report, say
from loadtests.servers import INFER, MODEL, MODEL_NAME, SERVERS
from loadtests.started import StartFailed, cores, free_port, missing, started, wait_for_port
from loadtests.systems import System, answer, scratch
from workers.artifact import inspect
from workers.stores.local import artifact_path

VERSION = "2"
SYSTEMS = ("turnout", "turnout worker", *SERVERS)


def requests() -> tuple[str, str]:
    """The first held-out image as an OIP request, and the same numbers as `{"rows": [[...]]}`."""
    body = read_samples(ROOT / "config" / "demo")[MODEL_NAME][0].body.decode()
    tensor = json.loads(body)["inputs"][0]
    rows = np.asarray(tensor["data"]).reshape(tensor["shape"]).tolist()
    return body, json.dumps({"rows": rows}, separators=(",", ":"))


def expected_label(own_body: str) -> int:
    """What the model says to it, asked without any server."""
    rows = np.asarray(json.loads(own_body)["rows"], np.float32)
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    return int(session.run(["label"], {"X": rows})[0][0])


def label_of(reply: Any) -> int | None:
    """The label in OIP's JSON, in an object's `label`, or in that of the first of several objects."""
    if isinstance(reply, list) and reply:
        reply = reply[0]
    if isinstance(reply, dict) and "outputs" in reply:
        reply = {tensor["name"]: tensor["data"] for tensor in reply["outputs"]}
    label = reply.get("label") if isinstance(reply, dict) else None
    return int(np.ravel(label)[0]) if label is not None else None


def documents() -> dict[str, dict[str, Any]]:
    """Version 2 of the model, and a route that sends everything to it, sticky by unit."""
    data = MODEL.read_bytes()
    version = Version(
        model=MODEL_NAME,
        version=VERSION,
        digest=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        signature=inspect(data).signature,
    )
    route = Route.model_validate(
        {
            "model": MODEL_NAME,
            "split": [{"version": VERSION, "weight": 100}],
            "sticky": {"header": "turnout-unit"},
        }
    )
    return {
        keys.version_field(MODEL_NAME, VERSION): version.model_dump(mode="json"),
        keys.route_field(MODEL_NAME): route.model_dump(mode="json"),
    }


@contextlib.contextmanager
def worker(directory: Path, *options: str) -> Iterator[tuple[int, int]]:
    """One `turnout worker` with these options; gives its port and pid."""
    port, log = free_port(), directory / "worker.log"
    command = [
        *(sys.executable, "-m", "gateway.cli.main", "worker", "--model", MODEL_NAME, "--version", VERSION),
        *("--port", str(port), *options),
    ]
    with started(command, core=cores()[1], log=log) as pid:
        wait_for_port(port, pid=pid, log=log)
        yield port, pid


@contextlib.contextmanager
def turnout(directory: Path, body: str) -> Iterator[System]:
    """Redis on the load's core; gateway and worker together on the other one."""
    wanted, artifacts = documents(), directory / "artifacts"
    artifact = artifact_path(artifacts, wanted[keys.version_field(MODEL_NAME, VERSION)]["digest"])
    artifact.parent.mkdir(parents=True)
    shutil.copyfile(MODEL, artifact)
    with (
        redis_with(wanted, directory / "redis", core=cores()[0]) as redis,
        worker(directory, "--redis-url", redis.url, "--artifacts", str(artifacts)) as (_, worker_pid),
        gateway(directory, redis_url=redis.url, core=cores()[1]) as (port, pid),
    ):
        pids = {"gateway": pid, "worker": worker_pid}
        yield System("turnout", port, pids, redis.pid, path=INFER, body=body)


@contextlib.contextmanager
def turnout_worker(directory: Path, body: str) -> Iterator[System]:
    """One worker, asked without a gateway."""
    with worker(directory, "--model-file", str(MODEL)) as (port, pid):
        yield System("turnout worker", port, {"worker": pid}, path=INFER, body=body)


@contextlib.contextmanager
def server(name: str, directory: Path, body: str) -> Iterator[System]:
    """One of `SERVERS`."""
    found, port, log = SERVERS[name], free_port(), directory / f"{name}.log"
    command = found.prepared(port, directory)
    variables = {"MODEL_FILE": str(MODEL), "HOME": str(directory), **found.variables}
    with started(command, core=cores()[1], log=log, environment=variables) as pid:
        wait_for_port(port, pid=pid, log=log)
        yield System(name, port, {name: pid}, path=found.path, body=body)


@contextlib.contextmanager
def running(name: str, directory: Path) -> Iterator[System]:
    """A system by name, once it has given the right answer."""
    directory.mkdir()
    oip, own = requests()
    if name == "turnout":
        start = turnout(directory, oip)
    elif name == "turnout worker":
        start = turnout_worker(directory, oip)
    else:
        start = server(name, directory, oip if SERVERS[name].speaks_oip else own)
    with start as system:
        body, headers = answer(system, directory)
        is_routed = name != "turnout" or headers["turnout-prediction-id"]  # past the gateway, with a record
        if label_of(json.loads(body)) != expected_label(own) or not is_routed:
            raise StartFailed(f"{name} answers wrongly: {body[:500]!r}")
        yield system


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench serving")
    add_options(parser, always="turnout")
    options = parser.parse_args()
    how_long, wanted = effort(options), chosen(parser, options.only, SYSTEMS, always="turnout")
    if absent := missing(["wrk", "taskset", "setpriv"]):
        say(f"Not installed: {', '.join(absent)}. On Debian: apt-get install wrk util-linux")
        return 1
    environments = [found.environment for name, found in SERVERS.items() if name in wanted]
    try:
        make_all(environments)
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(scratch()))
            systems = [
                stack.enter_context(running(name, directory / name.replace(" ", "-"))) for name in wanted
            ]
            found = in_turn(systems, how_long, scenario="digits 2")
        report("serving", found, how_long, reference="turnout", environments=environments)
    except StartFailed as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
