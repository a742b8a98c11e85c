"""How log lines look: a choice that all processes have, and what a line about a request bears."""

from typing import Literal

LogFormat = Literal["auto", "text", "json"]  # auto: text on a terminal, else JSON
AS_JSON: dict[LogFormat, bool | None] = {"auto": None, "text": False, "json": True}
REQUEST_ID = b"x-request-id"  # a caller's own name for its request
MOST_REQUEST_ID = 128  # characters of it in a line
