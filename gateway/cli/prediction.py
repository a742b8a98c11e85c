"""`turnout prediction`: what became of one request."""

import json
from typing import Any

import click

from gateway.cli.session import Session, operator
from gateway.cli.words import moment


@click.group()
def prediction() -> None:
    """Look at one prediction and its label."""


@prediction.command()
@click.argument("model")
@click.argument("prediction_id", metavar="ID")
@operator
def show(session: Session, model: str, prediction_id: str) -> int:
    """Who answered a request, what shadows would have said, and what was right.

    ID is what the reply's header turnout-prediction-id said.
    """
    found = session.client.get("models", model, "predictions", prediction_id)
    out = session.out
    out.value(found)
    out.table(
        ("version", "role", "output", "latency ms>", "revision>", "when"),
        [
            (
                record["version"],
                record["role"],
                _short(record["output"]) if record["kind"] != "none" else "(not recorded)",
                f"{record['latency_us'] / 1000:.2f}",
                record["revision"],
                moment(record["at_s"] * 1000),
            )
            for record in found["records"]
        ],
    )
    if found["label"] is not None:
        out.line(f"label: {_short(found['label'])}")
    elif found["reward"] is not None:
        out.line(f"reward: {found['reward']:g}")
    else:
        out.line("no label yet")
    return 0


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:197] + "..."
