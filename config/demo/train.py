"""Makes the demo's models and held-out data from data that scikit-learn bundles. Nothing is downloaded.

    pip install -e ".[demo]" && python config/demo/train.py [--out DIRECTORY]

Writes, beside itself: models/<model>-<version>.onnx, models.json (digests and held-out metrics),
<model>-heldout.json (what demo traffic sends), digits-request.json and README.md. With the versions that the
`demo` extra pins, every file comes out byte for byte the same on any machine: seeds are fixed, the producer's
stamps are removed, and coefficients of linear models are rounded, because the last bits of a linear solver
depend on the processor. Metrics are measured on the exported bytes by ONNX Runtime, the one that serves them.
"""

import argparse
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

SEED = 0
HELD_OUT = 0.4  # share of the rows that no model sees in training
DECIMALS = 4  # of linear coefficients; costs no accuracy here, and makes the files the same everywhere
OPSET = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8  # the one that belongs to opset 17: old runtimes can load it
PIXEL_MAX = 16  # digits: 8 x 8 pixels of 0..16


@dataclass(frozen=True)
class Data:
    """One data set, split once: float32 [rows, features] and one label a row."""

    train_x: np.ndarray
    train_y: np.ndarray
    held_x: np.ndarray
    held_y: np.ndarray


@dataclass(frozen=True)
class Recipe:
    model: str
    version: str
    description: str
    fit: Callable[[Data], Any]


def split(x: np.ndarray, y: np.ndarray, *, stratify: np.ndarray | None) -> Data:
    train_x, held_x, train_y, held_y = train_test_split(
        x.astype(np.float32), y, test_size=HELD_OUT, random_state=SEED, stratify=stratify
    )
    return Data(train_x, train_y, held_x, held_y)


def digits() -> Data:
    x, y = load_digits(return_X_y=True)
    return split(x, y, stratify=y)


def diabetes() -> Data:
    """In the units of the study (years, mmHg, ...), not scaled: a person can read a request."""
    x, y = load_diabetes(return_X_y=True, scaled=False)
    return split(x, y, stratify=None)


def tree(depth: int) -> Callable[[Data], Any]:
    return lambda data: DecisionTreeClassifier(max_depth=depth, random_state=SEED).fit(
        data.train_x, data.train_y
    )


def logistic(data: Data) -> Any:
    """Fitted on pixels scaled to [0, 1]; the scale is then folded into the coefficients."""
    fitted = LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=500)
    fitted.fit(data.train_x.astype(np.float64) / PIXEL_MAX, data.train_y)
    fitted.coef_ = np.round(fitted.coef_ / PIXEL_MAX, DECIMALS)
    fitted.intercept_ = np.round(fitted.intercept_, DECIMALS)
    return fitted


def nearest(data: Data) -> Any:
    return KNeighborsClassifier(n_neighbors=3).fit(data.train_x, data.train_y)


def small_tree(data: Data) -> Any:
    return DecisionTreeRegressor(max_depth=3, random_state=SEED).fit(data.train_x, data.train_y)


def ridge(data: Data) -> Any:
    """Fitted on standardised features; the scale is then folded into the coefficients."""
    x = data.train_x.astype(np.float64)
    centre, spread = x.mean(axis=0), x.std(axis=0)
    fitted = Ridge(alpha=10.0, solver="cholesky").fit((x - centre) / spread, data.train_y)
    coefficients = fitted.coef_ / spread
    fitted.intercept_ = np.round(fitted.intercept_ - coefficients @ centre, DECIMALS)
    fitted.coef_ = np.round(coefficients, DECIMALS)
    return fitted


RECIPES = (
    Recipe("digits", "1", "decision tree of depth 8", tree(8)),
    Recipe("digits", "2", "logistic regression", logistic),
    Recipe("digits", "3", "three nearest neighbours: the most accurate, and some 200 times slower", nearest),
    Recipe("digits", "4", "decision tree of depth 4: a bad release", tree(4)),
    Recipe("diabetes", "1", "regression tree of depth 3", small_tree),
    Recipe("diabetes", "2", "ridge regression", ridge),
)


def export(fitted: Any, *, features: int) -> bytes:
    """ONNX bytes with input `X` FP32 [n, features], no stamps of the tool that wrote them."""
    is_classifier = hasattr(fitted, "classes_")
    made = to_onnx(
        fitted,
        initial_types=[("X", FloatTensorType([None, features]))],
        options={"zipmap": False} if is_classifier else None,
        target_opset=OPSET,
    )
    if not is_classifier:
        rename_output(made.graph, "prediction")
    made.ir_version = IR_VERSION
    made.producer_name, made.producer_version, made.domain, made.doc_string = "", "", "", ""
    made.graph.name, made.graph.doc_string = "model", ""
    opsets = sorted(made.opset_import, key=lambda entry: entry.domain)  # else in the order of a set
    del made.opset_import[:]
    made.opset_import.extend(opsets)
    return made.SerializeToString(deterministic=True)


