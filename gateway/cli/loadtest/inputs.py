"""The requests that a load test sends: from a file, from recorded predictions, or the demo's own.

A file is NDJSON: `{"body": {...}, "label": 7}` a line, where `body` is a request of the Open Inference
Protocol (as JSON, or in base64 as `turnout compare --download` writes it); a line may also be such a request
itself. Called by `turnout loadtest` and `turnout bench`.
"""

import base64
import binascii
import json
from pathlib import Path
from typing import Any

import click

from gateway.cli.client import ControlClient
from gateway.cli.demo.traffic import MODELS, read_samples
from gateway.loadtest.scenario import Input
from gateway.settings import config_dir

MAX_BYTES = 16 * 1024 * 1024  # each process holds them, and gets them as one message


def inputs_of(model: str, file: Path | None) -> tuple[Input, ...]:
    """From the file, else the demo's held-out inputs where the model is one of the demo's."""
    if file is not None:
        return read_inputs(file)
    if model not in MODELS:
        raise click.UsageError(f"{model} is no model of the demo: give --inputs FILE, or --recorded")
    samples = read_samples(config_dir() / "demo")[model]
    return tuple(Input(body=sample.body.decode(), label=sample.label) for sample in samples)


def recorded_inputs(client: ControlClient, model: str) -> tuple[Input, ...]:
    """The requests that gateways kept (`record.bodies` of the route); they have no labels."""
    bodies = client.get("models", model, "samples")["samples"]
    if not bodies:
        raise click.UsageError(
            f"no requests of {model} are kept: say `record: {{bodies: true}}` in its route, and wait for some"
        )
    return tuple(Input(body=json.dumps(body, separators=(",", ":"))) for body in bodies)


def read_inputs(file: Path) -> tuple[Input, ...]:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise click.UsageError(f"{file}: longer than {MAX_BYTES // 1024 // 1024} MiB")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{file}: not a text file (UTF-8)") from None
    read = [
        _input(line, where=f"{file}, line {number}")
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]
    found = tuple(each for each in read if each is not None)
    if not found:
        kept = "; bodies are kept where a route says `record: {bodies: true}`" if read else ""
        raise click.UsageError(f"{file}: there is no request in it{kept}")
    return found


def _input(line: str, *, where: str) -> Input | None:
    """None of a downloaded disagreement whose body was not kept."""
    try:
        value = json.loads(line)
    except ValueError:
        raise click.UsageError(f'{where}: not JSON; a line is {{"body": {{...}}, "label": 7}}') from None
    if isinstance(value, dict) and "prediction_id" in value and "body" not in value:
        return None
    if isinstance(value, dict) and "body" in value:
        body, label = value["body"], value.get("label")
    else:
        body, label = value, None
    if isinstance(body, str):
        body = _decoded(body, where)
    if not (isinstance(body, dict) and isinstance(body.get("inputs"), list)):
        raise click.UsageError(
            f"{where}: `body` is no request of the Open Inference Protocol: it has no `inputs`"
        )
    if not (label is None or isinstance(label, bool | int | float | str)):
        raise click.UsageError(f"{where}: `label` must be one value, that of the first row")
    return Input(body=json.dumps(body, separators=(",", ":")), label=label)


def _decoded(text: str, where: str) -> Any:
    try:
        return json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise click.UsageError(f"{where}: `body` is neither a JSON object nor base64 of one") from None
