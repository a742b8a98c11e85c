"""What to type next, where a name was not quite right. Called when a command ends with an error.

`near` is for words of commands, settings and names alike. A hint that cannot be found costs nothing but its
one quick question to the control API.
"""

import difflib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway.contract.errors import TurnoutError

if TYPE_CHECKING:
    from gateway.cli.client import ControlClient

SHOWN = 3
_UNREGISTERED = re.compile(r"version \S+ of (\S+) is not registered")


def near(word: str, known: Iterable[str]) -> list[str]:
    """Those that were perhaps meant, the likeliest first."""
    names = list(known)
    found = difflib.get_close_matches(word, names, n=SHOWN, cutoff=0.6)
    return found or [name for name in names if len(word) > 1 and name.startswith(word)][:SHOWN]


def hint(error: TurnoutError, client: "ControlClient | None") -> str | None:
    """A sentence beside the error's own."""
    if error.code == "not_found" and client is not None and error.message.startswith("Nothing is at"):
        return f"is {client.url} a control API? `--control-url` or TURNOUT_CONTROL_URL says where it is"
    words = _names_in(error)
    if not words or client is None:
        return None
    try:
        known = [item["model"] for item in client.get("models")["models"]]
    except (TurnoutError, KeyError):
        return None
    if any(word in known for word in words):
        return None
    meant = [name for word in words for name in near(word, known)[:1]]
    if meant:
        return f"did you mean {' or '.join(dict.fromkeys(meant))}?"
    return f"models are: {', '.join(known[:20])}" if known else "no model is registered yet"


def _names_in(error: TurnoutError) -> list[str]:
    """Words of the sentence that may be a model's name that is none."""
    if error.code in ("unknown_model", "no_route"):
        return error.message.replace(",", " ").replace(":", " ").split()
    return _UNREGISTERED.findall(error.message) if error.code == "invalid_document" else []
