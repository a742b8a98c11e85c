"""What a look at an installation finds. Made by `judge` and `redis`."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """CRITICAL: data or requests are being lost, or soon; WARNING: it will hurt; NOTE: worth knowing."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is its stable name; `mend` a command, or what to change."""

    severity: Severity
    check: str
    what: str
    why: str
    mend: str
