"""The demo's committed files: what they claim, measured again, and made again."""

import hashlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml

from gateway.contract.route import Route
from gateway.settings import config_dir

DEMO = config_dir() / "demo"
MODELS: dict[str, dict[str, Any]] = json.loads((DEMO / "models.json").read_text())
EVERY = [(model, version) for model, versions in MODELS.items() for version in versions]


def held_out(model: str) -> tuple[np.ndarray, np.ndarray]:
    data = json.loads((DEMO / f"{model}-heldout.json").read_text())
    return np.array(data["inputs"], dtype=np.float32), np.array(data["labels"])


def answers(model: str, version: str) -> np.ndarray:
    served = (DEMO / MODELS[model][version]["file"]).read_bytes()
    session = onnxruntime.InferenceSession(served, providers=["CPUExecutionProvider"])
    answered = session.run(None, {"X": held_out(model)[0]})[0]
    assert isinstance(answered, np.ndarray)
    return answered.reshape(-1)


@pytest.mark.parametrize(("model", "version"), EVERY)
def test_a_model_file_is_the_one_that_its_digest_names(model: str, version: str) -> None:
    about = MODELS[model][version]
    assert hashlib.sha256((DEMO / about["file"]).read_bytes()).hexdigest() == about["sha256"]


@pytest.mark.parametrize("version", MODELS["digits"])
def test_the_accuracy_of_a_digits_version_is_the_one_written_down(version: str) -> None:
    measured = float(np.mean(answers("digits", version) == held_out("digits")[1]))
    assert measured == pytest.approx(MODELS["digits"][version]["metrics"]["accuracy"], abs=5e-5)


@pytest.mark.parametrize("version", MODELS["diabetes"])
def test_the_errors_of_a_diabetes_version_are_the_ones_written_down(version: str) -> None:
    errors = answers("diabetes", version) - held_out("diabetes")[1]
    metrics = MODELS["diabetes"][version]["metrics"]
    assert float(np.mean(np.abs(errors))) == pytest.approx(metrics["mae"], abs=0.02)
    assert float(np.sqrt(np.mean(errors**2))) == pytest.approx(metrics["rmse"], abs=0.02)


def test_the_versions_tell_an_honest_story() -> None:
    accuracy = {version: about["metrics"]["accuracy"] for version, about in MODELS["digits"].items()}
    assert accuracy["4"] < accuracy["1"] < accuracy["2"] < accuracy["3"]
    assert MODELS["diabetes"]["2"]["metrics"]["mae"] < MODELS["diabetes"]["1"]["metrics"]["mae"]


@pytest.mark.parametrize(("model", "version"), EVERY)
def test_a_model_file_bears_no_stamp_of_its_tool(model: str, version: str) -> None:
    made = onnx.load_model(DEMO / MODELS[model][version]["file"])
    assert (made.producer_name, made.producer_version, made.doc_string) == ("", "", "")
    inputs = [
        (value.name, [d.dim_value for d in value.type.tensor_type.shape.dim]) for value in made.graph.input
    ]
    assert inputs == [("X", [0, 64 if model == "digits" else 10])]


def test_the_request_to_be_sent_by_hand_is_the_first_held_out_row() -> None:
    (tensor,) = json.loads((DEMO / "digits-request.json").read_text())["inputs"]
    assert tensor["data"] == held_out("digits")[0][0].tolist()
    assert tensor["shape"] == [1, 64]


def test_the_routes_are_valid_and_name_known_versions_only() -> None:
    routes = [
        Route.model_validate(document) for document in yaml.safe_load((DEMO / "routes.yaml").read_text())
    ]
    assert {route.model for route in routes} == set(MODELS)
    assert all(route.versions() <= set(MODELS[route.model]) for route in routes)


def test_training_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """With the `demo` extra: always in continuous integration, where it is installed."""
    if find_spec("sklearn") is None or find_spec("skl2onnx") is None:
        assert "CI" not in os.environ, "the demo extra must be installed"
        pytest.skip("needs the demo extra: scripts/test installs it")
    subprocess.run(
        [sys.executable, str(DEMO / "train.py"), "--out", str(tmp_path)], check=True, capture_output=True
    )
    made = {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert {str(file) for file in made} >= {"models.json", "README.md", "digits-heldout.json"}
    assert [file for file, content in made.items() if (DEMO / file).read_bytes() != content] == []
