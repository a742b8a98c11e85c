"""`turnout feedback`: what became of labels."""

import click

from gateway.cli.grammar import Noun, reading
from gateway.cli.session import Session, operator
from gateway.cli.words import moment


@click.group(cls=Noun)
def feedback() -> None:
    """What became of labels."""


@feedback.command()
@click.argument("model")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@reading
@operator
def corrections(session: Session, model: str, limit: int) -> int:
    """Labels that replaced another label, and such as could not be compared; newest first."""
    found = session.client.get("models", model, "corrections", limit=limit)
    session.out.value(found)
    session.out.table(
        ("when", "what", "prediction", "before", "now"),
        [
            (moment(item["at_ms"]), item["what"], item["prediction_id"], item["before"], item["now"])
            for item in found["corrections"]
        ],
        empty=f"no label of {model} was corrected",
    )
    return 0