def rename_output(graph: Any, name: str) -> None:
    (output,) = graph.output
    for node in graph.node:
        node.output[:] = [name if written == output.name else written for written in node.output]
    output.name = name


def measure(served: bytes, fitted: Any, data: Data) -> dict[str, float]:
    """Held-out metrics of the exported bytes; refuses an export that disagrees with scikit-learn."""
    session = onnxruntime.InferenceSession(served, providers=["CPUExecutionProvider"])
    answered = session.run(None, {"X": data.held_x})[0].reshape(-1)
    expected = fitted.predict(data.held_x)
    if not np.allclose(answered, expected, rtol=1e-4, atol=1e-3):
        raise SystemExit("the exported model answers differently from the trained one")
    if hasattr(fitted, "classes_"):
        return {"accuracy": round(float(np.mean(answered == data.held_y)), 4)}
    errors = answered.astype(np.float64) - data.held_y
    return {
        "mae": round(float(np.mean(np.abs(errors))), 2),
        "rmse": round(float(np.sqrt(np.mean(errors**2))), 2),
    }


def plain(value: float) -> float | int:
    """The shortest number: 5 and not 5.0; 32.1 and not 32.099998474."""
    shortest = float(str(np.float32(value)))
    return int(shortest) if shortest.is_integer() else shortest


def held_out_json(data: Data) -> str:
    inputs = [[plain(value) for value in row] for row in data.held_x]
    labels = [plain(label) for label in data.held_y]
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in inputs)
    return f'{{"inputs":[\n{rows}\n],\n"labels":{json.dumps(labels, separators=(",", ":"))}}}\n'


def request_json(data: Data) -> str:
    """The first held-out row as a request of the Open Inference Protocol, to be sent by hand."""
    row = [plain(value) for value in data.held_x[0]]
    tensor = {"name": "X", "shape": [1, len(row)], "datatype": "FP32", "data": row}
    return json.dumps({"inputs": [tensor]}) + "\n"


README = """# The demo's models

Made by `train.py` from data that scikit-learn bundles (`digits`: 1,797 pictures of 8 x 8 pixels;
`diabetes`: 442 patients). {held_out} of the rows are held out: no model saw them, the demo's traffic sends
them, and the figures below are measured on them, on the exported files, by ONNX Runtime.

| model | version | what it is | held-out rows | measured |
| --- | --- | --- | --- | --- |
{rows}

`digits` takes `X` FP32 [n, 64] (pixels of 0 to 16) and gives `label` INT64 [n] and `probabilities`
FP32 [n, 10]. `diabetes` takes `X` FP32 [n, 10] (age, sex, body mass index, blood pressure and six blood
values, in the study's units) and gives `prediction` FP32 [n, 1], the progression after one year.

| file | what |
| --- | --- |
| `models/*.onnx` | the versions that `turnout up --demo` registers |
| `models.json` | digest, description and held-out metrics of each |
| `*-heldout.json` | held-out inputs and their true labels |
| `digits-request.json` | the first held-out row of `digits` as a request, to be sent by hand |
| `routes.yaml` | the routes that `turnout up --demo` starts with |
| `train.py` | makes all of the above but `routes.yaml` again, byte for byte (needs the `demo` extra) |

This page is written by `train.py`.
"""


def readme(models: dict[str, dict[str, Any]], held_rows: dict[str, int]) -> str:
    rows = []
    for model, versions in models.items():
        for version, about in versions.items():
            figures = ", ".join(f"{name} {value:g}" for name, value in about["metrics"].items())
            rows.append(f"| {model} | {version} | {about['description']} | {held_rows[model]} | {figures} |")
    return README.format(held_out=f"{HELD_OUT * 100:.0f} %", rows="\n".join(rows))


def make(out: Path) -> None:
    (out / "models").mkdir(parents=True, exist_ok=True)
    data_sets = {"digits": digits(), "diabetes": diabetes()}
    models: dict[str, dict[str, Any]] = {}
    for recipe in RECIPES:
        data = data_sets[recipe.model]
        fitted = recipe.fit(data)
        served = export(fitted, features=data.train_x.shape[1])
        file = f"models/{recipe.model}-{recipe.version}.onnx"
        (out / file).write_bytes(served)
        about = {
            "file": file,
            "sha256": hashlib.sha256(served).hexdigest(),
            "description": recipe.description,
            "metrics": measure(served, fitted, data),
        }
        models.setdefault(recipe.model, {})[recipe.version] = about
        print(f"{recipe.model} {recipe.version}: {about['metrics']}, {len(served)} bytes")
    (out / "models.json").write_text(json.dumps(models, indent=2) + "\n")
    for model, data in data_sets.items():
        (out / f"{model}-heldout.json").write_text(held_out_json(data))
    (out / "digits-request.json").write_text(request_json(data_sets["digits"]))
    held_rows = {model: len(data.held_y) for model, data in data_sets.items()}
    (out / "README.md").write_text(readme(models, held_rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the demo's models and held-out data.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where to write")
    make(parser.parse_args().out)
