"""What a process says: human lines on a terminal, one JSON object a line everywhere else.

Called once, first thing, by every command that runs a process. Levels and formats are decided here alone.
"""

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

# What every record has; anything else came by `extra=` and belongs into the line.
_USUAL = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_NOISY = ("asyncio", "httpx", "httpx2", "httpcore", "httpcore2", "uvicorn.access")


def configure(
    level: str = "INFO",
    *,
    json: bool | None = None,
    process: str = "",
    complete: Callable[[logging.LogRecord], bool] | None = None,
) -> None:
    """Send all logging to stderr; `json` None = unless stderr is a terminal. `process` names who speaks;
    `complete` may add to a record before it is written."""
    handler = logging.StreamHandler(sys.stderr)
    as_json = not sys.stderr.isatty() if json is None else json
    handler.setFormatter(JsonLines(process) if as_json else _human(process))
    if complete is not None:
        handler.addFilter(complete)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class JsonLines(logging.Formatter):
    """Time (UTC), level, logger, message, then what was given by `extra=`; a traceback under `exception`."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self.process:
            line["process"] = self.process
        line |= {name: value for name, value in vars(record).items() if name not in _USUAL}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _human(process: str) -> logging.Formatter:
    who = f" {process}" if process else ""
    return logging.Formatter(f"%(asctime)s{who} %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
