"""`turnout drift`: have the answers changed, before any label comes?"""

from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.grammar import reading
from gateway.cli.session import Session, operator
from gateway.cli.words import parse_since


@click.command()
@click.argument("model")
@click.option(
    "--since", default="1h", show_default=True, metavar="TIME", help="What is looked at: 15m, 1h, 2d."
)
@click.option("--reference", default="1d", show_default=True, metavar="TIME", help="The time before that.")
@click.option(
    "--alpha",
    type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    help="Chance of a false alarm for a version, however often you look.",
)
@reading
@operator
def drift(session: Session, model: str, since: str, reference: str, alpha: float) -> int:
    """How far each version's answers have moved. Exit code 1 on an alarm."""
    found = session.client.get(
        "models", model, "drift", since_s=parse_since(since), reference_s=parse_since(reference), alpha=alpha
    )
    session.out.value(found)
    session.out.table(
        ("version", "role", "moved>", "between>", "answers>", "before>", "", "most"),
        [
            (
                item["version"],
                item["role"],
                *_apart(item),
                "; ".join(_moved(bin_, item["numbers"]) for bin_ in item["largest"][:3]),
            )
            for item in found["drift"]
        ],
        empty=f"no answer of {model} was recorded in the last {since}",
    )
    if found["features"]:
        session.out.table(
            ("version", "input column>", "moved>", "between>", "values>", "before>", ""),
            [
                (
                    item["version"],
                    item["column"],
                    *_apart(item),
                )
                for item in found["features"]
            ],
        )
    return 1 if any(item["is_alarm"] for item in (*found["drift"], *found["features"])) else 0


def _apart(item: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    """Distance, its bounds, how many values now and before, alarm."""
    is_known = item["reference_n"] > 0 and item["current_n"] > 0
    return (
        f"{item['distance']:.1%}" if is_known else "",
        f"{100 * item['low']:.1f} {100 * item['high']:.1f}" if is_known else "",
        f"{item['current_n']:.0f}",
        f"{item['reference_n']:.0f}",
        "ALARM" if item["is_alarm"] else "",
    )


def _moved(moved: Mapping[str, Any], numbers: Mapping[str, float]) -> str:
    """`7 10.1% -> 25.0%`; a bin of numbers by its middle."""
    name = moved["bin"]
    shown = f"{numbers[name]:.3g}" if name in numbers and name[:1] in "+-" else name
    return f"{shown} {moved['reference_share']:.1%} -> {moved['current_share']:.1%}"
