"""Where HTTP meets routing: an inference request becomes an exchange, everything else goes to the app."""

from typing import ClassVar

from gateway.contract.errors import CallerError
from gateway.contract.headers import VERSION
from gateway.dataplane.door import Door
from gateway.dataplane.exchange import Exchange
from gateway.dataplane.hedge import Hedged
from gateway.dataplane.lane import Lane
from gateway.dataplane.table import Entry, Table
from gateway.wire.protocol import HttpProtocol
from gateway.wire.replies import error_body, error_head

CHALLENGE = b"www-authenticate: Bearer\r\n"  # RFC 9110, section 11.6.1: a 401 has one


class GatewayProtocol(HttpProtocol):
    """`table`, `lane` and `door` are set on a subclass by the process that serves it."""

    table: ClassVar[Table]
    door: ClassVar[Door]
    lane: ClassVar[Lane]
    serving: Exchange | None
    spare: Exchange | None

    def serve(self, url: bytes, headers: dict[bytes, bytes], body: bytes) -> bool:
        found = self.table.by_path.get(url) or self.table.find(url)
        if found is None:
            return False
        entry, pinned = found
        if self.door.is_on and not self._may_enter(headers, entry.model, pinned):
            return True
        exchange = self.spare
        if exchange is None or entry.hedge_s is not None:
            exchange = self.exchange(entry)
        self.spare = None
        self.serving = exchange
        exchange.begin(entry, headers, body, pinned)
        return True

    def exchange(self, entry: Entry) -> Exchange:
        """A new one, for a request to this model."""
        return (Exchange if entry.hedge_s is None else Hedged)(self.lane, self)

    def _may_enter(self, headers: dict[bytes, bytes], model: str, pinned: str | None) -> bool:
        """False after a refusal has been sent."""
        try:
            self.door.admit(headers, model, is_pin=pinned is not None or VERSION in headers)
        except CallerError as error:
            self.lane.tallies.rejected[error.code] += 1
            head = error_head(error.code, retry_after_s=error.data.get("retry_after_s"))
            if error.code == "unauthenticated":
                head += CHALLENGE
            self.reply(head, error_body(error.message))
            return False
        return True

    def client_gone(self) -> None:
        exchange, self.serving = self.serving, None
        if exchange is not None:
            exchange.gone()
