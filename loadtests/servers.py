"""The model servers that Turnout is measured beside, each with one worker and the same model.

A server is data: its environment, its command, the way it is asked. What it runs is in `peers/`, some twenty
lines for each. Called by `serving`; the reasons for these settings are in the README.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.environments import BENTOML, KSERVE, LITSERVE, MLSERVER, Environment
from loadtests.machine import ROOT
from loadtests.started import free_port
from loadtests.systems import PEERS

MODEL_NAME = "digits"
MODEL = ROOT / "config" / "demo" / "models" / "digits-2.onnx"
INFER = f"/v2/models/{MODEL_NAME}/infer"


@dataclass(frozen=True, slots=True)
class Server:
    """`prepared` writes what the server reads into a directory, and gives the command that listens on a port.

    One that does not speak the Open Inference Protocol is sent `{"rows": [[...]]}` with the same numbers.
    """

    environment: Environment
    prepared: Callable[[int, Path], list[str]]
    path: str = INFER
    speaks_oip: bool = True
    variables: Mapping[str, str] = field(default_factory=dict)


def _mlserver(port: int, home: Path) -> list[str]:
    server = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    # Inference in the server's own process: a second one costs more than it brings on one core.
    settings = {**server, "debug": False, "parallel_workers": 0}
    (home / "settings.json").write_text(json.dumps(settings))
    model = {"name": MODEL_NAME, "implementation": "mlserver_onnx.OnnxModel"}
    parameters = {"uri": str(MODEL), "version": "2"}
    (home / "model-settings.json").write_text(json.dumps({**model, "parameters": parameters}))
    return [MLSERVER.program("mlserver"), "start", str(home)]


def _kserve(port: int, home: Path) -> list[str]:
    options = {
        "http_port": str(port),
        "workers": "1",
        "enable_grpc": "false",
        "enable_latency_logging": "false",
        "configure_logging": "false",  # else it writes a line to the terminal for every request
    }
    flags = [flag for name, value in options.items() for flag in (f"--{name}", value)]
    return [KSERVE.program("python"), str(PEERS / "kserve_onnx.py"), *flags]


def _bentoml(port: int, home: Path) -> list[str]:
    where = ["--working-dir", str(PEERS), "--host", "127.0.0.1", "--port", str(port)]
    return [BENTOML.program("bentoml"), "serve", "bentoml_onnx:Digits", *where]


def _litserve(port: int, home: Path) -> list[str]:
    return [LITSERVE.program("python"), str(PEERS / "litserve_onnx.py"), str(port)]


SERVERS: Mapping[str, Server] = {
    "mlserver": Server(MLSERVER, _mlserver, variables={"PYTHONPATH": str(PEERS)}),
    "kserve": Server(KSERVE, _kserve),
    "bentoml": Server(
        BENTOML, _bentoml, "/predict", speaks_oip=False, variables={"BENTOML_DO_NOT_TRACK": "True"}
    ),
    "litserve": Server(LITSERVE, _litserve, "/predict", speaks_oip=False),
}
