"""Where traces go, and of which requests. A part of the settings of gateways and workers."""

from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit


@dataclass(frozen=True, slots=True)
class TraceSettings:
    otlp_endpoint: str = ""  # of a receiver of OTLP over HTTP, as http://127.0.0.1:4318; empty: no traces
    headers: dict[str, str] = field(default_factory=dict, repr=False)  # sent to it, as a key
    share: float = 0.0  # of the requests that come without a trace; those of a sampled one are always traced

    def problems(self) -> list[str]:
        """What is wrong with them, as sentences that begin with the setting."""
        found = []
        if self.is_on and receiver(self.otlp_endpoint) is None:
            found.append(
                f"otlp_endpoint: {self.otlp_endpoint!r} is no address of a receiver: write http://HOST:4318"
            )
        if self.share > 1:
            found.append(f"share: {self.share:g} is not between 0 and 1")
        if any(not name or not (name + text).isprintable() for name, text in self.headers.items()):
            found.append("headers: a header has a name, and no line ends")
        return found

    @property
    def is_on(self) -> bool:
        return bool(self.otlp_endpoint)


def receiver(endpoint: str) -> SplitResult | None:
    """The parts of the address; None where it is none."""
    try:
        parts = urlsplit(endpoint)
        is_fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if is_fine and not (parts.username or parts.query or parts.fragment) else None
